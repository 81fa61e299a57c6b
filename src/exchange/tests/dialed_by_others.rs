//! Connections that other behaviours of the application dial. Each test shows what goes wrong today: it fails until
//! only what the application names becomes a bootstrap.

use super::*;
use crate::config::View;

/// 0 keeps a view, and another behaviour of its application has dialed all others.
fn dialed() -> Sim {
    let mut sim = Sim::new(1);
    for _ in 0..9 {
        sim.add(config().with_view(View::default()));
    }
    for n in 1..=8 {
        sim.connect(0, n);
    }
    sim.run(SECOND * 2);
    sim
}

#[test]
#[ignore = "needs bootstraps that only the application names: what any behaviour dials is one today"]
fn peers_dialed_by_others_are_not_kept() {
    let sim = dialed();
    let is_kept = |n: &usize| !sim.nodes[0].core.addresses_of(&peer(*n)).is_empty();
    let kept: Vec<_> = (1..=8).filter(is_kept).collect();
    assert_eq!(kept, [0; 0]);
}

#[test]
#[ignore = "needs bootstraps that only the application names: what any behaviour dials is one today"]
fn peers_dialed_by_others_are_not_dialed_again() {
    let mut sim = dialed();
    let before = sim.nodes[0].dialed.len();
    for n in 1..=8 {
        sim.nodes[n].is_reachable = false;
        if sim.connections_between(0, n) > 0 {
            sim.cut(sim.between(0, n));
        }
    }
    sim.run(SECOND * 1800);
    let again = &sim.nodes[0].dialed[before..];
    assert!(again.is_empty(), "{again:?}");
}
