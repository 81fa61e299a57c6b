//! All signaled connections of a node, without sockets, tasks or a clock: datagrams, commands and
//! the time go in; datagrams, events and the next deadline come out. It knows WebRTC (`str0m`), and
//! neither libp2p's traits nor the exchange's protocol.
//!
//! A connection begins as a set-up: its description goes out to be signed, the other side's comes in.
//! ICE then finds a path, DTLS proves that the other end has the certificate which the signed
//! description named, and SCTP carries the streams. All share one socket of each address family.

use std::{net::SocketAddr, time::Instant};

use libp2p::PeerId;
pub(super) use str0m::channel::ChannelId;

use crate::signaling::{Command, Notice};

/// Names a connection, also while it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// A datagram to be sent.
#[derive(Debug)]
pub(super) struct Transmit {
    /// Our end: one of the addresses that were added, or unspecified if the system may choose.
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) contents: Vec<u8>,
}

/// What has happened; the state to go with it is asked for by the methods of [`Endpoint`].
#[derive(Debug)]
pub(super) enum Event {
    /// To be passed to the core.
    Notice(Notice),
    /// A connection that the other side dials is up: to be reported to the swarm, then owned by the
    /// muxer that is made for it, which ends it by [`Endpoint::release`].
    Incoming { key: Key, peer: PeerId },
    /// What [`Endpoint::status`], [`Endpoint::accept`] or [`Endpoint::remote`] says has changed.
    Changed { key: Key },
    /// A read may give more now: bytes or the end.
    Readable { key: Key, channel: ChannelId },
    /// A write may be taken now, or will never be.
    Writable { key: Key, channel: ChannelId },
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Connecting,
    Connected,
    Closed(Closed),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    #[error("closed by this side")]
    Local,
    #[error("closed by the other side")]
    Remote,
    #[error("not set up in time")]
    SetupTimeout,
    #[error("nothing was received for too long")]
    Silent,
    #[error("the other side broke the protocol")]
    Protocol,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes were put into the buffer.
    Bytes(usize),
    /// Nothing yet: [`Event::Readable`] follows.
    Blocked,
    /// Nothing more will come, and it is not known whether something was lost.
    Closed,
}

/// What a write does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// So many bytes were taken, as one message.
    Taken(usize),
    /// None yet: [`Event::Writable`] follows.
    Blocked,
    /// None will ever be taken.
    Closed,
}

pub(super) struct Endpoint {}

#[expect(unused_variables, clippy::todo, clippy::unused_self)]
impl Endpoint {
    pub(super) fn new() -> Self {
        todo!()
    }

    /// This machine has got `address`, with the port of our socket.
    pub(super) fn add_address(&mut self, now: Instant, address: SocketAddr) {
        todo!()
    }

    /// This machine has lost `address`.
    pub(super) fn remove_address(&mut self, now: Instant, address: SocketAddr) {
        todo!()
    }

    /// The STUN servers to be asked what our sockets look like from outside.
    pub(super) fn set_stun_servers(&mut self, now: Instant, servers: Vec<SocketAddr>) {
        todo!()
    }

    pub(super) fn handle_command(&mut self, now: Instant, command: Command) {
        todo!()
    }

    /// `local` is where it arrived: address and port of our end.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
    ) {
        todo!()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }

    /// To be called until there is none, after each other call but the pure readers.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        todo!()
    }

    /// To be called until there is none, after each other call but the pure readers.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// Claims the set-up that `peer` has answered; the claimer ends it by [`Self::release`].
    pub(super) fn dial(&mut self, peer: &PeerId) -> Option<Key> {
        todo!()
    }

    pub(super) fn status(&self, key: Key) -> Status {
        todo!()
    }

    /// Where the other end of a connected one is now.
    pub(super) fn remote(&self, key: Key) -> Option<SocketAddr> {
        todo!()
    }

    /// Opens a channel. Writes to it block until the other side knows of it.
    pub(super) fn open(&mut self, now: Instant, key: Key) -> Option<ChannelId> {
        todo!()
    }

    /// The next channel that the other side opened.
    pub(super) fn accept(&mut self, key: Key) -> Option<ChannelId> {
        todo!()
    }

    pub(super) fn read(
        &mut self,
        now: Instant,
        key: Key,
        channel: ChannelId,
        buffer: &mut [u8],
    ) -> Read {
        todo!()
    }

    pub(super) fn write(
        &mut self,
        now: Instant,
        key: Key,
        channel: ChannelId,
        bytes: &[u8],
    ) -> Write {
        todo!()
    }

    /// Whether all that was written has reached the other side.
    pub(super) fn is_flushed(&mut self, key: Key, channel: ChannelId) -> bool {
        todo!()
    }

    /// Nobody uses this channel any more: it is closed once what was written has arrived.
    pub(super) fn release_channel(&mut self, now: Instant, key: Key, channel: ChannelId) {
        todo!()
    }

    /// Closes a connection once what was written has arrived, or after a while. Its end is seen by
    /// [`Self::status`].
    pub(super) fn close(&mut self, now: Instant, key: Key) {
        todo!()
    }

    /// Nobody asks for this connection any more: it is closed as by [`Self::close`], then forgotten.
    pub(super) fn release(&mut self, now: Instant, key: Key) {
        todo!()
    }
}
