//! The life of one link on an open substream: frames until one side ends it, then a farewell that
//! cannot take long. It knows the order of things on the way out, and nothing of what frames mean.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, FutureExt};
use futures_timer::Delay;

use super::{FromLink, ToLink, framed::Framed};
use crate::{config::Limits, error::LinkError, message::Frame};

/// How long a connection that closes is held up for the farewell. Most multiplexers stand still
/// meanwhile, so what does not go out at once does not go out.
const PARTING_TIMEOUT: Duration = Duration::from_millis(250);

pub(super) struct Link<S> {
    framed: Framed<S>,
    phase: Phase,
    /// Runs once the connection closes.
    parting: Option<Delay>,
}

enum Phase {
    /// Nobody was told yet that the link is open.
    New,
    Live,
    /// What is queued goes out, then our side is closed, then the remote's is awaited: who closes the
    /// connection at once thereafter must not cut off our last words on their way.
    Closing(Delay),
    Failed(LinkError),
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            framed: Framed::new(stream),
            phase: Phase::New,
            parting: None,
        }
    }

    /// Does as told while the link is live, and nothing after its end.
    pub(super) fn on_command(&mut self, command: ToLink) {
        match (command, &self.phase) {
            (ToLink::Send(frame), Phase::Live) => {
                if let Err(error) = self.framed.push(frame) {
                    self.phase = Phase::Failed(error);
                }
            }
            (ToLink::Close, Phase::New | Phase::Live) => self.close(),
            (ToLink::Send(_) | ToLink::Close, _) => {}
        }
    }

    /// What happened next. Nothing happens after [`FromLink::Closed`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<FromLink> {
        loop {
            match &mut self.phase {
                Phase::New => {
                    self.phase = Phase::Live;
                    return Poll::Ready(FromLink::Opened);
                }
                Phase::Live => match ready!(self.poll_live(cx)) {
                    Ok(Some((frame, len))) => return Poll::Ready(FromLink::Frame(frame, len)),
                    Ok(None) => self.close(),
                    Err(error) => self.phase = Phase::Failed(error),
                },
                Phase::Closing(deadline) => {
                    if poll_farewell(&mut self.framed, cx).is_pending() {
                        ready!(deadline.poll_unpin(cx));
                    }
                    return Poll::Ready(self.end(Ok(())));
                }
                Phase::Failed(error) => {
                    let error = error.clone();
                    return Poll::Ready(self.end(Err(error)));
                }
                Phase::Ended => return Poll::Pending,
            }
        }
    }

    /// Ends the link because its connection closes: what has arrived is handed over, what is queued
    /// goes out if it can go at once, and the remote sees our end.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<FromLink>> {
        let parting = self
            .parting
            .get_or_insert_with(|| Delay::new(PARTING_TIMEOUT));
        let late = parting.poll_unpin(cx).is_ready();
        match &self.phase {
            Phase::New => {
                self.phase = Phase::Ended;
                return Poll::Ready(None);
            }
            Phase::Ended => return Poll::Ready(None),
            Phase::Failed(error) => {
                let error = error.clone();
                return Poll::Ready(Some(self.end(Err(error))));
            }
            _ if late => return Poll::Ready(Some(self.end(Ok(())))),
            Phase::Live => match self.framed.poll_frame(cx) {
                Poll::Ready(Ok(Some((frame, len)))) => {
                    return Poll::Ready(Some(FromLink::Frame(frame, len)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(self.end(Err(error)))),
                Poll::Ready(Ok(None)) | Poll::Pending => {}
            },
            Phase::Closing(_) => {}
        }
        // That the connection fails is the connection's affair, and the swarm tells of it.
        let _ = ready!(self.framed.poll_close(cx));
        Poll::Ready(Some(self.end(Ok(()))))
    }

    fn close(&mut self) {
        self.phase = Phase::Closing(Delay::new(Limits::FAREWELL_TIME));
    }

    fn end(&mut self, result: Result<(), LinkError>) -> FromLink {
        self.phase = Phase::Ended;
        FromLink::Closed(result)
    }

    /// Reads before it writes: a stream that failed while reading may not be touched again, and what
    /// the remote said before it stopped listening is worth more than that it did.
    fn poll_live(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<(Frame, usize)>, LinkError>> {
        let read = self.framed.poll_frame(cx);
        if let Poll::Ready(Err(_) | Ok(None)) = read {
            return read;
        }
        match (read, self.framed.poll_flush(cx)) {
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (read, _) => read,
        }
    }
}

/// How our side ends matters to the remote alone: a stream that fails is as closed as one can be.
fn poll_farewell<S>(framed: &mut Framed<S>, cx: &mut Context<'_>) -> Poll<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match ready!(framed.poll_close(cx)) {
        Ok(()) => framed.poll_discard(cx),
        Err(_) => Poll::Ready(()),
    }
}

#[cfg(test)]
mod tests;
