//! Random worlds: whatever happens, the promises hold.

use std::ops::Range;

use rand::RngExt;

use super::*;
use crate::exchange::Input;

struct World {
    sim: Sim,
    queries: Vec<(usize, QueryId)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        for n in 0..sim.rng.random_range(5..13) {
            sim.add(config().with_network(network("second")).unwrap());
            sim.nodes[n].is_reachable = sim.rng.random_bool(0.7);
            if sim.rng.random_bool(0.2) {
                sim.tell(n, |core, now| {
                    core.handle(now, Input::Addresses(Vec::new()))
                });
            }
            if n > 0 {
                let other = sim.rng.random_range(..n);
                sim.link(n, other);
            }
        }
        let queries = Vec::new();
        Self { sim, queries }
    }

    fn act(&mut self) {
        let sim = &mut self.sim;
        let (node, other) = (sim.any(), sim.any());
        match sim.rng.random_range(0..100) {
            0..70 if sim.is_alive(node) => {
                let name = network(["net", "second"][sim.rng.random_range(0..2)]);
                let chosen = sim.rng.random_bool(0.5).then_some(&name);
                let hops = sim.rng.random_range(0..4);
                let query = sim.tell(node, |core, now| core.start_query(now, chosen, hops));
                self.queries.extend(query.ok().map(|query| (node, query)));
            }
            70..78 if node != other && sim.is_alive(node) && sim.is_alive(other) => {
                let _: ConnectionId = sim.link(node, other);
            }
            78..84 if sim.connections_between(node, other) > 0 => sim.cut(sim.between(node, other)),
            84..87 => sim.vanish(node),
            87..89 if sim.is_alive(node) => sim.tell(node, |core, now| core.close(now)),
            89..94 if sim.is_alive(node) => {
                let _: bool = sim.tell(node, |core, now| core.leave(now, &network("second")));
            }
            94..100 if sim.is_alive(node) => {
                drop(sim.tell(node, |core, now| core.join(now, network("second"))))
            }
            _ => {}
        }
    }
}

/// Runs these worlds; how many peers were found in them.
fn run(seeds: Range<u64>) -> usize {
    let mut found = 0;
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..25 {
            world.act();
            for node in &world.sim.nodes {
                node.core.assert_bounded();
            }
            let pause = world.sim.rng.random_range(0..400);
            world.sim.run(Duration::from_millis(pause));
        }
        let World { mut sim, queries } = world;
        let is_running = |sim: &Sim| {
            let mut alive = queries.iter().filter(|(node, _)| sim.is_alive(*node));
            alive.any(|(node, query)| sim.outcome(*node, *query).is_none())
        };
        for _ in 0..30 {
            if is_running(&sim) {
                sim.run(SECOND);
            }
        }
        println!("seed {seed}"); // shown if this fails
        (0..sim.nodes.len()).for_each(|node| sim.assert_consistent(node));
        for (node, query) in queries.iter().filter(|(node, _)| sim.is_alive(*node)) {
            let outcome = sim.outcome(*node, *query);
            assert!(
                outcome.is_some(),
                "seed {seed}: {query} of {node} never ended"
            );
            found += usize::from(matches!(outcome, Some(Ok(_))));
        }
        sim.end();
    }
    found
}

#[test]
fn in_any_world_every_query_ends_once_and_in_time_and_events_tell_the_truth() {
    // on as many cores as there are
    let halves = [0..500, 500..1000].map(|seeds| std::thread::spawn(|| run(seeds)));
    let found: usize = halves.into_iter().map(|half| half.join().unwrap()).sum();
    assert!(
        found > 1000,
        "these worlds find {found} peers, which proves little"
    );
}
