//! Thousands of nodes on virtual time: the core that runs in a swarm, one for each node, in a world
//! of machines, NATs and delays that is made of a seed. It shows what becomes of a network that no
//! test could build: a crowd, churn, half of all nodes gone at once, an attack.
//!
//! ```
//! use pxp::simulator::{self, Options, Scenario};
//!
//! let report = simulator::run(&Options::new(Scenario::Burst, 50).with_seed(1));
//! println!("{report}");
//! ```
//!
//! This module knows what can be chosen. What happens in a run is told by `scenario`, by which rules
//! the world goes by `world`, and what is measured by `report`.

use std::{fmt, ops::Range, str::FromStr, time::Duration};

pub use self::{policy::Policy, report::Report, scenario::run};

mod agenda;
mod graph;
mod names;
mod node;
mod policy;
mod report;
mod scenario;
mod seal;
mod sybil;
#[cfg(test)]
mod tests;
mod wire;
mod world;

/// The unit in which scenarios count: about as long as an application waits until it looks again.
const TICK: Duration = Duration::from_secs(5);

/// What is simulated.
#[must_use]
#[derive(Debug, Clone)]
pub struct Options {
    scenario: Scenario,
    nodes: usize,
    seed: u64,
    policy: Policy,
    sybils: f64,
    delay: Range<Duration>,
    loss: f64,
    nat_success: f64,
}

impl Options {
    /// So many honest nodes, beside the one through which all join. By default the network is one that
    /// loses nothing, so that the figures are about the protocol alone.
    pub fn new(scenario: Scenario, nodes: usize) -> Self {
        Self {
            scenario,
            nodes,
            seed: 0,
            policy: Policy::Manual { peers: 8 },
            sybils: 0.2,
            delay: Duration::from_millis(10)..Duration::from_millis(100),
            loss: 0.0,
            nat_success: 1.0,
        }
    }

    /// What all chance is drawn from: the same seed makes the same run. Default: 0.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What nodes do to have peers. Default: [`Policy::Manual`] with 8 peers, as the program `node` has.
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The share of all nodes that are sybils in [`Scenario::Sybil`], at most 0.9. Default: 0.2.
    pub fn with_sybils(mut self, share: f64) -> Self {
        self.sybils = share.clamp(0.0, 0.9);
        self
    }

    /// How long a packet takes, drawn for each connection. Default: 10 to 100 ms, which is what paths
    /// within and between continents take.
    pub fn with_delay(mut self, delay: Range<Duration>) -> Self {
        self.delay = delay;
        self
    }

    /// The share of attempts to connect that fail by chance. Default: 0.
    pub fn with_loss(mut self, share: f64) -> Self {
        self.loss = share.clamp(0.0, 1.0);
        self
    }

    /// The share of pairs of nodes that find a way through their NATs; the others never do. Default: 1.
    pub fn with_nat_success(mut self, share: f64) -> Self {
        self.nat_success = share.clamp(0.0, 1.0);
        self
    }

    /// How many sybils there are.
    fn sybil_count(&self) -> usize {
        match self.scenario {
            Scenario::Sybil => {
                (self.nodes as f64 * self.sybils / (1.0 - self.sybils)).round() as usize
            }
            _ => 0,
        }
    }
}

/// What happens to a network. A tick is 5 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scenario {
    /// All nodes join through one within 50 ticks, and are left alone for 150.
    Crowd,
    /// After a crowd, 1 % of the nodes vanish each tick, and as many join, for 200 ticks.
    Churn,
    /// After a crowd, the node through which all have joined and half of the others vanish at once. The
    /// rest has 60 ticks to recover.
    Shock,
    /// After a crowd, sybils join at once. They collude: they accept everybody, name nobody but each
    /// other, and each tries to be introduced to honest nodes once in 10 ticks, for 300 ticks in which 0.2 %
    /// of the honest nodes are replaced each tick.
    Sybil,
    /// All nodes join through one within one tick, and have 40 ticks to find their peers.
    Burst,
}

/// A name that is none of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scenario is one of crowd, churn, shock, sybil and burst")]
pub struct ScenarioError;

impl Scenario {
    const ALL: [Self; 5] = [
        Self::Crowd,
        Self::Churn,
        Self::Shock,
        Self::Sybil,
        Self::Burst,
    ];
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crowd => "crowd",
            Self::Churn => "churn",
            Self::Shock => "shock",
            Self::Sybil => "sybil",
            Self::Burst => "burst",
        })
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(name: &str) -> Result<Self, ScenarioError> {
        let mut all = Self::ALL.into_iter();
        all.find(|scenario| scenario.to_string() == name)
            .ok_or(ScenarioError)
    }
}
