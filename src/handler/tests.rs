//! The handler in two swarms, most of which keep no idle connection, driven by a behaviour that only
//! passes on.

use std::{collections::VecDeque, task::Waker};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{
        Endpoint,
        transport::{MemoryTransport, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    swarm::{
        Config, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
        SwarmEvent, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};

use super::*;

/// How often the tests of a race are run.
const ROUNDS: u64 = 50;

#[derive(Default)]
struct Behaviour {
    remote: Option<(PeerId, ConnectionId)>,
    queue: VecDeque<ToSwarm<FromLink, ToLink>>,
}

impl Behaviour {
    fn tell(&mut self, event: ToLink) {
        let (peer_id, connection) = self.remote.expect("a connection");
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler,
            event,
        });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = FromLink;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.remote = Some((peer, connection));
        Ok(Handler::new(Role::Listener))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.remote = Some((peer, connection));
        Ok(Handler::new(Role::Dialer))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<FromLink, THandlerInEvent<Self>>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What the tests look at, of the swarm that dialed and of the one that was dialed.
#[derive(Debug)]
enum Seen<D, L> {
    Dialer(D),
    Listener(L),
    DialerDisconnected,
    ListenerDisconnected,
}

struct Pair<D: NetworkBehaviour, L: NetworkBehaviour> {
    dialer: Swarm<D>,
    listener: Swarm<L>,
}

impl<D: NetworkBehaviour, L: NetworkBehaviour> Pair<D, L> {
    /// Two swarms of which one has dialed the other.
    async fn dial(dialer: D, listener: L) -> Self {
        Self::connect(
            swarm(dialer, Duration::ZERO),
            swarm(listener, Duration::ZERO),
        )
        .await
    }

    async fn connect(mut dialer: Swarm<D>, mut listener: Swarm<L>) -> Self {
        listener.listen_on("/memory/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = listener.select_next_some().await {
                break address;
            }
        };
        dialer.dial(address).unwrap();
        Self { dialer, listener }
    }

    async fn next(&mut self) -> Seen<D::ToSwarm, L::ToSwarm> {
        let wanted = async {
            loop {
                tokio::select! {
                    event = self.dialer.select_next_some() => match event {
                        SwarmEvent::Behaviour(event) => return Seen::Dialer(event),
                        SwarmEvent::ConnectionClosed { .. } => return Seen::DialerDisconnected,
                        _ => {}
                    },
                    event = self.listener.select_next_some() => match event {
                        SwarmEvent::Behaviour(event) => return Seen::Listener(event),
                        SwarmEvent::ConnectionClosed { .. } => return Seen::ListenerDisconnected,
                        _ => {}
                    },
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wanted)
            .await
            .expect("something to happen")
    }

    /// Until both are disconnected. What the links said before that: the dialer's, the listener's.
    async fn disconnected(&mut self) -> (Vec<D::ToSwarm>, Vec<L::ToSwarm>) {
        let mut said = (Vec::new(), Vec::new());
        let mut connected = [true; 2];
        while connected != [false; 2] {
            match self.next().await {
                Seen::Dialer(event) => said.0.push(event),
                Seen::Listener(event) => said.1.push(event),
                Seen::DialerDisconnected => connected[0] = false,
                Seen::ListenerDisconnected => connected[1] = false,
            }
        }
        said
    }
}

impl Pair<Behaviour, Behaviour> {
    async fn linked(idle: Duration) -> Self {
        let [dialer, listener] = [(); 2].map(|()| swarm(Behaviour::default(), idle));
        let mut pair = Self::connect(dialer, listener).await;
        let mut opened = [false; 2];
        while opened != [true; 2] {
            match pair.next().await {
                Seen::Dialer(FromLink::Opened) if !opened[0] => opened[0] = true,
                Seen::Listener(FromLink::Opened) if !opened[1] => opened[1] = true,
                other => panic!("{other:?}"),
            }
        }
        pair
    }
}

fn swarm<B: NetworkBehaviour>(behaviour: B, idle: Duration) -> Swarm<B> {
    let key = Keypair::generate_ed25519();
    let transport = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(libp2p_noise::Config::new(&key).unwrap())
        .multiplex(libp2p_yamux::Config::default())
        .boxed();
    let config = Config::with_tokio_executor().with_idle_connection_timeout(idle);
    Swarm::new(transport, behaviour, key.public().to_peer_id(), config)
}

#[tokio::test]
async fn a_link_keeps_its_connection_and_a_closed_one_lets_it_go() {
    for _ in 0..ROUNDS {
        let mut pair = Pair::linked(Duration::ZERO).await;
        pair.dialer
            .behaviour_mut()
            .tell(ToLink::Send(Frame::Ping(0)));
        loop {
            match pair.next().await {
                Seen::Dialer(FromLink::Frame(Frame::Ping(100), _)) => break,
                Seen::Dialer(FromLink::Frame(Frame::Ping(nonce), _)) => {
                    let frame = Frame::Ping(nonce + 1);
                    pair.dialer.behaviour_mut().tell(ToLink::Send(frame));
                }
                Seen::Listener(FromLink::Frame(frame, _)) => {
                    pair.listener.behaviour_mut().tell(ToLink::Send(frame));
                }
                other => panic!("{other:?}"),
            }
        }
        pair.listener
            .behaviour_mut()
            .tell(ToLink::Send(Frame::Pong(7)));
        pair.listener.behaviour_mut().tell(ToLink::Close);
        let (dialer, listener) = pair.disconnected().await;
        let [FromLink::Frame(Frame::Pong(7), _), FromLink::Closed(Ok(()))] = *dialer else {
            panic!("{dialer:?}");
        };
        assert!(
            matches!(*listener, [FromLink::Closed(Ok(()))]),
            "{listener:?}"
        );
    }
}

#[tokio::test]
async fn last_words_arrive_although_the_connection_is_closed_right_after_the_link() {
    for _ in 0..ROUNDS {
        let mut pair = Pair::linked(Duration::from_secs(60)).await;
        let listener = pair.listener.behaviour_mut();
        listener.tell(ToLink::Send(Frame::Pong(7)));
        listener.tell(ToLink::Close);
        let (peer, _) = listener.remote.unwrap();
        let mut heard = Vec::new();
        loop {
            match pair.next().await {
                Seen::Listener(FromLink::Closed(_)) => break,
                Seen::Dialer(event) => heard.push(event),
                other => panic!("{other:?}"),
            }
        }
        pair.listener.disconnect_peer_id(peer).unwrap();
        heard.extend(pair.disconnected().await.0);
        let [FromLink::Frame(Frame::Pong(7), _), FromLink::Closed(Ok(()))] = *heard else {
            panic!("{heard:?}");
        };
    }
}

#[tokio::test]
async fn a_connection_that_either_side_closes_ends_the_link_once_on_both() {
    for round in 0..ROUNDS {
        let mut pair = Pair::linked(Duration::ZERO).await;
        let swarm = match round % 2 {
            0 => &mut pair.dialer,
            _ => &mut pair.listener,
        };
        let (peer, _) = swarm.behaviour().remote.unwrap();
        swarm.disconnect_peer_id(peer).unwrap();
        let (dialer, listener) = pair.disconnected().await;
        for said in [dialer, listener] {
            assert!(matches!(*said, [FromLink::Closed(Ok(()))]), "{said:?}");
        }
    }
}

#[tokio::test]
async fn a_remote_that_does_not_speak_the_protocol_is_unsupported() {
    let dialer = swarm(Behaviour::default(), Duration::ZERO);
    let listener = swarm(dummy::Behaviour, Duration::from_secs(60));
    let mut pair = Pair::connect(dialer, listener).await;
    let (dialer, _) = pair.disconnected().await;
    let [FromLink::Closed(Err(LinkError::Unsupported))] = *dialer else {
        panic!("{dialer:?}");
    };
}

#[tokio::test]
async fn a_link_that_is_not_wanted_is_closed_without_having_been_open() {
    for _ in 0..ROUNDS {
        let mut pair = Pair::dial(Behaviour::default(), Behaviour::default()).await;
        while pair.dialer.behaviour().remote.is_none() {
            tokio::select! {
                _ = pair.dialer.select_next_some() => {}
                _ = pair.listener.select_next_some() => {}
            }
        }
        pair.dialer.behaviour_mut().tell(ToLink::Close);
        let (dialer, _) = pair.disconnected().await;
        assert!(matches!(*dialer, [FromLink::Closed(Ok(()))]), "{dialer:?}");
    }
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Twice {
    one: Behaviour,
    two: Behaviour,
}

#[tokio::test]
async fn a_second_substream_is_dropped() {
    let twice = Twice {
        one: Behaviour::default(),
        two: Behaviour::default(),
    };
    let mut pair = Pair::dial(twice, Behaviour::default()).await;
    let mut open = 0;
    let mut closed = 0;
    while open == 0 || closed == 0 {
        match pair.next().await {
            Seen::Listener(FromLink::Opened) => open += 1,
            Seen::Dialer(TwiceEvent::One(event) | TwiceEvent::Two(event)) => {
                closed += usize::from(matches!(event, FromLink::Closed(_)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(open, 1);
    pair.listener
        .behaviour_mut()
        .tell(ToLink::Send(Frame::Ping(1)));
    loop {
        if let Seen::Dialer(TwiceEvent::One(event) | TwiceEvent::Two(event)) = pair.next().await {
            assert!(
                matches!(event, FromLink::Frame(Frame::Ping(1), _)),
                "{event:?}"
            );
            break;
        }
    }
}

#[test]
fn a_remote_has_ten_seconds_to_agree_on_the_protocol() {
    assert_eq!(*substream_protocol().timeout(), Duration::from_secs(10));
}

#[test]
fn a_listener_keeps_the_connection_for_the_time_of_grace() {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut handler = Handler::new(Role::Listener);
    assert!(handler.poll(cx).is_pending());
    assert!(handler.connection_keep_alive());
    handler.state = State::Awaiting(Some(Delay::new(Duration::ZERO)));
    while handler.connection_keep_alive() {
        assert!(handler.poll(cx).is_pending());
    }
    assert!(matches!(handler.state, State::Awaiting(None)));
}

#[test]
fn a_remote_that_does_not_answer_sent_no_hello() {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut handler = Handler::new(Role::Dialer);
    assert!(handler.poll(cx).is_ready());
    assert!(handler.connection_keep_alive());
    let error = StreamUpgradeError::Timeout;
    let event = ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (), error });
    handler.on_connection_event(event);
    let Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)) = handler.poll(cx) else {
        panic!("nothing was said");
    };
    assert!(matches!(event, FromLink::Closed(Err(LinkError::NoHello))));
    assert!(handler.poll(cx).is_pending());
    assert!(!handler.connection_keep_alive());
}
