//! The nodes that run on a lab's hosts, each a process. They are told by lines what to do, and print
//! a line for all that happens.

use std::{error::Error, fmt::Display, io::Write, time::Instant};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, identity::Keypair, multiaddr::Protocol, noise,
    swarm::SwarmEvent, tcp, yamux,
};
use pxp::{Config, Origin, PxpEvent};
use tokio::io::{AsyncBufReadExt, BufReader};

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
    let mut node = node(config()?.with_stun_service(0))?;
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
    let mut node = node(config()?)?;
    node.dial(introducer)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
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
            event = node.select_next_some() => if let SwarmEvent::Behaviour(event) = event {
                print_end_of_query(&event, asked)?;
            },
        }
    }
}

fn print_end_of_query(event: &PxpEvent, asked: Instant) -> Result<()> {
    let ms = asked.elapsed().as_secs_f64() * 1e3;
    match event {
        PxpEvent::Connected {
            origin: Origin::Found(_),
            via,
            ..
        } => print(format_args!("found {ms:.1} {via:?}")),
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
