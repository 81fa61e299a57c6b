//! Walks: peers of peers of those who are asked, met by signals that take the same way.

use libp2p::Multiaddr;

use super::*;
use crate::{config::Limits, exchange::Input, message::Path, reach::Reach, signaling::Command};

/// Each knows the one before and the one after.
fn chain(seed: u64, n: usize) -> Sim {
    let mut sim = Sim::with_nodes(seed, n);
    for node in 1..n {
        sim.link(node - 1, node);
    }
    sim.run(SECOND);
    sim
}

fn start_walk(sim: &mut Sim, node: usize, hops: u8) -> QueryId {
    sim.tell(node, |core, now| core.start_query(now, None, hops).unwrap())
}

/// Whom a node finds so many hops from those it asks.
fn found(sim: &mut Sim, node: usize, hops: u8) -> Result<PeerId, QueryError> {
    let query = start_walk(sim, node, hops);
    sim.run_until("the end of a walk", |sim| {
        sim.outcome(node, query).is_some()
    });
    sim.outcome(node, query).unwrap()
}

fn walk_of(request: u32, hops: u8) -> Frame {
    Frame::GetPeers(GetPeers {
        request: RequestId(request),
        network: 0,
        limit: 8,
        hops,
    })
}

#[test]
fn who_is_some_hops_away_is_found_and_met_by_signals_along_the_way() {
    for seed in 0..200 {
        for hops in 1..=3 {
            let mut sim = chain(seed, 6);
            let expected = usize::from(hops) + 2;
            assert_eq!(found(&mut sim, 0, hops), Ok(peer(expected)), "seed {seed}");
            sim.run(SECOND);
            assert!(sim.are_connected(0, expected));
            let by = peer(expected - 1);
            let introduced = (0, Origin::Introduced { by });
            assert!(
                connected(&sim, expected).contains(&introduced),
                "seed {seed}"
            );
            let offers = |from| signals(&sim, from, from + 1).len();
            assert!(offers(0) > 0, "seed {seed}");
            sim.end();
        }
    }
}

#[test]
fn a_walk_never_leads_back_and_ends_where_there_is_nobody_else() {
    for seed in 0..50 {
        // Behind 1 there is only who asks: its own peers have to do.
        let mut sim = strangers(seed);
        assert_eq!(found(&mut sim, 0, 3), Ok(peer(2)), "seed {seed}");
        let mut sim = chain(seed, 2);
        let nobody = found(&mut sim, 0, 3);
        assert!(matches!(nobody, Err(QueryError::NoCandidates { .. })));
        sim.end();
    }
}

#[test]
fn a_signal_that_is_changed_on_the_way_is_refused_by_the_ends() {
    for liar in [1, 2] {
        for seed in 0..20 {
            let mut sim = chain(seed, 4);
            sim.nodes[liar].lie = Some(Box::new(|_, frame| match frame {
                Frame::Signal(Signal { session, .. }) => {
                    let envelope = Envelope(vec![0; 8]);
                    vec![Frame::Signal(Signal { session, envelope })]
                }
                frame => vec![frame],
            }));
            let failed = found(&mut sim, 0, 1);
            assert!(failed.is_err(), "{failed:?}");
            assert!(!sim.peers(3).contains(&0), "seed {seed}");
        }
    }
}

#[test]
fn who_is_asked_in_the_name_of_another_and_does_not_answer_is_done_without() {
    for (is_gone, at_most) in [(false, 2600), (true, 100)] {
        for seed in 0..20 {
            // 1 knows 2, who falls silent or goes, and 3.
            let mut sim = Sim::with_nodes(seed, 4);
            sim.star(1, 0..1);
            sim.star(1, 2..3);
            sim.silence(2);
            let start = sim.now;
            let query = start_walk(&mut sim, 0, 2);
            sim.run_until("a request in the name of another", |sim| {
                let asked = sim.sent(1, 2);
                asked.filter(|it| matches!(it, Frame::GetPeers(_))).count() == 1
            });
            if is_gone {
                sim.cut(sim.between(2, 1));
            }
            sim.run_until("an answer", |sim| answers(sim, 1, 0).len() == 1);
            let took = (sim.now - start).as_millis();
            assert!(took <= at_most, "{took} ms, seed {seed}");
            sim.run(40 * SECOND);
            assert!(sim.outcome(0, query).is_some(), "seed {seed}");
        }
    }
}

#[test]
fn so_many_walks_of_one_asker_are_under_way_and_no_more() {
    for asked in [Limits::WALKS - 1, Limits::WALKS, Limits::WALKS + 1] {
        let mut sim = chain(1, 4);
        sim.silence(2);
        let link = sim.between(0, 1);
        for request in 0..asked {
            sim.say(0, link, walk_of(request as u32, 1));
        }
        sim.run(SECOND);
        let is_request = |frame: &&Frame| matches!(frame, Frame::GetPeers(_));
        let passed_on = sim.sent(1, 2).filter(is_request).count();
        assert_eq!(passed_on, asked.min(Limits::WALKS));
        assert_eq!(answers(&sim, 1, 0).len(), asked - passed_on);
        sim.run(3 * SECOND);
        assert_eq!(answers(&sim, 1, 0).len(), asked, "{asked}");
    }
}

#[test]
fn what_a_neighbour_names_is_passed_on_once_with_tokens_of_our_own() {
    let mut sim = chain(1, 3);
    let (link, beyond) = (sim.between(0, 1), sim.between(1, 2));
    sim.silence(2);
    sim.say(0, link, walk_of(7, 1));
    sim.run(SECOND);
    let asked = sim.sent(1, 2).find_map(|frame| match frame {
        Frame::GetPeers(request) => Some(request.clone()),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!((asked.hops, asked.limit), (0, 8));
    let token = crate::id::Token(id(5));
    let candidate = |n, path| crate::message::PeerCandidate {
        peer: peer(n),
        accepting: true,
        path,
    };
    let candidates = vec![
        candidate(0, Path::Signals(token)),
        candidate(1, Path::Signals(token)),
        candidate(9, Path::Signals(token)),
        candidate(9, Path::Signals(token)),
        candidate(8, Path::Vouched(vec![address(8)])),
    ];
    let request = asked.request;
    let answer = Peers {
        request,
        candidates,
    };
    for _ in 0..2 {
        sim.say(2, beyond, Frame::Peers(answer.clone()));
    }
    sim.run(SECOND);
    let answers = answers(&sim, 1, 0);
    assert_eq!((answers.len(), answers[0].request), (1, RequestId(7)));
    let [passed_on] = &answers[0].candidates[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(passed_on.peer, peer(9));
    assert_ne!(passed_on.path, Path::Signals(token));
}

#[test]
fn near_addresses_are_kept_from_who_is_beyond_a_near_introducer() {
    for (hops, reach) in [(0, Reach::Machine), (1, Reach::Global)] {
        let mut sim = Sim::signaling(1, 4);
        for node in 1..4 {
            sim.link(node - 1, node);
        }
        sim.run(SECOND);
        let connection = sim.between(0, 1);
        let remote: Multiaddr = "/ip4/127.0.0.1/udp/1/webrtc".parse().unwrap();
        sim.tell(0, |core, now| {
            core.handle(now, Input::Moved { connection, remote });
        });
        found(&mut sim, 0, hops).unwrap();
        let asked = match &sim.nodes[0].commands[0] {
            Command::Offer { reach, .. } => *reach,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked, reach, "{hops} hops");
        sim.end();
    }
}

#[test]
fn so_many_walks_of_all_askers_are_under_way_and_no_more() {
    const ASKERS: usize = Limits::ALL_WALKS / Limits::WALKS;
    for last in [Limits::WALKS - 1, Limits::WALKS, Limits::WALKS + 1] {
        let mut sim = Sim::with_nodes(1, ASKERS + 2);
        sim.star(0, 1..ASKERS + 2);
        (1..ASKERS + 2).for_each(|node| sim.silence(node));
        let mut asked = 0;
        for asker in 1..ASKERS + 2 {
            let walks = match asker {
                1 => last.min(Limits::WALKS),
                2..=ASKERS => Limits::WALKS,
                _ => last.saturating_sub(Limits::WALKS),
            };
            let link = sim.between(asker, 0);
            for request in 0..walks {
                sim.say(asker, link, walk_of(request as u32, 1));
            }
            asked += walks;
        }
        sim.run(SECOND);
        let sent = sim.nodes[0].sent.iter();
        let passed_on = sent.filter(|(_, frame)| matches!(frame, Frame::GetPeers(_)));
        assert_eq!(passed_on.count(), asked.min(Limits::ALL_WALKS), "{asked}");
        sim.end();
    }
}
