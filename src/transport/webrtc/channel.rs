//! One data channel as a stream of bytes, as libp2p's framing wants it: whoever has a clone may read
//! and write. It knows nothing of that framing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p_webrtc_utils::MAX_MSG_LEN;

use super::{
    endpoint::{ChannelId, Key, Read, Write},
    shared::{Handle, State},
    waiting::Cause,
};

/// A data channel, which is closed when its last clone is dropped.
#[derive(Clone)]
pub(super) struct ChannelIo(Arc<Channel>);

impl ChannelIo {
    /// Owns the channel from now on.
    pub(super) fn new(handle: Handle, key: Key, id: ChannelId) -> Self {
        Self(Arc::new(Channel { handle, key, id }))
    }

    /// Sends one message, if there is room for it.
    pub(super) fn try_write(&self, message: &[u8]) {
        let Channel { handle, key, id } = &*self.0;
        handle.act(|state, now| state.endpoint.write(now, *key, *id, message));
    }
}

struct Channel {
    handle: Handle,
    key: Key,
    id: ChannelId,
}

impl Channel {
    /// Why nothing goes through any more.
    fn error(&self, state: &State) -> io::Error {
        let closed = state.closed(self.key);
        closed.unwrap_or_else(|| io::Error::new(io::ErrorKind::ConnectionReset, ChannelClosed))
    }
}

/// One of the two sides has closed the channel, or is closing the connection. The end of a stream is
/// said in a message of its own: this is no end, for something may be missing.
#[derive(Debug, thiserror::Error)]
#[error("the data channel is closed")]
struct ChannelClosed;

impl Drop for Channel {
    fn drop(&mut self) {
        self.handle.act(|state, now| {
            state.endpoint.release_channel(now, self.key, self.id);
            state.waiting.forget(Cause::Readable(self.key, self.id));
            state.waiting.forget(Cause::Writable(self.key, self.id));
        });
    }
}

impl AsyncRead for ChannelIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Channel { handle, key, id } = &*self.0;
        handle.poll(
            |state, now| match state.endpoint.read(now, *key, *id, buf) {
                Read::Bytes(len) => Poll::Ready(Ok(len)),
                Read::Blocked => state.wait(Cause::Readable(*key, *id), cx),
                Read::Closed => Poll::Ready(Err(self.0.error(state))),
            },
        )
    }
}

impl AsyncWrite for ChannelIo {
    /// Sends one message.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Channel { handle, key, id } = &*self.0;
        let message = buf.get(..MAX_MSG_LEN).unwrap_or(buf);
        handle.poll(
            |state, now| match state.endpoint.write(now, *key, *id, message) {
                Write::Taken(len) => Poll::Ready(Ok(len)),
                Write::Blocked => state.wait(Cause::Writable(*key, *id), cx),
                Write::Closed => Poll::Ready(Err(self.0.error(state))),
            },
        )
    }

    /// What was written is the endpoint's, which sends it without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The channel is closed when it is dropped, after what was written.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
