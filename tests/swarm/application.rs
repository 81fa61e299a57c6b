//! A new peer is for the application: any protocol of the swarm runs over the new connection.

use crate::common::{config, drive, listen, swarm};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    StreamProtocol, Swarm,
    request_response::{self, Message, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent},
};
use pxp::{Origin, PxpEvent};
use sha2::{Digest, Sha256};

const DATA: StreamProtocol = StreamProtocol::new("/data/1.0.0");
const CHAT: StreamProtocol = StreamProtocol::new("/chat/1.0.0");

#[derive(NetworkBehaviour)]
struct Application {
    pxp: pxp::Behaviour,
    stream: libp2p_stream::Behaviour,
    chat: request_response::cbor::Behaviour<String, String>,
}

async fn node() -> Swarm<Application> {
    let mut node = swarm(config(), |pxp| Application {
        pxp,
        stream: libp2p_stream::Behaviour::new(),
        chat: request_response::cbor::Behaviour::new(
            [(CHAT, ProtocolSupport::Full)],
            request_response::Config::default(),
        ),
    })
    .await;
    listen(&mut node, "/ip4/127.0.0.1/tcp/0").await;
    node
}

/// A (0) and C (2), which have just met through B (1).
async fn met() -> [Swarm<Application>; 3] {
    let mut nodes = [node().await, node().await, node().await];
    let address = crate::common::address(&nodes[1], "/tcp/");
    nodes[0].dial(address.clone()).unwrap();
    nodes[2].dial(address).unwrap();
    let mut connected = 0;
    drive(&mut nodes, "four links", |_, event| {
        connected += usize::from(is_connected(&event));
        (connected == 4).then_some(())
    })
    .await;
    nodes[0].behaviour_mut().pxp.get_new_peer().unwrap();
    drive(&mut nodes, "a new peer", |_, event| match event {
        SwarmEvent::Behaviour(ApplicationEvent::Pxp(PxpEvent::Connected {
            origin: Origin::Found(_),
            ..
        })) => Some(()),
        _ => None,
    })
    .await;
    nodes
}

fn is_connected(event: &SwarmEvent<ApplicationEvent>) -> bool {
    use ApplicationEvent::Pxp;
    matches!(
        event,
        SwarmEvent::Behaviour(Pxp(PxpEvent::Connected { .. }))
    )
}

#[tokio::test]
async fn streams_of_any_length_run_over_the_new_connection_both_ways() {
    const LENGTH: usize = 1024 * 1024 + 1;
    let mut nodes = met().await;
    let c = *nodes[2].local_peer_id();
    let mut incoming = nodes[2]
        .behaviour()
        .stream
        .new_control()
        .accept(DATA)
        .unwrap();
    let mut control = nodes[0].behaviour().stream.new_control();
    let sent: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
    let expected = Sha256::digest(&sent);
    tokio::spawn(async move {
        let (_, stream) = incoming.next().await.unwrap();
        let (read, mut write) = stream.split();
        futures::io::copy(read, &mut write).await.unwrap();
        write.close().await.unwrap();
    });
    let echo = tokio::spawn(async move {
        let stream = control.open_stream(c, DATA).await.unwrap();
        let (mut read, mut write) = stream.split();
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.close().await.unwrap();
        };
        let mut echo = Vec::new();
        let (_, received) = futures::join!(send, read.read_to_end(&mut echo));
        received.unwrap();
        echo
    });
    let drive = drive(&mut nodes, "the echo", |_, _| None::<()>);
    let echo = tokio::select! {
        echo = echo => echo.unwrap(),
        () = drive => unreachable!(),
    };
    assert_eq!(Sha256::digest(&echo), expected);
}

#[tokio::test]
async fn requests_and_responses_run_over_the_new_connection_both_ways() {
    let mut nodes = met().await;
    for (from, to) in [(0, 2), (2, 0)] {
        let (client, server) = (*nodes[from].local_peer_id(), *nodes[to].local_peer_id());
        let request = "x".repeat(100_000);
        let requested = nodes[from]
            .behaviour_mut()
            .chat
            .send_request(&server, request.clone());
        let channel = drive(&mut nodes, "the request", |node, event| match event {
            SwarmEvent::Behaviour(ApplicationEvent::Chat(request_response::Event::Message {
                peer,
                message:
                    Message::Request {
                        request: received,
                        channel,
                        ..
                    },
                ..
            })) if node == to => {
                assert_eq!((peer, &received), (client, &request));
                Some(channel)
            }
            _ => None,
        })
        .await;
        nodes[to]
            .behaviour_mut()
            .chat
            .send_response(channel, request.clone())
            .unwrap();
        drive(&mut nodes, "the response", |node, event| match event {
            SwarmEvent::Behaviour(ApplicationEvent::Chat(request_response::Event::Message {
                message:
                    Message::Response {
                        response,
                        request_id,
                        ..
                    },
                ..
            })) if node == from => {
                assert_eq!((&response, request_id), (&request, requested));
                Some(())
            }
            _ => None,
        })
        .await;
    }
}
