//! Nodes that keep a view fill up by themselves, over real transports. Looks at the clock.

mod common;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use common::*;
use futures::StreamExt;
use libp2p::{PeerId, swarm::SwarmEvent};
use pxp::{Origin, PxpEvent, View};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
    time::timeout,
};

/// As many as a node looks for by default.
const WANTED: usize = 6;

const IN_TIME: Duration = Duration::from_secs(20);

/// A node that runs by itself.
struct Running {
    peer: PeerId,
    task: JoinHandle<()>,
    /// Its peers, and whether it has chosen each.
    peers: HashMap<PeerId, bool>,
}

type Events = UnboundedSender<(PeerId, PxpEvent)>;

impl Running {
    fn start(mut node: Node, events: Events) -> Self {
        let peer = *node.local_peer_id();
        let task = tokio::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(event) = node.select_next_some().await {
                    let _ = events.send((peer, event));
                }
            }
        });
        let peers = HashMap::new();
        Self { peer, task, peers }
    }

    fn is_filled(&self) -> bool {
        self.peers.values().filter(|is_chosen| **is_chosen).count() >= WANTED
    }
}

/// Waits until each of the nodes has chosen enough peers, none of which is gone.
async fn filled(nodes: &mut [Running], events: &mut UnboundedReceiver<(PeerId, PxpEvent)>) {
    let living: HashSet<_> = nodes.iter().map(|node| node.peer).collect();
    for node in &mut *nodes {
        node.peers.retain(|peer, _| living.contains(peer));
    }
    let all_filled = async {
        while !nodes.iter().all(Running::is_filled) {
            let (of, event) = events.recv().await.unwrap();
            let Some(node) = nodes.iter_mut().find(|node| node.peer == of) else {
                continue;
            };
            match event {
                PxpEvent::Connected { peer, origin, .. } if living.contains(&peer) => {
                    let is_chosen = matches!(origin, Origin::Chosen { .. });
                    assert!(peer != of && node.peers.insert(peer, is_chosen).is_none());
                }
                PxpEvent::Disconnected { peer } => {
                    node.peers.remove(&peer);
                }
                _ => {}
            }
        }
    };
    let is_in_time = timeout(IN_TIME, all_filled).await.is_ok();
    let peers: Vec<_> = nodes.iter().map(|node| &node.peers).collect();
    assert!(is_in_time, "{peers:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_nodes_fill_their_views_through_one_and_again_when_a_third_of_them_is_gone() {
    let (sender, mut events) = mpsc::unbounded_channel();
    let first = node(config().with_view(View::default().with_max_incoming(30))).await;
    let address = address(&first, "/tcp/");
    let first = Running::start(first, sender.clone());
    let mut nodes = Vec::new();
    for _ in 0..30 {
        nodes.push(node(config().with_view(View::default())).await);
    }
    let mut nodes: Vec<_> = nodes
        .into_iter()
        .map(|mut node| {
            node.dial(address.clone()).unwrap();
            Running::start(node, sender.clone())
        })
        .collect();
    filled(&mut nodes, &mut events).await;

    first.task.abort();
    for gone in nodes.drain(20..) {
        gone.task.abort();
    }
    filled(&mut nodes, &mut events).await;
}
