//! The nodes that run on a lab's hosts, each a process. They are told by lines what to do, and print
//! a line for all that happens.

use std::{error::Error, fmt::Display, io::Write, time::Instant};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
    tcp, yamux,
};
use pxp::{Config, IceServer, Origin, PxpEvent};
use tokio::io::{AsyncBufReadExt, BufReader};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub const INTRODUCER: &str = "introducer";
pub const PEER: &str = "peer";

/// Makes a peer listen at the introducer's circuit relay.
pub const CIRCUIT: &str = "circuit";

/// What the TURN server knows everybody by.
pub const TURN_USER: &str = "user";
pub const TURN_PASSWORD: &str = "password";

const NETWORK: &str = "natlab";

#[derive(NetworkBehaviour)]
struct Behaviour {
    pxp: pxp::Behaviour,
    relay: Toggle<relay::Behaviour>,
    relay_client: relay::client::Behaviour,
}

/// Plays the role that this program was started in, if it is one.
pub async fn play(args: &[&str]) -> Option<Result<()>> {
    match args {
        [INTRODUCER, address] => Some(introduce(address).await),
        [PEER, introducer, options @ ..] => Some(take_part(introducer, options).await),
        _ => None,
    }
}

/// A public node, which prints its addresses. It is also a circuit relay.
async fn introduce(address: &str) -> Result<()> {
    let config = Config::new(NETWORK.parse()?).with_stun_service(0);
    let mut node = node(config, Some(relay::Config::default()))?;
    node.listen_on(address.parse()?)?;
    loop {
        match node.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                node.add_external_address(address.clone());
                let address = address.with(Protocol::P2p(*node.local_peer_id()));
                print(format_args!("listening {address}"))?;
            }
            SwarmEvent::Behaviour(BehaviourEvent::Pxp(event)) => print_event(&event)?,
            _ => {}
        }
    }
}

/// A node that knows the introducer and nobody else. The line `ask` makes it ask for a new peer,
/// `peers` makes it tell how many there are. An option is [`CIRCUIT`], the address of one more introducer, or
/// the URI of a TURN server.
async fn take_part(introducer: &str, options: &[&str]) -> Result<()> {
    let introducer: Multiaddr = introducer.parse()?;
    let (introducers, servers): (Vec<&str>, Vec<_>) = options
        .iter()
        .filter(|option| **option != CIRCUIT)
        .partition(|option| option.starts_with('/'));
    let servers = servers
        .into_iter()
        .map(|uri| IceServer::turn(uri, TURN_USER, TURN_PASSWORD));
    let servers: Vec<_> = servers.collect::<std::result::Result<_, _>>()?;
    let config = Config::new(NETWORK.parse()?).with_ice_servers(servers);
    let mut node = node(config, None)?;
    match options.contains(&CIRCUIT) {
        true => drop(node.listen_on(introducer.with(Protocol::P2pCircuit))?),
        false => node.dial(introducer)?,
    }
    for introducer in introducers {
        node.dial(introducer.parse::<Multiaddr>()?)?;
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut asked = Instant::now();
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    loop {
        tokio::select! {
            line = lines.next_line() => match line?.as_deref() {
                Some("ask") => {
                    asked = Instant::now();
                    node.behaviour_mut().pxp.get_new_peer()?;
                }
                Some("peers") => print(format_args!("peers {}", node.behaviour().pxp.peers().len()))?,
                Some(line) => return Err(format!("what is {line:?}?").into()),
                None => return Ok(()),
            },
            event = node.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Pxp(event)) => print_end_of_query(&event, asked)?,
                SwarmEvent::Dialing { .. } => print(format_args!("answered {:.1}", ms(asked)))?,
                SwarmEvent::ConnectionEstablished { .. } => print(format_args!("secured {:.1}", ms(asked)))?,
                SwarmEvent::NewListenAddr { address, .. } => print(format_args!("listening {address}"))?,
                _ => {}
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

fn node(config: Config, relay: Option<relay::Config>) -> Result<Swarm<Behaviour>> {
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
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, relay_client| Behaviour {
            pxp,
            relay: relay
                .map(|config| relay::Behaviour::new(key.public().to_peer_id(), config))
                .into(),
            relay_client,
        })?
        .build())
}

fn print(line: impl Display) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}
