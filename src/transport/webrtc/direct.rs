//! Connections to and from `/webrtc-direct` addresses, as libp2p's specification "WebRTC Direct" has them. Each
//! listener has an endpoint with a socket of its own, and so has each dial, because DTLS has no connection ids: two
//! connections between the same two sockets would collide, also with the memory of one that is closed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        UpgradeInfo,
        muxing::StreamMuxerBox,
        transport::{ListenerId, TransportError, TransportEvent},
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    identity::Keypair,
    multiaddr::Protocol,
};
use libp2p_noise as noise;
use tokio::time::{sleep, timeout};

use super::{
    driver,
    endpoint::{AddressChange, Endpoint, Key},
    fingerprint::Fingerprint,
    muxer::Muxer,
    shared::Handle,
};
use crate::{
    certificate::Certificate,
    config::Limits,
    transport::{Connecting, Output, host},
};

/// How long who listens waits with the first word of the proof: what comes before `webrtc-rs` 0.17 has opened the
/// channel it is for, which libp2p-webrtc does once the connection is there, is lost for good.
const HEAD_START: Duration = Duration::from_millis(20);

/// What both ends mix into the proof, before the fingerprints of their certificates.
const PROLOGUE: &[u8] = b"libp2p-webrtc-noise:";

/// Whether this is an address to listen on, and which.
pub(in super::super) fn listen_target(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    socket_address(&mut parts).filter(|_| parts.next().is_none())
}

/// Where to send to in order to dial this address, if it can be dialed, and the fingerprint of the certificate that
/// is there.
pub(in super::super) fn dial_target(address: &Multiaddr) -> Option<(SocketAddr, Fingerprint)> {
    let mut parts = address.iter();
    let target = socket_address(&mut parts)?;
    let Some(Protocol::Certhash(hash)) = parts.next() else {
        return None;
    };
    let fingerprint = Fingerprint::from_multihash(&hash)?;
    let complete = matches!(parts.next(), None | Some(Protocol::P2p(_))) && parts.next().is_none();
    let reachable = target.port() != 0 && !target.ip().is_unspecified();
    (complete && reachable).then_some((target, fingerprint))
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

fn address_of(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip())
        .with(Protocol::Udp(socket.port()))
        .with(Protocol::WebRTCDirect)
}

/// The route to and from `/webrtc-direct` addresses.
pub(in super::super) struct Direct {
    identity: Identity,
    /// Who was polled last comes last.
    listeners: Vec<Listener>,
    /// Those that were removed, to be reported.
    removed: Vec<ListenerId>,
}

struct Listener {
    id: ListenerId,
    handle: Handle,
}

impl Direct {
    pub(in super::super) fn new(key: &Keypair, certificate: Option<Certificate>) -> Self {
        let certificate = certificate.map_or_else(Certificate::generate, Ok);
        Self {
            identity: Identity {
                key: key.clone(),
                certificate: certificate.map_err(|error| Arc::new(io::Error::other(error))),
            },
            listeners: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Listens at an address that [`listen_target`] found.
    pub(in super::super) fn listen_on(
        &mut self,
        id: ListenerId,
        address: SocketAddr,
    ) -> Result<(), TransportError<io::Error>> {
        let handle = self.identity.start(address, Endpoint::let_strangers_in);
        let handle = handle.map_err(TransportError::Other)?;
        self.listeners.push(Listener { id, handle });
        Ok(())
    }

    pub(in super::super) fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(place) = self.listeners.iter().position(|it| it.id == id) else {
            return false;
        };
        self.listeners.remove(place);
        self.removed.push(id);
        true
    }

    /// Dials what [`dial_target`] found.
    pub(in super::super) fn dial(
        &self,
        target: SocketAddr,
        fingerprint: Fingerprint,
    ) -> Connecting {
        let identity = self.identity.clone();
        async move {
            let source = SocketAddr::new(host::source_ip(target)?, 0);
            let handle = identity.start(source, |_| ())?;
            let key =
                handle.act(|state, now| state.endpoint.dial_address(now, target, fingerprint));
            let muxer = Muxer::direct(handle, key, target);
            std::future::poll_fn(|cx| muxer.poll_connected(cx)).await?;
            identity.prove(muxer, Side::Dialer).await
        }
        .boxed()
    }

    pub(in super::super) fn poll(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<TransportEvent<Connecting, io::Error>> {
        if let Some(listener_id) = self.removed.pop() {
            let reason = Ok(());
            return Poll::Ready(TransportEvent::ListenerClosed {
                listener_id,
                reason,
            });
        }
        for place in 0..self.listeners.len() {
            let listener = self.listeners.get(place);
            if let Some(event) = listener.and_then(|it| self.poll_listener(cx, it)) {
                if let TransportEvent::ListenerClosed { .. } = event {
                    self.listeners.remove(place);
                } else {
                    self.listeners.rotate_left(place + 1);
                }
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }

    fn poll_listener(
        &self,
        cx: &Context<'_>,
        listener: &Listener,
    ) -> Option<TransportEvent<Connecting, io::Error>> {
        let listener_id = listener.id;
        let change = listener.handle.poll(|state, _| state.poll_address(cx));
        match change {
            Poll::Ready(Ok(AddressChange::Gained(address))) => {
                let listen_addr = self.identity.listen_address(address)?;
                return Some(TransportEvent::NewAddress {
                    listener_id,
                    listen_addr,
                });
            }
            Poll::Ready(Ok(AddressChange::Lost(address))) => {
                let listen_addr = self.identity.listen_address(address)?;
                return Some(TransportEvent::AddressExpired {
                    listener_id,
                    listen_addr,
                });
            }
            Poll::Ready(Err(error)) => {
                let reason = Err(error);
                return Some(TransportEvent::ListenerClosed {
                    listener_id,
                    reason,
                });
            }
            Poll::Pending => {}
        }
        loop {
            let incoming = listener.handle.poll(|state, now| {
                let key = ready!(state.poll_stranger(cx));
                let ends = state.endpoint.ends(key);
                if ends.is_none() {
                    state.endpoint.release(now, key);
                }
                Poll::Ready(ends.map(|(local, remote)| (key, local, remote)))
            });
            match incoming {
                Poll::Ready(Some((key, local, remote))) => {
                    return Some(self.incoming(listener, key, local, remote));
                }
                Poll::Ready(None) => {}
                Poll::Pending => return None,
            }
        }
    }

    fn incoming(
        &self,
        listener: &Listener,
        key: Key,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> TransportEvent<Connecting, io::Error> {
        let (identity, handle) = (self.identity.clone(), listener.handle.clone());
        let muxer = Muxer::direct(handle.clone(), key, remote);
        TransportEvent::Incoming {
            listener_id: listener.id,
            local_addr: address_of(local),
            send_back_addr: address_of(remote),
            upgrade: async move {
                let proven = identity.prove(muxer, Side::Listener).await?;
                handle.act(|state, _| state.endpoint.forget_stranger(key));
                Ok(proven)
            }
            .boxed(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.act(|state, now| {
            state.endpoint.turn_strangers_away();
            state.drop_transport(now);
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialer,
    Listener,
}

/// What all sockets of one node share.
#[derive(Clone)]
struct Identity {
    key: Keypair,
    certificate: Result<Certificate, Arc<io::Error>>,
}

impl Identity {
    /// Starts an endpoint with a socket at `address`.
    fn start(
        &self,
        address: SocketAddr,
        prepare: impl FnOnce(&mut Endpoint),
    ) -> io::Result<Handle> {
        let runtime = host::runtime()?;
        let certificate = match &self.certificate {
            Ok(certificate) => certificate.clone(),
            Err(error) => return Err(io::Error::new(error.kind(), error.clone())),
        };
        let mut endpoint = Endpoint::with_certificate(certificate.into());
        prepare(&mut endpoint);
        driver::start_at(&runtime, endpoint, address)
    }

    fn listen_address(&self, address: SocketAddr) -> Option<Multiaddr> {
        let certificate = &self.certificate.as_ref().ok()?.certificate;
        let fingerprint = Fingerprint::from_certificate(certificate);
        Some(address_of(address).with(Protocol::Certhash(fingerprint.to_multihash())))
    }

    /// Proves to the other end who we are, and has it prove who it is.
    async fn prove(&self, muxer: Muxer, side: Side) -> io::Result<Output> {
        let peer = timeout(Limits::PROOF_TIME, self.handshake(&muxer, side)).await??;
        Ok((peer, StreamMuxerBox::new(muxer)))
    }

    async fn handshake(&self, muxer: &Muxer, side: Side) -> io::Result<PeerId> {
        let (stream, ours, theirs) = muxer.noise().ok_or(io::ErrorKind::NotConnected)?;
        let (client, server) = match side {
            Side::Dialer => (ours, theirs),
            Side::Listener => (theirs, ours),
        };
        let hashes = [client, server].map(|it| it.to_multihash().to_bytes());
        let prologue = [PROLOGUE, &hashes.concat()].concat();
        let noise = noise::Config::new(&self.key).map_err(io::Error::other)?;
        let noise = noise.with_prologue(prologue);
        let info = noise
            .protocol_info()
            .next()
            .ok_or(io::ErrorKind::Unsupported)?;
        // Who listens begins, so that it can send half a round trip earlier.
        if side == Side::Listener {
            sleep(HEAD_START).await;
        }
        let handshake: BoxFuture<'_, _> = match side {
            Side::Dialer => noise.upgrade_inbound(stream, info).boxed(),
            Side::Listener => noise.upgrade_outbound(stream, info).boxed(),
        };
        // The channel stays open, unused, as with js-libp2p and go-libp2p: js-libp2p's engine would give its number to the
        // next channel.
        let (peer, _) = handshake.await.map_err(io::Error::other)?;
        Ok(peer)
    }
}

#[cfg(test)]
mod tests;
