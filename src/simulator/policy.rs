//! What nodes do to have peers. The world knows no more of it than this module tells.

use crate::{
    config::{Config, Limits},
    id::NetworkId,
};

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
}

impl Policy {
    /// What ordinary nodes are configured to do.
    pub(super) fn config(self) -> Config {
        match self {
            Self::Manual { .. } => Config::new(NetworkId::simulated()),
        }
    }

    /// What the node is configured to do through which all others join.
    pub(super) fn bootstrap_config(self) -> Config {
        match self {
            // Whoever starts without an introducer it has to take in, however many they are.
            Self::Manual { .. } => {
                let limits = Limits::default().with_max_peers(usize::MAX);
                Config::new(NetworkId::simulated()).with_limits(limits)
            }
        }
    }

    /// Whether the application of an ordinary node with so many peers starts a query.
    pub(super) fn wants_query(self, peers: usize) -> bool {
        match self {
            Self::Manual { peers: wanted } => peers < wanted,
        }
    }

    /// Whether an ordinary node has all the peers that it is to have.
    pub(super) fn is_at_target(self, peers: usize) -> bool {
        match self {
            Self::Manual { peers: wanted } => peers >= wanted,
        }
    }
}
