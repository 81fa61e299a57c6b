//! When another peer is looked for, and through whom.

use std::time::Duration;

use libp2p::PeerId;
use rand::{RngExt, seq::IteratorRandom};
use web_time::Instant;

use super::{View, naming::YOUNG};
use crate::{
    exchange::{Exchange, timer::Timer},
    id::NetworkId,
};

/// How long until another peer is looked for when none was found: at first, doubled at each time, and at
/// most. Each is drawn from the upper half, so that nodes which failed together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How many peers are looked for at a time: one that is slow to fail does not hold up the others.
const PARALLEL: usize = 2;

/// How many hops from a node that the application dialed, which all others know as well, and from one that
/// we chose. With fewer, those who come at the same time fill up with each other.
const HOPS_FROM_BOOTSTRAP: u8 = 3;
const HOPS_FROM_CHOSEN: u8 = 2;

/// One in so many of those that we want may be missing before peers are looked for some hops from those we
/// chose once more, by a node that has grown.
const MIXED_ABOVE: usize = 6;

/// How many of those we chose may be found through one node: one that names its own kind has so many.
pub(super) const MAX_THROUGH_BOOTSTRAP: usize = 3;
const MAX_THROUGH_CHOSEN: usize = 2;

/// How it goes with the looking for peers in one network.
#[derive(Debug)]
pub(super) struct Search {
    /// Whether one has failed since the last pause was over.
    has_failed: bool,
    pause: Duration,
    paused_until: Option<Instant>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            has_failed: false,
            pause: FIRST_PAUSE,
            paused_until: None,
        }
    }
}

impl Search {
    /// Whether it is not over yet. What has failed meanwhile does not count.
    fn is_paused(&mut self, now: Instant) -> bool {
        let is_over = self.paused_until.take_if(|until| *until <= now).is_some();
        self.has_failed &= !is_over;
        self.paused_until.is_some()
    }
}

impl View {
    pub(in super::super) fn on_search_failed(&mut self, network: &NetworkId) {
        self.search_in(network).has_failed = true;
        self.is_due = true;
    }

    fn search_in(&mut self, network: &NetworkId) -> &mut Search {
        self.searches.entry(network.clone()).or_default()
    }
}

impl Exchange {
    pub(super) fn look_for(&mut self, now: Instant, network: &NetworkId, missing: usize) {
        let Some(view) = &mut self.view else {
            return;
        };
        if missing == 0 || view.search_in(network).is_paused(now) {
            return;
        }
        while self.searches_in(network) < missing.min(PARALLEL)
            && !self.has_search_failed(network)
            && let Some((through, hops)) = self.introducer(now, network)
        {
            self.search(now, network, through, hops);
        }
        if self.has_search_failed(network) || self.searches_in(network) == 0 {
            self.pause_search(now, network);
        }
    }

    fn searches_in(&self, network: &NetworkId) -> usize {
        let searches = self.queries.searches();
        searches
            .filter(|(searched, _)| *searched == network)
            .count()
    }

    fn has_search_failed(&self, network: &NetworkId) -> bool {
        let search = self.view.as_ref().and_then(|it| it.searches.get(network));
        search.is_some_and(|search| search.has_failed)
    }

    /// Comes back after a while, which is longer each time, and has somebody dialed by then if there is
    /// hardly anybody to ask.
    fn pause_search(&mut self, now: Instant, network: &NetworkId) {
        if self.chosen(network).count() < YOUNG {
            self.dial_bootstrap(network);
        }
        let Some(view) = &mut self.view else {
            return;
        };
        let search = view.search_in(network);
        search.has_failed = false;
        let pause = self.rng.random_range(search.pause / 2..=search.pause);
        search.pause = LAST_PAUSE.min(2 * search.pause);
        search.paused_until = Some(now + pause);
        self.timers.set(now + pause, Timer::View);
    }

    /// Through whom the next peer is looked for, and how far from there.
    fn introducer(&mut self, now: Instant, network: &NetworkId) -> Option<(PeerId, u8)> {
        let view = self.view.as_ref()?;
        let found = |through: &PeerId| {
            let searches = self.queries.searches().filter(|(_, it)| *it == through);
            view.found_through(|it| it == through) + searches.count()
        };
        let bootstraps = self.bootstraps(network);
        let chosen: Vec<_> = self.chosen(network).map(|(peer, _)| *peer).collect();
        let with_room = |peers: &[PeerId], at_most: usize| -> Vec<PeerId> {
            let with_room = peers.iter().filter(|peer| found(peer) < at_most);
            with_room.copied().collect()
        };
        let through_bootstrap = match view.bootstraps.is_looking() {
            true => bootstraps.clone(),
            false => with_room(&bootstraps, MAX_THROUGH_BOOTSTRAP),
        };
        let through_chosen = with_room(&chosen, MAX_THROUGH_CHOSEN);
        let mut anybody = Vec::new();
        if chosen.len() < YOUNG {
            anybody.extend(self.roster.members(network).copied());
            anybody.sort_unstable(); // in an order that does not depend on a hasher
        }
        // A walk may end with those who wait for us there. One that is gone is soon found again; who mixes
        // with others for the first time, or has lost many, needs it.
        let mixes = view.grows(now) || self.missing(network) > view.wanted.chosen / MIXED_ABOVE;
        let from_chosen = if mixes { HOPS_FROM_CHOSEN } else { 0 };
        let groups = [
            (through_bootstrap, HOPS_FROM_BOOTSTRAP),
            (through_chosen, from_chosen),
            (bootstraps, HOPS_FROM_BOOTSTRAP),
            (anybody, HOPS_FROM_CHOSEN),
        ];
        let (peers, hops) = groups.into_iter().find(|(peers, _)| !peers.is_empty())?;
        let through = peers.into_iter().choose(&mut self.rng)?;
        Some((through, hops))
    }
}
