//! A stream of bytes as a stream of frames, bounded both ways. It knows how much may wait and how
//! much may be written at once; it neither looks into a frame nor decides when to stop.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

use crate::{
    config::Limits,
    error::LinkError,
    message::Frame,
    wire::{Decoder, encode},
};

/// The most bytes in one write. libp2p-webrtc's substreams fail on more than 8,192 at a time,
/// framing included, and on a second write before a flush.
const MAX_WRITE: usize = 8_000;

/// How much is read at once, on the stack: most frames are far shorter.
const READ_LEN: usize = 2 * 1024;

/// How many reads of unwanted bytes are made before others get their turn.
const MAX_DISCARDS: usize = 32;

/// Frames in, frames out. Holds no memory beside its own while nothing moves.
pub(super) struct Framed<S> {
    stream: S,
    decoder: Decoder,
    /// The remote has closed its side.
    read_closed: bool,
    queue: VecDeque<Frame>,
    /// Frames taken from the queue, encoded.
    chunk: Vec<u8>,
    /// How much of the chunk was written.
    written: usize,
    unflushed: bool,
    /// Why nothing can be written any more. A stream that failed is not written to again.
    write_error: Option<LinkError>,
    write_closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            read_closed: false,
            queue: VecDeque::new(),
            chunk: Vec::new(),
            written: 0,
            unflushed: false,
            write_error: None,
            write_closed: false,
        }
    }

    /// Queues `frame`; [`poll_flush`](Self::poll_flush) sends it.
    ///
    /// # Errors
    ///
    /// [`LinkError::Stalled`] when [`Limits::WAITING_FRAMES`] are waiting already.
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), LinkError> {
        let waiting: u32 = self.queue.iter().map(Frame::weight).sum();
        if waiting >= Limits::WAITING_FRAMES {
            return Err(LinkError::Stalled);
        }
        self.queue.push_back(frame);
        Ok(())
    }

    /// The next frame and its length, or `None` after the remote closed its side between two frames. Reads no
    /// further than that frame needs, so that a remote is slowed down by who polls slowly.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<(Frame, usize)>, LinkError>> {
        loop {
            if let Some(frame) = self.decoder.decode()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            let mut bytes = [0; READ_LEN];
            let len = ready!(self.poll_read(cx, &mut bytes)).map_err(failed)?;
            if len == 0 {
                self.decoder.finish()?;
                return Poll::Ready(Ok(None));
            }
            self.decoder.extend(bytes.get(..len).unwrap_or_default());
        }
    }

    /// Reads and throws away until the remote has closed its side or the stream fails.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; READ_LEN];
        for _ in 0..MAX_DISCARDS {
            match ready!(self.poll_read(cx, &mut bytes)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if let Some(error) = &self.write_error {
            return Poll::Ready(Err(error.clone()));
        }
        let sent = ready!(self.poll_send(cx)).map_err(failed);
        self.write_error = sent.clone().err();
        Poll::Ready(sent)
    }

    /// Sends what is queued, then closes our side.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        ready!(self.poll_flush(cx))?;
        if !self.write_closed {
            ready!(Pin::new(&mut self.stream).poll_close(cx)).map_err(failed)?;
            self.write_closed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.read_closed {
            return Poll::Ready(Ok(0));
        }
        let len = ready!(Pin::new(&mut self.stream).poll_read(cx, bytes))?;
        self.read_closed = len == 0;
        Poll::Ready(Ok(len))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.unflushed {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.unflushed = false;
            }
            self.refill();
            let rest = self.chunk.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let part = rest.get(..MAX_WRITE).unwrap_or(rest);
            let len = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += len;
            self.unflushed = true;
        }
    }

    /// Once the chunk is written, encodes as many frames as share the next write.
    fn refill(&mut self) {
        if self.written < self.chunk.len() {
            return;
        }
        self.written = 0;
        self.chunk = Vec::new();
        while self.chunk.len() < MAX_WRITE
            && let Some(frame) = self.queue.pop_front()
        {
            match encode(&frame) {
                Ok(bytes) => self.chunk.extend(bytes),
                // Nobody waits for a frame without a deadline, so leaving it out is bounded harm.
                Err(error) => tracing::error!(%error, "a frame of our own cannot be sent"),
            }
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
}

fn failed(error: io::Error) -> LinkError {
    LinkError::Io(Arc::new(error))
}

#[cfg(test)]
mod tests;
