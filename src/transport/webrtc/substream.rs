//! A stream of libp2p's framing whose end is told as an end only if it is one: the framing's reader
//! returns nothing, as at the end, whenever a message has no data. And what is written leaves without a flush, as it
//! does on TCP. It knows nothing of the channel below.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p_webrtc_utils::Stream;

use super::channel::ChannelIo;

/// What a swarm gets as a stream.
pub(super) struct Substream {
    stream: Stream<ChannelIo>,
    channel: ChannelIo,
    /// The most bytes of data in one message.
    max_data: usize,
    /// Our end is being closed. Only then the framing does not note that the other end is.
    is_closing: bool,
    /// The other end is closed.
    is_ended: bool,
    /// Our end is closed.
    is_closed: bool,
}

/// Tells the other side that we have dropped a stream without closing it, in libp2p's framing: a
/// message of two bytes, which sets the flag `RESET`.
const RESET: [u8; 3] = [2, 0x08, 2];

impl Substream {
    pub(super) fn new(channel: ChannelIo, max_data: usize) -> Self {
        // The framing's own way to reset needs as much memory as the stream itself, for as long.
        let (stream, _) = Stream::new(channel.clone());
        Self {
            stream,
            channel,
            max_data,
            is_closing: false,
            is_ended: false,
            is_closed: false,
        }
    }
}

impl Substream {
    /// Has leave what the framing still holds, if there is room. An error comes again.
    fn push(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
    }
}

impl AsyncRead for Substream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.push(cx);
        let mut is_maybe_end = false;
        while !this.is_ended && !buf.is_empty() {
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                // The message that has just come had no data: asked again, the framing says why.
                Poll::Ready(Ok(0)) => is_maybe_end = true,
                Poll::Ready(Ok(len)) => return Poll::Ready(Ok(len)),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    this.is_ended = true;
                }
                // A reset.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(error));
                }
                _ if is_maybe_end && this.is_closing => this.is_ended = true,
                other => return other,
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl AsyncWrite for Substream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Each message leaves by itself: two together may be longer than one may be.
        ready!(self.as_mut().poll_flush(cx))?;
        let data = buf.get(..self.max_data).unwrap_or(buf);
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data))?;
        self.push(cx);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_closing = true;
        ready!(Pin::new(&mut self.stream).poll_close(cx))?;
        self.is_closing = false;
        self.is_closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        if !self.is_closed {
            // Where there is no room, the end of the channel says the same.
            self.channel.try_write(&RESET);
        }
    }
}
