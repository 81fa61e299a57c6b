//! What is counted for a peer is counted over all its links, and goes on where it was when the peer comes back.

use super::{amplifiers::say_signal, *};
use crate::{
    config::{Limits, Rate},
    message::Path,
};

const MS: Duration = Duration::from_millis(1);

/// 0 and 2 both know 1 and say nothing of their own; a message takes a millisecond.
fn quiet(config: Config) -> Sim {
    let mut sim = Sim::new(1);
    sim.delay = 1..2;
    sim.add(self::config());
    sim.add(config);
    sim.add(self::config());
    for node in [0, 2] {
        sim.connect(node, 1);
        quieten(&mut sim, node);
    }
    sim
}

/// Has a node say nothing but hello.
fn quieten(sim: &mut Sim, node: usize) {
    let is_hello = |frame: &Frame| matches!(frame, Frame::Hello(_) | Frame::Pong(_));
    sim.nodes[node].lie = Some(Box::new(move |_, frame| {
        Vec::from_iter(Some(frame).filter(is_hello))
    }));
}

/// Cuts all links of a node to node 1, and has it come back after a while.
fn come_back(sim: &mut Sim, node: usize, after: Duration) -> ConnectionId {
    while sim.connections_between(node, 1) > 0 {
        sim.cut(sim.between(node, 1));
        sim.run(MS);
    }
    sim.run(after);
    let link = sim.link(node, 1);
    sim.run(4 * MS);
    assert!(sim.peers(1).contains(&node));
    link
}

#[test]
fn counts_are_kept_for_a_minute_after_the_last_link() {
    let limits = Limits::default().with_requests(Rate::new(2, 0));
    for (after, busy) in [
        (Duration::ZERO, 1),
        (Limits::COUNT_TIME - 5 * MS, 1),
        (Limits::COUNT_TIME, 0),
    ] {
        let mut sim = quiet(config().with_limits(limits.clone()));
        let link = sim.between(0, 1);
        (0..2).for_each(|request| sim.say(0, link, get_peers(request, 8)));
        sim.run(SECOND);
        let link = come_back(&mut sim, 0, after);
        sim.say(0, link, get_peers(2, 8));
        sim.run(SECOND);
        assert_eq!(refusals(&sim, 1, 0), vec![Refusal::Busy; busy], "{after:?}");
        sim.end();
    }
}

#[test]
fn a_peer_that_comes_back_brings_no_more_offers() {
    let mut sim = quiet(config());
    let began = sim.now;
    let mut n = 1000;
    for _ in 0..100 {
        let link = come_back(&mut sim, 0, Duration::ZERO);
        for _ in 0..64 {
            n += 1;
            let offer = signal(n, signed(&sim, 999, 1, n, offer_of(999)));
            sim.say(0, link, offer);
        }
        sim.run(4 * MS);
    }
    let answered = signals(&sim, 1, 0).len();
    let earned = 16.0 * (sim.now - began).as_secs_f64();
    assert!(answered as f64 <= 64.0 + earned, "{answered}");
    // Whom others bring is not concerned.
    let link = sim.between(2, 1);
    for n in 1..=64 {
        let offer = signal(n, signed(&sim, n + 100, 1, n, offer_of(n)));
        sim.say(2, link, offer);
    }
    sim.run(SECOND);
    assert_eq!(
        (refusals(&sim, 1, 2), signals(&sim, 1, 2).len()),
        (vec![], 64)
    );
    sim.end();
}

/// At this moment node 1 gets so many frames over a link.
fn flood(sim: &mut Sim, link: ConnectionId, frames: usize) {
    for _ in 0..frames {
        sim.tell(1, |core, now| {
            core.handle(now, arrived(link, Frame::Unknown))
        });
    }
}

#[test]
fn frames_are_counted_over_all_links_of_a_peer() {
    for (frames, flooded) in [(1023, 0), (1024, 0), (1025, 1)] {
        let mut sim = quiet(config());
        let links = [sim.between(0, 1), sim.connect(0, 1)];
        sim.run(2 * SECOND);
        flood(&mut sim, links[0], 1000);
        flood(&mut sim, links[1], frames - 1000);
        sim.run(SECOND);
        assert_eq!(floods(&sim, 1), flooded, "{frames}");
        sim.end();
    }
}

#[test]
fn a_peer_that_has_flooded_may_send_no_more_when_it_comes_back() {
    for (after, flooded) in [(Duration::ZERO, 2), (2 * SECOND, 1)] {
        let mut sim = quiet(config());
        sim.run(2 * SECOND);
        let link = sim.between(0, 1);
        flood(&mut sim, link, 1025);
        let link = come_back(&mut sim, 0, after);
        // In 10 ms, five are earned.
        flood(&mut sim, link, 10);
        assert_eq!(floods(&sim, 1), flooded, "{after:?}");
        sim.end();
    }
}

/// The newest tokens that node 1 has handed out to another.
fn newest_tokens(sim: &Sim, to: usize) -> Vec<SessionId> {
    let candidates = answers(sim, 1, to).into_iter().rev();
    let candidates = candidates.flat_map(|peers| peers.candidates);
    let tokens = candidates.filter_map(|candidate| match candidate.path {
        Path::Signals(token) => Some(token.into()),
        Path::Vouched(_) => None,
    });
    tokens.take(Limits::TOKENS).collect()
}

/// A node asks for as many tokens as it may have, and uses so many of them.
fn ask(sim: &mut Sim, asker: usize, sessions: usize) {
    let link = sim.between(asker, 1);
    for request in 0..Limits::TOKENS as u32 {
        sim.say(asker, link, get_peers(request, 8));
    }
    sim.run(4 * MS);
    for session in newest_tokens(sim, asker).into_iter().take(sessions) {
        let envelope = Envelope(vec![7; 100]);
        sim.say(asker, link, Frame::Signal(Signal { session, envelope }));
    }
    sim.run(4 * MS);
}

/// Returns how many signals node 1 has passed on to another.
fn relayed(sim: &Sim, to: usize) -> usize {
    let sent = sim.sent(1, to);
    sent.filter(|frame| matches!(frame, Frame::Signal(_)))
        .count()
}

#[test]
fn coming_back_brings_no_more_introductions() {
    let limits = Limits::default().with_introductions(Rate::new(20, 0));
    let limits = limits.with_requests(Rate::new(1000, 0));
    for comes_back in [0, 2] {
        let mut sim = quiet(config().with_limits(limits.clone()));
        ask(&mut sim, 0, 32);
        assert_eq!(relayed(&sim, 2), 20);
        let other = sim.add(config());
        sim.connect(other, 1);
        quieten(&mut sim, other);
        come_back(&mut sim, comes_back, Duration::ZERO);
        match comes_back {
            0 => ask(&mut sim, 0, 32),
            _ => ask(&mut sim, other, 32),
        }
        assert_eq!(relayed(&sim, 2), 20);
        assert!(comes_back == 2 || relayed(&sim, other) == 0);
        sim.end();
    }
}

#[test]
fn a_candidate_that_comes_back_is_sent_no_more_signals() {
    let mut sim = quiet(config());
    for _ in 0..10 {
        come_back(&mut sim, 2, Duration::ZERO);
        let link = sim.between(0, 1);
        (0..3).for_each(|request| sim.say(0, link, get_peers(request, 8)));
        sim.run(4 * MS);
        for session in newest_tokens(&sim, 0).into_iter().take(3) {
            (0..32).for_each(|_| say_signal(&mut sim, link, session));
        }
        sim.run(4 * MS);
    }
    // In 150 ms or so, 256 a second are earned.
    let relayed = relayed(&sim, 2);
    assert!((192..300).contains(&relayed), "{relayed}");
    sim.end();
}

#[test]
fn beyond_half_of_all_sessions_an_asker_has_four() {
    // Of 24 in all.
    let limits = Limits::default().with_max_peers(3);
    let limits = limits.with_requests(Rate::new(1000, 0));
    for (sessions, busy) in [(11, 0), (12, 0), (13, 1)] {
        let mut sim = quiet(config().with_limits(limits.clone()));
        ask(&mut sim, 0, sessions);
        assert_eq!(refusals(&sim, 1, 0).len(), busy, "{sessions}");
        let few = sessions.max(12) - 8;
        ask(&mut sim, 2, few);
        let refused = usize::from(few > 4);
        assert_eq!(refusals(&sim, 1, 2).len(), refused, "{sessions}");
        // They are over when their asker leaves.
        come_back(&mut sim, 0, Duration::ZERO);
        ask(&mut sim, 0, 8);
        assert_eq!(refusals(&sim, 1, 0).len(), busy, "{sessions}");
        sim.nodes[1].core.assert_bounded();
        sim.end();
    }
}

#[test]
fn an_ended_session_counts_no_more() {
    let limits = Limits::default().with_max_peers(3);
    let limits = limits.with_requests(Rate::new(1000, 0));
    for (ender, leaves, ended) in [(0, false, 1), (2, false, 1), (2, true, 12)] {
        let mut sim = quiet(config().with_limits(limits.clone()));
        ask(&mut sim, 0, 12);
        let link = sim.between(ender, 1);
        let session = match ender {
            0 => newest_tokens(&sim, 0)[0],
            _ => first_session(&sim, 2),
        };
        let (subject, reason) = (Subject::Session(session), Refusal::Other);
        match leaves {
            true => drop(come_back(&mut sim, ender, Duration::ZERO)),
            false => sim.say(ender, link, Frame::Refuse(Refuse { subject, reason })),
        }
        sim.run(4 * MS);
        assert_eq!(sim.nodes[1].core.sessions.len(), 12 - ended);
        let told = refusals(&sim, 1, 0).len();
        ask(&mut sim, 0, ended + 1);
        let refused = refusals(&sim, 1, 0).split_off(told);
        assert_eq!(refused, [Refusal::Busy], "{ender}, {leaves}");
        sim.end();
    }
}

/// Returns the first session that node 1 has opened with another.
fn first_session(sim: &Sim, with: usize) -> SessionId {
    let mut sent = sim.sent(1, with);
    let first = sent.find_map(|frame| match frame {
        Frame::Signal(signal) => Some(signal.session),
        _ => None,
    });
    first.unwrap()
}

#[test]
fn walks_are_a_peers_however_many_links_it_opens() {
    for (walks, not_begun) in [(7, 0), (8, 0), (9, 1)] {
        let mut sim = quiet(config());
        sim.nodes[0].lie = None;
        let links = [sim.between(0, 1), sim.connect(0, 1)];
        quieten(&mut sim, 0);
        for request in 0..walks {
            let Frame::GetPeers(request) = get_peers(request, 8) else {
                panic!();
            };
            let link = links[request.request.0 as usize % 2];
            sim.say(0, link, Frame::GetPeers(GetPeers { hops: 1, ..request }));
        }
        sim.run(4 * MS);
        // One that has no walk of its own is told of the neighbours at once.
        assert_eq!(answers(&sim, 1, 0).len(), not_begun, "{walks}");
        sim.run(3 * SECOND);
        sim.end();
    }
}
