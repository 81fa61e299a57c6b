//! A substream that takes writes of any size over one that breaks on large ones. It knows nothing
//! of the connection.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};

use futures::{AsyncRead, AsyncWrite, task::AtomicWaker};
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
    wakers: Arc<Wakers>,
}

/// Who waits for a flush. Reading flushes too, maybe in another task than writing, and the stream
/// remembers only who asked last.
#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl<S> Substream<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            buffered: false,
            error: None,
            wakers: Arc::default(),
        }
    }
}

impl<S: AsyncWrite + Unpin> Substream<S> {
    /// Sends what is buffered. Wakes whoever is registered in `wakers`.
    fn poll_empty(&mut self) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        if self.buffered {
            let waker = Waker::from(self.wakers.clone());
            let mut cx = Context::from_waker(&waker);
            ready!(Pin::new(&mut self.inner).poll_flush(&mut cx))?;
            self.buffered = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is buffered if that is possible at once, for who relies on data leaving without a
    /// flush, as it does on TCP.
    fn push(&mut self) {
        if let Poll::Ready(Err(error)) = self.poll_empty() {
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
        self.wakers.reader.register(cx.waker());
        self.push();
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wakers.writer.register(cx.waker());
        ready!(self.poll_empty())?;
        let message = buf.get(..MAX_MESSAGE).unwrap_or(buf);
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, message))?;
        self.buffered = true;
        self.push();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.writer.register(cx.waker());
        self.poll_empty()
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.writer.register(cx.waker());
        ready!(self.poll_empty())?;
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::{AsyncWriteExt, FutureExt};

    use super::*;

    /// Keeps one message until it is flushed, and breaks like libp2p's on what is too long.
    #[derive(Default)]
    struct Fake {
        message: Vec<u8>,
        sent: Vec<u8>,
        blocked: bool,
        closed: bool,
        broken: bool,
        waker: Option<Waker>,
    }

    impl AsyncRead for Fake {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Fake {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.message.extend(buf);
            assert!(self.message.len() <= 8000, "too long");
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.broken {
                self.broken = false;
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if self.blocked {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let message = std::mem::take(&mut self.message);
            self.sent.extend(message);
            Poll::Ready(Ok(()))
        }

        fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            assert!(self.message.is_empty(), "closed before it was flushed");
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_writer_is_woken_also_when_a_reader_came_after_it() {
        let mut stream = Substream::new(Fake::default());
        stream.inner.blocked = true;
        stream.write(&[7]).now_or_never().unwrap().unwrap();
        let tasks = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let [writer, reader] = tasks.clone().map(Waker::from);
        let flushed = Pin::new(&mut stream).poll_flush(&mut Context::from_waker(&writer));
        assert!(flushed.is_pending());
        let read = Pin::new(&mut stream).poll_read(&mut Context::from_waker(&reader), &mut [0]);
        assert!(read.is_pending());
        stream.inner.waker.take().unwrap().wake();
        assert!(tasks.iter().all(|task| task.0.load(Ordering::Relaxed)));
    }

    #[test]
    fn messages_are_short_and_nothing_is_lost() {
        for len in [0, 1, 7999, 8000, 8001, 16_000, 100_000] {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut stream = Substream::new(Fake::default());
            stream.write_all(&data).now_or_never().unwrap().unwrap();
            assert_eq!(stream.inner.sent, data);
        }
    }

    #[test]
    fn a_blocked_stream_takes_one_message_and_goes_on_later() {
        let mut stream = Substream::new(Fake::default());
        stream.inner.blocked = true;
        let data = [7; 20_000];
        assert_eq!(stream.write(&data).now_or_never().unwrap().unwrap(), 8000);
        assert!(stream.write(&data).now_or_never().is_none());
        assert!(stream.flush().now_or_never().is_none());
        assert!(stream.close().now_or_never().is_none());
        stream.inner.blocked = false;
        stream.close().now_or_never().unwrap().unwrap();
        assert_eq!((stream.inner.sent.len(), stream.inner.closed), (8000, true));
    }

    #[test]
    fn an_error_of_a_flush_that_nobody_asked_for_is_not_lost() {
        let mut stream = Substream::new(Fake::default());
        stream.inner.broken = true;
        stream.write(&[7]).now_or_never().unwrap().unwrap();
        let error = stream.flush().now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
