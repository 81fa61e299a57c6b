//! Datagrams between who makes them one by one and the system, which takes several in one call if
//! they are equally long and go the same way.

use std::{collections::VecDeque, net::SocketAddr};

use super::super::endpoint::Transmit;

/// The most datagrams that wait here: what the system takes in one call. The others wait where they
/// are made.
const MAX_WAITING: usize = 64;

/// The most bytes in one call. A UDP datagram could have no more.
const MAX_BATCH_LEN: usize = 65_000;

/// Datagrams to be sent, in order.
#[derive(Default)]
pub(in super::super) struct Outbox {
    /// At most [`MAX_WAITING`].
    queue: VecDeque<Transmit>,
    /// So many of the first go alone: together they were refused.
    alone: usize,
    /// Holds the batch that is being sent.
    joined: Vec<u8>,
}

/// The next to be sent.
pub(super) struct Batch<'a> {
    pub(super) transmit: quinn_udp::Transmit<'a>,
    pub(super) count: usize,
}

impl Outbox {
    pub(in super::super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_WAITING
    }

    /// To be called only while there is room.
    pub(in super::super) fn push(&mut self, transmit: Transmit) {
        self.queue.push_back(transmit);
    }

    /// Where the first one goes.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        self.queue.front().map(|first| first.destination)
    }

    /// The first ones that can be sent in one call, if that takes up to `max_segments`.
    pub(super) fn batch(&mut self, max_segments: usize) -> Option<Batch<'_>> {
        let count = match self.alone {
            0 => self.equal(max_segments),
            _ => 1,
        };
        self.joined.clear();
        if count > 1 {
            let batch = self.queue.iter().take(count);
            batch.for_each(|transmit| self.joined.extend_from_slice(&transmit.contents));
        }
        let first = self.queue.front()?;
        let source = first.source.ip();
        let transmit = quinn_udp::Transmit {
            destination: first.destination,
            ecn: None,
            contents: match count {
                0 | 1 => &first.contents,
                _ => &self.joined,
            },
            segment_size: (count > 1).then_some(first.contents.len()),
            src_ip: (!source.is_unspecified()).then_some(source),
        };
        Some(Batch { transmit, count })
    }

    /// How many of the first go the same way and are as long as the first one, but the last, which
    /// may be shorter.
    fn equal(&self, max: usize) -> usize {
        let Some(first) = self.queue.front() else {
            return 0;
        };
        let len = first.contents.len();
        let max = max.min(MAX_BATCH_LEN / len.max(1)).max(1);
        let mut count = 0;
        for next in self.queue.iter().take(max) {
            let same_way = next.source == first.source && next.destination == first.destination;
            if !same_way || next.contents.is_empty() || next.contents.len() > len {
                break;
            }
            count += 1;
            if next.contents.len() < len {
                break;
            }
        }
        count.max(1)
    }

    /// The first `count` were sent, or cannot be.
    pub(super) fn drop_first(&mut self, count: usize) {
        self.queue.drain(..count.min(self.queue.len()));
        self.alone = self.alone.saturating_sub(count);
    }

    /// The first `count` were refused as a batch.
    pub(super) fn split(&mut self, count: usize) {
        self.alone = count;
    }

    /// Whether the first one was refused as part of a batch.
    pub(super) fn is_split(&self) -> bool {
        self.alone > 0
    }
}
