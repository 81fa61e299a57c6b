//! Reads the whole of what an address says. Each of libp2p's transports reads only a part of an address: TCP the last IP
//! and port, DNS a name anywhere, WebSocket the first pair that fits. So `/ip4/9.9.9.9/ip4/127.0.0.1/tcp/1` leads to
//! this machine, and only an address of one known shape tells where it leads. This module knows nothing of what is
//! reachable.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::reach::Reach;

/// Returns true for an address of one known shape that holds all that a dial takes.
pub(crate) fn is_dialable(address: &Multiaddr) -> bool {
    Location::of(address).is_some_and(|location| location.is_dialable())
}

/// Where an address leads: one host, one transport, and a circuit from there if the host is a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    host: Host,
    transport: Transport,
    is_circuit: bool,
    /// The peer that the address is said to be of.
    peer: Option<PeerId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    /// May resolve to any IP address.
    Name,
    /// This process.
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Memory, TCP, WebSocket or QUIC, which need no more than the host and a port.
    Dialed,
    /// webrtc-direct, which takes the hash of the listener's certificate to be dialed.
    WebRtcDirect { has_certhash: bool },
    /// WebRTC that was set up by signals. Its address says where a peer is, and cannot be dialed.
    Signaled,
}

impl Location {
    /// Reads the whole address. Returns `None` unless it has a known shape, names ports other than 0, and means the
    /// same once it was text: the text of a name may hold line breaks and slashes.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        use Protocol::{P2p, P2pCircuit};

        let parts: Vec<_> = address.iter().collect();
        let (stack, is_circuit, peer) = match parts.as_slice() {
            [relay @ .., P2p(_), P2pCircuit] => (relay, true, None),
            [relay @ .., P2p(_), P2pCircuit, P2p(peer)] => (relay, true, Some(*peer)),
            [stack @ .., P2p(peer)] => (stack, false, Some(*peer)),
            stack => (stack, false, None),
        };
        let (host, transport) = match stack {
            [Protocol::Memory(1..)] => (Host::Memory, Transport::Dialed),
            [host, transport @ ..] => (Host::of(host)?, Transport::of(transport)?),
            [] => return None,
        };
        let location = Self {
            host,
            transport,
            is_circuit,
            peer,
        };
        let as_text = address.to_string().parse::<Multiaddr>();
        as_text
            .is_ok_and(|same| same == *address)
            .then_some(location)
    }

    /// Returns how far the host's address reaches; `None` if it leads nowhere. A name may lead to this machine.
    pub(crate) fn reach(&self) -> Option<Reach> {
        match self.host {
            Host::Ip(ip) => Reach::of_ip(ip),
            Host::Name | Host::Memory => Some(Reach::Machine),
        }
    }

    /// Returns how near the machine at the other end of a connection is, as far as its address proves it. A name proves
    /// nothing, and a circuit tells where its relay is.
    pub(crate) fn proven_reach(&self) -> Option<Reach> {
        let is_proven = self.host != Host::Name && !self.is_circuit;
        self.reach().filter(|_| is_proven)
    }

    /// Returns the IP address of the machine, or of the last router before it. A name does not tell, and a circuit
    /// tells where its relay is.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ip(ip) if !self.is_circuit => Some(ip.to_canonical()),
            _ => None,
        }
    }

    /// Returns true if the address holds all that a dial takes.
    pub(crate) fn is_dialable(&self) -> bool {
        match self.transport {
            Transport::Dialed => true,
            Transport::WebRtcDirect { has_certhash } => has_certhash,
            Transport::Signaled => false,
        }
    }

    /// Returns true for a webrtc-direct address without the hash of the listener's certificate.
    pub(crate) fn lacks_certhash(&self) -> bool {
        matches!(
            self.transport,
            Transport::WebRtcDirect {
                has_certhash: false
            }
        )
    }

    pub(crate) fn is_webrtc(&self) -> bool {
        self.transport != Transport::Dialed
    }

    pub(crate) fn is_circuit(&self) -> bool {
        self.is_circuit
    }

    pub(crate) fn peer(&self) -> Option<PeerId> {
        self.peer
    }
}

impl Host {
    fn of(part: &Protocol<'_>) -> Option<Self> {
        match part {
            Protocol::Ip4(ip) => Some(Self::Ip((*ip).into())),
            Protocol::Ip6(ip) => Some(Self::Ip((*ip).into())),
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
                is_host_name(name).then_some(Self::Name)
            }
            _ => None,
        }
    }
}

impl Transport {
    fn of(parts: &[Protocol<'_>]) -> Option<Self> {
        use Protocol::{Certhash, QuicV1, Sni, Tcp, Tls, Udp, WebRTC, WebRTCDirect, Ws, Wss};

        let has_certhash = match parts {
            [Tcp(1..)] | [Udp(1..), QuicV1] => return Some(Self::Dialed),
            [Tcp(1..), Ws(path) | Wss(path)] | [Tcp(1..), Tls, Ws(path)] => {
                return (path == "/").then_some(Self::Dialed);
            }
            [Tcp(1..), Tls, Sni(name), Ws(path)] => {
                return (path == "/" && is_host_name(name)).then_some(Self::Dialed);
            }
            [Udp(1..), WebRTC] => return Some(Self::Signaled),
            [Udp(1..), WebRTCDirect] => false,
            [Udp(1..), WebRTCDirect, Certhash(_)] => true,
            _ => return None,
        };
        Some(Self::WebRtcDirect { has_certhash })
    }
}

/// Returns true for what DNS may resolve (RFC 1123, section 2.1; with `_`, which services use).
fn is_host_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests;
