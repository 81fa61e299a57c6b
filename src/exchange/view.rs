//! The maintained view: which peers we chose and which came, when another is to be looked for and
//! through whom, and when the nodes that the application dialed are no longer needed. How one is found
//! is for a query.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use rand::{RngExt, seq::IteratorRandom};
use web_time::Instant;

use super::{Exchange, Output, lifecycle::End, timer::Timer};
use crate::{config, error::Refusal, event::Origin, id::NetworkId};

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

/// How many of those we chose may be found through one node: one that names its own kind has so many.
const MAX_THROUGH_BOOTSTRAP: usize = 3;
const MAX_THROUGH_CHOSEN: usize = 2;

/// With fewer chosen peers than this, anybody may introduce, and all who come are let in: there is little to
/// protect yet.
const YOUNG: usize = 3;

/// How often a peer may come in the long run, once as many have come as may be there: who wants to take the
/// places of those that go needs the longer for it.
const INCOMING_INTERVAL: Duration = Duration::from_secs(30);

/// How many may come at once at most, a day's worth.
const MAX_BURST: usize = 2880;

/// How many nodes that the application dialed are remembered.
const MAX_BOOTSTRAPS: usize = 8;

/// How a peer became one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// We found it, through this node.
    Chosen { through: PeerId },
    /// It came.
    Incoming,
    /// The application dialed it.
    Bootstrap,
}

#[derive(Debug)]
pub(super) struct View {
    wanted: config::View,
    /// All peers.
    kinds: HashMap<PeerId, Kind>,
    /// Whom the application dialed, and where: at most [`MAX_BOOTSTRAPS`].
    bootstraps: BTreeMap<PeerId, Multiaddr>,
    /// Those of them that we dial.
    dialing: HashSet<PeerId>,
    /// Whether something has changed that [`Exchange::tend_view`] has to look at.
    is_due: bool,
    /// Whether a search has failed since the last pause began.
    has_failed: bool,
    pause: Duration,
    paused_until: Option<Instant>,
    /// When those whom the application dialed are left.
    leaves: Option<Instant>,
    /// Until when as many have come as may at once, less the burst.
    full_until: Option<Instant>,
    is_accepting: bool,
    /// Whether it has fewer chosen peers than [`YOUNG`] in some network.
    is_young: bool,
}

impl View {
    pub(super) fn new(wanted: config::View) -> Self {
        Self {
            wanted,
            kinds: HashMap::new(),
            bootstraps: BTreeMap::new(),
            dialing: HashSet::new(),
            is_due: false,
            has_failed: false,
            pause: FIRST_PAUSE,
            paused_until: None,
            leaves: None,
            full_until: None,
            is_accepting: true,
            is_young: true,
        }
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.is_accepting
    }

    /// Whether this node was dialed on our account.
    pub(super) fn expects(&self, peer: &PeerId) -> bool {
        self.dialing.contains(peer)
    }

    /// Whether nobody may come any more, also uninvited.
    pub(super) fn is_full(&self) -> bool {
        self.count(Kind::Incoming) >= self.wanted.max_incoming
    }

    fn count(&self, kind: Kind) -> usize {
        self.kinds.values().filter(|other| **other == kind).count()
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, origin: Origin, remote: Option<Multiaddr>) {
        let kind = match origin {
            Origin::Chosen { through } => {
                self.pause = FIRST_PAUSE;
                self.paused_until = None;
                Kind::Chosen { through }
            }
            // The application chose.
            Origin::Found(_) => Kind::Chosen { through: peer },
            Origin::Dialed => {
                if let Some(remote) = remote
                    && (self.bootstraps.len() < MAX_BOOTSTRAPS
                        || self.bootstraps.contains_key(&peer))
                {
                    self.bootstraps.insert(peer, remote);
                }
                Kind::Bootstrap
            }
            Origin::Accepted | Origin::Introduced { .. } => Kind::Incoming,
        };
        self.dialing.remove(&peer);
        self.kinds.insert(peer, kind);
        self.is_due = true;
    }

    pub(super) fn on_disconnected(&mut self, peer: &PeerId) {
        self.kinds.remove(peer);
        self.is_due = true;
    }

    /// A query of ours has failed.
    pub(super) fn on_query_failed(&mut self) {
        self.has_failed = true;
        self.is_due = true;
    }

    pub(super) fn on_dial_failed(&mut self, peer: &PeerId) {
        if self.dialing.remove(peer) {
            self.on_query_failed();
        }
    }

    /// A peer was told that it may come.
    pub(super) fn on_introduced(&mut self, now: Instant) {
        self.is_due = true;
        if self.is_young {
            return;
        }
        let from = self.full_until.map_or(now, |until| until.max(now));
        let latest = now + INCOMING_INTERVAL * self.burst();
        self.full_until = Some(latest.min(from + INCOMING_INTERVAL));
    }

    /// One that was told so has come, or will not.
    pub(super) fn on_introduction_over(&mut self) {
        self.is_due = true;
    }

    fn burst(&self) -> u32 {
        u32::try_from(self.wanted.max_incoming.min(MAX_BURST)).unwrap_or_default()
    }

    /// From when on one more may come, if not now.
    fn rested(&self, now: Instant) -> Option<Instant> {
        let burst = INCOMING_INTERVAL * self.burst().saturating_sub(1);
        let from = self.full_until?.checked_sub(burst)?;
        (from > now).then_some(from)
    }
}

impl Exchange {
    /// Looks for peers where some are missing, and lets go of what is not needed any more. To be called
    /// whenever something has happened.
    pub(super) fn tend_view(&mut self, now: Instant) {
        let Some(view) = &mut self.view else {
            return;
        };
        if !std::mem::take(&mut view.is_due) || self.phase != super::Phase::Open {
            return;
        }
        let mut is_complete = true;
        for network in self.networks.clone().iter() {
            let missing = self.missing(network);
            is_complete &= missing == 0;
            self.look_for(now, network, missing);
        }
        self.tend_bootstraps(now, is_complete);
        self.judge_incoming(now);
        if self.view.as_ref().is_some_and(|view| view.is_due) {
            self.timers.set(now, Timer::View); // what was done has consequences itself
        }
    }

    /// How many peers are to be looked for.
    fn missing(&self, network: &NetworkId) -> usize {
        let Some(view) = &self.view else {
            return 0;
        };
        let chosen = self.chosen(network).count();
        view.wanted.chosen.saturating_sub(chosen)
    }

    fn chosen<'a>(&'a self, network: &'a NetworkId) -> impl Iterator<Item = &'a PeerId> {
        let kinds = self.view.iter().flat_map(|view| &view.kinds);
        let chosen = kinds.filter(|(_, kind)| matches!(kind, Kind::Chosen { .. }));
        let peers = chosen.map(|(peer, _)| peer);
        peers.filter(|peer| self.roster.member(network, peer).is_some())
    }

    fn look_for(&mut self, now: Instant, network: &NetworkId, missing: usize) {
        let Some(view) = &mut self.view else {
            return;
        };
        if missing == 0 || view.paused_until.is_some_and(|until| until > now) {
            return;
        }
        for _ in 0..PARALLEL {
            let has_failed = self.view.as_ref().is_some_and(|view| view.has_failed);
            if has_failed || self.queries.searches().count() >= missing.min(PARALLEL) {
                break;
            }
            let Some((through, hops)) = self.introducer(network) else {
                break;
            };
            self.search(now, network, through, hops);
        }
        let has_failed = |view: &mut View| std::mem::take(&mut view.has_failed);
        if self.view.as_mut().is_some_and(has_failed) || self.queries.searches().next().is_none() {
            self.pause_view(now);
        }
    }

    /// Comes back after a while, which is longer each time, and has somebody dialed by then if there is nobody
    /// to ask.
    fn pause_view(&mut self, now: Instant) {
        if self.roster.peers().next().is_none() {
            self.dial_bootstrap();
        }
        let Some(view) = &mut self.view else {
            return;
        };
        let pause = self.rng.random_range(view.pause / 2..=view.pause);
        view.pause = LAST_PAUSE.min(2 * view.pause);
        view.paused_until = Some(now + pause);
        self.timers.set(now + pause, Timer::View);
    }

    pub(super) fn on_view_timer(&mut self) {
        if let Some(view) = &mut self.view {
            view.is_due = true;
        }
    }

    /// Through whom the next peer is looked for, and how far from there.
    fn introducer(&mut self, network: &NetworkId) -> Option<(PeerId, u8)> {
        let view = self.view.as_ref()?;
        let (queries, roster) = (&self.queries, &self.roster);
        let members = |is_wanted: fn(&Kind) -> bool, at_most: usize| -> Vec<PeerId> {
            let is_it = |(peer, kind): &(&PeerId, &Kind)| {
                let chosen = view.count(Kind::Chosen { through: **peer });
                let looked_for = queries.searches().filter(|through| through == peer);
                is_wanted(kind)
                    && roster.member(network, peer).is_some()
                    && chosen + looked_for.count() < at_most
            };
            let members = view.kinds.iter().filter(is_it);
            let mut peers: Vec<_> = members.map(|(peer, _)| *peer).collect();
            peers.sort_unstable(); // in an order that does not depend on a hasher
            peers
        };
        let is_bootstrap = |kind: &Kind| *kind == Kind::Bootstrap;
        let is_chosen = |kind: &Kind| matches!(kind, Kind::Chosen { .. });
        let mut groups = vec![
            (
                members(is_bootstrap, MAX_THROUGH_BOOTSTRAP),
                HOPS_FROM_BOOTSTRAP,
            ),
            (members(is_chosen, MAX_THROUGH_CHOSEN), HOPS_FROM_CHOSEN),
            (members(is_bootstrap, usize::MAX), HOPS_FROM_BOOTSTRAP),
        ];
        if self.chosen(network).count() < YOUNG {
            groups.push((members(|_| true, usize::MAX), HOPS_FROM_CHOSEN));
        }
        let (peers, hops) = groups.into_iter().find(|(peers, _)| !peers.is_empty())?;
        let through = peers.into_iter().choose(&mut self.rng)?;
        Some((through, hops))
    }

    fn dial_bootstrap(&mut self) {
        let Some(view) = &mut self.view else {
            return;
        };
        if !view.dialing.is_empty() {
            return;
        }
        let chosen = view.bootstraps.iter().choose(&mut self.rng);
        if let Some((peer, address)) = chosen.map(|(peer, address)| (*peer, address.clone())) {
            view.dialing.insert(peer);
            let addresses = vec![address];
            self.outputs.push_back(Output::Dial { peer, addresses });
        }
    }

    /// Ends the links to those whom the application dialed, which others need more, some time after enough
    /// others were found. Who begin at once do not leave at once then, and such a node finds those who
    /// have left through those who have not.
    fn tend_bootstraps(&mut self, now: Instant, is_complete: bool) {
        let Some(view) = &mut self.view else {
            return;
        };
        if !is_complete || view.count(Kind::Bootstrap) == 0 {
            view.leaves = None;
        } else if view.leaves.is_some_and(|at| at <= now) {
            view.leaves = None;
            self.leave_bootstraps(now);
        } else if view.leaves.is_none() {
            let at = now + self.rng.random_range(FIRST_PAUSE..=LAST_PAUSE);
            view.leaves = Some(at);
            self.timers.set(at, Timer::View);
        }
    }

    fn leave_bootstraps(&mut self, now: Instant) {
        let kinds = self.view.iter().flat_map(|view| &view.kinds);
        let bootstraps = kinds.filter(|(_, kind)| **kind == Kind::Bootstrap);
        let mut links: Vec<_> = bootstraps
            .flat_map(|(peer, _)| self.roster.links(peer).to_vec())
            .collect();
        links.sort_unstable();
        for link in links {
            self.refuse_link(now, link, Refusal::Closing, End::Announced);
        }
    }

    /// Finds out whether peers may come, and tells ours if that has changed.
    fn judge_incoming(&mut self, now: Instant) {
        let is_young = self
            .networks
            .iter()
            .any(|it| self.chosen(it).count() < YOUNG);
        let kept = self.answers.kept_places();
        let Some(view) = &mut self.view else {
            return;
        };
        view.is_young = is_young;
        let rested = view.rested(now).filter(|_| !is_young);
        let has_place = view.count(Kind::Incoming) + kept < view.wanted.max_incoming;
        view.is_accepting = has_place && rested.is_none();
        if let Some(at) = rested {
            self.timers.set(at, Timer::View);
        }
        self.announce_acceptance(now);
    }
}

#[cfg(test)]
impl Exchange {
    pub(super) fn accepts(&self) -> bool {
        self.is_accepting()
    }

    /// Behaves as if a peer had been told that it may come.
    pub(super) fn note_introduction(&mut self, now: Instant) {
        if let Some(view) = &mut self.view {
            view.on_introduced(now);
        }
        self.tend_view(now);
    }

    /// How many peers were chosen, came, and were dialed by the application.
    pub(super) fn kinds(&self) -> [usize; 3] {
        let kinds: Vec<_> = self
            .view
            .iter()
            .flat_map(|view| view.kinds.values())
            .collect();
        let count = |is_it: fn(&Kind) -> bool| kinds.iter().filter(|kind| is_it(kind)).count();
        [
            count(|kind| matches!(kind, Kind::Chosen { .. })),
            count(|kind| *kind == Kind::Incoming),
            count(|kind| *kind == Kind::Bootstrap),
        ]
    }
}
