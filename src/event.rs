//! What the behaviour tells the application.

use libp2p::{PeerId, swarm::ConnectionId};

use crate::{
    error::{LinkError, QueryError},
    id::{NetworkId, QueryId},
};

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum PxpEvent {
    /// A peer is there, once a peer, at its first link. Any protocol of the swarm may use the
    /// connection from now on.
    #[non_exhaustive]
    Connected {
        /// The peer.
        peer: PeerId,
        /// The connection that carries the link.
        connection: ConnectionId,
        /// The networks that both sides are in.
        networks: Vec<NetworkId>,
        /// How it came about.
        origin: Origin,
        /// Which way the connection goes.
        via: Via,
    },
    /// A peer's last link ended.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
    /// A query ended without a new peer.
    QueryFailed {
        /// The query.
        query: QueryId,
        /// Why.
        error: QueryError,
    },
    /// A link failed, or a stream given to the behaviour did before it carried a link. The remote
    /// may still be a peer over another link.
    LinkFailed {
        /// The remote, if it was ever known.
        peer: Option<PeerId>,
        /// The connection.
        connection: ConnectionId,
        /// Why.
        error: LinkError,
    },
    /// It became known what the NAT before this node does, or that has changed. It takes two that tell,
    /// on different hosts: neighbours that serve STUN, or servers of the application.
    NatMapping(NatMapping),
    /// [`Behaviour::close`](crate::Behaviour::close) is done: no link is left and none will come.
    Closed,
}

/// Which way a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Via {
    /// WebRTC that was set up by signals, from one end to the other.
    Signaled,
    /// One of the swarm's transports, webrtc-direct or TCP for instance, from one end to the other.
    Direct,
    /// Through a circuit relay (libp2p's specification "Circuit Relay v2").
    Relayed,
    /// The stream that was given to [`Behaviour::connect`](crate::Behaviour::connect) or
    /// [`Behaviour::accept`](crate::Behaviour::accept).
    Stream,
}

/// What the NAT before this node makes of its UDP sockets (RFC 4787, section 4.1), in either address
/// family, as far as those see it who are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatMapping {
    /// All others see a socket at the same address, so that it can be told to them; or there is no NAT.
    EndpointIndependent,
    /// Each other host, or each of its ports, sees a socket at another port: the NAT is symmetric. Peers
    /// are reached unless theirs is symmetric or port-restricted.
    EndpointDependent,
}

/// How a peer was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The application dialed it, or gave a stream to
    /// [`Behaviour::connect`](crate::Behaviour::connect).
    Dialed,
    /// It dialed us, or came by a stream given to [`Behaviour::accept`](crate::Behaviour::accept).
    Accepted,
    /// A query found it. This event ends the query.
    Found(QueryId),
    /// The node looked for it by itself, and `through` introduced it or knew who did: see
    /// [`Config::with_view`](crate::Config::with_view).
    Chosen {
        /// The peer that was asked.
        through: PeerId,
    },
    /// It found us, and `by` introduced it.
    Introduced {
        /// The peer that both sides share.
        by: PeerId,
    },
}
