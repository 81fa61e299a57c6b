//! Two nodes that look for each other at once.

use super::*;

/// Both queries of 0 and 2 end in the one connection.
fn check(sim: &mut Sim, seed: u64, delay: Duration) {
    let first = 2 * (seed as usize % 2);
    let one = sim.start_query(first);
    sim.run(delay);
    let started = sim.tell(2 - first, |core, now| core.get_new_peer(now, None));
    sim.run(5 * SECOND);
    let context = format!("seed {seed}, {delay:?}: {:?}", sim.all_events());
    assert_eq!(
        sim.outcome(first, one),
        Some(Ok(peer(2 - first))),
        "{context}"
    );
    let other = sim.outcome(2 - first, started.unwrap()).unwrap();
    match other {
        Ok(found) => assert_eq!(found, peer(first), "{context}"),
        // it began when the other was a peer already
        Err(error) => {
            let is_late = delay > Duration::from_millis(200);
            assert!(
                is_late && matches!(error, QueryError::NoCandidates { .. }),
                "{context}"
            );
        }
    }
    assert_eq!(sim.connections_between(0, 2), 1, "{context}");
}

#[test]
fn two_queries_for_each_other_through_one_introducer_end_in_one_connection() {
    for seed in 0..1000 {
        let mut sim = strangers(seed);
        check(&mut sim, seed, Duration::from_millis(seed / 2));
        sim.end();
    }
}

#[test]
fn two_queries_for_each_other_through_two_introducers_end_in_one_connection() {
    for seed in 0..500 {
        let mut sim = strangers(seed);
        sim.add(config());
        sim.connect(3, 0);
        sim.connect(3, 2);
        check(&mut sim, seed, Duration::from_millis(seed / 2));
        sim.end();
    }
}

#[test]
fn glare_works_when_only_one_of_both_can_be_dialed() {
    for seed in 0..500 {
        let mut sim = strangers(seed);
        let hidden = 2 * (seed as usize / 2 % 2);
        sim.tell(hidden, |core, now| {
            core.handle(now, crate::exchange::Input::Addresses(Vec::new()));
        });
        sim.nodes[hidden].is_reachable = false;
        check(&mut sim, seed, Duration::from_millis(seed / 4));
        sim.end();
    }
}
