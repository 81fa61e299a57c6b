//! One connection and the link on it: how far it is, what the remote said of itself, and what it
//! may still ask for. It knows only itself; what its changes mean to peers, queries and sessions is
//! decided by who owns it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use web_time::Instant;

use super::introduce::{Leg, Offered};
use crate::{
    config::Limits,
    error::ProtocolError,
    event::Via,
    id::{NetworkId, NetworkTag, Salt, SessionId},
    message::{Hello, Update},
    rate::Bucket,
    reach::Reach,
};

/// A link that brought nothing for so long is asked whether it lives.
pub(super) const PING_AFTER: Duration = Duration::from_secs(4);

/// Changes of our own are told at most this often.
pub(super) const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Which side dialed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialer,
    Listener,
}

/// Who wanted the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Other protocols may be why it is there: it outlives its link.
    Shared,
    /// The peer exchange made it, or was handed its stream: it is closed when no link comes of it.
    Exchange,
}

/// By connection, looked up several times for each frame.
pub(super) type Links = HashMap<ConnectionId, Link, BuildHasherDefault<ConnectionHasher>>;

/// Spreads the ids of connections. They are counted up by the swarm and no remote chooses them, so
/// that they need no hash that resists collisions on purpose.
#[derive(Debug, Default)]
pub(super) struct ConnectionHasher(u64);

#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) side: Side,
    pub(super) purpose: Purpose,
    /// True if we dialed it because the peer had offered to meet, and not by a choice of our own or of the application. It
    /// stays so when the offer is over.
    pub(super) is_brought: bool,
    /// How near the remote is: decides which addresses may be used through it.
    pub(super) reach: Reach,
    /// Where the remote is, if that is known.
    pub(super) ip: Option<IpAddr>,
    pub(super) is_webrtc: bool,
    /// Where we dialed it, until that is noted.
    pub(super) dialed: Option<Multiaddr>,
    pub(super) via: Via,
    pub(super) state: State,
    /// The timer that counts; earlier and later ones that fire are stale.
    pub(super) wake: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum State {
    /// No substream yet.
    Waiting { until: Instant },
    /// Our hello is sent.
    Greeting {
        salt: Salt,
        announced: Arc<[NetworkId]>,
        accepting: bool,
        until: Instant,
    },
    /// Both have said hello.
    Live(Box<Live>),
    /// Told to end; the handler writes what is left.
    Ending { closes_connection: bool },
    /// Only the connection is left.
    Ended,
}

/// The state of a link after both hellos.
#[derive(Debug)]
pub(super) struct Live {
    our_salt: Salt,
    their_salt: Salt,
    their_tags: Vec<NetworkTag>,
    /// Our networks behind their tags, in the order of their tags.
    networks: Vec<Option<NetworkId>>,
    /// Our networks in the order in which the remote knows them.
    pub(super) announced: Arc<[NetworkId]>,
    pub(super) accepting: bool,
    stun_port: Option<NonZeroU16>,
    via: Via,
    pub(super) received: Instant,
    pub(super) pinged: Option<Instant>,
    pub(super) updated: Option<Instant>,
    pub(super) update_due: bool,
    /// Counted for each link: a peer tells its changes over each of its links, and a new link's hello costs us as much as
    /// an update.
    updates: Bucket,
    /// What we handed out to the remote, the oldest first.
    pub(super) offered: VecDeque<Offered>,
    /// The sessions that we relay over this link.
    pub(super) legs: HashMap<SessionId, Leg>,
}

impl Hasher for ConnectionHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, n: usize) {
        // 2^64 over the golden ratio, as in Fibonacci hashing
        self.0 = (self.0 ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Link {
    pub(super) fn live(&self) -> Option<&Live> {
        match &self.state {
            State::Live(live) => Some(live),
            _ => None,
        }
    }

    pub(super) fn live_mut(&mut self) -> Option<&mut Live> {
        match &mut self.state {
            State::Live(live) => Some(live),
            _ => None,
        }
    }

    /// Where the remote answers STUN, if it said that it does and we dialed it of ourselves: a stranger could connect under
    /// two identities, and both could report the same false address.
    pub(super) fn stun(&self) -> Option<SocketAddr> {
        let is_chosen = self.side == Side::Dialer && !self.is_brought;
        let port = self.live()?.stun_port.filter(|_| is_chosen)?;
        Some(SocketAddr::new(self.ip?, port.get()))
    }

    /// When this link next wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until } => (self.purpose == Purpose::Exchange).then_some(*until),
            State::Greeting { until, .. } => Some(*until),
            State::Live(live) => live.deadline(),
            State::Ending { .. } | State::Ended => None,
        }
    }
}

impl Live {
    pub(super) fn new(
        hello: Hello,
        our_salt: Salt,
        announced: Arc<[NetworkId]>,
        via: Via,
        now: Instant,
    ) -> Self {
        Self {
            our_salt,
            their_salt: hello.salt,
            their_tags: hello.networks,
            networks: Vec::new(),
            announced,
            accepting: hello.accepting,
            stun_port: hello.stun_port,
            via,
            received: now,
            pinged: None,
            updated: None,
            update_due: false,
            updates: Bucket::full(Limits::UPDATES, now),
            offered: VecDeque::new(),
            legs: HashMap::new(),
        }
    }

    /// Counts a frame as a sign of life.
    pub(super) fn receive(&mut self, now: Instant) {
        self.received = now;
        self.pinged = None;
    }

    /// Takes the remote's new word on itself.
    pub(super) fn update(&mut self, now: Instant, update: Update) -> Result<(), ProtocolError> {
        self.their_tags = update.networks;
        self.accepting = update.accepting;
        match self.updates.take(Limits::UPDATES, now) {
            true => Ok(()),
            false => Err(ProtocolError::Flood),
        }
    }

    /// Finds out which of our networks the remote is in.
    pub(super) fn recognise(&mut self, ours: &[NetworkId], remote: &PeerId) {
        let tagged: Vec<_> = ours
            .iter()
            .map(|network| (NetworkTag::new(remote, self.their_salt, network), network))
            .collect();
        let recognised = |tag: &NetworkTag| {
            let found = tagged.iter().find(|(ours, _)| ours == tag);
            found.map(|(_, network)| (*network).clone())
        };
        self.networks = self.their_tags.iter().map(recognised).collect();
    }

    /// The networks that both sides are in.
    pub(super) fn shared(&self) -> impl Iterator<Item = &NetworkId> {
        self.networks.iter().flatten()
    }

    /// The network that the remote means by `index`.
    pub(super) fn named(&self, index: usize) -> Option<NetworkId> {
        self.networks.get(index)?.clone()
    }

    /// What the remote is to read as `network` in a request of ours.
    pub(super) fn index_of(&self, network: &NetworkId) -> Option<usize> {
        self.announced.iter().position(|known| known == network)
    }

    /// The tags of our networks, as this link's hello and updates name them.
    pub(super) fn tags(&self, local: &PeerId, networks: &[NetworkId]) -> Vec<NetworkTag> {
        tags(local, self.our_salt, networks)
    }

    /// Whether our own transport finds out that the remote is gone, for it sees each packet. A remote
    /// that reads slowly can hold up what we get to see for longer than [`Limits::SILENCE`] without being
    /// gone, so that our own guess would be worse. We answer its pings, but send none.
    fn is_watched(&self) -> bool {
        self.via == Via::Signaled
    }

    /// Whether it is time to ask whether the remote lives: after some silence, and again where so
    /// much time has passed since the last ping that this machine must have slept.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        match self.pinged {
            _ if self.is_watched() => false,
            Some(pinged) => now >= pinged + Limits::SILENCE,
            None => now >= self.received + PING_AFTER,
        }
    }

    /// Whether the remote was asked, and did not answer in time.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        let is_late = |pinged| now >= pinged + (Limits::SILENCE - PING_AFTER);
        self.pinged.is_some_and(is_late) && !self.is_silent(now)
    }

    /// Whether what changed about us may be told now.
    pub(super) fn may_update(&self, now: Instant) -> bool {
        self.updated
            .is_none_or(|updated| now >= updated + UPDATE_INTERVAL)
    }

    fn deadline(&self) -> Option<Instant> {
        let silent = match self.pinged {
            _ if self.is_watched() => None,
            Some(pinged) => Some(pinged + (Limits::SILENCE - PING_AFTER)),
            None => Some(self.received + PING_AFTER),
        };
        let update = self.update_due.then_some(match self.updated {
            Some(updated) => updated + UPDATE_INTERVAL,
            None => self.received,
        });
        silent.into_iter().chain(update).min()
    }
}

pub(super) fn tags(local: &PeerId, salt: Salt, networks: &[NetworkId]) -> Vec<NetworkTag> {
    let tag = |network| NetworkTag::new(local, salt, network);
    networks.iter().map(tag).collect()
}
