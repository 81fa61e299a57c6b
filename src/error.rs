//! What can go wrong, by who is to blame: the caller ([`StartQueryError`], [`StreamError`],
//! [`JoinError`]), the remote ([`ProtocolError`], [`SignalError`], [`Refusal`]) or the network.
//! [`QueryError`] and [`LinkError`] tell how a query and a link ended.

use std::{io, sync::Arc, time::Duration};

use libp2p::{PeerId, swarm::ConnectionId};

use crate::{config::Limits, id::NetworkId};

/// Why no query was started. Nothing was sent, and no event follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartQueryError {
    /// There is no peer that could be asked.
    #[error("there is no peer to ask: connect to one first")]
    NoPeers,
    /// The behaviour has not joined this network.
    #[error("the network {0:?} was not joined")]
    UnknownNetwork(NetworkId),
    /// As many queries as [`Limits`](crate::Limits) allows are running.
    #[error("too many queries are running")]
    TooManyQueries,
    /// The behaviour was closed.
    #[error("the peer exchange is closed")]
    Closed,
}

/// Why a network was not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A node takes part in at most 16 networks.
    #[error("a node takes part in at most {} networks", Limits::NETWORKS)]
    TooManyNetworks,
    /// The behaviour was closed.
    #[error("the peer exchange is closed")]
    Closed,
}

/// Why a stream was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The behaviour was made without a transport, or its transport was dropped: only
    /// [`pxp::new`](crate::new) makes one that carries streams.
    #[error("streams need the transport that `pxp::new` makes")]
    NoTransport,
    /// As many streams wait as may: 64 for each of `connect` and `accept`. They are taken when the
    /// swarm is polled.
    #[error("too many streams wait for the swarm to be polled")]
    Busy,
    /// The behaviour was closed.
    #[error("the peer exchange is closed")]
    Closed,
}

/// Why a query ended without a new peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// All peers were asked and none named a candidate that could be tried.
    #[error(
        "no peer knows a new one: {asked} asked, {full} candidates are full, {known} are peers already"
    )]
    NoCandidates {
        /// How many peers were asked.
        asked: usize,
        /// How many candidates were left alone because they take no more peers.
        full: usize,
        /// How many candidates were already connected, or being connected.
        known: usize,
    },
    /// All candidates were tried and each failed.
    #[error("none of {tried} candidates could be reached, the last was {peer}")]
    Unreachable {
        /// How many were tried.
        tried: usize,
        /// The last of them.
        peer: PeerId,
        /// What happened to it.
        #[source]
        last: AttemptError,
    },
    /// The query took longer than [`Config::with_query_timeout`](crate::Config::with_query_timeout)
    /// allows.
    #[error("no new peer within {0:?}")]
    Timeout(Duration),
    /// The behaviour left the network while the query ran.
    #[error("the network was left")]
    LeftNetwork,
    /// The behaviour was closed while the query ran.
    #[error("the peer exchange was closed")]
    Closed,
}

/// Why one candidate did not become a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The introducer, or somebody on its behalf, refused to carry the signals.
    #[error("the introducer refused")]
    Refused(#[source] Refusal),
    /// The candidate itself refused, by a signed message.
    #[error("the candidate refused")]
    Rejected(#[source] Refusal),
    /// The introducer went away before the candidate had answered.
    #[error("the introducer went away")]
    IntroducerGone,
    /// No answer came in time.
    #[error("the candidate did not answer in time")]
    NoAnswer,
    /// The answer does not hold: the introducer or the candidate is at fault.
    #[error("the answer is not valid")]
    BadAnswer(#[source] SignalError),
    /// Our key could not sign the offer.
    #[error("our key could not sign the offer")]
    NotSigned,
    /// Neither side has an address that the other may dial.
    #[error("there is no address to dial")]
    NoAddress,
    /// The dial failed; the swarm's `OutgoingConnectionError` of this connection has the cause.
    #[error("the dial failed")]
    DialFailed(ConnectionId),
    /// The candidate did not dial, or did not become a peer on the connection, in time.
    #[error("no connection came about in time")]
    NoConnection,
    /// The connection came about, but the link on it failed; a `LinkFailed` event says why.
    #[error("the link to the candidate failed")]
    LinkFailed(ConnectionId),
    /// It is a peer now, but has left the network that the query is for.
    #[error("the candidate has left the network")]
    LeftNetwork,
}

/// What is wrong with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// It is no envelope of RFC 0002 with a signal in it.
    #[error("it cannot be decoded")]
    Malformed,
    /// The signature does not fit.
    #[error("its signature is not valid")]
    Signature,
    /// Somebody else signed it.
    #[error("it was signed by somebody else")]
    Signer,
    /// It is meant for somebody else.
    #[error("it is meant for somebody else")]
    Addressee,
    /// It belongs to another exchange, or its exchange was seen before.
    #[error("it belongs to another exchange")]
    Exchange,
    /// It is of another network.
    #[error("it is of another network")]
    Network,
    /// It is of a kind that has no place here.
    #[error("it is not what was due")]
    Unexpected,
}

/// Why a remote said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No network in common.
    #[error("no network in common")]
    Network,
    /// The token is unknown, used or expired.
    #[error("the token is unknown, used or expired")]
    Expired,
    /// The other end of the session is gone.
    #[error("the other end is gone")]
    Gone,
    /// A limit is reached for now.
    #[error("a limit is reached for now")]
    Busy,
    /// It has as many peers as it wants.
    #[error("it has as many peers as it wants")]
    Full,
    /// It accepts no introductions.
    #[error("it accepts no introductions")]
    NotAccepting,
    /// The signal does not hold.
    #[error("the signal is not valid")]
    BadSignal,
    /// It ends its peer exchange, or has given up the session.
    #[error("it ends its peer exchange")]
    Closing,
    /// It found fault with what we sent.
    #[error("it found fault with what we sent")]
    Protocol,
    /// A reason that this version does not know.
    #[error("for a reason unknown to this version")]
    Other,
}

/// Why a link, or the stream it was to run on, ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The remote does not speak `/pxp/1.0.0`.
    #[error("the remote does not speak the protocol")]
    Unsupported,
    /// The remote said no.
    #[error("the remote refused the link")]
    Refused(#[source] Refusal),
    /// The remote shares no network with us.
    #[error("no network in common")]
    NoSharedNetwork,
    /// We have as many peers as [`Limits`](crate::Limits) allows.
    #[error("we are full")]
    Full,
    /// No hello came within 10 s.
    #[error("no hello came in time")]
    NoHello,
    /// Nothing came for 9 s, not even an answer to a ping.
    #[error("the remote fell silent")]
    Silent,
    /// The remote reads too slowly: more frames wait for it than it may keep waiting.
    #[error("the remote reads too slowly")]
    Stalled,
    /// The remote broke the protocol.
    #[error("the remote broke the protocol")]
    Protocol(#[source] ProtocolError),
    /// The substream failed, or a stream of the caller did.
    #[error("the stream failed")]
    Io(#[source] Arc<io::Error>),
    /// The swarm did not take the stream: another behaviour denied it, or it leads to this very
    /// node. The swarm's own error event of this connection has the cause.
    #[error("the swarm did not take the stream")]
    Aborted,
    /// A stream of the caller could not be secured in time, or at all: the other end is no libp2p
    /// node.
    #[error("the stream could not be secured")]
    Handshake(#[source] Arc<io::Error>),
}

/// How a remote broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame is longer than 16 KiB.
    #[error("a frame of {len} bytes is too long")]
    TooLong {
        /// Its announced length, in bytes.
        len: u64,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Truncated,
    /// A frame's length or content cannot be decoded.
    #[error("a frame cannot be decoded")]
    Malformed,
    /// A field of a frame has a value that it cannot have.
    #[error("the field {0} has a value that it cannot have")]
    Field(&'static str),
    /// Something else came before the hello.
    #[error("something came before the hello")]
    NoHello,
    /// A second hello came.
    #[error("a second hello came")]
    SecondHello,
    /// More frames came than anybody needs to send.
    #[error("frames came too fast")]
    Flood,
}

impl From<ProtocolError> for LinkError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}
