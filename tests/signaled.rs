//! Connections that were set up by signals, in real swarms: they come without any configuration, go
//! without a trace, and wait for slow readers. Memory is counted, so the tests run one at a time.
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
use pxp::{Incoming, Limits, Origin, PxpEvent, Rate};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard, mpsc};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

static ALONE: Mutex<()> = Mutex::const_new(());

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
async fn strangers() -> (MutexGuard<'static, ()>, [Node; 3]) {
    let alone = ALONE.lock().await;
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
    (alone, nodes)
}

async fn node() -> Node {
    // Hundreds of rounds in a few seconds look like a flood.
    let many = Rate::new(1000, 1000);
    let limits = Limits::default()
        .with_requests(many)
        .with_introductions(many);
    let mut node = swarm(config().with_limits(limits), |pxp| Application {
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

/// Has A or C end their connection. Returns how long the other did not know.
async fn part(nodes: &mut [Node], who: usize) -> Duration {
    let other = 2 - who;
    let peer = *nodes[other].local_peer_id();
    nodes[who].disconnect_peer_id(peer).unwrap();
    let mut left = [None, None];
    drive(nodes, "both ends", |node, event| {
        if let Some(PxpEvent::Disconnected { .. }) = pxp(&event) {
            left[node / 2] = Some(Instant::now());
        }
        left.iter().all(Option::is_some).then_some(())
    })
    .await;
    let [a, c] = left.map(Option::unwrap);
    if a > c { a - c } else { c - a }
}

#[tokio::test]
async fn an_end_is_seen_within_100_ms_and_a_new_beginning_is_possible_at_once() {
    let (_alone, mut nodes) = strangers().await;
    let mut longest = Duration::ZERO;
    for round in 0..100 {
        meet(&mut nodes).await;
        longest = longest.max(part(&mut nodes, 2 * (round % 2)).await);
    }
    println!("the other side knew after at most {longest:?}");
    assert!(longest < Duration::from_millis(100), "{longest:?}");
}

/// What 200 rounds leave behind, beyond what the first rounds left.
async fn assert_nothing_left(nodes: &mut [Node], mut round: impl AsyncFnMut(&mut [Node])) {
    const SETTLE: Duration = Duration::from_secs(13);
    for _ in 0..50 {
        round(nodes).await;
    }
    settle(nodes, SETTLE).await;
    let before = holdings();
    for _ in 0..200 {
        round(nodes).await;
    }
    settle(nodes, SETTLE).await;
    let after = holdings();
    println!("before {before:?}, after {after:?}");
    assert!(after.tasks <= before.tasks, "{before:?} {after:?}");
    assert!(after.files <= before.files, "{before:?} {after:?}");
    let growth = after.heap.saturating_sub(before.heap);
    assert!(growth < MIB / 4, "{growth} bytes more"); // 1.3 kB a round
}

#[derive(Debug)]
struct Holdings {
    heap: usize,
    tasks: usize,
    files: usize,
}

fn holdings() -> Holdings {
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let heap = HEAP.current_usage();
    Holdings { heap, tasks, files }
}

/// Lets what has a time to live end.
async fn settle(nodes: &mut [Node], time: Duration) {
    let driving = drive(nodes, "nothing", |_, _| None::<()>);
    let _: Result<(), _> = tokio::time::timeout(time, driving).await;
}

#[tokio::test]
async fn two_hundred_connections_leave_nothing_behind() {
    let (_alone, mut nodes) = strangers().await;
    assert_nothing_left(&mut nodes, async |nodes| {
        meet(nodes).await;
        part(nodes, 0).await;
    })
    .await;
}

#[tokio::test]
async fn two_hundred_refused_offers_leave_nothing_behind() {
    let (_alone, mut nodes) = strangers().await;
    nodes[2].behaviour_mut().pxp.set_incoming(Incoming::Refuse);
    settle(&mut nodes, Duration::from_secs(1)).await;
    assert_nothing_left(&mut nodes, async |nodes| {
        nodes[0].behaviour_mut().pxp.get_new_peer().unwrap();
        drive(nodes, "the end of the query", |_, event| {
            matches!(pxp(&event), Some(PxpEvent::QueryFailed { .. })).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_pauses_for_30_s_costs_little_and_loses_nothing() {
    const LENGTH: usize = 64 * MIB;
    const PAUSE: Duration = Duration::from_secs(30);
    let (_alone, mut nodes) = strangers().await;
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

#[tokio::test]
async fn twenty_nodes_meet_at_once() {
    let (_alone, [_, hub, _]) = strangers().await;
    let mut nodes = vec![hub];
    let address = common::address(&nodes[0], "/tcp/");
    for _ in 0..20 {
        let mut node = node().await;
        node.dial(address.clone()).unwrap();
        nodes.push(node);
    }
    let mut linked = 0;
    drive(&mut nodes, "all links", |_, event| {
        linked += usize::from(matches!(pxp(&event), Some(PxpEvent::Connected { .. })));
        (linked == 40).then_some(())
    })
    .await;
    for node in &mut nodes[1..] {
        node.behaviour_mut().pxp.get_new_peer().unwrap();
    }
    let mut found = 0;
    drive(&mut nodes, "a new peer for each", |_, event| {
        match pxp(&event) {
            Some(PxpEvent::QueryFailed { error, .. }) => panic!("{error}"),
            Some(PxpEvent::Connected {
                origin: Origin::Found(_),
                ..
            }) => {
                found += 1;
                (found == 20).then_some(())
            }
            _ => None,
        }
    })
    .await;
}
