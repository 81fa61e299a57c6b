//! 32 MiB through one stream of the application, between two processes on loopback: over a
//! connection that was set up by signals, over webrtc-direct, and over TCP; and through two ends of
//! the signaled transport that are far from each other, in virtual time.
//!
//! The latter are private, so their modules are compiled into this program.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub)]

#[path = "../src"]
mod source {
    pub(crate) mod address;
    pub(crate) mod certificate;
    pub(crate) mod config;
    pub(crate) mod error;
    pub(crate) mod event;
    pub(crate) mod id;
    pub(crate) mod known;
    pub(crate) mod message;
    pub(crate) mod rate;
    pub(crate) mod reach;
    #[cfg(test)]
    pub(crate) mod script;
    pub(crate) mod signaling;
    pub(crate) mod transport {
        pub(crate) mod webrtc {
            mod endpoint;
            mod fingerprint;
            mod framing;
            #[path = "../../../benches/stream/long_path.rs"]
            pub(crate) mod long_path;
        }
    }
}

mod common;

use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join3};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use libp2p_stream::Control;
use pxp::{PxpEvent, Via};

#[cfg(test)]
use self::source::script;
use self::{
    common::{Process, Result, full_or, median, report},
    source::{
        address, certificate, config, error, event, id, known, message, rate, reach, signaling,
        transport, transport::webrtc::long_path,
    },
};

const DATA: StreamProtocol = StreamProtocol::new("/data/1.0.0");
const LENGTH: usize = 32 << 20;
const SHORT_LENGTH: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
const RUNS: usize = 7;
const SHORT_RUNS: usize = 1;
/// One way: half of the round trip.
const DELAY: Duration = Duration::from_millis(25);

#[derive(NetworkBehaviour)]
struct Node {
    pxp: pxp::Behaviour,
    stream: libp2p_stream::Behaviour,
}

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("introducer") => common::introduce().await,
        Some("receiver") => receive().await,
        _ => measure().await,
    }
}

async fn measure() -> Result<()> {
    let mut introducer = Process::start(&["introducer"])?;
    let introducer = &introducer.line()?;
    let mut receiver = Process::start(&["receiver", introducer])?;
    let (direct, tcp) = (receiver.line()?, receiver.line()?);

    let mut signaled = find(introducer).await?;
    let mut direct = dial(&direct).await?;
    let mut tcp = dial(&tcp).await?;
    let [
        mut over_signaled,
        mut over_direct,
        mut over_tcp,
        mut over_50ms,
    ] = [const { Vec::new() }; 4];
    let (length, runs) = full_or((SHORT_LENGTH, SHORT_RUNS), (LENGTH, RUNS));
    for _ in 0..runs {
        over_signaled.push(signaled.send(length).await?);
        over_direct.push(direct.send(length).await?);
        over_tcp.push(tcp.send(length).await?);
        let time = long_path::transfer(length, DELAY).ok_or("the long path ended")?;
        over_50ms.push(mib_per_s(length, time));
    }
    report("signaled", "MiB/s", &over_signaled);
    report("webrtc-direct", "MiB/s", &over_direct);
    report("tcp", "MiB/s", &over_tcp);
    report("signaled, 50 ms away", "MiB/s", &over_50ms);
    println!(
        "RESULT stream signaled_mib_s={:.1} direct_mib_s={:.1} tcp_mib_s={:.1} \
         signaled_50ms_mib_s={:.1}",
        median(&over_signaled),
        median(&over_direct),
        median(&over_tcp),
        median(&over_50ms),
    );
    Ok(())
}

fn mib_per_s(length: usize, time: Duration) -> f64 {
    length as f64 / f64::from(1 << 20) / time.as_secs_f64()
}

/// A connection to the receiver.
struct Sender {
    control: Control,
    receiver: PeerId,
}

impl Sender {
    fn new(node: Swarm<Node>, receiver: PeerId) -> Self {
        let control = node.behaviour().stream.new_control();
        tokio::spawn(keep_running(node));
        Self { control, receiver }
    }

    /// Measures how fast so many bytes go, until the receiver says that it has everything.
    async fn send(&mut self, length: usize) -> Result<f64> {
        let chunk = vec![7; CHUNK];
        let mut stream = self.control.open_stream(self.receiver, DATA).await?;
        let start = Instant::now();
        for _ in 0..length / CHUNK {
            stream.write_all(&chunk).await?;
        }
        stream.close().await?;
        let mut received = [0; 8];
        stream.read_exact(&mut received).await?;
        let time = start.elapsed();
        match u64::from_be_bytes(received) == length as u64 {
            true => Ok(mib_per_s(length, time)),
            false => Err("something was lost".into()),
        }
    }
}

/// Finds the receiver through the introducer.
async fn find(introducer: &str) -> Result<Sender> {
    let mut node = node(Keypair::generate_ed25519())?;
    join(&mut node, introducer).await?;
    node.behaviour_mut().pxp.get_new_peer()?;
    loop {
        if let SwarmEvent::Behaviour(NodeEvent::Pxp(PxpEvent::Connected { peer, via, .. })) =
            node.select_next_some().await
        {
            return match via {
                Via::Signaled => Ok(Sender::new(node, peer)),
                via => Err(format!("the receiver was reached in another way: {via:?}").into()),
            };
        }
    }
}

async fn dial(address: &str) -> Result<Sender> {
    let mut node = node(Keypair::generate_ed25519())?;
    node.dial(address.parse::<Multiaddr>()?)?;
    loop {
        if let SwarmEvent::ConnectionEstablished { peer_id, .. } = node.select_next_some().await {
            return Ok(Sender::new(node, peer_id));
        }
    }
}

/// Is found through the introducer, and prints the addresses at which it can be dialed.
async fn receive() -> Result<()> {
    let introducer = std::env::args().nth(2).ok_or("no introducer")?;
    let mut signaled = node(common::candidate_key()?)?;
    join(&mut signaled, &introducer).await?;
    let mut direct = node(Keypair::generate_ed25519())?;
    let direct_address = common::listen(&mut direct, "/ip4/127.0.0.1/udp/0/webrtc-direct").await?;
    let mut tcp = node(Keypair::generate_ed25519())?;
    let tcp_address = common::listen(&mut tcp, "/ip4/127.0.0.1/tcp/0").await?;
    let all = [signaled, direct, tcp].map(|node| tokio::spawn(take(node)));
    common::print(direct_address)?;
    common::print(tcp_address)?;
    for node in all {
        node.await??;
    }
    Ok(())
}

/// Reads each stream to its end, and says how much it was.
async fn take(node: Swarm<Node>) -> Result<()> {
    let mut incoming = node.behaviour().stream.new_control().accept(DATA)?;
    tokio::spawn(keep_running(node));
    let mut buffer = vec![0; CHUNK];
    while let Some((_, mut stream)) = incoming.next().await {
        let mut received = 0_u64;
        loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                len => received += len as u64,
            }
        }
        stream.write_all(&received.to_be_bytes()).await?;
        stream.close().await?;
    }
    Ok(())
}

async fn keep_running(mut node: Swarm<Node>) {
    match common::run(&mut node).await {}
}

fn node(key: Keypair) -> Result<Swarm<Node>> {
    common::node_with(key, common::config()?, |pxp| Node {
        pxp,
        stream: libp2p_stream::Behaviour::new(),
    })
}

async fn join(node: &mut Swarm<Node>, introducer: &str) -> Result<()> {
    node.dial(introducer.parse::<Multiaddr>()?)?;
    common::until(node, |node| node.pxp.peers().len() > 0).await;
    Ok(())
}
