//! Endpoints on a simulated network, in virtual time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use if_watch::IpNet;
use libp2p::PeerId;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    super::framing::{self, Read, StreamError},
    Candidate, ChannelId, Close, Closed, Endpoint, Event, Key, Status, TIMER_SLACK, Write,
    description,
};
use crate::{
    event::NatMapping,
    reach::Reach,
    signaling::{Command, Notice, SetupId},
};

mod addresses;
mod amplifiers;
mod associations;
mod closing;
mod descriptions;
mod direct;
mod foreign;
mod life;
mod limits;
mod lite;
mod loss;
mod neighbors;
mod relays;
mod streams;
mod trust;
mod unsealed;
mod window;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What travels between two endpoints.
enum Delivery {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        contents: Vec<u8>,
    },
    Command {
        to: usize,
        command: Command,
    },
    /// The end with the small socket reads again.
    Read,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    packets: usize,
    bytes: usize,
}

struct End {
    peer: PeerId,
    endpoint: Endpoint,
    /// Connections that came in and were not asked for yet.
    incoming: VecDeque<Key>,
    reach: Reach,
    /// Whether its datagrams are lost, all of them.
    is_cut: bool,
}

/// Some endpoints and the network between them.
struct Lab {
    now: Instant,
    ends: Vec<End>,
    rng: StdRng,
    delay: Range<Duration>,
    /// Of each datagram.
    loss: f64,
    duplication: f64,
    signaling_delay: Duration,
    /// What an introducer does to descriptions.
    tamper: Option<fn(String) -> String>,
    mails: BinaryHeap<Reverse<(Instant, usize)>>,
    pending: HashMap<usize, Delivery>,
    sequence: usize,
    setups: u64,
    /// Who is asked for each set-up, and how it is called there.
    partners: HashMap<(usize, SetupId), (usize, SetupId)>,
    /// Addresses behind a router, and how they look from outside it.
    mapped: HashMap<SocketAddr, SocketAddr>,
    /// Those of them whose router is symmetric, and how they look from each address that they sent to.
    symmetric: HashMap<SocketAddr, HashMap<SocketAddr, SocketAddr>>,
    /// STUN servers, and what they say if it is not the truth.
    servers: HashMap<SocketAddr, Option<SocketAddr>>,
    /// A TURN server, if there is one.
    turn: Option<relays::Server>,
    /// Whom a router has let out to somebody: who may answer.
    let_out: HashSet<(SocketAddr, SocketAddr)>,
    /// Addresses that nothing leaves or reaches.
    dead: HashSet<SocketAddr>,
    datagrams: usize,
    /// What of them an end has sent where.
    sent_to: HashMap<(usize, SocketAddr), Sent>,
    /// The socket of an end whose system keeps little for it.
    socket: Option<window::Socket>,
    /// What the end 1 says of where it is, instead of the truth.
    lies: Vec<SocketAddr>,
    /// Who reported what of its router.
    nat_mappings: Vec<(usize, NatMapping)>,
    /// Who reported of which set-up that it has found a path.
    paths_found: Vec<(usize, SetupId)>,
    /// Who reported of which set-up that nothing has come of it.
    failed: Vec<(usize, SetupId)>,
}

/// Where somebody tells who asks how it looks from outside.
const STUN_SERVER: &str = "9.9.9.9:3478";

/// The network of an address: the 256 or 2^64 beside it.
fn network(address: SocketAddr) -> IpNet {
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address.ip(), prefix).unwrap()
}

fn address(n: usize, which: usize) -> SocketAddr {
    format!("9.0.{which}.{n}:4000").parse().unwrap()
}

impl Lab {
    fn new(seed: u64) -> Self {
        let mut lab = Self {
            now: Instant::now(),
            ends: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            delay: MS..MS * 2,
            loss: 0.0,
            duplication: 0.0,
            signaling_delay: MS,
            tamper: None,
            mails: BinaryHeap::new(),
            pending: HashMap::new(),
            sequence: 0,
            setups: 0,
            partners: HashMap::new(),
            mapped: HashMap::new(),
            symmetric: HashMap::new(),
            servers: HashMap::from([(STUN_SERVER.parse().unwrap(), None)]),
            turn: None,
            let_out: HashSet::new(),
            dead: HashSet::new(),
            datagrams: 0,
            sent_to: HashMap::new(),
            socket: None,
            lies: Vec::new(),
            nat_mappings: Vec::new(),
            paths_found: Vec::new(),
            failed: Vec::new(),
        };
        lab.add();
        lab.add();
        lab
    }

    fn add(&mut self) -> usize {
        let n = self.ends.len();
        let endpoint = Endpoint::new().unwrap();
        self.ends.push(End {
            peer: PeerId::random(),
            endpoint,
            incoming: VecDeque::new(),
            reach: Reach::Global,
            is_cut: false,
        });
        self.add_address(n, address(n, 0));
        n
    }

    /// An end has got an address.
    fn add_address(&mut self, n: usize, address: SocketAddr) {
        let (endpoint, network) = (&mut self.ends[n].endpoint, network(address));
        endpoint.add_address(self.now, address, network);
        self.collect(n);
    }

    /// Has one end offer a connection to another, and returns the set-up at the offerer.
    fn offer(&mut self, from: usize, to: usize) -> SetupId {
        self.setups += 1;
        let number = self.setups;
        let ours = SetupId {
            peer: self.ends[to].peer,
            number,
        };
        let theirs = SetupId {
            peer: self.ends[from].peer,
            number,
        };
        self.partners.insert((from, ours), (to, theirs));
        self.partners.insert((to, theirs), (from, ours));
        let reach = self.ends[from].reach;
        self.command(from, Command::Offer { setup: ours, reach });
        ours
    }

    fn command(&mut self, n: usize, command: Command) {
        self.ends[n].endpoint.handle_command(self.now, command);
        self.collect(n);
    }

    /// Offers, dials and waits: the connection at both ends.
    fn connect(&mut self, from: usize, to: usize) -> Result<(Key, Key), Closed> {
        let ours = self.dial(from, to)?;
        self.run_until(SECOND * 20, |lab| {
            lab.status(from, ours) != Status::Connecting
        });
        if let Status::Closed(why) = self.status(from, ours) {
            self.release(from, ours);
            return Err(why);
        }
        let has_come = |lab: &mut Self| !lab.ends[to].incoming.is_empty();
        if !self.run_until(SECOND * 20, has_come) {
            self.release(from, ours);
            return Err(Closed::SetupTimeout);
        }
        Ok((ours, self.ends[to].incoming.pop_front().unwrap()))
    }

    /// Offers, and dials once it is answered.
    fn dial(&mut self, from: usize, to: usize) -> Result<Key, Closed> {
        let peer = self.offer(from, to).peer;
        let mut dialed = None;
        self.run_until(SECOND * 20, |lab| {
            dialed = lab.ends[from].endpoint.dial(&peer);
            dialed.is_some()
        });
        dialed.ok_or(Closed::SetupTimeout)
    }

    fn status(&self, n: usize, key: Key) -> Status {
        self.ends[n].endpoint.status(key)
    }

    fn release(&mut self, n: usize, key: Key) {
        self.ends[n].endpoint.release(self.now, key);
        self.collect(n);
    }

    fn close(&mut self, n: usize, key: Key) {
        self.ends[n].endpoint.close(self.now, key);
        self.collect(n);
    }

    fn open(&mut self, n: usize, key: Key) -> ChannelId {
        let channel = self.ends[n].endpoint.open(self.now, key).unwrap();
        self.collect(n);
        channel
    }

    /// Waits for the channel that the other side has opened.
    fn accept(&mut self, n: usize, key: Key) -> ChannelId {
        let mut accepted = None;
        assert!(self.run_until(SECOND * 30, |lab| {
            accepted = lab.ends[n].endpoint.accept(key);
            accepted.is_some()
        }));
        accepted.unwrap()
    }

    fn write(&mut self, n: usize, key: Key, channel: ChannelId, bytes: &[u8]) -> Write {
        let written = self.ends[n].endpoint.write(self.now, key, channel, bytes);
        self.collect(n);
        written
    }

    fn read(&mut self, n: usize, key: Key, channel: ChannelId, buffer: &mut [u8]) -> Read {
        let read = self.ends[n].endpoint.read(self.now, key, channel, buffer);
        self.collect(n);
        read
    }

    fn close_stream(&mut self, n: usize, key: Key, channel: ChannelId) -> Close {
        let closed = self.ends[n].endpoint.close_stream(self.now, key, channel);
        self.collect(n);
        closed
    }

    fn release_channel(&mut self, n: usize, key: Key, channel: ChannelId) {
        self.ends[n]
            .endpoint
            .release_channel(self.now, key, channel);
        self.collect(n);
    }

    /// Writes all of `bytes` as the other side takes it, and returns what arrived there.
    fn transfer(&mut self, from: (usize, Key), to: (usize, Key), bytes: &[u8]) -> Vec<u8> {
        let writer = self.open(from.0, from.1);
        let (mut written, mut received) = (0, Vec::new());
        let (mut reader, mut buffer) = (None, vec![0; 64 * 1024]);
        let deadline = self.now + SECOND * 600;
        'over: while received.len() < bytes.len() && self.now < deadline {
            while written < bytes.len() {
                let end = bytes.len().min(written + 16 * 1024);
                match self.write(from.0, from.1, writer, &bytes[written..end]) {
                    Write::Taken(n) => written += n,
                    Write::Blocked => break,
                    Write::Failed(_) => break 'over,
                }
            }
            reader = reader.or_else(|| self.ends[to.0].endpoint.accept(to.1));
            while let Some(reader) = reader {
                match self.read(to.0, to.1, reader, &mut buffer) {
                    Read::Bytes(n) => received.extend_from_slice(&buffer[..n]),
                    Read::Blocked => break,
                    Read::Ended | Read::Failed(_) => break 'over,
                }
            }
            self.step();
        }
        self.release_channel(from.0, from.1, writer);
        if let Some(reader) = reader {
            self.release_channel(to.0, to.1, reader);
        }
        received
    }

    /// Takes what an end has to say: datagrams and signals go on their way.
    fn collect(&mut self, n: usize) {
        while let Some(transmit) = self.ends[n].endpoint.poll_transmit() {
            self.datagrams += 1;
            let source = match transmit.source.ip().is_unspecified() {
                true => *self.ends[n].endpoint.addresses.keys().next().unwrap(),
                false => transmit.source,
            };
            let to = transmit.destination;
            let sent = self.sent_to.entry((n, to)).or_default();
            sent.packets += 1;
            sent.bytes += transmit.contents.len();
            let (is_dead, source) = (self.dead.contains(&source), self.outside(source, to));
            self.let_out.insert((source, to));
            let copies = 1 + usize::from(self.rng.random_bool(self.duplication));
            for _ in 0..copies {
                if is_dead
                    || self.dead.contains(&to)
                    || self.ends[n].is_cut
                    || self.rng.random_bool(self.loss)
                {
                    continue;
                }
                let delay = match &mut self.socket {
                    Some(socket) => socket.delay(self.now, to),
                    None => self.rng.random_range(self.delay.clone()),
                };
                let datagram = Delivery::Datagram {
                    from: source,
                    to,
                    contents: transmit.contents.clone(),
                };
                self.mail(delay, datagram);
            }
        }
        while let Some(event) = self.ends[n].endpoint.poll_event() {
            match event {
                Event::Notice(notice) => self.on_notice(n, notice),
                Event::Incoming { key, .. } | Event::Stranger { key } => {
                    self.ends[n].incoming.push_back(key);
                }
                Event::Address(_)
                | Event::Changed { .. }
                | Event::Readable { .. }
                | Event::Writable { .. } => {}
            }
        }
    }

    fn on_notice(&mut self, n: usize, notice: Notice) {
        let (setup, text) = match &notice {
            Notice::Described {
                setup,
                sdp: Some(sdp),
            } => (*setup, sdp.clone()),
            Notice::Described { .. } | Notice::Serving { .. } => return,
            Notice::PathFound(setup) => return self.paths_found.push((n, *setup)),
            Notice::Failed(setup) => return self.failed.push((n, *setup)),
            Notice::NatMapping(mapping) => return self.nat_mappings.push((n, *mapping)),
            Notice::Candidate { setup, candidate } => (*setup, candidate.clone()),
        };
        let Some(&(to, theirs)) = self.partners.get(&(n, setup)) else {
            return;
        };
        let is_candidate = matches!(notice, Notice::Candidate { .. });
        let sdp = match self.tamper {
            Some(tamper) if !is_candidate => tamper(text),
            _ => text,
        };
        let sdp = match (n, &self.lies[..]) {
            (1, [_, ..]) if !is_candidate => self.lie_about(&sdp),
            _ => sdp,
        };
        let reach = self.ends[to].reach;
        let command = if is_candidate {
            Command::Candidate {
                setup: theirs,
                candidate: sdp,
            }
        } else if sdp.contains("a=setup:actpass") {
            Command::Answer {
                setup: theirs,
                reach,
                sdp,
            }
        } else {
            Command::Accept { setup: theirs, sdp }
        };
        self.mail(self.signaling_delay, Delivery::Command { to, command });
    }

    fn lie_about(&self, sdp: &str) -> String {
        let candidates = self
            .lies
            .iter()
            .map(|lie| Candidate::host(*lie, "udp").unwrap());
        description::join(sdp, candidates.collect::<Vec<_>>().iter())
    }

    /// Whether an end has sent to an address.
    fn has_sent_to(&self, n: usize, address: &str) -> bool {
        let address = address.parse().unwrap();
        self.sent_to.contains_key(&(n, address))
    }

    fn mail(&mut self, delay: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.pending.insert(self.sequence, delivery);
        self.mails.push(Reverse((self.now + delay, self.sequence)));
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let mail = self.mails.peek().map(|Reverse((at, _))| *at);
        let deadlines = self
            .ends
            .iter()
            .filter_map(|end| end.endpoint.next_deadline());
        deadlines.chain(mail).min()
    }

    /// Goes on to what happens next. Whether anything does.
    fn step(&mut self) -> bool {
        let Some(next) = self.next() else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some(Reverse((at, sequence))) = self.mails.peek().copied()
            && at <= self.now
        {
            self.mails.pop();
            let delivery = self.pending.remove(&sequence).unwrap();
            self.deliver(delivery);
        }
        for n in 0..self.ends.len() {
            if self.ends[n]
                .endpoint
                .next_deadline()
                .is_some_and(|at| at <= self.now)
            {
                self.ends[n].endpoint.handle_timeout(self.now);
                self.collect(n);
            }
        }
        true
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Command { to, command } => self.command(to, command),
            Delivery::Read => self.read_socket(),
            Delivery::Datagram { from, to, contents }
                if self.socket.as_ref().is_some_and(|socket| socket.is_at(to)) =>
            {
                self.queue(from, contents);
            }
            Delivery::Datagram { from, to, contents } if self.servers.contains_key(&to) => {
                let contents = mapping_of(self.servers[&to].unwrap_or(from), &contents);
                let (from, to) = (to, from);
                self.mail(MS, Delivery::Datagram { from, to, contents });
            }
            Delivery::Datagram { from, to, contents }
                if self.turn.as_ref().is_some_and(|turn| turn.is_at(to)) =>
            {
                self.relay(from, to, contents);
            }
            Delivery::Datagram { from, to, contents } => {
                let Some(to) = self.inside(from, to) else {
                    return; // the router knows nothing of it
                };
                let owner = self
                    .ends
                    .iter()
                    .position(|end| end.endpoint.addresses.contains_key(&to));
                if let Some(n) = owner.filter(|n| !self.ends[*n].is_cut) {
                    let now = self.now;
                    self.ends[n]
                        .endpoint
                        .handle_datagram(now, to, from, &contents);
                    self.collect(n);
                }
            }
        }
    }

    fn outside(&mut self, address: SocketAddr, to: SocketAddr) -> SocketAddr {
        if network(address).contains(&to.ip()) {
            return address; // no router is in between
        }
        let public = *self.mapped.get(&address).unwrap_or(&address);
        let Some(ports) = self.symmetric.get_mut(&address) else {
            return public;
        };
        let port = public.port() + ports.len() as u16;
        let public = SocketAddr::new(public.ip(), port);
        *ports.entry(to).or_insert(public)
    }

    /// Where a router passes on what comes `from` outside: to who has sent there.
    fn inside(&self, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let symmetric = self.symmetric.iter();
        let ports =
            symmetric.flat_map(|(private, ports)| ports.values().map(move |to| (private, to)));
        match self
            .mapped
            .iter()
            .chain(ports)
            .find(|(_, public)| **public == to)
        {
            Some((private, _)) => self.let_out.contains(&(to, from)).then_some(*private),
            None => Some(to),
        }
    }

    /// Runs until something is so, for at most this long. Whether it is.
    fn run_until(&mut self, limit: Duration, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if is_so(self) {
                return true;
            }
            if self.next().is_none_or(|next| next > end) {
                return false;
            }
            self.step();
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(time, |_| false);
        self.now = self.now.max(end);
    }

    /// A connection ends by itself, not before this time and at most so much later.
    fn assert_ends_after(
        &mut self,
        (n, key): (usize, Key),
        time: Duration,
        late: Duration,
        why: Closed,
    ) {
        self.run(time - MS);
        assert!(!matches!(self.status(n, key), Status::Closed(_)));
        self.run(MS + late);
        assert_eq!(self.status(n, key), Status::Closed(why));
    }

    /// The connection carries data both ways, and leaves nothing behind.
    fn finish(mut self, from: (usize, Key), to: (usize, Key)) {
        let sent = pattern(50_000);
        assert_eq!(self.transfer(from, to, &sent), sent);
        assert_eq!(self.transfer(to, from, &sent), sent);
        self.release(from.0, from.1);
        self.release(to.0, to.1);
        self.assert_empty();
    }

    /// Everything is released, and nothing may be left.
    fn assert_empty(&mut self) {
        self.run(SECOND * 30);
        for end in &self.ends {
            end.endpoint.assert_empty();
        }
    }
}

/// What a STUN server answers.
fn mapping_of(from: SocketAddr, request: &[u8]) -> Vec<u8> {
    use ::stun::{
        message::{BINDING_SUCCESS, Message},
        xoraddr::XorMappedAddress,
    };

    let mut message = Message::new();
    message.raw = request.to_vec();
    message.decode().unwrap();
    let (ip, port) = (from.ip(), from.port());
    let (transaction, mut answer) = (message.transaction_id, Message::new());
    let mapped = XorMappedAddress { ip, port };
    let parts: [Box<dyn ::stun::message::Setter>; 3] = [
        Box::new(transaction),
        Box::new(BINDING_SUCCESS),
        Box::new(mapped),
    ];
    answer.build(&parts).unwrap();
    answer.raw
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 251) as u8).collect()
}
