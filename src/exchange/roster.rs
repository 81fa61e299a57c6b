//! Who is a peer, in which network, over which links; and random members of a network at a cost
//! that does not depend on their number. It knows nothing of what links do.

use std::collections::{HashMap, HashSet};

use libp2p::{PeerId, swarm::ConnectionId};
use rand::{Rng, RngExt};

use crate::id::NetworkId;

#[derive(Debug, Default)]
pub(super) struct Roster {
    /// The live links of each, the newest last. None is empty.
    peers: HashMap<PeerId, Vec<ConnectionId>>,
    networks: HashMap<NetworkId, Members>,
}

/// A member of a network, as it is offered to others.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) peer: PeerId,
    pub(super) link: ConnectionId,
    pub(super) accepting: bool,
}

/// A list to draw from, and where each peer stands in it.
#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    places: HashMap<PeerId, usize>,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    pub(super) fn peers(&self) -> impl ExactSizeIterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// The peers in one network.
    pub(super) fn members(&self, network: &NetworkId) -> impl ExactSizeIterator<Item = &PeerId> {
        let list: &[Member] = self
            .networks
            .get(network)
            .map_or(&[], |members| &members.list);
        list.iter().map(|member| &member.peer)
    }

    pub(super) fn member(&self, network: &NetworkId, peer: &PeerId) -> Option<&Member> {
        self.networks.get(network)?.get(peer)
    }

    /// Those of these peers that are in `network`, other than `except`.
    pub(super) fn among<'a>(
        &self,
        network: &NetworkId,
        peers: impl Iterator<Item = &'a PeerId>,
        except: &PeerId,
    ) -> Vec<&Member> {
        let others = peers.filter(|peer| *peer != except);
        others
            .filter_map(|peer| self.member(network, peer))
            .collect()
    }

    /// The live links of `peer`, the newest last.
    pub(super) fn links(&self, peer: &PeerId) -> &[ConnectionId] {
        self.peers.get(peer).map_or(&[], Vec::as_slice)
    }

    /// Adds a live link. Whether it is the peer's first.
    pub(super) fn add(&mut self, peer: PeerId, link: ConnectionId) -> bool {
        let links = self.peers.entry(peer).or_default();
        links.push(link);
        links.len() == 1
    }

    /// Removes a link. Whether it was the peer's last.
    pub(super) fn remove(&mut self, peer: &PeerId, link: ConnectionId) -> bool {
        let Some(links) = self.peers.get_mut(peer) else {
            return false;
        };
        links.retain(|other| *other != link);
        let is_last = links.is_empty();
        if is_last {
            self.peers.remove(peer);
        }
        is_last
    }

    /// Makes `peer` a member of exactly these networks, each over the link given with it.
    pub(super) fn place(&mut self, peer: &PeerId, places: &HashMap<NetworkId, Member>) {
        self.networks.retain(|network, members| {
            if !places.contains_key(network) {
                members.remove(peer);
            }
            !members.list.is_empty()
        });
        for (network, member) in places {
            let members = self.networks.entry(network.clone()).or_default();
            members.insert(member.clone());
        }
    }

    /// Up to `n` distinct members of `network` other than `except`, uniformly at random.
    pub(super) fn sample(
        &self,
        network: &NetworkId,
        n: usize,
        except: &PeerId,
        rng: &mut impl Rng,
    ) -> Vec<&Member> {
        let list: &[Member] = self
            .networks
            .get(network)
            .map_or(&[], |members| &members.list);
        let drawn = rand::seq::index::sample(rng, list.len(), (n + 1).min(list.len()));
        let members = drawn.iter().filter_map(|place| list.get(place));
        members
            .filter(|member| member.peer != *except)
            .take(n)
            .collect()
    }

    /// A random peer of `network`, or of any, that is not in `except`.
    pub(super) fn pick(
        &self,
        networks: &[NetworkId],
        except: &HashSet<PeerId>,
        rng: &mut impl Rng,
    ) -> Option<(NetworkId, Member)> {
        let mut lists: Vec<_> = networks
            .iter()
            .filter_map(|network| Some((network, &self.networks.get(network)?.list)))
            .collect();
        while !lists.is_empty() {
            let (network, list) = lists.swap_remove(rng.random_range(..lists.len()));
            let start = rng.random_range(..list.len().max(1));
            let (before, after) = list.split_at_checked(start).unwrap_or_default();
            let mut members = after.iter().chain(before);
            if let Some(member) = members.find(|member| !except.contains(&member.peer)) {
                return Some((network.clone(), member.clone()));
            }
        }
        None
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.networks.is_empty()
    }
}

impl Members {
    fn get(&self, peer: &PeerId) -> Option<&Member> {
        self.list.get(*self.places.get(peer)?)
    }

    fn insert(&mut self, member: Member) {
        let place = *self.places.entry(member.peer).or_insert(self.list.len());
        match self.list.get_mut(place) {
            Some(known) => *known = member,
            None => self.list.push(member),
        }
    }

    fn remove(&mut self, peer: &PeerId) {
        let Some(place) = self.places.remove(peer) else {
            return;
        };
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(moved.peer, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn network(name: &str) -> NetworkId {
        name.parse().unwrap()
    }

    fn roster(peers: &[PeerId]) -> Roster {
        let mut roster = Roster::default();
        for (n, peer) in peers.iter().enumerate() {
            let link = ConnectionId::new_unchecked(n);
            roster.add(*peer, link);
            let member = Member {
                peer: *peer,
                link,
                accepting: true,
            };
            roster.place(peer, &HashMap::from([(network("a"), member)]));
        }
        roster
    }

    /// By the chi-square test: of 20 or 19 members that are drawn as often as each other, one run in 10^8 is that
    /// far from it. Who is in a sample keeps others out, so that the counts differ the less.
    #[test]
    fn each_member_but_the_asker_is_drawn_equally_often_and_none_twice() {
        const SAMPLES: usize = 10_000;
        const SIZE: usize = 8;
        const FAR: f64 = 75.0;
        let seed = rand::random();
        println!("seed {seed}"); // shown if this fails
        let mut rng = StdRng::seed_from_u64(seed);
        let peers: Vec<_> = (0..20).map(|_| PeerId::random()).collect();
        let roster = roster(&peers);
        for (asker, others) in [(PeerId::random(), &peers[..]), (peers[0], &peers[1..])] {
            let mut drawn: HashMap<PeerId, usize> = HashMap::new();
            for _ in 0..SAMPLES {
                let sample = roster.sample(&network("a"), SIZE, &asker, &mut rng);
                let sample: HashSet<_> = sample.into_iter().map(|member| member.peer).collect();
                assert_eq!(sample.len(), SIZE);
                for peer in sample {
                    *drawn.entry(peer).or_default() += 1;
                }
            }
            let n = others.len() as f64;
            let share = SIZE as f64 / n;
            let expected = SAMPLES as f64 * share;
            let deviations = others
                .iter()
                .map(|peer| (drawn[peer] as f64 - expected).powi(2));
            let chi_square = deviations.sum::<f64>() / (expected * (1.0 - share)) * (n - 1.0) / n;
            println!(
                "chi-square {chi_square:.1} with {} degrees of freedom",
                n - 1.0
            );
            assert!(chi_square < FAR);
            assert_eq!(drawn.len(), others.len());
        }
    }

    #[test]
    fn a_member_that_goes_is_drawn_no_more_and_leaves_nothing() {
        let peers: Vec<_> = (0..5).map(|_| PeerId::random()).collect();
        let mut roster = roster(&peers);
        let mut rng = StdRng::seed_from_u64(1);
        for (gone, peer) in peers.iter().enumerate() {
            roster.place(peer, &HashMap::new());
            assert!(roster.remove(peer, ConnectionId::new_unchecked(gone)));
            let left: HashSet<_> = roster
                .sample(&network("a"), 8, &PeerId::random(), &mut rng)
                .into_iter()
                .map(|m| m.peer)
                .collect();
            let rest: HashSet<_> = peers[gone + 1..].iter().copied().collect();
            assert_eq!(left, rest);
        }
        assert!(roster.is_empty());
    }

    #[test]
    fn a_pick_avoids_whom_it_is_told_to() {
        let peers: Vec<_> = (0..5).map(|_| PeerId::random()).collect();
        let roster = roster(&peers);
        let mut rng = StdRng::seed_from_u64(1);
        let networks = [network("b"), network("a")];
        let mut except = HashSet::new();
        while let Some((from, member)) = roster.pick(&networks, &except, &mut rng) {
            assert_eq!(from, network("a"));
            assert!(except.insert(member.peer));
        }
        assert_eq!(except.len(), 5);
    }
}
