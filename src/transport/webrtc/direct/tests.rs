//! Connections over loopback, with the listener and the dialer driven as a swarm drives them.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Mutex, MutexGuard},
};

use futures::{
    AsyncReadExt, AsyncWriteExt, StreamExt,
    channel::mpsc::{UnboundedReceiver, unbounded},
    future::{self, Either},
};
use libp2p::{
    SwarmBuilder, Transport as _,
    core::{
        Endpoint,
        muxing::{StreamMuxerExt, SubstreamBox},
        transport::{Boxed, DialOpts, PortUse},
    },
    swarm::{SwarmEvent, dummy},
};
use sha2::{Digest, Sha256};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;
use crate::{config::Config, route, transport::Transport};

fn config() -> Config {
    Config::new("test".parse().unwrap())
}

const DIAL: DialOpts = DialOpts {
    role: Endpoint::Dialer,
    port_use: PortUse::New,
};

const SECOND: Duration = Duration::from_secs(1);

struct Incoming {
    peer: PeerId,
    muxer: StreamMuxerBox,
    remote: Multiaddr,
}

/// A transport that listens, and is polled.
struct Node {
    peer: PeerId,
    address: Multiaddr,
    transport: Arc<Mutex<Boxed<Output>>>,
    incoming: UnboundedReceiver<Incoming>,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn transport() -> (PeerId, Boxed<Output>) {
    let key = Keypair::generate_ed25519();
    let transport = Transport::new(&key, route::ports().1, &config());
    (key.public().to_peer_id(), transport.boxed())
}

/// Another implementation.
fn foreign() -> (PeerId, Boxed<Output>) {
    use libp2p_webrtc::tokio::{Certificate, Transport};

    // It panics where there are two providers and none is the default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = Keypair::generate_ed25519();
    let certificate = Certificate::generate(&mut rand::rng()).unwrap();
    let transport = Transport::new(key.clone(), certificate)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    (key.public().to_peer_id(), transport.boxed())
}

impl Node {
    async fn listening_on(address: &str, (peer, mut transport): (PeerId, Boxed<Output>)) -> Self {
        let listen = address.parse().unwrap();
        transport.listen_on(ListenerId::next(), listen).unwrap();
        let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
        let TransportEvent::NewAddress { listen_addr, .. } = event else {
            panic!("no address");
        };
        let transport = Arc::new(Mutex::new(transport));
        let (sender, incoming) = unbounded();
        let polled = transport.clone();
        let task = tokio::spawn(async move {
            loop {
                let event = poll_fn(|cx| Pin::new(&mut *lock(&polled)).poll(cx)).await;
                let Some((upgrade, remote)) = event.into_incoming() else {
                    continue;
                };
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Ok((peer, muxer)) = upgrade.await {
                        let _ = sender.unbounded_send(Incoming {
                            peer,
                            muxer,
                            remote,
                        });
                    }
                });
            }
        });
        Self {
            peer,
            address: listen_addr,
            transport,
            incoming,
            task,
        }
    }

    async fn new() -> Self {
        Self::listening_on("/ip4/127.0.0.1/udp/0/webrtc-direct", transport()).await
    }

    fn dial(&self, address: &Multiaddr) -> Connecting {
        lock(&self.transport).dial(address.clone(), DIAL).unwrap()
    }

    /// Dials until it succeeds: a dial of `webrtc-rs` hangs now and then, whatever the other side does.
    async fn dial_patiently(&self, address: &Multiaddr) -> Output {
        for _ in 0..5 {
            if let Ok(Ok(dialed)) = timeout(3 * SECOND, self.dial(address)).await {
                return dialed;
            }
        }
        panic!("none of 5 dials succeeded");
    }

    async fn accepted(&mut self) -> Incoming {
        self.incoming.next().await.unwrap()
    }
}

fn lock(transport: &Mutex<Boxed<Output>>) -> MutexGuard<'_, Boxed<Output>> {
    transport.lock().unwrap()
}

/// Answers each substream with what it reads, until the connection is dropped.
fn echo(mut muxer: StreamMuxerBox) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok(stream) = poll_fn(|cx| {
            let _ = muxer.poll_unpin(cx)?;
            muxer.poll_inbound_unpin(cx)
        })
        .await
        {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = read.read(&mut buffer).await {
                    write.write_all(&buffer[..len]).await?;
                    write.flush().await?;
                }
                write.close().await
            });
        }
    })
}

async fn open(muxer: &mut StreamMuxerBox) -> SubstreamBox {
    poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx)?;
        muxer.poll_outbound_unpin(cx)
    })
    .await
    .unwrap()
}

/// Polls a connection while something is done over it.
async fn over<T>(muxer: &mut StreamMuxerBox, work: impl Future<Output = T>) -> T {
    let drive = poll_fn(|cx| muxer.poll_unpin(cx));
    match future::select(Box::pin(work), drive).await {
        Either::Left((value, _)) => value,
        Either::Right((event, _)) => panic!("the connection ended: {event:?}"),
    }
}

async fn close(mut muxer: StreamMuxerBox) {
    poll_fn(|cx| muxer.poll_close_unpin(cx)).await.unwrap();
}

/// A round trip over a new substream.
async fn assert_works(muxer: &mut StreamMuxerBox) {
    let mut stream = open(muxer).await;
    let mut answer = [0; 4];
    let round_trip = async {
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await
    };
    let result = timeout(5 * SECOND, over(muxer, round_trip)).await;
    result.expect("an answer in time").unwrap();
    assert_eq!(&answer, b"ping");
}

async fn ended(mut stream: SubstreamBox) {
    let mut rest = Vec::new();
    let _ = timeout(SECOND, stream.read_to_end(&mut rest))
        .await
        .expect("the end within a second");
}

/// Whether this process has a UDP socket on the port of this address.
fn is_bound(address: &Multiaddr) -> bool {
    let port = socket_address(&mut address.iter()).unwrap().port();
    let port = format!(":{port:04X} ");
    ["udp", "udp6"].iter().any(|table| {
        let table = std::fs::read_to_string(format!("/proc/self/net/{table}")).unwrap();
        table.lines().any(|line| line.contains(&port))
    })
}

#[tokio::test]
async fn a_node_that_does_not_listen_dials() {
    let mut bob = Node::new().await;
    let (peer, mut alice) = transport();
    let (to_bob, mut muxer) = alice
        .dial(bob.address.clone(), DIAL)
        .unwrap()
        .await
        .unwrap();
    let incoming = bob.accepted().await;
    assert_eq!((to_bob, incoming.peer), (bob.peer, peer));
    let _echo = echo(incoming.muxer);
    assert_works(&mut muxer).await;
}

#[tokio::test]
async fn an_address_with_a_peer_id_is_dialed() {
    let bob = Node::new().await;
    let address = bob.address.clone().with(Protocol::P2p(bob.peer));
    let (_, mut alice) = transport();
    alice.dial(address, DIAL).unwrap().await.unwrap();
}

#[tokio::test]
async fn ipv6_works() {
    let mut bob = Node::listening_on("/ip6/::1/udp/0/webrtc-direct", transport()).await;
    let (_, mut muxer) = bob.dial(&bob.address).await.unwrap();
    let _echo = echo(bob.accepted().await.muxer);
    assert_works(&mut muxer).await;
}

#[tokio::test]
async fn a_redial_right_after_a_close_works_each_time() {
    let mut bob = Node::new().await;
    let alice = Node::new().await;
    for _ in 0..20 {
        let (_, mut muxer) = alice.dial(&bob.address).await.unwrap();
        let echo = echo(bob.accepted().await.muxer);
        assert_works(&mut muxer).await;
        close(muxer).await;
        echo.abort();
    }
}

#[tokio::test]
async fn simultaneous_dials_both_work() {
    let (mut alice, mut bob) = (Node::new().await, Node::new().await);
    let dials = future::try_join(alice.dial(&bob.address), bob.dial(&alice.address));
    let ((_, mut to_bob), (_, mut to_alice)) = dials.await.unwrap();
    let _at_bob = echo(bob.accepted().await.muxer);
    let _at_alice = echo(alice.accepted().await.muxer);
    assert_works(&mut to_bob).await;
    assert_works(&mut to_alice).await;
}

#[tokio::test]
async fn a_mebibyte_in_one_write_comes_back_unharmed() {
    let mut bob = Node::new().await;
    let (_, mut muxer) = bob.dial(&bob.address).await.unwrap();
    let _echo = echo(bob.accepted().await.muxer);
    let (mut read, mut write) = open(&mut muxer).await.split();
    let data: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
    let digest = Sha256::digest(&data);
    let mut back = vec![0; data.len()];
    let there = async {
        write.write_all(&data).await?;
        write.flush().await
    };
    let both = future::try_join(there, read.read_exact(&mut back));
    over(&mut muxer, both).await.unwrap();
    assert_eq!(Sha256::digest(&back), digest);
}

#[tokio::test]
async fn a_close_reaches_the_remote_and_frees_the_socket() {
    let mut bob = Node::new().await;
    let (_, mut muxer) = bob.dial(&bob.address).await.unwrap();
    let incoming = bob.accepted().await;
    assert!(is_bound(&incoming.remote));
    let (stream, _echo) = stream_of(incoming.muxer, &mut muxer).await;
    close(muxer).await;
    ended(stream).await;
    unbound(&incoming.remote).await;
}

#[tokio::test]
async fn a_dropped_connection_is_closed_all_the_same() {
    let mut bob = Node::new().await;
    let (_, mut muxer) = bob.dial(&bob.address).await.unwrap();
    let incoming = bob.accepted().await;
    let (stream, _echo) = stream_of(incoming.muxer, &mut muxer).await;
    drop(muxer);
    ended(stream).await;
    unbound(&incoming.remote).await;
}

async fn unbound(address: &Multiaddr) {
    let gone = async {
        while is_bound(address) {
            tokio::task::yield_now().await;
        }
    };
    timeout(3 * SECOND, gone)
        .await
        .expect("the socket to be closed");
}

/// A substream as the accepting side has it, and what polls that side.
async fn stream_of(
    mut accepted: StreamMuxerBox,
    dialed: &mut StreamMuxerBox,
) -> (SubstreamBox, JoinHandle<()>) {
    let mut ours = open(dialed).await;
    over(dialed, async {
        ours.write_all(b"x").await?;
        ours.flush().await
    })
    .await
    .unwrap();
    let stream = over(dialed, async {
        poll_fn(|cx| {
            let _ = accepted.poll_unpin(cx)?;
            accepted.poll_inbound_unpin(cx)
        })
        .await
    });
    let stream = stream.await.unwrap();
    (stream, echo(accepted))
}

#[tokio::test]
async fn the_quic_transport_in_the_same_binary_does_no_harm() {
    let bob = Node::new().await;
    let key = Keypair::generate_ed25519();
    let ours = Transport::new(&key, route::ports().1, &config());
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic()
        .with_other_transport(|_| ours)
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .build();
    let quic = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
    swarm.listen_on(quic).unwrap();
    swarm.dial(bob.address.clone()).unwrap();
    let connected = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => return peer_id,
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    };
    assert_eq!(timeout(10 * SECOND, connected).await.unwrap(), bob.peer);
}

#[test]
fn outside_of_a_runtime_there_are_errors_and_no_panics() {
    let (_, mut transport) = transport();
    let listen = "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap();
    let listening = transport.listen_on(ListenerId::next(), listen);
    assert!(matches!(listening, Err(TransportError::Other(_))));
    let address = "/ip4/127.0.0.1/udp/1/webrtc-direct/certhash/uEiDikp5KVUgkLta1EjUN-IKbHk-dUBg8VzKgf5nXxLK46w";
    let dial = transport.dial(address.parse().unwrap(), DIAL).unwrap();
    assert!(futures::executor::block_on(dial).is_err());
}

#[tokio::test]
async fn who_waits_for_events_is_woken_when_a_listener_is_removed() {
    let (_, mut transport) = transport();
    let id = ListenerId::next();
    let listen = "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap();
    transport.listen_on(id, listen).unwrap();
    let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
    assert!(matches!(event, TransportEvent::NewAddress { .. }));
    let transport = Arc::new(Mutex::new(transport));
    let polled = transport.clone();
    let ended =
        tokio::spawn(async move { poll_fn(|cx| Pin::new(&mut *lock(&polled)).poll(cx)).await });
    tokio::task::yield_now().await; // it waits now
    assert!(lock(&transport).remove_listener(id));
    let event = timeout(SECOND, ended).await.expect("a wake").unwrap();
    let is_closed =
        matches!(event, TransportEvent::ListenerClosed { listener_id, .. } if listener_id == id);
    assert!(is_closed && !lock(&transport).remove_listener(id));
}

#[tokio::test]
async fn who_does_not_prove_who_it_is_has_ten_seconds() {
    let (_, mut bob) = transport();
    let listen = "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap();
    bob.listen_on(ListenerId::next(), listen).unwrap();
    let event = poll_fn(|cx| Pin::new(&mut bob).poll(cx)).await;
    let address = event.into_new_address().unwrap();
    let (target, fingerprint) = dial_target(&address).unwrap();
    let direct = Direct::new(&Keypair::generate_ed25519(), None);
    let source = SocketAddr::new(target.ip(), 0);
    let handle = direct.identity.start(source, |_| ()).unwrap();
    let key = handle.act(|state, now| state.endpoint.dial_address(now, target, fingerprint));
    let silent = Muxer::direct(handle, key, target);
    let event = poll_fn(|cx| Pin::new(&mut bob).poll(cx)).await;
    let (upgrade, _) = event.into_incoming().unwrap();
    let start = std::time::Instant::now();
    poll_fn(|cx| silent.poll_connected(cx)).await.unwrap();
    assert!(upgrade.await.is_err());
    let took = start.elapsed();
    assert!(took >= Limits::PROOF_TIME && took < 12 * SECOND, "{took:?}");
}

#[tokio::test]
async fn nobody_dials_as_a_listener() {
    let bob = Node::new().await;
    let (_, mut transport) = transport();
    let role = Endpoint::Listener;
    let dial = transport.dial(bob.address.clone(), DialOpts { role, ..DIAL });
    let is_refused = matches!(dial, Err(TransportError::MultiaddrNotSupported(_)));
    assert!(is_refused);
}

#[tokio::test]
async fn where_a_port_is_taken_another_listener_is_still_wanted() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (behaviour, port) = route::ports();
    let mut transport = Transport::new(&Keypair::generate_ed25519(), port, &config());
    let address = address_of(taken.local_addr().unwrap());
    let listening = transport.listen_on(ListenerId::next(), address);
    assert!(matches!(listening, Err(TransportError::Other(_))));
    assert!(behaviour.wants_listener());
}

#[test]
fn addresses_are_told_apart() {
    let hash = "certhash/uEiDikp5KVUgkLta1EjUN-IKbHk-dUBg8VzKgf5nXxLK46w";
    let dialable = |address: &str| dial_target(&address.parse().unwrap()).is_some();
    let peer = PeerId::random();
    assert!(dialable(&format!(
        "/ip4/1.2.3.4/udp/5/webrtc-direct/{hash}"
    )));
    assert!(dialable(&format!(
        "/ip6/::1/udp/5/webrtc-direct/{hash}/p2p/{peer}"
    )));
    assert!(!dialable(&format!(
        "/ip4/1.2.3.4/udp/0/webrtc-direct/{hash}"
    )));
    assert!(!dialable(&format!(
        "/ip4/0.0.0.0/udp/5/webrtc-direct/{hash}"
    )));
    assert!(!dialable(&format!(
        "/ip4/1.2.3.4/tcp/5/webrtc-direct/{hash}"
    )));
    assert!(!dialable(&format!(
        "/ip4/1.2.3.4/udp/5/webrtc-direct/{hash}/p2p/{peer}/p2p-circuit"
    )));
    assert!(!dialable("/ip4/1.2.3.4/udp/5/webrtc-direct"));
    let listenable = |address: &str| listen_target(&address.parse().unwrap()).is_some();
    assert!(listenable("/ip4/0.0.0.0/udp/0/webrtc-direct"));
    assert!(!listenable("/ip4/0.0.0.0/udp/0/quic-v1"));
    assert!(!listenable(&format!(
        "/ip4/0.0.0.0/udp/0/webrtc-direct/{hash}"
    )));
}

#[tokio::test]
async fn one_host_may_have_as_many_connections_as_it_proves_who_it_is_for() {
    let mut bob = Node::new().await;
    let (_, mut alice) = transport();
    let mut open = Vec::new();
    for _ in 0..=Limits::DIRECT_SETUPS_PER_HOST {
        let dial = alice.dial(bob.address.clone(), DIAL).unwrap();
        open.push((dial.await.unwrap(), bob.accepted().await));
    }
    let ((_, mut muxer), incoming) = open.pop().unwrap();
    let _echo = echo(incoming.muxer);
    assert_works(&mut muxer).await;
}

#[tokio::test]
async fn one_dial_after_the_other_works() {
    let mut bob = Node::new().await;
    let (_, mut alice) = transport();
    for _ in 0..20 {
        let dial = alice.dial(bob.address.clone(), DIAL).unwrap();
        let (_, mut muxer) = dial.await.unwrap();
        let _echo = echo(bob.accepted().await.muxer);
        assert_works(&mut muxer).await;
        close(muxer).await;
    }
}

#[tokio::test]
async fn libp2ps_own_implementation_is_dialed_and_dials() {
    for dials in [true, false] {
        let (mut ours, mut theirs) = (
            Node::new().await,
            Node::listening_on("/ip4/127.0.0.1/udp/0/webrtc-direct", foreign()).await,
        );
        let (dialer, listener) = match dials {
            true => (&mut ours, &mut theirs),
            false => (&mut theirs, &mut ours),
        };
        for _ in 0..5 {
            let (peer, mut muxer) = dialer.dial_patiently(&listener.address).await;
            let incoming = over(&mut muxer, listener.accepted()).await;
            assert_eq!((peer, incoming.peer), (listener.peer, dialer.peer));
            let _echo = echo(incoming.muxer);
            let (mut read, mut write) = open(&mut muxer).await.split();
            let mut back = vec![0; 40_000];
            let there = async {
                for n in 0..10 {
                    write.write_all(&[n; 4000]).await?;
                    write.flush().await?;
                }
                Ok(())
            };
            let both = future::try_join(there, read.read_exact(&mut back));
            let came = timeout(5 * SECOND, over(&mut muxer, both)).await;
            came.expect("an answer in time").unwrap();
            assert!((0..10).all(|n| back[usize::from(n) * 4000..][..4000] == [n; 4000]));
        }
    }
}

/// It sends no `FIN_ACK`, and fails to read if it gets one.
#[tokio::test]
async fn libp2ps_own_implementation_half_closes_and_reads_on() {
    for dials in [true, false] {
        let (mut ours, mut theirs) = (
            Node::new().await,
            Node::listening_on("/ip4/127.0.0.1/udp/0/webrtc-direct", foreign()).await,
        );
        let (dialer, listener) = match dials {
            true => (&mut ours, &mut theirs),
            false => (&mut theirs, &mut ours),
        };
        let (_, mut muxer) = dialer.dial_patiently(&listener.address).await;
        let _echo = echo(over(&mut muxer, listener.accepted()).await.muxer);
        for n in 0..5 {
            let mut stream = open(&mut muxer).await;
            let exchange = async {
                // `webrtc-rs` loses what comes in the moment in which it sets up a channel, so this comes later.
                sleep(SECOND / 10).await;
                stream.write_all(&[n; 4000]).await?;
                let closing = timeout(Limits::STREAM_CLOSE_TIME - SECOND, stream.close());
                closing
                    .await
                    .expect("nobody waits for what does not come")?;
                let mut back = Vec::new();
                stream.read_to_end(&mut back).await?;
                io::Result::Ok(back)
            };
            let came = timeout(5 * SECOND, over(&mut muxer, exchange)).await;
            assert_eq!(came.expect("an answer in time").unwrap(), [n; 4000]);
        }
    }
}

#[test]
fn a_certificate_is_read_as_it_was_written_and_nothing_else_is_one() {
    let certificate = Certificate::generate().unwrap();
    let pem = certificate.to_pem();
    assert!(Certificate::from_pem(&pem).unwrap() == certificate);
    assert!(Certificate::generate().unwrap() != certificate);
    let twice = pem.clone() + &pem;
    let (first, second) = pem.split_at(pem.find("-----BEGIN PRIVATE").unwrap());
    let no_key = pem::encode_many(&[
        pem::Pem::new("CERTIFICATE", [1; 300]),
        pem::Pem::new("PRIVATE KEY", [1; 100]),
    ]);
    let (swapped, half) = (format!("{second}{first}"), &pem[..pem.len() / 2]);
    for damaged in [
        "",
        "certificate",
        half,
        &no_key,
        &pem[10..],
        first,
        second,
        &twice,
        &swapped,
    ] {
        assert!(Certificate::from_pem(damaged).is_err(), "{damaged}");
    }
}
