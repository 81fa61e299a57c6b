//! A network of real cores on virtual time: one event heap, seeded, with delays, cuts, liars and
//! machines that vanish. What a swarm, its transports and its handlers would do is modelled here in
//! as few rules as the core can tell apart.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, multihash::Multihash, swarm::ConnectionId};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use web_time::Instant;

use self::signaling::Setup;
use super::{Established, Exchange, Input, Output, Side, address::signaled};
use crate::{
    config::Config,
    error::{QueryError, SignalError},
    event::{PxpEvent, Via},
    id::{ExchangeId, NetworkId, NetworkTag, QueryId},
    message::{Envelope, Frame, Seal, SignalBody, SignalContent},
    signaling::Command,
};

mod inspect;
mod signaling;

/// What a liar makes of each frame that its core sends, by the receiver's index.
pub(super) type Lie = Box<dyn FnMut(usize, Frame) -> Vec<Frame>>;

/// Every signed body there is: an envelope is an index, and altering one makes it invalid.
pub(super) type Mint = Arc<Mutex<Vec<(PeerId, SignalBody)>>>;

struct TestSeal {
    local: PeerId,
    mint: Mint,
}

impl Seal for TestSeal {
    fn seal(&self, body: &SignalBody) -> Option<Envelope> {
        Some(forge(&self.mint, self.local, body.clone()))
    }

    fn open(&self, envelope: &Envelope) -> Result<(PeerId, SignalBody), SignalError> {
        read(&self.mint, envelope).ok_or(SignalError::Signature)
    }
}

/// What `signer` would sign.
pub(super) fn forge(mint: &Mint, signer: PeerId, body: SignalBody) -> Envelope {
    let mut mint = mint.lock().unwrap();
    mint.push((signer, body));
    Envelope((mint.len() - 1).to_be_bytes().to_vec())
}

pub(super) fn read(mint: &Mint, envelope: &Envelope) -> Option<(PeerId, SignalBody)> {
    let index = usize::from_be_bytes(envelope.0.as_slice().try_into().ok()?);
    mint.lock().unwrap().get(index).cloned()
}

pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) core: Exchange,
    pub(super) events: Vec<PxpEvent>,
    pub(super) sent: Vec<(ConnectionId, Frame)>,
    pub(super) lie: Option<Lie>,
    /// Whether dials reach it.
    pub(super) is_reachable: bool,
    /// What it dialed.
    pub(super) dialed: Vec<Vec<Multiaddr>>,
    /// What its core asked of its signaled transport.
    pub(super) commands: Vec<Command>,
    /// Whether its signaled transport describes its end, if it has one.
    pub(super) describes: bool,
    /// Whether connections that were set up by signals come about.
    pub(super) is_punchable: bool,
    is_alive: bool,
}

/// A connection, and what each direction still carries.
struct Wire {
    dialer: usize,
    listener: usize,
    is_open: [bool; 2],
    has_link: [bool; 2],
    is_signaled: bool,
    /// When the last thing sent to each side arrives: nothing overtakes.
    arrives: [Instant; 2],
}

#[derive(Debug)]
enum Event {
    Input(usize, Input),
    DialEnds {
        connection: ConnectionId,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    },
}

pub(super) struct Sim {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) mint: Mint,
    pub(super) delay: Range<u64>,
    pub(super) rng: StdRng,
    /// Whether nodes that are added have a signaled transport.
    pub(super) has_signaling: bool,
    /// What the signaled transports know, by node and number.
    setups: HashMap<(usize, u64), Setup>,
    wires: HashMap<ConnectionId, Wire>,
    events: BinaryHeap<Reverse<(Instant, usize)>>,
    pending: HashMap<usize, Event>,
    sequence: usize,
}

/// A frame has come, of as many bytes as it takes.
pub(super) fn arrived(connection: ConnectionId, frame: Frame) -> Input {
    let bytes = crate::wire::encode(&frame).unwrap_or_default();
    let prefix = bytes.iter().position(|byte| *byte < 0x80);
    let len = prefix.map_or(0, |end| bytes.len() - end - 1);
    Input::Frame {
        connection,
        frame,
        len,
    }
}

pub(super) fn network(name: &str) -> NetworkId {
    name.parse().unwrap()
}

pub(super) fn address(n: usize) -> Multiaddr {
    let certhash = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";
    format!(
        "/ip4/9.0.{}.{}/udp/1/webrtc-direct/certhash/{certhash}",
        n / 250,
        n % 250
    )
    .parse()
    .unwrap()
}

/// The peer with this rank: ids are ordered as their numbers are.
pub(super) fn peer(n: usize) -> PeerId {
    let mut digest = [0; 34];
    digest[..8].copy_from_slice(&n.to_be_bytes());
    PeerId::from_multihash(Multihash::wrap(0, &digest).unwrap()).unwrap()
}

impl Sim {
    /// Of each 128 seeds, the nodes of the latter 64 have signaled transports.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            nodes: Vec::new(),
            mint: Mint::default(),
            delay: 1..50,
            rng: StdRng::seed_from_u64(seed),
            has_signaling: seed & 64 != 0,
            setups: HashMap::new(),
            wires: HashMap::new(),
            events: BinaryHeap::new(),
            pending: HashMap::new(),
            sequence: 0,
        }
    }

    /// Nodes of the network "net", all reachable, none connected.
    pub(super) fn with_nodes(seed: u64, n: usize) -> Self {
        let mut sim = Self::new(seed);
        for _ in 0..n {
            sim.add(Config::new(network("net")));
        }
        sim
    }

    pub(super) fn add(&mut self, config: Config) -> usize {
        let n = self.nodes.len();
        let (local, mint) = (peer(n), self.mint.clone());
        let rng = StdRng::from_rng(&mut self.rng);
        let mut core = Exchange::new(local, Box::new(TestSeal { local, mint }), config, rng);
        if self.has_signaling {
            core = core.with_signaling();
        }
        core.handle(self.now, Input::Addresses(vec![address(n)]));
        self.nodes.push(Node {
            peer: local,
            core,
            events: Vec::new(),
            sent: Vec::new(),
            lie: None,
            is_reachable: true,
            dialed: Vec::new(),
            commands: Vec::new(),
            describes: true,
            is_punchable: true,
            is_alive: true,
        });
        n
    }

    /// Connects two nodes as their applications would, and waits for the link.
    pub(super) fn connect(&mut self, dialer: usize, listener: usize) -> ConnectionId {
        let connection = self.link(dialer, listener);
        self.run(Duration::from_secs(1));
        connection
    }

    /// Connects some nodes to one.
    pub(super) fn star(&mut self, center: usize, others: Range<usize>) {
        for node in others {
            self.link(node, center);
        }
        self.run(Duration::from_secs(1));
    }

    /// Connects two nodes, and does not wait.
    pub(super) fn link(&mut self, dialer: usize, listener: usize) -> ConnectionId {
        let connection = ConnectionId::new_unchecked(self.next());
        self.establish(connection, dialer, listener, false);
        connection
    }

    /// Runs everything that is due within this time.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until a node has as many events as that, or fails.
    pub(super) fn run_until(&mut self, what: &str, is_it: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(120);
        while !is_it(self) {
            assert!(self.step(end), "{what} never came: {:?}", self.all_events());
        }
    }

    /// Runs what is due within this time for as long as that holds. Whether it still does.
    pub(super) fn run_while(&mut self, time: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        while holds(self) {
            if !self.step(end) {
                self.now = end;
                return true;
            }
        }
        false
    }

    /// Starts a query and runs until it ends.
    pub(super) fn query(&mut self, node: usize) -> Result<PeerId, QueryError> {
        let query = self.start_query(node);
        self.run_until("the end of a query", |sim| {
            sim.outcome(node, query).is_some()
        });
        self.outcome(node, query).unwrap()
    }

    pub(super) fn start_query(&mut self, node: usize) -> QueryId {
        let query = self.nodes[node].core.get_new_peer(self.now, None).unwrap();
        self.flush(node);
        query
    }

    /// A frame arrives as if `from` had sent it.
    pub(super) fn say(&mut self, from: usize, connection: ConnectionId, frame: Frame) {
        let to = self.other(connection, from);
        self.deliver(connection, to, arrived(connection, frame));
    }

    /// What `signer` would sign, invented or not.
    pub(super) fn sign(
        &self,
        signer: usize,
        to: usize,
        exchange: ExchangeId,
        content: SignalContent,
    ) -> Envelope {
        let (signer, to) = (peer(signer), peer(to));
        let network = NetworkTag::new(&signer, exchange.salt(), &network("net"));
        let body = SignalBody {
            to,
            exchange,
            network,
            content,
        };
        forge(&self.mint, signer, body)
    }

    /// A command for a node's core.
    pub(super) fn tell<T>(
        &mut self,
        node: usize,
        command: impl FnOnce(&mut Exchange, Instant) -> T,
    ) -> T {
        let result = command(&mut self.nodes[node].core, self.now);
        self.flush(node);
        result
    }

    /// Says nothing from now on of what its core says: only what [`Self::say`] makes it say.
    pub(super) fn silence(&mut self, node: usize) {
        self.nodes[node].lie = Some(Box::new(|_, _| Vec::new()));
    }

    /// A random node.
    pub(super) fn any(&mut self) -> usize {
        self.rng.random_range(..self.nodes.len())
    }

    /// The machine is gone, and nobody is told. Signaled transports notice.
    pub(super) fn vanish(&mut self, node: usize) {
        self.nodes[node].is_alive = false;
        self.break_signaled(node);
    }

    /// The connection breaks, and both sides notice.
    pub(super) fn cut(&mut self, connection: ConnectionId) {
        let wire = &self.wires[&connection];
        for node in [wire.dialer, wire.listener] {
            self.deliver(
                connection,
                node,
                Input::Closed {
                    connection,
                    error: None,
                },
            );
        }
    }

    /// Closes everything and checks that nothing is left behind.
    pub(super) fn end(mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_alive {
                self.tell(node, |core, now| core.close(now));
            }
        }
        self.run(Duration::from_secs(60));
        for connection in self.wires.keys().copied().collect::<Vec<_>>() {
            self.cut(connection);
        }
        self.run(Duration::from_secs(1500));
        for node in self.nodes.iter_mut().filter(|node| node.is_alive) {
            node.core.assert_empty();
            assert!(
                matches!(node.events.last(), Some(PxpEvent::Closed)),
                "{:?}",
                node.events
            );
            assert!(self.setups.is_empty(), "{:?}", self.setups);
            let closed = |event: &&PxpEvent| matches!(event, PxpEvent::Closed);
            assert_eq!(node.events.iter().filter(closed).count(), 1);
        }
    }

    fn next(&mut self) -> usize {
        self.sequence += 1;
        self.sequence
    }

    fn step(&mut self, end: Instant) -> bool {
        let timers = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is_alive);
        let timer = timers
            .filter_map(|(n, node)| Some((node.core.next_deadline()?, n)))
            .min()
            .filter(|(at, _)| *at <= end);
        let event = self
            .events
            .peek()
            .map(|Reverse(event)| *event)
            .filter(|(at, _)| *at <= end);
        match (timer, event) {
            (Some((at, node)), event) if event.is_none_or(|(other, _)| at <= other) => {
                self.now = self.now.max(at);
                self.nodes[node].core.handle_timeout(self.now);
                self.flush(node);
            }
            (_, Some((at, sequence))) => {
                self.now = self.now.max(at);
                self.events.pop();
                let event = self.pending.remove(&sequence).unwrap();
                self.on_event(event);
            }
            (_, None) => return false,
        }
        true
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Input(node, input) => self.input(node, input),
            Event::DialEnds {
                connection,
                peer,
                addresses,
            } => {
                let is_at = |n: &usize| addresses.contains(&address(*n));
                let target = (0..self.nodes.len()).find(is_at).filter(|n| {
                    let node = &self.nodes[*n];
                    node.is_alive && node.is_reachable && node.peer == peer
                });
                let dialer = self.wires[&connection].dialer;
                let by_signals = addresses.contains(&signaled(peer));
                let set_up = by_signals.then(|| self.set_up(dialer, peer)).flatten();
                match (set_up, target) {
                    (Some(listener), _) => self.establish(connection, dialer, listener, true),
                    (None, Some(listener)) => self.establish(connection, dialer, listener, false),
                    (None, None) => self.input(
                        dialer,
                        Input::Failed {
                            connection,
                            error: None,
                        },
                    ),
                }
            }
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        if !self.nodes[node].is_alive {
            return;
        }
        let (connection, kind) = match &input {
            Input::Frame { connection, .. } => (connection, 0),
            Input::LinkOpened { connection } => (connection, 1),
            Input::LinkClosed { connection, .. } => (connection, 2),
            Input::Closed { connection, .. } => (connection, 3),
            _ => return self.pass(node, input),
        };
        let side = self.side(*connection, node);
        let wire = self.wires.get_mut(connection).unwrap();
        let is_due = match kind {
            0 => wire.has_link[side],
            1 => std::mem::replace(&mut wire.has_link[side], true) || wire.is_open[side],
            2 => std::mem::take(&mut wire.has_link[side]),
            _ => std::mem::take(&mut wire.is_open[side]),
        };
        if is_due {
            self.pass(node, input);
        }
    }

    fn pass(&mut self, node: usize, input: Input) {
        self.nodes[node].core.handle(self.now, input);
        self.flush(node);
    }

    fn establish(
        &mut self,
        connection: ConnectionId,
        dialer: usize,
        listener: usize,
        is_signaled: bool,
    ) {
        let arrives = [self.now; 2];
        let wire = Wire {
            dialer,
            listener,
            is_open: [true; 2],
            has_link: [false; 2],
            is_signaled,
            arrives,
        };
        self.wires.insert(connection, wire);
        for (node, side, other) in [
            (dialer, Side::Dialer, listener),
            (listener, Side::Listener, dialer),
        ] {
            let peer = self.nodes[other].peer;
            let (remote, via) = match is_signaled {
                true => (signaled(peer), Via::Signaled),
                false => (address(other), Via::Direct),
            };
            let established = Established {
                connection,
                peer,
                side,
                remote,
                via,
            };
            self.deliver(connection, node, Input::Established(established));
            if is_signaled {
                let remote = signaling::path(other, peer);
                self.deliver(connection, node, Input::Moved { connection, remote });
            }
            self.deliver(connection, node, Input::LinkOpened { connection });
        }
    }

    fn side(&self, connection: ConnectionId, node: usize) -> usize {
        usize::from(self.wires[&connection].dialer != node)
    }

    fn other(&self, connection: ConnectionId, node: usize) -> usize {
        let wire = &self.wires[&connection];
        if wire.dialer == node {
            wire.listener
        } else {
            wire.dialer
        }
    }

    fn deliver(&mut self, connection: ConnectionId, to: usize, input: Input) {
        let delay = Duration::from_millis(self.rng.random_range(self.delay.clone()));
        let side = self.side(connection, to);
        let wire = self.wires.get_mut(&connection).unwrap();
        let at = wire.arrives[side].max(self.now + delay);
        wire.arrives[side] = at;
        self.at(at, Event::Input(to, input));
    }

    fn at(&mut self, at: Instant, event: Event) {
        let sequence = self.next();
        self.events.push(Reverse((at, sequence)));
        self.pending.insert(sequence, event);
    }

    fn flush(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].core.poll_output() {
            match output {
                Output::Event(event) => self.nodes[node].events.push(event),
                Output::Send {
                    connection, frame, ..
                } => self.on_send(node, connection, frame),
                Output::CloseLink { connection, .. } => {
                    let other = self.other(connection, node);
                    for end in [node, other] {
                        self.deliver(
                            connection,
                            end,
                            Input::LinkClosed {
                                connection,
                                result: Ok(()),
                            },
                        );
                    }
                }
                Output::CloseConnection { connection, .. } => {
                    let other = self.other(connection, node);
                    self.deliver(
                        connection,
                        other,
                        Input::LinkClosed {
                            connection,
                            result: Ok(()),
                        },
                    );
                    self.cut(connection);
                }
                Output::Dial { peer, addresses } => {
                    assert!(addresses.len() <= 5, "{addresses:?}");
                    self.on_dial(node, peer, addresses);
                }
                Output::Signaling(command) => self.on_command(node, command),
            }
        }
    }

    fn on_send(&mut self, node: usize, connection: ConnectionId, frame: Frame) {
        let to = self.other(connection, node);
        let has_link = self.wires[&connection].has_link[self.side(connection, node)];
        assert!(has_link, "{frame:?} over a link that is not there");
        let frames = match &mut self.nodes[node].lie {
            Some(lie) => lie(to, frame),
            None => vec![frame],
        };
        for frame in frames {
            self.nodes[node].sent.push((connection, frame.clone()));
            self.deliver(connection, to, arrived(connection, frame));
        }
    }

    fn on_dial(&mut self, dialer: usize, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.nodes[dialer].dialed.push(addresses.clone());
        let connection = ConnectionId::new_unchecked(self.next());
        let arrives = [self.now; 2];
        let (is_open, has_link) = ([false; 2], [false; 2]);
        let wire = Wire {
            dialer,
            listener: dialer,
            is_open,
            has_link,
            is_signaled: false,
            arrives,
        };
        self.wires.insert(connection, wire);
        self.nodes[dialer]
            .core
            .handle(self.now, Input::Dialing { peer, connection });
        let delay = Duration::from_millis(self.rng.random_range(200..300));
        self.at(
            self.now + delay,
            Event::DialEnds {
                connection,
                peer,
                addresses,
            },
        );
    }
}
