//! When the core wants to be woken, and for what. It never cancels: a timer that fires for nothing
//! is ignored by what it is about, and each thing has at most a few waiting.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use libp2p::swarm::ConnectionId;
use web_time::Instant;

use crate::id::QueryId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Link(ConnectionId),
    Query(QueryId),
    View,
    /// Of sessions, walks, introductions, offers that wait or are remembered, and counts of peers that have left.
    Expiries,
}

#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Timer)>>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.push(Reverse((at, timer)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop().map(|Reverse((_, timer))| timer)
    }
}

/// Things that expire after the same time each, and so in the order in which they came.
#[derive(Debug)]
pub(super) struct Expiries<T>(VecDeque<(Instant, T)>);

impl<T> Default for Expiries<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Expiries<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, at: Instant, thing: T) {
        self.0.push_back((at, thing));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().map(|(at, _)| *at)
    }

    /// The next thing, before its time.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        self.0.pop_front().map(|(_, thing)| thing)
    }

    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        self.0.retain(|(_, thing)| is_kept(thing));
    }

    /// The next thing that has expired.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        self.next().filter(|at| *at <= now)?;
        self.pop_first()
    }
}
