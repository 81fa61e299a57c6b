//! Which addresses may be given away, and which may be dialed. Pure functions on multiaddrs: what
//! is reachable is not known here, only what an address says of itself.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::{config::Reach, message::MAX_ADDRESSES};

/// How far an address reaches. Through an introducer that is reached at one scope, addresses of
/// that scope and of every wider one are used, so that nobody far away can aim us at our own
/// machine or site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// This machine: loopback, memory.
    Machine,
    /// This site: private and link-local addresses, and names, which may resolve to any.
    Site,
    /// Anywhere.
    Global,
    /// Nowhere: unspecified, multicast, broadcast, documentation.
    Never,
}

impl From<Reach> for Scope {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Machine => Self::Machine,
            Reach::Site => Self::Site,
            Reach::Global => Self::Global,
        }
    }
}

impl Scope {
    /// The scope of an address that somebody gave us, or that we could give away.
    pub(super) fn of(address: &Multiaddr) -> Self {
        match address.iter().next() {
            Some(Protocol::Ip4(ip)) => Self::of_ip(ip.into()),
            Some(Protocol::Ip6(ip)) => Self::of_ip(ip.into()),
            Some(Protocol::Memory(_) | Protocol::Unix(_)) => Self::Machine,
            Some(
                Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_),
            ) => Self::Site,
            _ => Self::Never,
        }
    }

    /// The scope of an address at which an introducer is reached. A name proves nothing, a circuit
    /// tells where its relay is, and a stream of the caller may lead anywhere.
    pub(super) fn of_introducer(address: &Multiaddr) -> Self {
        match address.iter().next() {
            _ if is_circuit(address) => Self::Global,
            Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Memory(_)) => Self::of(address),
            _ => Self::Global,
        }
    }

    fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_ip4(ip),
            IpAddr::V6(ip) => Self::of_ip6(ip),
        }
    }

    fn of_ip4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        let is_shared = a == 100 && (64..128).contains(&b); // RFC 6598
        if ip.is_loopback() {
            Self::Machine
        } else if ip.is_private() || ip.is_link_local() || is_shared {
            Self::Site
        } else if a == 0 || a >= 224 || ip.is_documentation() {
            Self::Never
        } else {
            Self::Global
        }
    }

    fn of_ip6(ip: Ipv6Addr) -> Self {
        let is_documentation = matches!(ip.segments(), [0x2001, 0xdb8, ..] | [0x3fff, ..]);
        if ip.is_loopback() {
            Self::Machine
        } else if ip.is_unique_local() || ip.is_unicast_link_local() {
            Self::Site
        } else if ip.is_unspecified() || ip.is_multicast() || is_documentation {
            Self::Never
        } else {
            Self::Global
        }
    }

    /// Whether `address` may be used through an introducer of this scope.
    fn permits(self, address: &Multiaddr) -> bool {
        let scope = Self::of(address);
        scope != Self::Never && scope >= self.min(Self::Global)
    }
}

/// The addresses at which this node can be dialed.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses(Vec<Multiaddr>);

impl OwnAddresses {
    /// Takes the swarm's listen and confirmed external addresses.
    pub(super) fn set(&mut self, addresses: Vec<Multiaddr>) {
        self.0 = addresses;
    }

    /// Those that may be given away through an introducer, the best first: WebRTC, which everybody
    /// can dial, before the others; circuits, which need a third party, last; and the narrowest
    /// scope first, which is the shortest way.
    pub(super) fn to_give(&self, introducer: Scope) -> Vec<Multiaddr> {
        let certhash = self.0.iter().find_map(certhash);
        let mut addresses: Vec<_> = self
            .0
            .iter()
            .filter(|address| introducer.permits(address))
            .filter_map(|address| complete(address, certhash.as_ref()))
            .collect();
        addresses.sort_by_key(|address| (rank(address), Scope::of(address)));
        let mut given = HashSet::new();
        addresses.retain(|address| given.insert(address.clone()));
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }

    /// Whether this is an address of ours, whatever peer it is said to be of.
    fn contains(&self, address: &Multiaddr) -> bool {
        let address = without_peer(address);
        self.0.iter().any(|own| without_peer(own) == address)
    }

    /// Those of `addresses` at which `peer` may be dialed when an introducer of this scope passed
    /// them on.
    pub(super) fn to_dial(
        &self,
        addresses: Vec<Multiaddr>,
        peer: &PeerId,
        introducer: Scope,
    ) -> Vec<Multiaddr> {
        let is_peers = |address: &Multiaddr| match address.iter().last() {
            Some(Protocol::P2p(id)) => id == *peer,
            _ => true,
        };
        addresses
            .into_iter()
            .filter(|address| introducer.permits(address) && is_peers(address))
            .filter(|address| !self.contains(address))
            .take(MAX_ADDRESSES)
            .collect()
    }
}

/// Whether a connection over `address` is a WebRTC one.
pub(super) fn is_webrtc(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::WebRTCDirect | Protocol::WebRTC))
}

fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

fn rank(address: &Multiaddr) -> u8 {
    match address {
        _ if is_circuit(address) => 2,
        _ if is_webrtc(address) => 0,
        _ => 1,
    }
}

fn certhash(address: &Multiaddr) -> Option<Protocol<'static>> {
    address
        .iter()
        .find(|part| matches!(part, Protocol::Certhash(_)))
        .map(Protocol::acquire)
}

fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

/// An observed webrtc-direct address comes without our certificate's hash, and cannot be dialed
/// before it has one.
fn complete(address: &Multiaddr, ours: Option<&Protocol<'static>>) -> Option<Multiaddr> {
    let address = without_peer(address);
    let is_complete = address.iter().last() != Some(Protocol::WebRTCDirect);
    if is_complete {
        return Some(address);
    }
    Some(address.with(ours?.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTHASH: &str = "/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";

    fn addr(s: &str) -> Multiaddr {
        s.parse().unwrap()
    }

    #[test]
    fn scopes_follow_the_special_purpose_registries() {
        for (address, scope) in [
            ("/ip4/127.0.0.1/tcp/1", Scope::Machine),
            ("/ip6/::1/tcp/1", Scope::Machine),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Scope::Machine),
            ("/memory/1", Scope::Machine),
            ("/ip4/10.0.0.1/tcp/1", Scope::Site),
            ("/ip4/172.16.0.1/tcp/1", Scope::Site),
            ("/ip4/192.168.1.1/tcp/1", Scope::Site),
            ("/ip4/169.254.1.1/tcp/1", Scope::Site),
            ("/ip4/100.64.0.1/tcp/1", Scope::Site),
            ("/ip6/fe80::1/tcp/1", Scope::Site),
            ("/ip6/fd00::1/tcp/1", Scope::Site),
            ("/dns/localhost/tcp/1", Scope::Site),
            ("/ip4/9.9.9.9/tcp/1", Scope::Global),
            ("/ip6/2620:fe::fe/tcp/1", Scope::Global),
            ("/ip4/0.0.0.0/tcp/1", Scope::Never),
            ("/ip4/224.0.0.1/tcp/1", Scope::Never),
            ("/ip4/255.255.255.255/tcp/1", Scope::Never),
            ("/ip4/192.0.2.1/tcp/1", Scope::Never),
            ("/ip6/::/tcp/1", Scope::Never),
            ("/ip6/ff02::1/tcp/1", Scope::Never),
            ("/ip6/2001:db8::1/tcp/1", Scope::Never),
        ] {
            assert_eq!(Scope::of(&addr(address)), scope, "{address}");
        }
    }

    #[test]
    fn through_a_far_introducer_no_near_address_is_given_or_dialed() {
        let near = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/9.9.9.9/tcp/1",
        ]
        .map(addr);
        let mut own = OwnAddresses::default();
        let peer = PeerId::random();
        for (scope, from) in [(Scope::Machine, 0), (Scope::Site, 1), (Scope::Global, 2)] {
            let dialable = own.to_dial(near.to_vec(), &peer, scope);
            assert_eq!(dialable, near[from..]);
        }
        own.set(near.to_vec());
        for (scope, from) in [(Scope::Machine, 0), (Scope::Site, 1), (Scope::Global, 2)] {
            assert_eq!(own.to_give(scope), near[from..]);
        }
    }

    #[test]
    fn our_own_addresses_and_those_of_others_are_not_dialed() {
        let mut own = OwnAddresses::default();
        own.set(vec![addr("/ip4/9.9.9.9/tcp/1")]);
        let (peer, other) = (PeerId::random(), PeerId::random());
        let good = addr("/ip4/9.9.9.8/tcp/1").with(Protocol::P2p(peer));
        let addresses = vec![
            addr("/ip4/9.9.9.9/tcp/1"),
            addr("/ip4/9.9.9.7/tcp/1").with(Protocol::P2p(other)),
            good.clone(),
        ];
        assert_eq!(own.to_dial(addresses, &peer, Scope::Global), [good]);
    }

    #[test]
    fn webrtc_comes_first_and_an_observed_address_gets_our_certhash() {
        let mut own = OwnAddresses::default();
        own.set(vec![
            addr("/ip4/9.9.9.9/tcp/1"),
            addr(&format!("/ip4/10.0.0.1/udp/1/webrtc-direct{CERTHASH}")),
            addr("/ip4/9.9.9.9/udp/1/webrtc-direct"),
        ]);
        assert_eq!(
            own.to_give(Scope::Global),
            [
                addr(&format!("/ip4/9.9.9.9/udp/1/webrtc-direct{CERTHASH}")),
                addr("/ip4/9.9.9.9/tcp/1"),
            ]
        );
    }

    #[test]
    fn an_address_that_is_known_twice_is_given_once() {
        let [one, other] = ["/ip4/9.9.9.9/tcp/1", "/ip4/9.9.9.9/tcp/2"].map(addr);
        let disguised = one.clone().with(Protocol::P2p(PeerId::random()));
        let mut own = OwnAddresses::default();
        own.set(vec![one.clone(), other.clone(), one.clone(), disguised]);
        assert_eq!(own.to_give(Scope::Global), [one, other]);
    }

    #[test]
    fn an_observed_address_without_a_certificate_is_not_given() {
        let mut own = OwnAddresses::default();
        own.set(vec![addr("/ip4/9.9.9.9/udp/1/webrtc-direct")]);
        assert_eq!(own.to_give(Scope::Global), [] as [Multiaddr; 0]);
    }

    #[test]
    fn at_most_four_addresses_are_given_and_dialed() {
        let many: Vec<_> = (1..=5)
            .map(|n| addr(&format!("/ip4/9.9.9.{n}/tcp/1")))
            .collect();
        let mut own = OwnAddresses::default();
        let dialable = own.to_dial(many.clone(), &PeerId::random(), Scope::Global);
        assert_eq!(dialable, many[..4]);
        own.set(many.clone());
        assert_eq!(own.to_give(Scope::Global), many[..4]);
    }
}
