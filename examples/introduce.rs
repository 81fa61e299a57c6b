//! Three nodes in one process: A and C know only B, meet through it, and stay when it goes.

use std::{error::Error, time::Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::select_all};
use libp2p::{
    PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use pxp::{Config, PxpEvent};
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The application's own protocol, which knows nothing of the peer exchange.
const DATA: StreamProtocol = StreamProtocol::new("/data/1.0.0");
const LENGTH: usize = 4 * 1024 * 1024;
const NAMES: [&str; 3] = ["A", "B", "C"];
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

#[derive(NetworkBehaviour)]
struct Node {
    pxp: pxp::Behaviour,
    stream: libp2p_stream::Behaviour,
}

#[tokio::main]
async fn main() -> Result<()> {
    let start = Instant::now();
    let say = |what: &str| println!("{:>5} ms  {what}", start.elapsed().as_millis());
    let mut nodes = vec![node()?, node()?, node()?];
    let ids: Vec<PeerId> = nodes.iter().map(|node| *node.local_peer_id()).collect();

    nodes[B].listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let address = drive(&mut nodes, |_, event| match event {
        SwarmEvent::NewListenAddr { address, .. } if address.to_string().contains("tcp") => {
            Some(address)
        }
        _ => None,
    });
    let address = address.await;
    say(&format!("B listens at {address}; A and C dial it"));
    nodes[A].dial(address.clone())?;
    nodes[C].dial(address)?;
    events(&mut nodes, 4, |event| {
        matches!(event, PxpEvent::Connected { .. })
    })
    .await?;
    say("A and C are peers of B, and know nobody else; A asks for a new peer");

    nodes[A].behaviour_mut().pxp.get_new_peer()?;
    let met = events(&mut nodes, 2, |event| {
        matches!(event, PxpEvent::Connected { .. })
    })
    .await?;
    for (node, event) in met {
        say(&format!("{} reports {event:?}", NAMES[node]));
    }

    let mut incoming = nodes[C].behaviour().stream.new_control().accept(DATA)?;
    let mut control = nodes[A].behaviour().stream.new_control();
    let c = ids[C];
    let at_a =
        tokio::spawn(
            async move { exchange(control.open_stream(c, DATA).await?, b'a', b'c').await },
        );
    let at_c = tokio::spawn(async move {
        let (_, stream) = incoming.next().await.ok_or("no stream came")?;
        exchange(stream, b'c', b'a').await
    });
    let both = async { tokio::try_join!(at_a, at_c) };
    let (at_a, at_c) = tokio::select! {
        results = both => results?,
        lost = drive(&mut nodes, disconnected) => return Err(format!("{lost} was lost").into()),
    };
    say(&format!("A has 4 MiB of C, SHA-256 {}", at_a?));
    say(&format!("C has 4 MiB of A, SHA-256 {}", at_c?));

    drop(nodes.remove(B));
    say("B is stopped");
    events(&mut nodes, 2, |event| {
        matches!(event, PxpEvent::Disconnected { .. })
    })
    .await?;
    for (node, other) in [(0, ids[C]), (1, ids[A])] {
        let peers: Vec<_> = nodes[node].behaviour().pxp.peers().collect();
        if peers != [&other] || !nodes[node].is_connected(&other) {
            return Err(format!("the connection is lost, there is {peers:?}").into());
        }
    }
    say("A and C are still connected");
    Ok(())
}

fn node() -> Result<Swarm<Node>> {
    let key = Keypair::generate_ed25519();
    let (transport, pxp) = pxp::new(&key, Config::new("introduce".parse()?));
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| Node {
            pxp,
            stream: libp2p_stream::Behaviour::new(),
        })?
        .build())
}

/// Runs all nodes until one of them reports what is waited for.
async fn drive<T>(
    nodes: &mut [Swarm<Node>],
    mut wanted: impl FnMut(usize, SwarmEvent<NodeEvent>) -> Option<T>,
) -> T {
    loop {
        let next = select_all(nodes.iter_mut().map(StreamExt::select_next_some));
        let (event, node, _) = next.await;
        if let Some(found) = wanted(node, event) {
            return found;
        }
    }
}

fn disconnected(_: usize, event: SwarmEvent<NodeEvent>) -> Option<PeerId> {
    match event {
        SwarmEvent::Behaviour(NodeEvent::Pxp(PxpEvent::Disconnected { peer })) => Some(peer),
        _ => None,
    }
}

/// Runs all nodes until as many events of a kind have come.
async fn events(
    nodes: &mut [Swarm<Node>],
    count: usize,
    is_wanted: impl Fn(&PxpEvent) -> bool,
) -> Result<Vec<(usize, PxpEvent)>> {
    let mut found = Vec::new();
    while found.len() < count {
        let event = drive(nodes, |node, event| match event {
            SwarmEvent::Behaviour(NodeEvent::Pxp(event)) => Some((node, event)),
            _ => None,
        });
        match event.await {
            (_, PxpEvent::QueryFailed { error, .. }) => return Err(error.into()),
            (node, event) if is_wanted(&event) => found.push((node, event)),
            _ => {}
        }
    }
    Ok(found)
}

/// Sends 4 MiB and receives as many at the same time; the hash of what came, if it is right.
async fn exchange(stream: Stream, ours: u8, theirs: u8) -> Result<String> {
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(&pattern(ours)).await?;
        write.close().await
    };
    let mut received = Vec::new();
    futures::try_join!(send, read.read_to_end(&mut received))?;
    let hash = |bytes: &[u8]| Sha256::digest(bytes);
    if hash(&received) != hash(&pattern(theirs)) {
        return Err(format!("{} bytes came, and not the right ones", received.len()).into());
    }
    Ok(hash(&received)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn pattern(seed: u8) -> Vec<u8> {
    (0..LENGTH).map(|n| (n / 251 + n) as u8 ^ seed).collect()
}
