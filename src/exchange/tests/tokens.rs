//! Tokens and relayed sessions: what they are good for, for whom, and for how long.

use super::*;
use crate::{id::Token, message::Path};

/// The tokens for 2.
fn tokens(peers: &Peers) -> Vec<Token> {
    let candidates = peers.candidates.iter();
    let for_2 = candidates.filter(|candidate| candidate.peer == peer(2));
    let tokens = for_2.map(|candidate| match candidate.path {
        Path::Signals(token) => token,
        Path::Vouched(_) => panic!("nobody was vouched for"),
    });
    tokens.collect()
}

/// 0 is made to ask 1, which knows 2 as well; the tokens it got.
fn asked(sim: &mut Sim, requests: u32) -> Vec<Token> {
    sim.delay = 1..2;
    let link = sim.between(0, 1);
    (0..requests).for_each(|request| sim.say(0, link, get_peers(request, 8)));
    sim.run(Duration::from_millis(10));
    answers(sim, 1, 0).iter().flat_map(tokens).collect()
}

/// 0 is made to use a token; what it is refused, if it is.
fn used(sim: &mut Sim, by: usize, token: Token) -> Vec<Refusal> {
    let before = refusals(sim, 1, by).len();
    let envelope = signed(
        sim,
        by,
        2,
        sim.nodes[by].sent.len() + 1000 * by,
        offer_of(by),
    );
    let session = token.into();
    let link = sim.between(by, 1);
    sim.say(by, link, Frame::Signal(Signal { session, envelope }));
    sim.run(Duration::from_millis(10));
    refusals(sim, 1, by).split_off(before)
}

#[test]
fn a_token_is_good_until_it_expires_and_then_costs_nobody_a_connection() {
    for (age, is_good) in [
        (14_000, true),
        (14_900, true),
        (15_010, false),
        (3_600_000, false),
    ] {
        let mut sim = strangers(1);
        let token = asked(&mut sim, 1)[0];
        sim.run(Duration::from_millis(age));
        let expected: &[_] = if is_good { &[] } else { &[Refusal::Expired] };
        assert_eq!(used(&mut sim, 0, token), expected, "after {age} ms");
        assert_eq!((sim.peers(1), sim.open_connections()), (vec![0, 2], 2));
        sim.end();
    }
}

#[test]
fn a_token_is_for_one_use_of_one_asker() {
    let mut sim = strangers(1);
    sim.add(config());
    sim.connect(3, 1);
    let token = asked(&mut sim, 1)[0];
    assert_eq!(
        used(&mut sim, 3, token),
        [Refusal::Expired],
        "of another asker"
    );
    assert_eq!(
        used(&mut sim, 0, Token(id(7))),
        [Refusal::Expired],
        "invented"
    );
    assert_eq!(used(&mut sim, 0, token), []);
    sim.run(20 * SECOND); // the session is over
    assert_eq!(used(&mut sim, 0, token), [Refusal::Expired], "used before");
    assert_eq!((sim.peers(1), sim.open_connections()), (vec![0, 2, 3], 3));
    sim.end();
}

#[test]
fn an_asker_holds_at_most_thirty_two_tokens_and_the_oldest_goes_first() {
    for requests in [31, 32, 33, 40] {
        let mut sim = strangers(1);
        let mut all = asked(&mut sim, requests.min(32));
        if requests > 32 {
            sim.run(2 * SECOND);
            let link = sim.between(0, 1);
            (32..requests).for_each(|request| sim.say(0, link, get_peers(request, 8)));
            sim.run(Duration::from_millis(10));
            all = answers(&sim, 1, 0).iter().flat_map(tokens).collect();
        }
        assert_eq!(all.len(), requests as usize);
        let forgotten = all.len().saturating_sub(32);
        if let Some(last) = forgotten.checked_sub(1) {
            assert_eq!(
                used(&mut sim, 0, all[last]),
                [Refusal::Expired],
                "{requests}"
            );
        }
        assert_eq!(used(&mut sim, 0, all[forgotten]), [], "{requests}");
        sim.end();
    }
}

/// A session of 0 with 2 that 1 carries, in which nobody's core has a part.
fn session(sim: &mut Sim) -> (ConnectionId, SessionId) {
    let token = asked(sim, 1)[0];
    sim.silence(2);
    assert_eq!(used(sim, 0, token), []);
    (sim.between(0, 1), token.into())
}

fn carried(sim: &Sim) -> usize {
    sim.sent(1, 2)
        .filter(|frame| matches!(frame, Frame::Signal(_)))
        .count()
}

#[test]
fn a_session_is_there_for_almost_fifteen_seconds_and_not_for_more() {
    for (after, is_there) in [(14_900, true), (15_100, false)] {
        let mut sim = strangers(1);
        sim.delay = 1..2;
        let session = asked(&mut sim, 1)[0].into();
        [0, 2].into_iter().for_each(|node| sim.silence(node));
        let link = sim.between(0, 1);
        let say = |sim: &mut Sim| {
            let envelope = Envelope(Vec::new());
            sim.say(0, link, Frame::Signal(Signal { session, envelope }));
        };
        say(&mut sim);
        // Both are still there then.
        for _ in 0..2 {
            sim.run(Duration::from_millis(after / 2));
            for node in [0, 2] {
                sim.say(node, sim.between(node, 1), Frame::Ping(0));
            }
        }
        say(&mut sim);
        sim.run(SECOND / 100);
        assert_eq!(carried(&sim), 1 + usize::from(is_there), "{after} ms");
        sim.end();
    }
}

#[test]
fn a_session_carries_thirty_two_signals_of_each_end_and_lasts_fifteen_seconds() {
    for (more, busy) in [(30, 0), (31, 0), (32, 1), (40, 9)] {
        let mut sim = strangers(1);
        let (link, session) = session(&mut sim);
        let frame = Frame::Signal(Signal {
            session,
            envelope: Envelope(Vec::new()),
        });
        (0..more).for_each(|_| sim.say(0, link, frame.clone()));
        sim.run(SECOND);
        assert_eq!(carried(&sim), 1 + more - busy);
        assert_eq!(refusals(&sim, 1, 0), vec![Refusal::Busy; busy]);
        sim.run(15 * SECOND);
        let before = carried(&sim);
        sim.say(0, link, frame);
        sim.run(SECOND);
        assert_eq!(carried(&sim), before, "the session is over");
        sim.end();
    }
}

#[test]
fn a_candidate_may_send_thirty_two_signals_as_well() {
    for (signals, busy) in [(31, 0), (32, 0), (33, 1)] {
        let mut sim = strangers(1);
        session(&mut sim);
        sim.silence(0);
        let opened = sim.sent(1, 2).find_map(|frame| match frame {
            Frame::Signal(signal) => Some(signal.session),
            _ => None,
        });
        let (link, session) = (sim.between(1, 2), opened.unwrap());
        let frame = Frame::Signal(Signal {
            session,
            envelope: Envelope(Vec::new()),
        });
        (0..signals).for_each(|_| sim.say(2, link, frame.clone()));
        sim.run(SECOND);
        assert_eq!(refusals(&sim, 1, 2).len(), busy);
        sim.end();
    }
}

#[test]
fn the_end_of_a_session_is_told_to_the_other_end_and_leaves_the_links() {
    let mut sim = strangers(1);
    let (link, session) = session(&mut sim);
    let (subject, reason) = (Subject::Session(session), Refusal::Other);
    sim.say(0, link, Frame::Refuse(Refuse { subject, reason }));
    sim.run(SECOND);
    assert_eq!(refusals(&sim, 1, 2), [Refusal::Other]);
    let envelope = Envelope(Vec::new());
    let before = carried(&sim);
    sim.say(0, link, Frame::Signal(Signal { session, envelope }));
    sim.run(SECOND);
    assert_eq!(carried(&sim), before);
    assert_eq!(sim.peers(1), [0, 2]);
    sim.end();
}
