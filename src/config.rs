//! What the caller may choose, with the reasons for what it gets otherwise.

use std::{fmt, time::Duration};

use libp2p::{Multiaddr, PeerId};

#[cfg(feature = "webrtc")]
pub(crate) use self::ice_server::{Credentials, FoundServer};
pub use self::{
    ice_server::{IceServer, IceServerError},
    limits::{Limits, Rate},
    view::View,
};
#[cfg(feature = "webrtc")]
use crate::certificate::Certificate;
use crate::{error::JoinError, id::NetworkId, known::KnownPeer, reach::Reach};

mod ice_server;
mod limits;
mod view;

/// The most ICE servers that are used. One answer says what there is to know, a second one guards
/// against the loss of the first, and each is asked for every connection.
const MAX_ICE_SERVERS: usize = 8;

/// How a [`Behaviour`](crate::Behaviour) behaves.
#[must_use]
pub struct Config {
    pub(crate) networks: Vec<NetworkId>,
    pub(crate) incoming: Incoming,
    pub(crate) candidates: Option<Box<dyn Candidates>>,
    pub(crate) limits: Limits,
    pub(crate) token_ttl: Duration,
    pub(crate) query_timeout: Duration,
    pub(crate) reach: Reach,
    pub(crate) stun: Stun,
    pub(crate) view: Option<View>,
    pub(crate) known_peers: Vec<KnownPeer>,
    #[cfg(feature = "webrtc")]
    pub(crate) certificate: Option<Certificate>,
}

/// Whom this node asks how it looks from outside, and whether it tells others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stun {
    /// At most [`MAX_ICE_SERVERS`].
    pub(crate) servers: Vec<IceServer>,
    /// The port on which others are told, if they are; 0 is any.
    pub(crate) service: Option<u16>,
}

impl Config {
    /// A node of `network` with the defaults.
    pub fn new(network: NetworkId) -> Self {
        Self {
            networks: vec![network],
            incoming: Incoming::default(),
            candidates: None,
            limits: Limits::default(),
            token_ttl: Duration::from_secs(15),
            query_timeout: Duration::from_secs(30),
            reach: Reach::default(),
            stun: Stun::default(),
            view: None,
            known_peers: Vec::new(),
            #[cfg(feature = "webrtc")]
            certificate: None,
        }
    }

    /// Takes part in one more network, up to 16.
    ///
    /// # Errors
    ///
    /// [`JoinError::TooManyNetworks`] at the seventeenth.
    pub fn with_network(mut self, network: NetworkId) -> Result<Self, JoinError> {
        if !self.networks.contains(&network) {
            if self.networks.len() >= Limits::NETWORKS {
                return Err(JoinError::TooManyNetworks);
            }
            self.networks.push(network);
        }
        Ok(self)
    }

    /// Whether other nodes may be introduced to this one. Default: [`Incoming::Accept`].
    pub fn with_incoming(mut self, incoming: Incoming) -> Self {
        self.incoming = incoming;
        self
    }

    /// Offers more than this node's own peers to who asks. Default: nothing more.
    pub fn with_candidates(mut self, candidates: impl Candidates) -> Self {
        self.candidates = Some(Box::new(candidates));
        self
    }

    /// How much others may ask of this node. Default: [`Limits::default`].
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long a candidate that was handed out may be used. Default: 15 s, time to try one or two
    /// others first, and short enough that most candidates are still there.
    pub fn with_token_ttl(mut self, ttl: Duration) -> Self {
        self.token_ttl = ttl;
        self
    }

    /// How near the nodes of the network are. Default: [`Reach::Global`], which is right unless all of
    /// them are on one site or machine and some are reached in a way that does not show it, as by a
    /// stream of the caller. Behind a reverse proxy or a load balancer all that come seem to be near, whatever this says.
    pub fn with_reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// The servers that tell this node how it looks from outside its NAT, of which the first 8 are
    /// used, beside the neighbours that do ([`Self::with_stun_service`]). Default: none. Without anybody who
    /// answers, nodes still connect by the addresses of their own interfaces, so one side needs an address
    /// that the other can reach. Those of them that are TURN servers, at up to four addresses, also carry what
    /// goes between two NATs that let nothing else through. One end that has such a server is enough.
    ///
    /// They are used by the transport that [`pxp::new`](crate::new) makes, with the feature `webrtc`.
    pub fn with_ice_servers(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.stun.servers = servers.into_iter().take(MAX_ICE_SERVERS).collect();
        self
    }

    /// Tells others how they look from outside their NAT, as a STUN server does: the transport's UDP sockets
    /// are bound to `port`, or to any if it is 0 or taken, and answer binding requests there. Default:
    /// no service. It is for nodes that can be reached at this port, and costs them next to nothing:
    /// answers are below 50 bytes, and one address gets at most 10 at once and one a second.
    ///
    /// As [`Self::with_ice_servers`], it takes the transport that [`pxp::new`](crate::new) makes.
    pub fn with_stun_service(mut self, port: u16) -> Self {
        self.stun.service = Some(port);
        self
    }

    /// Has the node find and keep peers by itself, so that the application need only dial one node of the
    /// network. That one is left again when enough others are found. Default: the application asks for each
    /// peer. How far it holds off whoever runs many nodes in order to surround this one is told by the README.
    pub fn with_view(mut self, view: View) -> Self {
        self.view = Some(view);
        self
    }

    /// What the node shows to those who dial it by webrtc-direct, for which it takes the transport of
    /// [`pxp::new`](crate::new). Default: a new one at each start, with which the node has new addresses.
    #[cfg(feature = "webrtc")]
    pub fn with_certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Peers that were worth keeping at the end of an earlier run: [`Behaviour::known_peers`] then. The two of
    /// the longest standing are dialed at the swarm's first poll, as if the application did, and for each that
    /// cannot be reached the next, until there is a peer. Whoever can reach a network in this way depends
    /// on no node that all begin with. Default: none.
    ///
    /// [`Behaviour::known_peers`]: crate::Behaviour::known_peers
    pub fn with_known_peers(mut self, peers: impl IntoIterator<Item = KnownPeer>) -> Self {
        self.known_peers = peers.into_iter().collect();
        self
    }

    /// How long a query may take, all candidates together. Default: 30 s, in which
    /// one candidate may use up the 20 s that a connection may take, and another can still be tried.
    pub fn with_query_timeout(mut self, timeout: Duration) -> Self {
        self.query_timeout = timeout;
        self
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("networks", &self.networks)
            .field("incoming", &self.incoming)
            .field("limits", &self.limits)
            .field("token_ttl", &self.token_ttl)
            .field("query_timeout", &self.query_timeout)
            .field("reach", &self.reach)
            .field("stun", &self.stun)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// Whether other nodes may be introduced to this one. Nodes that dial it on their own are the
/// swarm's business (see `libp2p-connection-limits`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// Introductions are accepted up to [`Limits::with_max_peers`].
    #[default]
    Accept,
    /// Every introduction is refused; the node still introduces others.
    Refuse,
}

/// The application's own source of candidates, asked at each request of a peer for peers.
pub trait Candidates: Send + 'static {
    /// Names at most `limit` candidates of `network` for `asker`. Called while the swarm is polled,
    /// so it must neither block nor panic. What it names comes before the node's own random sample; unknown peers
    /// without addresses, duplicates and the asker itself are left out.
    fn candidates(&mut self, network: &NetworkId, asker: &PeerId, limit: usize) -> Vec<Candidate>;
}

impl<F> Candidates for F
where
    F: FnMut(&NetworkId, &PeerId, usize) -> Vec<Candidate> + Send + 'static,
{
    fn candidates(&mut self, network: &NetworkId, asker: &PeerId, limit: usize) -> Vec<Candidate> {
        self(network, asker, limit)
    }
}

/// A candidate that a [`Candidates`] source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub(crate) peer: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

impl Candidate {
    /// One of this node's own peers: it is introduced like any other.
    pub fn peer(peer: PeerId) -> Self {
        Self {
            peer,
            addresses: Vec::new(),
        }
    }

    /// A node of the network that is no peer of this one and can be dialed at `addresses`, of which the
    /// first four are used. The application vouches that it wants to be dialed there.
    pub fn vouched(peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) -> Self {
        Self {
            peer,
            addresses: addresses.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_8_ice_servers_are_used() {
        for (given, used) in [(0, 0), (7, 7), (8, 8), (9, 8)] {
            let servers = (1..=given).map(|port| format!("stun:[::1]:{port}").parse().unwrap());
            let config = Config::new("network".parse().unwrap()).with_ice_servers(servers);
            assert_eq!(config.stun.servers.len(), used, "{given}");
        }
    }
}
