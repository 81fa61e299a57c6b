//! Signaling from end to end over real swarms: a transport in memory stands in for WebRTC. Its
//! descriptions are the addresses at which it listens.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use libp2p::{
    Swarm, Transport as _,
    core::{
        muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent},
        transport::{Boxed, DialOpts as How, ListenerId, MemoryTransport, TransportEvent},
        upgrade::Version,
    },
    multiaddr::Protocol,
    swarm::{self, SwarmEvent},
};

use super::*;
use crate::{
    event::Origin,
    reach::Reach,
    route::{TransportPort, ports},
    signaling::{Command, Notice},
};

mod dialed;

type Output = (PeerId, StreamMuxerBox);

/// Dials `/webrtc/p2p/<peer>` where the peer's description says.
struct Signaled {
    inner: Boxed<Output>,
    port: TransportPort,
    listens_at: Option<Multiaddr>,
    /// Whose description was accepted.
    accepted: HashMap<PeerId, Multiaddr>,
    commands: Arc<Mutex<Vec<Command>>>,
}

impl Signaled {
    fn on_command(&mut self, command: Command) {
        self.commands.lock().unwrap().push(command.clone());
        match command {
            Command::Offer { setup, .. } | Command::Answer { setup, .. } => {
                let sdp = self.listens_at.as_ref().map(Multiaddr::to_string);
                self.port.notify(Notice::Described { setup, sdp });
                let candidate = "candidate:".to_owned();
                self.port.notify(Notice::Candidate { setup, candidate });
            }
            Command::Accept { setup, sdp } => {
                self.accepted.insert(setup.peer, sdp.parse().unwrap());
            }
            Command::Candidate { .. } | Command::Abandon { .. } | Command::StunNeighbors(_) => {}
        }
    }
}

impl libp2p::Transport for Signaled {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Output>>;
    type Dial = BoxFuture<'static, io::Result<Output>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        how: How,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let mut parts = address.iter();
        let (Some(Protocol::WebRTC), Some(Protocol::P2p(peer))) = (parts.next(), parts.next())
        else {
            return Ok(self.inner.dial(address, how)?.boxed());
        };
        while let Some(command) = self.port.next_command() {
            self.on_command(command);
        }
        let path = self.accepted.remove(&peer).unwrap();
        let dial = self.inner.dial(path.clone(), how)?;
        let connected = dial.map(move |output| {
            let (peer, inner) = output?;
            let moved = path.with(Protocol::WebRTC).with(Protocol::P2p(peer));
            let moved = Some(moved);
            Ok((peer, StreamMuxerBox::new(Moving { inner, moved })))
        });
        Ok(connected.boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        while let Poll::Ready(command) = self.port.poll_command(cx) {
            self.on_command(command);
        }
        let event = Pin::new(&mut self.inner).poll(cx);
        if let Poll::Ready(TransportEvent::NewAddress { listen_addr, .. }) = &event {
            self.listens_at = Some(listen_addr.clone());
        }
        event.map(|event| event.map_upgrade(FutureExt::boxed))
    }
}

/// A connection that tells once where it goes.
struct Moving {
    inner: StreamMuxerBox,
    moved: Option<Multiaddr>,
}

impl StreamMuxer for Moving {
    type Substream = <StreamMuxerBox as StreamMuxer>::Substream;
    type Error = <StreamMuxerBox as StreamMuxer>::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.inner).poll_inbound(cx)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        match self.moved.take() {
            Some(moved) => Poll::Ready(Ok(StreamMuxerEvent::AddressChange(moved))),
            None => Pin::new(&mut self.inner).poll(cx),
        }
    }
}

struct Node {
    swarm: Swarm<Behaviour>,
    commands: Arc<Mutex<Vec<Command>>>,
}

impl Node {
    fn new() -> Self {
        let key = Keypair::generate_ed25519();
        let (behaviour_port, port) = ports();
        port.set_signaling();
        let inner = MemoryTransport::default()
            .upgrade(Version::V1Lazy)
            .authenticate(libp2p_noise::Config::new(&key).unwrap())
            .multiplex(libp2p_yamux::Config::default())
            .boxed();
        let commands = Arc::default();
        let transport = Signaled {
            inner,
            port,
            listens_at: None,
            accepted: HashMap::new(),
            commands: Arc::clone(&commands),
        };
        let config = Config::new("net".parse().unwrap());
        let behaviour = Behaviour::new(&key, config).with_port(behaviour_port);
        let (peer, config) = (
            key.public().to_peer_id(),
            swarm::Config::with_tokio_executor(),
        );
        let mut swarm = Swarm::new(transport.boxed(), behaviour, peer, config);
        swarm.listen_on("/memory/0".parse().unwrap()).unwrap();
        Self { swarm, commands }
    }

    fn commands(&self) -> Vec<Command> {
        self.commands.lock().unwrap().clone()
    }
}

type Event = SwarmEvent<PxpEvent>;

/// Runs all nodes until that was so of as many events.
async fn run_until(nodes: &mut [Node], count: usize, is_it: impl Fn(&Event) -> bool) {
    let mut left = count;
    let events = poll_fn(|cx| {
        for node in nodes.iter_mut() {
            while let Poll::Ready(Some(event)) = node.swarm.poll_next_unpin(cx) {
                left = left.saturating_sub(usize::from(is_it(&event)));
            }
        }
        match left {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, events).await.unwrap();
}

fn is_connected(event: &Event) -> bool {
    matches!(event, SwarmEvent::Behaviour(PxpEvent::Connected { .. }))
}

/// 0 knows 1, which knows 2, which knows 3.
async fn chain() -> (Vec<Node>, Vec<PeerId>) {
    let mut nodes: Vec<_> = (0..4).map(|_| Node::new()).collect();
    let is_listening = |event: &Event| matches!(event, SwarmEvent::NewListenAddr { .. });
    run_until(&mut nodes, 4, is_listening).await;
    for (dialer, listener) in [(0, 1), (2, 1), (3, 2)] {
        let address = nodes[listener].swarm.listeners().next().unwrap().clone();
        nodes[dialer].swarm.dial(address).unwrap();
    }
    run_until(&mut nodes, 6, is_connected).await;
    let peers = nodes
        .iter()
        .map(|node| *node.swarm.local_peer_id())
        .collect();
    (nodes, peers)
}

/// Runs all nodes until the first has found somebody.
async fn find(nodes: &mut [Node]) {
    nodes[0].swarm.behaviour_mut().get_new_peer().unwrap();
    let is_found = |event: &Event| {
        matches!(event, SwarmEvent::Behaviour(PxpEvent::Connected { origin, .. })
            if matches!(origin, Origin::Found(_)))
    };
    run_until(nodes, 1, is_found).await;
}

#[tokio::test]
async fn commands_and_notices_lead_to_a_connection() {
    let (mut nodes, peers) = chain().await;
    find(&mut nodes).await;
    assert!(nodes[0].swarm.is_connected(&peers[2]));
    let is_abandoned = |command: &Command| matches!(command, Command::Abandon { .. });
    assert!(!nodes[0].commands().iter().any(is_abandoned));
    let accepted = nodes[0].commands();
    let accepted = accepted
        .iter()
        .filter(|command| matches!(command, Command::Accept { .. }));
    assert_eq!(accepted.count(), 1);
    let is_candidate = |command: &Command| matches!(command, Command::Candidate { .. });
    assert!(nodes[2].commands().iter().any(is_candidate));
}

#[tokio::test]
async fn a_link_is_as_near_as_the_way_to_which_its_connection_moved() {
    let (mut nodes, peers) = chain().await;
    find(&mut nodes).await;
    find(&mut nodes).await;
    assert!(nodes[0].swarm.is_connected(&peers[3]));
    let offered = nodes[0].commands().into_iter();
    let reaches = offered.filter_map(|command| match command {
        Command::Offer { reach, .. } => Some(reach),
        _ => None,
    });
    // of the link to 1, which was dialed in memory, and of that to 2, which moved there
    assert_eq!(reaches.collect::<Vec<_>>(), [Reach::Machine; 2]);
}

#[test]
fn a_connection_goes_the_way_that_its_addresses_show() {
    let address = |text: &str| text.parse::<Multiaddr>().unwrap();
    let peer = PeerId::random();
    let circuit = format!("/ip4/9.9.9.9/tcp/1/p2p/{peer}/p2p-circuit");
    let dialed = |text: &str| ConnectedPoint::Dialer {
        address: address(text),
        role_override: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    };
    for (remote, expected) in [
        ("/webrtc", Via::Signaled),
        ("/ip4/127.0.0.1/udp/1/webrtc", Via::Signaled),
        ("/ip4/10.0.0.1/udp/1/webrtc-direct", Via::Direct),
        ("/ip4/9.9.9.9/tcp/1", Via::Direct),
        (&circuit, Via::Relayed),
        (&format!("{circuit}/webrtc"), Via::Relayed),
    ] {
        assert_eq!(via(&dialed(remote)), expected, "{remote}");
    }
    // Who is dialed sees the relay in its own address only.
    let accepted = ConnectedPoint::Listener {
        local_addr: address(&circuit),
        send_back_addr: address(&format!("/p2p/{peer}")),
    };
    assert_eq!(via(&accepted), Via::Relayed);
}
