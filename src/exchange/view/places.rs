//! Who may come, how often, and in whose place.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use libp2p::PeerId;
use rand::seq::IteratorRandom;
use web_time::Instant;

use super::{SUBNET_SHARE, View, naming::YOUNG};
use crate::exchange::{Exchange, timer::Timer};

/// How often a peer may come in the long run, once as many have come as may be there: who wants to take the
/// places of those that go needs the longer for it. While a node grows, a free place costs nothing.
const INCOMING_INTERVAL: Duration = Duration::from_secs(30);

/// How many may come at once at most, a day's worth.
const MAX_BURST: usize = 2880;

/// How often a node that has grown and is full lets one who comes take the place of another. Were it never,
/// whoever takes all places keeps everybody else out; the more often, the sooner those that were there
/// have to look for others.
const EVICTION_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Places {
    /// Who came last.
    pub(super) newest: Option<PeerId>,
    /// Until when as many have come as may at once, less the burst.
    full_until: Option<Instant>,
    /// When one last took the place of another.
    pub(super) evicted: Option<Instant>,
    /// The timer that is set for when one may come.
    wake: Option<Instant>,
    is_accepting: bool,
    /// True while fewer peers than [`YOUNG`] are chosen in some network.
    pub(super) is_young: bool,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            newest: None,
            full_until: None,
            evicted: None,
            wake: None,
            is_accepting: true,
            is_young: true,
        }
    }
}

impl View {
    pub(in super::super) fn is_accepting(&self) -> bool {
        self.places.is_accepting
    }

    /// Whether nobody may come any more uninvited.
    pub(in super::super) fn is_full(&self) -> bool {
        self.incoming.len() >= self.wanted.max_incoming
    }

    /// A peer comes that was introduced. Those that were, and never come, cost nothing.
    pub(in super::super) fn on_arrival(&mut self, now: Instant) {
        if !self.is_free(now, self.has_place(0)) {
            let full_until = self.places.full_until;
            let from = full_until.map_or(now, |until| until.max(now));
            let latest = now + INCOMING_INTERVAL * self.burst();
            self.places.full_until = Some(latest.min(from + INCOMING_INTERVAL));
        }
    }

    /// Returns true if one more may come by the word of an introducer by which so many others are expected.
    pub(in super::super) fn admits(&self, now: Instant, expected: usize) -> bool {
        self.admits_from(now, expected)
            .is_some_and(|from| from <= now)
    }

    /// Returns from when on one more may come, if that is known.
    fn admits_from(&self, now: Instant, expected: usize) -> Option<Instant> {
        let at_most = self.wanted.max_incoming;
        // Without a place one at a time takes that of another, but where all are young.
        let at_a_time = if self.grows(now) {
            at_most
        } else {
            at_most.min(1)
        };
        let has_place = self.has_place(expected);
        let from = match has_place {
            true => now,
            false if expected < at_a_time => self.evicts_at(now),
            false => return None,
        };
        match self.rested(now, expected) {
            Some(rested) if !self.is_free(now, has_place) => Some(from.max(rested)),
            _ => Some(from),
        }
    }

    fn has_place(&self, expected: usize) -> bool {
        self.incoming.len() + expected < self.wanted.max_incoming
    }

    /// Returns true if the next may come however many have come before.
    fn is_free(&self, now: Instant, has_place: bool) -> bool {
        self.places.is_young || has_place && self.grows(now)
    }

    /// The first peer is there. A quarter of the burst is left, for a few to take the places of others.
    pub(super) fn begin_places(&mut self, now: Instant) {
        self.places.full_until = Some(now + INCOMING_INTERVAL * (self.burst() * 3 / 4));
    }

    fn burst(&self) -> u32 {
        u32::try_from(self.wanted.max_incoming.min(MAX_BURST)).unwrap_or_default()
    }

    /// Returns when the arrival budget allows `expected` and one more, or `None` if it does now.
    fn rested(&self, now: Instant, expected: usize) -> Option<Instant> {
        let taken = u32::try_from(expected)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let burst = INCOMING_INTERVAL * self.burst().saturating_sub(taken);
        let from = self.places.full_until?.checked_sub(burst)?;
        (from > now).then_some(from)
    }

    /// When one who comes may take the place of another.
    pub(super) fn evicts_at(&self, now: Instant) -> Instant {
        let last = self.places.evicted.filter(|_| !self.grows(now));
        last.map_or(now, |last| last + EVICTION_INTERVAL)
    }

    /// Who is to go: one of a network of addresses that has too many first, and then, while all are young,
    /// anybody. Later those are safe who were there before most others.
    pub(super) fn evicted(&self, now: Instant) -> Vec<PeerId> {
        let others = self.incoming.iter();
        let others = others.filter(|(peer, _)| Some(**peer) != self.places.newest);
        let mut by_age: Vec<_> = others
            .map(|(peer, incoming)| (incoming.since, *peer, incoming.subnet))
            .collect();
        by_age.sort_unstable();
        let mut like: HashMap<IpAddr, usize> = HashMap::new();
        for subnet in self.incoming.values().filter_map(|it| it.subnet) {
            *like.entry(subnet).or_default() += 1;
        }
        let at_most = self.wanted.max_incoming.div_ceil(SUBNET_SHARE);
        let is_crowded = |subnet: &Option<IpAddr>| {
            let like = subnet.and_then(|subnet| like.get(&subnet));
            like.is_some_and(|like| *like > at_most)
        };
        let crowded = by_age.iter().filter(|(.., subnet)| is_crowded(subnet));
        let crowded: Vec<_> = crowded.map(|(_, peer, _)| *peer).collect();
        let protected = if self.grows(now) { 0 } else { by_age.len() / 2 };
        match crowded.is_empty() {
            true => by_age.into_iter().skip(protected).map(|it| it.1).collect(),
            false => crowded,
        }
    }
}

impl Exchange {
    /// Makes room for who has come while we were full.
    pub(super) fn evict(&mut self, now: Instant) {
        while let Some(view) = &mut self.view
            && view.incoming.len() > view.wanted.max_incoming
            && let Some(peer) = view.evicted(now).into_iter().choose(&mut self.rng)
        {
            view.places.evicted = Some(now);
            self.leave_peer(now, &peer);
        }
    }

    /// Finds out whether peers may come, and tells ours if that has changed.
    pub(super) fn judge_incoming(&mut self, now: Instant) {
        let mut networks = self.networks.iter();
        let enough = YOUNG.min(self.view.as_ref().map_or(0, |view| view.wanted.chosen));
        let is_young = networks.any(|network| self.chosen(network).count() < enough);
        let Some(view) = &mut self.view else {
            return;
        };
        view.places.is_young = is_young;
        let from = view.admits_from(now, 0);
        view.places.is_accepting = from.is_some_and(|from| from <= now);
        let wake = from.filter(|from| *from > now);
        if let Some(at) = wake.filter(|at| view.places.wake != Some(*at)) {
            self.timers.set(at, Timer::View);
        }
        view.places.wake = wake;
        self.announce_acceptance(now);
    }
}

#[cfg(test)]
impl Exchange {
    /// Behaves as if a peer had come that was introduced.
    pub(in super::super) fn note_arrival(&mut self, now: Instant) {
        if let Some(view) = &mut self.view {
            view.on_arrival(now);
            view.is_due = true;
        }
        self.tend_view(now);
    }
}
