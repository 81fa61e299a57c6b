//! Streams that the caller brings are connections like any other, and whatever is wrong with one
//! of them is told in one typed event.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::common::*;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, StreamExt, task::AtomicWaker};
use libp2p::{
    Swarm, SwarmBuilder,
    core::ConnectedPoint,
    identity::Keypair,
    noise,
    swarm::{ConnectionId, SwarmEvent, dummy},
    tcp, yamux,
};
use pxp::{Duplex, LinkError, Origin, PxpEvent, StreamError, Via};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::{
    io::DuplexStream,
    net::{TcpListener, TcpStream},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// A handshake may take 10 s, and so may a hello.
const TIMED_OUT: Duration = Duration::from_secs(12);

fn pipe() -> (Compat<DuplexStream>, Compat<DuplexStream>) {
    let (one, two) = tokio::io::duplex(64 * 1024);
    (one.compat(), two.compat())
}

async fn tcp_pair() -> (Compat<TcpStream>, Compat<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = TcpStream::connect(listener.local_addr().unwrap());
    let (dialed, accepted) = tokio::join!(dial, listener.accept());
    (dialed.unwrap().compat(), accepted.unwrap().0.compat())
}

/// Nodes that nobody dials: those without WebRTC listen on TCP, for new peers.
async fn quiet_nodes<const N: usize>() -> [Node; N] {
    if !cfg!(feature = "webrtc") {
        return nodes().await;
    }
    let nodes = futures::future::join_all((0..N).map(|_| swarm(config(), |pxp| pxp))).await;
    nodes.try_into().unwrap_or_else(|_| unreachable!())
}

/// Node `from` speaks over one end and node `to` over the other, until both are peers.
async fn link(
    nodes: &mut [Node],
    from: usize,
    to: usize,
    (ours, theirs): (impl Duplex, impl Duplex),
) {
    nodes[from].behaviour_mut().connect(ours).unwrap();
    nodes[to].behaviour_mut().accept(theirs).unwrap();
    until_peers(nodes, from, to).await;
}

/// What one node says of a link over a stream.
#[derive(Default)]
struct Told {
    endpoint: Option<(ConnectionId, ConnectedPoint)>,
    connected: Option<(ConnectionId, Origin)>,
}

/// Links two nodes and checks that both tell the same story of it, each from its side.
async fn a_link_has_the_right_roles(ends: (impl Duplex, impl Duplex)) {
    let mut nodes: [Node; 2] = quiet_nodes().await;
    let ids = [0, 1].map(|n| *nodes[n].local_peer_id());
    let connection = nodes[0].behaviour_mut().connect(ends.0).unwrap();
    nodes[1].behaviour_mut().accept(ends.1).unwrap();
    let mut told = [Told::default(), Told::default()];
    drive(&mut nodes, "both ends of a link", |node, event| {
        let told_here = &mut told[node];
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                assert_eq!(peer_id, ids[1 - node]);
                told_here.endpoint = Some((connection_id, endpoint));
            }
            SwarmEvent::Behaviour(PxpEvent::Connected {
                peer,
                connection,
                networks,
                origin,
                via,
                ..
            }) => {
                assert_eq!((peer, via), (ids[1 - node], Via::Stream));
                assert_eq!(networks, ["test".parse().unwrap()]);
                told_here.connected = Some((connection, origin));
            }
            SwarmEvent::Behaviour(other) => panic!("{other:?}"),
            _ => {}
        }
        told.iter()
            .all(|told| told.connected.is_some())
            .then_some(())
    })
    .await;
    let [dialer, listener] = told;
    let (id, endpoint) = dialer.endpoint.unwrap();
    assert!(endpoint.is_dialer(), "{endpoint:?}");
    assert_eq!(id, connection);
    assert_eq!(dialer.connected, Some((id, Origin::Dialed)));
    let (id, endpoint) = listener.endpoint.unwrap();
    assert!(endpoint.is_listener(), "{endpoint:?}");
    assert_eq!(listener.connected, Some((id, Origin::Accepted)));
}

#[tokio::test]
async fn a_pipe_in_memory_is_a_link_with_the_right_roles() {
    a_link_has_the_right_roles(pipe()).await;
}

#[tokio::test]
async fn a_pipe_that_holds_64_bytes_is_a_link_too() {
    let (one, two) = tokio::io::duplex(64);
    a_link_has_the_right_roles((one.compat(), two.compat())).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_a_link_with_the_right_roles() {
    let (one, two) = tokio::net::UnixStream::pair().unwrap();
    a_link_has_the_right_roles((one.compat(), two.compat())).await;
}

#[tokio::test]
async fn a_tcp_stream_of_the_caller_is_a_link_with_the_right_roles() {
    a_link_has_the_right_roles(tcp_pair().await).await;
}

#[tokio::test]
async fn a_tcp_stream_of_the_caller_may_lead_to_an_ordinary_listener() {
    let mut nodes: [Node; 2] = nodes().await;
    let stream = dial_by_hand(&nodes[1]).await;
    nodes[0].behaviour_mut().connect(stream).unwrap();
    until_peers(&mut nodes, 0, 1).await;
}

#[tokio::test]
async fn a_new_peer_is_found_through_streams_alone() {
    let mut nodes: [Node; 3] = quiet_nodes().await;
    link(&mut nodes, 0, 1, pipe()).await;
    link(&mut nodes, 1, 2, pipe()).await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    let end = end_of_query(&mut nodes, 0, query).await;
    let found = *nodes[2].local_peer_id();
    assert!(
        matches!(end, PxpEvent::Connected { peer, .. } if peer == found),
        "{end:?}"
    );
}

#[tokio::test]
async fn two_streams_to_one_peer_are_one_peer() {
    let mut nodes: [Node; 2] = quiet_nodes().await;
    link(&mut nodes, 0, 1, pipe()).await;
    link_again(&mut nodes).await;
    let events = run(&mut nodes, Duration::from_millis(500)).await;
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(nodes[0].behaviour().peers().len(), 1);
}

/// Adds a second connection between the two nodes.
async fn link_again(nodes: &mut [Node; 2]) {
    let (ours, theirs) = pipe();
    let connection = nodes[0].behaviour_mut().connect(ours).unwrap();
    nodes[1].behaviour_mut().accept(theirs).unwrap();
    drive(nodes, "a second connection", |node, event| match event {
        SwarmEvent::ConnectionEstablished { connection_id, .. } if node == 0 => {
            assert_eq!(connection_id, connection);
            Some(())
        }
        SwarmEvent::Behaviour(event) => panic!("{event:?}"),
        _ => None,
    })
    .await;
}

// What is no peer.

/// Which of the two commands took a stream, with the connection if it told one.
#[derive(Debug, Clone, Copy)]
enum Command {
    Connect,
    Accept,
}

const COMMANDS: [Command; 2] = [Command::Connect, Command::Accept];

/// Hands a stream to a node and returns the error in the one event that must follow.
async fn failure(node: &mut Node, command: Command, stream: impl Duplex) -> LinkError {
    let connection = match command {
        Command::Connect => Some(node.behaviour_mut().connect(stream).unwrap()),
        Command::Accept => {
            node.behaviour_mut().accept(stream).unwrap();
            None
        }
    };
    let (failed, error) = link_failure(node).await;
    if let Some(connection) = connection {
        assert_eq!(failed, connection);
    }
    error
}

/// The next event, which must be a failure of a stream whose other end never had a name.
async fn link_failure(node: &mut Node) -> (ConnectionId, LinkError) {
    event(
        std::slice::from_mut(node),
        0,
        "a failed link",
        |event| match event {
            PxpEvent::LinkFailed {
                peer: None,
                connection,
                error,
            } => Some((connection, error)),
            other => panic!("{other:?}"),
        },
    )
    .await
}

/// Nothing more follows, and the node is as good as new.
async fn assert_unharmed(mut node: Node) {
    let events = run(std::slice::from_mut(&mut node), Duration::from_millis(100)).await;
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(node.network_info().num_peers(), 0);
    let mut nodes = [node, quiet_nodes::<1>().await.into_iter().next().unwrap()];
    link(&mut nodes, 0, 1, pipe()).await;
}

#[tokio::test]
async fn garbage_is_a_failed_handshake() {
    let [mut node] = quiet_nodes().await;
    for command in COMMANDS {
        for garbage in [&[0xff; 4096][..], b"GET / HTTP/1.1\r\n\r\n", b"\x05hello"] {
            let (ours, mut theirs) = pipe();
            theirs.write_all(garbage).await.unwrap();
            theirs.close().await.unwrap();
            let error = failure(&mut node, command, ours).await;
            assert!(matches!(error, LinkError::Handshake(_)), "{error:?}");
        }
    }
    assert_unharmed(node).await;
}

#[tokio::test]
async fn an_immediate_end_is_a_failed_handshake() {
    let [mut node] = quiet_nodes().await;
    for command in COMMANDS {
        let (ours, _) = pipe();
        let error = failure(&mut node, command, ours).await;
        // A pipe whose other end is gone fails to be written to, if that is tried first.
        match error {
            LinkError::Handshake(_) => {}
            LinkError::Io(error) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
            other => panic!("{other:?}"),
        }
    }
    assert_unharmed(node).await;
}

#[tokio::test]
async fn silence_is_a_failed_handshake_within_10_seconds() {
    let [mut node] = quiet_nodes().await;
    let ((one, _silent), (two, _mute)) = (pipe(), pipe());
    let dialed = node.behaviour_mut().connect(one).unwrap();
    node.behaviour_mut().accept(two).unwrap();
    let start = Instant::now();
    let failures = [link_failure(&mut node).await, link_failure(&mut node).await];
    let took = start.elapsed();
    assert!(pxp::Limits::PROOF_TIME <= took && took < TIMED_OUT);
    for (_, error) in &failures {
        let LinkError::Handshake(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    assert!(failures.iter().any(|(connection, _)| *connection == dialed));
    assert_unharmed(node).await;
}

/// A libp2p node that speaks Noise and Yamux, and no protocol at all.
async fn stranger() -> Swarm<dummy::Behaviour> {
    let mut stranger = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(2 * PATIENCE))
        .build();
    listen(&mut stranger, "/ip4/127.0.0.1/tcp/0").await;
    stranger
}

async fn dial_by_hand<B: libp2p::swarm::NetworkBehaviour>(swarm: &Swarm<B>) -> Compat<TcpStream> {
    let address = address(swarm, "/tcp/").to_string();
    let port: u16 = address.split('/').nth(4).unwrap().parse().unwrap();
    TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap()
        .compat()
}

/// Polls the stranger beside the node until the link on this stream has failed and the stranger
/// has seen its connection close.
async fn failure_with_stranger(
    node: &mut Node,
    stranger: &mut Swarm<dummy::Behaviour>,
) -> (ConnectionId, LinkError) {
    let id = *stranger.local_peer_id();
    let failed = event(
        std::slice::from_mut(node),
        0,
        "a failed link",
        |event| match event {
            PxpEvent::LinkFailed {
                peer,
                connection,
                error,
            } => {
                assert_eq!(peer, Some(id));
                Some((connection, error))
            }
            other => panic!("{other:?}"),
        },
    );
    let failed = tokio::select! {
        failed = failed => failed,
        () = async { loop { stranger.select_next_some().await; } } => unreachable!(),
    };
    let closed = async {
        tokio::select! {
            () = async { loop { node.select_next_some().await; } } => {}
            () = async {
                while !matches!(stranger.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {}
            } => {}
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
    failed
}

#[tokio::test]
async fn a_dialed_stream_to_a_node_without_the_protocol_is_unsupported_and_closed() {
    let ([mut node], mut stranger) = (quiet_nodes().await, stranger().await);
    let stream = dial_by_hand(&stranger).await;
    let connection = node.behaviour_mut().connect(stream).unwrap();
    let (failed, error) = failure_with_stranger(&mut node, &mut stranger).await;
    assert_eq!(failed, connection);
    assert!(matches!(error, LinkError::Unsupported), "{error:?}");
    assert_unharmed(node).await;
}

#[tokio::test]
async fn an_accepted_stream_of_a_node_without_the_protocol_brings_no_hello_and_is_closed() {
    let ([mut node], mut stranger) = (quiet_nodes().await, stranger().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    stranger
        .dial(address.parse::<libp2p::Multiaddr>().unwrap())
        .unwrap();
    let stream = tokio::select! {
        accepted = listener.accept() => accepted.unwrap().0,
        () = async { loop { stranger.select_next_some().await; } } => unreachable!(),
    };
    node.behaviour_mut().accept(stream.compat()).unwrap();
    let (_, error) = failure_with_stranger(&mut node, &mut stranger).await;
    assert!(matches!(error, LinkError::NoHello), "{error:?}");
    assert_unharmed(node).await;
}

#[tokio::test]
async fn a_stream_that_leads_to_the_node_itself_fails_at_both_ends() {
    let [mut node] = quiet_nodes().await;
    let (one, two) = pipe();
    let dialed = node.behaviour_mut().connect(one).unwrap();
    node.behaviour_mut().accept(two).unwrap();
    let failures = [link_failure(&mut node).await, link_failure(&mut node).await];
    assert!(failures.iter().any(|(connection, _)| *connection == dialed));
    assert_ne!(failures[0].0, failures[1].0);
    // The end that the swarm gives up first is dropped, which the other may see as a broken stream.
    let is_typed = |error: &LinkError| {
        matches!(
            error,
            LinkError::Aborted | LinkError::Handshake(_) | LinkError::Io(_)
        )
    };
    assert!(
        failures.iter().all(|(_, error)| is_typed(error)),
        "{failures:?}"
    );
    let is_aborted = |error: &LinkError| matches!(error, LinkError::Aborted);
    assert!(
        failures.iter().any(|(_, error)| is_aborted(error)),
        "{failures:?}"
    );
    assert_unharmed(node).await;
}

// What the caller's own stream does.

#[derive(Debug, thiserror::Error)]
#[error("somebody pulled the plug")]
struct Unplugged;

/// Pulled, it makes a [`Pluggable`] stream fail.
#[derive(Default)]
struct Plug {
    is_pulled: AtomicBool,
    waker: AtomicWaker,
}

impl Plug {
    fn pull(&self) {
        self.is_pulled.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.waker.register(cx.waker());
        match self.is_pulled.load(Ordering::SeqCst) {
            true => Err(io::Error::other(Unplugged)),
            false => Ok(()),
        }
    }
}

struct Pluggable {
    stream: Compat<DuplexStream>,
    plug: Arc<Plug>,
}

impl Pluggable {
    fn new(stream: Compat<DuplexStream>) -> (Self, Arc<Plug>) {
        let plug = Arc::<Plug>::default();
        let pluggable = Self {
            stream,
            plug: plug.clone(),
        };
        (pluggable, plug)
    }
}

impl AsyncRead for Pluggable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.plug.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pluggable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.plug.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[track_caller]
fn assert_unplugged(error: &LinkError) {
    let LinkError::Io(error) = error else {
        panic!("{error:?}");
    };
    let source = error.get_ref().expect("the caller's error");
    assert!(source.downcast_ref::<Unplugged>().is_some(), "{source:?}");
}

#[tokio::test]
async fn an_error_of_the_callers_stream_during_the_handshake_keeps_its_source() {
    let [mut node] = quiet_nodes().await;
    for command in COMMANDS {
        let (ours, _theirs) = pipe();
        let (ours, plug) = Pluggable::new(ours);
        plug.pull();
        let error = failure(&mut node, command, ours).await;
        assert_unplugged(&error);
    }
    assert_unharmed(node).await;
}

#[tokio::test]
async fn an_error_of_the_callers_stream_on_a_live_link_keeps_its_source() {
    for pulled in [0, 1] {
        let mut nodes: [Node; 2] = quiet_nodes().await;
        let (ours, theirs) = pipe();
        let ((ours, near), (theirs, far)) = (Pluggable::new(ours), Pluggable::new(theirs));
        link(&mut nodes, 0, 1, (ours, theirs)).await;
        [near, far][pulled].pull();
        let start = Instant::now();
        let mut failed = None;
        let other = *nodes[1 - pulled].local_peer_id();
        event(&mut nodes, pulled, "a disconnect", |event| match event {
            PxpEvent::LinkFailed { peer, error, .. } => {
                assert_eq!(peer, Some(other));
                assert!(failed.is_none(), "{failed:?} and then {error:?}");
                failed = Some(error);
                None
            }
            PxpEvent::Disconnected { peer } => {
                assert_eq!(peer, other);
                Some(())
            }
            other => panic!("{other:?}"),
        })
        .await;
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_unplugged(&failed.expect("a failed link before the disconnect"));
    }
}

// Streams that are not taken.

#[tokio::test]
async fn after_close_no_stream_is_taken() {
    let [mut node] = quiet_nodes().await;
    node.behaviour_mut().close();
    let refused = |node: &mut Node| {
        let behaviour = node.behaviour_mut();
        assert_eq!(behaviour.connect(pipe().0), Err(StreamError::Closed));
        assert_eq!(behaviour.accept(pipe().0), Err(StreamError::Closed));
    };
    refused(&mut node);
    event(std::slice::from_mut(&mut node), 0, "closed", |event| {
        matches!(event, PxpEvent::Closed).then_some(())
    })
    .await;
    refused(&mut node);
}

#[tokio::test]
async fn streams_that_were_under_way_when_the_exchange_closed_come_to_nothing() {
    let mut nodes: [Node; 2] = quiet_nodes().await;
    let (ours, theirs) = pipe();
    nodes[0].behaviour_mut().connect(ours).unwrap();
    nodes[1].behaviour_mut().accept(theirs).unwrap();
    nodes[0].behaviour_mut().close();
    let mut closed = false;
    let mut established = false;
    drive(&mut nodes, "the end of the connection", |node, event| {
        match event {
            SwarmEvent::Behaviour(PxpEvent::Connected { .. }) => panic!("a link after close"),
            SwarmEvent::Behaviour(PxpEvent::Closed) => {
                assert_eq!(node, 0);
                closed = true;
            }
            SwarmEvent::ConnectionEstablished { .. } => established = true,
            SwarmEvent::ConnectionClosed { .. } => return Some(()),
            _ => {}
        }
        None
    })
    .await;
    assert!(closed && established);
}

#[test]
fn without_the_transport_no_stream_is_taken() {
    let key = Keypair::generate_ed25519();
    let mut alone = pxp::Behaviour::new(&key, config());
    assert_eq!(alone.connect(pipe().0), Err(StreamError::NoTransport));
    assert_eq!(alone.accept(pipe().0), Err(StreamError::NoTransport));

    let (transport, mut behaviour) = pxp::new(&key, config());
    drop(transport);
    assert_eq!(behaviour.connect(pipe().0), Err(StreamError::NoTransport));
    assert_eq!(behaviour.accept(pipe().0), Err(StreamError::NoTransport));
}

#[tokio::test]
async fn the_65th_stream_that_waits_is_one_too_many_and_the_64_are_served() {
    let mut nodes: [Node; 2] = quiet_nodes().await;
    for _ in 0..64 {
        let (ours, theirs) = pipe();
        nodes[0].behaviour_mut().connect(ours).unwrap();
        nodes[1].behaviour_mut().accept(theirs).unwrap();
    }
    assert_eq!(
        nodes[0].behaviour_mut().connect(pipe().0),
        Err(StreamError::Busy)
    );
    assert_eq!(
        nodes[1].behaviour_mut().accept(pipe().0),
        Err(StreamError::Busy)
    );
    let mut established = 0;
    drive(&mut nodes, "64 connections", |node, event| {
        let is_new = matches!(event, SwarmEvent::ConnectionEstablished { .. });
        established += usize::from(is_new && node == 0);
        (established == 64).then_some(())
    })
    .await;
    let ((ours, _), (theirs, _)) = (pipe(), pipe());
    nodes[0].behaviour_mut().connect(ours).unwrap();
    nodes[1].behaviour_mut().accept(theirs).unwrap();
}

// The end of a stream.

#[tokio::test]
async fn a_peer_whose_end_is_dropped_is_disconnected_at_once() {
    let mut nodes: [Node; 2] = quiet_nodes().await;
    link(&mut nodes, 0, 1, pipe()).await;
    let [one, other] = nodes;
    let gone = *other.local_peer_id();
    drop(other);
    assert_disconnected_at_once(one, gone).await;
}

#[tokio::test]
async fn a_peer_whose_stream_is_cut_is_disconnected_at_once() {
    let mut nodes: [Node; 2] = quiet_nodes().await;
    let ((ours, near), (far, theirs)) = (pipe(), pipe());
    let cable = tokio::spawn(async move {
        let (mut near, mut far) = (near.into_inner(), far.into_inner());
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    });
    link(&mut nodes, 0, 1, (ours, theirs)).await;
    cable.abort();
    let [one, other] = nodes;
    let ids = [*one.local_peer_id(), *other.local_peer_id()];
    tokio::join!(
        assert_disconnected_at_once(one, ids[1]),
        assert_disconnected_at_once(other, ids[0])
    );
}

async fn assert_disconnected_at_once(mut node: Node, gone: libp2p::PeerId) {
    let start = Instant::now();
    event(
        std::slice::from_mut(&mut node),
        0,
        "a disconnect",
        |event| match event {
            PxpEvent::Disconnected { peer } => {
                assert_eq!(peer, gone);
                Some(())
            }
            _ => None,
        },
    )
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(node.behaviour().peers().len(), 0);
}

/// A stream that tells whether it is still held by anybody.
struct Counted {
    stream: Compat<DuplexStream>,
    _token: Arc<()>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A pipe, and what is alive as long as anybody holds our end of it.
fn counted_pipe() -> (Counted, Compat<DuplexStream>, Weak<()>) {
    let (ours, theirs) = pipe();
    let token = Arc::new(());
    let alive = Arc::downgrade(&token);
    let ours = Counted {
        stream: ours,
        _token: token,
    };
    (ours, theirs, alive)
}

#[tokio::test]
async fn nothing_is_left_of_200_streams_that_came_and_went() {
    let mut nodes: [Node; 2] = quiet_nodes().await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (mut held, mut before) = (Vec::new(), None);
    for round in 0..200 {
        let (ours, theirs, alive) = counted_pipe();
        held.push(alive);
        match round % 3 {
            0 => drop(failed_round(&mut nodes, Command::Connect, ours, theirs).await),
            1 => drop(failed_round(&mut nodes, Command::Accept, ours, theirs).await),
            _ => linked_round(&mut nodes, ours, theirs).await,
        }
        if round == 2 {
            before = Some(tasks());
        }
    }
    let is_left = |nodes: &[Node; 2]| {
        let connections = nodes
            .iter()
            .map(|node| node.network_info().connection_counters().num_connections());
        let streams = held.iter().filter(|alive| alive.strong_count() > 0).count();
        (
            connections.sum::<u32>(),
            streams,
            tasks().saturating_sub(before.unwrap_or(0)),
        )
    };
    let deadline = Instant::now() + PATIENCE;
    while is_left(&nodes) != (0, 0, 0) {
        assert!(Instant::now() < deadline, "left: {:?}", is_left(&nodes));
        run(&mut nodes, Duration::from_millis(10)).await;
    }
}

/// A stream that ends at once.
async fn failed_round(
    nodes: &mut [Node; 2],
    command: Command,
    ours: impl Duplex,
    theirs: impl Duplex,
) -> LinkError {
    drop(theirs);
    failure(&mut nodes[0], command, ours).await
}

/// A stream that becomes a link and is closed by one side.
async fn linked_round(nodes: &mut [Node; 2], ours: impl Duplex, theirs: impl Duplex) {
    link(nodes, 0, 1, (ours, theirs)).await;
    let peer = *nodes[1].local_peer_id();
    nodes[0].disconnect_peer_id(peer).unwrap();
    let mut left = 2;
    drive(nodes, "both disconnects", |_, event| {
        if let SwarmEvent::Behaviour(event) = event {
            assert!(matches!(event, PxpEvent::Disconnected { .. }), "{event:?}");
            left -= 1;
        }
        (left == 0).then_some(())
    })
    .await;
}
