//! Requests that reset streams: they wait until all has come that was sent before them, and for room for the requests
//! of our own that each of them makes. It knows what was asked and answered, and nothing of what the streams carry.

use std::collections::VecDeque;

use super::{Violation, chunks::Reset, is_after};
use crate::config::Limits;

/// A request on its way to the engine, or what has to stay behind one: who knows that a reset is done uses the stream
/// anew, and the request would reset it again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Option<Request>,
    pub(super) packet: Vec<u8>,
    /// Whether the engine has it.
    is_asked: bool,
}

#[derive(Debug)]
pub(super) struct Request {
    number: u32,
    last_tsn: u32,
    pub(super) streams: Vec<u16>,
}

#[derive(Debug, Default)]
pub(super) struct Resets {
    pub(super) waiting: VecDeque<Waiting>,
    /// The last request that the engine has done what it asks for.
    done: Option<u32>,
    /// Those done that made requests of our own, in turn, and of how many streams, until these are sent.
    pub(super) made: VecDeque<(u32, usize)>,
}

impl Resets {
    /// Has a request wait for its turn, or a response that is behind one.
    pub(super) fn wait(
        &mut self,
        packet: Vec<u8>,
        request: Option<Reset<'_>>,
    ) -> Result<(), Violation> {
        let number = request.map(|reset| reset.number);
        let same = |it: &&mut Waiting| it.request.as_ref().map(|it| it.number) == number;
        if number.is_some()
            && let Some(waiting) = self.waiting.iter_mut().find(same)
        {
            waiting.is_asked = false; // the engine may have missed it
            return Ok(());
        }
        let request = request.map(|reset| Request {
            number: reset.number,
            last_tsn: reset.last_tsn,
            streams: reset.streams().collect(),
        });
        if request.as_ref().is_some_and(|it| it.streams.is_empty()) {
            return Err(Violation::ResetsAll);
        }
        let waiting: usize = self.waiting.iter().map(|it| it.packet.len()).sum();
        let may_ask = request.is_none() || self.may_reset();
        if may_ask && waiting + packet.len() <= Limits::SCTP_WAITING {
            self.waiting.push_back(Waiting {
                request,
                packet,
                is_asked: false,
            });
        }
        Ok(())
    }

    /// Whether something waits that the engine does not have.
    pub(super) fn has_next(&self) -> bool {
        self.place().is_some()
    }

    /// What the engine may have next, if it has acknowledged that.
    pub(super) fn next(&self, acknowledged: Option<u32>) -> Option<&Waiting> {
        let next = self.waiting.get(self.place()?)?;
        let is_early = |it: &Request| acknowledged.is_none_or(|last| is_after(it.last_tsn, last));
        (!next.request.as_ref().is_some_and(is_early)).then_some(next)
    }

    /// The engine gets it. A request is kept until it is answered.
    pub(super) fn take_next(&mut self) -> Option<Vec<u8>> {
        let place = self.place()?;
        let next = self.waiting.get_mut(place)?;
        if next.request.is_none() {
            return Some(self.waiting.remove(place)?.packet);
        }
        next.is_asked = true;
        Some(next.packet.clone())
    }

    fn place(&self) -> Option<usize> {
        self.waiting.iter().position(|it| !it.is_asked)
    }

    /// Whether the engine may be asked for another reset.
    fn may_reset(&self) -> bool {
        let requests = self.waiting.iter().filter_map(|it| it.request.as_ref());
        let requests = requests.map(|request| request.streams.len());
        let made = self.made.iter().map(|(_, streams)| *streams);
        let (count, streams) = requests
            .chain(made)
            .fold((0, 0), |(count, sum), streams| (count + 1, sum + streams));
        count < Limits::SCTP_RESETS && streams < Limits::SCTP_RESET_STREAMS
    }

    /// The engine has answered a request. The streams that are reset now, if it was not before.
    pub(super) fn on_answered(&mut self, number: u32, is_done: bool) -> Option<Vec<u16>> {
        let is_it = |it: &Waiting| {
            let request = it.request.as_ref().filter(|_| it.is_asked);
            request.is_some_and(|request| request.number == number)
        };
        let place = self.waiting.iter().position(is_it)?;
        let request = self.waiting.remove(place)?.request?;
        let is_new = self.done.is_none_or(|done| is_after(number, done));
        if !is_done || !is_new {
            return None; // what is repeated is answered again, and not done again
        }
        self.done = Some(number);
        Some(request.streams)
    }

    /// What was done makes a request of our own, of so many streams.
    pub(super) fn expect_ours(&mut self, number: u32, streams: usize) {
        if streams > 0 {
            self.made.push_back((number, streams));
        }
    }

    /// We have sent a request of our own, after this one of theirs. They are sent in turn, each once the one before is
    /// answered.
    pub(super) fn on_ours(&mut self, last_request: u32) {
        self.made
            .retain(|(number, _)| is_after(*number, last_request));
    }
}
