//! One stream of a connection as libp2p sees it: bytes that are read and written by tasks. It knows nothing of frames, nor
//! of what becomes of the data channel below.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};

use super::{
    endpoint::{ChannelId, Close, Key, Write},
    framing::{Read, StreamError},
    shared::{Handle, State},
    waiting::Cause,
};

/// A stream, which is reset when it is dropped before it was closed.
pub(super) struct Substream {
    handle: Handle,
    key: Key,
    id: ChannelId,
}

impl Substream {
    /// Owns the channel from now on.
    pub(super) fn new(handle: Handle, key: Key, id: ChannelId) -> Self {
        Self { handle, key, id }
    }

    fn readable(&self) -> Cause {
        Cause::Readable(self.key, self.id)
    }

    fn writable(&self) -> Cause {
        Cause::Writable(self.key, self.id)
    }

    /// Returns why the stream fails: because its connection does, if so.
    fn error<T>(&self, state: &State, why: StreamError) -> Poll<io::Result<T>> {
        let closed = match why {
            StreamError::ChannelClosed => state.closed(self.key),
            _ => None,
        };
        Poll::Ready(Err(closed.unwrap_or_else(|| why.into())))
    }
}

impl AsyncRead for Substream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.handle.poll(
            |state, now| match state.endpoint.read(now, self.key, self.id, buf) {
                Read::Bytes(len) => Poll::Ready(Ok(len)),
                Read::Ended => Poll::Ready(Ok(0)),
                Read::Blocked => state.wait(self.readable(), cx),
                Read::Failed(why) => self.error(state, why),
            },
        )
    }
}

impl AsyncWrite for Substream {
    /// Sends one frame.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.handle.poll(
            |state, now| match state.endpoint.write(now, self.key, self.id, buf) {
                Write::Taken(len) => Poll::Ready(Ok(len)),
                Write::Blocked => state.wait(self.writable(), cx),
                Write::Failed(why) => self.error(state, why),
            },
        )
    }

    /// What was written is the endpoint's, which sends it without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Waits until the other side has acknowledged the end, at most [`crate::Limits::STREAM_CLOSE_TIME`].
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.act(
            |state, now| match state.endpoint.close_stream(now, self.key, self.id) {
                Close::Closed => Poll::Ready(Ok(())),
                Close::Blocked => state.wait(self.writable(), cx),
                Close::Failed(why) => self.error(state, why),
            },
        )
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        let (readable, writable) = (self.readable(), self.writable());
        self.handle.act(|state, now| {
            state.endpoint.release_channel(now, self.key, self.id);
            state.waiting.forget(readable);
            state.waiting.forget(writable);
        });
    }
}
