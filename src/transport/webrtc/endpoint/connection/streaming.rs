//! The streams of a connection: what is read and written, who waits, and what of it makes the other
//! side wait. How the connection lives and ends is not its business.

use std::time::Instant;

use str0m::channel::{ChannelConfig, ChannelId};

use super::{
    super::{Event, Outputs, Read, Write, channels::State, demux::Demux},
    Connection,
};
use crate::config::Limits;

/// How many datagrams that were held back are taken in at a time.
const BACKLOG_BATCH: usize = 16;

impl Connection {
    pub(in super::super) fn open(&mut self, now: Instant) -> Option<ChannelId> {
        if !self.is_connected() {
            return None;
        }
        self.tick(now);
        let config = ChannelConfig::default();
        let id = self.run(|rtc| Ok(rtc.direct_api().create_data_channel(config)))?;
        self.channels.insert(id);
        self.tick(now);
        Some(id)
    }

    pub(in super::super) fn accept_channel(&mut self) -> Option<ChannelId> {
        self.channels.accept()
    }

    pub(in super::super) fn read(
        &mut self,
        now: Instant,
        id: ChannelId,
        buffer: &mut [u8],
    ) -> Read {
        match self.channels.read(id, buffer) {
            0 if self.channels.state(id) == State::Closed => Read::Closed,
            0 => Read::Blocked,
            n => {
                if !self.backlog.is_empty() && self.channels.unread() < Limits::UNREAD / 2 {
                    self.engine_deadline = now; // and the backlog with it
                }
                Read::Bytes(n)
            }
        }
    }

    pub(in super::super) fn write(&mut self, now: Instant, id: ChannelId, bytes: &[u8]) -> Write {
        if !self.is_connected() {
            return Write::Closed;
        }
        match self.channels.state(id) {
            State::Closed => return Write::Closed,
            State::Opening => return Write::Blocked,
            State::Open => {}
        }
        let outstanding = self.sending();
        if !self.window.admits(now, outstanding, bytes.len()) {
            self.channels.block(id);
            return Write::Blocked;
        }
        self.tick(now);
        let written = self.run(|rtc| {
            let channel = rtc.channel(id);
            Ok(channel.and_then(|mut channel| channel.write(true, bytes).ok()))
        });
        match written.flatten() {
            Some(true) => {
                self.window.write(now, bytes.len());
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.is_sending = true;
                }
                Write::Taken(bytes.len())
            }
            Some(false) => {
                self.channels.block(id);
                Write::Blocked
            }
            None => Write::Closed,
        }
    }

    /// How much was written that has not arrived yet.
    pub(super) fn sending(&mut self) -> usize {
        let ids: Vec<_> = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.is_sending)
            .map(|(id, _)| id)
            .collect();
        let mut sum = 0;
        for id in ids {
            let amount = self.run(|rtc| {
                Ok(rtc
                    .channel(id)
                    .map_or(0, |mut channel| channel.buffered_amount()))
            });
            let amount = amount.unwrap_or(0);
            if amount == 0
                && let Some(channel) = self.channels.get_mut(id)
            {
                channel.is_sending = false;
            }
            sum += amount;
        }
        sum
    }

    pub(in super::super) fn release_channel(&mut self, id: ChannelId) {
        if self.channels.release(id) {
            self.releasing.push(id);
        }
    }

    /// Takes in what was held back, some of it at a time, as far as it is read.
    pub(super) fn take_backlog(&mut self, now: Instant, demux: &mut Demux, outputs: &mut Outputs) {
        for _ in 0..BACKLOG_BATCH {
            if self.channels.unread() >= Limits::UNREAD / 2 {
                return;
            }
            let Some(datagram) = self.backlog.pop_front() else {
                return;
            };
            self.feed(now, datagram.pair, &datagram.contents);
            self.drain(now, demux, outputs);
        }
        if !self.backlog.is_empty() {
            self.engine_deadline = now;
        }
    }

    pub(super) fn close_released(
        &mut self,
        now: Instant,
        demux: &mut Demux,
        outputs: &mut Outputs,
    ) {
        if self.releasing.is_empty() {
            return;
        }
        self.sending(); // brings up to date which channels are
        for id in std::mem::take(&mut self.releasing) {
            match self.channels.get_mut(id) {
                Some(channel) if channel.is_sending => self.releasing.push(id),
                Some(_) => {
                    self.close_channel(id);
                    self.tick(now);
                }
                None => {}
            }
        }
        self.drain(now, demux, outputs);
    }

    /// Lets writers go on once there is room.
    pub(super) fn unblock(&mut self, now: Instant, outputs: &mut Outputs) {
        if !self.channels.has_blocked() {
            return;
        }
        let outstanding = self.sending();
        if !self.window.has_room(now, outstanding) {
            return;
        }
        let key = self.key;
        for channel in self.channels.unblock() {
            outputs.events.push_back(Event::Writable { key, channel });
        }
    }

    /// Whether so much is unread that the other side has to wait.
    pub(super) fn is_paused(&self) -> bool {
        self.channels.unread() >= Limits::UNREAD
    }

    pub(super) fn close_channel(&mut self, id: ChannelId) {
        self.run(|rtc| {
            rtc.direct_api().close_data_channel(id);
            Ok(())
        });
    }
}
