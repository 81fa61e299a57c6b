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
    /// All on one machine: loopback addresses are used too, and names, which may lead anywhere.
    Machine,
    /// All on one site, or in one private network: private and link-local addresses are used too.
    Site,
    /// Anywhere: only public addresses are used.
    #[default]
    Global,
}

/// Addresses that do not reach as the rest of their family does: the network, the length of its prefix, and how far it
/// reaches. They are those of IANA's special-purpose address registries (RFC 6890) that are not globally reachable, and
/// multicast. So is one kind that the registries call reachable: anycast addresses lead to a server of the own site.
const SPECIAL_IP4: [(Ipv4Addr, u32, Option<Reach>); 17] = {
    use Reach::{Machine, Site};
    const fn ip(a: u8, b: u8, c: u8) -> Ipv4Addr {
        Ipv4Addr::new(a, b, c, 0)
    }
    [
        (ip(0, 0, 0), 8, None),            // this network
        (ip(10, 0, 0), 8, Some(Site)),     // private
        (ip(100, 64, 0), 10, Some(Site)),  // shared (RFC 6598)
        (ip(127, 0, 0), 8, Some(Machine)), // loopback
        (ip(169, 254, 0), 16, Some(Site)), // link-local
        (ip(172, 16, 0), 12, Some(Site)),  // private
        (ip(192, 0, 0), 29, Some(Site)),   // between a host and its translator (RFC 7335)
        (ip(192, 0, 0), 24, None),         // protocol assignments
        (ip(192, 0, 2), 24, None),         // documentation
        (ip(192, 88, 99), 24, None),       // 6to4 relays (RFC 7526)
        (ip(192, 168, 0), 16, Some(Site)), // private
        (ip(198, 18, 0), 15, Some(Site)),  // benchmarks (RFC 2544)
        (ip(198, 51, 100), 24, None),      // documentation
        (ip(203, 0, 113), 24, None),       // documentation
        (ip(224, 0, 0), 4, None),          // multicast
        (ip(240, 0, 0), 4, None),          // reserved, and broadcast
        (ip(0, 0, 0), 0, Some(Reach::Global)),
    ]
};

/// The same for IPv6, of which only 2000::/3 is globally reachable (RFC 4291). Addresses that hold an IPv4
/// address are judged by that.
const SPECIAL_IP6: [(Ipv6Addr, u32, Option<Reach>); 14] = {
    use Reach::{Machine, Site};
    const fn ip(a: u16, b: u16, c: u16) -> Ipv6Addr {
        Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
    }
    [
        (Ipv6Addr::LOCALHOST, 128, Some(Machine)),
        (ip(0x64, 0xff9b, 1), 48, Some(Site)), // translation to IPv4 of the site (RFC 8215)
        (ip(0x2001, 2, 0), 48, Some(Site)),    // benchmarks (RFC 5180)
        (ip(0x2001, 3, 0), 32, Some(Reach::Global)), // tunnels by multicast (RFC 7450)
        (ip(0x2001, 4, 0x112), 48, Some(Reach::Global)), // AS112 (RFC 7535)
        (ip(0x2001, 0x20, 0), 27, Some(Reach::Global)), // ORCHIDv2 (RFC 7343), drones (RFC 9374)
        (ip(0x2001, 0, 0), 23, None),          // protocol assignments, among them anycast
        (ip(0x2001, 0xdb8, 0), 32, None),      // documentation
        (ip(0x3fff, 0, 0), 20, None),          // documentation (RFC 9637)
        (ip(0x2000, 0, 0), 3, Some(Reach::Global)),
        (ip(0xfc00, 0, 0), 7, Some(Site)),  // unique local
        (ip(0xfe80, 0, 0), 10, Some(Site)), // link-local
        (ip(0xfec0, 0, 0), 10, Some(Site)), // site-local (RFC 3879)
        (Ipv6Addr::UNSPECIFIED, 0, None),
    ]
};

/// Returns an IPv4 address for an IPv6 address that leads there: one that is mapped or compatible (RFC 4291),
/// translated (RFC 6052, RFC 6145), or of a 6to4 or Teredo host (RFC 3056, RFC 4380). Others stay as they are.
fn innermost(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => ip,
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0, 0, 0, 0, 0xffff, 0, a, b] => pair(a, b).into(),
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => pair(a, b).into(),
        [0x2001, 0, _, _, _, _, a, b] => pair(!a, !b).into(),
        _ => ip,
    }
}

/// Returns the server of a Teredo address (RFC 4380, section 4), which packets to it may pass.
fn teredo_server(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let is_teredo = ip.to_bits() >> 96 == 0x2001_0000;
    is_teredo.then(|| Ipv4Addr::from_bits((ip.to_bits() >> 64) as u32))
}

/// What counts as one host: whoever has an IPv6 address has the 2^64 of its network.
pub(crate) fn host_of(ip: IpAddr) -> IpAddr {
    match innermost(ip) {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// The network of a public address that one operator is likely to have to itself: the first 16 bits of an
/// IPv4 address, 32 of an IPv6 address. Addresses that many hosts share the world over tell nothing.
pub(crate) fn subnet_of(ip: IpAddr) -> Option<IpAddr> {
    let is_public = Reach::of_ip(ip) == Some(Reach::Global);
    is_public.then(|| match innermost(ip) {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 16 << 16).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 96 << 96).into(),
    })
}

/// Returns the reach of the first row whose network holds the address.
fn in_table<A: Copy>(
    table: &[(A, u32, Option<Reach>)],
    shared_bits: impl Fn(A) -> u32,
) -> Option<Reach> {
    let is_in = |(network, len, _): &&(A, u32, _)| shared_bits(*network) >= *len;
    table.iter().find(is_in)?.2
}

impl Reach {
    /// Returns how far an address reaches; `None` if nowhere: unspecified, multicast, broadcast,
    /// documentation.
    pub(crate) fn of_ip(ip: IpAddr) -> Option<Self> {
        let reach = match innermost(ip) {
            IpAddr::V4(ip) => Self::of_ip4(ip),
            IpAddr::V6(ip) => in_table(&SPECIAL_IP6, |network| {
                (ip.to_bits() ^ network.to_bits()).leading_zeros()
            }),
        };
        // `None` is the smallest.
        teredo_server(ip).map_or(reach, |server| reach.min(Self::of_ip4(server)))
    }

    fn of_ip4(ip: Ipv4Addr) -> Option<Self> {
        in_table(&SPECIAL_IP4, |network| {
            (ip.to_bits() ^ network.to_bits()).leading_zeros()
        })
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

    fn assert_reach(reach: Option<Reach>, ips: &[&str]) {
        for ip in ips {
            assert_eq!(Reach::of_ip(ip.parse().unwrap()), reach, "{ip}");
        }
    }

    /// The first and the last address of each network of the registries, and their neighbours.
    #[test]
    fn addresses_reach_as_far_as_the_special_purpose_registries_say() {
        assert_reach(
            Some(Reach::Machine),
            &["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"],
        );
        assert_reach(
            Some(Reach::Site),
            &[
                "10.0.0.0",
                "10.255.255.255",
                "100.64.0.0",
                "100.127.255.255",
                "169.254.0.0",
                "169.254.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.0.0.0",
                "192.0.0.7",
                "192.168.0.0",
                "192.168.255.255",
                "198.18.0.0",
                "198.19.255.255",
            ],
        );
        assert_reach(
            Some(Reach::Site),
            &[
                "64:ff9b:1::",
                "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
                "2001:2::",
                "2001:2:0:ffff::",
                "fc00::",
                "fdff::1",
                "fe80::1",
                "febf::1",
                "fec0::1",
                "feff::1",
            ],
        );
        assert_reach(
            None,
            &[
                "0.0.0.0",
                "0.255.255.255",
                "192.0.0.8",
                "192.0.0.9",
                "192.0.0.170",
                "192.0.0.255",
                "192.0.2.0",
                "192.0.2.255",
                "192.88.99.0",
                "192.88.99.255",
                "198.51.100.0",
                "198.51.100.255",
                "203.0.113.0",
                "203.0.113.255",
                "224.0.0.0",
                "239.255.255.255",
                "240.0.0.0",
                "255.255.255.255",
            ],
        );
        assert_reach(
            None,
            &[
                "::",
                "100::1",
                "100:0:0:1::1",
                "2001:1::1",
                "2001:1::3",
                "2001:2:1::1",
                "2001:4::1",
                "2001:4:111:ffff::1",
                "2001:4:113::1",
                "2001:5::1",
                "2001:10::1",
                "2001:1f::1",
                "2001:40::1",
                "2001:1ff:ffff::1",
                "2001:db8::1",
                "2001:db8:ffff::1",
                "3fff::1",
                "3fff:fff::1",
                "5f00::1",
                "4000::1",
                "1fff::1",
                "ff02::1",
            ],
        );
        assert_reach(
            Some(Reach::Global),
            &[
                "1.0.0.0",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "191.255.255.255",
                "192.0.1.0",
                "192.0.3.0",
                "192.31.196.1",
                "192.52.193.1",
                "192.88.98.255",
                "192.88.100.0",
                "192.167.255.255",
                "192.169.0.0",
                "192.175.48.1",
                "198.17.255.255",
                "198.20.0.0",
                "198.51.99.255",
                "203.0.112.255",
                "203.0.114.0",
                "223.255.255.255",
            ],
        );
        assert_reach(
            Some(Reach::Global),
            &[
                "2000::1",
                "2001:3::1",
                "2001:3:ffff::1",
                "2001:4:112::1",
                "2001:20::1",
                "2001:3f:ffff::1",
                "2001:200::1",
                "2001:db7::1",
                "2001:db9::1",
                "2620:4f:8000::1",
                "2620:fe::fe",
                "3ffe::1",
                "3fff:1000::1",
            ],
        );
    }

    #[test]
    fn an_embedded_ip4_address_is_judged_by_itself() {
        for (ip4, reach) in [
            ("127.0.0.1", Some(Reach::Machine)),
            ("10.0.0.1", Some(Reach::Site)),
            ("192.0.2.1", None),
            ("9.9.9.9", Some(Reach::Global)),
        ] {
            let [a, b, c, d] = ip4.parse::<Ipv4Addr>().unwrap().octets();
            let hex = format!("{a:02x}{b:02x}:{c:02x}{d:02x}");
            let teredo = format!("{:02x}{:02x}:{:02x}{:02x}", !a, !b, !c, !d);
            assert_reach(
                reach,
                &[
                    &format!("::ffff:{ip4}"),
                    &format!("::{ip4}"),
                    &format!("::ffff:0:{ip4}"),
                    &format!("64:ff9b::{ip4}"),
                    &format!("2002:{hex}::1"),
                    &format!("2001:0:909:909:8000:63bf:{teredo}"),
                    &format!("2001:0:{hex}:8000:63bf:f6f6:f6f6"), // its server
                ],
            );
        }
    }

    #[test]
    fn an_embedded_ip4_address_decides_on_host_and_subnet() {
        for ip in [
            "9.8.7.6",
            "64:ff9b::908:706",
            "2002:908:706:5::1",
            "2001::8000:0:f6f7:f8f9",
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!(host_of(ip), IpAddr::from([9, 8, 7, 6]), "{ip}");
        }
        let subnet = |ip: &str| subnet_of(ip.parse().unwrap());
        assert_eq!(subnet("64:ff9b::908:706"), subnet("9.8.1.1"));
        assert_eq!(subnet("64:ff9b::a00:1"), None);
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
