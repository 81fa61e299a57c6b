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
    endpoint::{ChannelId, Key, Status},
    fingerprint::Fingerprint,
    shared::{Handle, State},
    substream::Substream,
    waiting::Cause,
};

/// A connection, which is closed when this is dropped.
pub(super) struct Muxer {
    handle: Handle,
    key: Key,
    /// What ends the address of the other end, behind that of its socket.
    suffix: Multiaddr,
    /// Where the swarm was told that the other end is.
    remote: Option<SocketAddr>,
}

impl Muxer {
    /// Owns a connection that is set up by signals from now on.
    pub(super) fn signaled(handle: Handle, key: Key, peer: PeerId) -> Self {
        Self {
            handle,
            key,
            suffix: Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(peer)),
            remote: None,
        }
    }

    /// Owns a connection that was dialed by an address from now on, whose other end is there.
    pub(super) fn direct(handle: Handle, key: Key, remote: SocketAddr) -> Self {
        Self {
            handle,
            key,
            suffix: Protocol::WebRTCDirect.into(),
            remote: Some(remote),
        }
    }

    /// The stream over which both ends prove who they are if the connection was dialed by an address, and the
    /// fingerprints of our certificate and theirs.
    pub(super) fn noise(&self) -> Option<(Substream, Fingerprint, Fingerprint)> {
        let noise = self.handle.act(|state, _| state.endpoint.noise(self.key));
        noise.map(|(id, ours, theirs)| (self.stream(id), ours, theirs))
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
        Substream::new(self.handle.clone(), self.key, id)
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
        let socket = Multiaddr::from(remote.ip()).with(Protocol::Udp(remote.port()));
        let address = socket.iter().chain(&self.suffix).collect();
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
