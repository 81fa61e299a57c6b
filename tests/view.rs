//! Nodes that keep a view fill up by themselves, over real transports. Looks at the clock.

mod common;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use common::*;
use libp2p::{PeerId, swarm::SwarmEvent};
use pxp::{Origin, PxpEvent, View};

/// As many as a node looks for by default.
const WANTED: usize = 6;

/// Runs the nodes until each has chosen enough peers, of which the table tells. How long it takes.
async fn until_filled(nodes: &mut [Node], chosen: &mut [HashSet<PeerId>]) -> Duration {
    let start = Instant::now();
    let is_filled = |chosen: &[HashSet<PeerId>]| chosen.iter().all(|it| it.len() >= WANTED);
    while !is_filled(chosen) {
        drive(nodes, "a full view everywhere", |node, event| {
            match event {
                SwarmEvent::Behaviour(PxpEvent::Connected { peer, origin, .. }) => {
                    let is_chosen = matches!(origin, Origin::Chosen { .. });
                    assert!(!is_chosen || chosen[node].insert(peer));
                }
                SwarmEvent::Behaviour(PxpEvent::Disconnected { peer }) => {
                    chosen[node].remove(&peer);
                }
                _ => {}
            }
            is_filled(chosen).then_some(())
        })
        .await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_nodes_fill_their_views_through_one_and_again_when_a_third_of_them_is_gone() {
    let view = View::default().with_max_incoming(30);
    let mut nodes = vec![node(config().with_view(view)).await];
    let address = address(&nodes[0], "/tcp/");
    for _ in 0..30 {
        let mut node = node(config().with_view(View::default())).await;
        node.dial(address.clone()).unwrap();
        nodes.push(node);
    }
    let mut chosen = vec![HashSet::new(); nodes.len()];
    // The one that all begin with needs the others to have found each other first.
    chosen[0].extend((0..WANTED).map(|_| PeerId::random()));
    let took = until_filled(&mut nodes, &mut chosen).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    for (node, chosen) in nodes.iter().zip(&chosen).skip(1) {
        let peers: HashSet<_> = node.behaviour().peers().copied().collect();
        assert!(chosen.is_subset(&peers) && !peers.contains(node.local_peer_id()));
    }

    nodes.drain(..11);
    chosen.drain(..11);
    let took = until_filled(&mut nodes, &mut chosen).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
}
