//! What nodes and connections of a simulation are called: numbers, and what stands for them in the
//! core. Each way leads back to the number without a search.

use std::{
    hash::{Hash, Hasher},
    net::Ipv4Addr,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, multihash::Multihash, swarm::ConnectionId};

/// A node, counted from the first that joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) usize);

/// A connection, counted from the first that was dialed. None is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WireId(pub(super) usize);

/// The port of every node's direct address.
const PORT: u16 = 1;

/// How many bytes of an id say where it stands among others, before those of the number.
const RANK_LEN: usize = 8;

impl NodeId {
    /// The peer id. Those of nodes that join one after the other are in no order, for the core
    /// settles some things by which is the smaller.
    pub(super) fn peer(self) -> Option<PeerId> {
        let number = u64::try_from(self.0).ok()?;
        let rank = scatter(number).to_be_bytes();
        let digest: Vec<_> = rank.into_iter().chain(number.to_be_bytes()).collect();
        // the code of a digest that is what it stands for
        let identity = Multihash::wrap(0, &digest).ok()?;
        PeerId::from_multihash(identity).ok()
    }

    pub(super) fn of_peer(peer: &PeerId) -> Option<Self> {
        let number = peer.as_ref().digest().get(RANK_LEN..)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        usize::try_from(number).ok().map(Self)
    }

    /// The IP address, of which there are 2^24. Nodes that join one after the other are in different
    /// networks.
    fn ip(self) -> Option<Ipv4Addr> {
        let number = u32::try_from(self.0).ok().filter(|n| *n < 1 << 24)?;
        let [x, y, z, _] = number.reverse_bits().to_be_bytes();
        Some(Ipv4Addr::new(9, x, y, z))
    }

    /// Where the node is dialed directly.
    pub(super) fn address(self) -> Option<Multiaddr> {
        let address = Multiaddr::from(Protocol::Ip4(self.ip()?));
        Some(address.with(Protocol::Tcp(PORT)))
    }

    /// Where a signaled connection with the node turns out to go.
    pub(super) fn path(self) -> Option<Multiaddr> {
        let address = Multiaddr::from(Protocol::Ip4(self.ip()?));
        let address = address.with(Protocol::Udp(PORT)).with(Protocol::WebRTC);
        Some(address.with(Protocol::P2p(self.peer()?)))
    }

    /// Whose direct address this is.
    pub(super) fn of_address(address: &Multiaddr) -> Option<Self> {
        match address.iter().next()? {
            Protocol::Ip4(ip) => {
                let [_, x, y, z] = ip.octets();
                let number = u32::from_be_bytes([x, y, z, 0]).reverse_bits();
                usize::try_from(number).ok().map(Self)
            }
            _ => None,
        }
    }
}

impl WireId {
    pub(super) fn connection(self) -> ConnectionId {
        ConnectionId::new_unchecked(self.0)
    }

    /// A connection's id shows its number to who hashes it only.
    pub(super) fn of_connection(connection: ConnectionId) -> Self {
        let mut number = Number(0);
        connection.hash(&mut number);
        Self(number.0)
    }
}

/// Where the peer is dialed to which signals were sent.
pub(super) fn signaled(peer: PeerId) -> Multiaddr {
    Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(peer))
}

/// Spreads numbers over all others, each to one: the finaliser of SplitMix64.
pub(super) fn scatter(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Keeps the number that it is fed.
struct Number(usize);

impl Hasher for Number {
    fn write(&mut self, _: &[u8]) {}

    fn write_usize(&mut self, number: usize) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_leads_back_to_its_number() {
        for number in [0, 1, 2, 255, 256, 65_537, (1 << 24) - 1] {
            let node = NodeId(number);
            assert_eq!(NodeId::of_peer(&node.peer().unwrap()), Some(node));
            assert_eq!(NodeId::of_address(&node.address().unwrap()), Some(node));
            let wire = WireId(number);
            assert_eq!(WireId::of_connection(wire.connection()), wire);
        }
        assert_eq!(NodeId(1 << 24).address(), None);
    }
}
