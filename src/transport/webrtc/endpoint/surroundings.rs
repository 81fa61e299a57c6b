//! Which addresses two ends may use of each other, as far as this machine's own tell: what may be named
//! to the other end, and where datagrams may go that it named.

use std::net::{IpAddr, SocketAddr};

use if_watch::IpNet;
use str0m::{Candidate, CandidateKind};

use crate::reach::Reach;

/// How near the other end of a set-up is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nearness {
    /// As near as its introducer, or as the application says that all are.
    reach: Reach,
    /// Whether both ends look from outside as if they were at one address: they sit behind one router,
    /// which may not lead them from its outside back in. The other end says so itself, and may lie: it learns
    /// our private addresses then, and can aim us at a few in our own networks.
    shares_router: bool,
}

impl Nearness {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            shares_router: false,
        }
    }

    /// Whether the other end may know of this address of ours.
    pub(super) fn may_name(self, ours: IpAddr) -> bool {
        let is_near = self.shares_router && Reach::Site.permits(ours);
        is_near || self.reach.permits(ours)
    }

    /// Whether datagrams between the two may go within this machine.
    pub(super) fn is_machine(self) -> bool {
        self.reach == Reach::Machine
    }

    /// The other end says that it is seen at these addresses.
    pub(super) fn compare(&mut self, theirs: &[IpAddr], around: &Surroundings) {
        self.shares_router |= theirs.iter().any(|ip| around.are_seen_at(*ip));
    }
}

/// What there is of our own at some moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    pub(super) candidates: Vec<Candidate>,
    /// Those that this machine's addresses are in.
    pub(super) networks: Vec<IpNet>,
}

impl Surroundings {
    /// Whether datagrams may go to an address that the other end named, or showed itself at: as far as it
    /// is away, and no nearer, except to what is in one of our own networks if it is behind our router.
    /// Never to many, nor to ourselves.
    pub(super) fn may_send_to(&self, theirs: SocketAddr, nearness: Nearness) -> bool {
        let ip = theirs.ip().to_canonical();
        let mut networks = self.networks.iter();
        let is_beside_us = networks.clone().any(|network| network.contains(&ip));
        let is_near_enough = match is_beside_us {
            true => nearness.may_name(ip),
            false => nearness.reach.permits(ip),
        };
        let is_ours = |ours: &Candidate| ours.addr() == theirs;
        is_near_enough
            && theirs.port() != 0
            && !networks.any(|network| is_of_many(network, ip))
            && !self.candidates.iter().any(is_ours)
    }

    fn are_seen_at(&self, ip: IpAddr) -> bool {
        let is_reflexive = |ours: &&Candidate| ours.kind() == CandidateKind::ServerReflexive;
        let mut seen = self.candidates.iter().filter(is_reflexive);
        Reach::of_ip(ip) == Some(Reach::Global) && seen.any(|ours| ours.addr().ip() == ip)
    }
}

/// Whether it is all hosts of a network that are meant (RFC 919), or its routers (RFC 4291, section 2.6.1).
fn is_of_many(network: &IpNet, ip: IpAddr) -> bool {
    let is_end = ip == network.network() || network.addr().is_ipv4() && ip == network.broadcast();
    is_end && network.prefix_len() + 1 < network.max_prefix_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A machine in a private network, seen from outside at 9.9.9.9.
    fn surroundings() -> Surroundings {
        let base = address("192.168.1.2:4000");
        let mapped = Candidate::server_reflexive(address("9.9.9.9:7000"), base, "udp");
        Surroundings {
            candidates: vec![Candidate::host(base, "udp").unwrap(), mapped.unwrap()],
            networks: [
                "127.0.0.1/8",
                "192.168.1.2/24",
                "fd00:1::2/64",
                "2620:fe::2/64",
            ]
            .map(|network| network.parse().unwrap())
            .into(),
        }
    }

    fn nearness(reach: Reach, seen_at: &[&str]) -> Nearness {
        let seen_at: Vec<_> = seen_at.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut nearness = Nearness::new(reach);
        nearness.compare(&seen_at, &surroundings());
        nearness
    }

    #[test]
    fn private_addresses_are_used_behind_our_own_router_and_in_our_own_networks_only() {
        for (theirs, far, beside, near) in [
            ("9.9.9.8:1", true, true, true),
            ("[2620:fe::9]:1", true, true, true),
            ("192.168.1.3:1", false, true, true),
            ("[::ffff:192.168.1.3]:1", false, true, true),
            ("[fd00:1::3]:1", false, true, true),
            ("192.168.2.3:1", false, false, true),
            ("10.0.0.1:1", false, false, true),
            ("169.254.1.1:1", false, false, true),
            ("[fd00:2::3]:1", false, false, true),
            ("127.0.0.1:1", false, false, false),
            ("127.0.0.9:1", false, false, false),
        ] {
            let may_send = |nearness| surroundings().may_send_to(address(theirs), nearness);
            let far_away = [
                nearness(Reach::Global, &[]),
                nearness(Reach::Global, &["9.9.9.8", "192.168.1.2", "2620:fe::2"]),
            ];
            assert_eq!(far_away.map(may_send), [far; 2], "{theirs}");
            let behind_our_router = nearness(Reach::Global, &["9.9.9.8", "9.9.9.9"]);
            assert_eq!(may_send(behind_our_router), beside, "{theirs}");
            assert_eq!(may_send(nearness(Reach::Site, &[])), near, "{theirs}");
        }
    }

    #[test]
    fn nothing_goes_to_many_to_nobody_or_to_ourselves_however_near_the_other_end_is() {
        for theirs in [
            "192.168.1.255:1",
            "192.168.1.0:1",
            "[2620:fe::]:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "0.0.0.0:1",
            "192.0.2.1:1",
            "[ff02::1]:1",
            "[2001:db8::1]:1",
            "192.168.1.2:4000",
            "9.9.9.9:7000",
            "9.9.9.8:0",
        ] {
            let nearness = nearness(Reach::Machine, &["9.9.9.9"]);
            assert!(
                !surroundings().may_send_to(address(theirs), nearness),
                "{theirs}"
            );
        }
        for theirs in ["192.168.1.2:4001", "9.9.9.9:7001", "127.0.0.1:4000"] {
            let nearness = nearness(Reach::Machine, &[]);
            assert!(
                surroundings().may_send_to(address(theirs), nearness),
                "{theirs}"
            );
        }
    }

    #[test]
    fn networks_of_one_or_two_hosts_have_no_address_for_all() {
        for network in [
            "9.1.1.1/32",
            "9.1.1.1/31",
            "2620:fe::1/128",
            "2620:fe::1/127",
        ] {
            let network: IpNet = network.parse().unwrap();
            assert!(!is_of_many(&network, network.addr()), "{network}");
        }
        assert!(is_of_many(
            &"9.1.1.1/30".parse().unwrap(),
            "9.1.1.3".parse().unwrap()
        ));
    }

    #[test]
    fn our_private_addresses_are_named_behind_our_own_router_only() {
        let [private, public, loopback] = ["192.168.1.2", "9.9.9.9", "127.0.0.1"];
        let may_name = |nearness: Nearness, ip: &str| nearness.may_name(ip.parse().unwrap());
        for (nearness, named) in [
            (nearness(Reach::Global, &["9.9.9.8"]), [false, true, false]),
            (nearness(Reach::Global, &["9.9.9.9"]), [true, true, false]),
            (nearness(Reach::Site, &[]), [true, true, false]),
            (nearness(Reach::Machine, &[]), [true, true, true]),
        ] {
            let may = [private, public, loopback].map(|ip| may_name(nearness, ip));
            assert_eq!(may, named, "{nearness:?}");
        }
    }
}
