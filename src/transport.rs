//! Joins the ways to a peer in one libp2p transport: the caller's own streams, WebRTC set up by
//! signals, and webrtc-direct.
//! It only chooses the route by the address, and knows nothing of the protocol that will run on the
//! connections.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint,
        muxing::StreamMuxerBox,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    },
    identity::Keypair,
};

use crate::{
    config::Config,
    route::{self, TransportPort},
};

#[cfg(feature = "webrtc")]
mod host;
mod stream;
#[cfg(feature = "webrtc")]
mod webrtc;

#[cfg(all(feature = "webrtc", any(test, fuzzing)))]
pub(crate) use self::webrtc::{fuzz, stream_fuzz};

type Output = (PeerId, StreamMuxerBox);
type Connecting = BoxFuture<'static, io::Result<Output>>;

/// The transport of a peer exchange, to be given to
/// [`SwarmBuilder::with_other_transport`](libp2p::SwarmBuilder).
///
/// It carries the streams that were given to the [`Behaviour`](crate::Behaviour) it was made with,
/// and, with the feature `webrtc`, connections that are set up by signals (`/webrtc`) and those to
/// and from `/webrtc-direct` addresses. For the latter two it must be polled by a tokio runtime.
pub struct Transport {
    key: Keypair,
    port: TransportPort,
    /// Under which accepted streams are reported. Nobody listens: the caller brings them.
    accepted: ListenerId,
    /// A further route goes beside this one, and into each method below.
    #[cfg(feature = "webrtc")]
    signaled: webrtc::Signaled,
    #[cfg(feature = "webrtc")]
    direct: webrtc::Direct,
}

impl Transport {
    #[cfg_attr(not(feature = "webrtc"), expect(unused_variables))]
    pub(crate) fn new(key: &Keypair, port: TransportPort, config: &Config) -> Self {
        #[cfg(feature = "webrtc")]
        port.set_signaling();
        Self {
            key: key.clone(),
            port,
            accepted: ListenerId::next(),
            #[cfg(feature = "webrtc")]
            signaled: webrtc::Signaled::new(config.stun.clone()),
            #[cfg(feature = "webrtc")]
            direct: webrtc::Direct::new(key, config.certificate.clone()),
        }
    }

    fn dial_stream(
        &mut self,
        address: &Multiaddr,
        role: Endpoint,
    ) -> Result<Connecting, TransportError<io::Error>> {
        match self.port.take(address) {
            Some(pending) => Ok(stream::secure(pending, &self.key, role)),
            None => Err(TransportError::Other(io::Error::new(
                io::ErrorKind::NotFound,
                "the stream was used before",
            ))),
        }
    }

    fn poll_accepted(&mut self, cx: &Context<'_>) -> Poll<TransportEvent<Connecting, io::Error>> {
        self.port.poll_accepted(cx).map(|pending| {
            let address = pending.ticket.address();
            TransportEvent::Incoming {
                listener_id: self.accepted,
                local_addr: address.clone(),
                send_back_addr: address,
                upgrade: stream::secure(pending, &self.key, Endpoint::Listener),
            }
        })
    }

    /// Carries what core and signaled transport tell each other, then asks the latter for incoming
    /// connections.
    #[cfg(feature = "webrtc")]
    fn poll_signaled(&mut self, cx: &Context<'_>) -> Poll<TransportEvent<Connecting, io::Error>> {
        while self.signaled.poll_ready(cx).is_ready()
            && let Poll::Ready(command) = self.port.poll_command(cx)
        {
            self.signaled.handle_command(command);
        }
        while let Poll::Ready(notice) = self.signaled.poll_notice(cx) {
            self.port.notify(notice);
        }
        self.signaled.poll(cx)
    }
}

impl libp2p::Transport for Transport {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = Connecting;
    type Dial = Connecting;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        #[cfg(feature = "webrtc")]
        if let Some(target) = webrtc::listen_target(&address) {
            self.direct.listen_on(id, target)?;
            self.port.set_listening();
            return Ok(());
        }
        let _ = id;
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        #[cfg(feature = "webrtc")]
        if self.direct.remove_listener(id) {
            return true;
        }
        let _ = id;
        false
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Connecting, TransportError<io::Error>> {
        if route::is_stream(&address) {
            return self.dial_stream(&address, opts.role);
        }
        #[cfg(feature = "webrtc")]
        if let Some(peer) = webrtc::signaled_peer(&address) {
            // The answer came just before, and a dial does not wait for the next poll.
            let commands = std::iter::from_fn(|| self.port.next_command());
            return Ok(self.signaled.dial(peer, commands));
        }
        #[cfg(feature = "webrtc")]
        if opts.role.is_dialer()
            && let Some((target, fingerprint)) = webrtc::dial_target(&address)
        {
            return Ok(self.direct.dial(target, fingerprint));
        }
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Connecting, io::Error>> {
        if let Poll::Ready(event) = self.poll_accepted(cx) {
            return Poll::Ready(event);
        }
        #[cfg(feature = "webrtc")]
        if let Poll::Ready(event) = self.poll_signaled(cx) {
            return Poll::Ready(event);
        }
        #[cfg(feature = "webrtc")]
        if let Poll::Ready(event) = self.direct.poll(cx) {
            return Poll::Ready(event);
        }
        Poll::Pending
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("peer", &self.key.public().to_peer_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
