//! Connections that were set up by signals, in real swarms: they come without any configuration and go
//! without a trace. Memory is counted, so the tests run one at a time.
#![cfg(feature = "webrtc")]

mod common;

use std::time::{Duration, Instant};

use common::{Node, config, drive};
use libp2p::swarm::SwarmEvent;
use peak_alloc::PeakAlloc;
use pxp::{Incoming, Limits, Origin, PxpEvent, Rate};
use tokio::sync::{Mutex, MutexGuard};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

static ALONE: Mutex<()> = Mutex::const_new(());

const MIB: usize = 1024 * 1024;

type Event = SwarmEvent<PxpEvent>;

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

/// One that takes hundreds of rounds in a few seconds for no flood.
async fn node() -> Node {
    let many = Rate::new(1000, 1000);
    let limits = Limits::default()
        .with_requests(many)
        .with_introductions(many);
    common::node(config().with_limits(limits)).await
}

fn pxp(event: &Event) -> Option<&PxpEvent> {
    match event {
        SwarmEvent::Behaviour(event) => Some(event),
        _ => None,
    }
}

/// Has A find C; both are told, and it is a signaled connection at both ends.
async fn meet(nodes: &mut [Node]) {
    nodes[0].behaviour_mut().get_new_peer().unwrap();
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
    nodes[2].behaviour_mut().set_incoming(Incoming::Refuse);
    settle(&mut nodes, Duration::from_secs(1)).await;
    assert_nothing_left(&mut nodes, async |nodes| {
        nodes[0].behaviour_mut().get_new_peer().unwrap();
        drive(nodes, "the end of the query", |_, event| {
            matches!(pxp(&event), Some(PxpEvent::QueryFailed { .. })).then_some(())
        })
        .await;
    })
    .await;
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
        node.behaviour_mut().get_new_peer().unwrap();
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
