//! What the core and a transport that is set up by signals say to each other: one describes its end
//! of a connection, the other carries the description to the peer. It knows neither how a
//! description is made (that is `transport`) nor how it travels (that is `exchange`).
//!
//! A set-up begins with [`Command::Offer`] or [`Command::Answer`] and ends in one of three ways: the
//! transport describes nothing, its connection is established, or the core abandons it. The core takes
//! a connection that comes in for that of the peer's newest set-up, and so may miss the end of one
//! where two of them race: the transport is to give up by itself what lasts too long.

use std::{net::SocketAddr, num::NonZeroU16};

use libp2p::PeerId;

use crate::{event::NatMapping, reach::Reach};

/// Names one set-up of a connection, at this node only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SetupId {
    pub(crate) peer: PeerId,
    /// Counts the set-ups of this node.
    pub(crate) number: u64,
}

/// What the core asks of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Describe our end, as the side that offers, and will dial. Answered by
    /// [`Notice::Described`].
    Offer {
        setup: SetupId,
        /// How near the addresses may be that are given and used.
        reach: Reach,
    },
    /// Describe our end to the side that offered `sdp`, which will dial. Answered by
    /// [`Notice::Described`].
    Answer {
        setup: SetupId,
        /// How near the addresses may be that are given and used.
        reach: Reach,
        sdp: String,
    },
    /// The answer to our offer is here, signed by the peer. The dial of `/webrtc/p2p/<peer>` comes
    /// right behind this command.
    Accept { setup: SetupId, sdp: String },
    /// The other side found one more address of its own: a `candidate:` line of its SDP.
    Candidate { setup: SetupId, candidate: String },
    /// Nothing will come of this set-up. It may be over already, or never have begun.
    Abandon { setup: SetupId },
    /// These peers tell from now on by STUN how our end looks from outside, beside the servers that the
    /// application chose, and no others. They are three of each address family at most.
    StunNeighbors(Vec<SocketAddr>),
}

impl Command {
    /// The answer of who can set up nothing.
    pub(crate) fn declined(self) -> Option<Notice> {
        match self {
            Self::Offer { setup, .. } | Self::Answer { setup, .. } => {
                Some(Notice::Described { setup, sdp: None })
            }
            Self::Accept { .. }
            | Self::Candidate { .. }
            | Self::Abandon { .. }
            | Self::StunNeighbors(_) => None,
        }
    }
}

/// What the transport tells the core.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "webrtc", test)),
    expect(dead_code, reason = "there is no transport that would tell it")
)]
pub(crate) enum Notice {
    /// What our end says of itself, to be signed and sent, and never empty. `None` if there is no
    /// signaled transport any more, it has no room, or the offer's SDP is bad: the set-up is over,
    /// and the other ways are used.
    Described { setup: SetupId, sdp: Option<String> },
    /// A set-up that was described has found a path to the other side, and has yet to secure it.
    PathFound(SetupId),
    /// Nothing has come of a set-up that was described.
    Failed(SetupId),
    /// One more address of our end, which it has found since it was described, or which the other side may
    /// know of only now.
    Candidate { setup: SetupId, candidate: String },
    /// The transport tells on this UDP port who asks by STUN how it looks from outside. Said once, at
    /// the start.
    Serving { port: NonZeroU16 },
    /// It is known now what the NAT before this node does, or that has changed.
    NatMapping(NatMapping),
}
