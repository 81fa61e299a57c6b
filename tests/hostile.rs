//! What a remote that breaks the protocol gets: the end of its link, and nothing else.

mod common;
#[allow(clippy::all, dead_code, missing_docs, unreachable_pub)]
#[path = "../src/wire/generated.rs"]
mod proto;

use std::{
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

use common::{PATIENCE, config, listen, swarm};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    PeerId, Stream, StreamProtocol,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use prost::Message;
use proto::{Frame, frame::Body};
use pxp::{LinkError, PROTOCOL_NAME, ProtocolError, PxpEvent};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer, prelude::*};

/// Everything that the crate has logged above `debug`.
static LOG: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    tracing_subscriber::registry().with(Loud).init();
    Mutex::default()
});

struct Loud;

impl<S: Subscriber> Layer<S> for Loud {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target().starts_with("pxp") && *metadata.level() <= Level::INFO {
            LOG.lock().unwrap().push(format!("{event:?}"));
        }
    }
}

const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");
const SALT: [u8; 16] = [7; 16];

#[derive(NetworkBehaviour)]
struct Application {
    pxp: pxp::Behaviour,
    stream: libp2p_stream::Behaviour,
}

/// A node that echoes on another protocol, and a remote that can send it any bytes.
struct Pair {
    events: mpsc::UnboundedReceiver<PxpEvent>,
    victim: PeerId,
    remote: PeerId,
    control: libp2p_stream::Control,
}

impl Pair {
    async fn new() -> Self {
        Self::over("/ip4/127.0.0.1/tcp/0").await
    }

    /// Connected over the transport of this address.
    async fn over(address: &str) -> Self {
        LazyLock::force(&LOG);
        let with_stream = |pxp| Application {
            pxp,
            stream: libp2p_stream::Behaviour::new(),
        };
        let mut node = swarm(config(), with_stream).await;
        let mut remote = swarm(config(), |_| libp2p_stream::Behaviour::new()).await;
        let address = listen(&mut node, address).await;
        let mut echoes = node.behaviour().stream.new_control().accept(ECHO).unwrap();
        let control = remote.behaviour().new_control();
        let ids = (*node.local_peer_id(), *remote.local_peer_id());
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some((_, stream)) = echoes.next().await {
                tokio::spawn(async move {
                    let (read, mut write) = stream.split();
                    futures::io::copy(read, &mut write).await
                });
            }
        });
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(ApplicationEvent::Pxp(event)) =
                    node.select_next_some().await
                {
                    let _ = sender.send(event);
                }
            }
        });
        remote.dial(address).unwrap();
        while !remote.is_connected(&ids.0) {
            remote.select_next_some().await;
        }
        tokio::spawn(async move {
            loop {
                remote.select_next_some().await;
            }
        });
        Self {
            events,
            victim: ids.0,
            remote: ids.1,
            control,
        }
    }

    async fn open(&mut self, protocol: StreamProtocol) -> Stream {
        self.control
            .open_stream(self.victim, protocol)
            .await
            .unwrap()
    }

    async fn event(&mut self) -> PxpEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event").unwrap()
    }

    /// Sends these bytes on a link; how the node says that it failed.
    async fn error_for(&mut self, bytes: &[u8]) -> LinkError {
        let mut link = self.open(PROTOCOL_NAME).await;
        link.write_all(bytes).await.unwrap();
        // The node may be done with us before we are.
        let _ = link.close().await;
        loop {
            match self.event().await {
                PxpEvent::LinkFailed { peer, error, .. } => {
                    assert_eq!(peer, Some(self.remote));
                    return error;
                }
                PxpEvent::Connected { .. } => {}
                event => panic!("{event:?}"),
            }
        }
    }

    /// A link after both hellos.
    async fn link(&mut self) -> Stream {
        let mut link = self.open(PROTOCOL_NAME).await;
        link.write_all(&frame(self.hello())).await.unwrap();
        match self.event().await {
            PxpEvent::Connected { peer, .. } => assert_eq!(peer, self.remote),
            event => panic!("{event:?}"),
        }
        link
    }

    fn hello(&self) -> Body {
        Body::Hello(proto::Hello {
            salt: SALT.to_vec(),
            networks: vec![tag(&self.remote)],
            accepting: true,
            stun_port: 0,
        })
    }

    /// Another protocol still runs over the same connection.
    async fn echoes(&mut self) {
        let mut stream = self.open(ECHO).await;
        stream.write_all(b"still here").await.unwrap();
        stream.close().await.unwrap();
        let mut echo = Vec::new();
        stream.read_to_end(&mut echo).await.unwrap();
        assert_eq!(echo, b"still here");
    }

    fn no_more_events(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("{event:?}");
        }
    }
}

/// The tag of the network "test", as the specification defines it.
fn tag(sender: &PeerId) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(b"pxp-network");
    hash.update(sender.to_bytes());
    hash.update(SALT);
    hash.update(b"test");
    hash.finalize()[..16].to_vec()
}

fn frame(body: Body) -> Vec<u8> {
    Frame { body: Some(body) }.encode_length_delimited_to_vec()
}

fn ping() -> Vec<u8> {
    frame(Body::Ping(proto::Ping { nonce: 1 }))
}

#[tokio::test]
async fn bytes_that_are_no_frames_end_the_link_and_nothing_else() {
    let garbage: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37) | 0x80).collect();
    for bytes in [
        garbage.as_slice(),
        b"\x05hello",
        br#"{"command":"hello"}"#,
        &[0xff; 20],
    ] {
        let mut pair = Pair::new().await;
        let error = pair.error_for(bytes).await;
        assert!(
            matches!(error, LinkError::Protocol(_)),
            "{bytes:?}: {error:?}"
        );
        pair.echoes().await;
        pair.no_more_events();
    }
}

#[tokio::test]
async fn a_frame_of_more_than_16_kib_ends_the_link() {
    let mut pair = Pair::new().await;
    let error = pair.error_for(&[0x81, 0x80, 0x01, 0]).await;
    let expected = ProtocolError::TooLong { len: 16 * 1024 + 1 };
    assert!(
        matches!(&error, LinkError::Protocol(found) if *found == expected),
        "{error:?}"
    );
    pair.echoes().await;
}

#[tokio::test]
async fn a_truncated_frame_ends_the_link() {
    let mut pair = Pair::new().await;
    let hello = frame(pair.hello());
    let error = pair.error_for(&hello[..hello.len() - 1]).await;
    assert!(
        matches!(error, LinkError::Protocol(ProtocolError::Truncated)),
        "{error:?}"
    );
    pair.echoes().await;
}

#[tokio::test]
async fn a_hello_that_makes_no_sense_ends_the_link() {
    let mut pair = Pair::new().await;
    let Body::Hello(mut hello) = pair.hello() else {
        unreachable!();
    };
    hello.salt.pop();
    let error = pair.error_for(&frame(Body::Hello(hello))).await;
    assert!(
        matches!(
            error,
            LinkError::Protocol(ProtocolError::Field("hello.salt"))
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn seventeen_networks_in_a_hello_end_the_link() {
    for count in [16, 17] {
        let mut pair = Pair::new().await;
        let Body::Hello(mut hello) = pair.hello() else {
            unreachable!();
        };
        hello.networks.resize(count, vec![0; 16]);
        if count == 16 {
            let mut link = pair.open(PROTOCOL_NAME).await;
            link.write_all(&frame(Body::Hello(hello))).await.unwrap();
            assert!(matches!(pair.event().await, PxpEvent::Connected { .. }));
        } else {
            let error = pair.error_for(&frame(Body::Hello(hello))).await;
            assert!(matches!(error, LinkError::Protocol(_)), "{error:?}");
        }
    }
}

#[tokio::test]
async fn whatever_comes_before_the_hello_ends_the_link() {
    let mut pair = Pair::new().await;
    let error = pair.error_for(&ping()).await;
    assert!(
        matches!(error, LinkError::Protocol(ProtocolError::NoHello)),
        "{error:?}"
    );
    pair.echoes().await;
}

#[tokio::test]
async fn a_second_hello_ends_the_link() {
    let mut pair = Pair::new().await;
    let hello = frame(pair.hello());
    let error = pair.error_for(&[hello.clone(), hello].concat()).await;
    assert!(
        matches!(error, LinkError::Protocol(ProtocolError::SecondHello)),
        "{error:?}"
    );
    assert!(matches!(pair.event().await, PxpEvent::Disconnected { .. }));
    pair.echoes().await;
}

#[cfg(feature = "webrtc")]
#[tokio::test]
async fn a_link_closed_without_a_word_leaves_its_webrtc_connection() {
    let mut pair = Pair::over("/ip4/127.0.0.1/udp/0/webrtc-direct").await;
    let mut echo = pair.open(ECHO).await;
    let mut link = pair.link().await;
    link.close().await.unwrap();
    drop(link);
    assert!(matches!(pair.event().await, PxpEvent::Disconnected { .. }));
    // A stream of before goes on, and new ones can be opened.
    echo.write_all(b"still here").await.unwrap();
    echo.flush().await.unwrap();
    let mut heard = [0; 10];
    echo.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
    pair.echoes().await;
    pair.no_more_events();
}

#[tokio::test]
async fn no_hello_within_10_s_ends_the_link() {
    let mut pair = Pair::new().await;
    let start = Instant::now();
    // Half a length prefix, and nothing more.
    let mut link = pair.open(PROTOCOL_NAME).await;
    link.write_all(&[0x80]).await.unwrap();
    let PxpEvent::LinkFailed { error, .. } = pair.event().await else {
        panic!();
    };
    assert!(matches!(error, LinkError::NoHello), "{error:?}");
    assert!(
        (9..12).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn two_faulty_frames_in_one_packet_end_one_link_and_nothing_else() {
    let mut pair = Pair::new().await;
    let mut link = pair.link().await;
    link.write_all(&[3, 0xff, 0xff, 0xff, 3, 0xff, 0xff, 0xff])
        .await
        .unwrap();
    assert!(matches!(pair.event().await, PxpEvent::LinkFailed { .. }));
    assert!(matches!(pair.event().await, PxpEvent::Disconnected { .. }));
    pair.echoes().await;
    pair.no_more_events();
}

#[tokio::test]
async fn unknown_fields_and_unknown_frames_are_skipped() {
    let mut pair = Pair::new().await;
    let mut hello = Frame {
        body: Some(pair.hello()),
    }
    .encode_to_vec();
    hello.extend([0xa2, 0x06, 0x02, 0x41, 0x42]); // field 100: "AB"
    let unknown = [0xf2, 0x07, 0x01, 0x00]; // field 126
    let mut link = pair.open(PROTOCOL_NAME).await;
    for body in [hello.as_slice(), &unknown] {
        link.write_all(&[body.len() as u8]).await.unwrap();
        link.write_all(body).await.unwrap();
    }
    assert!(matches!(pair.event().await, PxpEvent::Connected { .. }));
    link.write_all(&ping()).await.unwrap();
    assert_eq!(pong_on(&mut link).await, 1);
}

#[tokio::test]
async fn frames_that_arrive_byte_by_byte_are_understood() {
    let mut pair = Pair::new().await;
    let mut link = pair.open(PROTOCOL_NAME).await;
    for byte in [frame(pair.hello()), ping()].concat() {
        link.write_all(&[byte]).await.unwrap();
        link.flush().await.unwrap();
    }
    assert!(matches!(pair.event().await, PxpEvent::Connected { .. }));
    assert_eq!(pong_on(&mut link).await, 1);
}

#[tokio::test]
async fn a_flood_of_frames_ends_the_link() {
    let mut pair = Pair::new().await;
    let mut link = pair.link().await;
    let flood = ping().repeat(3_000);
    // Once it is refused there may be nobody to write to.
    let _ = tokio::time::timeout(Duration::from_secs(5), link.write_all(&flood)).await;
    let PxpEvent::LinkFailed { error, .. } = pair.event().await else {
        panic!();
    };
    let is_flood = matches!(error, LinkError::Protocol(ProtocolError::Flood));
    assert!(is_flood || matches!(error, LinkError::Stalled), "{error:?}");
    assert!(matches!(pair.event().await, PxpEvent::Disconnected { .. }));
    pair.echoes().await;
}

#[tokio::test]
async fn a_used_an_unknown_and_a_forged_token_cost_nobody_a_connection() {
    let mut pair = Pair::new().await;
    let mut link = pair.link().await;
    for session in [[1; 16], [2; 16], [1; 16]] {
        let (session, envelope) = (session.to_vec(), b"no envelope".to_vec());
        link.write_all(&frame(Body::Signal(proto::Signal { session, envelope })))
            .await
            .unwrap();
    }
    link.write_all(&ping()).await.unwrap();
    assert_eq!(pong_on(&mut link).await, 1);
    pair.no_more_events();
}

/// Whatever the other tests of this file have done by then is asked too.
#[tokio::test]
async fn nothing_that_a_remote_does_is_logged_above_debug() {
    for bytes in [
        b"\x05hello".as_slice(),
        &[0x81, 0x80, 0x01, 0],
        &ping(),
        &[0x80],
    ] {
        let mut pair = Pair::new().await;
        pair.error_for(bytes).await;
    }
    let mut pair = Pair::new().await;
    let mut link = pair.link().await;
    let _ = tokio::time::timeout(
        Duration::from_secs(5),
        link.write_all(&ping().repeat(3_000)),
    )
    .await;
    assert!(matches!(pair.event().await, PxpEvent::LinkFailed { .. }));
    assert_eq!(*LOG.lock().unwrap(), [] as [String; 0]);
}

/// Reads frames until a pong comes. How often it was refused is not asked.
async fn pong_on(link: &mut Stream) -> u64 {
    let pong = async {
        loop {
            let mut length = [0];
            link.read_exact(&mut length).await.unwrap();
            let mut body = vec![0; length[0].into()];
            link.read_exact(&mut body).await.unwrap();
            if let Some(Body::Pong(pong)) = Frame::decode(&body[..]).unwrap().body {
                return pong.nonce;
            }
        }
    };
    tokio::time::timeout(PATIENCE, pong).await.expect("a pong")
}
