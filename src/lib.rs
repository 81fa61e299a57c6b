#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]

use libp2p::identity::Keypair;

mod address;
mod behaviour;
#[cfg(feature = "webrtc")]
mod certificate;
mod config;
mod error;
mod event;
mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod handler;
mod id;
mod known;
mod message;
mod rate;
mod reach;
mod route;
#[cfg(any(test, fuzzing))]
mod script;
mod signaling;
#[cfg(feature = "simulator")]
pub mod simulator;
mod transport;
mod wire;

pub use behaviour::Behaviour;
#[cfg(feature = "webrtc")]
pub use certificate::{Certificate, CertificateError};
pub use config::{
    Candidate, Candidates, Config, IceServer, IceServerError, Incoming, Limits, Rate, View,
};
pub use error::{
    AttemptError, JoinError, LinkError, ProtocolError, QueryError, Refusal, SignalError,
    StartQueryError, StreamError,
};
pub use event::{NatMapping, Origin, PxpEvent, Via};
pub use handler::PROTOCOL_NAME;
pub use id::{NetworkId, NetworkIdError, QueryId};
pub use known::KnownPeer;
pub use reach::Reach;
pub use route::Duplex;
pub use transport::Transport;

/// Makes a behaviour and the transport that goes with it, both for the swarm whose key this is.
///
/// The transport is given to [`with_other_transport`](libp2p::SwarmBuilder), the behaviour to
/// `with_behaviour`. Unless the application listens for webrtc-direct by the swarm's first poll, the
/// behaviour has the swarm listen at free ports of all interfaces.
pub fn new(key: &Keypair, config: Config) -> (Transport, Behaviour) {
    let (behaviour_port, transport_port) = route::ports();
    let transport = Transport::new(key, transport_port, &config);
    let behaviour = Behaviour::new(key, config).with_port(behaviour_port);
    (transport, behaviour)
}
