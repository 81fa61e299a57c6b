//! Nodes that are full, or accept no introductions.

use super::*;
use crate::{
    config::{Incoming, Limits},
    error::AttemptError,
};

fn at_most(peers: usize) -> Config {
    config().with_limits(Limits::default().with_max_peers(peers))
}

fn accepting(sim: &mut Sim, asker: usize, of: usize) -> Vec<bool> {
    let link = sim.between(asker, of);
    sim.say(asker, link, get_peers(u32::MAX, 8));
    sim.run(SECOND / 5);
    let candidates = answers(sim, of, asker).pop().unwrap().candidates;
    candidates
        .iter()
        .map(|candidate| candidate.accepting)
        .collect()
}

#[test]
fn who_is_full_or_refuses_is_flagged_not_tried_and_counted() {
    for is_full in [false, true] {
        let mut sim = Sim::with_nodes(1, 2);
        let node = sim.add(match is_full {
            true => at_most(1),
            false => config().with_incoming(Incoming::Refuse),
        });
        sim.connect(0, 1);
        sim.connect(node, 1);
        sim.run(2 * SECOND);
        assert_eq!(accepting(&mut sim, 0, 1), [false]);
        let error = QueryError::NoCandidates {
            asked: 1,
            full: 1,
            known: 0,
        };
        assert_eq!(sim.query(0), Err(error));
        assert!(signals(&sim, 0, 1).is_empty());
        sim.end();
    }
}

#[test]
fn whether_a_node_accepts_is_told_to_its_peers_within_about_a_second() {
    for seed in 0..200 {
        let mut sim = strangers(seed);
        for (incoming, is_accepting) in [(Incoming::Refuse, false), (Incoming::Accept, true)] {
            sim.tell(2, |core, now| core.set_incoming(now, incoming));
            sim.run(Duration::from_millis(1_100));
            assert_eq!(accepting(&mut sim, 0, 1), [is_accepting], "seed {seed}");
        }
        sim.end();
    }
}

#[test]
fn a_kept_place_goes_to_whoever_comes_first() {
    let mut sim = Sim::with_nodes(1, 1);
    let victim = sim.add(at_most(2));
    let [first, second] = [(); 2].map(|_| sim.add(config()));
    let introducer = sim.connect(0, victim);
    sim.silence(0);
    let link = sim.connect(first, victim);
    let envelope = signed(&sim, first, victim, 7, offer_of(first));
    sim.say(0, introducer, signal(7, envelope));
    sim.run(SECOND);
    assert_eq!(refusals(&sim, victim, 0), []);
    sim.cut(link);
    sim.run(SECOND);
    for (comes, peers) in [(second, [0, second]), (first, [0, second])] {
        sim.connect(comes, victim);
        assert_eq!(sim.peers(victim), peers);
    }
    sim.cut(sim.between(second, victim));
    sim.run(SECOND);
    sim.connect(first, victim);
    assert_eq!(sim.peers(victim), [0, first]);
    sim.end();
}

#[test]
fn a_node_that_changes_its_mind_all_the_time_says_so_once_a_second() {
    let mut sim = strangers(1);
    for n in 0..100_u32 {
        let incoming = if n.is_multiple_of(2) {
            Incoming::Refuse
        } else {
            Incoming::Accept
        };
        sim.tell(2, |core, now| core.set_incoming(now, incoming));
        sim.run(SECOND / 10);
    }
    sim.run(2 * SECOND);
    let updates = sim
        .sent(2, 1)
        .filter(|frame| matches!(frame, Frame::Update(_)))
        .count();
    assert!((9..=12).contains(&updates), "{updates}");
    assert_eq!(accepting(&mut sim, 0, 1), [true]);
    sim.end();
}

#[test]
fn a_candidate_that_no_longer_accepts_says_so_itself() {
    for is_full in [false, true] {
        let mut sim = strangers(1);
        let node = sim.add(at_most(2));
        sim.connect(node, 1);
        sim.vanish(2);
        sim.run(10 * SECOND);
        // What changes is not told to the introducer in time.
        sim.nodes[node].lie = Some(Box::new(|_, frame| match frame {
            Frame::Update(_) => Vec::new(),
            frame => vec![frame],
        }));
        let expected = if is_full {
            let other = sim.add(config());
            sim.connect(other, node);
            Refusal::Full
        } else {
            sim.tell(node, |core, now| core.set_incoming(now, Incoming::Refuse));
            Refusal::NotAccepting
        };
        let error = QueryError::Unreachable {
            tried: 1,
            peer: peer(node),
            last: AttemptError::Rejected(expected),
        };
        assert_eq!(sim.query(0), Err(error));
        sim.end();
    }
}

#[test]
fn kept_places_are_free_for_a_direct_dial() {
    let mut sim = Sim::with_nodes(1, 1);
    let full = sim.add(at_most(5));
    let link = sim.connect(0, full);
    sim.silence(0);
    for n in 100..104 {
        let envelope = signed(&sim, n, full, n, offer_of(n));
        sim.say(0, link, signal(n, envelope));
    }
    sim.run(SECOND);
    for come in 1..=5 {
        let stranger = sim.add(config());
        sim.connect(stranger, full);
        assert_eq!(sim.are_connected(stranger, full), come <= 4);
    }
    assert!(matches!(sim.link_errors(full)[..], [LinkError::Full]));
    sim.end();
}

#[test]
fn strangers_are_linked_up_to_the_limit_also_when_they_come_at_once() {
    for at_once in [false, true] {
        for strangers in [2, 3, 4, 20] {
            let mut sim = Sim::with_nodes(1, strangers);
            let full = sim.add(at_most(3));
            for node in 0..strangers {
                sim.link(node, full);
                if !at_once {
                    sim.run(SECOND);
                }
            }
            sim.run(SECOND);
            assert_eq!(sim.peers(full).len(), strangers.min(3), "{strangers}");
            let refused = |node: &usize| {
                matches!(
                    sim.link_errors(*node)[..],
                    [LinkError::Refused(Refusal::Full)]
                )
            };
            assert_eq!(
                (0..strangers).filter(refused).count(),
                strangers.saturating_sub(3)
            );
            let errors = sim.link_errors(full);
            assert!(errors.iter().all(|error| matches!(error, LinkError::Full)));
            assert_eq!(errors.len(), strangers.saturating_sub(3));
            sim.end();
        }
    }
}

#[test]
fn a_full_node_still_dials_and_still_finds_peers() {
    let mut sim = Sim::with_nodes(1, 4);
    let full = sim.add(at_most(1));
    sim.connect(full, 0);
    sim.connect(full, 1);
    sim.star(0, 2..4);
    assert_eq!(sim.peers(full), [0, 1]);
    sim.query(full).unwrap();
    assert_eq!(sim.peers(full).len(), 3);
    sim.end();
}

#[test]
fn introductions_are_admitted_up_to_the_limit_and_those_expected_count() {
    for (max, offers, rejected) in [(5, 3, 0), (5, 4, 0), (5, 5, 1), (5, 30, 26)] {
        let mut sim = Sim::with_nodes(1, 1);
        let full = sim.add(at_most(max));
        sim.connect(0, full);
        sim.silence(0);
        let link = sim.between(0, full);
        for n in 100..100 + offers {
            let envelope = signed(&sim, n, full, n, offer_of(n));
            sim.say(0, link, signal(n, envelope));
        }
        sim.run(SECOND);
        let is_rejected = |body: &&SignalBody| body.content == SignalContent::Reject(Refusal::Full);
        assert_eq!(
            signals(&sim, full, 0).iter().filter(is_rejected).count(),
            rejected
        );
        sim.end();
    }
}

#[test]
fn a_place_kept_for_somebody_who_never_comes_is_free_again_after_25_seconds() {
    let mut sim = Sim::with_nodes(1, 1);
    let full = sim.add(at_most(2));
    let link = sim.connect(0, full);
    sim.silence(0);
    let offered = |sim: &mut Sim, n| {
        let envelope = signed(sim, n, full, n, offer_of(n));
        sim.say(0, link, signal(n, envelope));
        sim.say(0, link, Frame::Ping(0));
        sim.run(SECOND / 10);
        let content = signals(sim, full, 0).pop().unwrap().content;
        matches!(content, SignalContent::Answer(_))
    };
    assert!(offered(&mut sim, 100));
    for n in 0..6 {
        assert!(!offered(&mut sim, 101 + n));
        sim.run(4 * SECOND);
    }
    sim.run(SECOND);
    assert!(offered(&mut sim, 110));
    sim.end();
}
