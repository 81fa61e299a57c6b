//! The nodes that run on a lab's hosts, each a process. They are told by lines what to do, and print
//! a line for all that happens.

use std::{
    collections::HashMap,
    error::Error,
    fmt::Display,
    io::Write,
    net::{Ipv6Addr, SocketAddr},
    time::Instant,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    swarm::{ConnectionId, SwarmEvent},
    tcp, yamux,
};
use pxp::{Config, IceServer, Origin, PxpEvent};
use stun::{
    message::{BINDING_REQUEST, BINDING_SUCCESS, Message},
    xoraddr::XorMappedAddress,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UdpSocket,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub const INTRODUCER: &str = "introducer";
pub const PEER: &str = "peer";

const NETWORK: &str = "natlab";

/// Plays the role that this program was started in, if it is one.
pub async fn play(args: &[&str]) -> Option<Result<()>> {
    match args {
        [INTRODUCER, address] => Some(introduce(address).await),
        [PEER, introducer] => Some(take_part(introducer).await),
        _ => None,
    }
}

/// A public node, which prints its addresses.
async fn introduce(address: &str) -> Result<()> {
    let mut node = node(serving_stun(config()?))?;
    node.listen_on(address.parse()?)?;
    loop {
        match node.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                let address = address.with(Protocol::P2p(*node.local_peer_id()));
                print(format_args!("listening {address}"))?;
            }
            SwarmEvent::Behaviour(event) => print_event(&event)?,
            _ => {}
        }
    }
}

/// A node that knows the introducer and nobody else. The line `ask` makes it ask for a new peer,
/// `peers` makes it tell how many there are.
async fn take_part(introducer: &str) -> Result<()> {
    let introducer: Multiaddr = introducer.parse()?;
    let mut node = node(asking_stun(config()?, &introducer)?)?;
    node.dial(introducer)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut ways = HashMap::new();
    let mut asked = Instant::now();
    loop {
        tokio::select! {
            line = lines.next_line() => match line?.as_deref() {
                Some("ask") => {
                    asked = Instant::now();
                    node.behaviour_mut().get_new_peer()?;
                }
                Some("peers") => print(format_args!("peers {}", node.behaviour().peers().len()))?,
                Some(line) => return Err(format!("what is {line:?}?").into()),
                None => return Ok(()),
            },
            event = node.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { connection_id, endpoint, .. } => {
                    ways.insert(connection_id, Way::of(endpoint.get_remote_address()));
                }
                SwarmEvent::Behaviour(event) => print_end_of_query(&event, asked, &ways)?,
                _ => {}
            },
        }
    }
}

/// How a connection was made.
#[derive(Debug, Clone, Copy)]
enum Way {
    Signaled,
    Dialed,
}

impl Way {
    fn of(address: &Multiaddr) -> Self {
        match address.iter().next() {
            Some(Protocol::WebRTC) => Self::Signaled,
            _ => Self::Dialed,
        }
    }
}

fn print_end_of_query(
    event: &PxpEvent,
    asked: Instant,
    ways: &HashMap<ConnectionId, Way>,
) -> Result<()> {
    let ms = asked.elapsed().as_secs_f64() * 1e3;
    match event {
        PxpEvent::Connected {
            connection,
            origin: Origin::Found(_),
            ..
        } => {
            let way = ways.get(connection).ok_or("no connection")?;
            print(format_args!("found {ms:.1} {way:?}"))
        }
        PxpEvent::QueryFailed { error, .. } => {
            print(format_args!("failed {ms:.1} {}", with_sources(error)))
        }
        event => print_event(event),
    }
}

fn print_event(event: &PxpEvent) -> Result<()> {
    match event {
        PxpEvent::Connected { peer, .. } => print(format_args!("connected {peer}")),
        PxpEvent::Disconnected { peer } => print(format_args!("disconnected {peer}")),
        event => print(format_args!("{event:?}")),
    }
}

fn with_sources(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_sources(source)),
        None => error.to_string(),
    }
}

fn config() -> Result<Config> {
    Ok(Config::new(NETWORK.parse()?))
}

fn node(config: Config) -> Result<Swarm<pxp::Behaviour>> {
    let key = Keypair::generate_ed25519();
    let (transport, pxp) = pxp::new(&key, config);
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| pxp)?
        .build())
}

fn print(line: impl Display) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

const STUN_PORT: u16 = 3478;

/// Makes the introducer tell others how they look from outside.
fn serving_stun(config: Config) -> Config {
    tokio::spawn(serve_stun());
    config
}

/// Makes a peer ask the introducer how it looks from outside.
fn asking_stun(config: Config, introducer: &Multiaddr) -> Result<Config> {
    let ip = introducer.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    });
    let address = SocketAddr::new(ip.ok_or("no address")?, STUN_PORT);
    let server: IceServer = format!("stun:{address}").parse()?;
    Ok(config.with_ice_servers([server]))
}

async fn serve_stun() -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, STUN_PORT)).await?;
    let mut buffer = [0; 1500];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await?;
        let mut request = Message::new();
        request.raw = buffer[..len].to_vec();
        if request.decode().is_err() || request.typ != BINDING_REQUEST {
            continue;
        }
        let mapped = XorMappedAddress {
            ip: from.ip().to_canonical(),
            port: from.port(),
        };
        let id = request.transaction_id;
        let mut response = Message::new();
        response.build(&[Box::new(id), Box::new(BINDING_SUCCESS), Box::new(mapped)])?;
        socket.send_to(&response.raw, from).await?;
    }
}
