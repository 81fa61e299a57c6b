//! Finds the frames in a stream of bytes, however the network cut it. It knows lengths, and leaves
//! what is in a frame to `convert`.

use prost::Message;

use super::{check_len, generated};
use crate::{error::ProtocolError, message::Frame};

/// The longest length prefix, in bytes: what the unsigned-varint specification allows.
const MAX_PREFIX_LEN: usize = 9;

/// Bytes go in by [`extend`](Self::extend), frames come out of [`decode`](Self::decode).
///
/// It holds at most one frame and what came with it in one read, as long as all frames are taken out
/// before more bytes go in, and no memory at all between frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    /// How much of the buffer was taken out already.
    taken: usize,
}

impl Decoder {
    /// Takes in the next bytes of the stream.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame and its length in bytes, without the prefix, or `None` until more have come.
    ///
    /// # Errors
    ///
    /// Where the stream makes no sense. There is no way on from there: the same error comes again.
    pub(crate) fn decode(&mut self) -> Result<Option<(Frame, usize)>, ProtocolError> {
        let unread = self.unread();
        let Some((prefix, len)) = read_prefix(unread)? else {
            return Ok(None);
        };
        check_len(len)?;
        let end = prefix + len as usize;
        let Some(body) = unread.get(prefix..end) else {
            self.buffer.reserve_exact(end - unread.len());
            return Ok(None);
        };
        let frame = generated::Frame::decode(body).map_err(|_| ProtocolError::Malformed)?;
        let frame = Frame::try_from(frame)?;
        self.take(end);
        Ok(Some((frame, end - prefix)))
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] within a frame.
    pub(crate) fn finish(&self) -> Result<(), ProtocolError> {
        if self.unread().is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::Truncated)
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// An idle link must not hold the buffer of its longest frame.
    fn take(&mut self, len: usize) {
        self.taken += len;
        if self.unread().is_empty() {
            *self = Self::default();
        }
    }
}

/// The length prefix at the start of `bytes`: how many bytes it takes, and the length it announces.
fn read_prefix(bytes: &[u8]) -> Result<Option<(usize, u64)>, ProtocolError> {
    let mut len = 0;
    for (index, &byte) in bytes.iter().take(MAX_PREFIX_LEN).enumerate() {
        len |= u64::from(byte & 0x7f) << (7 * index);
        if byte == 0 && index > 0 {
            // Padded: the specification wants the shortest form.
            return Err(ProtocolError::Malformed);
        }
        if byte & 0x80 == 0 {
            return Ok(Some((index + 1, len)));
        }
    }
    if bytes.len() < MAX_PREFIX_LEN {
        return Ok(None);
    }
    Err(ProtocolError::Malformed)
}
