//! A substream that takes writes of any size over one that breaks on large ones. It knows nothing
//! of the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::StreamMuxer;
use libp2p_webrtc::tokio as webrtc;

/// The most bytes in one message. The remote reads messages into 8,192 bytes and fails on a longer
/// one; the framing takes up to 7 of them.
const MAX_MESSAGE: usize = 8000;

/// A substream of a webrtc-direct connection.
pub(super) struct Substream<S = <webrtc::Connection as StreamMuxer>::Substream> {
    inner: S,
    /// Whether a message was written that may not have left the stream's own buffer. A second one
    /// beside it would be sent in the same datagram, and both together are too long.
    buffered: bool,
    /// What a flush said that nobody had asked for.
    error: Option<io::Error>,
}

impl<S> Substream<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            buffered: false,
            error: None,
        }
    }
}

impl<S: AsyncWrite + Unpin> Substream<S> {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        if self.buffered {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.buffered = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is buffered if that is possible at once, for who relies on data leaving without a
    /// flush, as it does on TCP.
    fn push(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_empty(cx) {
            self.error = Some(error);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Substream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.push(cx);
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_empty(cx))?;
        let message = buf.get(..MAX_MESSAGE).unwrap_or(buf);
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, message))?;
        self.buffered = true;
        self.push(cx);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_empty(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
