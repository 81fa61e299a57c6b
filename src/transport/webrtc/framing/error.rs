//! The errors of a stream, as the engine-free part tells them and as a task gets them.

use std::io;

/// The reason for which a stream, or one direction of it, does not work any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum StreamError {
    #[error("the other side has dropped the stream")]
    Reset,
    #[error("the other side does not read the stream any more")]
    Stopped,
    #[error("the other side broke the framing of the stream")]
    Malformed,
    /// The end of a stream is said by a flag. So something may be missing.
    #[error("the data channel is closed")]
    ChannelClosed,
    #[error("this side has closed the stream")]
    Finished,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Reset | StreamError::ChannelClosed => io::ErrorKind::ConnectionReset,
            StreamError::Stopped | StreamError::Finished => io::ErrorKind::BrokenPipe,
            StreamError::Malformed => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
