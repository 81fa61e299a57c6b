//! What happens to a network, tick by tick. It knows how many nodes come and go, and nothing of how
//! they find each other.

use rand::seq::IndexedRandom;

use super::{
    Options, Scenario, TICK,
    names::NodeId,
    report::{Finding, Report},
    world::{BOOTSTRAP, World},
};

/// How long it takes a crowd to come, and how long it is then left alone, in ticks.
const CROWD: usize = 50;
const QUIET: u32 = 150;

/// How long a scenario goes on after its crowd, in ticks.
const CHURN: usize = 200;
const RECOVERY: u32 = 60;
const ATTACK: usize = 300;
const FILLING: u32 = 40;

/// Which share of the nodes is replaced in a tick.
const CHURNING: f64 = 0.01;
const CHURNING_UNDER_ATTACK: f64 = 0.002;

/// Simulates a network, and measures it at the end.
pub fn run(options: &Options) -> Report {
    let mut world = World::new(options);
    let mut finding = Finding::default();
    match options.scenario {
        Scenario::Crowd => crowd(&mut world, options.nodes),
        Scenario::Churn => {
            crowd(&mut world, options.nodes);
            world.count_anew();
            churn(&mut world, CHURN, CHURNING);
        }
        Scenario::Shock => {
            crowd(&mut world, options.nodes);
            world.count_anew();
            shock(&mut world);
            finding.recovered_percent = Some(percent_at_target(&world));
        }
        Scenario::Sybil => {
            crowd(&mut world, options.nodes);
            world.count_anew();
            world.join_sybils(options.sybil_count());
            churn(&mut world, ATTACK, CHURNING_UNDER_ATTACK);
            finding.of_sybils(&world);
        }
        Scenario::Burst => {
            world.join(options.nodes);
            world.run(TICK * (1 + FILLING));
            finding.filled_percent = Some(percent_at_target(&world));
        }
    }
    Report::new(options, &world, &finding)
}

fn crowd(world: &mut World, nodes: usize) {
    for tick in 0..CROWD {
        let come = |tick: usize| nodes * tick / CROWD;
        world.join(come(tick + 1) - come(tick));
        world.run(TICK);
    }
    world.run(TICK * QUIET);
}

fn churn(world: &mut World, ticks: usize, share: f64) {
    let mut due = 0.0;
    for _ in 0..ticks {
        let nodes = ordinary(world);
        due += share * nodes.len() as f64;
        let count = due as usize;
        due -= count as f64;
        vanish(world, &nodes, count);
        world.join(count);
        world.run(TICK);
    }
}

fn shock(world: &mut World) {
    let nodes = ordinary(world);
    world.vanish(BOOTSTRAP);
    vanish(world, &nodes, nodes.len() / 2);
    world.run(TICK * RECOVERY);
}

/// Some of these nodes vanish, at random.
fn vanish(world: &mut World, nodes: &[NodeId], count: usize) {
    let gone: Vec<_> = nodes.sample(world.rng(), count).copied().collect();
    for node in gone {
        world.vanish(node);
    }
}

fn ordinary(world: &World) -> Vec<NodeId> {
    let nodes = world.nodes().iter().enumerate();
    let ordinary = nodes.filter(|(_, node)| node.is_counted());
    ordinary.map(|(number, _)| NodeId(number)).collect()
}

fn percent_at_target(world: &World) -> f64 {
    let (mut all, mut at_target) = (0, 0);
    for node in world.nodes().iter().filter(|node| node.is_counted()) {
        all += 1;
        at_target += usize::from(world.is_at_target(node));
    }
    100.0 * super::graph::share(at_target, all)
}
