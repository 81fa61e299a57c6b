//! The caller's streams through the whole transport, on both sides of the port.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt, future};
use libp2p::{
    Swarm, SwarmBuilder, Transport as _,
    core::{
        ConnectedPoint,
        muxing::{StreamMuxerExt, SubstreamBox},
        transport::PortUse,
    },
    swarm::{SwarmEvent, dial_opts::DialOpts as SwarmDialOpts, dummy},
};
use tokio::io::{DuplexStream, duplex};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;
use crate::{
    error::LinkError,
    route::{BehaviourPort, Duplex, ports},
};

const DIAL: DialOpts = DialOpts {
    role: Endpoint::Dialer,
    port_use: PortUse::New,
};

fn config() -> Config {
    Config::new("test".parse().unwrap())
}

struct Node {
    peer: PeerId,
    port: BehaviourPort,
    transport: Transport,
}

impl Node {
    fn new() -> Self {
        let key = Keypair::generate_ed25519();
        let (port, transport) = ports();
        Self {
            peer: key.public().to_peer_id(),
            transport: Transport::new(&key, transport, &config()),
            port,
        }
    }

    fn connect(&mut self, stream: impl Duplex) -> (Multiaddr, Connecting) {
        let address = self.port.connect(stream).unwrap();
        let dial = self.transport.dial(address.clone(), DIAL).unwrap();
        (address, dial)
    }

    async fn accept(&mut self, stream: impl Duplex) -> (Multiaddr, Connecting) {
        self.port.accept(stream).unwrap();
        let event = poll_fn(|cx| Pin::new(&mut self.transport).poll(cx)).await;
        let (upgrade, address) = event.into_incoming().unwrap();
        (address, upgrade)
    }
}

fn pipe() -> (Compat<DuplexStream>, Compat<DuplexStream>) {
    let (one, two) = duplex(4096);
    (one.compat(), two.compat())
}

#[derive(Debug, thiserror::Error)]
#[error("the caller's own error")]
struct Distinct;

fn is_distinct(error: Option<LinkError>) -> bool {
    matches!(error, Some(LinkError::Io(error)) if error.get_ref().is_some_and(|e| e.is::<Distinct>()))
}

/// Fails once it is told to.
struct Breakable<S> {
    stream: S,
    broken: Arc<AtomicBool>,
}

impl<S> Breakable<S> {
    fn check(&self) -> io::Result<()> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(io::Error::other(Distinct)),
            false => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Breakable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Breakable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

async fn outbound(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx)?;
        muxer.poll_outbound_unpin(cx)
    })
    .await
}

async fn inbound(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx)?;
        muxer.poll_inbound_unpin(cx)
    })
    .await
}

/// Polls a connection while something is done over it.
async fn over<T>(muxer: &mut StreamMuxerBox, work: impl Future<Output = T>) -> T {
    let drive = poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx);
        let _ = muxer.poll_inbound_unpin(cx);
        Poll::<()>::Pending
    });
    match future::select(Box::pin(work), drive).await {
        future::Either::Left((value, _)) => value,
        future::Either::Right(((), _)) => panic!("the connection ended"),
    }
}

/// The dialer's side must be polled on while the other is still connecting.
async fn both(dial: Connecting, accept: Connecting) -> (Output, Output) {
    let accept = tokio::spawn(accept);
    let (peer, mut dialed) = dial.await.unwrap();
    let accepted = over(&mut dialed, accept).await.unwrap().unwrap();
    ((peer, dialed), accepted)
}

#[tokio::test]
async fn two_ends_of_a_pipe_are_a_connection_with_streams_both_ways() {
    let (mut alice, mut bob) = (Node::new(), Node::new());
    let (one, two) = pipe();
    let (dialed, dial) = alice.connect(one);
    let (accepted, accept) = bob.accept(two).await;
    let ((to_bob, mut a), (to_alice, mut b)) = both(dial, accept).await;
    assert_eq!((to_bob, to_alice), (bob.peer, alice.peer));

    for _ in 0..2 {
        let mut outgoing = outbound(&mut a).await.unwrap();
        let mut text = String::new();
        let there = async {
            outgoing.write_all(b"hello").await?;
            outgoing.close().await?;
            let mut incoming = inbound(&mut b).await?;
            over(&mut b, incoming.read_to_string(&mut text)).await
        };
        over(&mut a, there).await.unwrap();
        assert_eq!(text, "hello");
        std::mem::swap(&mut a, &mut b);
    }
    assert!(alice.port.failure(&dialed).is_none());
    assert!(bob.port.failure(&accepted).is_none());
}

#[tokio::test]
async fn garbage_is_a_failed_handshake_for_both_roles() {
    let mut node = Node::new();
    for accept in [true, false] {
        let (ours, mut garbage) = pipe();
        let (address, connecting) = match accept {
            true => node.accept(ours).await,
            false => node.connect(ours),
        };
        garbage.write_all(&[b'x'; 1000]).await.unwrap();
        connecting.await.unwrap_err();
        let failure = node.port.failure(&address);
        assert!(
            matches!(failure, Some(LinkError::Handshake(_))),
            "{failure:?}"
        );
        assert!(node.port.failure(&address).is_none());
    }
}

#[tokio::test]
async fn an_end_of_stream_is_a_failed_handshake_for_both_roles() {
    let mut node = Node::new();
    for accept in [true, false] {
        let (ours, mut theirs) = pipe();
        let (address, connecting) = match accept {
            true => node.accept(ours).await,
            false => node.connect(ours),
        };
        theirs.close().await.unwrap();
        let error = connecting.await.unwrap_err();
        let failure = node.port.failure(&address);
        assert!(
            matches!(failure, Some(LinkError::Handshake(_))),
            "{error} {failure:?}"
        );
    }
}

#[tokio::test]
async fn an_error_of_the_callers_stream_is_kept_for_both_roles() {
    let mut node = Node::new();
    for accept in [true, false] {
        let (stream, _other) = pipe();
        let broken = Arc::new(AtomicBool::new(true));
        let stream = Breakable { stream, broken };
        let (address, connecting) = match accept {
            true => node.accept(stream).await,
            false => node.connect(stream),
        };
        connecting.await.unwrap_err();
        assert!(is_distinct(node.port.failure(&address)));
    }
}

#[tokio::test]
async fn an_error_of_the_callers_stream_late_in_the_connection_is_kept() {
    let (mut alice, mut bob) = (Node::new(), Node::new());
    let (one, two) = pipe();
    let broken = Arc::new(AtomicBool::new(false));
    let one = Breakable {
        stream: one,
        broken: broken.clone(),
    };
    let (dialed, dial) = alice.connect(one);
    let (_, accept) = bob.accept(two).await;
    let ((_, mut a), (_, _b)) = both(dial, accept).await;
    broken.store(true, Ordering::SeqCst);
    poll_fn(|cx| a.poll_unpin(cx)).await.unwrap_err();
    assert!(is_distinct(alice.port.failure(&dialed)));
}

#[tokio::test]
async fn a_stream_is_connected_once() {
    let mut node = Node::new();
    let (address, _connecting) = node.connect(pipe().0);
    let Err(TransportError::Other(error)) = node.transport.dial(address, DIAL) else {
        panic!("dialed twice");
    };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn unknown_addresses_are_left_to_other_transports() {
    let mut node = Node::new();
    for address in ["/ip4/1.2.3.4/tcp/1", "/unix/socket", "/memory/1"] {
        let address: Multiaddr = address.parse().unwrap();
        let dial = node.transport.dial(address.clone(), DIAL);
        assert!(matches!(
            dial,
            Err(TransportError::MultiaddrNotSupported(_))
        ));
        let listen = node.transport.listen_on(ListenerId::next(), address);
        assert!(matches!(
            listen,
            Err(TransportError::MultiaddrNotSupported(_))
        ));
    }
}

fn swarm() -> (Swarm<dummy::Behaviour>, BehaviourPort) {
    let key = Keypair::generate_ed25519();
    let (port, transport) = ports();
    let transport = Transport::new(&key, transport, &config());
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|_| transport)
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    (swarm, port)
}

async fn established(swarm: &mut Swarm<dummy::Behaviour>) -> (PeerId, ConnectedPoint) {
    loop {
        let event = swarm.select_next_some().await;
        if let SwarmEvent::ConnectionEstablished {
            peer_id, endpoint, ..
        } = event
        {
            return (peer_id, endpoint);
        }
    }
}

#[tokio::test]
async fn a_swarm_connects_over_a_pipe() {
    let ((mut alice, to), (mut bob, from)) = (swarm(), swarm());
    let (one, two) = pipe();
    let address = to.connect(one).unwrap();
    from.accept(two).unwrap();
    let dial = SwarmDialOpts::unknown_peer_id().address(address.clone());
    alice.dial(dial.build()).unwrap();
    let ((to_bob, a), (to_alice, b)) =
        future::join(established(&mut alice), established(&mut bob)).await;
    assert_eq!(
        (to_bob, to_alice),
        (*bob.local_peer_id(), *alice.local_peer_id())
    );
    assert!(a.is_dialer() && crate::route::is_stream(a.get_remote_address()));
    assert!(b.is_listener() && crate::route::is_stream(b.get_remote_address()));
    assert!(to.failure(a.get_remote_address()).is_none());
}
