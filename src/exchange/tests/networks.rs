//! Several networks, joined and left.

use std::collections::HashSet;

use super::*;
use crate::{
    error::{AttemptError, JoinError},
    exchange::Input,
    id::NetworkId,
    message::{Hello, Update},
};

fn of(names: &[&str]) -> Config {
    let mut names = names.iter().map(|name| network(name));
    let first = Config::new(names.next().unwrap());
    names.fold(first, |config, name| config.with_network(name).unwrap())
}

fn add(sim: &mut Sim, nodes: usize, names: &[&str]) {
    for _ in 0..nodes {
        sim.add(of(names));
    }
}

fn peers_in(sim: &Sim, node: usize, name: &str) -> Vec<usize> {
    let known: Vec<_> = sim.nodes[node]
        .core
        .peers_in(&network(name))
        .copied()
        .collect();
    (0..sim.nodes.len())
        .filter(|n| known.contains(&peer(*n)))
        .collect()
}

#[test]
fn nodes_without_a_common_network_refuse_each_other_and_keep_the_connection() {
    let mut sim = Sim::new(1);
    sim.add(of(&["a", "b"]));
    sim.add(of(&["c", "d"]));
    sim.connect(0, 1);
    for node in 0..2 {
        assert!(
            matches!(sim.link_errors(node)[..], [LinkError::NoSharedNetwork]),
            "{node}"
        );
        assert!(sim.peers(node).is_empty());
    }
    assert_eq!(sim.open_connections(), 1);
    sim.end();
}

#[test]
fn peers_are_members_of_the_networks_they_share() {
    let mut sim = Sim::new(1);
    sim.add(of(&["a", "b", "c"]));
    sim.add(of(&["c", "x", "a"]));
    sim.add(of(&["b"]));
    sim.connect(0, 1);
    sim.connect(2, 0);
    assert_eq!(
        ["a", "b", "c", "x"].map(|name| peers_in(&sim, 0, name)),
        [vec![1], vec![2], vec![1], vec![]]
    );
    let PxpEvent::Connected { networks, .. } = &sim.nodes[0].events[0] else {
        panic!()
    };
    let networks: HashSet<_> = networks.iter().map(NetworkId::as_str).collect();
    assert_eq!(networks, HashSet::from(["a", "c"]));
    sim.end();
}

#[test]
fn a_query_in_a_network_yields_a_member_of_it() {
    for seed in 0..200 {
        let mut sim = Sim::new(seed);
        sim.add(of(&["a", "b"]));
        sim.add(of(&["b", "a"]));
        add(&mut sim, 3, &["a"]);
        sim.add(of(&["b"]));
        sim.star(1, 2..6);
        sim.connect(0, 1);
        let b = network("b");
        let query = sim
            .tell(0, |core, now| core.get_new_peer(now, Some(&b)))
            .unwrap();
        sim.run(20 * SECOND);
        assert_eq!(sim.outcome(0, query), Some(Ok(peer(5))), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_candidate_that_left_the_network_meanwhile_is_not_found_in_it() {
    let mut left = 0;
    for seed in 0..500 {
        let mut sim = Sim::new(seed);
        add(&mut sim, 3, &["a", "b"]);
        sim.connect(0, 1);
        sim.connect(2, 1);
        let b = network("b");
        let query = sim
            .tell(0, |core, now| core.get_new_peer(now, Some(&b)))
            .unwrap();
        sim.run(Duration::from_millis(seed));
        let found = sim.outcome(0, query);
        sim.tell(2, |core, now| core.leave(now, &b));
        sim.run(20 * SECOND);
        if found.is_none()
            && let Some(Ok(_)) = sim.outcome(0, query)
        {
            let is_member = |event: &PxpEvent| {
                matches!(event, PxpEvent::Connected { origin: Origin::Found(_), networks, .. }
                    if networks.contains(&b))
            };
            assert!(sim.nodes[0].events.iter().any(is_member), "seed {seed}");
        }
        let outcome = sim.outcome(0, query).unwrap();
        let has_left = |error: &QueryError| {
            let last = AttemptError::LeftNetwork;
            matches!(error, QueryError::Unreachable { last: error, .. } if *error == last)
        };
        left += usize::from(outcome.is_err_and(|error| has_left(&error)));
        sim.end();
    }
    assert!(left > 10, "{left}");
}

#[test]
fn who_leaves_the_last_shared_network_loses_the_link_and_keeps_the_connection() {
    for seed in 0..100 {
        let mut sim = Sim::new(seed);
        add(&mut sim, 2, &["a", "b"]);
        sim.connect(0, 1);
        assert!(sim.tell(0, |core, now| core.leave(now, &network("a"))));
        assert!(!sim.tell(0, |core, now| core.leave(now, &network("a"))));
        sim.run(2 * SECOND);
        assert!(sim.are_connected(0, 1), "seed {seed}");
        assert_eq!(
            (peers_in(&sim, 1, "a"), peers_in(&sim, 1, "b")),
            (vec![], vec![0])
        );
        sim.tell(0, |core, now| core.leave(now, &network("b")));
        sim.run(2 * SECOND);
        assert!((0..2).all(|node| sim.peers(node).is_empty() && disconnected(&sim, node) == 1));
        assert_eq!(sim.open_connections(), 1, "seed {seed}");
        sim.end();
    }
}

#[test]
fn who_joins_a_network_is_found_in_it_at_once_and_can_ask_in_it_at_once() {
    for seed in 0..200 {
        let mut sim = Sim::new(seed);
        sim.add(of(&["a"]));
        add(&mut sim, 2, &["a", "b"]);
        sim.connect(0, 1);
        sim.connect(2, 1);
        let b = network("b");
        sim.tell(0, |core, now| core.join(now, b.clone())).unwrap();
        let query = sim
            .tell(0, |core, now| core.get_new_peer(now, Some(&b)))
            .unwrap();
        sim.run(SECOND * 2);
        assert_eq!(sim.outcome(0, query), Some(Ok(peer(2))), "seed {seed}");
        assert_eq!(
            (peers_in(&sim, 1, "b"), peers_in(&sim, 0, "b")),
            (vec![0, 2], vec![1, 2])
        );
        sim.end();
    }
}

#[test]
fn leaving_a_network_ends_the_queries_in_it() {
    let mut sim = Sim::new(1);
    add(&mut sim, 2, &["a", "b"]);
    sim.connect(0, 1);
    let ask = |sim: &mut Sim, name| {
        sim.tell(0, |core, now| core.get_new_peer(now, Some(&network(name))))
            .unwrap()
    };
    let (a, b) = (ask(&mut sim, "a"), ask(&mut sim, "b"));
    sim.tell(0, |core, now| core.leave(now, &network("b")));
    assert_eq!(
        (sim.outcome(0, a), sim.outcome(0, b)),
        (None, Some(Err(QueryError::LeftNetwork)))
    );
    sim.run(SECOND);
    assert!(matches!(
        sim.outcome(0, a),
        Some(Err(QueryError::NoCandidates { .. }))
    ));
    sim.end();
}

#[test]
fn changes_are_told_at_most_once_a_second_and_the_last_one_counts() {
    let mut sim = Sim::new(1);
    add(&mut sim, 2, &["a", "b"]);
    sim.connect(0, 1);
    for n in 0..100 {
        match n % 2 {
            0 => drop(sim.tell(0, |core, now| core.leave(now, &network("b")))),
            _ => sim
                .tell(0, |core, now| core.join(now, network("b")))
                .unwrap(),
        }
        sim.run(SECOND / 10);
    }
    sim.run(2 * SECOND);
    let updates = sim
        .sent(0, 1)
        .filter(|frame| matches!(frame, Frame::Update(_)))
        .count();
    assert!((9..=12).contains(&updates), "{updates}");
    assert_eq!(peers_in(&sim, 1, "b"), [0]);
    sim.end();
}

#[test]
fn networks_that_change_while_hellos_travel_are_agreed_on_in_the_end() {
    for seed in 0..500 {
        let mut sim = Sim::new(seed);
        add(&mut sim, 2, &["a", "b"]);
        sim.link(0, 1);
        sim.run(Duration::from_millis(seed / 5));
        sim.tell(0, |core, now| core.leave(now, &network("b")));
        sim.tell(1, |core, now| core.join(now, network("c")))
            .unwrap();
        sim.run(Duration::from_millis(seed / 5));
        sim.tell(0, |core, now| core.join(now, network("c")))
            .unwrap();
        sim.run(5 * SECOND);
        for node in 0..2 {
            let members = ["a", "b", "c"].map(|name| peers_in(&sim, node, name).len());
            assert_eq!(members, [1, 0, 1], "seed {seed}");
        }
        let b = network("c");
        let query = sim
            .tell(0, |core, now| core.get_new_peer(now, Some(&b)))
            .unwrap();
        sim.run(SECOND);
        let expected = QueryError::NoCandidates {
            asked: 1,
            full: 0,
            known: 0,
        };
        assert_eq!(sim.outcome(0, query), Some(Err(expected)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_node_takes_part_in_at_most_sixteen_networks() {
    let mut sim = Sim::new(1);
    sim.add(of(&["0"]));
    let join =
        |sim: &mut Sim, n: usize| sim.tell(0, |core, now| core.join(now, network(&n.to_string())));
    for n in 0..16 {
        assert_eq!(join(&mut sim, n), Ok(()));
    }
    assert_eq!(join(&mut sim, 16), Err(JoinError::TooManyNetworks));
    assert_eq!(join(&mut sim, 15), Ok(()));
    sim.tell(0, |core, now| core.leave(now, &network("3")));
    assert_eq!(join(&mut sim, 16), Ok(()));
    assert_eq!(sim.nodes[0].core.networks().len(), 16);
    let config = (1..16).fold(of(&["0"]), |config, n| {
        config.with_network(network(&n.to_string())).unwrap()
    });
    assert!(matches!(
        config.with_network(network("16")),
        Err(JoinError::TooManyNetworks)
    ));
    sim.end();
}

#[test]
fn the_same_network_looks_different_on_every_link() {
    let mut sim = Sim::with_nodes(1, 3);
    sim.connect(0, 1);
    sim.connect(0, 1);
    sim.connect(2, 0);
    let hellos =
        sim.nodes
            .iter()
            .flat_map(|node| &node.sent)
            .filter_map(|(_, frame)| match frame {
                Frame::Hello(Hello { networks, .. }) => Some(networks[0]),
                _ => None,
            });
    let tags: Vec<_> = hellos.collect();
    assert_eq!(
        (tags.len(), tags.iter().collect::<HashSet<_>>().len()),
        (6, 6)
    );
    sim.end();
}

#[test]
fn the_tags_of_others_are_worth_nothing() {
    // 1 knows no name, and says what 2 said to it
    let mut sim = Sim::new(1);
    sim.add(of(&["secret"]));
    sim.add(of(&["other"]));
    sim.add(of(&["secret"]));
    sim.connect(2, 1);
    let heard = sim.sent(2, 1).find_map(|frame| match frame {
        Frame::Hello(hello) => Some(hello.clone()),
        _ => None,
    });
    let heard = heard.unwrap();
    sim.nodes[1].lie = Some(Box::new(move |_, frame| match frame {
        Frame::Hello(_) => vec![Frame::Hello(heard.clone())],
        frame => vec![frame],
    }));
    sim.connect(1, 0);
    assert!(sim.peers(0).is_empty());
    assert!(matches!(
        sim.link_errors(0)[..],
        [LinkError::NoSharedNetwork]
    ));
    sim.end();
}

#[test]
fn an_update_that_names_no_common_network_ends_the_link() {
    let mut sim = Sim::with_nodes(1, 3);
    sim.connect(0, 2);
    let link = sim.connect(1, 0);
    sim.say(
        1,
        link,
        Frame::Update(Update {
            networks: Vec::new(),
            accepting: true,
        }),
    );
    sim.run(SECOND);
    assert!(matches!(
        sim.link_errors(0)[..],
        [LinkError::NoSharedNetwork]
    ));
    assert_eq!((sim.peers(0), sim.open_connections()), (vec![2], 2));
    sim.tell(0, |core, now| {
        core.handle(now, Input::Addresses(Vec::new()))
    });
    sim.end();
}
