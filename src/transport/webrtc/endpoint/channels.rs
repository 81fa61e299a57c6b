//! The channels of one connection: the stream that each carries, how much of all is unread, and who waits for what. It
//! knows nothing of the engine that sends and receives.

use std::collections::{HashMap, HashSet, VecDeque};

use str0m::channel::ChannelId;

use super::super::framing::{Opener, Received, Stream};
use crate::config::Limits;

#[derive(Debug, Default)]
pub(super) struct Channels {
    table: HashMap<ChannelId, Channel>,
    incoming: VecDeque<ChannelId>,
    /// All that the other side has opened and that are not closed yet.
    foreign: HashSet<ChannelId>,
    /// Bytes of all channels that wait to be read.
    unread: usize,
    /// Who wants to write and may not: told when there is room.
    blocked: Vec<ChannelId>,
}

#[derive(Debug)]
pub(super) struct Channel {
    state: State,
    pub(super) stream: Stream,
    /// Whether some of what was written may not have arrived yet.
    pub(super) is_sending: bool,
    /// True if it is to be closed once what was written has arrived.
    pub(super) is_draining: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The other side does not know of it yet.
    Opening,
    Open,
    Closed,
}

impl Channel {
    fn new(state: State, opener: Opener) -> Self {
        Self {
            state,
            stream: Stream::new(opener),
            is_sending: false,
            is_draining: false,
        }
    }
}

impl Channels {
    /// A channel of our own.
    pub(super) fn insert(&mut self, id: ChannelId) {
        self.table
            .insert(id, Channel::new(State::Opening, Opener::Us));
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.table.get_mut(&id)
    }

    pub(super) fn state(&self, id: ChannelId) -> State {
        self.table
            .get(&id)
            .map_or(State::Closed, |channel| channel.state)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ChannelId, &Channel)> {
        self.table.iter().map(|(id, channel)| (*id, channel))
    }

    /// Whether nobody uses any of them.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// Notes that the other side knows of it now, if it is one of ours. Returns if it is.
    pub(super) fn opened(&mut self, id: ChannelId) -> bool {
        let channel = self.table.get_mut(&id);
        channel.map(|channel| channel.state = State::Open).is_some()
    }

    /// Notes that the other side has opened a channel, whatever becomes of it. Whether it may have
    /// so many.
    pub(super) fn note_foreign(&mut self, id: ChannelId) -> bool {
        self.foreign.insert(id);
        self.foreign.len() <= Limits::STREAMS
    }

    /// Takes in a channel that the other side opened, if there is room.
    pub(super) fn offer(&mut self, id: ChannelId) -> bool {
        let has_room = self.incoming.len() < Limits::WAITING_STREAMS;
        if has_room {
            self.table
                .insert(id, Channel::new(State::Open, Opener::Them));
            self.incoming.push_back(id);
        }
        has_room
    }

    pub(super) fn accept(&mut self) -> Option<ChannelId> {
        self.incoming.pop_front()
    }

    /// Passes a message to its stream.
    pub(super) fn received(&mut self, id: ChannelId, message: Vec<u8>, acks: bool) -> Received {
        let received = self.with_stream(id, |stream| stream.receive(message, acks));
        received.unwrap_or_default()
    }

    /// Does something to a stream that may change how much of it is unread.
    pub(super) fn with_stream<T>(
        &mut self,
        id: ChannelId,
        f: impl FnOnce(&mut Stream) -> T,
    ) -> Option<T> {
        let stream = &mut self.table.get_mut(&id)?.stream;
        let before = stream.held();
        let result = f(stream);
        self.unread = self.unread - before + stream.held();
        Some(result)
    }

    /// The other side has closed it, or knows that we did. What was received can still be read.
    pub(super) fn closed(&mut self, id: ChannelId) {
        self.foreign.remove(&id);
        if let Some(channel) = self.table.get_mut(&id) {
            channel.state = State::Closed;
            channel.is_sending = false;
            channel.stream.on_channel_closed();
            if channel.stream.is_dropped() {
                self.table.remove(&id);
            }
        }
    }

    /// The connection is gone, and nothing more comes or goes. Returns who may want to know.
    pub(super) fn close_all(&mut self) -> Vec<ChannelId> {
        for unseen in std::mem::take(&mut self.incoming) {
            self.release(unseen, Stream::ignore);
        }
        self.blocked.clear();
        let ids: Vec<_> = self.table.keys().copied().collect();
        for id in &ids {
            self.closed(*id);
        }
        ids
    }

    /// Nobody uses it any more, and `f` tells its stream so. Whether it has still to be closed at the other side.
    pub(super) fn release(&mut self, id: ChannelId, f: impl FnOnce(&mut Stream)) -> bool {
        self.with_stream(id, f);
        match self.state(id) {
            State::Closed => {
                self.table.remove(&id);
                false
            }
            State::Opening | State::Open => true,
        }
    }

    /// Remembers that somebody waits to write.
    pub(super) fn block(&mut self, id: ChannelId) {
        if !self.blocked.contains(&id) {
            self.blocked.push(id);
        }
    }

    pub(super) fn has_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    pub(super) fn unblock(&mut self) -> Vec<ChannelId> {
        std::mem::take(&mut self.blocked)
    }

    #[cfg(test)]
    pub(super) fn fill_incoming(&mut self, len: usize, id: ChannelId) {
        self.incoming.resize(len, id);
    }

    #[cfg(test)]
    pub(super) fn foreign(&self) -> usize {
        self.foreign.len()
    }
}
