//! Ends the streams of a connection: flags that are sent over their channels, and channels that are closed. [`Stream`]
//! decides when.

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

/// How many may seem to wait before those are taken out that wait no more: two sides' channels, and as many again.
const MAX_WAITING: usize = 4 * Limits::STREAMS;

/// How many channels are looked at that are draining, if none of them is done: the other side may acknowledge nothing.
const DRAINING_BATCH: usize = 16;

/// The channels that have to be looked at, now or later. None is looked at for nothing, for there may be thousands.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Those that something has happened to, or over which flags could not be sent yet.
    unsettled: Vec<ChannelId>,
    /// Those that are to be closed once what was written has arrived: each once, as its `is_draining` says.
    draining: VecDeque<ChannelId>,
    /// Those that wait for the other side, and until when. All wait equally long, so the first is the next.
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
        if closing.waiting.len() > MAX_WAITING {
            let channels = &mut self.channels;
            closing.waiting.retain(|(until, id)| {
                let channel = channels.get_mut(*id);
                channel.is_some_and(|it| it.stream.waits_until(*until))
            });
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
        let mut has_acted = self.settle_draining(now, outputs);
        for id in std::mem::take(&mut self.closing.unsettled) {
            has_acted |= self.settle_stream(now, id, outputs);
        }
        if has_acted {
            self.drain(now, demux, outputs);
        }
    }

    /// Looks at some that are draining, and at more for as long as some of them are done.
    fn settle_draining(&mut self, now: Instant, outputs: &mut Outputs) -> bool {
        let mut has_acted = false;
        loop {
            let count = self.closing.draining.len().min(DRAINING_BATCH);
            let batch: Vec<_> = self.closing.draining.drain(..count).collect();
            let mut is_one_done = false;
            for id in batch {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.is_draining = false;
                }
                is_one_done |= self.settle_stream(now, id, outputs);
            }
            has_acted |= is_one_done;
            if !is_one_done {
                return has_acted;
            }
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
            if let Some(channel) = self.channels.get_mut(id)
                && !channel.is_draining
            {
                channel.is_draining = true;
                self.closing.draining.push_back(id);
            }
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
