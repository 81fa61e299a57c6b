//! A slow reader stops its writer over a signaled connection, and nothing else. Memory is counted, so
//! there is one test.
#![cfg(feature = "webrtc")]

mod common;

use std::time::{Duration, Instant};

use common::{config, drive, listen, swarm};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    StreamProtocol, Swarm,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use peak_alloc::PeakAlloc;
use pxp::PxpEvent;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const DATA: StreamProtocol = StreamProtocol::new("/data/1.0.0");
const MIB: usize = 1024 * 1024;

#[derive(NetworkBehaviour)]
struct Application {
    pxp: pxp::Behaviour,
    stream: libp2p_stream::Behaviour,
}

type Event = SwarmEvent<ApplicationEvent>;
type Node = Swarm<Application>;

/// A (0) and C (2), who know B (1) and nobody else.
async fn strangers() -> [Node; 3] {
    let mut nodes = [node().await, node().await, node().await];
    let address = common::address(&nodes[1], "/tcp/");
    nodes[0].dial(address.clone()).unwrap();
    nodes[2].dial(address).unwrap();
    let mut connected = 0;
    drive(&mut nodes, "four links", |_, event| {
        connected += usize::from(matches!(pxp(&event), Some(PxpEvent::Connected { .. })));
        (connected == 4).then_some(())
    })
    .await;
    nodes
}

async fn node() -> Node {
    let mut node = swarm(config(), |pxp| Application {
        pxp,
        stream: libp2p_stream::Behaviour::new(),
    })
    .await;
    listen(&mut node, "/ip4/127.0.0.1/tcp/0").await;
    node
}

fn pxp(event: &Event) -> Option<&PxpEvent> {
    match event {
        SwarmEvent::Behaviour(ApplicationEvent::Pxp(event)) => Some(event),
        _ => None,
    }
}

/// Has A find C; both are told, and it is a signaled connection at both ends.
async fn meet(nodes: &mut [Node]) {
    nodes[0].behaviour_mut().pxp.get_new_peer().unwrap();
    let (mut told, mut addresses) = (0, Vec::new());
    drive(nodes, "a new peer", |_, event| {
        if let SwarmEvent::ConnectionEstablished { endpoint, .. } = &event {
            addresses.push(endpoint.get_remote_address().to_string());
        }
        told += usize::from(matches!(pxp(&event), Some(PxpEvent::Connected { .. })));
        (told == 2).then_some(())
    })
    .await;
    let is_signaled = |address: &String| address.starts_with("/webrtc/p2p/");
    assert!(addresses.iter().all(is_signaled), "{addresses:?}");
}

#[tokio::test]
async fn a_reader_that_pauses_for_30_s_costs_little_and_loses_nothing() {
    const LENGTH: usize = 64 * MIB;
    const PAUSE: Duration = Duration::from_secs(30);
    let mut nodes = strangers().await;
    meet(&mut nodes).await;
    let c = *nodes[2].local_peer_id();
    let control = |node: &Node| node.behaviour().stream.new_control();
    let mut incoming = control(&nodes[2]).accept(DATA).unwrap();
    let mut control = control(&nodes[0]);

    let writing = tokio::spawn(async move {
        let mut stream = control.open_stream(c, DATA).await.unwrap();
        let mut hash = Sha256::new();
        let mut block = vec![0; 64 * 1024];
        for n in 0..LENGTH / block.len() {
            block.fill(n as u8);
            hash.update(&block);
            stream.write_all(&block).await.unwrap();
        }
        stream.close().await.unwrap();
        hash.finalize()
    });
    let (say, mut said) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        let (_, mut stream) = incoming.next().await.unwrap();
        let (mut hash, mut read) = (Sha256::new(), 0);
        let mut block = vec![0; 64 * 1024];
        let mut is_paused = false;
        loop {
            let len = stream.read(&mut block).await.unwrap();
            if len == 0 {
                break;
            }
            hash.update(&block[..len]);
            read += len;
            if read >= LENGTH / 2 && !is_paused {
                is_paused = true;
                HEAP.reset_peak_usage();
                let before = HEAP.current_usage();
                tokio::time::sleep(PAUSE).await;
                let growth = HEAP.peak_usage() - before;
                let start = Instant::now();
                // More than was kept: the writer has to go on for that.
                let mut rest = 3 * MIB;
                while rest > 0 {
                    let len = stream.read(&mut block).await.unwrap();
                    hash.update(&block[..len]);
                    (read, rest) = (read + len, rest.saturating_sub(len));
                }
                say.send((growth, start.elapsed())).unwrap();
            }
        }
        (read, hash.finalize())
    });
    let both = async { tokio::join!(writing, reading) };
    let ended = async {
        loop {
            let next = futures::future::select_all(nodes.iter_mut().map(|node| node.next()));
            let (event, ..) = next.await;
            if let Some(PxpEvent::Disconnected { .. }) = event.as_ref().and_then(pxp) {
                return;
            }
        }
    };
    let (written, read) = tokio::select! {
        results = both => (results.0.unwrap(), results.1.unwrap()),
        () = ended => panic!("a link ended"),
    };
    assert_eq!(read, (LENGTH, written));
    let (growth, resumed) = said.recv().await.unwrap();
    println!("both ends together took {growth} bytes more; 3 MiB came within {resumed:?}");
    assert!(growth <= 4 * MIB, "{growth}");
    assert!(resumed < Duration::from_secs(3), "{resumed:?}");
}
