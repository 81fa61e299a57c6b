//! Candidates that the application of an introducer names.

use super::*;
use crate::{config::Candidate, error::AttemptError, message::Path};

/// 0 and 2 know 1, which names these; 3 knows nobody.
fn naming(named: impl Fn() -> Vec<Candidate> + Send + 'static) -> Sim {
    let mut sim = Sim::new(1);
    sim.add(config());
    sim.add(config().with_candidates(move |_: &_, _: &_, _| named()));
    sim.add(config());
    sim.add(config());
    sim.connect(0, 1);
    sim.connect(2, 1);
    sim
}

fn named(sim: &mut Sim) -> Vec<(usize, bool)> {
    let link = sim.between(0, 1);
    sim.say(0, link, get_peers(1, 8));
    sim.run(SECOND);
    let candidates = answers(sim, 1, 0).pop().unwrap().candidates;
    let rank = |of| (0..).find(|n| peer(*n) == of).unwrap();
    let is_vouched = |path: &Path| matches!(path, Path::Vouched(_));
    candidates
        .iter()
        .map(|c| (rank(c.peer), is_vouched(&c.path)))
        .collect()
}

#[test]
fn a_source_that_fails_in_any_way_still_leaves_an_answer() {
    let fills: [fn() -> Vec<Candidate>; 6] = [
        Vec::new,
        || vec![Candidate::peer(peer(99))],
        || {
            vec![
                Candidate::peer(peer(0)),
                Candidate::vouched(peer(0), [address(0)]),
            ]
        },
        || {
            vec![
                Candidate::peer(peer(1)),
                Candidate::vouched(peer(1), [address(1)]),
            ]
        },
        || vec![Candidate::vouched(peer(99), [])],
        || vec![Candidate::peer(peer(2)); 1000],
    ];
    for fill in fills {
        let mut sim = naming(fill);
        assert_eq!(named(&mut sim), [(2, false)]);
        sim.end();
    }
    let mut sim = naming(move || vec![Candidate::peer(peer(99)), Candidate::peer(peer(2))]);
    assert_eq!(named(&mut sim), [(2, false)]);
    sim.end();
}

#[test]
fn what_the_application_names_comes_first_and_at_most_eight_in_all() {
    for count in [7, 8, 9, 1000] {
        let vouched = |n| Candidate::vouched(peer(n), [address(n)]);
        let mut sim = naming(move || (100..100 + count).map(vouched).collect());
        let named = named(&mut sim);
        assert_eq!(named.len(), 8, "{count}");
        assert_eq!(named.contains(&(2, false)), count < 8, "{count}");
        sim.end();
    }
}

#[test]
fn at_most_four_addresses_are_vouched_for() {
    for (count, expected) in [(3, 3), (4, 4), (5, 4)] {
        let addresses = move || (3..3 + count).map(address);
        let mut sim = naming(move || vec![Candidate::vouched(peer(3), addresses())]);
        named(&mut sim);
        let candidates = answers(&sim, 1, 0).pop().unwrap().candidates;
        let Path::Vouched(addresses) = &candidates[0].path else {
            panic!()
        };
        assert_eq!(addresses.len(), expected);
        sim.end();
    }
}

#[test]
fn a_vouched_candidate_is_dialed_directly() {
    let mut sim = naming(|| vec![Candidate::vouched(peer(3), [address(3)])]);
    sim.vanish(2);
    sim.run(10 * SECOND);
    assert_eq!(sim.query(0), Ok(peer(3)));
    assert!(signals(&sim, 0, 1).is_empty());
    sim.end();
}

#[test]
fn a_vouched_candidate_without_a_usable_address_costs_one_attempt() {
    let near = || vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    for own in [false, true] {
        let addresses = move || if own { vec![address(0)] } else { near() };
        let mut sim = naming(move || vec![Candidate::vouched(peer(3), addresses())]);
        sim.vanish(2);
        sim.run(10 * SECOND);
        let error = QueryError::Unreachable {
            tried: 1,
            peer: peer(3),
            last: AttemptError::NoAddress,
        };
        assert_eq!(sim.query(0), Err(error));
        sim.end();
    }
}
