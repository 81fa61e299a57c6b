//! From `get_new_peer` to `Connected`, in three processes on loopback, beside a bare libp2p-webrtc
//! dial between the same two processes in the same run: the difference is what the peer exchange
//! costs.

use std::{
    convert::Infallible,
    error::Error,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    core::Transport as _,
    core::muxing::StreamMuxerBox,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent, dummy},
    tcp, yamux,
};
use libp2p_webrtc::tokio::{Certificate, Transport};
use pxp::{Config, Origin, PxpEvent};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 100;
/// A round that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("introducer") => serve(exchange().await?, "/ip4/127.0.0.1/tcp/0", None).await,
        Some("candidate") => {
            let introducer = std::env::args().nth(2).ok_or("no introducer")?.parse()?;
            serve(
                exchange().await?,
                "/ip4/127.0.0.1/udp/0/webrtc-direct",
                Some(introducer),
            )
            .await
        }
        Some("floor") => serve(bare()?, "/ip4/127.0.0.1/udp/0/webrtc-direct", None).await,
        _ => measure().await,
    }
}

/// A process that serves until its standard input is closed.
struct Server {
    process: Child,
    address: Multiaddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let stdout = process.stdout.take().ok_or("no output")?;
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Self {
            process,
            address: address.trim().parse()?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn measure() -> Result<()> {
    let introducer = Server::start(&["introducer"])?;
    let _candidate = Server::start(&["candidate", &introducer.address.to_string()])?;
    let floor = Server::start(&["floor"])?;

    let mut asker = exchange().await?;
    asker.dial(introducer.address.clone())?;
    while asker.behaviour().peers().len() == 0 {
        asker.select_next_some().await;
    }
    let (mut direct_ms, mut floor_ms, mut failed) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        match tokio::time::timeout(PATIENCE, get_new_peer(&mut asker)).await {
            Ok(Ok(time)) => direct_ms.push(time),
            failure => {
                println!("failed: {failure:?}");
                failed += 1;
            }
        }
        // The asker serves its peers meanwhile, or they would take it for dead.
        tokio::select! {
            dialed = tokio::time::timeout(PATIENCE, dial(floor.address.clone())) => match dialed {
                Ok(Ok(time)) => floor_ms.push(time),
                failure => println!("the bare dial failed: {failure:?}"),
            },
            never = idle(&mut asker) => match never {},
        }
    }
    report("get_new_peer", &mut direct_ms);
    report("bare dial", &mut floor_ms);
    let (direct, floor) = (median(&direct_ms), median(&floor_ms));
    println!(
        "RESULT connect direct_ms={direct:.1} floor_ms={floor:.1} overhead_ms={:.1} \
         failed={failed}/{ROUNDS}",
        direct - floor
    );
    Ok(())
}

/// One new peer, and the end of its connection.
async fn get_new_peer(asker: &mut Swarm<pxp::Behaviour>) -> Result<f64> {
    let start = Instant::now();
    let query = asker.behaviour_mut().get_new_peer()?;
    let peer = loop {
        match asker.select_next_some().await {
            SwarmEvent::Behaviour(PxpEvent::Connected {
                peer,
                origin: Origin::Found(found),
                ..
            }) if found == query => break peer,
            SwarmEvent::Behaviour(PxpEvent::QueryFailed { error, .. }) => return Err(error.into()),
            _ => {}
        }
    };
    let time = milliseconds(start);
    let _ = asker.disconnect_peer_id(peer);
    while asker.is_connected(&peer) {
        asker.select_next_some().await;
    }
    Ok(time)
}

/// A dial of libp2p-webrtc alone, from a fresh socket.
async fn dial(address: Multiaddr) -> Result<f64> {
    let mut swarm = bare()?;
    swarm.listen_on("/ip4/127.0.0.1/udp/0/webrtc-direct".parse()?)?;
    while !matches!(
        swarm.select_next_some().await,
        SwarmEvent::NewListenAddr { .. }
    ) {}
    let start = Instant::now();
    swarm.dial(address)?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                let time = milliseconds(start);
                let _ = swarm.disconnect_peer_id(peer_id);
                while swarm.is_connected(&peer_id) {
                    swarm.select_next_some().await;
                }
                return Ok(time);
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
}

async fn exchange() -> Result<Swarm<pxp::Behaviour>> {
    let key = Keypair::generate_ed25519();
    let (transport, behaviour) = pxp::new(&key, Config::new("bench".parse()?));
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| behaviour)?
        .build())
}

fn bare() -> Result<Swarm<dummy::Behaviour>> {
    // Without this every handshake panics, for libp2p's `quic` is in the binary too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = Keypair::generate_ed25519();
    let certificate = Certificate::generate(&mut rand::rng())?;
    let transport = Transport::new(key.clone(), certificate)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| dummy::Behaviour)?
        .build())
}

/// Prints an address and serves there.
async fn serve<B: NetworkBehaviour>(
    mut swarm: Swarm<B>,
    listen: &str,
    introducer: Option<Multiaddr>,
) -> Result<()> {
    swarm.listen_on(listen.parse()?)?;
    if let Some(introducer) = &introducer {
        swarm.dial(introducer.clone())?;
    }
    let mut address = None;
    while address.is_none() || (introducer.is_some() && swarm.network_info().num_peers() == 0) {
        if let SwarmEvent::NewListenAddr { address: new, .. } = swarm.select_next_some().await {
            address.get_or_insert(new);
        }
    }
    if let Some(address) = address {
        println!("{}", address.with(Protocol::P2p(*swarm.local_peer_id())));
        std::io::stdout().flush()?;
    }
    match idle(&mut swarm).await {}
}

async fn idle<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> Infallible {
    loop {
        swarm.select_next_some().await;
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(what: &str, times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    let (first, last) = (
        times.first().unwrap_or(&f64::NAN),
        times.last().unwrap_or(&f64::NAN),
    );
    println!(
        "{what:<14} median {:>7.1} ms, from {first:.1} to {last:.1}, n = {}",
        median(times),
        times.len()
    );
}
