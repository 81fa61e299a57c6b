//! libp2p's framing of a stream on a WebRTC data channel (specification "WebRTC", section "Multiplexing"), as bytes that
//! go in and come out. It knows nothing of the engine below, of sockets, tasks or the clock, so that it serves any data
//! channel that takes and gives messages, a browser's as well.
//!
//! A frame is a protobuf message behind its length: `Message { flag: Flag = 1, message: bytes = 2 }`. We send one frame
//! in one message of the data channel. Others cut frames differently (js-libp2p sends the length by itself), so the
//! reader takes a channel's messages as one stream of bytes. It is written by hand, and not with `prost`, for two reasons:
//! it passes data on where it lies, also of a frame that is not complete, so an idle stream needs no buffer; and it
//! leaves this module without dependencies. [`stream`] tells what the flags mean, and who closes the channel.

use std::ops::Range;

pub(super) use self::{
    error::StreamError,
    stream::{Opener, Read, Received, Stream},
};

mod error;
#[cfg(any(test, fuzzing))]
#[allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // it is to
pub(crate) mod fuzz;
mod stream;
#[cfg(test)]
mod tests;

/// The longest frame in bytes, with the length in front of it: browsers agree on no more ("Multiplexing").
pub(super) const MAX_FRAME_LEN: usize = 16 * 1024;

/// The most bytes of data in one frame: up to 2 bytes are its length, and 3 come before the data.
pub(super) const MAX_DATA_LEN: usize = MAX_FRAME_LEN - 5;

/// The longest length in front of a frame, in bytes: it says at most [`MAX_FRAME_LEN`].
const MAX_PREFIX_LEN: u32 = 2;

/// The longest protobuf varint, in bytes: 64 bits of 7 each.
const MAX_VARINT_LEN: u32 = 10;

/// A protobuf key is the number of a field, then three bits of how the field is encoded.
const FLAG_KEY: u8 = 1 << 3;
const DATA_KEY: u8 = 2 << 3 | 2;

/// The flags of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// The sender has sent everything.
    Fin = 0,
    /// The sender does not read any more.
    StopSending = 1,
    /// The sender has dropped the stream.
    Reset = 2,
    /// The sender has received [`Flag::Fin`], and so all that came before it.
    FinAck = 3,
}

impl Flag {
    /// The length of [`Self::frame`].
    pub(super) const FRAME_LEN: usize = 3;

    /// Returns the flag with this number, if it is one that we know.
    fn from_number(number: u64) -> Option<Self> {
        let all = [Self::Fin, Self::StopSending, Self::Reset, Self::FinAck];
        all.into_iter().find(|flag| *flag as u64 == number)
    }

    /// Returns a frame that says this and nothing else.
    pub(super) fn frame(self) -> [u8; Self::FRAME_LEN] {
        [2, FLAG_KEY, self as u8]
    }
}

/// Returns a frame of this data, of which there may be [`MAX_DATA_LEN`] bytes.
pub(super) fn data_frame(data: &[u8]) -> Vec<u8> {
    let len = varint(data.len());
    let prefix = varint(1 + len.len() + data.len());
    let mut frame = Vec::with_capacity(prefix.len() + 1 + len.len() + data.len());
    frame.extend(prefix);
    frame.push(DATA_KEY);
    frame.extend(len);
    frame.extend_from_slice(data);
    frame
}

/// Returns the varint of a length below 2^14, as any of a frame is.
fn varint(len: usize) -> impl ExactSizeIterator<Item = u8> + Clone {
    let (low, high) = ((len & 0x7F) as u8, (len >> 7) as u8);
    match high {
        0 => [low, 0].into_iter().take(1),
        _ => [low | 0x80, high].into_iter().take(2),
    }
}

/// The other side does not keep to the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of libp2p's WebRTC streams")]
pub(super) struct Malformed;

/// A part of what a message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// Data, which lies there in the message. A frame's data comes in several parts if messages cut it.
    Data(Range<usize>),
    /// A flag, after the data of its frame.
    Flag(Flag),
}

/// Reads frames, however messages cut them. It keeps some numbers, and no bytes.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
    /// The bytes of the frame that are still to come.
    left: usize,
    varint: Varint,
    flag: Option<Flag>,
    has_data: bool,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The length of a frame.
    #[default]
    Prefix,
    /// A field, or the end of the frame.
    Key,
    Flag,
    DataLen,
    /// So many bytes of data.
    Data(usize),
    /// A field that we do not know.
    UnknownVarint,
    UnknownLen,
    Unknown(usize),
}

/// A varint of which some bytes have come.
#[derive(Debug, Default)]
struct Varint {
    value: u64,
    len: u32,
}

impl Varint {
    /// Takes in a byte. Returns the number with its last one.
    fn push(&mut self, byte: u8, max_len: u32) -> Result<Option<u64>, Malformed> {
        self.value |= u64::from(byte & 0x7F) << (7 * self.len);
        self.len += 1;
        match byte & 0x80 {
            0 => Ok(Some(std::mem::take(self).value)),
            _ if self.len < max_len => Ok(None),
            _ => Err(Malformed),
        }
    }
}

impl Scanner {
    /// Returns the next part of `message`, from `at` on, which moves behind the part. `None` at the end of the message. An
    /// error is for good.
    pub(super) fn next(
        &mut self,
        message: &[u8],
        at: &mut usize,
    ) -> Result<Option<Item>, Malformed> {
        loop {
            if self.state == State::Key && self.left == 0 {
                self.state = State::Prefix;
                self.has_data = false;
                if let Some(flag) = self.flag.take() {
                    return Ok(Some(Item::Flag(flag)));
                }
            }
            let rest = message.get(*at..).unwrap_or_default();
            let Some(&byte) = rest.first() else {
                return Ok(None);
            };
            let start = *at;
            match self.state {
                State::Data(len) | State::Unknown(len) => {
                    let taken = len.min(rest.len());
                    *at += taken;
                    self.left -= taken;
                    let is_data = matches!(self.state, State::Data(_));
                    self.state = match len - taken {
                        0 => State::Key,
                        more if is_data => State::Data(more),
                        more => State::Unknown(more),
                    };
                    if is_data {
                        return Ok(Some(Item::Data(start..*at)));
                    }
                }
                _ => {
                    *at += 1;
                    self.take_number(byte)?;
                }
            }
        }
    }

    /// Takes in a byte of a number, and what follows from the number when it is complete.
    fn take_number(&mut self, byte: u8) -> Result<(), Malformed> {
        let is_prefix = self.state == State::Prefix;
        if !is_prefix {
            self.left = self.left.checked_sub(1).ok_or(Malformed)?;
        }
        let max_len = if is_prefix {
            MAX_PREFIX_LEN
        } else {
            MAX_VARINT_LEN
        };
        let prefix_len = self.varint.len as usize + 1;
        let Some(number) = self.varint.push(byte, max_len)? else {
            return Ok(());
        };
        self.state = match self.state {
            State::Prefix => {
                self.left = usize::try_from(number).map_err(|_| Malformed)?;
                if prefix_len + self.left > MAX_FRAME_LEN {
                    return Err(Malformed);
                }
                State::Key
            }
            State::Key => self.field(number)?,
            State::Flag => {
                // One that we do not know is not for us.
                self.flag = Flag::from_number(number);
                State::Key
            }
            State::DataLen => self.field_of(number, State::Data)?,
            State::UnknownLen => self.field_of(number, State::Unknown)?,
            State::UnknownVarint | State::Data(_) | State::Unknown(_) => State::Key,
        };
        Ok(())
    }

    /// Returns what comes behind the key of a field.
    fn field(&mut self, key: u64) -> Result<State, Malformed> {
        if key == u64::from(DATA_KEY) {
            // Protobuf has the last of several win, which would have to be waited for. Nobody sends several.
            let is_first = !std::mem::replace(&mut self.has_data, true);
            return is_first.then_some(State::DataLen).ok_or(Malformed);
        }
        match (key >> 3, key & 7) {
            (1, 0) => Ok(State::Flag),
            (0..=2, _) => Err(Malformed),
            (_, 0) => Ok(State::UnknownVarint),
            (_, 1) => self.field_of(8, State::Unknown),
            (_, 2) => Ok(State::UnknownLen),
            (_, 5) => self.field_of(4, State::Unknown),
            _ => Err(Malformed),
        }
    }

    /// Returns a field's state if the frame has so many bytes left for it.
    fn field_of(&self, len: u64, state: fn(usize) -> State) -> Result<State, Malformed> {
        match usize::try_from(len) {
            Ok(0) => Ok(State::Key),
            Ok(len) if len <= self.left => Ok(state(len)),
            _ => Err(Malformed),
        }
    }
}
