//! What many peers that ask for as much as each may take from an introducer, and from its neighbours through it: nothing
//! that others need.

use super::*;
use crate::{
    config::{Candidate, Incoming, Limits},
    message::Path,
    rate::Bucket,
};

const MS: Duration = Duration::from_millis(1);
/// The introducer, and the only peer that can be met through it.
const INTRODUCER: usize = 0;
const CANDIDATE: usize = 1;

/// Adds a node that says nothing but hello and cannot be met.
fn add_mute(sim: &mut Sim, to: usize) -> usize {
    let node = sim.add(config().with_incoming(Incoming::Refuse));
    sim.link(node, to);
    sim.run(SECOND / 5);
    heed_nothing(sim, node);
    node
}

/// An introducer with this limit and these enemies, and a candidate.
fn besieged(max_peers: usize, enemies: usize) -> (Sim, Vec<usize>) {
    let mut sim = Sim::new(1);
    sim.delay = 1..2;
    let limits = Limits::default().with_max_peers(max_peers);
    let names_candidate = |_: &_, _: &_, _| vec![Candidate::peer(peer(CANDIDATE))];
    sim.add(
        config()
            .with_limits(limits)
            .with_candidates(names_candidate),
    );
    sim.add(config());
    sim.connect(CANDIDATE, INTRODUCER);
    let enemies = (0..enemies).map(|_| add_mute(&mut sim, INTRODUCER));
    let enemies = enemies.collect();
    (sim, enemies)
}

/// At this moment a frame comes to `to`.
fn arrive(sim: &mut Sim, from: usize, to: usize, frame: Frame) {
    let link = sim.between(from, to);
    sim.tell(to, |core, now| core.handle(now, arrived(link, frame)));
}

fn signal_in(session: SessionId) -> Frame {
    let envelope = Envelope(Vec::new());
    Frame::Signal(Signal { session, envelope })
}

/// Returns the tokens for peers of a kind in the last answer that `from` gave to `to`.
fn tokens(sim: &Sim, from: usize, to: usize, is_it: impl Fn(&PeerId) -> bool) -> Vec<SessionId> {
    let last = answers(sim, from, to).pop();
    let candidates = last.map_or(Vec::new(), |answer| answer.candidates);
    let candidates = candidates.into_iter().filter(|it| is_it(&it.peer));
    let tokens = candidates.filter_map(|candidate| match candidate.path {
        Path::Signals(token) => Some(token.into()),
        Path::Vouched(_) => None,
    });
    tokens.collect()
}

/// An enemy asks for peers. Returns its tokens for so many other enemies.
fn ask(sim: &mut Sim, enemies: &[usize], enemy: usize, most: usize) -> Vec<SessionId> {
    sim.nodes[INTRODUCER].sent.clear();
    arrive(sim, enemy, INTRODUCER, get_peers(1, 8));
    let is_enemy = |it: &PeerId| enemies.iter().any(|enemy| peer(*enemy) == *it);
    let mut sessions = tokens(sim, INTRODUCER, enemy, is_enemy);
    sessions.truncate(most);
    sessions
}

/// A quarter of a second in which each enemy has two sessions, and both ends say in them what they may.
fn flood_with_signals(sim: &mut Sim, enemies: &[usize]) {
    let links: Vec<_> = enemies
        .iter()
        .map(|it| sim.between(*it, INTRODUCER))
        .collect();
    let mut legs = Vec::new();
    for (enemy, link) in enemies.iter().zip(&links) {
        let asked = ask(sim, enemies, *enemy, 2).into_iter();
        legs.extend(asked.map(|session| (*link, session)));
    }
    let asked = legs.clone();
    let say = |sim: &mut Sim, legs: &[_], frame: fn(SessionId) -> Frame| {
        for (link, session) in legs {
            sim.run(MS / 9);
            let input = arrived(*link, frame(*session));
            sim.tell(INTRODUCER, |core, now| core.handle(now, input));
        }
    };
    say(sim, &legs, signal_in);
    let opened = sim.nodes[INTRODUCER].sent.iter();
    let opened = opened.filter_map(|(link, frame)| match frame {
        Frame::Signal(signal) if links.contains(link) => Some((*link, signal.session)),
        _ => None,
    });
    legs.extend(opened.collect::<Vec<_>>());
    (0..27).for_each(|_| say(sim, &legs, signal_in));
    say(sim, &asked, |session| {
        let (subject, reason) = (Subject::Session(session), Refusal::Other);
        Frame::Refuse(Refuse { subject, reason })
    });
}

/// A quarter of a second in which the enemies one after the other open as many sessions as they may, and leave them open.
fn flood_with_sessions(sim: &mut Sim, enemies: &[usize]) {
    for enemy in enemies {
        for _ in 0..8 {
            for session in ask(sim, enemies, *enemy, 8) {
                arrive(sim, *enemy, INTRODUCER, signal_in(session));
            }
        }
    }
    sim.run(250 * MS);
}

/// While the flood goes on, several peers come and meet the candidate one after the other.
fn assert_introduces(mut sim: Sim, flood: impl Fn(&mut Sim)) {
    for n in 0..20 {
        flood(&mut sim);
        assert_eq!(sim.link_errors(INTRODUCER).len(), 0, "{n}");
    }
    for _ in 0..10 {
        let asker = sim.add(config().with_incoming(Incoming::Refuse));
        // What the asker says comes in the midst of the flood.
        sim.delay = 20..50;
        sim.link(asker, INTRODUCER);
        sim.run(SECOND / 5);
        let query = sim.start_query(asker);
        (0..4).for_each(|_| flood(&mut sim));
        assert_eq!(sim.outcome(asker, query), Some(Ok(peer(CANDIDATE))));
        sim.nodes[INTRODUCER].core.assert_bounded();
    }
    sim.end();
}

#[test]
fn twenty_that_flood_with_signals_do_not_silence_an_introducer() {
    let (sim, enemies) = besieged(512, 20);
    assert_introduces(sim, |sim| flood_with_signals(sim, &enemies));
}

#[test]
fn twenty_that_open_sessions_do_not_silence_an_introducer() {
    let (sim, enemies) = besieged(32, 20);
    assert_introduces(sim, |sim| flood_with_sessions(sim, &enemies));
}

#[test]
fn while_signals_are_scarce_one_counts_as_eight_for_its_receiver() {
    for (left, passed) in [(2049, 192), (2048, 192), (2047, 24)] {
        let (mut sim, enemies) = besieged(512, 2);
        let [asker, receiver] = enemies[..] else {
            panic!();
        };
        (0..8).for_each(|n| arrive(&mut sim, asker, INTRODUCER, get_peers(n, 8)));
        let answers = answers(&sim, INTRODUCER, asker).into_iter();
        let candidates = answers.flat_map(|answer| answer.candidates);
        let tokens = candidates.filter_map(|it| match it.path {
            Path::Signals(token) if it.peer == peer(receiver) => Some(SessionId::from(token)),
            _ => None,
        });
        let tokens: Vec<_> = tokens.collect();
        for n in 0..193 {
            let mut all = Bucket::full(Limits::ALL_SIGNALS, sim.now);
            (left..4096).for_each(|_| assert!(all.take(Limits::ALL_SIGNALS, sim.now)));
            sim.nodes[INTRODUCER].core.relayed = Some(all);
            arrive(&mut sim, asker, INTRODUCER, signal_in(tokens[n / 32]));
        }
        let sent = sim.sent(INTRODUCER, receiver);
        let signals = sent.filter(|frame| matches!(frame, Frame::Signal(_)));
        assert_eq!(signals.count(), passed, "{left} left");
        sim.end();
    }
}

const NEIGHBOR: usize = 1;

/// Node 0 has one neighbour, which knows eight others, and so many enemies that know nobody else.
fn between(enemies: usize) -> (Sim, Vec<usize>) {
    let mut sim = Sim::new(1);
    sim.delay = 1..2;
    for _ in 0..10 {
        sim.add(config());
    }
    sim.star(NEIGHBOR, 2..10);
    (2..10).for_each(|node| heed_nothing(&mut sim, node));
    sim.connect(0, NEIGHBOR);
    let enemies = (0..enemies).map(|_| add_mute(&mut sim, 0));
    let enemies = enemies.collect();
    (sim, enemies)
}

/// An enemy asks for a walk. Returns what it was named behind the neighbour.
fn walk(sim: &mut Sim, enemy: usize) -> Vec<SessionId> {
    let Frame::GetPeers(request) = get_peers(1, 8) else {
        panic!();
    };
    arrive(
        sim,
        enemy,
        0,
        Frame::GetPeers(GetPeers { hops: 1, ..request }),
    );
    sim.run(3 * MS);
    let beyond: Vec<_> = (2..10).map(peer).collect();
    tokens(sim, 0, enemy, |peer| beyond.contains(peer))
}

/// Returns how many requests, and how many signals, a node has sent to its neighbour.
fn asked_for_others(sim: &Sim) -> (usize, usize) {
    let requests = sim.sent(0, NEIGHBOR);
    let requests = requests.filter(|frame| matches!(frame, Frame::GetPeers(_)));
    let signals = sim.sent(0, NEIGHBOR);
    let signals = signals.filter(|frame| matches!(frame, Frame::Signal(_)));
    (requests.count(), signals.count())
}

#[test]
fn so_many_walks_go_through_one_neighbour() {
    for (walks, passed_on) in [(15, 15), (16, 16), (17, 16)] {
        let (mut sim, enemies) = between(1);
        (0..walks).for_each(|_| drop(walk(&mut sim, enemies[0])));
        assert_eq!(asked_for_others(&sim).0, passed_on);
        assert_eq!(
            answers(&sim, 0, enemies[0]).len(),
            walks,
            "all are answered"
        );
        sim.end();
    }
}

#[test]
fn so_many_introductions_are_asked_of_one_neighbour_for_others() {
    for (introductions, busy) in [(31, 0), (32, 0), (33, 1)] {
        let (mut sim, enemies) = between(1);
        let mut left = introductions;
        while left > 0 {
            for token in walk(&mut sim, enemies[0]).into_iter().take(left) {
                arrive(&mut sim, enemies[0], 0, signal_in(token));
                left -= 1;
            }
        }
        assert_eq!(asked_for_others(&sim).1, introductions - busy);
        assert_eq!(refusals(&sim, 0, enemies[0]), vec![Refusal::Busy; busy]);
        sim.end();
    }
}

/// Node 0 asks its neighbour for peers and three of these for a meeting, as a query of its own would.
fn ask_for_itself(sim: &mut Sim, request: u32) {
    let link = sim.between(0, NEIGHBOR);
    sim.tell(0, |core, _| core.send(link, get_peers(request, 8)));
    sim.run(3 * MS);
    let tokens = tokens(sim, NEIGHBOR, 0, |_| true);
    for session in tokens.into_iter().take(3) {
        sim.tell(0, |core, _| core.send(link, signal_in(session)));
    }
}

#[test]
fn what_is_asked_for_others_leaves_a_node_its_own_requests() {
    for enemies in [1, 3] {
        let (mut sim, enemies) = between(enemies);
        // A burst, and then at the rates at which one may ask.
        for n in 0..30 + 8 * 20 {
            for enemy in &enemies {
                for token in walk(&mut sim, *enemy).into_iter().take(4) {
                    arrive(&mut sim, *enemy, 0, signal_in(token));
                }
            }
            if n % 4 == 0 {
                ask_for_itself(&mut sim, 1_000_000 + n);
            }
            if n >= 30 {
                sim.run(SECOND / 8);
            }
        }
        sim.run(SECOND);
        assert_eq!(refusals(&sim, NEIGHBOR, 0), []);
        let (requests, signals) = asked_for_others(&sim);
        assert!(
            requests > 48 + 80 && signals > 144 + 160,
            "{requests}, {signals}"
        );
        sim.end();
    }
}
