//! How messages travel: frames as varint-length-prefixed protobuf, signals in signed envelopes. The
//! only place that knows prost; what leaves it upwards are the types of `message`, checked and
//! clamped. It knows neither streams nor what a message makes anybody do.

mod convert;
mod decoder;
mod envelope;
#[rustfmt::skip]
#[allow(unreachable_pub)] // prost-build writes `pub` throughout
mod generated;
mod signal_body;
mod values;

#[cfg(test)]
mod tests;

use prost::Message;

#[cfg(any(feature = "simulator", test, fuzzing))]
pub(crate) use self::signal_body::{decode as decode_signal, encode as encode_signal};
pub(crate) use self::{decoder::Decoder, envelope::Signer};
use crate::{config::Limits, error::ProtocolError, message::Frame};

/// The frame with its length in front.
///
/// # Errors
///
/// [`ProtocolError::TooLong`] where the remote would refuse it. Only a [`Frame::Signal`] can be that
/// long, and none that was sealed here or came in a frame is.
pub(crate) fn encode(frame: &Frame) -> Result<Vec<u8>, ProtocolError> {
    let frame = generated::Frame::from(frame);
    let len = frame.encoded_len();
    check_len(len as u64)?;
    let mut bytes = Vec::with_capacity(len + prost::length_delimiter_len(len));
    // A `Vec` grows: it never lacks the room whose lack would be an error.
    frame
        .encode_length_delimited(&mut bytes)
        .map_err(|_| ProtocolError::Malformed)?;
    Ok(bytes)
}

/// The one comparison with [`Limits::FRAME_LEN`], for both directions.
fn check_len(len: u64) -> Result<(), ProtocolError> {
    if len > Limits::FRAME_LEN as u64 {
        return Err(ProtocolError::TooLong { len });
    }
    Ok(())
}
