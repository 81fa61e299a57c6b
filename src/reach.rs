//! How far addresses reach, and so which of them may be used between whom. It knows IP addresses
//! and nothing of what is written around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How near to each other the nodes of a network are, and so which addresses they give away and dial.
/// The nearer is the smaller.
///
/// An introducer could otherwise aim a node at its own machine or site, and would be told what is
/// there. Addresses as near as the introducer itself are used in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reach {
    /// All on one machine: loopback addresses are used too.
    Machine,
    /// All on one site, or in one private network: private and link-local addresses are used too, and
    /// names.
    Site,
    /// Anywhere: only public addresses are used.
    #[default]
    Global,
}

/// What counts as one host: whoever has an IPv6 address has the 2^64 of its network.
pub(crate) fn host_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// The network of a public address that one operator is likely to have to itself: the first 16 bits of an
/// IPv4 address, 32 of an IPv6 address. Addresses that many hosts share the world over tell nothing.
pub(crate) fn subnet_of(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    let is_public = Reach::of_ip(ip) == Some(Reach::Global);
    is_public.then(|| match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 16 << 16).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 96 << 96).into(),
    })
}

impl Reach {
    /// How far an address reaches. `None` if nowhere: unspecified, multicast, broadcast,
    /// documentation.
    pub(crate) fn of_ip(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_ip4(ip),
            IpAddr::V6(ip) => Self::of_ip6(ip),
        }
    }

    fn of_ip4(ip: Ipv4Addr) -> Option<Self> {
        let [a, b, ..] = ip.octets();
        let is_shared = a == 100 && (64..128).contains(&b); // RFC 6598
        if ip.is_loopback() {
            Some(Self::Machine)
        } else if ip.is_private() || ip.is_link_local() || is_shared {
            Some(Self::Site)
        } else if a == 0 || a >= 224 || ip.is_documentation() {
            None
        } else {
            Some(Self::Global)
        }
    }

    fn of_ip6(ip: Ipv6Addr) -> Option<Self> {
        let is_documentation = matches!(ip.segments(), [0x2001, 0xdb8, ..] | [0x3fff, ..]);
        if ip.is_loopback() {
            Some(Self::Machine)
        } else if ip.is_unique_local() || ip.is_unicast_link_local() {
            Some(Self::Site)
        } else if ip.is_unspecified() || ip.is_multicast() || is_documentation {
            None
        } else {
            Some(Self::Global)
        }
    }

    /// Whether `ip` may be used between nodes that are as near as this: it reaches as far, or
    /// farther.
    #[cfg(any(feature = "webrtc", test))]
    pub(crate) fn permits(self, ip: IpAddr) -> bool {
        Self::of_ip(ip).is_some_and(|reach| reach >= self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_reach_as_far_as_the_special_purpose_registries_say() {
        for (ip, reach) in [
            ("127.0.0.1", Some(Reach::Machine)),
            ("::1", Some(Reach::Machine)),
            ("::ffff:127.0.0.1", Some(Reach::Machine)),
            ("10.0.0.1", Some(Reach::Site)),
            ("172.16.0.1", Some(Reach::Site)),
            ("192.168.1.1", Some(Reach::Site)),
            ("169.254.1.1", Some(Reach::Site)),
            ("100.64.0.1", Some(Reach::Site)),
            ("fe80::1", Some(Reach::Site)),
            ("fd00::1", Some(Reach::Site)),
            ("9.9.9.9", Some(Reach::Global)),
            ("2620:fe::fe", Some(Reach::Global)),
            ("0.0.0.0", None),
            ("224.0.0.1", None),
            ("255.255.255.255", None),
            ("192.0.2.1", None),
            ("::", None),
            ("ff02::1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(Reach::of_ip(ip.parse().unwrap()), reach, "{ip}");
        }
    }

    #[test]
    fn nearer_nodes_may_use_farther_addresses_and_none_that_lead_nowhere() {
        let ips = ["127.0.0.1", "10.0.0.1", "9.9.9.9"].map(|ip| ip.parse().unwrap());
        for (reach, permitted) in [
            (Reach::Machine, [true, true, true]),
            (Reach::Site, [false, true, true]),
            (Reach::Global, [false, false, true]),
        ] {
            assert_eq!(ips.map(|ip| reach.permits(ip)), permitted, "{reach:?}");
            assert!(!reach.permits("0.0.0.0".parse().unwrap()), "{reach:?}");
        }
    }
}
