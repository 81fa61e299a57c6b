//! An introducer, or a candidate, that is lost midway.

use libp2p::PeerId;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    error::{AttemptError, SignalError},
    exchange::{Exchange, Input},
    message::Seal,
};

/// How an introducer may be lost.
const WAYS: [fn(&mut Sim, usize); 4] = [
    |sim, node| sim.vanish(node),
    |sim, node| sim.tell(node, |core, now| core.close(now)),
    |sim, node| sim.cut(sim.between(0, node)),
    |sim, node| sim.silence(node),
];

#[test]
fn an_introducer_lost_after_any_step_ends_the_query_in_time_and_once() {
    for seed in 0..1000 {
        let mut sim = strangers(seed);
        let query = sim.start_query(0);
        let steps = sim.nodes[1].sent.len() + seed as usize / 4 % 6;
        sim.run_while(SECOND / 2, |sim| sim.nodes[1].sent.len() < steps);
        WAYS[seed as usize % 4](&mut sim, 1);
        sim.run(30 * SECOND);
        match sim.outcome(0, query) {
            Some(Ok(found)) => assert_eq!(found, peer(2), "seed {seed}"),
            Some(Err(QueryError::NoCandidates { .. } | QueryError::Unreachable { .. })) => {}
            other => panic!("seed {seed}: {other:?}"),
        }
        sim.end();
    }
}

#[test]
fn a_query_goes_on_with_the_next_introducer_when_one_is_lost() {
    for seed in 0..500 {
        // 3 is reached through 1 and through 2, of which whoever is asked first is lost
        let mut sim = Sim::with_nodes(seed, 4);
        sim.star(1, 3..4);
        sim.star(2, 3..4);
        sim.connect(0, 1);
        sim.connect(0, 2);
        let is_first_frame = |sim: &Sim, node| {
            let asks = |frame: &&Frame| matches!(frame, Frame::GetPeers(_));
            sim.sent(0, node).any(|frame| asks(&frame))
        };
        let query = sim.start_query(0);
        let first = if is_first_frame(&sim, 1) { 1 } else { 2 };
        let steps = sim.nodes[first].sent.len() + seed as usize / 4 % 4;
        sim.run_while(SECOND / 2, |sim| sim.nodes[first].sent.len() < steps);
        WAYS[seed as usize % 4](&mut sim, first);
        sim.run(30 * SECOND);
        assert_eq!(sim.outcome(0, query), Some(Ok(peer(3))), "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_introducer_lost_before_the_answer_is_named_as_the_cause() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        sim.silence(2);
        let query = sim.start_query(0);
        sim.run(SECOND);
        sim.cut(sim.between(0, 1));
        sim.run(SECOND);
        let expected = QueryError::Unreachable {
            tried: 1,
            peer: peer(2),
            last: AttemptError::IntroducerGone,
        };
        assert_eq!(sim.outcome(0, query), Some(Err(expected)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_candidate_that_is_gone_when_it_is_used_costs_one_attempt() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        let connection = sim.between(1, 2);
        let query = sim.start_query(0);
        sim.run_while(SECOND, |sim| answers(sim, 1, 0).is_empty());
        sim.tell(1, |core, now| {
            let result = Ok(());
            core.handle(now, Input::LinkClosed { connection, result });
        });
        sim.run(SECOND);
        let expected = QueryError::Unreachable {
            tried: 1,
            peer: peer(2),
            last: AttemptError::Refused(Refusal::Gone),
        };
        assert_eq!(sim.outcome(0, query), Some(Err(expected)), "seed {seed}");
        assert!(sim.are_connected(0, 1), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_candidate_that_vanishes_costs_one_attempt() {
    for seed in 0..200 {
        let mut sim = strangers(seed);
        sim.vanish(2);
        sim.run(Duration::from_millis(50 * seed));
        let started = sim.now;
        let expected = match sim.query(0).unwrap_err() {
            QueryError::Unreachable { last, .. } => {
                // 1 notices first, or 0 has waited long enough
                last == AttemptError::Refused(Refusal::Gone) || last == AttemptError::NoAnswer
            }
            error => matches!(error, QueryError::NoCandidates { .. }) && seed > 150,
        };
        assert!(expected, "seed {seed}: {:?}", sim.all_events());
        assert!(sim.now - started < 6 * SECOND, "seed {seed}");
        sim.end();
    }
}

struct Keyless;

impl Seal for Keyless {
    fn seal(&self, _: &SignalBody) -> Option<Envelope> {
        None
    }

    fn open(&self, _: &Envelope) -> Result<(PeerId, SignalBody), SignalError> {
        Err(SignalError::Malformed)
    }
}

#[test]
fn a_key_that_cannot_sign_is_named_as_the_cause() {
    let mut sim = strangers(1);
    let node = sim.add(config());
    let rng = StdRng::seed_from_u64(1);
    sim.nodes[node].core = Exchange::new(peer(node), Box::new(Keyless), config(), rng);
    sim.connect(node, 1);
    let Err(QueryError::Unreachable { tried: 2, last, .. }) = sim.query(node) else {
        panic!("{:?}", sim.all_events());
    };
    assert_eq!(last, AttemptError::NotSigned);
    sim.end();
}

#[test]
fn a_candidate_that_answers_and_does_not_come_costs_one_attempt() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        // without an address it has to dial, and its dial is lost
        sim.tell(2, |core, now| {
            core.handle(now, Input::Addresses(Vec::new()))
        });
        sim.nodes[0].is_reachable = false;
        sim.nodes[2].describes = false;
        let started = sim.now;
        let error = sim.query(0).unwrap_err();
        let QueryError::Unreachable {
            last: AttemptError::NoConnection,
            ..
        } = error
        else {
            panic!("seed {seed}: {error:?}");
        };
        assert!(sim.now - started < 21 * SECOND, "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_candidate_whose_link_fails_costs_one_attempt() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        let query = sim.start_query(0);
        sim.run_while(SECOND, |sim| signals(sim, 2, 1).is_empty());
        sim.silence(2);
        sim.run(20 * SECOND);
        let outcome = sim.outcome(0, query);
        let Some(Err(QueryError::Unreachable {
            last: AttemptError::LinkFailed(_),
            ..
        })) = outcome
        else {
            panic!("seed {seed}: {outcome:?}");
        };
        assert!(
            matches!(sim.link_errors(0)[..], [LinkError::NoHello]),
            "seed {seed}"
        );
        sim.end();
    }
}

#[test]
fn a_query_that_gets_nowhere_ends_at_its_timeout() {
    for seconds in [1, 4, 7] {
        let mut sim = strangers(1);
        let timeout = seconds * SECOND;
        let node = sim.add(config().with_query_timeout(timeout));
        sim.connect(node, 1);
        sim.silence(0);
        sim.silence(2);
        let started = sim.now;
        assert_eq!(sim.query(node), Err(QueryError::Timeout(timeout)));
        assert_eq!(sim.now - started, timeout);
        sim.end();
    }
}
