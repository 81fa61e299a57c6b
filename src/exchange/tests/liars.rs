//! An introducer that lies. It can keep a candidate from being reached through it, and no more.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    error::{AttemptError, SignalError},
    exchange::sim::Lie,
};

/// 0 asks; 1, and in half of the worlds 3, introduces 2; 1 lies.
pub(super) fn lie_to(seed: u64, lie: Lie) -> Sim {
    let mut sim = strangers(seed);
    if seed.is_multiple_of(2) {
        sim.add(config());
        sim.connect(3, 0);
        sim.connect(3, 2);
    }
    sim.nodes[1].lie = Some(lie);
    sim
}

/// The query ends in time: where somebody honest knows the candidate, with it.
pub(super) fn check(mut sim: Sim, seed: u64, expected: impl Fn(&QueryError) -> bool) {
    let query = sim.start_query(0);
    sim.run(30 * SECOND);
    let outcome = sim.outcome(0, query);
    match &outcome {
        Some(Ok(found)) if seed.is_multiple_of(2) => assert_eq!(*found, peer(2), "seed {seed}"),
        Some(Err(error)) if seed % 2 == 1 && expected(error) => {}
        outcome => panic!("seed {seed}: {outcome:?}"),
    }
    let peers = sim.peers(0);
    assert!(!peers.contains(&0), "seed {seed}");
    for node in [0, 2] {
        let strangers = connected(&sim, node)
            .iter()
            .filter(|(peer, _)| *peer > 3)
            .count();
        assert_eq!(strangers, 0, "seed {seed}");
    }
    sim.end();
}

fn is_bad_answer(error: &QueryError) -> bool {
    matches!(
        error,
        QueryError::Unreachable {
            last: AttemptError::BadAnswer(_),
            ..
        }
    )
}

pub(super) fn is_refused(error: &QueryError, with: Refusal) -> bool {
    matches!(error, QueryError::Unreachable { last: AttemptError::Refused(reason), .. }
        if *reason == with)
}

/// Changes the signals to one node.
fn signals_to(node: usize, mut change: impl FnMut(Signal) -> Vec<Signal> + 'static) -> Lie {
    Box::new(move |to, frame| match frame {
        Frame::Signal(signal) if to == node => {
            change(signal).into_iter().map(Frame::Signal).collect()
        }
        frame => vec![frame],
    })
}

fn altered(signal: Signal) -> Vec<Signal> {
    let envelope = Envelope(b"altered".to_vec());
    vec![Signal { envelope, ..signal }]
}

#[test]
fn an_altered_offer_is_refused() {
    for seed in 0..200 {
        let sim = lie_to(seed, signals_to(2, altered));
        check(sim, seed, |error| is_refused(error, Refusal::BadSignal));
    }
}

#[test]
fn an_altered_answer_fails_the_attempt_at_once() {
    for seed in 0..200 {
        let sim = lie_to(seed, signals_to(0, altered));
        check(sim, seed, is_bad_answer);
    }
}

#[test]
fn an_answer_in_the_place_of_a_candidates_is_told_by_every_field() {
    let of = |seed: u64| seed as usize / 2 % 5;
    for seed in 0..200 {
        let mut sim = lie_to(seed, Box::new(|_, frame| vec![frame]));
        let mint = sim.mint.clone();
        sim.nodes[1].lie = Some(signals_to(0, move |signal| {
            let (mut signer, mut body) = read(&mint, &signal.envelope).unwrap();
            if !matches!(body.content, SignalContent::Answer(_)) {
                return vec![signal];
            }
            match of(seed) {
                0 => signer = peer(1),
                1 => body.to = peer(3),
                2 => body.exchange = ExchangeId(id(7)),
                3 => body.network = NetworkTag(id(7)),
                _ => body.content = offer_of(2),
            }
            let envelope = forge(&mint, signer, body);
            vec![Signal { envelope, ..signal }]
        }));
        let expected = [
            SignalError::Signer,
            SignalError::Addressee,
            SignalError::Exchange,
            SignalError::Network,
            SignalError::Unexpected,
        ][of(seed)];
        check(sim, seed, |error| {
            matches!(error, QueryError::Unreachable { last: AttemptError::BadAnswer(error), .. }
                if *error == expected)
        });
    }
}

#[test]
fn an_old_offer_or_answer_that_is_played_again_is_worth_nothing() {
    for seed in 0..200 {
        let mut sim = strangers(seed);
        let mut old = None;
        sim.nodes[1].lie = Some(signals_to(2 * (seed as usize % 2), move |signal| {
            let envelope = old.get_or_insert(signal.envelope).clone();
            vec![Signal { envelope, ..signal }]
        }));
        sim.query(0).unwrap();
        sim.cut(sim.between(0, 2));
        sim.run(25 * SECOND); // the introduction is forgotten, the offer is not
        let error = sim.query(0).unwrap_err();
        match seed % 2 {
            0 => assert!(is_bad_answer(&error), "seed {seed}: {error:?}"),
            _ => assert!(
                is_refused(&error, Refusal::BadSignal),
                "seed {seed}: {error:?}"
            ),
        }
        assert!(!sim.are_connected(0, 2), "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_offer_that_goes_to_somebody_else_brings_nobody() {
    for seed in 0..200 {
        let mut sim = Sim::with_nodes(seed, 4);
        sim.star(1, 2..4);
        sim.connect(0, 1);
        // whatever goes to 2 goes to 3 instead
        let link = sim.between(1, 3);
        let diverted = Arc::new(Mutex::new(Vec::new()));
        let divert = diverted.clone();
        sim.nodes[1].lie = Some(Box::new(move |to, frame| match frame {
            Frame::Signal(signal) if to == 2 => {
                divert.lock().unwrap().push(signal);
                Vec::new()
            }
            frame => vec![frame],
        }));
        let query = sim.start_query(0);
        for _ in 0..300 {
            sim.run(SECOND / 10);
            let signals: Vec<_> = diverted.lock().unwrap().drain(..).collect();
            signals
                .into_iter()
                .for_each(|signal| sim.say(1, link, Frame::Signal(signal)));
        }
        assert_eq!(sim.outcome(0, query), Some(Ok(peer(3))), "seed {seed}");
        assert!(sim.peers(2) == [1], "seed {seed}");
        sim.end();
    }
}

#[test]
fn swapped_answers_of_two_candidates_connect_nobody_wrongly() {
    for seed in 0..200 {
        let mut sim = Sim::with_nodes(seed, 4);
        sim.star(1, 2..4);
        sim.connect(0, 1);
        let mut held: Option<Signal> = None;
        let mint = sim.mint.clone();
        let is_answer = move |signal: &Signal| {
            let body = read(&mint, &signal.envelope).map(|(_, body)| body);
            body.is_some_and(|body| matches!(body.content, SignalContent::Answer(_)))
        };
        sim.nodes[1].lie = Some(signals_to(0, move |signal| match held.take() {
            answer if !is_answer(&signal) => {
                held = answer;
                vec![signal]
            }
            Some(other) => vec![
                Signal {
                    session: signal.session,
                    envelope: other.envelope,
                },
                Signal {
                    session: other.session,
                    envelope: signal.envelope,
                },
            ],
            None => {
                held = Some(signal);
                Vec::new()
            }
        }));
        let queries = [sim.start_query(0), sim.start_query(0)];
        sim.run(30 * SECOND);
        for query in queries {
            assert!(sim.outcome(0, query).unwrap().is_err(), "seed {seed}");
        }
        assert_eq!(sim.peers(0), [1], "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_liar_that_falls_silent_after_any_frame_does_not_hold_up_the_query() {
    for seed in 0..480_u64 {
        let (mut left, with_pings) = (seed / 2 % 8, seed.is_multiple_of(3));
        let sim = lie_to(
            seed,
            Box::new(move |_, frame| {
                if with_pings && matches!(frame, Frame::Ping(_) | Frame::Pong(_)) {
                    return vec![frame];
                }
                left = left.saturating_sub(1);
                if left > 0 { vec![frame] } else { Vec::new() }
            }),
        );
        let mut sim = sim;
        let query = sim.start_query(0);
        sim.run(30 * SECOND);
        match sim.outcome(0, query) {
            Some(Ok(found)) => assert_eq!(found, peer(2), "seed {seed}"),
            Some(Err(_)) if seed % 2 == 1 => {}
            outcome => panic!("seed {seed}: {outcome:?}"),
        }
        sim.end();
    }
}

#[test]
fn frames_that_nobody_asked_for_change_nothing() {
    let mut sim = strangers(1);
    let link = sim.between(0, 1);
    let before = sim.nodes[0].events.len();
    let candidates = vec![inventions::invented(2)];
    sim.say(
        1,
        link,
        Frame::Peers(Peers {
            request: RequestId(0),
            candidates,
        }),
    );
    for reason in [Refusal::Busy, Refusal::Other] {
        for subject in [
            Subject::Request(RequestId(0)),
            Subject::Session(SessionId(id(1))),
        ] {
            sim.say(1, link, Frame::Refuse(Refuse { subject, reason }));
        }
    }
    let answer = signed(&sim, 2, 0, 1, answer_of(2));
    sim.say(1, link, signal(1, answer));
    sim.say(1, link, Frame::Pong(7));
    sim.run(SECOND);
    assert_eq!((sim.nodes[0].events.len(), sim.peers(0)), (before, vec![1]));
    sim.end();
}
