//! Counts for one peer over all its links together: token buckets, and the sessions that it has opened. A
//! count outlives the peer's last link, so that a peer which comes back goes on where it was.

use std::collections::HashMap;

use libp2p::PeerId;
use web_time::Instant;

use super::timer::Expiries;
use crate::{config::Limits, rate::Bucket};

/// The requests that one peer may still make.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Frames that the peer sends.
    pub(super) frames: Bucket,
    pub(super) requests: Bucket,
    /// Introductions that the peer asks us to carry.
    pub(super) asked: Bucket,
    /// Introductions that we carry to the peer.
    pub(super) carried: Bucket,
    /// Introductions that the peer carries to us.
    pub(super) brought: Bucket,
    /// Signals that we pass on to the peer.
    pub(super) relayed: Bucket,
    /// Requests that we make of the peer in the names of others.
    pub(super) walked: Bucket,
    /// Introductions that we ask of the peer in the names of others.
    pub(super) forwarded: Bucket,
    /// Sessions that the peer has opened and that go on.
    pub(super) sessions: usize,
}

impl Allowance {
    fn full(limits: &Limits, now: Instant) -> Self {
        Self {
            frames: Bucket::full(Limits::FRAMES, now),
            requests: Bucket::full(limits.requests, now),
            asked: Bucket::full(limits.introductions, now),
            carried: Bucket::full(limits.introductions, now),
            brought: Bucket::full(limits.introductions, now),
            relayed: Bucket::full(Limits::SIGNALS, now),
            walked: Bucket::full(Limits::REQUESTS_FOR_OTHERS, now),
            forwarded: Bucket::full(Limits::INTRODUCTIONS_FOR_OTHERS, now),
            sessions: 0,
        }
    }
}

/// The allowances of all peers, and of at most [`Limits::GONE_PEERS`] that have left.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    peers: HashMap<PeerId, Allowance>,
    /// The peers that have left, each once.
    gone: Expiries<PeerId>,
}

impl Allowances {
    /// Keeps the count of a peer whose first link is live.
    pub(super) fn hold(&mut self, now: Instant, peer: PeerId, limits: &Limits) {
        self.gone.retain(|gone| *gone != peer);
        let allowance = || Allowance::full(limits, now);
        self.peers.entry(peer).or_insert_with(allowance);
    }

    /// Keeps the count of a peer whose last link has ended for [`Limits::COUNT_TIME`]. If there are too many such peers,
    /// forgets the one that left first: its buckets had the most time to fill again.
    pub(super) fn release(&mut self, now: Instant, peer: PeerId) {
        if self.gone.len() >= Limits::GONE_PEERS
            && let Some(oldest) = self.gone.pop_first()
        {
            self.peers.remove(&oldest);
        }
        self.gone.push(now + Limits::COUNT_TIME, peer);
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Allowance> {
        self.peers.get_mut(peer)
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.gone.next()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(peer) = self.gone.pop(now) {
            self.peers.remove(&peer);
        }
    }

    /// Returns the number of peers that have left and are still counted for.
    #[cfg(any(test, fuzzing))]
    pub(super) fn gone(&self) -> usize {
        self.gone.len()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;

    #[test]
    fn of_many_that_have_left_the_first_is_forgotten_first() {
        const MOST: usize = Limits::GONE_PEERS;
        let (limits, now) = (
            Limits::default().with_requests(Rate::new(1, 0)),
            Instant::now(),
        );
        for (others, is_known) in [(MOST - 2, true), (MOST - 1, true), (MOST, false)] {
            let mut allowances = Allowances::default();
            let first = PeerId::random();
            let take = |allowances: &mut Allowances, peer: PeerId| {
                allowances.hold(now, peer, &limits);
                let allowance = allowances.get_mut(&peer).unwrap();
                let taken = allowance.requests.take(limits.requests, now);
                allowances.release(now, peer);
                taken
            };
            assert!(take(&mut allowances, first));
            for _ in 0..others {
                assert!(take(&mut allowances, PeerId::random()));
            }
            assert_eq!(allowances.len(), MOST.min(others + 1));
            assert_eq!(take(&mut allowances, first), !is_known, "{others}");
            allowances.expire(now + Limits::COUNT_TIME);
            assert_eq!((allowances.len(), allowances.gone()), (0, 0));
        }
    }
}
