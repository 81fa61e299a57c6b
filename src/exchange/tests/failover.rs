//! What a query does when an introducer or the way to a candidate fails it midway: it goes on with
//! another, and tries once more where the way itself may have been to blame.

use super::*;
use crate::{error::AttemptError, exchange::Input, signaling::Command};

/// `asker` knows the introducers, and each of them all candidates. Nobody can be dialed, so that only
/// signals lead to anybody.
fn behind_nats(seed: u64, introducers: usize, candidates: usize) -> Sim {
    let mut sim = Sim::signaling(seed, 1 + introducers + candidates);
    for introducer in 1..=introducers {
        sim.star(introducer, 0..1);
        sim.star(introducer, introducers + 1..1 + introducers + candidates);
    }
    for node in 0..sim.nodes.len() {
        sim.nodes[node].is_reachable = false;
        sim.tell(node, |core, now| {
            core.handle(now, Input::Addresses(Vec::new()));
        });
    }
    sim
}

/// Whom the asker sent offers, in their order.
fn offered(sim: &Sim) -> Vec<PeerId> {
    let bodies = sim.nodes[0]
        .sent
        .iter()
        .filter_map(|(_, frame)| match frame {
            Frame::Signal(signal) => read(&sim.mint, &signal.envelope),
            _ => None,
        });
    let offers = bodies.filter_map(|(_, body)| match body.content {
        SignalContent::Offer(_) => Some(body.to),
        _ => None,
    });
    offers.collect()
}

#[test]
fn a_candidate_to_which_no_path_was_found_is_tried_once_more_from_the_beginning() {
    for seed in 0..100 {
        let mut sim = behind_nats(seed, 1, 1);
        sim.nodes[2].is_punchable = false;
        let query = sim.start_query(0);
        sim.run_until("a second offer", |sim| offered(sim).len() == 2);
        sim.nodes[2].is_punchable = true;
        sim.run(SECOND);
        assert_eq!(sim.outcome(0, query), Some(Ok(peer(2))), "seed {seed}");
        let is_answer = |command: &&Command| matches!(command, Command::Answer { .. });
        let answered = sim.nodes[2].commands.iter().filter(is_answer).count();
        assert_eq!(answered, 2, "both ends begin anew, seed {seed}");
        sim.end();
    }
}

#[test]
fn where_there_is_no_path_at_all_two_attempts_are_made_and_no_more() {
    for seed in 0..100 {
        let mut sim = behind_nats(seed, 1 + seed as usize % 3, 1);
        let candidate = sim.nodes.len() - 1;
        sim.nodes[candidate].is_punchable = false;
        let failed = sim.query(0);
        let is_typed = matches!(
            failed,
            Err(QueryError::Unreachable {
                tried: 1,
                last: AttemptError::DialFailed(_),
                ..
            })
        );
        assert!(is_typed, "{failed:?}, seed {seed}");
        assert_eq!(offered(&sim), [peer(candidate); 2], "seed {seed}");
        sim.end();
    }
}

#[test]
fn everybody_else_is_tried_before_somebody_is_tried_again() {
    for seed in 0..100 {
        let introducers = 1 + seed as usize % 3;
        let mut sim = behind_nats(seed, introducers, 4);
        let candidates: Vec<_> = (introducers + 1..introducers + 5).collect();
        for node in &candidates {
            sim.nodes[*node].is_punchable = false;
        }
        assert!(sim.query(0).is_err());
        let candidates: Vec<_> = candidates.into_iter().map(peer).collect();
        let mut offered = offered(&sim);
        assert_eq!(offered.len(), 8, "seed {seed}");
        for round in offered.chunks_mut(4) {
            round.sort_unstable();
            assert_eq!(round, candidates, "seed {seed}");
        }
        let asked = sim.nodes[0].sent.iter();
        let asked = asked.filter(|(_, frame)| matches!(frame, Frame::GetPeers(_)));
        assert!(asked.count() <= 2 * introducers, "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_introducer_that_refuses_midway_is_gone_around() {
    for seed in 0..100 {
        let mut sim = behind_nats(seed, 2, 1);
        // Whoever is asked first keeps the answer to itself.
        let liar = 1 + seed as usize % 2;
        sim.nodes[liar].lie = Some(Box::new(|to, frame| match frame {
            Frame::Signal(signal) if to == 0 => vec![Frame::Refuse(Refuse {
                subject: Subject::Session(signal.session),
                reason: Refusal::Busy,
            })],
            frame => vec![frame],
        }));
        let start = sim.now;
        assert_eq!(sim.query(0), Ok(peer(3)), "seed {seed}");
        assert!(sim.now - start < 2 * SECOND, "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_introducer_that_stalls_midway_is_gone_around() {
    for seed in 0..100 {
        let mut sim = behind_nats(seed, 2, 1);
        let liar = 1 + seed as usize % 2;
        sim.nodes[liar].lie = Some(Box::new(|to, frame| match frame {
            Frame::Signal(_) if to == 0 => Vec::new(),
            frame => vec![frame],
        }));
        assert_eq!(sim.query(0), Ok(peer(3)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_offer_that_was_answered_needs_its_introducer_no_more() {
    for seed in 0..100 {
        let mut sim = behind_nats(seed, 1, 1);
        let query = sim.start_query(0);
        sim.run_until("a dial", |sim| !sim.nodes[0].dialed.is_empty());
        sim.vanish(1);
        for node in [0, 2] {
            sim.cut(sim.between(1, node));
        }
        sim.run(2 * SECOND);
        assert_eq!(sim.outcome(0, query), Some(Ok(peer(2))), "seed {seed}");
        assert_eq!(offered(&sim), [peer(2)], "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_candidate_that_does_not_answer_is_not_tried_again_before_the_others() {
    for seed in 0..100 {
        let mut sim = behind_nats(seed, 4, 2);
        let (frozen, live) = (5, 6);
        heed_nothing(&mut sim, frozen);
        let query = sim.start_query(0);
        sim.run(6 * SECOND);
        assert_eq!(sim.outcome(0, query), Some(Ok(peer(live))), "seed {seed}");
        let tries = offered(&sim)
            .iter()
            .filter(|it| **it == peer(frozen))
            .count();
        assert!(tries <= 1, "{tries} tries, seed {seed}");
        sim.end();
    }
}
