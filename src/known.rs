//! Peers that are worth keeping from one start of a program to the next. What comes from outside the network
//! that a node ends up in is what a crowd of colluding nodes cannot have prepared.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use libp2p::{Multiaddr, PeerId};

use crate::address::is_dialable;

/// How many are kept: several times as many as are tried.
const MAX_KNOWN: usize = 32;

/// How many are dialed at a time.
pub(crate) const MAX_DIALED: usize = 2;

/// A peer that this node has chosen or its application has dialed, and where it is dialed. See
/// [`Behaviour::known_peers`](crate::Behaviour::known_peers).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KnownPeer {
    /// Its id.
    pub peer: PeerId,
    /// Where it is dialed, in its own words. A peer behind a NAT that can be reached by introduction only has
    /// none, and is not kept.
    pub addresses: Vec<Multiaddr>,
    /// When it became a peer for the first time.
    pub first_seen: SystemTime,
    /// When it was a peer for the last time.
    pub last_seen: SystemTime,
}

impl KnownPeer {
    /// How long it is known to have been around.
    fn standing(&self) -> Duration {
        let standing = self.last_seen.duration_since(self.first_seen);
        standing.unwrap_or_default()
    }
}

/// The peers that are kept: at most [`MAX_KNOWN`].
#[derive(Debug, Default)]
pub(crate) struct KnownPeers {
    peers: BTreeMap<PeerId, Entry>,
    /// Those that are worth trying, the best last: who has been around for long is likely to be there still.
    untried: Vec<PeerId>,
}

#[derive(Debug)]
struct Entry {
    known: KnownPeer,
    is_connected: bool,
}

impl KnownPeers {
    pub(crate) fn new(known: Vec<KnownPeer>) -> Self {
        let mut peers = Self::default();
        for mut known in known {
            let is_connected = false;
            known.addresses.retain(is_dialable);
            if !known.addresses.is_empty() {
                let entry = Entry {
                    known,
                    is_connected,
                };
                peers.peers.insert(entry.known.peer, entry);
                peers.forget_one_too_many();
            }
        }
        let mut known: Vec<_> = peers.peers.values().map(|entry| &entry.known).collect();
        known.sort_by_key(|known| known.standing());
        peers.untried = known.into_iter().map(|known| known.peer).collect();
        peers
    }

    /// The next that is to be tried.
    pub(crate) fn next(&mut self) -> Option<&KnownPeer> {
        let tried = std::iter::from_fn(|| self.untried.pop());
        let mut tried = tried.filter_map(|peer| self.peers.get(&peer));
        tried.next().map(|entry| &entry.known)
    }

    /// Somebody cannot be reached: who is to be tried in its place, as long as the node is alone.
    pub(crate) fn on_dial_failed(&mut self, peer: &PeerId, is_alone: bool) -> Option<&KnownPeer> {
        let is_due = is_alone && self.peers.contains_key(peer);
        is_due.then(|| self.next())?
    }

    /// Takes a peer that this node chose, or its application dialed, with where it is dialed. A peer without addresses
    /// has come by itself, which adds nothing to its standing: anybody can come again after a while.
    pub(crate) fn on_connected(
        &mut self,
        now: SystemTime,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) {
        if addresses.is_empty() {
            return;
        }
        let known = KnownPeer {
            peer,
            addresses: Vec::new(),
            first_seen: now,
            last_seen: now,
        };
        let is_connected = true;
        let entry = self.peers.entry(peer);
        let entry = entry.or_insert(Entry {
            known,
            is_connected,
        });
        entry.is_connected = true;
        entry.known.last_seen = now;
        entry.known.addresses = addresses;
        self.forget_one_too_many();
    }

    pub(crate) fn on_disconnected(&mut self, now: SystemTime, peer: &PeerId) {
        let entry = self.peers.get_mut(peer);
        if let Some(entry) = entry.filter(|entry| entry.is_connected) {
            entry.is_connected = false;
            entry.known.last_seen = now;
        }
    }

    /// All of them, those with the longest standing first.
    pub(crate) fn list(&self, now: SystemTime) -> Vec<KnownPeer> {
        let mut list: Vec<_> = self
            .peers
            .values()
            .map(|entry| KnownPeer {
                last_seen: if entry.is_connected {
                    now
                } else {
                    entry.known.last_seen
                },
                ..entry.known.clone()
            })
            .collect();
        list.sort_by_key(KnownPeer::standing);
        list.reverse();
        list
    }

    /// Those go first that have not been seen for longest, and of those that are there the newest.
    fn forget_one_too_many(&mut self) {
        if self.peers.len() > MAX_KNOWN {
            let gone = self.peers.values().filter(|entry| !entry.is_connected);
            let gone = gone.min_by_key(|entry| entry.known.last_seen);
            let newest = || {
                self.peers
                    .values()
                    .max_by_key(|entry| entry.known.first_seen)
            };
            let forgotten = gone.or_else(newest).map(|entry| entry.known.peer);
            forgotten.and_then(|peer| self.peers.remove(&peer));
        }
    }
}

/// What the system's clock says, also where the standard library knows of none.
pub(crate) fn now() -> SystemTime {
    let since = web_time::SystemTime::now().duration_since(web_time::UNIX_EPOCH);
    SystemTime::UNIX_EPOCH + since.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn address(n: u64) -> Multiaddr {
        format!("/ip4/9.0.0.1/tcp/{}", n + 1).parse().unwrap()
    }

    fn known(first: u64, last: u64) -> KnownPeer {
        KnownPeer {
            peer: PeerId::random(),
            addresses: vec![address(first)],
            first_seen: at(first),
            last_seen: at(last),
        }
    }

    #[test]
    fn those_of_the_longest_standing_are_tried_first_and_each_once() {
        let all = [known(0, 10), known(0, 30), known(20, 21), known(0, 20)];
        let mut peers = KnownPeers::new(all.to_vec());
        assert_eq!(tried(&mut peers), [1, 3, 0, 2].map(|n| all[n].clone()));
    }

    #[test]
    fn in_the_place_of_one_that_cannot_be_reached_comes_the_next_that_is_still_known() {
        let all: Vec<_> = (1..=4).map(|n| known(0, n)).collect();
        let mut peers = KnownPeers::new(all.clone());
        let first = peers.next().unwrap().peer;
        assert_eq!(first, all[3].peer);
        assert_eq!(peers.on_dial_failed(&first, false), None);
        assert_eq!(peers.on_dial_failed(&PeerId::random(), true), None);
        peers.peers.remove(&all[2].peer);
        assert_eq!(peers.on_dial_failed(&first, true), Some(&all[1]));
    }

    fn tried(peers: &mut KnownPeers) -> Vec<KnownPeer> {
        std::iter::from_fn(|| peers.next().cloned()).collect()
    }

    #[test]
    fn a_peer_that_comes_back_keeps_its_standing_and_takes_its_new_addresses() {
        let before = known(5, 10);
        let mut peers = KnownPeers::new(vec![before.clone()]);
        peers.on_connected(at(20), before.peer, vec![address(7)]);
        let now = KnownPeer {
            addresses: vec![address(7)],
            last_seen: at(25),
            ..before.clone()
        };
        assert_eq!(peers.list(at(25)), std::slice::from_ref(&now));
        peers.on_disconnected(at(30), &before.peer);
        let last_seen = at(30);
        assert_eq!(peers.list(at(99)), [KnownPeer { last_seen, ..now }]);
    }

    #[test]
    fn a_peer_that_comes_by_itself_gains_no_standing() {
        let before = known(5, 10);
        let mut peers = KnownPeers::new(vec![before.clone()]);
        peers.on_connected(at(40), before.peer, Vec::new());
        assert_eq!(peers.list(at(45)), std::slice::from_ref(&before));
        peers.on_disconnected(at(50), &before.peer);
        assert_eq!(peers.list(at(99)), [before]);
    }

    #[test]
    fn who_cannot_be_dialed_is_not_kept() {
        let nowhere = KnownPeer {
            addresses: Vec::new(),
            ..known(0, 10)
        };
        let mut peers = KnownPeers::new(vec![nowhere]);
        peers.on_connected(at(20), PeerId::random(), Vec::new());
        assert_eq!(peers.list(at(20)), []);
    }

    #[test]
    fn an_address_that_hides_another_one_is_not_tried() {
        let hidden = "/ip4/9.9.9.9/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let mut known = known(0, 10);
        let good = known.addresses.clone();
        known.addresses.push(hidden);
        let mut peers = KnownPeers::new(vec![known]);
        assert_eq!(peers.next().unwrap().addresses, good);
    }

    #[test]
    fn thirty_two_are_kept_and_those_that_are_there_before_others() {
        let mut peers = KnownPeers::new((0..40).map(|n| known(0, n)).collect());
        assert_eq!(peers.list(at(40)).len(), 32);
        assert!(
            peers
                .list(at(40))
                .iter()
                .all(|peer| peer.last_seen >= at(8))
        );
        let there: Vec<_> = (0..20).map(|_| PeerId::random()).collect();
        for peer in &there {
            peers.on_connected(at(5), *peer, vec![address(1)]);
        }
        let list = peers.list(at(50));
        assert_eq!(list.len(), 32);
        let is_kept = |peer: &PeerId| list.iter().any(|known| known.peer == *peer);
        assert!(there.iter().all(is_kept));
    }

    #[test]
    fn of_those_that_are_there_the_newest_is_forgotten() {
        let mut peers = KnownPeers::default();
        for n in 0..33 {
            peers.on_connected(at(n), PeerId::random(), vec![address(n)]);
        }
        let list = peers.list(at(40));
        assert_eq!(list.len(), 32);
        assert!(list.iter().all(|peer| peer.first_seen < at(32)));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn what_is_written_is_read() {
        let known = vec![known(0, 10), known(5, 20)];
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(
            serde_json::from_str::<Vec<KnownPeer>>(&text).unwrap(),
            known
        );
    }

    #[test]
    fn a_clock_that_was_set_back_harms_nobody() {
        let all = [known(100, 50), known(0, 10)];
        let mut peers = KnownPeers::new(all.to_vec());
        assert_eq!(tried(&mut peers), [1, 0].map(|n| all[n].clone()));
        peers.on_connected(at(1), PeerId::random(), vec![address(1)]);
        assert_eq!(peers.list(at(0)).len(), 3);
    }
}
