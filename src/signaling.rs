//! What the core and the signaled transport tell each other of a connection that is set up by
//! signals. It knows neither how a description is made nor how it travels.

use libp2p::PeerId;

use crate::config::Reach;

/// Names one set-up of a connection by signals, at this node only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SetupId {
    pub(crate) peer: PeerId,
    /// Counted by the core.
    pub(crate) number: u64,
}

/// What the core asks of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Describe our end, as the side that offers, and will dial. Answered by
    /// [`Notice::Described`].
    Offer { setup: SetupId, reach: Reach },
    /// Describe our end to the side that offered `sdp`, which will dial. Answered by
    /// [`Notice::Described`].
    Answer {
        setup: SetupId,
        reach: Reach,
        sdp: String,
    },
    /// Our offer was answered: the dial of `/webrtc/p2p/<peer>` follows.
    Accept { setup: SetupId, sdp: String },
    /// The other side found one more address of its own.
    Candidate { setup: SetupId, candidate: String },
    /// Nothing will come of this set-up.
    Abandon { setup: SetupId },
}

/// What the transport tells the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// What our end says of itself, to be signed and sent; `None` if there is no signaled transport,
    /// it has no room, or the offer made no sense: then the other ways are used.
    Described { setup: SetupId, sdp: Option<String> },
    /// Our end found one more address of its own.
    Candidate { setup: SetupId, candidate: String },
}
