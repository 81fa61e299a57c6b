//! One stream on a data channel: what was received and not read, how far each direction is, which flags are to be sent,
//! and when the channel is to be closed. Messages and the time go in; data, flags and a deadline come out. The owner of
//! the channel feeds it at once, whoever reads or writes the stream, so that a `FIN` is acknowledged in any case.
//!
//! Decides who closes a channel. All ends may close one whose two directions have ended (specification "WebRTC", section
//! "Closing an RTCDataChannel"), and differ in what they do:
//!
//! | other end | closes the channel | if the channel is closed before that |
//! |---|---|---|
//! | js-libp2p | when it has both `FIN` and `FIN_ACK`, or on `RESET` | drops what is queued, and gives the id to its next channel |
//! | go-libp2p | the same | its reads and writes fail |
//! | py-libp2p | never | sends to it raise errors |
//! | libp2p-webrtc (Rust) | never; it sends no `FIN_ACK`, and fails to read if it gets one | as if it were reset |
//!
//! So the side that opened the channel closes it, for it also chose the id: at once after both `FIN`s and its `FIN_ACK`,
//! or after a `RESET` of its own. The other side waits for that, at most [`Limits::STREAM_CLOSE_TIME`] from when the
//! stream was dropped. To an end that does not know `FIN_ACK` none is sent, nor waited for, and the channel is closed
//! as soon as everything has arrived.

use std::{collections::VecDeque, ops::Range, time::Instant};

use super::{Flag, Item, Malformed, Scanner, StreamError};
use crate::config::Limits;

/// The bytes that a kept message costs beside its own, so that many small ones count too.
const MESSAGE_OVERHEAD: usize = 64;

/// The most slots for messages that an idle stream keeps allocated: those of small exchanges, in 320 bytes.
const IDLE_SLOTS: usize = 8;

/// The side that opened a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Opener {
    Us,
    Them,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Read {
    /// So many bytes were put into the buffer.
    Bytes(usize),
    /// The other side has sent everything, and all of it was read.
    Ended,
    /// There is nothing yet.
    Blocked,
    /// The rest will not come.
    Failed(StreamError),
}

/// What the owner of a channel is to know of a message.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Received {
    pub(in super::super) fin: bool,
    pub(in super::super) fin_ack: bool,
    /// A write, or a close, may end otherwise now.
    pub(in super::super) concerns_writer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    Ended,
    Failed(StreamError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// Our `FIN` waits for its `FIN_ACK`, until then.
    Closing(Instant),
    Closed,
    Failed(StreamError),
}

/// A message, and which of its bytes are data that was not read.
#[derive(Debug)]
struct Chunk {
    message: Vec<u8>,
    data: Range<usize>,
}

impl Chunk {
    fn cost(&self) -> usize {
        self.message.len() + MESSAGE_OVERHEAD
    }
}

/// A stream, without its channel.
#[derive(Debug)]
pub(in super::super) struct Stream {
    opener: Opener,
    scanner: Scanner,
    unread: VecDeque<Chunk>,
    /// The sum of what `unread` costs.
    held: usize,
    reading: Reading,
    writing: Writing,
    /// The flags that are to be sent, a bit for each.
    due: u8,
    /// Cleared when nobody will read any more.
    is_read: bool,
    /// Until when the other side may close the channel, once the stream is dropped.
    dropped_until: Option<Instant>,
}

impl Stream {
    pub(in super::super) fn new(opener: Opener) -> Self {
        Self {
            opener,
            scanner: Scanner::default(),
            unread: VecDeque::new(),
            held: 0,
            reading: Reading::Open,
            writing: Writing::Open,
            due: 0,
            is_read: true,
            dropped_until: None,
        }
    }

    /// Takes in a message of the channel. A `FIN` is acknowledged if `acks`: if the other end knows how.
    pub(in super::super) fn receive(&mut self, mut message: Vec<u8>, acks: bool) -> Received {
        let (mut received, mut at, mut data) = (Received::default(), 0, 0..0);
        if self.reading == Reading::Failed(StreamError::Malformed) {
            return received;
        }
        loop {
            match self.scanner.next(&message, &mut at) {
                Ok(Some(Item::Data(_))) if !self.is_read || self.reading != Reading::Open => {}
                Ok(Some(Item::Data(part))) if data.is_empty() => data = part,
                Ok(Some(Item::Data(part))) => {
                    // Moved to that of the frames before, so that one message is one piece.
                    let len = part.len();
                    message.copy_within(part, data.end);
                    data.end += len;
                }
                Ok(Some(Item::Flag(flag))) => {
                    received.fin |= flag == Flag::Fin;
                    received.fin_ack |= flag == Flag::FinAck;
                    received.concerns_writer |= flag != Flag::Fin;
                    self.on_flag(flag, acks);
                }
                Ok(None) => break,
                Err(Malformed) => {
                    self.on_malformed();
                    received.concerns_writer = true;
                    break;
                }
            }
        }
        self.keep(message, data);
        received
    }

    fn keep(&mut self, mut message: Vec<u8>, data: Range<usize>) {
        if data.is_empty() || matches!(self.reading, Reading::Failed(_)) {
            return;
        }
        let mut chunk = Chunk {
            message: Vec::new(),
            data,
        };
        if chunk.data.len() < message.len() / 2 {
            // Fields that we do not know are not worth keeping.
            message = message.get(chunk.data.clone()).unwrap_or_default().to_vec();
            chunk.data = 0..message.len();
        }
        chunk.message = message;
        self.held += chunk.cost();
        self.unread.push_back(chunk);
    }

    fn on_flag(&mut self, flag: Flag, acks: bool) {
        match flag {
            Flag::Fin if self.reading == Reading::Open => {
                self.reading = Reading::Ended;
                if acks {
                    self.send(Flag::FinAck);
                }
            }
            Flag::Fin => {}
            Flag::FinAck => {
                if let Writing::Closing(_) = self.writing {
                    self.writing = Writing::Closed;
                }
            }
            Flag::StopSending => match self.writing {
                Writing::Open => self.writing = Writing::Failed(StreamError::Stopped),
                // Some ends acknowledge nothing any more after this.
                Writing::Closing(_) => self.writing = Writing::Closed,
                Writing::Closed | Writing::Failed(_) => {}
            },
            Flag::Reset => self.fail(StreamError::Reset),
        }
    }

    fn on_malformed(&mut self) {
        self.fail(StreamError::Malformed);
        // Also what came before `FIN` may be wrong.
        self.reading = Reading::Failed(StreamError::Malformed);
        self.forget_unread();
        self.send(Flag::Reset);
    }

    /// Ends both directions, unless they have ended well, for all implementations drop a stream as a whole.
    fn fail(&mut self, why: StreamError) {
        self.due = 0;
        if self.reading == Reading::Open {
            self.reading = Reading::Failed(why);
            self.forget_unread();
        }
        if self.writing != Writing::Closed {
            self.writing = Writing::Failed(why);
        }
    }

    fn forget_unread(&mut self) {
        self.unread = VecDeque::new();
        self.held = 0;
    }

    /// The bytes of memory that wait to be read.
    pub(in super::super) fn held(&self) -> usize {
        self.held
    }

    /// Moves what has come into `buffer`.
    pub(in super::super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let (is_asked, mut filled) = (!buffer.is_empty(), 0);
        while let Some(chunk) = self.unread.front_mut() {
            let rest = chunk.message.get(chunk.data.clone()).unwrap_or_default();
            let space = buffer.get_mut(filled..).unwrap_or_default();
            let n = rest.len().min(space.len());
            if let (Some(to), Some(from)) = (space.get_mut(..n), rest.get(..n)) {
                to.copy_from_slice(from);
            }
            filled += n;
            chunk.data.start += n;
            if !chunk.data.is_empty() {
                break;
            }
            self.held -= chunk.cost();
            self.unread.pop_front();
        }
        if self.unread.is_empty() && self.unread.capacity() > IDLE_SLOTS {
            self.unread = VecDeque::new();
        }
        match self.reading {
            _ if filled > 0 || !is_asked => Read::Bytes(filled),
            Reading::Open => Read::Blocked,
            Reading::Ended => Read::Ended,
            Reading::Failed(why) => Read::Failed(why),
        }
    }

    /// Returns if data may be sent.
    ///
    /// # Errors
    ///
    /// If it never may again.
    pub(in super::super) fn check_writable(&self) -> Result<(), StreamError> {
        match self.writing {
            Writing::Open => Ok(()),
            Writing::Closing(_) | Writing::Closed => Err(StreamError::Finished),
            Writing::Failed(why) => Err(why),
        }
    }

    /// Ends what we send. Returns true once the other side has everything, or does not tell. `acks` if the other end is
    /// to tell.
    ///
    /// # Errors
    ///
    /// If the other side has dropped the stream before that, or its channel is closed.
    pub(in super::super) fn close(
        &mut self,
        now: Instant,
        acks: bool,
    ) -> Result<bool, StreamError> {
        match self.writing {
            Writing::Open if acks => {
                self.writing = Writing::Closing(now + Limits::STREAM_CLOSE_TIME);
                self.send(Flag::Fin);
            }
            Writing::Open | Writing::Failed(StreamError::Stopped) => {
                self.writing = Writing::Closed;
                self.send(Flag::Fin);
            }
            Writing::Closing(_) | Writing::Closed => {}
            Writing::Failed(why) => return Err(why),
        }
        Ok(self.writing == Writing::Closed)
    }

    /// Drops what has come and will come. Sends no flag.
    pub(in super::super) fn ignore(&mut self) {
        self.is_read = false;
        self.forget_unread();
    }

    /// Nobody reads or writes any more. The other side is told so, if it does not know.
    pub(in super::super) fn release(&mut self, now: Instant) {
        self.ignore();
        self.dropped_until = Some(now + Limits::STREAM_CLOSE_TIME);
        match self.writing {
            Writing::Open | Writing::Failed(StreamError::Stopped) => {
                self.writing = Writing::Failed(StreamError::Reset);
                self.send(Flag::Reset);
            }
            Writing::Closing(_) | Writing::Closed if self.reading == Reading::Open => {
                self.send(Flag::StopSending);
            }
            Writing::Closing(_) | Writing::Closed | Writing::Failed(_) => {}
        }
    }

    /// Returns true if the other side may not have read what was written, and will: it has not said that it has everything
    /// (if it would), and neither side has dropped the stream.
    pub(in super::super) fn owes_data(&self, acks: bool) -> bool {
        match self.writing {
            Writing::Open | Writing::Closing(_) => true,
            Writing::Closed => !acks,
            Writing::Failed(_) => false,
        }
    }

    /// Returns true from when nobody reads or writes any more.
    pub(in super::super) fn is_dropped(&self) -> bool {
        !self.is_read
    }

    /// The channel is closed. What has come can still be read.
    pub(in super::super) fn on_channel_closed(&mut self) {
        let why = StreamError::ChannelClosed;
        self.due = 0;
        if self.reading == Reading::Open {
            self.reading = Reading::Failed(why);
        }
        if let Writing::Open | Writing::Closing(_) = self.writing {
            self.writing = Writing::Failed(why);
        }
    }

    fn send(&mut self, flag: Flag) {
        self.due |= 1 << flag as u8;
    }

    /// Returns the next flag that is to be sent.
    pub(in super::super) fn due(&self) -> Option<Flag> {
        let all = [Flag::FinAck, Flag::Fin, Flag::StopSending, Flag::Reset];
        all.into_iter()
            .find(|flag| self.due & 1 << *flag as u8 != 0)
    }

    /// A flag that was due is on its way.
    pub(in super::super) fn on_sent(&mut self, flag: Flag) {
        self.due &= !(1 << flag as u8);
    }

    /// Stops to wait for a `FIN_ACK` for which it has waited long enough. Returns true if it does.
    pub(in super::super) fn expire(&mut self, now: Instant) -> bool {
        let is_late = matches!(self.writing, Writing::Closing(until) if until <= now);
        if is_late {
            self.writing = Writing::Closed;
        }
        is_late
    }

    /// Returns true if our side is to close the channel, once all that was written has arrived.
    pub(in super::super) fn is_over(&self, now: Instant, acks: bool) -> bool {
        let Some(until) = self.dropped_until else {
            return false;
        };
        let is_open = matches!(self.writing, Writing::Open | Writing::Closing(_));
        let is_reset = matches!(self.writing, Writing::Failed(_));
        let has_ended = is_reset || !is_open && self.reading != Reading::Open;
        until <= now || self.due == 0 && (!acks || has_ended && self.opener == Opener::Us)
    }

    /// Returns true while there is a flag to send, or something to wait for.
    pub(in super::super) fn is_unsettled(&self) -> bool {
        let is_closing = matches!(self.writing, Writing::Closing(_));
        self.due != 0 || is_closing || self.dropped_until.is_some()
    }

    /// Returns true if [`Self::expire`] or [`Self::is_over`] will say something else then.
    pub(in super::super) fn waits_until(&self, until: Instant) -> bool {
        self.writing == Writing::Closing(until) || self.dropped_until == Some(until)
    }

    /// The bytes that it takes, itself and on the heap.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let slots = self.unread.capacity() * size_of::<Chunk>();
        let messages = self.unread.iter().map(|chunk| chunk.message.capacity());
        size_of::<Self>() + slots + messages.sum::<usize>()
    }
}
