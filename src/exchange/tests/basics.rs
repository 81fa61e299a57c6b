//! Nodes that all behave.

use std::time::Duration;

use super::*;
use crate::{
    error::QueryError,
    event::{Origin, PxpEvent},
};

/// A and C both know B, and nobody else.
pub(super) fn strangers(seed: u64) -> Sim {
    let mut sim = Sim::with_nodes(seed, 3);
    sim.connect(0, 1);
    sim.connect(2, 1);
    sim
}

#[test]
fn two_strangers_meet_through_a_peer_they_share() {
    for seed in 0..1000 {
        let mut sim = strangers(seed);
        assert_eq!(sim.query(0), Ok(peer(2)), "seed {seed}");
        sim.run(Duration::from_secs(1));
        assert!(sim.are_connected(0, 2), "seed {seed}");
        let is_introduced = |event: &PxpEvent| {
            matches!(event, PxpEvent::Connected { peer, origin: Origin::Introduced { by }, .. }
                if *peer == self::peer(0) && *by == self::peer(1))
        };
        assert!(sim.nodes[2].events.iter().any(is_introduced), "seed {seed}");
        sim.end();
    }
}

#[test]
fn the_introducer_keeps_both_its_links_after_an_introduction() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        sim.query(0).unwrap();
        sim.run(Duration::from_secs(60));
        assert_eq!(sim.peers(1), [0, 2], "seed {seed}");
        assert_eq!(sim.peers(0), [1, 2], "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_query_with_nobody_new_to_find_fails_at_once() {
    let mut sim = Sim::with_nodes(1, 2);
    sim.connect(0, 1);
    let before = sim.now;
    let error = sim.query(0);
    assert_eq!(
        error,
        Err(QueryError::NoCandidates {
            asked: 1,
            full: 0,
            known: 0
        })
    );
    assert!(sim.now - before < Duration::from_millis(200));
    sim.end();
}
