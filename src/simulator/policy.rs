//! What nodes do to have peers. The world knows no more of it than this module tells.

use super::node::Link;
use crate::{
    config::{Config, Limits, View},
    id::NetworkId,
};

/// How many may come at a time to the node through which all others join.
const BOOTSTRAP_PLACES: usize = 100_000;

/// How many that node keeps by itself: as many share what it is asked by those who join.
const BOOTSTRAP_CHOSEN: usize = 32;

/// What a node does to have peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The application starts one query after the other until it has so many peers, and pauses for a
    /// tick when one has failed.
    Manual {
        /// How many peers it wants.
        peers: usize,
    },
    /// The node keeps [`View::default`] by itself.
    View,
}

impl Policy {
    /// What ordinary nodes are configured to do.
    pub(super) fn config(self) -> Config {
        match self {
            Self::Manual { .. } => Config::new(NetworkId::simulated()),
            Self::View => Config::new(NetworkId::simulated()).with_view(View::default()),
        }
    }

    /// What the node is configured to do through which all others join.
    pub(super) fn bootstrap_config(self) -> Config {
        // Whoever starts without an introducer it has to take in, however many they are.
        let limits = Limits::default().with_max_peers(usize::MAX);
        let config = Config::new(NetworkId::simulated()).with_limits(limits);
        match self {
            Self::Manual { .. } => config,
            Self::View => {
                let view = View::default().with_chosen(BOOTSTRAP_CHOSEN);
                config.with_view(view.with_max_incoming(BOOTSTRAP_PLACES))
            }
        }
    }

    /// Whether the application of an ordinary node with these links starts a query.
    pub(super) fn wants_query(self, links: &[Link]) -> bool {
        matches!(self, Self::Manual { .. }) && !self.is_at_target(links)
    }

    /// Whether an ordinary node has all the peers that it is to have.
    pub(super) fn is_at_target(self, links: &[Link]) -> bool {
        match self {
            Self::Manual { peers: wanted } => links.len() >= wanted,
            Self::View => {
                let chosen = links.iter().filter(|link| link.is_own_choice);
                chosen.count() >= View::default().chosen
            }
        }
    }
}
