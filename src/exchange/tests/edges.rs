//! What is earned in a while, and how long exactly what does not go on is waited for.

use super::{
    amplifiers::{say_signal, tokens},
    *,
};
use crate::{
    config::{Limits, Rate, View},
    error::AttemptError,
    exchange::Input,
    id::Token,
    message::{Path, PeerCandidate},
    rate::Bucket,
};

const MS: Duration = Duration::from_millis(1);

/// 1 knows 0, who says only what it is made to say, and 2, who says nothing; a message takes a millisecond.
fn quiet() -> (Sim, ConnectionId) {
    let mut sim = strangers(1);
    sim.run(2 * SECOND);
    sim.delay = 1..2;
    sim.silence(0);
    sim.silence(2);
    let link = sim.between(0, 1);
    (sim, link)
}

/// After `burst` at once, so many more pass after `time`, and none beyond.
fn assert_earned(
    (burst, time, earned): (usize, Duration, usize),
    say: impl Fn(&mut Sim, ConnectionId, usize),
    prepare: impl Fn(&mut Sim, ConnectionId),
    over: impl Fn(&Sim) -> usize,
) {
    for extra in [0, 1] {
        let (mut sim, link) = quiet();
        prepare(&mut sim, link);
        (0..burst).for_each(|n| say(&mut sim, link, n));
        sim.run(time);
        assert_eq!(over(&sim), 0);
        (burst..burst + earned + extra).for_each(|n| say(&mut sim, link, n));
        sim.run(5 * MS);
        assert_eq!(over(&sim), extra);
        sim.end();
    }
}

fn nothing(_: &mut Sim, _: ConnectionId) {}

fn refused(sim: &Sim) -> usize {
    refusals(sim, 1, 0).len()
}

fn flooded(sim: &Sim) -> usize {
    floods(sim, 1)
}

/// The only candidate of 0 is given up after this time, and why.
fn assert_gives_up_after(mut sim: Sim, time: Duration, why: &AttemptError) {
    let query = sim.start_query(0);
    sim.run(time - MS);
    assert_eq!(sim.outcome(0, query), None);
    sim.run(MS);
    match sim.outcome(0, query) {
        Some(Err(QueryError::Unreachable { last, .. })) => assert_eq!(last, *why),
        other => panic!("{other:?}"),
    }
    sim.end();
}

#[test]
fn so_many_requests_are_earned_in_a_second() {
    let say = |sim: &mut Sim, link, n| sim.say(0, link, get_peers(n as u32, 8));
    assert_earned((32, SECOND, 8), say, nothing, refused);
}

#[test]
fn so_many_introductions_are_earned_in_a_second() {
    let say = |sim: &mut Sim, link, n| {
        let envelope = signed(sim, 100 + n, 1, n, offer_of(n));
        sim.say(0, link, signal(n, envelope));
    };
    assert_earned((64, SECOND, 16), say, nothing, refused);
}

#[test]
fn so_many_frames_are_earned_in_a_second() {
    let say = |sim: &mut Sim, link, _| sim.say(0, link, Frame::Unknown);
    assert_earned((1024, SECOND, 512), say, nothing, flooded);
}

#[test]
fn so_many_updates_are_earned_in_a_second() {
    let say = |sim: &mut Sim, link, _| {
        let hello = sim.sent(0, 1).find_map(|frame| match frame {
            Frame::Hello(hello) => Some(hello.networks.clone()),
            _ => None,
        });
        let networks = hello.unwrap();
        let accepting = true;
        sim.say(
            0,
            link,
            Frame::Update(Update {
                networks,
                accepting,
            }),
        );
    };
    assert_earned((8, SECOND, 2), say, nothing, flooded);
}

fn get_tokens(sim: &mut Sim, link: ConnectionId) {
    (0..12).for_each(|request| sim.say(0, link, get_peers(request, 8)));
    sim.run(5 * MS);
}

fn say_nth_signal(sim: &mut Sim, link: ConnectionId, n: usize) {
    let session = tokens(sim)[n / 32];
    say_signal(sim, link, session);
}

#[test]
fn so_many_signals_over_a_link_are_earned_in_half_a_second() {
    assert_earned((192, SECOND / 2, 128), say_nth_signal, get_tokens, refused);
}

#[test]
fn so_many_signals_over_all_links_are_earned_in_5_milliseconds() {
    let prepare = |sim: &mut Sim, link| {
        get_tokens(sim, link);
        let mut relayed = Bucket::full(Limits::ALL_SIGNALS, sim.now + MS);
        while relayed.take(Limits::ALL_SIGNALS, sim.now + MS) {}
        sim.nodes[1].core.relayed = Some(relayed);
    };
    assert_earned((0, 5 * MS, 20), say_nth_signal, prepare, refused);
}

/// A signal with an envelope of so many bytes.
fn signal_of(session: SessionId, len: usize) -> Frame {
    let envelope = Envelope(vec![7; len]);
    Frame::Signal(Signal { session, envelope })
}

#[test]
fn a_frame_counts_once_for_each_2_kib_that_it_has_begun() {
    for (len, weight) in [(100, 1), (2048, 1), (2049, 2), (16_000, 8)] {
        let prefix = if len < 128 { 1 } else { 2 };
        let frame = |envelope| signal_of(SessionId(id(0)), envelope);
        let is_so_long =
            |it: &usize| crate::wire::encode(&frame(*it)).unwrap().len() == prefix + len;
        let envelope = (0..len).find(is_so_long).unwrap();
        for extra in [0, 1] {
            let (mut sim, link) = quiet();
            (0..1024 / weight + extra).for_each(|_| sim.say(0, link, frame(envelope)));
            sim.run(5 * MS);
            assert_eq!(floods(&sim, 1), extra, "{len} bytes");
            sim.end();
        }
    }
}

#[test]
fn a_signal_counts_once_for_each_2_kib_that_it_has_begun() {
    const AROUND: usize = Signal::OVERHEAD;
    for (len, weight) in [(0, 1), (2048 - AROUND, 1), (2049 - AROUND, 2), (16_000, 8)] {
        for extra in [0, 1] {
            let (mut sim, link) = quiet();
            get_tokens(&mut sim, link);
            let session = tokens(&sim)[0];
            for _ in 0..32 / weight + extra {
                sim.say(0, link, signal_of(session, len));
            }
            sim.run(5 * MS);
            assert_eq!(refused(&sim), extra, "in a session, {len} bytes");
            sim.end();

            let (mut sim, link) = quiet();
            get_tokens(&mut sim, link);
            for (n, session) in tokens(&sim).into_iter().enumerate() {
                let left = 192 / weight + extra - n * (32 / weight);
                for _ in 0..left.min(32 / weight) {
                    sim.say(0, link, signal_of(session, len));
                }
                if left <= 32 / weight {
                    break;
                }
            }
            sim.run(2 * MS);
            assert_eq!(refused(&sim), extra, "to a peer, {len} bytes");
            sim.end();
        }
    }
}

#[test]
fn the_limits_that_can_be_chosen_are_as_documented() {
    let limits = Limits::default().with_max_peers(512).with_max_queries(64);
    let limits = limits.with_introductions(Rate::new(64, 16));
    assert_eq!(Limits::default(), limits.with_requests(Rate::new(32, 8)));
}

#[test]
fn a_peer_that_opens_many_links_at_once_has_eight_too() {
    for (links, refused) in [(7, 0), (8, 0), (9, 1)] {
        let mut sim = Sim::with_nodes(1, 2);
        for _ in 0..links {
            sim.link(0, 1);
        }
        sim.run(SECOND);
        let full = sim.link_errors(1);
        assert_eq!(full.len(), refused, "{full:?}");
        assert!(full.iter().all(|error| matches!(error, LinkError::Full)));
        sim.end();
    }
}

#[test]
fn a_neighbour_has_two_and_a_half_seconds_for_its_part_of_a_walk() {
    let (mut sim, link) = quiet();
    let Frame::GetPeers(request) = get_peers(1, 8) else {
        panic!();
    };
    // It takes a millisecond until 2 is asked.
    sim.say(0, link, Frame::GetPeers(GetPeers { hops: 1, ..request }));
    sim.run(Limits::WALK_TIME);
    assert_eq!(answers(&sim, 1, 0).len(), 0);
    sim.run(MS);
    assert_eq!(answers(&sim, 1, 0).len(), 1);
    sim.end();
}

#[test]
fn a_peer_has_three_seconds_to_name_candidates() {
    let mut sim = strangers(1);
    heed_nothing(&mut sim, 1);
    let query = sim.start_query(0);
    sim.run(Limits::ASK_TIME - MS);
    assert_eq!(sim.outcome(0, query), None);
    sim.run(MS);
    let outcome = sim.outcome(0, query);
    assert!(matches!(
        outcome,
        Some(Err(QueryError::NoCandidates { asked: 1, .. }))
    ));
    sim.end();
}

#[test]
fn a_candidate_has_five_seconds_to_answer() {
    let mut sim = strangers(1);
    sim.delay = 1..2;
    heed_nothing(&mut sim, 2);
    // The question and its answer take two.
    assert_gives_up_after(sim, 2 * MS + Limits::ANSWER_TIME, &AttemptError::NoAnswer);
}

#[test]
fn a_candidate_that_answered_has_twenty_seconds_to_come() {
    let mut sim = strangers(1);
    sim.delay = 1..2;
    // Without an address it has to dial, and its dial is lost.
    sim.tell(2, |core, now| {
        core.handle(now, Input::Addresses(Vec::new()));
    });
    sim.nodes[0].is_reachable = false;
    sim.nodes[2].describes = false;
    // Question and answer take two, offer and answer four.
    assert_gives_up_after(
        sim,
        6 * MS + Limits::CONNECT_TIME,
        &AttemptError::NoConnection,
    );
}

#[test]
fn a_node_whose_peers_are_never_there_is_asked_eight_times_in_a_search() {
    let mut sim = Sim::new(1);
    sim.delay = 1..2;
    sim.add(config().with_view(View::default()));
    sim.add(config());
    let mut names = 100..;
    sim.nodes[1].lie = Some(Box::new(move |_, frame| match frame {
        Frame::Peers(Peers { request, .. }) => {
            let name = names.next().unwrap();
            let candidates = vec![PeerCandidate {
                peer: peer(name),
                accepting: true,
                path: Path::Signals(Token(id(name))),
            }];
            vec![Frame::Peers(Peers {
                request,
                candidates,
            })]
        }
        frame => vec![frame],
    }));
    sim.link(0, 1);
    // Two searches at a time, and half a second until the next ones.
    sim.run(SECOND / 4);
    let is_request = |frame: &&Frame| matches!(frame, Frame::GetPeers(_));
    let asked = sim.sent(0, 1).filter(is_request).count();
    assert_eq!(asked, 2 * Limits::SEARCH_REQUESTS);
    sim.end();
}
