//! One simulated machine: the core of an honest node or the stand-in of a sybil, its links as its
//! application knows them, and what was counted of it. It does nothing by itself.

use libp2p::{PeerId, swarm::ConnectionId};
use web_time::Instant;

use super::{
    names::{NodeId, WireId},
    seal::{self, Kind},
    sybil::Sybil,
};
use crate::{
    error::StartQueryError,
    exchange::{Exchange, Input, Output},
    id::SessionId,
    message::{Frame, GetPeers, Refuse, Signal, Subject},
};

/// How many offers are remembered of which it is not known what became: more than a core makes
/// within the time in which they are answered.
const OPEN_OFFERS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is where all others join.
    Bootstrap,
    Ordinary,
    Sybil,
}

pub(super) enum Mind {
    Core(Box<Exchange>),
    Sybil(Box<Sybil>),
    /// The machine is no more.
    Gone,
}

pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) role: Role,
    pub(super) mind: Mind,
    /// Its peers, as an honest node's application was told.
    pub(super) links: Vec<Link>,
    /// All connections that it ever had.
    pub(super) wires: Vec<WireId>,
    /// The timer that counts; others that fire are stale.
    pub(super) wake: Option<Instant>,
    /// Whether a query of the application is running.
    pub(super) is_asking: bool,
    pub(super) tally: Tally,
}

/// A peer as an honest node's application knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) to: NodeId,
    /// Whether a query of the node itself found it.
    pub(super) is_own_choice: bool,
}

/// What was counted of a node since the counting began.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Whether it has joined since.
    pub(super) is_new: bool,
    /// Requests for peers that came to it.
    pub(super) requests: usize,
    /// Requests for peers of its own.
    pub(super) queries: usize,
    /// Of those, how many it took until it had all the peers that it is to have.
    pub(super) queries_to_fill: Option<usize>,
    /// Offers of its own, each of which begins a handshake with a candidate.
    pub(super) offers: usize,
    /// Of those, how many somebody refused.
    pub(super) refused: usize,
    open_offers: Vec<(ConnectionId, SessionId)>,
}

impl Mind {
    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        match self {
            Self::Core(core) => core.handle(now, input),
            Self::Sybil(sybil) => sybil.handle(input),
            Self::Gone => {}
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Core(core) => core.poll_output(),
            Self::Sybil(sybil) => sybil.poll_output(),
            Self::Gone => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Core(core) => core.next_deadline(),
            Self::Sybil(_) | Self::Gone => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Self::Core(core) = self {
            core.handle_timeout(now);
        }
    }

    pub(super) fn start_query(&mut self, now: Instant) -> Result<(), StartQueryError> {
        match self {
            Self::Core(core) => core.get_new_peer(now, None).map(|_| ()),
            Self::Sybil(_) | Self::Gone => Err(StartQueryError::Closed),
        }
    }
}

impl Node {
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.mind, Mind::Gone)
    }

    /// Whether it is one of those whom the figures are about.
    pub(super) fn is_counted(&self) -> bool {
        self.role == Role::Ordinary && self.is_alive()
    }
}

impl Tally {
    /// Of a node that joins now.
    pub(super) fn of_new() -> Self {
        Self {
            is_new: true,
            ..Self::default()
        }
    }

    /// Counts what a node sends. `is_for_another` if it does so because it was asked to look for peers
    /// of others.
    pub(super) fn on_send(
        &mut self,
        node: NodeId,
        over: ConnectionId,
        frame: &Frame,
        is_for_another: bool,
    ) {
        match frame {
            Frame::GetPeers(_) if !is_for_another => self.queries += 1,
            Frame::Signal(Signal { session, envelope })
                if seal::read(envelope) == Some((Kind::Offer, node)) =>
            {
                self.offers += 1;
                if self.open_offers.len() >= OPEN_OFFERS {
                    self.open_offers.remove(0);
                }
                self.open_offers.push((over, *session));
            }
            _ => {}
        }
    }

    /// Counts what comes to a node. Whether it is asked to ask on.
    pub(super) fn on_receive(&mut self, over: ConnectionId, frame: &Frame) -> bool {
        match frame {
            Frame::GetPeers(GetPeers { hops, .. }) => {
                self.requests += 1;
                return *hops > 0;
            }
            Frame::Signal(Signal { session, envelope }) => match seal::read(envelope) {
                Some((Kind::Answer, _)) => {
                    self.close_offer(over, *session);
                }
                Some((Kind::Reject, _)) => self.on_refused(over, *session),
                _ => {}
            },
            Frame::Refuse(Refuse {
                subject: Subject::Session(session),
                ..
            }) => self.on_refused(over, *session),
            _ => {}
        }
        false
    }

    fn on_refused(&mut self, over: ConnectionId, session: SessionId) {
        self.refused += usize::from(self.close_offer(over, session));
    }

    /// An offer is answered. Whether it was one of this node.
    fn close_offer(&mut self, over: ConnectionId, session: SessionId) -> bool {
        let mut open = self.open_offers.iter();
        let place = open.position(|offer| *offer == (over, session));
        place
            .map(|place| self.open_offers.swap_remove(place))
            .is_some()
    }
}
