//! The streams of a connection: what is read and written, who waits, and what of it makes the other
//! side wait. How the connection lives and ends is not its business.

use std::time::Instant;

use str0m::channel::{ChannelConfig, ChannelId};

use super::{
    super::{
        super::framing::{self, MAX_DATA_LEN, Read, Stream, StreamError},
        Close, Event, Outputs, Write,
        channels::State,
        demux::Demux,
    },
    Connection,
};
use crate::config::Limits;

/// How many datagrams that were held back are taken in at a time.
const BACKLOG_BATCH: usize = 16;

/// The most bytes of data in one frame to an end that may run `webrtc-rs`, as libp2p-webrtc does: it reads messages into
/// 8,192 bytes and fails on a longer one.
const MAX_FOREIGN_DATA_LEN: usize = 8000;

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
        let read = self.channels.with_stream(id, |stream| stream.read(buffer));
        let read = read.unwrap_or(Read::Failed(StreamError::ChannelClosed));
        if let Read::Bytes(_) = read
            && !self.backlog.is_empty()
            && self.channels.unread() < Limits::UNREAD / 2
        {
            self.engine_deadline = now; // and the backlog with it
        }
        read
    }

    /// Takes in a message, and answers it at once, whoever reads the stream.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        id: ChannelId,
        message: Vec<u8>,
        outputs: &mut Outputs,
    ) {
        let is_handshake = self.handshake == Some(id);
        let acks = self.acks && !is_handshake;
        let received = self.channels.received(id, message, acks);
        if is_handshake && received.fin {
            // Only libp2p-webrtc ends the stream of the handshake. It fails to read if it gets a `FIN_ACK`.
            self.acks = false;
        }
        self.acks |= received.fin_ack;
        self.unsettle(now, id);
        let (key, channel) = (self.key, id);
        outputs.events.push_back(Event::Readable { key, channel });
        if received.concerns_writer {
            outputs.events.push_back(Event::Writable { key, channel });
        }
    }

    pub(in super::super) fn write(&mut self, now: Instant, id: ChannelId, bytes: &[u8]) -> Write {
        let (channel, closed) = (self.channels.get_mut(id), StreamError::ChannelClosed);
        if let Err(why) = channel.map_or(Err(closed), |it| it.stream.check_writable()) {
            return Write::Failed(why);
        }
        if !self.is_connected() {
            return Write::Failed(closed);
        }
        let max_len = match self.setup {
            Some(_) => MAX_DATA_LEN,
            None => MAX_FOREIGN_DATA_LEN,
        };
        let data = bytes.get(..max_len).unwrap_or(bytes);
        if data.is_empty() {
            return Write::Taken(0);
        }
        if self.channels.state(id) != State::Open {
            return Write::Blocked;
        }
        let outstanding = self.sending();
        if !self.window.admits(now, outstanding, data.len()) {
            self.channels.block(id);
            return Write::Blocked;
        }
        self.tick(now);
        match self.send_frame(id, &framing::data_frame(data)) {
            Some(true) => {
                self.window.write(now, data.len());
                Write::Taken(data.len())
            }
            Some(false) => {
                self.channels.block(id);
                Write::Blocked
            }
            None => Write::Failed(closed),
        }
    }

    /// Sends one message, if there is room for it. `None` if there never will be.
    pub(super) fn send_frame(&mut self, id: ChannelId, frame: &[u8]) -> Option<bool> {
        let written = self.run(|rtc| {
            let channel = rtc.channel(id);
            Ok(channel.and_then(|mut channel| channel.write(true, frame).ok()))
        });
        let is_taken = written.flatten()?;
        if is_taken && let Some(channel) = self.channels.get_mut(id) {
            channel.is_sending = true;
        }
        Some(is_taken)
    }

    pub(in super::super) fn close_stream(&mut self, now: Instant, id: ChannelId) -> Close {
        self.tick(now);
        let acks = self.acks;
        let closed = self
            .channels
            .with_stream(id, |stream| stream.close(now, acks));
        self.unsettle(now, id);
        match closed {
            Some(Ok(true)) => Close::Closed,
            Some(Ok(false)) => Close::Blocked,
            Some(Err(why)) => Close::Failed(why),
            None => Close::Failed(StreamError::ChannelClosed),
        }
    }

    /// How much was written that has not arrived yet.
    pub(super) fn sending(&mut self) -> usize {
        self.sending_of(|_| true)
    }

    /// Returns true if data has not arrived yet that the other side will read. Flags do not count, for SCTP may delay their
    /// acknowledgement by 200 ms.
    pub(super) fn owes_data(&mut self) -> bool {
        let acks = self.acks;
        self.sending_of(|stream| stream.owes_data(acks)) > 0
    }

    fn sending_of(&mut self, counts: impl Fn(&Stream) -> bool) -> usize {
        let ids: Vec<_> = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.is_sending && counts(&channel.stream))
            .map(|(id, _)| id)
            .collect();
        let mut sum = 0;
        for id in ids {
            sum += self.sending_over(id);
        }
        sum
    }

    /// How much of it was written over this channel.
    fn sending_over(&mut self, id: ChannelId) -> usize {
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
        amount
    }

    /// Returns true if some of what was written over this channel may not have arrived yet.
    pub(super) fn is_sending(&mut self, id: ChannelId) -> bool {
        let channel = self.channels.get_mut(id);
        channel.is_some_and(|channel| channel.is_sending) && self.sending_over(id) > 0
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
