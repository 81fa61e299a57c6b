//! Which neighbours are asked what our sockets look like from outside. It knows where they answer,
//! and neither how they are asked nor what they say.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
    net::SocketAddr,
};

use libp2p::swarm::ConnectionId;

use crate::reach::{Reach, host_of};

/// How many are asked of each address family: where two agree it is so, and a third may lie or be gone.
const MAX_STUN_NEIGHBORS: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Neighbors {
    /// The live links of those who answer: the farthest first, for they see us through all routers,
    /// then the oldest, so that a new one replaces none.
    links: BTreeSet<(Reverse<Reach>, ConnectionId, SocketAddr)>,
    /// At most [`MAX_STUN_NEIGHBORS`] of each address family.
    asked: Vec<SocketAddr>,
    has_changed: bool,
}

impl Neighbors {
    /// Who is at the other end of a link answers at `to` from now on, no longer at `from`.
    pub(super) fn on_moved(
        &mut self,
        link: ConnectionId,
        from: Option<SocketAddr>,
        to: Option<SocketAddr>,
    ) {
        let place = |at: SocketAddr| Some((Reverse(Reach::of_ip(at.ip())?), link, at));
        if let Some(place) = from.and_then(place) {
            self.has_changed |= self.links.remove(&place);
        }
        if let Some(place) = to.and_then(place) {
            self.has_changed |= self.links.insert(place);
        }
    }

    /// Who is to be asked from now on, if it is not who was before.
    pub(super) fn poll_asked(&mut self) -> Option<Vec<SocketAddr>> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        let asked = self.choose();
        if self.asked == asked {
            return None;
        }
        self.asked.clone_from(&asked);
        Some(asked)
    }

    fn choose(&self) -> Vec<SocketAddr> {
        let families = [SocketAddr::is_ipv4, SocketAddr::is_ipv6];
        let chosen = families.map(|is_of_family| self.choose_of(is_of_family));
        chosen.concat()
    }

    /// Neighbours on different hosts. More than one of the same only where others are missing, for
    /// they cannot tell whether a router has other mappings for other hosts.
    fn choose_of(&self, is_of_family: fn(&SocketAddr) -> bool) -> Vec<SocketAddr> {
        let (mut chosen, mut others) = (Vec::new(), Vec::new());
        let mut hosts = HashSet::new();
        let addresses = self.links.iter().map(|(.., address)| *address);
        for address in addresses.filter(is_of_family) {
            if chosen.len() == MAX_STUN_NEIGHBORS {
                break;
            }
            if hosts.insert(host_of(address.ip())) {
                chosen.push(address);
            } else if others.len() < MAX_STUN_NEIGHBORS
                && !chosen.contains(&address)
                && !others.contains(&address)
            {
                others.push(address);
            }
        }
        chosen.append(&mut others);
        chosen.truncate(MAX_STUN_NEIGHBORS);
        chosen
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && !self.has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:1";
    const PRIVATE: &str = "10.0.0.1:1";

    /// Who is asked when these came, one after the other.
    fn asked(addresses: &[&str]) -> Vec<String> {
        let mut neighbors = Neighbors::default();
        for (n, address) in addresses.iter().enumerate() {
            let link = ConnectionId::new_unchecked(n);
            neighbors.on_moved(link, None, Some(address.parse().unwrap()));
        }
        let asked = neighbors.poll_asked().unwrap_or_default();
        assert_eq!(neighbors.poll_asked(), None, "it has not changed");
        asked.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn three_are_asked_and_the_first_that_came_stay() {
        let four = ["9.9.9.1:1", "9.9.9.2:1", "9.9.9.3:1", "9.9.9.4:1"];
        for (count, asked_count) in [(0, 0), (2, 2), (3, 3), (4, 3)] {
            assert_eq!(asked(&four[..count]), four[..asked_count]);
        }
    }

    #[test]
    fn those_of_one_ip_fill_up_where_others_are_missing() {
        let [a1, a2, a3] = ["9.9.9.1:1", "9.9.9.1:2", "9.9.9.1:3"];
        let [b, c] = ["9.9.9.2:1", "[2620:fe::1]:1"];
        assert_eq!(asked(&[a1, a2, a3]), [a1, a2, a3]);
        assert_eq!(asked(&[a1, a2, a3, b]), [a1, b, a2]);
        assert_eq!(asked(&[a1, a2, a3, b, c]), [a1, b, a2, c]);
        assert_eq!(asked(&[a1, a1, a2, a2]), [a1, a2], "two links of each");
        assert_eq!(asked(&[a1, a2, a1, a2]), [a1, a2]);
        assert_eq!(asked(&[a1, a2, a3, a2]), [a1, a2, a3]);
    }

    #[test]
    fn each_address_family_has_three_and_one_ipv6_network_is_one_host() {
        let [a1, a2, b] = ["[2620:1::1]:1", "[2620:1::2]:1", "[2620:2::1]:1"];
        let (c, d, v4) = ("[2620:3::1]:1", "[2620:4::1]:1", "9.9.9.1:1");
        assert_eq!(asked(&[a1, a2, b, c, d, v4]), [v4, a1, b, c]);
        assert_eq!(asked(&[a1, a2, b]), [a1, b, a2]);
    }

    #[test]
    fn those_who_see_through_more_routers_come_first() {
        let [far, farther] = ["9.9.9.1:1", "9.9.9.2:1"];
        assert_eq!(asked(&[LOOPBACK, PRIVATE, far]), [far, PRIVATE, LOOPBACK]);
        let all = [LOOPBACK, PRIVATE, far, farther];
        assert_eq!(asked(&all), [far, farther, PRIVATE]);
        assert_eq!(asked(&["0.0.0.0:1", "224.0.0.1:1"]), [] as [&str; 0]);
    }

    #[test]
    fn who_goes_is_replaced_and_who_was_not_asked_is_not_missed() {
        let mut neighbors = Neighbors::default();
        let link = ConnectionId::new_unchecked;
        let address = |n: usize| Some(format!("9.9.9.{n}:1").parse().unwrap());
        (0..5).for_each(|n| neighbors.on_moved(link(n), None, address(n)));
        let asked = |neighbors: &mut Neighbors| {
            let asked = neighbors.poll_asked()?;
            Some(asked.into_iter().map(Some).collect::<Vec<_>>())
        };
        assert_eq!(asked(&mut neighbors), Some([0, 1, 2].map(address).into()));
        neighbors.on_moved(link(4), address(4), None);
        assert_eq!(asked(&mut neighbors), None);
        neighbors.on_moved(link(1), address(1), None);
        assert_eq!(asked(&mut neighbors), Some([0, 2, 3].map(address).into()));
        neighbors.on_moved(link(0), address(0), address(9));
        assert_eq!(asked(&mut neighbors), Some([9, 2, 3].map(address).into()));
        for (n, at) in [(0, 9), (2, 2), (3, 3)] {
            neighbors.on_moved(link(n), address(at), None);
        }
        assert_eq!(asked(&mut neighbors), Some(Vec::new()));
        assert!(neighbors.is_empty());
    }
}
