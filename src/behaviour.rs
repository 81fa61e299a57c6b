//! The [`NetworkBehaviour`]: translates between the swarm and the core. Nothing is decided here.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    num::NonZeroU8,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::FutureExt;
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId,
    core::{
        ConnectedPoint, Endpoint,
        transport::{PortUse, TransportError},
    },
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, DialError, ExternalAddresses, FromSwarm,
        ListenAddresses, ListenError, ListenOpts, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use rand::{SeedableRng, rngs::StdRng};
use web_time::Instant;

use crate::{
    config::{Config, Incoming},
    error::{JoinError, LinkError, Refusal, StartQueryError, StreamError},
    event::{PxpEvent, Via},
    exchange::{Established, Exchange, Input, Output, Side},
    handler::{FromLink, Handler, Role, ToLink},
    id::{NetworkId, QueryId},
    known::{self, KnownPeer, KnownPeers},
    route::{self, BehaviourPort, Duplex},
    wire::Signer,
};

/// Where the node listens for WebRTC if the application does not say: everywhere, at a free port.
const LISTEN: [&str; 2] = [
    "/ip4/0.0.0.0/udp/0/webrtc-direct",
    "/ip6/::/udp/0/webrtc-direct",
];

/// Peer exchange in a swarm. Made by [`pxp::new`](crate::new) together with its transport, or by
/// [`Behaviour::new`] alone.
pub struct Behaviour {
    exchange: Exchange,
    /// The way to our transport, if there is one.
    port: Option<BehaviourPort>,
    /// Where to listen on our own account; decided at the first poll.
    listens: Option<Vec<ListenOpts>>,
    /// Peers that are worth keeping for the next start.
    known_peers: KnownPeers,
    /// Dials of known peers and of the caller's streams that the swarm was not yet asked for.
    dials: VecDeque<DialOpts>,
    /// The caller's streams that are being dialed or are connections, until they end.
    streams: HashMap<ConnectionId, Multiaddr>,
    listen_addresses: ListenAddresses,
    external_addresses: ExternalAddresses,
    timer: Option<(Instant, Delay)>,
    /// Wakes the swarm when the application commands something.
    waker: Option<Waker>,
}

impl Behaviour {
    /// A behaviour without our transport: new peers are reached over the transports of the swarm,
    /// of which one should listen; and [`Self::connect`] and [`Self::accept`] are refused.
    ///
    /// `key` is the swarm's own: signals are signed with it.
    pub fn new(key: &Keypair, mut config: Config) -> Self {
        let local = key.public().to_peer_id();
        let mut known_peers = std::mem::take(&mut config.known_peers);
        known_peers.retain(|known| known.peer != local);
        let mut known_peers = KnownPeers::new(known_peers);
        let dials = (0..known::MAX_DIALED).filter_map(|_| known_peers.next().map(dial));
        let dials = dials.collect();
        let rng = StdRng::from_rng(&mut rand::rng());
        Self {
            exchange: Exchange::new(local, Box::new(Signer::new(key.clone())), config, rng),
            port: None,
            listens: None,
            known_peers,
            dials,
            streams: HashMap::new(),
            listen_addresses: ListenAddresses::default(),
            external_addresses: ExternalAddresses::default(),
            timer: None,
            waker: None,
        }
    }

    pub(crate) fn with_port(mut self, port: BehaviourPort) -> Self {
        if port.has_signaling() {
            self.exchange = self.exchange.with_signaling();
        }
        self.port = Some(port);
        self
    }

    /// Speaks over a stream that the caller has opened, as the side that dials. The other side
    /// calls [`Self::accept`]. The stream is secured by Noise and multiplexed by Yamux, and is then
    /// a connection of the swarm like any other. A pipe has to hold at least 64 bytes each way.
    ///
    /// [`PxpEvent::Connected`] or [`PxpEvent::LinkFailed`] with the returned id follows, unless
    /// [`Self::close`] comes before it.
    ///
    /// # Errors
    ///
    /// [`StreamError`] if the stream was not taken; it is dropped then.
    pub fn connect(&mut self, stream: impl Duplex) -> Result<ConnectionId, StreamError> {
        let address = self.open_port()?.connect(stream)?;
        let opts = DialOpts::unknown_peer_id().address(address.clone()).build();
        let connection = opts.connection_id();
        self.streams.insert(connection, address);
        self.dials.push_back(opts);
        self.wake();
        Ok(connection)
    }

    /// Speaks over a stream that the caller was given, as the side that listens: see
    /// [`Self::connect`].
    ///
    /// # Errors
    ///
    /// [`StreamError`] if the stream was not taken; it is dropped then.
    pub fn accept(&mut self, stream: impl Duplex) -> Result<(), StreamError> {
        self.open_port()?.accept(stream)
    }

    /// Asks the peers for a new peer, in any of the networks.
    ///
    /// [`PxpEvent::Connected`] with [`Origin::Found`](crate::Origin::Found), or
    /// [`PxpEvent::QueryFailed`], follows within the time that
    /// [`Config::with_query_timeout`] allows.
    ///
    /// # Errors
    ///
    /// [`StartQueryError`] if there is nothing to start.
    pub fn get_new_peer(&mut self) -> Result<QueryId, StartQueryError> {
        self.command(|exchange, now| exchange.get_new_peer(now, None))
    }

    /// Asks the peers in one network for a new peer in it: see [`Self::get_new_peer`].
    ///
    /// # Errors
    ///
    /// [`StartQueryError`] if there is nothing to start.
    pub fn get_new_peer_in(&mut self, network: &NetworkId) -> Result<QueryId, StartQueryError> {
        self.command(|exchange, now| exchange.get_new_peer(now, Some(network)))
    }

    /// Ends the peer exchange: running queries fail, each link ends with a
    /// [`PxpEvent::Disconnected`], no new one comes about, and [`PxpEvent::Closed`] is the last
    /// event. Connections stay as long as other protocols use them.
    pub fn close(&mut self) {
        self.command(Exchange::close);
    }

    /// The peers in all networks, in no order.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = &PeerId> {
        self.exchange.peers()
    }

    /// The peers in one network, in no order.
    pub fn peers_in(&self, network: &NetworkId) -> impl ExactSizeIterator<Item = &PeerId> {
        self.exchange.peers_in(network)
    }

    /// The peers of a node [with a view](Config::with_view) that are worth keeping for
    /// [`Config::with_known_peers`] at the next start: of those that it has chosen by itself or its application has
    /// dialed, those that can be dialed; 32 at most, those with the longest standing first. Peers that came by
    /// themselves are not among them.
    pub fn known_peers(&self) -> Vec<KnownPeer> {
        self.known_peers.list(known::now())
    }

    /// How often this node has said no for this reason since it began: to links, requests, offers and sessions of
    /// others. What is refused as [`Refusal::Busy`] exceeds one of the [`Limits`](crate::Limits).
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.exchange.refused(reason)
    }

    /// The networks that this node takes part in.
    pub fn networks(&self) -> impl ExactSizeIterator<Item = &NetworkId> {
        self.exchange.networks().iter()
    }

    /// Takes part in one more network, and tells all peers within a second.
    ///
    /// # Errors
    ///
    /// [`JoinError`] at the seventeenth network, and after [`Self::close`].
    pub fn join(&mut self, network: NetworkId) -> Result<(), JoinError> {
        self.command(|exchange, now| exchange.join(now, network))
    }

    /// Leaves a network; links with peers that share no other one end. Whether the node was in it.
    pub fn leave(&mut self, network: &NetworkId) -> bool {
        self.command(|exchange, now| exchange.leave(now, network))
    }

    /// Changes whether other nodes may be introduced to this one, and tells all peers within a
    /// second.
    pub fn set_incoming(&mut self, incoming: Incoming) {
        self.command(|exchange, now| exchange.set_incoming(now, incoming));
    }

    fn command<T>(&mut self, command: impl FnOnce(&mut Exchange, Instant) -> T) -> T {
        let result = command(&mut self.exchange, Instant::now());
        self.wake();
        result
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn tell(&mut self, input: Input) {
        self.exchange.handle(Instant::now(), input);
    }

    fn open_port(&self) -> Result<&BehaviourPort, StreamError> {
        if self.exchange.is_closed() {
            return Err(StreamError::Closed);
        }
        self.port.as_ref().ok_or(StreamError::NoTransport)
    }

    /// What went wrong with the caller's stream behind this address, which has ended.
    fn stream_failure(&self, address: &Multiaddr) -> Option<LinkError> {
        self.port.as_ref()?.failure(address)
    }

    /// `otherwise` is why the stream failed if the transport does not know of it.
    fn on_failed(
        &mut self,
        connection: ConnectionId,
        stream: Option<&Multiaddr>,
        otherwise: LinkError,
    ) {
        let error = stream.map(|address| self.stream_failure(address).unwrap_or(otherwise));
        self.tell(Input::Failed { connection, error });
    }

    /// Why a link ended. Where the caller's stream broke, that is why, for the multiplexer only
    /// tells the link that nothing more will come.
    fn end_of_link(
        &self,
        connection: ConnectionId,
        result: Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        use crate::error::ProtocolError::Truncated;

        let stream = self.streams.get(&connection);
        let port = self.port.as_ref();
        let broken = stream.and_then(|address| port?.failure_so_far(address));
        match (broken, result) {
            (Some(error), Ok(()) | Err(LinkError::Io(_) | LinkError::Protocol(Truncated))) => {
                Err(error)
            }
            (_, result) => result,
        }
    }

    fn on_addresses_changed(&mut self) {
        let external = self.external_addresses.iter();
        let mut addresses: Vec<_> = external
            .chain(self.listen_addresses.iter())
            .cloned()
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.tell(Input::Addresses(addresses));
    }

    /// A WebRTC listener of our own is needed unless the application has made one by the first poll.
    fn next_listen(&mut self) -> Option<ListenOpts> {
        let port = self.port.as_ref()?;
        let listens = self.listens.get_or_insert_with(|| {
            let addresses = LISTEN.iter().filter_map(|address| address.parse().ok());
            let wanted = addresses.filter(|_| port.wants_listener());
            wanted.map(ListenOpts::new).collect()
        });
        listens.pop()
    }

    /// Remembers peers that come and go.
    fn note(&mut self, event: &PxpEvent) {
        match event {
            PxpEvent::Connected { peer, .. } => {
                let addresses = self.exchange.addresses_of(peer);
                let now = known::now();
                self.known_peers.on_connected(now, *peer, addresses);
            }
            PxpEvent::Disconnected { peer } => {
                self.known_peers.on_disconnected(known::now(), peer);
            }
            _ => {}
        }
    }

    /// What the swarm is to do for the core, if it is for the swarm to do.
    fn translate(&mut self, output: Output) -> Option<ToSwarm<PxpEvent, ToLink>> {
        let notify = |peer_id, connection, event| ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event,
        };
        Some(match output {
            Output::Event(event) => {
                self.note(&event);
                ToSwarm::GenerateEvent(event)
            }
            Output::Send {
                peer,
                connection,
                frame,
            } => notify(peer, connection, ToLink::Send(frame)),
            Output::CloseLink { peer, connection } => notify(peer, connection, ToLink::Close),
            Output::CloseConnection { peer, connection } => ToSwarm::CloseConnection {
                peer_id: peer,
                connection: CloseConnection::One(connection),
            },
            Output::Dial { peer, addresses } => {
                let opts = DialOpts::peer_id(peer)
                    .condition(PeerCondition::Always)
                    .addresses(addresses)
                    .override_dial_concurrency_factor(NonZeroU8::MIN)
                    .build();
                let connection = opts.connection_id();
                self.tell(Input::Dialing { peer, connection });
                ToSwarm::Dial { opts }
            }
            Output::Signaling(command) => {
                let port = self.port.as_ref();
                if let Some(notice) = port.and_then(|port| port.signal(command)) {
                    self.tell(Input::Signaling(notice));
                }
                return None;
            }
        })
    }

    /// Whether the transport had something to say, and the core was told.
    fn poll_notice(&mut self, cx: &Context<'_>) -> bool {
        let port = self.port.as_ref();
        match port.map(|port| port.poll_notice(cx)) {
            Some(Poll::Ready(notice)) => {
                self.tell(Input::Signaling(notice));
                true
            }
            Some(Poll::Pending) | None => false,
        }
    }

    /// Whether the core's deadline has come, and was told.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.exchange.next_deadline() else {
            self.timer = None;
            return false;
        };
        let now = Instant::now();
        if self.timer.as_ref().is_none_or(|(at, _)| *at != deadline) {
            let delay = deadline.saturating_duration_since(now);
            self.timer = Some((deadline, Delay::new(delay)));
        }
        let is_due = deadline <= now
            || self
                .timer
                .as_mut()
                .is_some_and(|(_, delay)| delay.poll_unpin(cx).is_ready());
        if is_due {
            self.timer = None;
            self.exchange.handle_timeout(now.max(deadline));
        }
        is_due
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("networks", &self.exchange.networks())
            .field("peers", &self.exchange.peers().len())
            .finish_non_exhaustive()
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = PxpEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(Role::Listener))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        role_override: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(match role_override {
            Endpoint::Dialer => Role::Dialer,
            Endpoint::Listener => Role::Listener,
        }))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let listens = self.listen_addresses.on_swarm_event(&event);
        let is_external = self.external_addresses.on_swarm_event(&event);
        if listens || is_external {
            self.on_addresses_changed();
        }
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                let connection = established.connection_id;
                let endpoint = established.endpoint;
                let via = via(endpoint);
                if via == Via::Stream {
                    let address = stream_address(endpoint).clone();
                    self.streams.insert(connection, address);
                }
                self.tell(Input::Established(Established {
                    connection,
                    peer: established.peer_id,
                    side: side(endpoint),
                    remote: endpoint.get_remote_address().clone(),
                    via,
                }));
            }
            FromSwarm::AddressChange(change) => self.tell(Input::Moved {
                connection: change.connection_id,
                remote: change.new.get_remote_address().clone(),
            }),
            FromSwarm::ConnectionClosed(closed) => {
                let connection = closed.connection_id;
                self.streams.remove(&connection);
                let error = self.stream_failure(stream_address(closed.endpoint));
                self.tell(Input::Closed { connection, error });
            }
            FromSwarm::DialFailure(failure) => {
                let is_alone = self.exchange.peers().len() == 0;
                if let Some(peer) = failure.peer_id {
                    let next = self.known_peers.on_dial_failed(&peer, is_alone);
                    self.dials.extend(next.map(dial));
                }
                let stream = self.streams.remove(&failure.connection_id);
                let otherwise = match failure.error {
                    DialError::Transport(errors) => not_secured(errors.iter().map(|(_, e)| e)),
                    _ => LinkError::Aborted,
                };
                self.on_failed(failure.connection_id, stream.as_ref(), otherwise);
            }
            FromSwarm::ListenFailure(failure) => {
                let stream = Some(failure.local_addr).filter(|address| route::is_stream(address));
                let otherwise = match failure.error {
                    ListenError::Transport(error) => not_secured([error]),
                    _ => LinkError::Aborted,
                };
                self.on_failed(failure.connection_id, stream, otherwise);
            }
            FromSwarm::ListenerError(error) => {
                tracing::debug!(listener = ?error.listener_id, error = %error.err, "cannot listen");
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.tell(match event {
            FromLink::Opened => Input::LinkOpened { connection },
            FromLink::Frame(frame, len) => Input::Frame {
                connection,
                frame,
                len,
            },
            FromLink::Closed(result) => Input::LinkClosed {
                connection,
                result: self.end_of_link(connection, result),
            },
        });
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(opts) = self.next_listen() {
            return Poll::Ready(ToSwarm::ListenOn { opts });
        }
        if let Some(opts) = self.dials.pop_front() {
            return Poll::Ready(ToSwarm::Dial { opts });
        }
        loop {
            while let Some(output) = self.exchange.poll_output() {
                if let Some(to_swarm) = self.translate(output) {
                    return Poll::Ready(to_swarm);
                }
            }
            if !self.poll_notice(cx) && !self.poll_timer(cx) {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }
}

fn dial(known: &KnownPeer) -> DialOpts {
    DialOpts::peer_id(known.peer)
        .addresses(known.addresses.clone())
        .override_dial_concurrency_factor(NonZeroU8::MIN)
        .build()
}

fn side(endpoint: &ConnectedPoint) -> Side {
    match endpoint {
        ConnectedPoint::Dialer {
            role_override: Endpoint::Dialer,
            ..
        } => Side::Dialer,
        _ => Side::Listener,
    }
}

fn via(endpoint: &ConnectedPoint) -> Via {
    let is_webrtc = |part| part == Protocol::WebRTC;
    match endpoint.get_remote_address() {
        _ if route::is_stream(stream_address(endpoint)) => Via::Stream,
        // One that a relay carries is the relay's, whatever else its address names.
        _ if endpoint.is_relayed() => Via::Relayed,
        address if address.iter().any(is_webrtc) => Via::Signaled,
        _ => Via::Direct,
    }
}

/// Why a stream failed of which our transport reported nothing: it was not asked, or a timeout of
/// the swarm's own struck before it was done.
fn not_secured<'a>(errors: impl IntoIterator<Item = &'a TransportError<io::Error>>) -> LinkError {
    let is_other = |error: &TransportError<_>| matches!(error, TransportError::Other(_));
    match errors.into_iter().any(is_other) {
        true => LinkError::Handshake(Arc::new(io::Error::new(
            io::ErrorKind::TimedOut,
            "the swarm gave the stream up before it was secured",
        ))),
        false => LinkError::Aborted,
    }
}

/// The address under which the route knows a connection, if it is one of the caller's streams.
fn stream_address(endpoint: &ConnectedPoint) -> &Multiaddr {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => address,
        ConnectedPoint::Listener { local_addr, .. } => local_addr,
    }
}

#[cfg(test)]
mod tests;
