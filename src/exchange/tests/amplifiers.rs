//! Remotes that would have us do more to others than they do to us.

use std::collections::HashSet;

use super::*;
use crate::{
    config::{Candidate, Limits, Rate},
    exchange::Input,
    message::Path,
    rate::Bucket,
};

/// All tokens that 1 has handed out to 0 over its links.
pub(super) fn tokens(sim: &Sim) -> Vec<SessionId> {
    let answers = answers(sim, 1, 0)
        .into_iter()
        .flat_map(|peers| peers.candidates);
    let tokens = answers.filter_map(|candidate| match candidate.path {
        Path::Signals(token) => Some(token.into()),
        Path::Vouched(_) => None,
    });
    tokens.collect()
}

/// What 0 has signed, or not, and 1 passes on unread.
pub(super) fn say_signal(sim: &mut Sim, link: ConnectionId, session: SessionId) {
    let envelope = Envelope(vec![7; 100]);
    sim.say(0, link, Frame::Signal(Signal { session, envelope }));
}

#[test]
fn nobody_makes_an_introducer_flood_a_candidate() {
    let mut sim = strangers(1);
    sim.delay = 1..2;
    let links = [sim.between(0, 1), sim.connect(0, 1)];
    sim.silence(2);
    sim.silence(0);
    for (link, request) in links
        .into_iter()
        .flat_map(|link| (0..16).map(move |n| (link, n)))
    {
        sim.say(0, link, get_peers(request, 8));
    }
    sim.run(SECOND / 10);
    for session in tokens(&sim) {
        for link in links {
            for _ in 0..31 {
                say_signal(&mut sim, link, session);
            }
        }
        sim.run(SECOND / 10);
    }
    sim.run(SECOND);
    let passed = sim
        .sent(1, 2)
        .filter(|frame| matches!(frame, Frame::Signal(_)))
        .count();
    assert!(passed > 100, "{passed}");
    assert!(sim.link_errors(2).is_empty(), "{:?}", sim.link_errors(2));
    assert!(sim.are_connected(1, 2));
    sim.end();
}

#[test]
fn signals_are_passed_on_up_to_the_limit_of_their_receiver() {
    for (signals, busy) in [(191, 0), (192, 0), (193, 1)] {
        let mut sim = strangers(1);
        sim.delay = 1..2;
        let link = sim.between(0, 1);
        sim.silence(2);
        sim.silence(0);
        (0..8).for_each(|request| sim.say(0, link, get_peers(request, 8)));
        sim.run(SECOND / 100);
        let sessions = tokens(&sim).into_iter().flat_map(|session| [session; 32]);
        for session in sessions.take(signals) {
            say_signal(&mut sim, link, session);
        }
        sim.run(SECOND / 500);
        assert_eq!(refusals(&sim, 1, 0), vec![Refusal::Busy; busy], "{signals}");
        sim.end();
    }
}

#[test]
fn signals_are_passed_on_up_to_the_limit_of_the_node() {
    for (before, busy) in [(4094, 0), (4095, 0), (4096, 1)] {
        let mut sim = strangers(1);
        sim.delay = 1..2;
        let link = sim.between(0, 1);
        sim.silence(2);
        sim.silence(0);
        sim.say(0, link, get_peers(0, 8));
        sim.run(SECOND / 100);
        // No credit is earned until then.
        let then = sim.now + SECOND;
        let mut relayed = Bucket::full(Limits::ALL_SIGNALS, then);
        (0..before).for_each(|_| assert!(relayed.take(Limits::ALL_SIGNALS, then)));
        sim.nodes[1].core.relayed = Some(relayed);
        for session in tokens(&sim) {
            say_signal(&mut sim, link, session);
        }
        sim.run(SECOND / 100);
        assert_eq!(refusals(&sim, 1, 0), vec![Refusal::Busy; busy], "{before}");
        sim.end();
    }
}

#[test]
fn an_expired_session_counts_no_more() {
    for (sessions, busy) in [(11, 0), (12, 0), (13, 1)] {
        let mut sim = Sim::with_nodes(1, 1);
        sim.add(config().with_limits(Limits::default().with_max_peers(3)));
        sim.add(config());
        sim.delay = 1..2;
        let link = sim.connect(0, 1);
        sim.connect(2, 1);
        sim.silence(2);
        sim.silence(0);
        (0..sessions).for_each(|request| sim.say(0, link, get_peers(request, 8)));
        sim.run(SECOND / 100);
        for session in tokens(&sim) {
            say_signal(&mut sim, link, session);
        }
        sim.run(SECOND / 100);
        assert_eq!(
            refusals(&sim, 1, 0),
            vec![Refusal::Busy; busy],
            "{sessions}"
        );
        // Those are over by then, whoever has ended them.
        for _ in 0..4 {
            sim.say(0, link, Frame::Ping(0));
            sim.say(2, sim.between(2, 1), Frame::Ping(0));
            sim.run(4 * SECOND);
        }
        sim.say(0, link, get_peers(100, 8));
        sim.run(SECOND / 100);
        let newest = tokens(&sim).pop().unwrap();
        say_signal(&mut sim, link, newest);
        sim.run(SECOND / 100);
        assert_eq!(refusals(&sim, 1, 0).len(), busy, "{sessions}");
        sim.end();
    }
}

#[test]
fn a_node_without_addresses_dials_few_offerers_at_a_time_and_none_twice() {
    for (offerers, busy) in [(1, 0), (2, 0), (3, 1), (64, 62)] {
        let mut sim = strangers(1);
        sim.delay = 1..2;
        sim.tell(2, |core, now| {
            core.handle(now, Input::Addresses(Vec::new()))
        });
        sim.silence(1);
        let link = sim.between(1, 2);
        for n in 100..100 + offerers {
            for exchange in [n, n + 1000] {
                let envelope = signed(&sim, n, 2, exchange, offer_of(n));
                sim.say(1, link, signal(exchange, envelope));
            }
        }
        sim.run(SECOND / 10);
        let rejected = signals(&sim, 2, 1).into_iter();
        let rejected =
            rejected.filter(|body| matches!(body.content, SignalContent::Reject(Refusal::Busy)));
        let (rejected, refused) = (rejected.count(), refusals(&sim, 2, 1));
        assert_eq!(rejected + refused.len(), offerers + busy, "{offerers}");
        let refused = refused.iter().filter(|it| **it == Refusal::Busy).count();
        let counted = sim.nodes[2].core.refused(Refusal::Busy);
        assert_eq!(counted, (rejected + refused) as u64, "{offerers}");
        sim.run(10 * SECOND);
        sim.end();
    }
}

#[test]
fn an_introducer_that_vouches_for_others_has_few_of_their_addresses_dialed_and_one_peers_at_a_time()
{
    let vouched = |n: usize| {
        let address = |k| format!("/ip4/9.8.{n}.{k}/tcp/53").parse();
        Candidate::vouched(peer(100 + n), (0..100).map(|k| address(k).unwrap()))
    };
    let mut sim = Sim::new(1);
    sim.add(config());
    sim.add(config().with_candidates(move |_: &_, _: &_, _| (0..100).map(vouched).collect()));
    sim.connect(0, 1);
    sim.nodes[0].dialed.clear();
    let began = sim.now;
    assert!(sim.query(0).is_err());
    let dialed = &sim.nodes[0].dialed;
    let addresses: HashSet<_> = dialed.iter().flatten().collect();
    println!(
        "one lying answer: {} addresses in {} dials, one after the other, within {:?}",
        addresses.len(),
        dialed.len(),
        sim.now - began
    );
    assert!(
        dialed
            .iter()
            .all(|dialed| dialed.len() <= Limits::ADDRESSES)
    );
    assert_eq!(addresses.len(), Limits::CANDIDATES * Limits::ADDRESSES);
    assert_eq!(dialed.len(), Limits::CANDIDATES);
    sim.end();
}

#[test]
fn updates_come_a_few_at_once_and_no_more() {
    for (updates, is_flood) in [(7, false), (8, false), (9, true)] {
        let mut sim = strangers(1);
        let link = sim.between(0, 1);
        let hello = sim.sent(0, 1).find_map(|frame| match frame {
            Frame::Hello(hello) => Some(hello.networks.clone()),
            _ => None,
        });
        let networks = hello.unwrap();
        let update = Update {
            networks,
            accepting: true,
        };
        sim.silence(0);
        for _ in 0..updates {
            sim.say(0, link, Frame::Update(update.clone()));
        }
        sim.run(SECOND / 5);
        assert_eq!(floods(&sim, 1), usize::from(is_flood), "{updates}");
        sim.end();
    }
}

#[test]
fn a_peer_has_at_most_eight_links() {
    for (links, refused) in [(7, 0), (8, 0), (9, 1)] {
        let mut sim = Sim::with_nodes(1, 2);
        for _ in 0..links {
            sim.connect(0, 1);
        }
        let full = sim.link_errors(1);
        assert_eq!(full.len(), refused, "{full:?}");
        assert!(full.iter().all(|error| matches!(error, LinkError::Full)));
        assert!(sim.are_connected(0, 1));
        sim.end();
    }
}

#[test]
fn a_walk_is_answered_as_if_it_were_none() {
    let mut sim = strangers(1);
    let link = sim.between(0, 1);
    for hops in 0..=3 {
        let Frame::GetPeers(request) = get_peers(u32::from(hops), 8) else {
            panic!();
        };
        sim.say(0, link, Frame::GetPeers(GetPeers { hops, ..request }));
    }
    sim.run(SECOND);
    let answers = answers(&sim, 1, 0);
    assert_eq!(answers.len(), 4);
    for answer in answers {
        let named: Vec<_> = answer
            .candidates
            .iter()
            .map(|candidate| candidate.peer)
            .collect();
        assert_eq!(named, [peer(2)]);
    }
    sim.end();
}

#[test]
fn a_dial_that_outlives_its_query_ends_in_nothing() {
    let quick = config().with_query_timeout(SECOND / 5);
    let mut sim = Sim::new(1);
    sim.delay = 1..2;
    [quick, config(), config()].into_iter().for_each(|config| {
        sim.add(config);
    });
    sim.star(1, 0..1);
    sim.star(1, 2..3);
    assert!(matches!(sim.query(0), Err(QueryError::Timeout(_))));
    sim.run(10 * SECOND);
    assert_eq!((sim.peers(0), sim.connections_between(0, 2)), (vec![1], 0));
    sim.end();
}

#[test]
fn allowances_are_kept_while_a_peer_is_there() {
    let limits = Limits::default().with_requests(Rate::new(2, 0));
    let mut sim = Sim::new(1);
    sim.add(config());
    sim.add(config().with_limits(limits));
    let first = sim.connect(0, 1);
    let second = sim.connect(0, 1);
    for link in [first, second, first] {
        sim.say(0, link, get_peers(1, 8));
    }
    sim.run(SECOND);
    assert_eq!(refusals(&sim, 1, 0), [Refusal::Busy]);
    sim.end();
}
