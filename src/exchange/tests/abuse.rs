//! Remotes that ask for more than their share.

use super::*;
use crate::{
    config::{Limits, Rate},
    error::LinkError,
};

fn limits(requests: Rate, introductions: Rate) -> Config {
    config().with_limits(
        Limits::default()
            .with_requests(requests)
            .with_introductions(introductions),
    )
}

/// 1 is the victim, 0 and 2 know it; messages take a millisecond.
fn victim(config: Config) -> Sim {
    let mut sim = Sim::new(1);
    sim.delay = 1..2;
    sim.add(self::config());
    sim.add(config);
    sim.add(self::config());
    sim.connect(0, 1);
    sim.connect(2, 1);
    sim
}

#[test]
fn requests_beyond_the_burst_are_refused_and_answered_again_later() {
    for (requests, busy) in [(31, 0), (32, 0), (33, 1), (1000, 968)] {
        let mut sim = victim(config());
        let link = sim.between(0, 1);
        (0..requests).for_each(|request| sim.say(0, link, get_peers(request, 8)));
        sim.run(SECOND / 100);
        assert_eq!(
            refusals(&sim, 1, 0),
            vec![Refusal::Busy; busy],
            "{requests}"
        );
        assert_eq!(answers(&sim, 1, 0).len(), requests as usize - busy);
        assert_eq!(sim.nodes[1].core.refused(Refusal::Busy), busy as u64);
        sim.run(SECOND);
        sim.say(0, link, get_peers(requests, 8));
        sim.run(SECOND);
        assert_eq!(refusals(&sim, 1, 0).len(), busy, "{requests}");
        sim.end();
    }
}

#[test]
fn credit_does_not_grow_for_ever() {
    let mut sim = victim(config());
    let link = sim.between(0, 1);
    sim.run(3600 * SECOND);
    (0..100).for_each(|request| sim.say(0, link, get_peers(request, 8)));
    sim.run(SECOND / 100);
    assert_eq!(answers(&sim, 1, 0).len(), 32);
    sim.end();
}

#[test]
fn a_flood_of_one_peer_leaves_the_others_their_share() {
    let mut sim = victim(config());
    let (link, other) = (sim.between(0, 1), sim.between(2, 1));
    (0..500).for_each(|request| sim.say(0, link, get_peers(request, 8)));
    sim.say(2, other, get_peers(1, 8));
    sim.run(SECOND / 10);
    assert_eq!(
        (answers(&sim, 1, 2).len(), refusals(&sim, 1, 2).len()),
        (1, 0)
    );
    sim.end();
}

#[test]
fn limits_are_a_peers_however_many_links_it_opens() {
    let mut sim = victim(config());
    let links: Vec<_> = (0..5).map(|_| sim.connect(0, 1)).collect();
    for link in links {
        (0..32).for_each(|request| sim.say(0, link, get_peers(request, 8)));
    }
    sim.run(SECOND / 100);
    assert_eq!(answers(&sim, 1, 0).len(), 32);
    sim.end();
}

#[test]
fn a_request_for_a_network_that_is_not_shared_is_refused() {
    let mut sim = victim(config());
    let link = sim.between(0, 1);
    for network in [1, 15, 16, usize::MAX] {
        let Frame::GetPeers(request) = get_peers(1, 8) else {
            panic!()
        };
        sim.say(0, link, Frame::GetPeers(GetPeers { network, ..request }));
    }
    sim.run(SECOND);
    assert_eq!(refusals(&sim, 1, 0), [Refusal::Network; 4]);
    assert!(sim.are_connected(0, 1));
    sim.end();
}

#[test]
fn of_a_flood_of_offers_only_the_limit_is_admitted() {
    for (offers, busy) in [(63, 0), (64, 0), (65, 1), (501, 437)] {
        let mut sim = victim(config());
        sim.silence(0);
        let link = sim.between(0, 1);
        for n in 100..100 + offers {
            let envelope = signed(&sim, n, 1, n, offer_of(n));
            sim.say(0, link, signal(n, envelope));
        }
        sim.run(SECOND / 100);
        assert_eq!(refusals(&sim, 1, 0), vec![Refusal::Busy; busy], "{offers}");
        assert_eq!(signals(&sim, 1, 0).len(), offers - busy, "{offers}");
        assert_eq!(sim.peers(1), [0, 2]);
        sim.end();
    }
}

#[test]
fn introductions_are_limited_for_who_asks_and_for_who_is_asked() {
    for (per_asker, askers, busy) in [(3, 1, 0), (4, 1, 0), (5, 1, 1), (2, 2, 0), (3, 2, 2)] {
        let mut sim = victim(limits(Rate::new(32, 8), Rate::new(4, 1)));
        sim.silence(2);
        let askers: Vec<_> = (0..askers)
            .map(|n| if n == 0 { 0 } else { sim.add(config()) })
            .collect();
        for asker in &askers[1..] {
            sim.connect(*asker, 1);
        }
        for asker in &askers {
            let link = sim.between(*asker, 1);
            (0..per_asker).for_each(|request| sim.say(*asker, link, get_peers(request, 8)));
            sim.run(SECOND / 100);
            let candidates = answers(&sim, 1, *asker)
                .into_iter()
                .flat_map(|a| a.candidates);
            for candidate in candidates.filter(|candidate| candidate.peer == peer(2)) {
                let crate::message::Path::Signals(token) = candidate.path else {
                    continue;
                };
                let (session, envelope) = (token.into(), Envelope(Vec::new()));
                sim.say(*asker, link, Frame::Signal(Signal { session, envelope }));
            }
        }
        sim.run(SECOND / 100);
        let refused: usize = askers
            .iter()
            .map(|asker| refusals(&sim, 1, *asker).len())
            .sum();
        assert_eq!(refused, busy, "{per_asker} of {askers:?}");
        sim.end();
    }
}

#[test]
fn beyond_a_bound_the_oldest_offer_is_forgotten() {
    const BOUND: usize = 32 * 1024;
    let limits = Limits::default()
        .with_introductions(Rate::new(BOUND as u32, 0))
        .with_max_peers(2 * BOUND);
    let mut sim = Sim::with_nodes(1, 8);
    let victim = sim.add(config().with_limits(limits));
    sim.star(victim, 0..8);
    (0..8).for_each(|node| sim.silence(node));
    let links = [0, 1, 2, 3, 4, 5, 6, 7].map(|node| sim.between(node, victim));
    let offers = (0..BOUND + 1).map(|n| signed(&sim, 100 + n, victim, 100 + n, offer_of(100 + n)));
    let offers: Vec<_> = offers.collect();
    let mut sessions = 0..;
    let mut say = |sim: &mut Sim, n: usize| {
        let (node, session) = (n % 8, sessions.next().unwrap());
        sim.say(node, links[node], signal(session, offers[n].clone()));
        if n % 4096 == 0 {
            sim.run(2 * SECOND); // no flood of frames
        }
    };
    let refused = |sim: &mut Sim| {
        sim.run(SECOND);
        let refusals = (0..8).flat_map(|node| refusals(sim, victim, node));
        refusals.collect::<Vec<_>>()
    };
    (0..BOUND - 1).for_each(|n| say(&mut sim, n));
    say(&mut sim, 0);
    assert_eq!(refused(&mut sim), [Refusal::BadSignal]);
    say(&mut sim, BOUND - 1);
    say(&mut sim, 0);
    assert_eq!(refused(&mut sim), [Refusal::BadSignal; 2]);
    // One more, and the first is news again, in place of the second.
    say(&mut sim, BOUND);
    say(&mut sim, 2);
    say(&mut sim, 0);
    say(&mut sim, 1);
    assert_eq!(refused(&mut sim), [Refusal::BadSignal; 3]);
    sim.end();
}

#[test]
fn an_offer_is_remembered_for_a_minute() {
    let mut sim = victim(config());
    sim.silence(0);
    let link = sim.between(0, 1);
    let envelope = signed(&sim, 100, 1, 1, offer_of(100));
    for (tenths, refused) in [(0, 0), (300, 1), (299, 2), (2, 2)] {
        for _ in 0..tenths {
            sim.say(0, link, Frame::Ping(0));
            sim.run(SECOND / 10);
        }
        sim.say(0, link, signal(1, envelope.clone()));
        sim.run(SECOND / 100);
        assert_eq!(refusals(&sim, 1, 0), vec![Refusal::BadSignal; refused]);
    }
    sim.end();
}

#[test]
fn offers_that_do_not_hold_are_refused() {
    let mut sim = victim(config());
    sim.silence(0);
    let link = sim.between(0, 1);
    let of_self = signed(&sim, 1, 1, 1, offer_of(1));
    let (_, mut foreign) = read(&sim.mint, &signed(&sim, 100, 1, 2, offer_of(100))).unwrap();
    foreign.network = NetworkTag::new(&peer(100), foreign.exchange.salt(), &network("other"));
    let foreign = forge(&sim.mint, peer(100), foreign);
    let for_another = signed(&sim, 100, 2, 3, offer_of(100));
    let no_offer = signed(&sim, 100, 1, 4, SignalContent::Reject(Refusal::Full));
    let nothing_yet = signed(&sim, 100, 1, 5, SignalContent::IceCandidate(String::new()));
    let garbage = Envelope(vec![1, 2, 3]);
    for (n, envelope) in [
        of_self,
        foreign,
        for_another,
        no_offer,
        nothing_yet,
        garbage,
    ]
    .into_iter()
    .enumerate()
    {
        sim.say(0, link, signal(n, envelope));
    }
    sim.run(SECOND);
    use Refusal::{BadSignal, Expired};
    assert_eq!(
        refusals(&sim, 1, 0),
        [BadSignal, BadSignal, Expired, Expired, BadSignal]
    );
    assert_eq!(sim.peers(1), [0, 2]);
    sim.end();
}

#[test]
fn times_and_limits_of_any_size_do_no_harm() {
    for (time, rate) in [
        (Duration::MAX, Rate::new(u32::MAX, u32::MAX)),
        (Duration::ZERO, Rate::new(0, 0)),
    ] {
        let mut sim = strangers(1);
        let limits = Limits::default()
            .with_max_peers(usize::MAX)
            .with_requests(rate)
            .with_introductions(rate);
        let config = config()
            .with_token_ttl(time)
            .with_query_timeout(time)
            .with_limits(limits);
        let node = sim.add(config);
        sim.connect(node, 0);
        sim.connect(node, 1);
        sim.tell(node, |core, now| core.get_new_peer(now, None))
            .unwrap();
        sim.start_query(0);
        sim.run(20 * SECOND);
        let is_flood = |error: &&LinkError| matches!(error, LinkError::Protocol(_));
        assert!(!sim.link_errors(node).iter().any(is_flood));
        sim.end();
    }
}
