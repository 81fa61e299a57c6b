//! Walks: who asks for peers some hops away is answered by asking a neighbour in its name, and is handed
//! tokens of our own for whom that one names. Signals take the same path later, each introducer knowing
//! the two beside it only.

use std::collections::{BTreeMap, HashSet};

use libp2p::swarm::ConnectionId;
use web_time::Instant;

use super::{Exchange, introduce::Reached, timer::Expiries};
use crate::{
    config::{Limits, Rate},
    id::{NetworkId, RequestId},
    message::{Frame, GetPeers, Path, Peers},
};

#[derive(Debug, Default)]
pub(super) struct Walks {
    /// By the link of the neighbour that was asked, and our request to it.
    running: BTreeMap<(ConnectionId, RequestId), Walk>,
    expiries: Expiries<(ConnectionId, RequestId)>,
}

/// A request that is answered once a neighbour has answered ours.
#[derive(Debug)]
struct Walk {
    asker: ConnectionId,
    request: RequestId,
    network: NetworkId,
    limit: usize,
}

impl Walks {
    /// Returns true if there are too many walks, or too many over the links of one asker.
    fn is_one_too_many(&self, links: &[ConnectionId]) -> bool {
        let walks = self.running.values();
        let of_asker = walks.filter(|walk| links.contains(&walk.asker));
        self.running.len() >= Limits::ALL_WALKS || of_asker.count() >= Limits::WALKS
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.next()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.expiries.next().is_none()
    }
}

impl Exchange {
    /// Asks a random neighbour in the name of who asks us. Whether one is asked.
    pub(super) fn walk(
        &mut self,
        now: Instant,
        asker: ConnectionId,
        request: &GetPeers,
        network: &NetworkId,
    ) -> bool {
        let Some(link) = self.links.get(&asker) else {
            return false;
        };
        let peer = link.peer;
        if self.walks.is_one_too_many(self.roster.links(&peer)) {
            return false;
        }
        let Some(neighbor) = self.next_hop(now, network, &peer) else {
            return false;
        };
        let Some(index) = self
            .live(neighbor.link)
            .and_then(|live| live.index_of(network))
        else {
            return false;
        };
        const RATE: Rate = Limits::REQUESTS_FOR_OTHERS;
        let asked = self.allowance(neighbor.link);
        if !asked.is_some_and(|it| it.walked.take(RATE, now)) {
            return false;
        }
        let ours = self.queries.new_request();
        let frame = GetPeers {
            request: ours,
            network: index,
            limit: request.limit,
            hops: request.hops.saturating_sub(1),
        };
        self.send(neighbor.link, Frame::GetPeers(frame));
        let key = (neighbor.link, ours);
        let walk = Walk {
            asker,
            request: request.request,
            network: network.clone(),
            limit: request.limit,
        };
        self.walks.running.insert(key, walk);
        self.walks.expiries.push(now + Limits::WALK_TIME, key);
        self.wake_expiries();
        true
    }

    /// A neighbour has answered. Whether that was to a walk.
    pub(super) fn on_walked(&mut self, now: Instant, neighbor: ConnectionId, peers: Peers) {
        let Some(walk) = self.walks.running.remove(&(neighbor, peers.request)) else {
            return; // too late
        };
        let asker = self.links.get(&walk.asker).map(|link| link.peer);
        let others = [Some(self.local), asker];
        let mut named = HashSet::new();
        let passed_on = peers.candidates.into_iter().filter_map(|candidate| {
            // Addresses that a stranger's application vouches for are not ours to pass on.
            let Path::Signals(token) = candidate.path else {
                return None;
            };
            let is_new = !others.contains(&Some(candidate.peer)) && named.insert(candidate.peer);
            let reached = Reached::Beyond(neighbor, token);
            is_new.then_some((candidate.peer, candidate.accepting, reached))
        });
        let passed_on: Vec<_> = passed_on.take(walk.limit).collect();
        match passed_on.is_empty() {
            true => self.end_walk(now, &walk),
            false => {
                let candidates = self.offer(now, walk.asker, passed_on.into_iter());
                self.answer_request(walk.asker, walk.request, candidates);
            }
        }
    }

    /// A neighbour refuses to answer. Nothing happens if it was not asked.
    pub(super) fn on_walk_refused(
        &mut self,
        now: Instant,
        neighbor: ConnectionId,
        request: RequestId,
    ) {
        if let Some(walk) = self.walks.running.remove(&(neighbor, request)) {
            self.end_walk(now, &walk);
        }
    }

    /// A link has ended, of who asked or who was asked.
    pub(super) fn end_walks(&mut self, now: Instant, link: ConnectionId) {
        self.walks.running.retain(|_, walk| walk.asker != link);
        let first = (link, RequestId(0));
        let stranded = self.walks.running.range(first..);
        let stranded = stranded.take_while(|((asked, _), _)| *asked == link);
        let keys: Vec<_> = stranded.map(|(key, _)| *key).collect();
        for (neighbor, request) in keys {
            self.on_walk_refused(now, neighbor, request);
        }
    }

    pub(super) fn expire_walks(&mut self, now: Instant) {
        while let Some((neighbor, request)) = self.walks.expiries.pop(now) {
            self.on_walk_refused(now, neighbor, request);
        }
    }

    /// The walk leads nowhere: our own peers have to do.
    fn end_walk(&mut self, now: Instant, walk: &Walk) {
        if self.live(walk.asker).is_some() {
            let candidates = self.candidates(now, walk.asker, &walk.network, walk.limit);
            self.answer_request(walk.asker, walk.request, candidates);
        }
    }
}
