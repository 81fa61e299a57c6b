//! The channels of one connection: what was received and not yet read, and who waits for what. It
//! knows nothing of the engine that sends and receives.

use std::collections::{HashMap, HashSet, VecDeque};

use str0m::channel::ChannelId;

use crate::config::Limits;

/// What a message costs beside its bytes, so that many small ones count too.
const MESSAGE_OVERHEAD: usize = 64;

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
    unread: VecDeque<Vec<u8>>,
    /// How much of the first message was read.
    offset: usize,
    /// Whether some of what was written may not have arrived yet.
    pub(super) is_sending: bool,
    /// Whether nobody uses it any more.
    pub(super) is_released: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The other side does not know of it yet.
    Opening,
    Open,
    Closed,
}

impl Channel {
    fn new(state: State) -> Self {
        Self {
            state,
            unread: VecDeque::new(),
            offset: 0,
            is_sending: false,
            is_released: false,
        }
    }
}

impl Channels {
    /// A channel of our own.
    pub(super) fn insert(&mut self, id: ChannelId) {
        self.table.insert(id, Channel::new(State::Opening));
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

    /// The other side knows of it now, if it is one of ours.
    pub(super) fn opened(&mut self, id: ChannelId) -> Option<&Channel> {
        let channel = self.table.get_mut(&id)?;
        channel.state = State::Open;
        Some(channel)
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
            self.table.insert(id, Channel::new(State::Open));
            self.incoming.push_back(id);
        }
        has_room
    }

    pub(super) fn accept(&mut self) -> Option<ChannelId> {
        self.incoming.pop_front()
    }

    /// Keeps a message until it is read; one that nobody will read is dropped.
    pub(super) fn received(&mut self, id: ChannelId, message: Vec<u8>) {
        if let Some(channel) = self.table.get_mut(&id)
            && !channel.is_released
        {
            self.unread += message.len() + MESSAGE_OVERHEAD;
            channel.unread.push_back(message);
        }
    }

    /// How many bytes were put into `buffer`.
    pub(super) fn read(&mut self, id: ChannelId, buffer: &mut [u8]) -> usize {
        let Some(channel) = self.table.get_mut(&id) else {
            return 0;
        };
        let mut filled = 0;
        while let Some(message) = channel.unread.front() {
            let rest = message.get(channel.offset..).unwrap_or_default();
            let space = buffer.get_mut(filled..).unwrap_or_default();
            let n = rest.len().min(space.len());
            if let (Some(to), Some(from)) = (space.get_mut(..n), rest.get(..n)) {
                to.copy_from_slice(from);
            }
            filled += n;
            if n < rest.len() {
                channel.offset += n;
                break;
            }
            self.unread -= message.len() + MESSAGE_OVERHEAD;
            channel.unread.pop_front();
            channel.offset = 0;
        }
        filled
    }

    /// The other side has closed it, or knows that we did. What was received can still be read.
    pub(super) fn closed(&mut self, id: ChannelId) {
        self.foreign.remove(&id);
        if let Some(channel) = self.table.get_mut(&id) {
            channel.state = State::Closed;
            channel.is_sending = false;
            if channel.is_released {
                self.table.remove(&id);
            }
        }
    }

    /// The connection is gone, and nothing more comes or goes. Returns who may want to know.
    pub(super) fn close_all(&mut self) -> Vec<ChannelId> {
        for unseen in std::mem::take(&mut self.incoming) {
            self.release(unseen);
        }
        self.blocked.clear();
        let ids: Vec<_> = self.table.keys().copied().collect();
        for id in &ids {
            self.closed(*id);
        }
        ids
    }

    /// Nobody uses it any more. Whether it has still to be closed at the other side.
    pub(super) fn release(&mut self, id: ChannelId) -> bool {
        let Some(channel) = self.table.get_mut(&id) else {
            return false;
        };
        let unread = std::mem::take(&mut channel.unread);
        self.unread -= unread
            .iter()
            .map(|message| message.len() + MESSAGE_OVERHEAD)
            .sum::<usize>();
        channel.is_released = true;
        if channel.state == State::Closed {
            self.table.remove(&id);
            return false;
        }
        true
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
