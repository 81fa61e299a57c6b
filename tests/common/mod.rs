//! Nodes for tests over real swarms: each speaks every transport, and time out loudly.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, future::select_all};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, Transport as _,
    core::{transport::MemoryTransport, upgrade::Version},
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use pxp::{Config, Origin, PxpEvent, QueryId, Reach};

/// No step of a test takes so long, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn config() -> Config {
    Config::new("test".parse().unwrap()).with_reach(Reach::Machine)
}

/// A node that speaks TCP, QUIC, WebSocket, memory and what the peer exchange brings.
pub async fn swarm<B: NetworkBehaviour>(
    config: Config,
    behaviour: impl FnOnce(pxp::Behaviour) -> B,
) -> Swarm<B> {
    swarm_with(config, behaviour, |config| config).await
}

/// The same with a choice of the swarm's own configuration.
pub async fn swarm_with<B: NetworkBehaviour>(
    config: Config,
    behaviour: impl FnOnce(pxp::Behaviour) -> B,
    swarm_config: impl FnOnce(libp2p::swarm::Config) -> libp2p::swarm::Config,
) -> Swarm<B> {
    let key = libp2p::identity::Keypair::generate_ed25519();
    let (transport, pxp) = pxp::new(&key, config);
    SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_other_transport(|_| transport)
        .unwrap()
        .with_other_transport(|key| {
            MemoryTransport::default()
                .upgrade(Version::V1)
                .authenticate(noise::Config::new(key).unwrap())
                .multiplex(yamux::Config::default())
        })
        .unwrap()
        .with_dns()
        .unwrap()
        .with_websocket(noise::Config::new, yamux::Config::default)
        .await
        .unwrap()
        .with_behaviour(|_| behaviour(pxp))
        .unwrap()
        .with_swarm_config(swarm_config)
        .build()
}

pub type Node = Swarm<pxp::Behaviour>;

/// A node with nothing but the peer exchange, which listens on TCP too.
pub async fn node(config: Config) -> Node {
    let mut node = swarm(config, |pxp| pxp).await;
    listen(&mut node, "/ip4/127.0.0.1/tcp/0").await;
    node
}

pub async fn nodes<const N: usize>() -> [Node; N] {
    let nodes = futures::future::join_all((0..N).map(|_| node(config()))).await;
    nodes.try_into().unwrap_or_else(|_| unreachable!())
}

/// The first address of a new listener.
pub async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>, address: &str) -> Multiaddr {
    let listener = swarm.listen_on(address.parse().unwrap()).unwrap();
    let listening = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr {
                    listener_id,
                    address,
                } if listener_id == listener => {
                    return address;
                }
                _ => {}
            }
        }
    };
    let listened = tokio::time::timeout(PATIENCE, listening).await;
    listened.unwrap_or_else(|_| panic!("cannot listen at {address}"))
}

/// An address of this kind at which a node listens.
pub fn address<B: NetworkBehaviour>(swarm: &Swarm<B>, kind: &str) -> Multiaddr {
    let found = swarm
        .listeners()
        .find(|address| address.to_string().contains(kind));
    found
        .unwrap_or_else(|| panic!("no {kind} listener"))
        .clone()
}

/// Runs all nodes until one of them reports what is waited for.
pub async fn drive<B, T>(
    nodes: &mut [Swarm<B>],
    what: &str,
    mut wanted: impl FnMut(usize, SwarmEvent<B::ToSwarm>) -> Option<T>,
) -> T
where
    B: NetworkBehaviour<ToSwarm: Debug>,
{
    let mut log = Vec::new();
    let found = async {
        loop {
            let next = select_all(nodes.iter_mut().map(StreamExt::select_next_some));
            let (event, node, _) = next.await;
            log.push(format!("{node}: {event:?}"));
            if let Some(found) = wanted(node, event) {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("{what} never came, but\n{}", log.join("\n")))
}

/// Runs all nodes until this one reports an event of the peer exchange that fits.
pub async fn event<T>(
    nodes: &mut [Node],
    which: usize,
    what: &str,
    mut wanted: impl FnMut(PxpEvent) -> Option<T>,
) -> T {
    let wanted = |node, event| match event {
        SwarmEvent::Behaviour(event) if node == which => wanted(event),
        _ => None,
    };
    drive(nodes, what, wanted).await
}

/// Runs all nodes for a while. Returns what they report of the peer exchange.
pub async fn run(nodes: &mut [Node], time: Duration) -> Vec<(usize, PxpEvent)> {
    let mut events = Vec::new();
    let collecting = async {
        loop {
            let next = select_all(nodes.iter_mut().map(StreamExt::select_next_some));
            let (event, node, _) = next.await;
            if let SwarmEvent::Behaviour(event) = event {
                events.push((node, event));
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(time, collecting).await;
    events
}

/// Dials over TCP, and waits until both are peers.
pub async fn connect(nodes: &mut [Node], from: usize, to: usize) {
    let address = address(&nodes[to], "/tcp/");
    nodes[from].dial(address).unwrap();
    until_peers(nodes, from, to).await;
}

/// Runs all nodes until these two are peers.
pub async fn until_peers(nodes: &mut [Node], a: usize, b: usize) {
    while !are_peers(nodes, a, b) {
        drive(nodes, "a peer", |_, event| {
            matches!(event, SwarmEvent::Behaviour(_)).then_some(())
        })
        .await;
    }
}

pub fn are_peers(nodes: &[Node], a: usize, b: usize) -> bool {
    let knows = |a: &Node, b: &Node| a.behaviour().peers().any(|peer| peer == b.local_peer_id());
    knows(&nodes[a], &nodes[b]) && knows(&nodes[b], &nodes[a])
}

/// Three nodes: A (0) and C (2) know B (1), and nobody else.
pub async fn strangers() -> [Node; 3] {
    let mut nodes = nodes().await;
    connect(&mut nodes, 0, 1).await;
    connect(&mut nodes, 2, 1).await;
    nodes
}

/// The event that ends a query.
pub async fn end_of_query(nodes: &mut [Node], asker: usize, query: QueryId) -> PxpEvent {
    event(nodes, asker, "the end of a query", |event| match &event {
        PxpEvent::Connected {
            origin: Origin::Found(found),
            ..
        } if *found == query => Some(event),
        PxpEvent::QueryFailed { query: failed, .. } if *failed == query => Some(event),
        _ => None,
    })
    .await
}
