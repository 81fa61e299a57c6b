//! The caller's own streams on their way to the transport, and what went wrong with them on its way
//! back. It knows streams and addresses, and nothing of how a stream is secured.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{Multiaddr, multiaddr::Protocol};

use super::{BehaviourPort, Shared, TransportPort};
use crate::error::{LinkError, StreamError};

/// The most streams that may wait to be connected, and the most that may wait to be accepted. The
/// transport takes them at the swarm's next poll, so more than a burst of them means that nobody
/// polls the swarm.
const MAX_WAITING: usize = 64;

/// The `/unix` path under which a stream is dialed, before its number. No transport of libp2p
/// claims `/unix`, and the number is random, so that nobody but us can name a stream.
const PATH_PREFIX: &str = "pxp-stream-";

/// A reliable, ordered stream of bytes in both directions: whatever the caller can open to another
/// node.
///
/// Everything that reads and writes by the traits of `futures` is one. For `tokio`'s, see
/// `tokio_util::compat`.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// Whether this is the address of a stream of the caller's.
pub(crate) fn is_stream(address: &Multiaddr) -> bool {
    StreamId::parse(address).is_some()
}

impl BehaviourPort {
    /// Keeps `stream` until the transport is asked to dial the returned address, which works once.
    pub(crate) fn connect(&self, stream: impl Duplex) -> Result<Multiaddr, StreamError> {
        let mut state = self.0.open()?;
        if state.streams.dialed.len() >= MAX_WAITING {
            return Err(StreamError::Busy);
        }
        let id = state.streams.begin();
        state.streams.dialed.insert(id, Box::new(stream));
        Ok(id.address())
    }

    /// Queues `stream` for the transport, which reports it as an incoming connection.
    pub(crate) fn accept(&self, stream: impl Duplex) -> Result<(), StreamError> {
        let mut state = self.0.open()?;
        if state.streams.accepted.len() >= MAX_WAITING {
            return Err(StreamError::Busy);
        }
        let id = state.streams.begin();
        state.streams.accepted.push_back((id, Box::new(stream)));
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// What has gone wrong so far with the stream of this address.
    pub(crate) fn failure_so_far(&self, address: &Multiaddr) -> Option<LinkError> {
        let id = StreamId::parse(address)?;
        self.0.lock().streams.failures.get(&id)?.clone()
    }

    /// Takes out what went wrong with the stream of this address and forgets the stream. To be
    /// called when its dial or its connection has ended, whether or not it failed.
    pub(crate) fn failure(&self, address: &Multiaddr) -> Option<LinkError> {
        let id = StreamId::parse(address)?;
        let mut state = self.0.lock();
        let failure = state.streams.failures.remove(&id).flatten();
        let dialed = state.streams.dialed.remove(&id);
        let place = state
            .streams
            .accepted
            .iter()
            .position(|(other, _)| *other == id);
        let accepted = place.and_then(|place| state.streams.accepted.remove(place));
        drop(state);
        // The caller's own code runs when its stream is dropped: not under our lock.
        drop((dialed, accepted));
        failure
    }
}

impl TransportPort {
    /// Takes the stream that waits to be dialed at this address.
    pub(crate) fn take(&self, address: &Multiaddr) -> Option<Pending> {
        let id = StreamId::parse(address)?;
        let stream = self.0.lock().streams.dialed.remove(&id)?;
        Some(self.pending(id, stream))
    }

    /// The next stream that waits to be accepted.
    pub(crate) fn poll_accepted(&self, cx: &Context<'_>) -> Poll<Pending> {
        let mut state = self.0.lock();
        match state.streams.accepted.pop_front() {
            Some((id, stream)) => Poll::Ready(self.pending(id, stream)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn pending(&self, id: StreamId, stream: Box<dyn Duplex>) -> Pending {
        let ticket = Ticket {
            id,
            shared: self.0.clone(),
        };
        Pending { stream, ticket }
    }
}

/// A stream that is to become a connection.
pub(crate) struct Pending {
    pub(crate) stream: Box<dyn Duplex>,
    pub(crate) ticket: Ticket,
}

/// Names one stream, to report what goes wrong with it. The first report counts: what follows is
/// its consequence.
#[derive(Clone)]
pub(crate) struct Ticket {
    id: StreamId,
    shared: Shared,
}

impl Ticket {
    pub(crate) fn address(&self) -> Multiaddr {
        self.id.address()
    }

    /// The caller's stream failed. Returns the error to go on with.
    pub(crate) fn stream_failed(&self, error: io::Error) -> io::Error {
        self.report(error, LinkError::Io)
    }

    /// The stream could not be secured. Returns the error to go on with.
    pub(crate) fn handshake_failed(&self, error: io::Error) -> io::Error {
        self.report(error, LinkError::Handshake)
    }

    fn report(&self, error: io::Error, kind: fn(Arc<io::Error>) -> LinkError) -> io::Error {
        let error = Arc::new(error);
        if let Some(failure) = self.shared.lock().streams.failures.get_mut(&self.id) {
            failure.get_or_insert_with(|| kind(error.clone()));
        }
        io::Error::new(error.kind(), error)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct StreamId(u64);

impl StreamId {
    fn address(self) -> Multiaddr {
        Protocol::Unix(format!("{PATH_PREFIX}{:016x}", self.0).into()).into()
    }

    /// Reads the first part of an address only, for a swarm adds the peer's id to what it dials.
    fn parse(address: &Multiaddr) -> Option<Self> {
        let Some(Protocol::Unix(path)) = address.iter().next() else {
            return None;
        };
        let number = path.strip_prefix(PATH_PREFIX)?;
        u64::from_str_radix(number, 16).ok().map(Self)
    }
}

/// Streams that wait, and what is known of those that do no more.
#[derive(Default)]
pub(super) struct Streams {
    /// At most [`MAX_WAITING`].
    dialed: HashMap<StreamId, Box<dyn Duplex>>,
    /// At most [`MAX_WAITING`].
    accepted: VecDeque<(StreamId, Box<dyn Duplex>)>,
    /// One entry for each stream from `connect` or `accept` until [`BehaviourPort::failure`].
    failures: HashMap<StreamId, Option<LinkError>>,
}

impl Streams {
    fn begin(&mut self) -> StreamId {
        let id = StreamId(rand::random());
        self.failures.insert(id, None);
        id
    }

    /// Takes out the streams that wait, which nobody will use any more. The caller's own code runs
    /// when they are dropped: not under our lock.
    pub(super) fn take_waiting(&mut self) -> impl Sized + use<> {
        (
            std::mem::take(&mut self.dialed),
            std::mem::take(&mut self.accepted),
        )
    }

    /// Nobody will ask what went wrong.
    pub(super) fn forget_failures(&mut self) {
        self.failures.clear();
    }
}

#[cfg(test)]
mod tests {
    use futures::{io::Cursor, task::noop_waker_ref};
    use libp2p::PeerId;

    use super::*;
    use crate::route::ports;

    fn stream() -> impl Duplex {
        Cursor::new(Vec::new())
    }

    fn accepted(port: &TransportPort) -> Option<Pending> {
        match port.poll_accepted(&Context::from_waker(noop_waker_ref())) {
            Poll::Ready(pending) => Some(pending),
            Poll::Pending => None,
        }
    }

    fn assert_empty(shared: &Shared) {
        let state = shared.lock();
        assert_eq!(state.streams.dialed.len(), 0);
        assert_eq!(state.streams.accepted.len(), 0);
        assert_eq!(state.streams.failures.len(), 0);
    }

    #[test]
    fn an_address_survives_printing_and_a_peer_id() {
        let (behaviour, transport) = ports();
        let address = behaviour.connect(stream()).unwrap();
        assert!(address.to_string().starts_with("/unix/pxp-stream-"));
        let parsed: Multiaddr = address.to_string().parse().unwrap();
        assert_eq!(parsed, address);
        let dialed = address.with(Protocol::P2p(PeerId::random()));
        let reparsed: Multiaddr = dialed.to_string().parse().unwrap();
        assert!(is_stream(&reparsed));
        assert!(transport.take(&reparsed).is_some());
    }

    #[test]
    fn other_addresses_are_no_streams() {
        for other in ["/unix/pxp-stream-x", "/unix/socket", "/ip4/1.2.3.4/tcp/1"] {
            assert!(!is_stream(&other.parse().unwrap()), "{other}");
        }
        assert!(!is_stream(&Multiaddr::empty()));
    }

    #[test]
    fn an_address_is_dialed_once() {
        let (behaviour, transport) = ports();
        let address = behaviour.connect(stream()).unwrap();
        assert!(transport.take(&address).is_some());
        assert!(transport.take(&address).is_none());
        assert!(behaviour.failure(&address).is_none());
        assert_empty(&behaviour.0);
    }

    #[test]
    fn at_most_64_streams_wait_to_be_dialed() {
        let (behaviour, transport) = ports();
        let addresses: Vec<_> = (0..64)
            .map(|_| behaviour.connect(stream()).unwrap())
            .collect();
        assert_eq!(behaviour.connect(stream()), Err(StreamError::Busy));
        transport.take(&addresses[0]).unwrap();
        behaviour.connect(stream()).unwrap();
        assert_eq!(behaviour.connect(stream()), Err(StreamError::Busy));
    }

    #[test]
    fn at_most_64_streams_wait_to_be_accepted() {
        let (behaviour, transport) = ports();
        for _ in 0..64 {
            behaviour.accept(stream()).unwrap();
        }
        assert_eq!(behaviour.accept(stream()), Err(StreamError::Busy));
        accepted(&transport).unwrap();
        behaviour.accept(stream()).unwrap();
        assert_eq!(behaviour.accept(stream()), Err(StreamError::Busy));
    }

    #[test]
    fn the_first_failure_is_taken_out_once() {
        let (behaviour, transport) = ports();
        behaviour.accept(stream()).unwrap();
        let ticket = accepted(&transport).unwrap().ticket;
        assert!(behaviour.failure_so_far(&ticket.address()).is_none());
        let error = ticket.stream_failed(io::Error::other("cause"));
        ticket.handshake_failed(error);
        assert!(behaviour.failure_so_far(&ticket.address()).is_some());
        let failure = behaviour.failure(&ticket.address()).unwrap();
        assert!(matches!(&failure, LinkError::Io(error) if error.to_string() == "cause"));
        assert!(behaviour.failure(&ticket.address()).is_none());
        ticket.stream_failed(io::Error::other("too late"));
        assert_empty(&behaviour.0);
    }

    #[test]
    fn a_stream_that_is_never_taken_is_dropped_with_its_entry() {
        let (behaviour, transport) = ports();
        let dialed = behaviour.connect(stream()).unwrap();
        behaviour.accept(stream()).unwrap();
        let queued = behaviour.0.lock().streams.accepted[0].0.address();
        assert!(behaviour.failure(&dialed).is_none());
        assert!(behaviour.failure(&queued).is_none());
        assert!(accepted(&transport).is_none());
        assert_empty(&behaviour.0);
    }

    #[test]
    fn without_a_transport_no_stream_is_taken() {
        let (behaviour, transport) = ports();
        let address = behaviour.connect(stream()).unwrap();
        drop(transport);
        assert_eq!(behaviour.connect(stream()), Err(StreamError::NoTransport));
        assert_eq!(behaviour.accept(stream()), Err(StreamError::NoTransport));
        assert!(!behaviour.wants_listener());
        assert!(behaviour.failure(&address).is_none());
        assert_empty(&behaviour.0);
    }

    #[test]
    fn without_a_behaviour_nothing_is_kept() {
        let (behaviour, transport) = ports();
        let address = behaviour.connect(stream()).unwrap();
        behaviour.connect(stream()).unwrap();
        behaviour.accept(stream()).unwrap();
        let ticket = transport.take(&address).unwrap().ticket;
        drop(behaviour);
        ticket.stream_failed(io::Error::other("nobody asks"));
        assert_empty(&transport.0);
    }
}
