//! Ends the streams of a connection: flags that are sent over their channels, and channels that are closed. When that is
//! to be is for [`Stream`] to say.

use std::{collections::VecDeque, time::Instant};

use str0m::channel::ChannelId;

use super::{
    super::{
        super::framing::{Flag, Stream},
        Event, Outputs,
        channels::State,
        demux::Demux,
    },
    Connection,
};
use crate::config::Limits;

/// The channels that have to be looked at, now or later. None is looked at for nothing, for there may be thousands.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Those that something has happened to, or over which flags could not be sent yet.
    unsettled: Vec<ChannelId>,
    /// Those that are to be closed once what was written has arrived.
    draining: Vec<ChannelId>,
    /// Those that wait for the other side, and until when: all for the same time, so that the next is the first.
    waiting: VecDeque<(Instant, ChannelId)>,
}

impl Closing {
    /// Returns when a channel has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }
}

impl Connection {
    /// Has [`Self::settle_streams`] look at a stream that something has happened to.
    pub(super) fn unsettle(&mut self, now: Instant, id: ChannelId) {
        let Some(stream) = self.channels.get_mut(id).map(|it| &it.stream) else {
            return;
        };
        let closing = &mut self.closing;
        if stream.is_unsettled() && !closing.unsettled.contains(&id) {
            closing.unsettled.push(id);
        }
        // If it has just begun to wait.
        let until = now + Limits::STREAM_CLOSE_TIME;
        if stream.waits_until(until) && closing.waiting.back() != Some(&(until, id)) {
            closing.waiting.push_back((until, id));
        }
    }

    pub(in super::super) fn release_channel(&mut self, now: Instant, id: ChannelId) {
        self.tick(now);
        if self.handshake == Some(id) {
            self.channels.release(id, Stream::ignore);
        } else if self.channels.release(id, |stream| stream.release(now)) {
            self.unsettle(now, id);
        }
    }

    /// Sends flags that are due, and ends what has waited long enough.
    pub(super) fn settle_streams(
        &mut self,
        now: Instant,
        demux: &mut Demux,
        outputs: &mut Outputs,
    ) {
        self.take_late(now);
        let mut draining = std::mem::take(&mut self.closing.draining);
        self.closing.unsettled.append(&mut draining);
        let mut has_acted = false;
        for id in std::mem::take(&mut self.closing.unsettled) {
            has_acted |= self.settle_stream(now, id, outputs);
        }
        if has_acted {
            self.drain(now, demux, outputs);
        }
    }

    /// Has those looked at that have waited long enough, and forgets those that wait no more.
    fn take_late(&mut self, now: Instant) {
        while let Some((until, id)) = self.closing.waiting.front().copied() {
            let channel = self.channels.get_mut(id);
            let is_waiting = channel.is_some_and(|it| it.stream.waits_until(until));
            if is_waiting && until > now {
                return;
            }
            self.closing.waiting.pop_front();
            if is_waiting {
                self.closing.unsettled.push(id);
            }
        }
    }

    /// Returns true if the engine has something to do now.
    fn settle_stream(&mut self, now: Instant, id: ChannelId, outputs: &mut Outputs) -> bool {
        let has_sent = self.send_flags(id);
        let acks = self.acks;
        let is_open = self.channels.state(id) == State::Open;
        let Some(channel) = self.channels.get_mut(id) else {
            return has_sent;
        };
        if channel.stream.expire(now) {
            let (key, channel) = (self.key, id);
            outputs.events.push_back(Event::Writable { key, channel });
        }
        if channel.stream.is_over(now, acks) {
            if !self.is_sending(id) {
                self.close_channel(id);
                self.tick(now);
                return true;
            }
            self.closing.draining.push(id);
        } else if is_open && channel.stream.due().is_some() {
            self.closing.unsettled.push(id);
        }
        has_sent
    }

    /// Sends the flags that are due over a channel, as far as there is room. They do not count into the window, for a
    /// channel has each of them once. Returns true if one was sent.
    fn send_flags(&mut self, id: ChannelId) -> bool {
        let mut has_sent = false;
        while self.channels.state(id) == State::Open
            && let Some(flag) = self.due(id)
            && self.send_frame(id, &flag.frame()) == Some(true)
        {
            self.channels.with_stream(id, |stream| stream.on_sent(flag));
            has_sent = true;
        }
        has_sent
    }

    fn due(&mut self, id: ChannelId) -> Option<Flag> {
        self.channels.get_mut(id)?.stream.due()
    }
}
