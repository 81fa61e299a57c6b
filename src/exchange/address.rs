//! Which addresses may be given away, and which may be dialed. Pure functions on multiaddrs: what
//! is reachable is not known here, only what an address says of itself.

use std::{collections::HashSet, net::IpAddr};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::{address::Location, config::Limits, reach::Reach};

/// Returns how near an introducer is that is reached at this address. A signaled connection may not know its way yet,
/// and a stream of the caller may lead anywhere.
pub(super) fn reach_of_introducer(address: &Multiaddr) -> Reach {
    let location = Location::of(address);
    let reach = location.and_then(|location| location.proven_reach());
    reach.unwrap_or(Reach::Global)
}

/// Returns the IP address of the machine that is reached at this address, or of the last router before it.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    Location::of(address)?.ip()
}

/// Returns true if an address there may be used through an introducer that is as near as this, so that nobody far
/// away can aim us at our own machine or site.
fn permits(introducer: Reach, location: &Location) -> bool {
    location.reach().is_some_and(|reach| reach >= introducer)
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
        let addresses = self.0.iter();
        let complete = addresses.filter_map(|address| complete(address, certhash.as_ref()));
        let located = complete.filter_map(|address| Some((Location::of(&address)?, address)));
        let mut located: Vec<_> = located
            .filter(|(location, _)| location.is_dialable() && permits(introducer, location))
            .collect();
        located.sort_by_key(|(location, _)| (rank(location), location.reach()));
        let mut addresses: Vec<_> = located.into_iter().map(|(_, address)| address).collect();
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
        let is_usable = |location: Location| {
            let is_peers = location.peer().is_none_or(|named| named == *peer);
            is_peers && location.is_dialable() && permits(introducer, &location)
        };
        addresses
            .into_iter()
            .filter(|address| Location::of(address).is_some_and(is_usable))
            .filter(|address| !self.contains(address))
            .take(Limits::ADDRESSES)
            .collect()
    }
}

/// Returns true if a connection over `address` is a WebRTC one, whatever there is up to a relay. A signaled one may not
/// know its way yet, so the address need not be whole.
pub(super) fn is_webrtc(address: &Multiaddr) -> bool {
    let mut from_relay: Vec<_> = address.iter().collect();
    let relay = |part: &Protocol<'_>| *part == Protocol::P2pCircuit;
    if let Some(at) = from_relay.iter().rposition(relay) {
        from_relay.drain(..=at);
    }
    from_relay
        .iter()
        .any(|part| matches!(part, Protocol::WebRTCDirect | Protocol::WebRTC))
}

/// Where `peer` is dialed once both sides' signals have met.
pub(super) fn signaled(peer: PeerId) -> Multiaddr {
    Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(peer))
}

fn rank(location: &Location) -> u8 {
    match location {
        _ if location.is_circuit() => 2,
        _ if location.is_webrtc() => 0,
        _ => 1,
    }
}

/// Returns the hash of our own certificate. That of a relay is none.
fn certhash(address: &Multiaddr) -> Option<Protocol<'static>> {
    let is_ours = |it: &Location| it.is_webrtc() && it.is_dialable() && !it.is_circuit();
    Location::of(address).filter(is_ours)?;
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
    match Location::of(&address)?.lacks_certhash() {
        true => Some(address.with(ours?.clone())),
        false => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use libp2p::multihash::Multihash;

    use super::*;

    const CERTHASH: &str = "/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";

    fn addr(s: &str) -> Multiaddr {
        s.parse().unwrap()
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
        let relay = addr("/ip4/9.9.9.9/udp/1/webrtc-direct").with(Protocol::P2p(peer));
        assert!(!is_webrtc(&relay.with(Protocol::P2pCircuit)));
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
        const SHA2_256: u64 = 0x12;
        let of_relay = Multihash::wrap(SHA2_256, &[7; 32]).unwrap();
        let mut own = OwnAddresses::default();
        own.set(vec![
            addr("/ip4/8.8.8.8/udp/1/webrtc-direct")
                .with(Protocol::Certhash(of_relay))
                .with(Protocol::P2p(PeerId::random()))
                .with(Protocol::P2pCircuit),
            addr("/ip4/9.9.9.9/tcp/1"),
            addr(&format!("/ip4/10.0.0.1/udp/1/webrtc-direct{CERTHASH}")),
            addr("/ip4/9.9.9.9/udp/1/webrtc-direct"),
        ]);
        assert_eq!(
            own.to_give(Reach::Global)[..2],
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
