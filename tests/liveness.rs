//! A peer that vanished is disconnected within 10 s and offered to nobody, whatever carried its
//! link; one that is only idle stays. Each test runs its cases side by side, for they are spent
//! waiting.

mod common;
#[cfg(feature = "webrtc")]
#[path = "common/process.rs"]
mod process;

use std::{
    collections::{HashMap, hash_map::Entry},
    future::pending,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::*;
use futures::{StreamExt, future::join_all};
use libp2p::{Multiaddr, PeerId, swarm::SwarmEvent};
use pxp::{LinkError, PxpEvent, QueryError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

/// How soon a peer that vanished must be known to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// How long a link is left alone that must live on.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Tcp,
    Quic,
    WebSocket,
    Memory,
    #[cfg(feature = "webrtc")]
    WebRtc,
    Stream,
}

const CARRIERS: &[Carrier] = &[
    Carrier::Tcp,
    Carrier::Quic,
    Carrier::WebSocket,
    Carrier::Memory,
    #[cfg(feature = "webrtc")]
    Carrier::WebRtc,
    Carrier::Stream,
];

impl Carrier {
    /// Where to listen for it.
    fn address(self) -> &'static str {
        match self {
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
            Self::WebSocket => "/ip4/127.0.0.1/tcp/0/ws",
            Self::Memory => "/memory/0",
            #[cfg(feature = "webrtc")]
            Self::WebRtc => "/ip4/127.0.0.1/udp/0/webrtc-direct",
            Self::Stream => unreachable!("nobody listens"),
        }
    }

    /// Whether the connection ends with its link also where other protocols might still use it.
    fn ends_with_its_link(self) -> bool {
        #[cfg(feature = "webrtc")]
        if self == Self::WebRtc {
            return true;
        }
        self == Self::Stream
    }

    /// Links two nodes.
    async fn link(self, nodes: &mut [Node], from: usize, to: usize) {
        if self == Self::Stream {
            let (ours, theirs) = tokio::io::duplex(4096);
            nodes[from].behaviour_mut().connect(ours.compat()).unwrap();
            nodes[to].behaviour_mut().accept(theirs.compat()).unwrap();
        } else {
            let address = listen(&mut nodes[to], self.address()).await;
            nodes[from].dial(address).unwrap();
        }
        until_peers(nodes, from, to).await;
    }
}

/// Waits until a node reports that a peer is gone. Returns why its link failed.
async fn until_gone(nodes: &mut [Node], which: usize, gone: PeerId) -> Option<LinkError> {
    let mut why = None;
    event(nodes, which, "a disconnect", |event| match event {
        PxpEvent::LinkFailed { peer, error, .. } => {
            assert_eq!(peer, Some(gone));
            why = Some(error);
            None
        }
        PxpEvent::Disconnected { peer } => {
            assert_eq!(peer, gone);
            Some(())
        }
        _ => None,
    })
    .await;
    why
}

#[track_caller]
fn assert_in_time(what: &str, start: Instant) {
    let elapsed = start.elapsed();
    println!("{what}: gone after {elapsed:?}");
    assert!(elapsed < GONE_WITHIN, "{what}: {elapsed:?}");
}

/// The one peer of a third node has nobody to offer.
async fn assert_offered_to_nobody(nodes: &mut [Node], asker: usize) {
    let query = nodes[asker].behaviour_mut().get_new_peer().unwrap();
    let end = end_of_query(nodes, asker, query).await;
    let PxpEvent::QueryFailed { error, .. } = end else {
        panic!("{end:?}");
    };
    let nobody = QueryError::NoCandidates {
        asked: 1,
        full: 0,
        known: 0,
    };
    assert_eq!(error, nobody);
}

/// A peer stops without a word, while its end of the connection is still there.
async fn freeze(carrier: Carrier, victim_dials: bool) {
    let what = format!("{carrier:?}, frozen end dialed: {victim_dials}");
    let mut nodes: [Node; 3] = nodes().await;
    let (hub, asker, victim) = (0, 1, 2);
    connect(&mut nodes, asker, hub).await;
    let (from, to) = if victim_dials {
        (victim, hub)
    } else {
        (hub, victim)
    };
    carrier.link(&mut nodes, from, to).await;
    let gone = *nodes[victim].local_peer_id();

    let [hub_node, asker_node, frozen] = nodes;
    let start = Instant::now();
    let mut nodes = [hub_node, asker_node];
    let why = until_gone(&mut nodes, hub, gone).await;
    assert_in_time(&what, start);
    assert!(matches!(why, Some(LinkError::Silent)), "{what}: {why:?}");
    assert_offered_to_nobody(&mut nodes, asker).await;
    while carrier.ends_with_its_link() && nodes[hub].is_connected(&gone) {
        drive(&mut nodes, "the end of the connection", |_, event| {
            matches!(event, SwarmEvent::ConnectionClosed { .. }).then_some(())
        })
        .await;
    }
    drop(frozen);
}

#[tokio::test]
async fn a_frozen_peer_is_disconnected_within_10_seconds_and_offered_to_nobody() {
    let cases = CARRIERS
        .iter()
        .flat_map(|carrier| [(*carrier, true), (*carrier, false)]);
    join_all(cases.map(|(carrier, victim_dials)| freeze(carrier, victim_dials))).await;
}

/// Carries a link until it is cut: from then on nothing comes through, and nobody is told.
struct Cable {
    port: u16,
    cut: watch::Sender<bool>,
}

impl Cable {
    fn cut(&self) {
        self.cut.send_replace(true);
    }

    async fn tcp(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(carry_bytes(near_read, far_write, is_cut.clone()));
                tokio::spawn(carry_bytes(far_read, near_write, is_cut.clone()));
            }
        });
        Self { port, cut }
    }

    async fn udp(target: u16) -> Self {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = near.local_addr().unwrap().port();
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            let mut clients = HashMap::new();
            let mut packet = [0; 65536];
            while let Ok((length, client)) = near.recv_from(&mut packet).await {
                if let Entry::Vacant(new) = clients.entry(client) {
                    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    far.connect(("127.0.0.1", target)).await.unwrap();
                    new.insert(far.clone());
                    tokio::spawn(carry_back(far, near.clone(), client, is_cut.clone()));
                }
                if !*is_cut.borrow() {
                    let _ = clients[&client].send(&packet[..length]).await;
                }
            }
        });
        Self { port, cut }
    }
}

async fn carry_back(
    far: Arc<UdpSocket>,
    near: Arc<UdpSocket>,
    client: SocketAddr,
    is_cut: watch::Receiver<bool>,
) {
    let mut packet = [0; 65536];
    while let Ok(length) = far.recv(&mut packet).await {
        if !*is_cut.borrow() {
            let _ = near.send_to(&packet[..length], client).await;
        }
    }
}

async fn carry_bytes(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut is_cut: watch::Receiver<bool>,
) {
    let cut = async { drop(is_cut.wait_for(|is_cut| *is_cut).await) };
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut to) => return,
        () = cut => {}
    }
    // Both ends are held, so that neither side sees an end.
    pending().await
}

/// Links two nodes over a cable and cuts it.
async fn cut(carrier: Carrier) {
    let mut nodes: [Node; 3] = nodes().await;
    connect(&mut nodes, 2, 0).await;
    let address = listen(&mut nodes[0], carrier.address()).await.to_string();
    let parts: Vec<_> = address.split('/').collect();
    let (kind, port) = (parts[3], parts[4]);
    let target = port.parse().unwrap();
    let cable = match kind {
        "udp" => Cable::udp(target).await,
        _ => Cable::tcp(target).await,
    };
    let through = address.replacen(port, &cable.port.to_string(), 1);
    nodes[1]
        .dial(through.parse::<Multiaddr>().unwrap())
        .unwrap();
    until_peers(&mut nodes, 1, 0).await;
    let ids = [0, 1].map(|node| *nodes[node].local_peer_id());

    cable.cut();
    let start = Instant::now();
    let mut left = 2;
    drive(&mut nodes, "both disconnects", |node, event| {
        match event {
            SwarmEvent::Behaviour(PxpEvent::Disconnected { peer }) => {
                assert_eq!(peer, ids[1 - node]);
                assert_in_time(&format!("{carrier:?} cut, node {node}"), start);
                left -= 1;
            }
            SwarmEvent::Behaviour(PxpEvent::LinkFailed { error, .. }) => {
                assert!(matches!(error, LinkError::Silent), "{error:?}");
            }
            _ => {}
        }
        (left == 0).then_some(())
    })
    .await;
    assert_offered_to_nobody(&mut nodes, 2).await;
}

#[tokio::test]
async fn a_peer_behind_a_cut_cable_is_disconnected_within_10_seconds_by_both() {
    let with_cables = |carrier: &&Carrier| !matches!(carrier, Carrier::Memory | Carrier::Stream);
    join_all(
        CARRIERS
            .iter()
            .filter(with_cables)
            .map(|carrier| cut(*carrier)),
    )
    .await;
}

#[cfg(all(unix, feature = "webrtc"))]
#[tokio::test]
async fn a_killed_process_is_disconnected_within_10_seconds_and_offered_to_nobody() {
    let mut nodes: [Node; 3] = nodes().await;
    let (hub, found_by, asker) = (0, 1, 2);
    connect(&mut nodes, found_by, hub).await;
    let mut process = process::Process::start(
        "node",
        &[
            "--network",
            "test",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--peers",
            "0",
        ],
    );
    let line = process.line("/ip4/127.0.0.1/tcp/").await;
    let address: Multiaddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    let Some(libp2p::multiaddr::Protocol::P2p(victim)) = address.iter().last() else {
        panic!("{address}");
    };
    nodes[hub].dial(address).unwrap();
    event(&mut nodes, hub, "the process", |event| {
        matches!(event, PxpEvent::Connected { peer, .. } if peer == victim).then_some(())
    })
    .await;
    let query = nodes[found_by].behaviour_mut().get_new_peer().unwrap();
    let mut found_over = None;
    drive(
        &mut nodes,
        "the process to be found",
        |node, event| match event {
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } if node == found_by && peer_id == victim => {
                found_over = Some(endpoint.get_remote_address().to_string());
                None
            }
            SwarmEvent::Behaviour(PxpEvent::Connected { peer, origin, .. }) if node == found_by => {
                assert_eq!((peer, origin), (victim, pxp::Origin::Found(query)));
                Some(())
            }
            _ => None,
        },
    )
    .await;
    assert!(found_over.unwrap().starts_with("/webrtc/p2p/"));
    connect(&mut nodes, asker, hub).await;

    process.signal("KILL");
    let start = Instant::now();
    let mut left = 2;
    drive(&mut nodes, "both disconnects", |node, event| {
        if let SwarmEvent::Behaviour(PxpEvent::Disconnected { peer }) = event {
            assert_eq!(peer, victim);
            let link = if node == hub { "TCP" } else { "WebRTC" };
            assert_in_time(&format!("{link} to a killed process"), start);
            left -= 1;
        }
        (left == 0).then_some(())
    })
    .await;
    let query = nodes[asker].behaviour_mut().get_new_peer().unwrap();
    // The other neighbour is what the hub still has, and nobody else.
    let end = end_of_query(&mut nodes, asker, query).await;
    let other = *nodes[found_by].local_peer_id();
    assert!(
        matches!(end, PxpEvent::Connected { peer, .. } if peer == other),
        "{end:?}"
    );
    let query = nodes[asker].behaviour_mut().get_new_peer().unwrap();
    let end = end_of_query(&mut nodes, asker, query).await;
    let is_nobody = |error: &QueryError| {
        matches!(
            error,
            QueryError::NoCandidates {
                asked: 2,
                full: 0,
                ..
            }
        )
    };
    assert!(
        matches!(&end, PxpEvent::QueryFailed { error, .. } if is_nobody(error)),
        "{end:?}"
    );
}

/// Links nodes over everything and by a query, and leaves them alone.
async fn stay_idle(idle_timeout: Option<Duration>) {
    let new = || {
        swarm_with(
            config(),
            |pxp| pxp,
            |config| match idle_timeout {
                Some(timeout) => config.with_idle_connection_timeout(timeout),
                None => config,
            },
        )
    };
    let mut nodes: Vec<Node> = join_all((0..=CARRIERS.len()).map(|_| new())).await;
    for node in &mut nodes {
        listen(node, "/ip4/127.0.0.1/tcp/0").await;
    }
    for (n, carrier) in CARRIERS.iter().enumerate() {
        carrier.link(&mut nodes, n + 1, 0).await;
    }
    let query = nodes[1].behaviour_mut().get_new_peer().unwrap();
    let end = end_of_query(&mut nodes, 1, query).await;
    let PxpEvent::Connected { peer: found, .. } = end else {
        panic!("{end:?}");
    };
    let place = nodes.iter().position(|node| *node.local_peer_id() == found);
    until_peers(&mut nodes, 1, place.unwrap()).await;

    let mut ended = Vec::new();
    let idling = async {
        loop {
            let next =
                futures::future::select_all(nodes.iter_mut().map(StreamExt::select_next_some));
            let (event, node, _) = next.await;
            if let SwarmEvent::ConnectionClosed { .. } | SwarmEvent::Behaviour(_) = event {
                ended.push((node, event));
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(IDLE, idling).await;
    assert!(ended.is_empty(), "{idle_timeout:?}: {ended:?}");
    assert_eq!(nodes[0].behaviour().peers().len(), CARRIERS.len());
    assert_eq!(nodes[1].behaviour().peers().len(), 2);
}

#[tokio::test]
async fn a_dormant_link_lives_on_whatever_the_idle_timeout() {
    tokio::join!(stay_idle(None), stay_idle(Some(Duration::ZERO)));
}
