//! Nodes that all behave.

use super::*;
use crate::{config::Limits, error::StartQueryError};

#[test]
fn two_strangers_meet_through_a_peer_they_share() {
    for seed in 0..1000 {
        let mut sim = strangers(seed);
        assert_eq!(sim.query(0), Ok(peer(2)), "seed {seed}");
        sim.run(SECOND);
        assert!(sim.are_connected(0, 2), "seed {seed}");
        let is_introduced = |event: &PxpEvent| {
            matches!(event, PxpEvent::Connected { peer, origin: Origin::Introduced { by }, .. }
                if *peer == self::peer(0) && *by == self::peer(1))
        };
        assert!(sim.nodes[2].events.iter().any(is_introduced), "seed {seed}");
        sim.end();
    }
}

#[test]
fn the_introducer_keeps_both_its_links_after_an_introduction() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        sim.query(0).unwrap();
        sim.run(60 * SECOND);
        assert_eq!(sim.peers(1), [0, 2], "seed {seed}");
        assert_eq!(sim.peers(0), [1, 2], "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_query_with_nobody_new_to_find_fails_at_once() {
    let mut sim = Sim::with_nodes(1, 2);
    sim.connect(0, 1);
    let before = sim.now;
    let error = sim.query(0);
    assert_eq!(
        error,
        Err(QueryError::NoCandidates {
            asked: 1,
            full: 0,
            known: 0
        })
    );
    assert!(sim.now - before < Duration::from_millis(200));
    sim.end();
}

#[test]
fn a_query_asks_one_introducer_after_the_other_until_one_knows_somebody() {
    for seed in 0..200 {
        let mut sim = Sim::with_nodes(seed, 6);
        sim.star(0, 1..5);
        sim.connect(4, 5);
        assert_eq!(sim.query(0), Ok(peer(5)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_query_tries_one_candidate_after_the_other_until_one_is_reached() {
    for seed in 0..300 {
        let mut sim = Sim::with_nodes(seed, 8);
        sim.star(1, 2..8);
        sim.connect(0, 1);
        for node in &mut sim.nodes[2..7] {
            (node.is_reachable, node.is_punchable) = (false, false);
        }
        assert_eq!(sim.query(0), Ok(peer(7)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_query_never_yields_a_peer_twice_and_ends_when_all_are_known() {
    for seed in 0..100 {
        let mut sim = Sim::with_nodes(seed, 6);
        sim.star(1, 2..6);
        sim.connect(0, 1);
        let mut found: Vec<_> = (0..4).map(|_| sim.query(0).unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4, 5].map(peer), "seed {seed}");
        let all_known = QueryError::NoCandidates {
            asked: 5,
            full: 0,
            known: 5,
        };
        assert_eq!(sim.query(0), Err(all_known), "seed {seed}");
        sim.end();
    }
}

#[test]
fn queries_at_the_same_time_find_different_peers() {
    for seed in 0..200 {
        let mut sim = Sim::with_nodes(seed, 6);
        sim.star(1, 2..6);
        sim.connect(0, 1);
        let queries: Vec<_> = (0..4).map(|_| sim.start_query(0)).collect();
        sim.run(30 * SECOND);
        let mut found: Vec<_> = queries
            .iter()
            .map(|id| sim.outcome(0, *id).unwrap().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4, 5].map(peer), "seed {seed}");
        sim.end();
    }
}

#[test]
fn two_queries_do_not_try_the_same_candidate() {
    for seed in 0..200 {
        let mut sim = strangers(seed);
        let queries = [sim.start_query(0), sim.start_query(0)];
        sim.run(5 * SECOND);
        let mut outcomes = queries.map(|query| sim.outcome(0, query).unwrap());
        outcomes.sort_by_key(Result::is_err);
        let known = QueryError::NoCandidates {
            asked: 1,
            full: 0,
            known: 1,
        };
        assert_eq!(outcomes, [Ok(peer(2)), Err(known)], "seed {seed}");
        let offers = signals(&sim, 0, 1).into_iter();
        let offers = offers.filter(|body| matches!(body.content, SignalContent::Offer(_)));
        assert_eq!(offers.count(), 1, "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_crowd_that_knows_one_node_finds_eight_peers_each() {
    for seed in 0..5 {
        let mut sim = Sim::with_nodes(seed, 31);
        sim.star(0, 1..31);
        for _ in 0..20 {
            for node in 1..31 {
                if sim.peers(node).len() < 8 {
                    sim.start_query(node);
                }
            }
            sim.run(SECOND);
        }
        assert!(
            (1..31).all(|node| sim.peers(node).len() >= 8),
            "seed {seed}"
        );
        sim.end();
    }
}

#[test]
fn an_answer_names_at_most_eight_however_many_there_are() {
    for members in [7, 8, 9, 40] {
        let mut sim = Sim::with_nodes(1, members + 2);
        sim.star(0, 1..members + 2);
        let link = sim.between(0, 1);
        for (request, limit) in [7, 8, 9, usize::MAX].into_iter().enumerate() {
            sim.say(1, link, get_peers(request as u32, limit));
        }
        sim.run(SECOND);
        let lens: Vec<_> = answers(&sim, 0, 1)
            .iter()
            .map(|a| a.candidates.len())
            .collect();
        assert_eq!(
            lens,
            [7, 8, 8, 8].map(|len| members.min(len)),
            "{members} members"
        );
        sim.end();
    }
}

#[test]
fn a_query_without_peers_to_ask_is_not_started() {
    let mut sim = Sim::with_nodes(1, 2);
    let start = |sim: &mut Sim, name: &str| {
        sim.tell(0, |core, now| core.get_new_peer(now, Some(&network(name))))
    };
    assert_eq!(start(&mut sim, "net"), Err(StartQueryError::NoPeers));
    sim.connect(0, 1);
    let unknown = StartQueryError::UnknownNetwork(network("other"));
    assert_eq!(start(&mut sim, "other"), Err(unknown));
    assert!(start(&mut sim, "net").is_ok());
    sim.end();
}

#[test]
fn as_many_queries_run_as_the_limit_allows() {
    for limit in [0, 1, 3] {
        let mut sim = strangers(1);
        let limits = Limits::default().with_max_queries(limit);
        let node = sim.add(config().with_limits(limits));
        sim.connect(node, 1);
        let start = |sim: &mut Sim| sim.tell(node, |core, now| core.get_new_peer(now, None));
        assert!((0..limit).all(|_| start(&mut sim).is_ok()));
        assert_eq!(start(&mut sim), Err(StartQueryError::TooManyQueries));
        sim.run(30 * SECOND);
        assert_eq!(start(&mut sim).is_ok(), limit > 0);
        sim.end();
    }
}

#[test]
fn a_query_asks_at_most_sixteen_peers() {
    for peers in [15, 16, 17, 40] {
        let mut sim = Sim::with_nodes(1, peers + 1);
        for node in 1..=peers {
            sim.link(0, node);
        }
        sim.run(SECOND);
        let asked = peers.min(16);
        let error = QueryError::NoCandidates {
            asked,
            full: 0,
            known: 0,
        };
        assert_eq!(sim.query(0), Err(error));
        sim.end();
    }
}
