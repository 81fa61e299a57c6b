//! What an endpoint and its connections say: datagrams, events, and what became of what was asked.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

use libp2p::PeerId;

#[cfg(doc)]
use super::Endpoint;
use super::{super::framing::StreamError, ChannelId, Key, demux::Pair};
use crate::{config::Limits, signaling::Notice};

/// How many addresses on TURN servers are remembered. A connection may still send from one for a moment when
/// it is lost, which is not to leave from elsewhere.
const MAX_RELAYED: usize = 64;

/// A datagram to be sent.
#[derive(Debug)]
pub(in super::super) struct Transmit {
    /// Our end: one of the addresses that were added, or unspecified if the system may choose.
    pub(in super::super) source: SocketAddr,
    pub(in super::super) destination: SocketAddr,
    pub(in super::super) contents: Vec<u8>,
}

/// What has happened; the state to go with it is asked for by the methods of [`Endpoint`].
#[derive(Debug)]
pub(in super::super) enum Event {
    /// To be passed to the core.
    Notice(Notice),
    /// A connection that the other side dials is up: to be reported to the swarm, then owned by the
    /// muxer that is made for it, which ends it by [`Endpoint::release`].
    Incoming { key: Key, peer: PeerId },
    /// The same, if it dialed an address of ours, and is to prove yet who it is.
    Stranger { key: Key },
    /// Where we can be dialed.
    Address(AddressChange),
    /// What [`Endpoint::status`], [`Endpoint::accept`] or [`Endpoint::remote`] says has changed.
    Changed { key: Key },
    /// A read may give more now: bytes or the end.
    Readable { key: Key, channel: ChannelId },
    /// A write may be taken now, or will never be.
    Writable { key: Key, channel: ChannelId },
}

/// What has become of an address at which we can be dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum AddressChange {
    Gained(SocketAddr),
    Lost(SocketAddr),
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Status {
    Connecting,
    Connected,
    Closed(Closed),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Closed {
    #[error("closed by this side")]
    Local,
    #[error("closed by the other side")]
    Remote,
    #[error("not set up in time")]
    SetupTimeout,
    #[error("nothing was received for too long")]
    Silent,
    #[error("another connection to the same peer took its place")]
    Replaced,
    #[error("the other side broke the protocol")]
    Protocol,
}

/// What a write does.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Write {
    /// So many bytes were taken, as one message.
    Taken(usize),
    /// None yet: [`Event::Writable`] follows.
    Blocked,
    /// None will ever be taken.
    Failed(StreamError),
}

/// The state of a stream that is to be closed.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Close {
    /// The other side has received everything, or has had the time to.
    Closed,
    /// It has not said so yet: [`Event::Writable`] follows.
    Blocked,
    /// It never will.
    Failed(StreamError),
}

/// What an endpoint and its connections have to say.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub(super) transmits: VecDeque<Transmit>,
    /// The latest addresses that we had on TURN servers, also those lost, at most [`MAX_RELAYED`].
    relayed: VecDeque<SocketAddr>,
    /// What is to be sent from there.
    pub(super) to_relay: Vec<Transmit>,
    pub(super) events: VecDeque<Event>,
    /// Connections whose addresses another has taken.
    pub(super) replaced: Vec<Key>,
    /// Where others have seen us, as they answer checks, and at which IP they are.
    pub(super) seen_at: Vec<(SocketAddr, IpAddr)>,
}

impl Outputs {
    /// We have got an address on a TURN server.
    pub(super) fn note_relayed(&mut self, address: SocketAddr) {
        self.relayed.push_back(address);
        if self.relayed.len() > MAX_RELAYED {
            self.relayed.pop_front();
        }
    }

    /// Sends what there is from our end of `pair` to theirs.
    pub(super) fn send_from(&mut self, pair: Pair, contents: Option<Vec<u8>>) {
        let (source, destination) = pair;
        let transmit = contents.map(|contents| Transmit {
            source,
            destination,
            contents,
        });
        transmit.into_iter().for_each(|it| self.send(it));
    }

    pub(super) fn send(&mut self, transmit: Transmit) {
        if self.relayed.contains(&transmit.source) {
            self.to_relay.push(transmit);
        } else if self.transmits.len() < Limits::WAITING_DATAGRAMS {
            self.transmits.push_back(transmit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_datagrams_wait_for_a_socket() {
        let most = Limits::WAITING_DATAGRAMS;
        let address = "9.9.9.9:9".parse().unwrap();
        for count in [most - 1, most, most + 1] {
            let mut outputs = Outputs::default();
            for _ in 0..count {
                outputs.send(Transmit {
                    source: address,
                    destination: address,
                    contents: Vec::new(),
                });
            }
            assert_eq!(outputs.transmits.len(), count.min(most));
        }
    }
}
