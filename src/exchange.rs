//! The core: every protocol decision of a node. It takes inputs and the time, and yields outputs and
//! the time at which it wants to be called again; it reads no clock, opens nothing and awaits
//! nothing, so that the same code runs in a swarm and, thousandfold, in a simulation.
//!
//! Each table has one owner, a bound and an expiry: connections and their links ([`link`]), peers
//! ([`roster`]), what is counted for each of them ([`allowance`]), neighbours that answer STUN ([`neighbors`]), tokens
//! and relayed sessions ([`introduce`]), requests that we have made in the name of others ([`walks`]), the peers that
//! we chose ([`view`]), queries ([`query`]), offers that were answered ([`answer`]), and those that wait for their turn
//! ([`waiting`]). Queries and answers own what they have in common: negotiations ([`negotiation`]) and
//! set-ups of signaled connections ([`setup`]).

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::rngs::StdRng;
use web_time::Instant;

pub(crate) use self::link::Side;
use self::{
    address::OwnAddresses,
    allowance::{Allowance, Allowances},
    answer::Answers,
    lifecycle::End,
    link::{Link, Links, Live, State},
    neighbors::Neighbors,
    query::Queries,
    roster::Roster,
    timer::{Timer, Timers},
    view::View,
    walks::Walks,
};
use crate::{
    config::{Candidates, Config, Incoming, Limits},
    error::{JoinError, LinkError, QueryError, Refusal},
    event::{PxpEvent, Via},
    id::{NetworkId, SessionId},
    message::{Frame, Refuse, Seal},
    rate::Bucket,
    reach::Reach,
    signaling::{Command, Notice},
};

mod address;
mod admission;
mod allowance;
mod answer;
mod attempt;
#[cfg(any(test, fuzzing))]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)] // it is to panic
pub(crate) mod fuzz;
mod introduce;
mod lifecycle;
mod link;
mod negotiation;
mod neighbors;
mod query;
mod roster;
mod setup;
#[cfg(any(test, fuzzing))]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, dead_code)] // the same
mod sim;
#[cfg(test)]
mod tests;
mod timer;
mod upkeep;
mod view;
mod waiting;
mod walks;

/// The longest time that a caller may choose: longer than any node runs, and no `Instant`
/// overflows by it.
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// What the core is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// A dial that the core asked for has begun.
    Dialing {
        peer: PeerId,
        connection: ConnectionId,
    },
    /// A dial that the core asked for, or a stream of the caller, failed.
    Failed {
        connection: ConnectionId,
        error: Option<LinkError>,
    },
    /// A connection is there.
    Established(Established),
    /// A connection is gone, with what the caller's stream says of it.
    Closed {
        connection: ConnectionId,
        error: Option<LinkError>,
    },
    /// The substream is there.
    LinkOpened { connection: ConnectionId },
    /// The substream is gone, or will not come.
    LinkClosed {
        connection: ConnectionId,
        result: Result<(), LinkError>,
    },
    /// The remote is reached in another way than before.
    Moved {
        connection: ConnectionId,
        remote: Multiaddr,
    },
    /// A frame came, of so many bytes.
    Frame {
        connection: ConnectionId,
        frame: Frame,
        len: usize,
    },
    /// The addresses that the swarm listens at or is known to be reached at.
    Addresses(Vec<Multiaddr>),
    /// The signaled transport says something.
    Signaling(Notice),
}

#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) connection: ConnectionId,
    pub(crate) peer: PeerId,
    pub(crate) side: Side,
    /// Where the remote is, as far as the transport knows.
    pub(crate) remote: Multiaddr,
    pub(crate) via: Via,
}

/// What the core wants done.
#[derive(Debug)]
pub(crate) enum Output {
    Event(PxpEvent),
    Send {
        peer: PeerId,
        connection: ConnectionId,
        frame: Frame,
    },
    /// End the substream after what was sent.
    CloseLink {
        peer: PeerId,
        connection: ConnectionId,
    },
    CloseConnection {
        peer: PeerId,
        connection: ConnectionId,
    },
    /// Answered at once by [`Input::Dialing`].
    Dial {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    },
    /// For the signaled transport.
    Signaling(Command),
}

pub(crate) struct Exchange {
    local: PeerId,
    seal: Box<dyn Seal>,
    rng: StdRng,
    networks: Arc<[NetworkId]>,
    incoming: Incoming,
    candidates: Option<Box<dyn Candidates>>,
    limits: Limits,
    token_ttl: Duration,
    query_timeout: Duration,
    /// The nearest addresses that are used through every introducer.
    reach: Reach,
    phase: Phase,
    addresses: OwnAddresses,
    links: Links,
    dials: HashMap<ConnectionId, Dial>,
    roster: Roster,
    allowances: Allowances,
    neighbors: Neighbors,
    /// The sessions that we relay: when each expires, and its asker's leg.
    sessions: BTreeSet<(Instant, ConnectionId, SessionId)>,
    /// How many more signals we pass on, from the first one on.
    relayed: Option<Bucket>,
    /// How often we said no.
    refused: HashMap<Refusal, u64>,
    walks: Walks,
    queries: Queries,
    answers: Answers,
    /// The peers that we keep by ourselves, if we do.
    view: Option<View>,
    /// Whether there is a transport that is set up by signals.
    has_signaling: bool,
    /// Where our signaled transport answers STUN, if it does.
    stun_port: Option<NonZeroU16>,
    /// How many set-ups have begun.
    setups: u64,
    timers: Timers,
    expiry_timer: Option<Instant>,
    outputs: VecDeque<Output>,
    /// What all peers were last told.
    told_accepting: bool,
}

/// A dial of ours that is under way.
#[derive(Debug)]
struct Dial {
    peer: PeerId,
    /// Who has brought the peer, if we dial it because it offered to meet. Kept here, for the offer may end first.
    brought_by: Option<PeerId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Until the last link has ended.
    Closing,
    Closed,
}

impl Exchange {
    pub(crate) fn new(local: PeerId, seal: Box<dyn Seal>, config: Config, rng: StdRng) -> Self {
        Self {
            local,
            seal,
            rng,
            networks: config.networks.into(),
            incoming: config.incoming,
            candidates: config.candidates,
            limits: config.limits,
            token_ttl: config.token_ttl.min(LONGEST),
            query_timeout: config.query_timeout.min(LONGEST),
            reach: config.reach,
            phase: Phase::Open,
            addresses: OwnAddresses::default(),
            links: Links::default(),
            dials: HashMap::new(),
            roster: Roster::default(),
            allowances: Allowances::default(),
            neighbors: Neighbors::default(),
            sessions: BTreeSet::new(),
            relayed: None,
            refused: HashMap::new(),
            walks: Walks::default(),
            queries: Queries::default(),
            answers: Answers::default(),
            view: config.view.map(View::new),
            has_signaling: false,
            stun_port: None,
            setups: 0,
            timers: Timers::default(),
            expiry_timer: None,
            outputs: VecDeque::new(),
            told_accepting: config.incoming == Incoming::Accept,
        }
    }

    /// What is to be done next. To be called until there is nothing, after each other call.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let neighbors = || {
            let asked = self.neighbors.poll_asked()?;
            let command = Command::StunNeighbors(asked);
            self.has_signaling.then_some(Output::Signaling(command))
        };
        // Last, so that what changes at once is told once.
        self.outputs.pop_front().or_else(neighbors)
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Link(connection) => self.on_link_timer(now, connection),
                Timer::Query(query) => self.on_query_timer(now, query),
                Timer::View => self.on_view_timer(),
                Timer::Expiries => self.on_expiry_timer(now),
            }
        }
        self.tend_offers(now);
        self.tend_view(now);
    }

    fn on_expiry_timer(&mut self, now: Instant) {
        if self.expiry_timer.is_some_and(|at| at <= now) {
            self.expiry_timer = None;
            self.expire_sessions(now);
            self.expire_walks(now);
            self.expire_answers(now);
            self.expire_offers(now);
            self.allowances.expire(now);
            self.wake_expiries();
        }
    }

    /// Sets the timer of what expires, if it has to be earlier than the one that is set.
    fn wake_expiries(&mut self) {
        let nexts = [
            self.sessions.first().map(|(expires, ..)| *expires),
            self.walks.next_expiry(),
            self.answers.next_expiry(),
            self.allowances.next_expiry(),
        ];
        if let Some(next) = nexts.into_iter().flatten().min()
            && self.expiry_timer.is_none_or(|at| next < at)
        {
            self.expiry_timer = Some(next);
            self.timers.set(next, Timer::Expiries);
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Dialing { peer, connection } => self.on_dialing(peer, connection),
            Input::Failed { connection, error } => self.on_failed(now, connection, error),
            Input::Established(established) => self.on_established(now, established),
            Input::Closed { connection, error } => self.on_closed(now, connection, error),
            Input::LinkOpened { connection } => self.on_link_opened(now, connection),
            Input::LinkClosed { connection, result } => {
                self.on_link_closed(now, connection, result);
            }
            Input::Moved { connection, remote } => self.on_moved(connection, &remote),
            Input::Frame {
                connection,
                frame,
                len,
            } => self.on_frame(now, connection, frame, len),
            Input::Addresses(addresses) => self.addresses.set(addresses),
            Input::Signaling(notice) => self.on_notice(now, notice),
        }
        self.tend_offers(now);
        self.tend_view(now);
    }

    /// The peers in any network.
    pub(crate) fn peers(&self) -> impl ExactSizeIterator<Item = &PeerId> {
        self.roster.peers()
    }

    pub(crate) fn peers_in(&self, network: &NetworkId) -> impl ExactSizeIterator<Item = &PeerId> {
        self.roster.members(network)
    }

    pub(crate) fn networks(&self) -> &[NetworkId] {
        &self.networks
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase != Phase::Open
    }

    pub(crate) fn join(&mut self, now: Instant, network: NetworkId) -> Result<(), JoinError> {
        if self.is_closed() {
            return Err(JoinError::Closed);
        }
        if self.networks.contains(&network) {
            return Ok(());
        }
        if self.networks.len() >= Limits::NETWORKS {
            return Err(JoinError::TooManyNetworks);
        }
        self.networks = self.networks.iter().cloned().chain([network]).collect();
        self.on_networks_changed(now);
        Ok(())
    }

    /// Whether the network had been joined.
    pub(crate) fn leave(&mut self, now: Instant, network: &NetworkId) -> bool {
        let is_member = self.networks.contains(network);
        if is_member {
            let others = self.networks.iter().filter(|other| *other != network);
            self.networks = others.cloned().collect();
            self.fail_queries(
                |query| query.network() == Some(network),
                QueryError::LeftNetwork,
            );
            self.on_networks_changed(now);
        }
        is_member
    }

    pub(crate) fn set_incoming(&mut self, now: Instant, incoming: Incoming) {
        self.incoming = incoming;
        self.announce_acceptance(now);
    }

    /// Ends all queries and links; [`PxpEvent::Closed`] follows.
    pub(crate) fn close(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.phase = Phase::Closing;
        self.fail_queries(|_| true, QueryError::Closed);
        for connection in self.connections() {
            let link = self.links.get(&connection);
            if link
                .is_some_and(|link| matches!(link.state, State::Greeting { .. } | State::Live(_)))
            {
                self.refuse_link(now, connection, Refusal::Closing, End::Announced);
            }
        }
        self.finish_closing();
    }

    fn on_networks_changed(&mut self, now: Instant) {
        if self.view.is_some() {
            self.on_view_timer();
            self.timers.set(now, Timer::View);
        }
        for connection in self.connections() {
            self.refresh(now, connection);
        }
        self.announce(now);
    }

    fn finish_closing(&mut self) {
        let is_ending = |link: &Link| matches!(link.state, State::Ending { .. });
        if self.phase == Phase::Closing && !self.links.values().any(is_ending) {
            self.phase = Phase::Closed;
            self.event(PxpEvent::Closed);
        }
    }

    /// Whether introductions are accepted now.
    fn is_accepting(&self) -> bool {
        let is_open = self.phase == Phase::Open && self.incoming == Incoming::Accept;
        is_open && !self.is_full() && self.has_room_in_view()
    }

    /// Whether one more may come, as far as the view is concerned.
    fn has_room_in_view(&self) -> bool {
        self.view.as_ref().is_none_or(View::is_accepting)
    }

    fn is_full(&self) -> bool {
        self.roster.len() >= self.limits.max_peers
    }

    /// All connections, in an order that does not depend on a hasher.
    fn connections(&self) -> Vec<ConnectionId> {
        let mut connections: Vec<_> = self.links.keys().copied().collect();
        connections.sort_unstable();
        connections
    }

    fn live(&self, connection: ConnectionId) -> Option<&Live> {
        self.links.get(&connection)?.live()
    }

    fn live_mut(&mut self, connection: ConnectionId) -> Option<&mut Live> {
        self.links.get_mut(&connection)?.live_mut()
    }

    /// How near the peer at the other end of a live link is.
    fn reach_over(&self, connection: ConnectionId) -> Option<Reach> {
        let link = self.links.get(&connection);
        link.filter(|link| link.live().is_some())
            .map(|link| link.reach)
    }

    /// What the peer at the other end of a live link may still ask of us.
    fn allowance(&mut self, connection: ConnectionId) -> Option<&mut Allowance> {
        let link = self.links.get(&connection)?;
        self.allowances.get_mut(&link.peer)
    }

    pub(crate) fn refused(&self, reason: Refusal) -> u64 {
        self.refused.get(&reason).copied().unwrap_or_default()
    }

    fn count_refusal(&mut self, reason: Refusal) {
        *self.refused.entry(reason).or_default() += 1;
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        if let Some(link) = self.links.get(&connection) {
            let peer = link.peer;
            if let Frame::Refuse(Refuse { reason, .. }) = frame {
                self.count_refusal(reason);
            }
            self.outputs.push_back(Output::Send {
                peer,
                connection,
                frame,
            });
        }
    }

    fn event(&mut self, event: PxpEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// No table is larger than it may be, whatever was said.
    #[cfg(any(test, fuzzing))]
    fn assert_bounded(&self) {
        let searches = self.queries.searches().count();
        assert!(searches <= 2 * Limits::NETWORKS);
        assert!(self.queries.len() - searches <= self.limits.max_queries);
        assert!(self.walks.len() <= Limits::ALL_WALKS);
        assert!(self.sessions.len() <= self.limits.max_sessions());
        for peer in self.roster.peers() {
            assert!(self.roster.links(peer).len() <= Limits::LINKS);
        }
        assert!(self.allowances.gone() <= Limits::GONE_PEERS);
        assert_eq!(
            self.allowances.len(),
            self.roster.len() + self.allowances.gone()
        );
        self.answers.assert_bounded(self.limits.max_peers);
        for live in self.links.values().filter_map(Link::live) {
            assert!(live.offered.len() <= Limits::TOKENS);
        }
    }

    #[cfg(any(test, fuzzing))]
    fn assert_empty(&self) {
        assert!(self.links.is_empty() && self.dials.is_empty() && self.roster.is_empty());
        assert!(self.outputs.is_empty() && self.next_deadline().is_none());
        assert!(self.neighbors.is_empty() && self.walks.is_empty() && self.allowances.len() == 0);
        assert!(self.sessions.is_empty() && self.queries.is_empty() && self.answers.is_empty());
    }
}
