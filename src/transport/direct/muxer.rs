//! A webrtc-direct connection as a stream muxer that keeps its socket going while it lives and is
//! closed properly in the end, whoever drops it. It knows nothing of how it came about.

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{self, BoxFuture, Either},
};
use futures_timer::Delay;
use libp2p::{
    Transport as _,
    core::{StreamMuxer, muxing::StreamMuxerEvent, transport::TransportEvent},
};
use libp2p_webrtc::tokio as webrtc;

use super::{nursery::Room, substream::Substream};

/// How long closing may take. It waits for no answer of the remote's, so this is for a blocked
/// socket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many strangers' datagrams are looked at before other tasks get a turn.
const MAX_STRANGERS: usize = 16;

/// Drives a dialing socket. Who else writes to it is not let in. Ready with the error that ended the
/// socket.
pub(super) fn poll_socket(socket: &mut webrtc::Transport, cx: &mut Context<'_>) -> Poll<io::Error> {
    for _ in 0..MAX_STRANGERS {
        let Poll::Ready(event) = Pin::new(&mut *socket).poll(cx) else {
            return Poll::Pending;
        };
        if let TransportEvent::ListenerClosed { reason, .. } = event {
            return Poll::Ready(match reason {
                Ok(()) => io::ErrorKind::NotConnected.into(),
                Err(error) => io::Error::other(error),
            });
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// A connection and what it runs on.
pub(super) struct Link {
    connection: webrtc::Connection,
    /// Ours alone if we dialed. The listener's, which the transport drives, if we were dialed.
    socket: Option<webrtc::Transport>,
    /// Where both run. Last, so that it is there until they are gone.
    room: Room,
}

impl Link {
    pub(super) fn dialed(
        connection: webrtc::Connection,
        socket: webrtc::Transport,
        room: Room,
    ) -> Self {
        Self {
            connection,
            socket: Some(socket),
            room,
        }
    }

    pub(super) fn accepted(connection: webrtc::Connection, room: Room) -> Self {
        Self {
            connection,
            socket: None,
            room,
        }
    }

    /// Polls the connection, and its socket before it. What the connection writes meanwhile wakes
    /// the task that polled the socket last.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(
            Pin<&mut webrtc::Connection>,
            &mut Context<'_>,
        ) -> Poll<Result<T, webrtc::Error>>,
    ) -> Poll<io::Result<T>> {
        let _guard = self.room.enter();
        if let Some(socket) = &mut self.socket
            && let Poll::Ready(error) = poll_socket(socket, cx)
        {
            return Poll::Ready(Err(error));
        }
        poll(Pin::new(&mut self.connection), cx).map_err(io::Error::other)
    }

    /// Tells the remote and ends the connection's tasks. The socket takes the last datagrams of the
    /// connection only while it is polled.
    async fn close(mut self) -> io::Result<()> {
        let closed = future::poll_fn(|cx| self.poll(cx, StreamMuxer::poll_close));
        match future::select(closed, Delay::new(CLOSE_TIMEOUT)).await {
            Either::Left((closed, _)) => closed,
            Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// The [`StreamMuxer`] of a [`Link`].
pub(super) struct Muxer(State);

enum State {
    Open(Box<Link>),
    Closing { closing: Closing, room: Room },
    Closed,
}

type Closing = BoxFuture<'static, io::Result<()>>;

impl Muxer {
    pub(super) fn new(link: Link) -> Self {
        Self(State::Open(Box::new(link)))
    }

    fn open(&mut self) -> io::Result<&mut Link> {
        match &mut self.0 {
            State::Open(link) => Ok(link),
            State::Closing { .. } | State::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// What is left to do to close it, and where.
    fn take_closing(&mut self) -> Option<(Closing, Room)> {
        match mem::replace(&mut self.0, State::Closed) {
            State::Open(link) => {
                let room = link.room.clone();
                Some((link.close().boxed(), room))
            }
            State::Closing { closing, room } => Some((closing, room)),
            State::Closed => None,
        }
    }
}

impl StreamMuxer for Muxer {
    type Substream = Substream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        let stream = self.open()?.poll(cx, StreamMuxer::poll_inbound);
        stream.map_ok(Substream::new)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Substream>> {
        let stream = self.open()?.poll(cx, StreamMuxer::poll_outbound);
        stream.map_ok(Substream::new)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((mut closing, room)) = self.take_closing() else {
            return Poll::Ready(Ok(()));
        };
        let closed = closing.poll_unpin(cx);
        if closed.is_pending() {
            self.0 = State::Closing { closing, room };
        }
        closed
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.open()?.poll(cx, StreamMuxer::poll)
    }
}

/// A swarm drops idle connections without closing them. libp2p-webrtc then neither tells the remote
/// nor ends its tasks.
impl Drop for Muxer {
    fn drop(&mut self) {
        if let Some((closing, room)) = self.take_closing() {
            room.spawn(closing);
        }
    }
}
