//! Which addresses may be given away, and which may be dialed. Pure functions on multiaddrs: what
//! is reachable is not known here, only what an address says of itself.

use std::{collections::HashSet, net::IpAddr};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::{config::Limits, reach::Reach};

/// How far an address reaches that somebody gave us, or that we could give away; `None` if nowhere.
/// A name may resolve to any address of a site.
fn reach_of(address: &Multiaddr) -> Option<Reach> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Reach::of_ip(ip.into()),
        Protocol::Ip6(ip) => Reach::of_ip(ip.into()),
        Protocol::Memory(_) | Protocol::Unix(_) => Some(Reach::Machine),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => {
            Some(Reach::Site)
        }
        _ => None,
    }
}

/// How near an introducer is that is reached at this address. A name proves nothing, a circuit
/// tells where its relay is, a signaled connection may not know its way yet, and a stream of the
/// caller may lead anywhere.
pub(super) fn reach_of_introducer(address: &Multiaddr) -> Reach {
    let reach = match address.iter().next() {
        _ if is_circuit(address) => None,
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Memory(_)) => reach_of(address),
        _ => None,
    };
    reach.unwrap_or(Reach::Global)
}

/// Where the machine is that is reached at this address, or the last router before it. A name does
/// not tell, and a circuit tells where its relay is.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    let ip: IpAddr = match address.iter().next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    (!is_circuit(address)).then(|| ip.to_canonical())
}

/// Whether `address` may be used through an introducer that is as near as this, so that nobody far
/// away can aim us at our own machine or site. A signaled address is good for nobody who was not
/// signaled to.
fn permits(introducer: Reach, address: &Multiaddr) -> bool {
    !has_signaling(address) && reach_of(address).is_some_and(|reach| reach >= introducer)
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
    /// can dial, before the others; circuits, which need a third party, last; and the nearest
    /// first, which is the shortest way.
    pub(super) fn to_give(&self, introducer: Reach) -> Vec<Multiaddr> {
        let certhash = self.0.iter().find_map(certhash);
        let mut addresses: Vec<_> = self
            .0
            .iter()
            .filter(|address| permits(introducer, address))
            .filter_map(|address| complete(address, certhash.as_ref()))
            .collect();
        addresses.sort_by_key(|address| (rank(address), reach_of(address)));
        let mut given = HashSet::new();
        addresses.retain(|address| given.insert(address.clone()));
        addresses.truncate(Limits::ADDRESSES);
        addresses
    }

    /// Whether this is an address of ours, whatever peer it is said to be of.
    fn contains(&self, address: &Multiaddr) -> bool {
        let address = without_peer(address);
        self.0.iter().any(|own| without_peer(own) == address)
    }

    /// Those of `addresses` at which `peer` may be dialed when an introducer that is as near as
    /// this passed them on.
    pub(super) fn to_dial(
        &self,
        addresses: Vec<Multiaddr>,
        peer: &PeerId,
        introducer: Reach,
    ) -> Vec<Multiaddr> {
        let is_peers = |address: &Multiaddr| match address.iter().last() {
            Some(Protocol::P2p(id)) => id == *peer,
            _ => true,
        };
        addresses
            .into_iter()
            .filter(|address| permits(introducer, address) && is_peers(address))
            .filter(|address| !self.contains(address))
            .take(Limits::ADDRESSES)
            .collect()
    }
}

/// Whether a connection over `address` is a WebRTC one.
pub(super) fn is_webrtc(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::WebRTCDirect | Protocol::WebRTC))
}

fn has_signaling(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::WebRTC)
}

/// Where `peer` is dialed once both sides' signals have met.
pub(super) fn signaled(peer: PeerId) -> Multiaddr {
    Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(peer))
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
    fn an_address_reaches_as_far_as_its_first_part_says() {
        for (address, reach) in [
            ("/ip4/127.0.0.1/tcp/1", Some(Reach::Machine)),
            ("/ip6/fd00::1/tcp/1", Some(Reach::Site)),
            ("/ip4/9.9.9.9/tcp/1", Some(Reach::Global)),
            ("/ip4/0.0.0.0/tcp/1", None),
            ("/memory/1", Some(Reach::Machine)),
            ("/dns/localhost/tcp/1", Some(Reach::Site)),
            ("/webrtc", None),
        ] {
            assert_eq!(reach_of(&addr(address)), reach, "{address}");
        }
    }

    #[test]
    fn a_webrtc_connection_is_known_as_such_and_as_near_as_its_way_shows() {
        let peer = PeerId::random();
        let circuit = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/p2p-circuit");
        for (address, reach) in [
            ("/webrtc", Reach::Global),
            ("/ip4/127.0.0.1/udp/1/webrtc", Reach::Machine),
            ("/ip6/fd00::1/udp/1/webrtc", Reach::Site),
            ("/ip4/9.9.9.9/udp/1/webrtc", Reach::Global),
            ("/ip4/10.0.0.1/udp/1/webrtc-direct", Reach::Site),
            (&format!("{circuit}/webrtc"), Reach::Global),
        ] {
            let address = addr(address).with(Protocol::P2p(peer));
            assert_eq!(reach_of_introducer(&address), reach, "{address}");
            assert!(is_webrtc(&address), "{address}");
        }
    }

    #[test]
    fn a_signaled_address_is_neither_given_nor_dialed() {
        let peer = PeerId::random();
        let direct = addr("/ip4/9.9.9.9/tcp/1");
        let circuit = format!("/ip4/9.9.9.9/tcp/1/p2p/{peer}/p2p-circuit/webrtc");
        let addresses = vec![
            signaled(peer),
            addr("/ip4/9.9.9.9/udp/1/webrtc").with(Protocol::P2p(peer)),
            addr(&circuit).with(Protocol::P2p(peer)),
            direct.clone(),
        ];
        let mut own = OwnAddresses::default();
        let dialable = own.to_dial(addresses.clone(), &peer, Reach::Machine);
        assert_eq!(dialable, std::slice::from_ref(&direct));
        own.set(addresses);
        assert_eq!(own.to_give(Reach::Machine), [direct]);
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
        for (reach, from) in [(Reach::Machine, 0), (Reach::Site, 1), (Reach::Global, 2)] {
            let dialable = own.to_dial(near.to_vec(), &peer, reach);
            assert_eq!(dialable, near[from..]);
        }
        own.set(near.to_vec());
        for (reach, from) in [(Reach::Machine, 0), (Reach::Site, 1), (Reach::Global, 2)] {
            assert_eq!(own.to_give(reach), near[from..]);
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
        assert_eq!(own.to_dial(addresses, &peer, Reach::Global), [good]);
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
            own.to_give(Reach::Global),
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
        assert_eq!(own.to_give(Reach::Global), [one, other]);
    }

    #[test]
    fn an_observed_address_without_a_certificate_is_not_given() {
        let mut own = OwnAddresses::default();
        own.set(vec![addr("/ip4/9.9.9.9/udp/1/webrtc-direct")]);
        assert_eq!(own.to_give(Reach::Global), [] as [Multiaddr; 0]);
    }

    #[test]
    fn at_most_four_addresses_are_given_and_dialed() {
        let many: Vec<_> = (1..=5)
            .map(|n| addr(&format!("/ip4/9.9.9.{n}/tcp/1")))
            .collect();
        let mut own = OwnAddresses::default();
        let dialable = own.to_dial(many.clone(), &PeerId::random(), Reach::Global);
        assert_eq!(dialable, many[..4]);
        own.set(many.clone());
        assert_eq!(own.to_give(Reach::Global), many[..4]);
    }
}
