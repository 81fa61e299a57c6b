//! What a test asks of a simulated network, and what always holds of its nodes.

use std::collections::HashSet;

use libp2p::{PeerId, swarm::ConnectionId};

use super::{Sim, Wire};
use crate::{
    error::{LinkError, QueryError},
    event::{Origin, PxpEvent},
    id::QueryId,
    message::Frame,
};

impl Sim {
    /// How a query ended. That it ended once only is checked here, too.
    pub(in super::super) fn outcome(
        &self,
        node: usize,
        query: QueryId,
    ) -> Option<Result<PeerId, QueryError>> {
        let mut outcomes = self.nodes[node]
            .events
            .iter()
            .filter_map(|event| match event {
                PxpEvent::Connected {
                    peer,
                    origin: Origin::Found(found),
                    ..
                } if *found == query => Some(Ok(*peer)),
                PxpEvent::QueryFailed {
                    query: failed,
                    error,
                } if *failed == query => Some(Err(error.clone())),
                _ => None,
            });
        let outcome = outcomes.next();
        assert!(outcomes.next().is_none(), "{query} ended twice");
        outcome
    }

    pub(in super::super) fn all_events(&self) -> Vec<&Vec<PxpEvent>> {
        self.nodes.iter().map(|node| &node.events).collect()
    }

    pub(in super::super) fn peers(&self, node: usize) -> Vec<usize> {
        let known: Vec<_> = self.nodes[node].core.peers().copied().collect();
        (0..self.nodes.len())
            .filter(|n| known.contains(&self.nodes[*n].peer))
            .collect()
    }

    pub(in super::super) fn are_connected(&self, a: usize, b: usize) -> bool {
        self.peers(a).contains(&b) && self.peers(b).contains(&a)
    }

    pub(in super::super) fn link_errors(&self, node: usize) -> Vec<&LinkError> {
        let errors = self.nodes[node]
            .events
            .iter()
            .filter_map(|event| match event {
                PxpEvent::LinkFailed { error, .. } => Some(error),
                _ => None,
            });
        errors.collect()
    }

    /// What a node has sent to another.
    pub(in super::super) fn sent(&self, from: usize, to: usize) -> impl Iterator<Item = &Frame> {
        let sent = self.nodes[from].sent.iter();
        sent.filter(move |(connection, _)| self.other(*connection, from) == to)
            .map(|(_, frame)| frame)
    }

    /// The oldest connection between two nodes.
    pub(in super::super) fn between(&self, a: usize, b: usize) -> ConnectionId {
        self.all_between(a, b).min().unwrap()
    }

    pub(in super::super) fn is_signaled(&self, connection: ConnectionId) -> bool {
        self.wires[&connection].is_signaled
    }

    pub(in super::super) fn connections_between(&self, a: usize, b: usize) -> usize {
        self.all_between(a, b).count()
    }

    fn all_between(&self, a: usize, b: usize) -> impl Iterator<Item = ConnectionId> {
        let is_it = move |wire: &Wire| [(a, b), (b, a)].contains(&(wire.dialer, wire.listener));
        let all = self.wires.iter();
        all.filter(move |(_, wire)| is_it(wire) && wire.is_open[0])
            .map(|(connection, _)| *connection)
    }

    pub(in super::super) fn open_connections(&self) -> usize {
        self.wires
            .values()
            .filter(|wire| wire.is_open[0] || wire.is_open[1])
            .count()
    }

    /// Whether a node still has a connection to another, as far as it knows.
    pub(in super::super) fn is_open(&self, node: usize, other: usize) -> bool {
        let is_it = |wire: &Wire| match (wire.dialer, wire.listener) {
            ends if ends == (node, other) => wire.is_open[0],
            ends if ends == (other, node) => wire.is_open[1],
            _ => false,
        };
        self.wires.values().any(is_it)
    }

    /// What a node's events say is what it shows, and makes sense one after the other.
    pub(in super::super) fn assert_consistent(&self, node: usize) {
        let node = &self.nodes[node];
        let mut known = HashSet::new();
        for event in &node.events {
            match event {
                PxpEvent::Connected { peer, .. } => {
                    assert!(
                        *peer != node.peer && known.insert(*peer),
                        "{:?}",
                        node.events
                    );
                }
                PxpEvent::Disconnected { peer } => {
                    assert!(known.remove(peer), "{:?}", node.events);
                }
                _ => {}
            }
        }
        let shown: HashSet<_> = node.core.peers().copied().collect();
        assert_eq!(known, shown);
    }

    pub(in super::super) fn is_alive(&self, node: usize) -> bool {
        self.nodes[node].is_alive
    }
}
