//! A connection between two machines, and what the network between them does to it. It knows nothing
//! of what is said over it.

use std::{ops::Range, time::Duration};

use rand::{RngExt, rngs::StdRng};

use super::{
    Options,
    names::{NodeId, scatter},
};
use crate::{event::Via, exchange::Side};

/// How many times a packet travels between two ends before they are connected: checks of a path, and
/// a handshake of two round trips.
const TRIPS_TO_CONNECT: u32 = 6;

/// How long a transport tries an address that does not answer.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(6);

/// What the network is like.
pub(super) struct Conditions {
    delay: Range<Duration>,
    loss: f64,
    nat_success: f64,
    seed: u64,
}

pub(super) struct Wire {
    pub(super) dialer: NodeId,
    pub(super) listener: NodeId,
    pub(super) via: Via,
    /// How long each thing takes that is sent over it. It is always the same, so that nothing
    /// overtakes.
    pub(super) delay: Duration,
    pub(super) dialer_end: State,
    pub(super) listener_end: State,
}

/// What one end knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    /// It is there, without a link.
    Open,
    Linked,
}

impl Wire {
    pub(super) fn new(dialer: NodeId, listener: NodeId, via: Via, delay: Duration) -> Self {
        Self {
            dialer,
            listener,
            via,
            delay,
            dialer_end: State::Closed,
            listener_end: State::Closed,
        }
    }

    pub(super) fn time_to_connect(&self) -> Duration {
        self.delay * TRIPS_TO_CONNECT
    }

    /// The side on which a node is.
    pub(super) fn side_of(&self, node: NodeId) -> Side {
        match node == self.dialer {
            true => Side::Dialer,
            false => Side::Listener,
        }
    }

    pub(super) fn node(&self, side: Side) -> NodeId {
        match side {
            Side::Dialer => self.dialer,
            Side::Listener => self.listener,
        }
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut State {
        match side {
            Side::Dialer => &mut self.dialer_end,
            Side::Listener => &mut self.listener_end,
        }
    }
}

pub(super) fn opposite(side: Side) -> Side {
    match side {
        Side::Dialer => Side::Listener,
        Side::Listener => Side::Dialer,
    }
}

impl Conditions {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            delay: options.delay.clone(),
            loss: options.loss,
            nat_success: options.nat_success,
            seed: options.seed,
        }
    }

    pub(super) fn delay(&self, rng: &mut StdRng) -> Duration {
        let Range { start, end } = self.delay;
        let share: f64 = rng.random();
        start + end.saturating_sub(start).mul_f64(share)
    }

    /// Whether an attempt to connect comes through: it may be lost, and of two nodes that find no way
    /// through their NATs none is found later either.
    pub(super) fn lets_through(&self, wire: &Wire, rng: &mut StdRng) -> bool {
        let is_lost = rng.random::<f64>() < self.loss;
        !is_lost && (wire.via != Via::Signaled || self.pass_nats(wire.dialer, wire.listener))
    }

    fn pass_nats(&self, a: NodeId, b: NodeId) -> bool {
        let (low, high) = (a.min(b).0 as u64, a.max(b).0 as u64);
        let drawn = scatter(scatter(scatter(self.seed) ^ low) ^ high);
        (drawn as f64) < self.nat_success * u64::MAX as f64
    }
}
