//! What peers say to each other, as types that cannot be wrong. This module knows neither how a
//! message travels (that is `wire`) nor what it makes anybody do (that is `exchange`).

use std::num::NonZeroU16;

use libp2p::{Multiaddr, PeerId};

use crate::{
    error::{Refusal, SignalError},
    id::{ExchangeId, NetworkTag, RequestId, Salt, SessionId, Token},
};

/// One frame on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Hello(Hello),
    GetPeers(GetPeers),
    Peers(Peers),
    Signal(Signal),
    Refuse(Refuse),
    Update(Update),
    Ping(u64),
    Pong(u64),
    /// A body that this version does not know. It counts as a sign of life and means nothing.
    Unknown,
}

/// As how many frames or signals so many bytes count: as many times 2 KiB as they have begun, for a usual description
/// is between one and two.
pub(crate) fn weight(len: usize) -> u32 {
    u32::try_from(len.div_ceil(2048)).unwrap_or(u32::MAX).max(1)
}

impl Frame {
    /// As how many frames it counts while it waits to be sent.
    pub(crate) fn weight(&self) -> u32 {
        match self {
            Self::Signal(signal) => signal.weight(),
            Self::Peers(peers) => weight(peers.candidates.iter().map(PeerCandidate::len).sum()),
            _ => 1,
        }
    }
}

/// The first frame, once, from both sides at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) salt: Salt,
    /// At most [`Limits::NETWORKS`].
    pub(crate) networks: Vec<NetworkTag>,
    pub(crate) accepting: bool,
    pub(crate) stun_port: Option<NonZeroU16>,
}

/// "Name some of your peers in this network."
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GetPeers {
    pub(crate) request: RequestId,
    /// Index into the networks of the asker's own hello or latest update.
    pub(crate) network: usize,
    /// At most [`Limits::CANDIDATES`].
    pub(crate) limit: usize,
    /// At most [`Limits::HOPS`].
    pub(crate) hops: u8,
}

/// The answer to [`GetPeers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peers {
    pub(crate) request: RequestId,
    /// At most [`Limits::CANDIDATES`].
    pub(crate) candidates: Vec<PeerCandidate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerCandidate {
    pub(crate) peer: PeerId,
    pub(crate) accepting: bool,
    pub(crate) path: Path,
}

/// How a candidate is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// By signals through the introducer.
    Signals(Token),
    /// At addresses that the introducer's application vouches for, 1 to [`Limits::ADDRESSES`].
    Vouched(Vec<Multiaddr>),
}

impl PeerCandidate {
    /// In bytes, about.
    fn len(&self) -> usize {
        let addresses = match &self.path {
            Path::Signals(_) => 0,
            Path::Vouched(addresses) => addresses.iter().map(Multiaddr::len).sum(),
        };
        64 + addresses
    }
}

/// One message of the two ends' negotiation, passed on unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) session: SessionId,
    pub(crate) envelope: Envelope,
}

impl Signal {
    /// What its frame holds beside the envelope, in bytes, at most: the tag and the length of the signal and of the
    /// envelope, of 2 bytes each since both are below 16 KiB, and the session with its tag and length.
    pub(crate) const OVERHEAD: usize = 2 * (1 + 2) + (1 + 1 + 16);

    /// As how many signals it counts: as many as its frame does, so that who passes it on counts no less than who
    /// gets it.
    pub(crate) fn weight(&self) -> u32 {
        weight(self.envelope.0.len() + Self::OVERHEAD)
    }
}

/// A signed and encoded [`SignalBody`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope(pub(crate) Vec<u8>);

/// A "no", and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refuse {
    pub(crate) subject: Subject,
    pub(crate) reason: Refusal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Link,
    Request(RequestId),
    Session(SessionId),
}

/// Replaces what the hello said; the salt stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    /// At most [`Limits::NETWORKS`].
    pub(crate) networks: Vec<NetworkTag>,
    pub(crate) accepting: bool,
}

/// The signed content of a [`Signal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignalBody {
    pub(crate) to: PeerId,
    pub(crate) exchange: ExchangeId,
    /// The network's tag with the signer as sender and the exchange as salt.
    pub(crate) network: NetworkTag,
    pub(crate) content: SignalContent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SignalContent {
    Offer(Description),
    Answer(Description),
    IceCandidate(String),
    Reject(Refusal),
}

/// How the signer is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Description {
    /// Empty where the signer does no signaled WebRTC.
    pub(crate) sdp: String,
    /// The signer's own dialable addresses, best first, at most [`Limits::ADDRESSES`].
    pub(crate) addresses: Vec<Multiaddr>,
}

/// Signs signals and checks signatures. The core is handed one, so that it needs no key, no encoding
/// and, in its tests, no cryptography.
pub(crate) trait Seal: Send {
    /// Signs `body` as the local peer. `None` where the result would not fit into a frame, or the
    /// key cannot sign: such a signal is refused as if the remote had sent it.
    fn seal(&self, body: &SignalBody) -> Option<Envelope>;

    /// The signer of `envelope`, and what it signed.
    ///
    /// # Errors
    ///
    /// [`SignalError::Malformed`] or [`SignalError::Signature`]. Whether it is the right signer, and
    /// the signal one that was due, is for the caller to judge.
    fn open(&self, envelope: &Envelope) -> Result<(PeerId, SignalBody), SignalError>;
}
