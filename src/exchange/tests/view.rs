//! The maintained view: nodes that dial one other find the rest, keep enough of them, and find others when
//! these go.

use super::*;
use crate::config::View;

/// Nodes that keep a view, the first of which all others dial at once.
fn crowd(seed: u64, n: usize) -> Sim {
    let mut sim = Sim::new(seed);
    sim.has_signaling = true;
    sim.add(config().with_view(View::default().with_max_incoming(n)));
    for node in 1..n {
        sim.add(config().with_view(View::default()));
        let _: ConnectionId = sim.link(node, 0);
    }
    sim
}

fn kinds(sim: &Sim, node: usize) -> [usize; 3] {
    sim.nodes[node].core.kinds()
}

/// Those that are alive and have not chosen as many as they want.
fn unfilled(sim: &Sim) -> usize {
    let nodes = (0..sim.nodes.len()).filter(|node| sim.is_alive(*node));
    nodes.filter(|node| kinds(sim, *node)[0] < 6).count()
}

#[test]
fn all_who_begin_at_once_with_one_node_fill_up_and_leave_it_alone() {
    for seed in 0..10 {
        let mut sim = crowd(seed, 60);
        sim.run_until("a full view everywhere", |sim| unfilled(sim) == 0);
        sim.run(70 * SECOND);
        for node in 1..60 {
            let [chosen, incoming, bootstraps] = kinds(&sim, node);
            assert_eq!((chosen, bootstraps), (6, 0), "seed {seed}, node {node}");
            assert!(incoming <= 12, "{incoming}, seed {seed}, node {node}");
        }
        let [_, incoming, _] = kinds(&sim, 0);
        assert!(
            incoming < 30,
            "{incoming} at the bootstrap node, seed {seed}"
        );
        sim.end();
    }
}

#[test]
fn who_begins_with_a_node_that_is_full_comes_back_to_it_and_fills_up() {
    for seed in 0..10 {
        let mut sim = Sim::new(seed);
        sim.has_signaling = true;
        sim.add(config().with_view(View::default()));
        for node in 1..30 {
            sim.add(config().with_view(View::default()));
            let _: ConnectionId = sim.link(node, 0);
        }
        sim.run(SECOND / 2);
        let refused = (1..30).filter(|node| kinds(&sim, *node) == [0; 3]);
        assert!(refused.count() > 10, "seed {seed}");
        let is_empty = |sim: &Sim| unfilled(sim) > 0;
        assert!(!sim.run_while(600 * SECOND, is_empty), "seed {seed}");
        sim.end();
    }
}

#[test]
fn the_application_hears_of_peers_and_not_of_how_they_were_looked_for() {
    let mut sim = crowd(1, 30);
    sim.run(60 * SECOND);
    for node in 1..30 {
        for event in &sim.nodes[node].events {
            let is_known = matches!(
                event,
                PxpEvent::Connected {
                    origin: Origin::Chosen { .. } | Origin::Introduced { .. } | Origin::Dialed,
                    ..
                } | PxpEvent::Disconnected { .. }
            );
            assert!(is_known, "{event:?}");
        }
    }
    sim.end();
}

#[test]
fn when_the_first_node_and_half_of_all_vanish_the_others_fill_up_again() {
    for seed in 0..5 {
        let mut sim = crowd(seed, 60);
        sim.run(60 * SECOND);
        (0..30).for_each(|node| sim.vanish(node));
        sim.run(20 * SECOND);
        sim.run_until("a full view everywhere", |sim| unfilled(sim) == 0);
        sim.end();
    }
}

#[test]
fn who_has_lost_everybody_dials_the_node_it_began_with() {
    for seed in 0..20 {
        let mut sim = crowd(seed, 2);
        sim.run(SECOND);
        assert_eq!(kinds(&sim, 1), [0, 0, 1]);
        sim.cut(sim.between(0, 1));
        sim.run(SECOND);
        sim.run_until("a link to it again", |sim| kinds(sim, 1) == [0, 0, 1]);
        let [_, incoming, _] = kinds(&sim, 0);
        assert_eq!(incoming, 1, "seed {seed}");
        sim.end();
    }
}

#[test]
fn however_often_they_look_for_others_there_three_at_most_are_from_the_node_they_began_with() {
    let mut sim = crowd(1, 60);
    sim.run(10_000 * SECOND);
    let first = sim.nodes[0].peer;
    let found = (1..60).map(|node| sim.nodes[node].core.found_through(&first));
    let found: Vec<_> = found.collect();
    assert!(found.iter().all(|found| *found <= 3), "{found:?}");
    assert!(found.iter().sum::<usize>() > 60, "{found:?}");
    sim.end();
}

#[test]
fn so_many_may_come_and_no_more() {
    for incoming in [2, 3, 4] {
        let mut sim = Sim::new(1);
        sim.add(config().with_view(View::default().with_max_incoming(3)));
        for node in 1..=incoming {
            sim.add(config());
            sim.connect(node, 0);
        }
        assert_eq!(kinds(&sim, 0), [0, incoming.min(3), 0]);
        sim.end();
    }
}

#[test]
fn twelve_peers_come_at_once_and_then_one_in_thirty_seconds() {
    let mut sim = crowd(1, 12);
    sim.run(1000 * SECOND);
    let accepting = |sim: &Sim| {
        (0..12)
            .filter(|node| sim.nodes[*node].core.accepts())
            .count()
    };
    assert_eq!(accepting(&sim), 12, "all have rested");
    let chosen = |node: &usize| kinds(&sim, *node)[0];
    let node = (1..12).max_by_key(chosen).unwrap();
    for introduced in 1..=12 {
        let now = sim.now;
        sim.tell(node, |core, _| core.note_arrival(now));
        assert_eq!(
            sim.nodes[node].core.accepts(),
            introduced < 12,
            "{introduced}"
        );
    }
    sim.run(29 * SECOND);
    assert!(!sim.nodes[node].core.accepts());
    sim.run(2 * SECOND);
    assert!(sim.nodes[node].core.accepts());
    let now = sim.now;
    sim.tell(node, |core, _| core.note_arrival(now));
    assert!(!sim.nodes[node].core.accepts());
    sim.end();
}

#[test]
fn a_place_that_was_kept_for_who_does_not_come_is_free_once_it_has_given_up() {
    let kept = |sim: &Sim| usize::from(sim.nodes[2].core.answers.contains(&peer(0)));
    for seed in 0..20 {
        let mut sim = Sim::signaling(seed, 2);
        sim.add(config().with_view(View::default().with_chosen(0)));
        let _: ConnectionId = sim.connect(0, 1);
        let _: ConnectionId = sim.connect(1, 2);
        (sim.nodes[2].is_punchable, sim.nodes[2].is_reachable) = (false, false);
        let query = sim.start_query(0);
        sim.run_until("a place that is kept", |sim| kept(sim) == 1);
        sim.run_until("the end of a query", |sim| sim.outcome(0, query).is_some());
        assert!(sim.outcome(0, query).unwrap().is_err());
        sim.run(SECOND);
        assert_eq!(kept(&sim), 0, "seed {seed}");
        sim.end();
    }
}

/// How many peers a node has found through the first.
fn found_through_first(sim: &Sim, node: usize) -> usize {
    let first = sim.nodes[0].peer;
    let is_it = |event: &&PxpEvent| {
        let origin = match event {
            PxpEvent::Connected { origin, .. } => *origin,
            _ => return false,
        };
        origin == Origin::Chosen { through: first }
    };
    sim.nodes[node].events.iter().filter(is_it).count()
}

#[test]
fn all_come_back_to_the_node_they_began_with_now_and_then_and_leave_it_again() {
    let mut sim = crowd(1, 40);
    sim.run(500 * SECOND);
    let left = (1..40).filter(|node| kinds(&sim, *node)[2] == 0).count();
    assert_eq!(left, 39);
    let mut found: Vec<_> = (1..40).map(|it| found_through_first(&sim, it)).collect();
    for _ in 0..3 {
        sim.run(1500 * SECOND);
        for (node, found) in (1..40).zip(&mut found) {
            let now = found_through_first(&sim, node);
            assert!(now > *found && now < *found + 20, "node {node}");
            *found = now;
            let [chosen, incoming, _] = kinds(&sim, node);
            assert!(chosen >= 6 && incoming <= 12, "{chosen} and {incoming}");
        }
    }
    sim.end();
}

#[test]
fn when_the_node_they_began_with_is_gone_looks_for_it_change_nothing() {
    let mut sim = crowd(1, 40);
    sim.run(500 * SECOND);
    sim.vanish(0);
    sim.run(3600 * SECOND);
    assert_eq!(unfilled(&sim), 0);
    sim.end();
}

#[test]
fn too_few_to_fill_up_find_the_node_they_began_with_once_it_is_back() {
    for seed in 0..10 {
        let mut sim = crowd(seed, 30);
        sim.run(500 * SECOND);
        (11..30).for_each(|node| sim.vanish(node));
        (sim.nodes[0].is_reachable, sim.nodes[0].is_punchable) = (false, false);
        sim.run(60 * SECOND);
        while !sim.peers(0).is_empty() {
            for node in sim.peers(0) {
                sim.cut(sim.between(0, node));
            }
            sim.run(60 * SECOND);
        }
        sim.nodes[0].is_reachable = true;
        sim.run(1500 * SECOND);
        assert!(!sim.peers(0).is_empty(), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_network_without_members_does_not_keep_another_from_filling_up() {
    for seed in 0..10 {
        let mut sim = crowd(seed, 30);
        let config = Config::new(network("empty")).with_network(network("net"));
        let config = config.unwrap();
        let node = sim.add(config.with_view(View::default()));
        let _: ConnectionId = sim.link(node, 0);
        let start = sim.now;
        sim.run_until("a full view", |sim| kinds(sim, node)[0] >= 6);
        assert!(sim.now - start < 20 * SECOND, "seed {seed}");
        sim.end();
    }
}

#[test]
fn who_has_lost_a_network_comes_back_to_it_though_it_is_still_in_another() {
    for seed in 0..10 {
        let mut sim = crowd(seed, 30);
        let other = Config::new(network("other")).with_view(View::default());
        let other = sim.add(other);
        let both = Config::new(network("other")).with_network(network("net"));
        let node = sim.add(both.unwrap().with_view(View::default()));
        let _: [ConnectionId; 2] = [sim.link(node, other), sim.link(node, 0)];
        sim.run_until("a full view", |sim| kinds(sim, node)[0] >= 6);
        (1..30).for_each(|peer| sim.vanish(peer));
        sim.cut(sim.between(node, 0));
        sim.run_until("the end", |sim| sim.peers(node) == [other]);
        sim.run_until("a way back", |sim| sim.peers(node) == [0, other]);
        sim.end();
    }
}

#[test]
fn a_node_that_has_grown_names_those_it_chose_and_one_that_came() {
    let mut sim = crowd(1, 40);
    sim.run(2000 * SECOND);
    for node in 1..40 {
        let network = network("net");
        let (asker, now) = (peer(1000), sim.now);
        let core = &mut sim.nodes[node].core;
        let named = core.named(now, &network, &asker, 8);
        let chosen: Vec<_> = core.chosen_peers();
        let came = named.iter().filter(|named| !chosen.contains(&named.peer));
        assert_eq!((named.len(), came.count()), (7, 1), "node {node}");
    }
    sim.end();
}

#[test]
fn whoever_is_refused_or_gives_up_lets_who_has_yielded_to_it_go_on() {
    for seed in 0..50 {
        let mut sim = Sim::signaling(seed, 3);
        let _: [ConnectionId; 2] = [sim.connect(0, 1), sim.connect(2, 1)];
        // Both find each other; the one that stands by its offer gets no answer.
        let queries = [sim.start_query(0), sim.start_query(2)];
        (sim.nodes[0].is_punchable, sim.nodes[0].is_reachable) = (false, false);
        (sim.nodes[2].is_punchable, sim.nodes[2].is_reachable) = (false, false);
        let start = sim.now;
        sim.run_until("the end of both", |sim| {
            let over = |node: usize, query| sim.outcome(node, query).is_some();
            over(0, queries[0]) && over(2, queries[1])
        });
        assert!(
            sim.now - start < 15 * SECOND,
            "{:?}, seed {seed}",
            sim.now - start
        );
        sim.end();
    }
}
