//! The maintained view: which peers we chose and which came, and what is to be done when they come and
//! go. How one is found is for a query.
//!
//! Four rules each have a file of their own: when another peer is looked for and through whom
//! ([`search`]), what the nodes are for that the application dialed ([`bootstraps`]), who may come and in
//! whose place ([`places`]), and who is named to those who ask ([`naming`]). What they have in common is
//! that a node *grows* for its first minutes. Then it takes whatever comes, for a network of young nodes
//! has to mix, and there is nothing to protect yet. Later it trusts those that it chose, for whoever wants
//! to surround a node comes to it, and cannot make the node come.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use web_time::Instant;

use self::{bootstraps::Bootstraps, places::Places, search::Search};
use super::{Exchange, Phase, lifecycle::End, timer::Timer};
use crate::{config, error::Refusal, event::Origin, id::NetworkId, reach::subnet_of};

mod bootstraps;
mod naming;
mod places;
mod search;
#[cfg(test)]
mod tests;

/// How long a node grows from its first peer on, and how long one that came has to stay until it is named
/// to others.
const GROWTH: Duration = Duration::from_secs(600);

/// No more than one in so many peers may be of one network of addresses, see [`subnet_of`].
const SUBNET_SHARE: usize = 6;

/// How many of a network of addresses of which there are enough are found in a row before they are taken
/// for all that there is.
const PATIENCE: usize = 6;

/// How long a node that did not take us is left alone, and how many such are remembered.
const SHUNNED_FOR: Duration = Duration::from_secs(60);
const MAX_SHUNNED: usize = 64;

#[derive(Debug)]
pub(super) struct View {
    wanted: config::View,
    /// When the first peer came.
    since: Option<Instant>,
    chosen: BTreeMap<PeerId, Chosen>,
    incoming: HashMap<PeerId, Incoming>,
    /// Those of them that somebody introduced. Others dialed us directly, as those do that begin.
    introduced: BTreeSet<PeerId>,
    /// Those of the application's choice that are peers.
    dialed: BTreeSet<PeerId>,
    /// Who did not take us, until when it is left alone.
    shunned: BTreeMap<PeerId, Instant>,
    /// How many more of a network of addresses of which there are enough may be found in a row.
    patience: usize,
    /// For each network in which peers were missing since one was last found or lost.
    searches: BTreeMap<NetworkId, Search>,
    bootstraps: Bootstraps,
    places: Places,
    /// When the next of those that we chose may be relieved of the walks that go through it.
    relieves_at: Option<Instant>,
    /// Whether something has changed that [`Exchange::tend_view`] has to look at.
    is_due: bool,
}

/// A peer that we found.
#[derive(Debug)]
struct Chosen {
    through: PeerId,
    since: Instant,
    subnet: Option<IpAddr>,
    /// Where it is dialed, as it says.
    addresses: Vec<Multiaddr>,
    /// How many walks of others went through it.
    carried: usize,
    stay: Stay,
}

/// How long a peer that we found is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// As long as it stays, for the application has asked for it.
    Wanted,
    Lasting,
    /// Until another has come in its place.
    Spent,
    /// The same, for one of a network of addresses of which there are enough, if there are others.
    Redundant,
}

/// A peer that came.
#[derive(Debug)]
struct Incoming {
    since: Instant,
    subnet: Option<IpAddr>,
}

impl Chosen {
    fn lasts(&self) -> bool {
        matches!(self.stay, Stay::Wanted | Stay::Lasting)
    }
}

impl View {
    pub(super) fn new(wanted: config::View) -> Self {
        Self {
            wanted,
            since: None,
            chosen: BTreeMap::new(),
            incoming: HashMap::new(),
            introduced: BTreeSet::new(),
            dialed: BTreeSet::new(),
            shunned: BTreeMap::new(),
            patience: PATIENCE,
            searches: BTreeMap::new(),
            bootstraps: Bootstraps::default(),
            places: Places::new(),
            relieves_at: None,
            is_due: false,
        }
    }

    fn grows(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now < since + GROWTH)
    }

    pub(super) fn on_connected(
        &mut self,
        now: Instant,
        peer: PeerId,
        origin: Origin,
        ip: Option<IpAddr>,
        addresses: Vec<Multiaddr>,
    ) {
        self.is_due = true;
        if self.since.is_none() {
            self.since = Some(now);
            self.begin_places(now);
        }
        let subnet = ip.and_then(subnet_of);
        match origin {
            Origin::Chosen { through } => {
                let stay = self.stay_of(subnet);
                self.patience = match stay {
                    Stay::Redundant => self.patience.saturating_sub(1),
                    _ => PATIENCE,
                };
                self.on_chosen(now, peer, through, subnet, stay, addresses);
            }
            // The application chose.
            Origin::Found(_) => self.on_chosen(now, peer, peer, subnet, Stay::Wanted, addresses),
            Origin::Dialed => {
                if let Some(address) = addresses.into_iter().next() {
                    self.bootstraps.remember(peer, address);
                }
                self.dialed.insert(peer);
            }
            Origin::Accepted | Origin::Introduced { .. } => {
                let since = now;
                self.incoming.insert(peer, Incoming { since, subnet });
                if origin != Origin::Accepted {
                    self.introduced.insert(peer);
                }
                self.places.newest = Some(peer);
            }
        }
    }

    /// How many were found through such peers. Those that are to go count no more.
    fn found_through(&self, is_it: impl Fn(&PeerId) -> bool) -> usize {
        let stay = self.chosen.values().filter(|it| it.stay != Stay::Spent);
        stay.filter(|it| is_it(&it.through)).count()
    }

    /// How long one of this network of addresses is to be kept.
    fn stay_of(&self, subnet: Option<IpAddr>) -> Stay {
        let like = self.chosen.values().filter(|chosen| chosen.lasts());
        let like = like.filter(|chosen| subnet.is_some() && chosen.subnet == subnet);
        match like.count() < self.wanted.chosen.div_ceil(SUBNET_SHARE) {
            true => Stay::Lasting,
            false => Stay::Redundant,
        }
    }

    fn on_chosen(
        &mut self,
        now: Instant,
        peer: PeerId,
        through: PeerId,
        subnet: Option<IpAddr>,
        stay: Stay,
        addresses: Vec<Multiaddr>,
    ) {
        self.searches.clear();
        let chosen = Chosen {
            through,
            since: now,
            subnet,
            addresses,
            carried: 0,
            stay,
        };
        self.chosen.insert(peer, chosen);
    }

    pub(super) fn on_disconnected(&mut self, now: Instant, peer: &PeerId) {
        if self.chosen.remove(peer).is_some() {
            self.searches.clear();
            // Whatever the reason, another will do better.
            self.on_refused(now, *peer);
        }
        self.incoming.remove(peer);
        self.introduced.remove(peer);
        self.dialed.remove(peer);
        self.is_due = true;
    }

    /// A peer may be in other networks than before.
    pub(super) fn on_networks_changed(&mut self, peer: &PeerId) {
        self.is_due |= self.chosen.contains_key(peer);
    }

    /// A candidate refuses us.
    pub(super) fn on_refused(&mut self, now: Instant, peer: PeerId) {
        self.shunned.retain(|_, until| *until > now);
        if self.shunned.len() < MAX_SHUNNED {
            self.shunned.insert(peer, now + SHUNNED_FOR);
        }
    }

    /// Whether a candidate is not to be tried: all know whom they began with.
    pub(super) fn shuns(&self, now: Instant, peer: &PeerId) -> bool {
        let is_shunned = self.shunned.get(peer).is_some_and(|until| *until > now);
        is_shunned || self.bootstraps.contains(peer)
    }
}

impl Exchange {
    /// Looks for peers where some are missing, and lets go of what is not needed any more. To be called
    /// whenever something has happened.
    pub(super) fn tend_view(&mut self, now: Instant) {
        let Some(view) = &mut self.view else {
            return;
        };
        if !std::mem::take(&mut view.is_due) || self.phase != Phase::Open {
            return;
        }
        view.searches
            .retain(|network, _| self.networks.contains(network));
        self.leave_spent(now);
        let mut is_complete = true;
        let networks = self.networks.to_vec();
        for network in &networks {
            let missing = self.missing(network);
            is_complete &= missing == 0;
            self.look_for(now, network, missing);
        }
        self.tend_bootstraps(now, is_complete);
        self.evict(now);
        self.judge_incoming(now);
        if self.view.as_ref().is_some_and(|view| view.is_due) {
            self.timers.set(now, Timer::View); // what was done has consequences itself
        }
    }

    /// Where a peer is dialed that we chose or our application dialed.
    pub(crate) fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let Some(view) = &self.view else {
            return Vec::new();
        };
        match view.chosen.get(peer) {
            Some(chosen) => chosen.addresses.clone(),
            None => view.bootstraps.address_of(peer).into_iter().collect(),
        }
    }

    pub(super) fn on_view_timer(&mut self) {
        if let Some(view) = &mut self.view {
            view.is_due = true;
        }
    }

    /// The peers that we chose.
    fn chosen<'a>(
        &'a self,
        network: &'a NetworkId,
    ) -> impl Iterator<Item = (&'a PeerId, &'a Chosen)> {
        let chosen = self.view.iter().flat_map(|view| &view.chosen);
        chosen.filter(|(peer, _)| self.roster.member(network, peer).is_some())
    }

    /// How many peers are to be looked for.
    fn missing(&self, network: &NetworkId) -> usize {
        let Some(view) = &self.view else {
            return 0;
        };
        let stays = self.chosen(network).filter(|(_, it)| match it.stay {
            Stay::Wanted | Stay::Lasting => true,
            Stay::Redundant => view.patience == 0,
            Stay::Spent => false,
        });
        view.wanted.chosen.saturating_sub(stays.count())
    }

    /// Ends the links to those in whose place others have come.
    fn leave_spent(&mut self, now: Instant) {
        while let Some(peer) = self.superfluous() {
            self.leave_peer(now, &peer);
        }
    }

    fn superfluous(&self) -> Option<PeerId> {
        let view = self.view.as_ref()?;
        let is_needed = |peer: &PeerId| {
            self.networks.iter().any(|network| {
                self.roster.member(network, peer).is_some()
                    && self.chosen(network).count() <= view.wanted.chosen
            })
        };
        let free = |stay: Stay| {
            let such = view.chosen.iter().filter(move |(_, it)| it.stay == stay);
            such.filter(|(peer, _)| !is_needed(peer))
        };
        let redundant = || free(Stay::Redundant).max_by_key(|(_, it)| it.since);
        let spent = || free(Stay::Spent).min_by_key(|(_, it)| it.since);
        let superfluous = match view.patience {
            0 => spent().or_else(redundant),
            // One that came last is not to replace another like it, again and again.
            _ => redundant().or_else(spent),
        };
        superfluous.map(|(peer, _)| *peer)
    }

    fn leave_peer(&mut self, now: Instant, peer: &PeerId) {
        for link in self.roster.links(peer).to_vec() {
            self.refuse_link(now, link, Refusal::Closing, End::Announced);
        }
    }
}

#[cfg(test)]
impl Exchange {
    pub(super) fn accepts(&self) -> bool {
        self.is_accepting()
    }

    pub(super) fn chosen_peers(&self) -> Vec<PeerId> {
        let view = self.view.as_ref();
        view.map_or(Vec::new(), |view| view.chosen.keys().copied().collect())
    }

    pub(super) fn found_through(&self, peer: &PeerId) -> usize {
        let view = self.view.as_ref();
        view.map_or(0, |view| view.found_through(|it| it == peer))
    }

    /// How many peers were chosen, came, and were dialed by the application.
    pub(super) fn kinds(&self) -> [usize; 3] {
        let view = self.view.as_ref();
        view.map_or([0; 3], |view| {
            [view.chosen.len(), view.incoming.len(), view.dialed.len()]
        })
    }
}
