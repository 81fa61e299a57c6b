//! The nodes that the application dialed. All know them, and others need them more: they are left once
//! enough others were found, and come back to now and then, for what they name does not depend on what
//! our own peers have become.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use rand::{RngExt, seq::IteratorRandom};
use web_time::Instant;

use super::{Chosen, Stay, View, search::MAX_THROUGH_BOOTSTRAP};
use crate::{
    exchange::{Exchange, Output, timer::Timer},
    id::NetworkId,
};

/// How many are remembered.
const MAX_BOOTSTRAPS: usize = 8;

/// How long after enough others were found they are left. Who begin at once do not leave at once then, and
/// such a node finds those who have left through those who have not.
const LINGER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// How long from one look through them to the next.
const LOOK_INTERVAL: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(1440)];

#[derive(Debug, Default)]
pub(super) struct Bootstraps {
    /// Where each was dialed: at most [`MAX_BOOTSTRAPS`].
    addresses: BTreeMap<PeerId, Multiaddr>,
    /// Those of them that we dial.
    dialing: HashSet<PeerId>,
    /// When they are left.
    leave_at: Option<Instant>,
    look: Look,
}

/// A look through them, which replaces one of those we chose.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Look {
    #[default]
    Unplanned,
    At(Instant),
    /// One of them is being dialed.
    Begun,
    /// One of those we chose is to go, and a search for another to come.
    Searching,
}

impl Bootstraps {
    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.addresses.contains_key(peer)
    }

    pub(super) fn address_of(&self, peer: &PeerId) -> Option<Multiaddr> {
        self.addresses.get(peer).cloned()
    }

    pub(super) fn remember(&mut self, peer: PeerId, address: Multiaddr) {
        if self.addresses.len() < MAX_BOOTSTRAPS || self.contains(&peer) {
            self.addresses.insert(peer, address);
        }
    }

    /// Whether what is looked for is to be found through them.
    pub(super) fn is_looking(&self) -> bool {
        self.look == Look::Searching
    }
}

impl View {
    /// Whether this node was dialed on our account.
    pub(in super::super) fn expects(&self, peer: &PeerId) -> bool {
        self.bootstraps.dialing.contains(peer)
    }

    /// A link to this peer is live, be it the first or not.
    pub(in super::super) fn on_linked(&mut self, peer: &PeerId) {
        self.is_due |= self.bootstraps.dialing.remove(peer);
    }

    /// One that the application dialed has no place yet.
    pub(in super::super) fn on_bootstrap_full(&mut self, peer: PeerId, address: Multiaddr) {
        self.bootstraps.remember(peer, address);
        self.is_due = true;
    }

    pub(in super::super) fn on_dial_failed(&mut self, peer: &PeerId) {
        self.is_due |= self.bootstraps.dialing.remove(peer);
    }
}

impl Exchange {
    /// Those that are peers, however that came about.
    pub(super) fn bootstraps(&self, network: &NetworkId) -> Vec<PeerId> {
        let known = self.view.iter().flat_map(|view| {
            let dialed = view.dialed.iter();
            dialed.chain(view.bootstraps.addresses.keys())
        });
        let members = known.filter(|peer| self.roster.member(network, peer).is_some());
        let members: BTreeSet<_> = members.copied().collect();
        members.into_iter().collect()
    }

    /// Has one dialed if none is in this network. Which of them are is seen only once they are there.
    pub(super) fn dial_bootstrap(&mut self, network: &NetworkId) {
        let is_there = !self.bootstraps(network).is_empty();
        let Some(view) = &mut self.view else {
            return;
        };
        let bootstraps = &mut view.bootstraps;
        if is_there || !bootstraps.dialing.is_empty() {
            return;
        }
        let known = bootstraps.addresses.iter();
        let gone = known.filter(|(peer, _)| !self.roster.contains(peer));
        let chosen = gone.choose(&mut self.rng);
        if let Some((peer, address)) = chosen.map(|(peer, address)| (*peer, address.clone())) {
            bootstraps.dialing.insert(peer);
            let addresses = vec![address];
            self.outputs.push_back(Output::Dial { peer, addresses });
        }
    }

    fn dial_bootstraps(&mut self) {
        for network in &self.networks.to_vec() {
            self.dial_bootstrap(network);
        }
    }

    pub(super) fn tend_bootstraps(&mut self, now: Instant, is_complete: bool) {
        self.look_through_bootstraps(now, is_complete);
        let Some(view) = &mut self.view else {
            return;
        };
        let leave_at = &mut view.bootstraps.leave_at;
        if !is_complete || view.dialed.is_empty() {
            *leave_at = None;
        } else if leave_at.is_some_and(|at| at <= now) {
            *leave_at = None;
            let dialed: Vec<_> = view.dialed.iter().copied().collect();
            dialed.iter().for_each(|peer| self.leave_peer(now, peer));
        } else if leave_at.is_none() {
            let [least, most] = LINGER;
            let at = now + self.rng.random_range(least..=most);
            *leave_at = Some(at);
            self.timers.set(at, Timer::View);
        }
    }

    fn look_through_bootstraps(&mut self, now: Instant, is_complete: bool) {
        let Some(view) = &mut self.view else {
            return;
        };
        if view.bootstraps.addresses.is_empty() {
            return;
        }
        match view.bootstraps.look {
            Look::At(at) if at > now => {}
            // What is missing is looked for through them.
            Look::At(_) if !is_complete => {
                view.bootstraps.look = Look::Unplanned;
                view.is_due = true;
                self.dial_bootstraps();
            }
            Look::At(_) => {
                view.bootstraps.look = Look::Begun;
                self.dial_bootstraps();
                self.replace_through_bootstraps();
            }
            Look::Begun => self.replace_through_bootstraps(),
            Look::Searching if !is_complete => {}
            Look::Searching | Look::Unplanned => {
                if view.bootstraps.look == Look::Searching {
                    view.bootstraps.leave_at = Some(now);
                }
                let [least, most] = LOOK_INTERVAL;
                let at = now + self.rng.random_range(least..most);
                view.bootstraps.look = Look::At(at);
                self.timers.set(at, Timer::View);
            }
        }
    }

    /// Has one of those replaced of whose network of addresses there are enough, or that were found through
    /// others, if there are not enough from here.
    fn replace_through_bootstraps(&mut self) {
        let Some(view) = &mut self.view else {
            return;
        };
        let mut known = view.bootstraps.addresses.keys();
        if !known.any(|peer| self.roster.contains(peer)) {
            if view.bootstraps.dialing.is_empty() {
                view.bootstraps.look = Look::Unplanned; // it cannot be reached
                view.is_due = true;
            }
            return;
        }
        view.bootstraps.look = Look::Searching;
        view.is_due = true;
        let known = &view.bootstraps.addresses;
        let is_one = |peer: &PeerId| known.contains_key(peer);
        let is_enough = view.found_through(is_one) >= MAX_THROUGH_BOOTSTRAP;
        let rank = |chosen: &Chosen| {
            let is_redundant = chosen.stay == Stay::Redundant;
            (is_redundant, is_one(&chosen.through) == is_enough)
        };
        let chosen = || view.chosen.iter().filter(|(_, it)| it.stay != Stay::Wanted);
        let first = chosen().map(|(_, it)| rank(it)).max();
        let first = chosen().filter(|(_, it)| Some(rank(it)) == first);
        let replaced = first.choose(&mut self.rng).map(|(peer, _)| *peer);
        if let Some(chosen) = replaced.and_then(|peer| view.chosen.get_mut(&peer)) {
            chosen.stay = Stay::Spent;
        }
    }
}
