//! Makes a connection of any stream of bytes: Noise secures it, Yamux multiplexes it, negotiated
//! as libp2p does on TCP, so the other end may be any libp2p node. It knows nothing of where the
//! stream comes from or what the connection is for.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    AsyncRead, AsyncWrite, FutureExt,
    future::{self, Either},
};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
};

use super::Connecting;
use crate::{
    config::Limits,
    route::{Duplex, Pending, Ticket},
};

/// Secures and multiplexes a stream, as the initiator (`Endpoint::Dialer`) or as the responder.
pub(super) fn secure(pending: Pending, key: &Keypair, role: Endpoint) -> Connecting {
    secure_within(Limits::PROOF_TIME, pending, key, role)
}

fn secure_within(timeout: Duration, pending: Pending, key: &Keypair, role: Endpoint) -> Connecting {
    let Pending { stream, ticket } = pending;
    let reporter = ticket.clone();
    let handshake = handshake(Watched { stream, ticket }, key, role);
    // Runs from now, so that it is over before a timeout of the swarm's.
    let timeout = Delay::new(timeout);
    async move {
        let result = match future::select(handshake, timeout).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the stream was not secured in time",
            )),
        };
        result.map_err(|error| reporter.handshake_failed(error))
    }
    .boxed()
}

fn handshake(stream: Watched, key: &Keypair, role: Endpoint) -> Connecting {
    let noise = match libp2p_noise::Config::new(key) {
        Ok(noise) => noise,
        Err(error) => return future::err(io::Error::other(error)).boxed(),
    };
    let address = stream.ticket.address();
    let opts = DialOpts {
        role,
        port_use: PortUse::New,
    };
    let dial = Once(Some(stream))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(libp2p_yamux::Config::default())
        .boxed()
        .dial(address, opts);
    match dial {
        Ok(handshake) => handshake,
        Err(error) => future::err(io::Error::other(error)).boxed(),
    }
}

/// A transport of the one stream it holds, because libp2p offers its upgrades to transports only.
struct Once(Option<Watched>);

impl Transport for Once {
    type Output = Watched;
    type Error = io::Error;
    type ListenerUpgrade = future::Pending<io::Result<Watched>>;
    type Dial = future::Ready<io::Result<Watched>>;

    fn listen_on(
        &mut self,
        _: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        match self.0.take() {
            Some(stream) => Ok(future::ok(stream)),
            None => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}

/// The caller's stream, whose errors are reported as the caller's: once they have passed through
/// Noise and Yamux nobody could tell.
struct Watched {
    stream: Box<dyn Duplex>,
    ticket: Ticket,
}

impl Watched {
    fn watch<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut dyn Duplex>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        poll(Pin::new(&mut *self.stream)).map_err(|error| self.ticket.stream_failed(error))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.watch(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(|stream| stream.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(|stream| stream.poll_close(cx))
    }
}

#[cfg(test)]
mod tests {
    use crate::{error::LinkError, route};

    use super::*;

    #[tokio::test]
    async fn silence_is_a_failed_handshake() {
        let (behaviour, transport) = route::ports();
        let (ours, _silent) = tokio::io::duplex(1024);
        let ours = tokio_util::compat::TokioAsyncReadCompatExt::compat(ours);
        let address = behaviour.connect(ours).unwrap();
        let (pending, key) = (
            transport.take(&address).unwrap(),
            Keypair::generate_ed25519(),
        );
        let timeout = Duration::from_millis(20);
        let secured = secure_within(timeout, pending, &key, Endpoint::Dialer).await;
        assert_eq!(secured.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let failure = behaviour.failure(&address);
        assert!(matches!(failure, Some(LinkError::Handshake(_))));
    }
}
