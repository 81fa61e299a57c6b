//! The world that nodes live in: machines, the connections between them, and time. It does for the
//! cores what swarms, transports and networks do, in as few rules as the core can tell apart, and
//! counts what passes. What is to happen in it is decided by a scenario, and what nodes do to have
//! peers by a [`Policy`].

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use web_time::Instant;

use super::{
    Options, TICK,
    agenda::{Agenda, Arrival, End, Event},
    names::{NodeId, WireId},
    node::{Link, Mind, Node, Role, Tally},
    policy::Policy,
    seal::PlainSeal,
    sybil::Sybil,
    wire::{Conditions, Wire},
};
use crate::{
    config::Config,
    event::{Origin, PxpEvent, Via},
    exchange::{Exchange, Input, Output},
    signaling::{Command, Notice},
};

mod connections;

pub(super) struct World {
    now: Instant,
    nodes: Vec<Node>,
    wires: Vec<Wire>,
    agenda: Agenda,
    policy: Policy,
    conditions: Conditions,
    rng: StdRng,
    /// Whether what is being sent is for one who asked the sender to look for others' peers.
    is_for_another: bool,
}

/// The node through which all others join.
pub(super) const BOOTSTRAP: NodeId = NodeId(0);

impl World {
    /// With the bootstrap node in it.
    pub(super) fn new(options: &Options) -> Self {
        let mut world = Self {
            now: Instant::now(),
            nodes: Vec::new(),
            wires: Vec::new(),
            agenda: Agenda::default(),
            policy: options.policy,
            conditions: Conditions::new(options),
            rng: StdRng::seed_from_u64(options.seed),
            is_for_another: false,
        };
        world.add_core(Role::Bootstrap, options.policy.bootstrap_config());
        world
    }

    /// Honest nodes start, each at some time within the next tick.
    pub(super) fn join(&mut self, count: usize) {
        for _ in 0..count {
            self.add_core(Role::Ordinary, self.policy.config());
        }
    }

    /// Sybils start, each at some time within the next tick.
    pub(super) fn join_sybils(&mut self, count: usize) {
        let first = self.nodes.len();
        let like = first..first + count;
        for node in like.clone().map(NodeId) {
            let Some(peer) = node.peer() else { return };
            let sybil = Sybil::new(node, peer, like.clone(), &mut self.rng);
            self.add(Role::Sybil, Mind::Sybil(Box::new(sybil)));
        }
    }

    fn add_core(&mut self, role: Role, config: Config) {
        let node = NodeId(self.nodes.len());
        let Some(peer) = node.peer() else { return };
        let rng = StdRng::from_rng(&mut self.rng);
        let core = Exchange::new(peer, Box::new(PlainSeal(node)), config, rng).with_signaling();
        self.add(role, Mind::Core(Box::new(core)));
    }

    fn add(&mut self, role: Role, mind: Mind) {
        let node = NodeId(self.nodes.len());
        let Some(peer) = node.peer() else { return };
        self.nodes.push(Node {
            peer,
            role,
            mind,
            links: Vec::new(),
            wires: Vec::new(),
            wake: None,
            is_asking: false,
            tally: Tally::of_new(),
        });
        let start = TICK.mul_f64(self.rng.random());
        self.agenda.plan(self.now + start, Event::Tick(node));
    }

    /// The machine is gone, and nobody is told. Signaled transports notice.
    pub(super) fn vanish(&mut self, node: NodeId) {
        let Some(gone) = self.nodes.get_mut(node.0) else {
            return;
        };
        gone.mind = Mind::Gone;
        gone.links = Vec::new();
        for wire in std::mem::take(&mut gone.wires) {
            self.break_wire(wire, node);
        }
    }

    /// Runs everything that is due within this time.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, event)) = self.agenda.pop(end) {
            self.now = at;
            match event {
                Event::Timer(node) => self.on_timer(node),
                Event::Tick(node) => self.on_tick(node),
                Event::Connects(wire) => self.on_connects(wire),
                Event::DialFails(wire) => self.on_dial_fails(wire),
                Event::Arrival(end, arrival) => self.on_arrival(end, arrival),
            }
        }
        self.now = end;
    }

    /// All nodes that ever were, by their numbers.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether an honest node has all the peers that it is to have.
    pub(super) fn is_at_target(&self, node: &Node) -> bool {
        self.policy.is_at_target(&node.links)
    }

    pub(super) fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    /// Begins to count: what has passed is not what the figures are about.
    pub(super) fn count_anew(&mut self) {
        for node in &mut self.nodes {
            node.tally = Tally::default();
        }
    }

    fn on_timer(&mut self, id: NodeId) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(id.0)
            && node.wake == Some(now)
        {
            node.wake = None;
            node.mind.handle_timeout(now);
            self.flush(id);
        }
    }

    /// What an application does each tick: join, if the node has no peers, or look for more.
    fn on_tick(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id.0).filter(|node| node.is_alive()) else {
            return;
        };
        let has_links = match &mut node.mind {
            Mind::Sybil(sybil) => sybil.on_tick(),
            _ => !node.links.is_empty(),
        };
        match node.role {
            Role::Bootstrap => return,
            Role::Ordinary | Role::Sybil if !has_links => self.dial_directly(id, BOOTSTRAP),
            Role::Ordinary => self.ask(id),
            Role::Sybil => {}
        }
        self.flush(id);
        self.agenda.plan(self.now + TICK, Event::Tick(id));
    }

    /// Starts a query, if the application of an ordinary node wants one and none is running.
    fn ask(&mut self, id: NodeId) {
        let (now, policy) = (self.now, self.policy);
        if let Some(node) = self.nodes.get_mut(id.0)
            && node.role == Role::Ordinary
            && !node.is_asking
            && policy.wants_query(&node.links)
        {
            node.is_asking = node.mind.start_query(now).is_ok();
        }
    }

    /// Does what a node wants done, until it wants nothing more.
    fn flush(&mut self, id: NodeId) {
        while let Some(output) = self.nodes.get_mut(id.0).and_then(|n| n.mind.poll_output()) {
            match output {
                Output::Event(event) => self.on_event(id, event),
                Output::Send {
                    connection, frame, ..
                } => self.send(id, connection, frame),
                Output::CloseLink { connection, .. } => self.close_link(connection),
                Output::CloseConnection { connection, .. } => self.close(id, connection),
                Output::Dial { peer, addresses } => self.dial(id, peer, &addresses),
                Output::Signaling(command) => self.on_command(id, command),
            }
        }
        self.wake(id);
    }

    /// Sets a node's timer, if it has to be earlier than the one that is set.
    fn wake(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id.0)
            && let Some(deadline) = node.mind.next_deadline()
            && node.wake.is_none_or(|wake| deadline < wake)
        {
            let at = deadline.max(self.now);
            node.wake = Some(at);
            self.agenda.plan(at, Event::Timer(id));
        }
    }

    /// A node's application is told something.
    fn on_event(&mut self, id: NodeId, event: PxpEvent) {
        let policy = self.policy;
        let Some(node) = self.nodes.get_mut(id.0) else {
            return;
        };
        match event {
            PxpEvent::Connected { peer, origin, .. } => {
                let is_own_choice = matches!(origin, Origin::Found(_) | Origin::Chosen { .. });
                node.is_asking &= !is_own_choice;
                let to = NodeId::of_peer(&peer);
                node.links.extend(to.map(|to| Link { to, is_own_choice }));
                if policy.is_at_target(&node.links) {
                    let queries = node.tally.queries;
                    node.tally.queries_to_fill.get_or_insert(queries);
                }
                self.ask(id);
            }
            PxpEvent::Disconnected { peer } => {
                let to = NodeId::of_peer(&peer);
                node.links.retain(|link| Some(link.to) != to);
            }
            PxpEvent::QueryFailed { .. } => node.is_asking = false,
            _ => {}
        }
    }

    /// A core asks something of its signaled transport. Descriptions have nothing in them, since the
    /// world itself knows who is where.
    fn on_command(&mut self, id: NodeId, command: Command) {
        let (setup, sdp) = match command {
            Command::Offer { setup, .. } => (setup, "offer"),
            Command::Answer { setup, .. } => (setup, "answer"),
            _ => return,
        };
        if let Some(node) = self.nodes.get_mut(id.0) {
            let sdp = Some(sdp.to_owned());
            let described = Input::Signaling(Notice::Described { setup, sdp });
            node.mind.handle(self.now, described);
        }
    }
}
