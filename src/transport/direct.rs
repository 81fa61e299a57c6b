//! libp2p's webrtc-direct with its traps closed: it can dial without listening, redial at once, be
//! dialed while it dials, and be written to in any size. It knows addresses and connections, and
//! nothing of what runs on them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    },
    identity::Keypair,
    multiaddr::Protocol,
};
use libp2p_webrtc::tokio as webrtc;
use tokio::time::timeout;

use self::{
    muxer::{Link, Muxer},
    nursery::{Nursery, Room},
};
use super::{Connecting, Output, host};
use crate::{certificate::Certificate, config::Limits};

mod hedge;
mod muxer;
mod nursery;
mod substream;

/// How long an incoming connection may take to be set up: as long as the dialer waits at most.
const INCOMING_TIMEOUT: Duration = Duration::from_secs(10);

/// How many of them are turned away before other tasks get a turn.
const MAX_REFUSALS: usize = 16;

/// Whether this is an address to listen on.
pub(super) fn is_listen_address(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    socket_address(&mut parts).is_some() && parts.next().is_none()
}

/// Where to send to in order to dial this address, if it can be dialed.
pub(super) fn dial_target(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let target = socket_address(&mut parts)?;
    let Some(Protocol::Certhash(_)) = parts.next() else {
        return None;
    };
    let complete = matches!(parts.next(), None | Some(Protocol::P2p(_))) && parts.next().is_none();
    let reachable = target.port() != 0 && !target.ip().is_unspecified();
    (complete && reachable).then_some(target)
}

fn socket_address<'a>(parts: &mut impl Iterator<Item = Protocol<'a>>) -> Option<SocketAddr> {
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match (parts.next()?, parts.next()?) {
        (Protocol::Udp(port), Protocol::WebRTCDirect) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// The route to and from `/webrtc-direct` addresses.
pub(super) struct Direct {
    identity: Identity,
    listeners: Option<webrtc::Transport>,
    nursery: Nursery,
    /// Held by each incoming connection in set-up.
    incoming: Arc<()>,
}

impl Direct {
    pub(super) fn new(key: &Keypair, certificate: Option<Certificate>) -> Self {
        // libp2p's `quic` and `tls` bring a second provider into the binary. DTLS then panics unless
        // one is the default. That there is a default already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            identity: Identity::new(key, certificate),
            listeners: None,
            nursery: Nursery::default(),
            incoming: Arc::default(),
        }
    }

    pub(super) fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        host::runtime().map_err(TransportError::Other)?;
        let listeners = match &mut self.listeners {
            Some(listeners) => listeners,
            none => none.insert(self.identity.transport().map_err(TransportError::Other)?),
        };
        listeners
            .listen_on(id, address)
            .map_err(|error| error.map(io::Error::other))
    }

    pub(super) fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listeners
            .as_mut()
            .is_some_and(|listeners| listeners.remove_listener(id))
    }

    /// Dials `target`, which [`dial_target`] found in `address`.
    pub(super) fn dial(
        &self,
        address: Multiaddr,
        target: SocketAddr,
        opts: DialOpts,
    ) -> Connecting {
        let (identity, nursery) = (self.identity.clone(), self.nursery.clone());
        async move {
            host::runtime()?;
            // An attempt that is overtaken runs on, to close what becomes of it.
            let attempt = || {
                let (identity, nursery) = (identity.clone(), nursery.clone());
                let address = address.clone();
                async move {
                    let room = nursery.room()?;
                    let attempt = attempt(identity, room.clone(), address, target, opts);
                    room.run(hedge::bounded(attempt)).await
                }
            };
            hedge::bounded(hedge::first_of(attempt)).await
        }
        .boxed()
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Connecting, io::Error>> {
        let Some(listeners) = &mut self.listeners else {
            return Poll::Pending;
        };
        for _ in 0..MAX_REFUSALS {
            let Poll::Ready(event) = Pin::new(&mut *listeners).poll(cx) else {
                return Poll::Pending;
            };
            if event.is_upgrade() && !has_room(&self.incoming) {
                tracing::debug!("too many incoming connections: one is not set up");
                continue;
            }
            let (nursery, slot) = (self.nursery.clone(), self.incoming.clone());
            return Poll::Ready(
                event
                    .map_upgrade(|upgrade| incoming(upgrade, nursery, slot))
                    .map_err(io::Error::other),
            );
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether one more may join those who hold the count.
fn has_room(incoming: &Arc<()>) -> bool {
    Arc::strong_count(incoming) <= Limits::DIRECT_SETUPS
}

/// What all sockets of one node share.
#[derive(Clone)]
struct Identity {
    key: Keypair,
    certificate: Result<webrtc::Certificate, Arc<io::Error>>,
}

impl Identity {
    fn new(key: &Keypair, certificate: Option<Certificate>) -> Self {
        let certificate = certificate.map_or_else(Certificate::generate, Ok);
        Self {
            key: key.clone(),
            certificate: certificate
                .map(|certificate| certificate.0)
                .map_err(|error| Arc::new(io::Error::other(error))),
        }
    }

    /// A transport that has no socket yet.
    fn transport(&self) -> io::Result<webrtc::Transport> {
        match &self.certificate {
            Ok(certificate) => Ok(webrtc::Transport::new(
                self.key.clone(),
                certificate.clone(),
            )),
            Err(error) => Err(io::Error::new(error.kind(), error.clone())),
        }
    }
}

/// Dials once, over a socket of its own. DTLS has no connection ids, so two connections between the
/// same two sockets collide, also with the memory of one that is closed; and what dials needs no
/// listener.
async fn attempt(
    identity: Identity,
    room: Room,
    address: Multiaddr,
    target: SocketAddr,
    opts: DialOpts,
) -> io::Result<Output> {
    let mut socket = identity.transport()?;
    let local = Multiaddr::from(host::source_ip(target)?)
        .with(Protocol::Udp(0))
        .with(Protocol::WebRTCDirect);
    socket
        .listen_on(ListenerId::next(), local)
        .map_err(io::Error::other)?;
    let mut dial = socket.dial(address, opts).map_err(io::Error::other)?;
    let (peer, connection) = future::poll_fn(|cx| match muxer::poll_socket(&mut socket, cx) {
        Poll::Ready(error) => Poll::Ready(Err(error)),
        Poll::Pending => dial.poll_unpin(cx).map_err(io::Error::other),
    })
    .await?;
    let muxer = Muxer::new(Link::dialed(connection, socket, room));
    Ok((peer, StreamMuxerBox::new(muxer)))
}

fn incoming(
    upgrade: <webrtc::Transport as libp2p::Transport>::ListenerUpgrade,
    nursery: Nursery,
    slot: Arc<()>,
) -> Connecting {
    async move {
        let room = nursery.room()?;
        let inside = room.clone();
        let setup = async move {
            let _slot = slot;
            match timeout(INCOMING_TIMEOUT, upgrade).await? {
                Ok((peer, connection)) => {
                    let muxer = Muxer::new(Link::accepted(connection, inside));
                    Ok((peer, StreamMuxerBox::new(muxer)))
                }
                Err(error) => Err(io::Error::other(error)),
            }
        };
        room.run(setup).await
    }
    .boxed()
}

#[cfg(test)]
mod tests;
