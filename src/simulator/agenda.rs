//! What is yet to happen, in the order of its time, and at one time in the order in which it was
//! planned. It knows nothing of what comes of it.

use std::{cmp::Ordering, collections::BinaryHeap};

use web_time::Instant;

use super::names::{NodeId, WireId};
use crate::{exchange::Side, message::Frame};

#[derive(Debug)]
pub(super) enum Event {
    /// A node's core wants to be called.
    Timer(NodeId),
    /// A node's application looks after it, as it does each tick.
    Tick(NodeId),
    /// A dial succeeds.
    Connects(WireId),
    /// A dial fails.
    DialFails(WireId),
    /// Something comes to one end of a connection.
    Arrival(End, Arrival),
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) wire: WireId,
    pub(super) side: Side,
}

#[derive(Debug)]
pub(super) enum Arrival {
    /// Boxed, for events are moved about in the heap.
    Frame(Box<Frame>),
    LinkClosed,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Entry>,
    planned: u64,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    event: Event,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Instant, event: Event) {
        let number = self.planned;
        self.planned += 1;
        self.entries.push(Entry { at, number, event });
    }

    /// The next event up to this time.
    pub(super) fn pop(&mut self, end: Instant) -> Option<(Instant, Event)> {
        self.entries.peek().filter(|entry| entry.at <= end)?;
        self.entries.pop().map(|entry| (entry.at, entry.event))
    }
}

/// The earliest is the greatest, since that is what the heap yields.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}
