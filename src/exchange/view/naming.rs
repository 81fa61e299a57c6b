//! Who is named to those who ask for peers, and who is asked in their name. A node without a view names
//! and asks all its peers alike.

use std::{collections::HashSet, time::Duration};

use libp2p::PeerId;
use rand::seq::{IteratorRandom, SliceRandom};
use web_time::Instant;

use super::{GROWTH, Stay, View};
use crate::{
    config::Limits,
    exchange::{Exchange, roster::Member},
    id::NetworkId,
};

/// With fewer chosen peers than this, anybody may introduce, and all who come are let in: there is little to
/// protect yet.
pub(super) const YOUNG: usize = 3;

/// How many of those that came are named by a node that has grown.
const MAX_NAMED_INCOMING: usize = 1;

/// From how many peers those are picked that are named.
const SAMPLE: usize = 3 * Limits::CANDIDATES;

/// After how many walks through one peer another takes its place, while a node grows and later, and how
/// often that may be, for each that may come at a time: an ordinary node that is flooded with requests changes a
/// peer in half an hour. One that many begin with has to share what they ask for among many, and changes more.
const MAX_CARRIED_AT_FIRST: usize = 16;
pub(super) const MAX_CARRIED: usize = 64;
const RELIEF_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

impl View {
    /// Whether this peer came so long ago.
    fn came_before(&self, now: Instant, peer: &PeerId, age: Duration) -> bool {
        let incoming = self.incoming.get(peer);
        incoming.is_some_and(|incoming| incoming.since + age <= now)
    }

    /// With fewer of those that we chose, all peers have to do.
    fn few(&self) -> usize {
        (self.wanted.chosen / 2).max(1)
    }

    /// A walk goes through one of those that we chose.
    pub(super) fn on_carried(&mut self, now: Instant, peer: &PeerId) {
        let at_most = match self.grows(now) {
            true => MAX_CARRIED_AT_FIRST,
            false => MAX_CARRIED,
        };
        let Some(chosen) = self.chosen.get_mut(peer) else {
            return;
        };
        chosen.carried += 1;
        let is_due = self.relieves_at.is_none_or(|at| at <= now);
        if chosen.carried >= at_most && chosen.stay == Stay::Lasting && is_due {
            let at_a_time = u32::try_from(self.wanted.max_incoming.max(1)).unwrap_or(u32::MAX);
            self.relieves_at = Some(now + RELIEF_INTERVAL / at_a_time);
            chosen.stay = Stay::Spent;
            self.is_due = true;
        }
    }
}

impl Exchange {
    /// Up to `limit` peers to be named to `asker`, those first that accept introductions.
    pub(in super::super) fn named(
        &mut self,
        now: Instant,
        network: &NetworkId,
        asker: &PeerId,
        limit: usize,
    ) -> Vec<Member> {
        let Some(view) = &self.view else {
            let sample = self.roster.sample(network, limit, asker, &mut self.rng);
            return sample.into_iter().cloned().collect();
        };
        let chosen = self.roster.among(network, view.chosen.keys(), asker);
        let mut named = self.roster.sample(network, SAMPLE, asker, &mut self.rng);
        named.sort_by_key(|member| !member.accepting);
        if view.grows(now) || chosen.len() < view.few() {
            named.sort_by_key(|member| view.dialed.contains(&member.peer)); // as a last resort
        } else {
            // A young one is better than none.
            let age = match chosen.iter().any(|member| member.accepting) {
                true => GROWTH,
                false => GROWTH / 2,
            };
            named.retain(|member| view.came_before(now, &member.peer, age));
            named.truncate(MAX_NAMED_INCOMING);
            named.extend(chosen);
            named.shuffle(&mut self.rng);
            named.sort_by_key(|member| !member.accepting);
        }
        named.into_iter().take(limit).cloned().collect()
    }

    /// A random peer, to be asked in the name of `asker`. Not one that has dialed us directly, if there are
    /// others: it may well be about to begin, and know those only who begin with it.
    pub(in super::super) fn next_hop(
        &mut self,
        now: Instant,
        network: &NetworkId,
        asker: &PeerId,
    ) -> Option<Member> {
        let networks = std::slice::from_ref(network);
        let Some(view) = &self.view else {
            let others = HashSet::from([*asker]);
            let (_, member) = self.roster.pick(networks, &others, &mut self.rng)?;
            return Some(member);
        };
        let introduced = view.introduced.iter().filter(|_| view.grows(now));
        let listed = view.chosen.keys().chain(introduced);
        let members = self.roster.among(network, listed, asker);
        let member = if members.len() < view.few() {
            let others = view.dialed.iter().chain([asker]).copied().collect();
            let (_, member) = self.roster.pick(networks, &others, &mut self.rng)?;
            member
        } else {
            members.into_iter().choose(&mut self.rng)?.clone()
        };
        if let Some(view) = &mut self.view {
            view.on_carried(now, &member.peer);
        }
        Some(member)
    }
}
