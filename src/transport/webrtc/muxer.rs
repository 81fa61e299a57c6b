//! One connection of the endpoint as libp2p sees it: streams that come and go, the address of the
//! other end, and an end. It knows nothing of how a connection comes about.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{StreamMuxer, muxing::StreamMuxerEvent},
    multiaddr::Protocol,
};

use super::{
    channel::ChannelIo,
    endpoint::{ChannelId, Key, Status},
    shared::{Handle, State},
    substream::Substream,
    waiting::Cause,
};

/// A connection, which is closed when this is dropped.
pub(super) struct Muxer {
    handle: Handle,
    key: Key,
    peer: PeerId,
    /// Where the swarm was told that the other end is.
    remote: Option<SocketAddr>,
}

impl Muxer {
    /// Owns the connection from now on.
    pub(super) fn new(handle: Handle, key: Key, peer: PeerId) -> Self {
        Self {
            handle,
            key,
            peer,
            remote: None,
        }
    }

    /// To be used once it is ready.
    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_state(cx, |state, _| match state.endpoint.status(self.key) {
            Status::Connected => Some(()),
            Status::Connecting | Status::Closed(_) => None,
        })
    }

    /// Waits for what `find` finds in the connection's state.
    fn poll_state<T>(
        &self,
        cx: &Context<'_>,
        find: impl FnOnce(&mut State, Instant) -> Option<T>,
    ) -> Poll<io::Result<T>> {
        self.handle.poll(|state, now| {
            if let Some(error) = state.closed(self.key) {
                return Poll::Ready(Err(error));
            }
            match find(state, now) {
                Some(found) => Poll::Ready(Ok(found)),
                None => state.wait(Cause::Changed(self.key), cx),
            }
        })
    }

    fn stream(&self, id: ChannelId) -> Substream {
        Substream::new(ChannelIo::new(self.handle.clone(), self.key, id))
    }
}

impl StreamMuxer for Muxer {
    type Substream = Substream;
    type Error = io::Error;

    fn poll_inbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self::Substream>> {
        let id = ready!(self.poll_state(cx, |state, _| state.endpoint.accept(self.key)))?;
        Poll::Ready(Ok(self.stream(id)))
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self::Substream>> {
        let id = ready!(self.poll_state(cx, |state, now| state.endpoint.open(now, self.key)))?;
        Poll::Ready(Ok(self.stream(id)))
    }

    /// Waits until what was written has arrived, or for a while.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.act(|state, now| {
            state.endpoint.close(now, self.key);
            match state.closed(self.key) {
                Some(_) => Poll::Ready(Ok(())),
                None => state.wait(Cause::Changed(self.key), cx),
            }
        })
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let (key, told) = (self.key, self.remote);
        let moved = |state: &mut State, _| {
            let remote = state.endpoint.remote(key);
            remote.filter(|remote| Some(*remote) != told)
        };
        let remote = ready!(self.poll_state(cx, moved))?;
        self.remote = Some(remote);
        let address = Multiaddr::from(remote.ip())
            .with(Protocol::Udp(remote.port()))
            .with(Protocol::WebRTC)
            .with(Protocol::P2p(self.peer));
        Poll::Ready(Ok(StreamMuxerEvent::AddressChange(address)))
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        self.handle.act(|state, now| {
            state.endpoint.release(now, self.key);
            state.waiting.forget(Cause::Changed(self.key));
        });
    }
}
