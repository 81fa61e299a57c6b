//! All signaled connections of a node, without sockets, tasks or a clock: datagrams, commands and
//! the time go in; datagrams, events and the next deadline come out. It knows WebRTC (`str0m`), and
//! neither libp2p's traits nor the exchange's protocol.
//!
//! A connection begins as a set-up: its description goes out to be signed, the other side's comes in.
//! ICE then finds a path, DTLS proves that the other end has the certificate which the signed
//! description named, and SCTP carries the streams. All share one socket of each address family.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

use if_watch::IpNet;
use libp2p::PeerId;
pub(super) use str0m::channel::ChannelId;
use str0m::{
    Candidate, Rtc,
    config::{CryptoProvider, DtlsCert},
};

pub(super) use self::engine::generate_certificate;
pub(super) use self::outputs::{AddressChange, Close, Closed, Event, Status, Transmit, Write};
pub(super) use self::unproven::Budget;
use self::{
    connection::{Connection, Ingredients},
    demux::{Demux, Kind, Pair},
    direct::Strangers,
    farewells::Farewells,
    guard::Heard,
    outputs::Outputs,
    relays::{Change, Received, Relays},
    stun::{Mapping, Stun},
    stun_service::StunService,
    surroundings::Surroundings,
};
use super::framing::{Read, StreamError};
use crate::{
    config::{FoundServer, Limits},
    reach::Reach,
    signaling::{Command, Notice, SetupId},
};

mod association;
mod channels;
mod connection;
mod demux;
mod description;
mod direct;
mod engine;
mod farewells;
#[cfg(any(test, fuzzing))]
#[allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // it is to
pub(crate) mod fuzz;
mod guard;
mod outputs;
mod relays;
mod stun;
mod stun_service;
mod surroundings;
#[cfg(test)]
mod tests;
mod unproven;

/// How much later than asked for a connection is called that waits for seconds: until another one is
/// called anyway. An idle node wakes up ten times a second then, however many peers it has.
const TIMER_SLACK: Duration = Duration::from_millis(100);

/// From when on a wait can be so inexact, but in a set-up. Those in an exchange with the other side are
/// shorter.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Names a connection, also while it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(u64);

pub(super) struct Endpoint {
    crypto: Arc<CryptoProvider>,
    /// The same for all connections, until the endpoint ends.
    certificate: DtlsCert,
    /// Those of this machine, with our ports, and the networks that they are in.
    addresses: BTreeMap<SocketAddr, IpNet>,
    stun: Stun,
    relays: Relays,
    stun_service: Option<StunService>,
    /// `None` if nobody may dial an address of ours.
    strangers: Option<Strangers>,
    farewells: Farewells,
    /// Of those at the other end of an address that have not proven yet who they are.
    budget: Budget,
    connections: HashMap<Key, Connection>,
    next_key: u64,
    /// The connections in set-up.
    setups: HashMap<SetupId, Key>,
    demux: Demux,
    deadlines: BTreeSet<(Instant, Key)>,
    outputs: Outputs,
}

impl Endpoint {
    /// `None` if no certificate could be made.
    pub(super) fn new() -> Option<Self> {
        generate_certificate().map(Self::with_certificate)
    }

    pub(super) fn with_certificate(certificate: DtlsCert) -> Self {
        Self {
            crypto: Arc::new(guard::crypto()),
            certificate,
            addresses: BTreeMap::new(),
            stun: Stun::default(),
            relays: Relays::default(),
            stun_service: None,
            strangers: None,
            farewells: Farewells::default(),
            budget: Budget::default(),
            connections: HashMap::new(),
            next_key: 0,
            setups: HashMap::new(),
            demux: Demux::default(),
            deadlines: BTreeSet::new(),
            outputs: Outputs::default(),
        }
    }

    /// This machine has got `address`, with the port of our socket, in `network`.
    pub(super) fn add_address(&mut self, now: Instant, address: SocketAddr, network: IpNet) {
        self.stun.ask_again(now);
        self.relays.hurry(now);
        if self.addresses.insert(address, network).is_none()
            && let Some(candidate) = host(address)
        {
            self.add_candidate(now, &candidate, self.keys());
            self.tell_listening(AddressChange::Gained(address));
        }
    }

    /// This machine has lost `address`.
    pub(super) fn remove_address(&mut self, now: Instant, address: SocketAddr) {
        self.stun.forget(now, address);
        self.relays.forget(now, address);
        self.settle_relays(now);
        if self.addresses.remove(&address).is_some()
            && let Some(candidate) = host(address)
        {
            self.remove_candidate(now, &candidate, self.keys());
            self.tell_listening(AddressChange::Lost(address));
        }
    }

    fn remove_candidate(&mut self, now: Instant, candidate: &Candidate, keys: Vec<Key>) {
        let candidates = self.candidates();
        for key in keys {
            self.with(now, key, |connection| {
                connection.remove_local_candidate(now, candidate, &candidates);
            });
        }
    }

    fn add_candidate(&mut self, now: Instant, candidate: &Candidate, keys: Vec<Key>) {
        let around = self.surroundings();
        for key in keys {
            self.with(now, key, |connection| {
                connection.on_local_candidate(now, candidate, &around);
            });
            self.name_candidates(key, &around);
        }
    }

    /// Has the other end let in where it may come by a TURN server.
    fn let_in(&mut self, now: Instant, key: Key) {
        let connection = self.connections.get(&key);
        let candidates = connection.map_or(&[][..], Connection::remote_candidates);
        let hosts: Vec<_> = candidates.iter().map(SocketAddr::ip).collect();
        for host in hosts {
            if self.may_relay_to(key, host) {
                self.relays.let_in(now, host);
            }
        }
        self.settle_relays(now);
    }

    /// Returns true if a connection needs no permission for a host, or may have one.
    fn may_relay_to(&mut self, key: Key, host: IpAddr) -> bool {
        !self.relays.lacks(host)
            || self
                .connections
                .get_mut(&key)
                .is_some_and(|it| it.claim(host))
    }

    /// Has the other end told what it may know of now.
    fn name_candidates(&mut self, key: Key, around: &Surroundings) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let Some(setup) = connection.setup else {
            return;
        };
        let named = connection.name_candidates(around).into_iter();
        let notices = named.map(|candidate| Notice::Candidate {
            setup,
            candidate: candidate.to_sdp_string(),
        });
        self.outputs.events.extend(notices.map(Event::Notice));
    }

    /// The servers to be asked what our sockets look like from outside, and for an address of ours if they
    /// are TURN servers.
    pub(super) fn set_servers(&mut self, now: Instant, servers: &[FoundServer]) {
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        self.stun.set_servers(now, &addresses);
        self.relays.set_servers(now, servers);
        self.settle_relays(now);
    }

    /// Answers from now on who asks how it looks from outside, on our sockets' port.
    pub(super) fn serve_stun(&mut self, port: u16) {
        if let Some(port) = NonZeroU16::new(port) {
            self.stun_service = Some(StunService::default());
            let notice = Notice::Serving { port };
            self.outputs.events.push_back(Event::Notice(notice));
        }
    }

    /// Asks nobody any more how our sockets look from outside.
    pub(super) fn stop_asking(&mut self) {
        self.stun = Stun::default();
    }

    /// Gives our addresses on TURN servers back, which no connection uses any more.
    pub(super) fn give_back(&mut self, now: Instant) {
        self.relays.close(now);
        self.settle_relays(now);
    }

    pub(super) fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Draws the consequences of whatever was done to the relays.
    fn settle_relays(&mut self, now: Instant) {
        for change in self.relays.take_changes() {
            let (Change::Gained(address) | Change::Lost(address)) = change;
            let Some(candidate) = self.relayed(address) else {
                continue;
            };
            match change {
                Change::Gained(_) => {
                    self.outputs.note_relayed(address);
                    let setups = self.setups.values().copied().collect();
                    self.add_candidate(now, &candidate, setups);
                }
                // Whose data goes another way need not look for one.
                Change::Lost(_) => {
                    let concerned = |(_, it): &(&Key, &Connection)| {
                        it.is_in_setup() || it.local() == Some(address)
                    };
                    let connections = self.connections.iter().filter(concerned);
                    let keys = connections.map(|(key, _)| *key).collect();
                    self.remove_candidate(now, &candidate, keys);
                }
            }
        }
        for transmit in self.relays.take_transmits() {
            self.outputs.send(transmit);
        }
    }

    pub(super) fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Offer { setup, reach } => {
                self.describe(now, setup, reach, true, Connection::offer);
            }
            Command::Answer { setup, reach, sdp } => {
                let answer = |now, ingredients| Connection::answer(now, ingredients, &sdp);
                self.describe(now, setup, reach, self.has_room_for_offers(), answer);
            }
            Command::Accept { setup, sdp } => {
                self.with_setup(now, setup, |connection, around| {
                    connection.accept(now, &sdp, around);
                });
            }
            Command::Candidate { setup, candidate } => {
                self.with_setup(now, setup, |connection, around| {
                    connection.on_remote_candidate(now, &candidate, around);
                });
            }
            Command::Abandon { setup } => {
                self.with_setup(now, setup, |connection, _| connection.close(now));
            }
            Command::StunNeighbors(neighbors) => self.stun.set_neighbors(now, neighbors),
        }
    }

    /// Returns true if others may offer one more connection.
    fn has_room_for_offers(&self) -> bool {
        let connections = self.setups.values().map(|key| self.connections.get(key));
        let offered = connections.flatten().filter(|it| !it.is_offerer());
        offered.count() < Limits::SETUPS_OFFERED_TO_US
    }

    /// Begins a set-up, if there is room for it, and tells how our end is described.
    fn describe(
        &mut self,
        now: Instant,
        setup: SetupId,
        reach: Reach,
        has_room: bool,
        make: impl FnOnce(Instant, Ingredients) -> (Connection, Option<String>),
    ) {
        let sdp = match has_room && self.setups.len() < Limits::SETUPS {
            true => self.begin(now, setup, reach, make),
            false => None,
        };
        let notice = Notice::Described { setup, sdp };
        self.outputs.events.push_back(Event::Notice(notice));
    }

    fn begin(
        &mut self,
        now: Instant,
        setup: SetupId,
        reach: Reach,
        make: impl FnOnce(Instant, Ingredients) -> (Connection, Option<String>),
    ) -> Option<String> {
        let engine = self.engine(now, true, None);
        let ingredients = self.ingredients(Some(setup), reach, engine);
        let (key, around) = (ingredients.key, ingredients.surroundings.clone());
        let (mut connection, sdp) = make(now, ingredients);
        let named = connection.name_candidates(&around);
        self.connections.insert(key, connection);
        if sdp.is_some() {
            self.setups.insert(setup, key);
        }
        self.with(now, key, |connection| {
            if sdp.is_none() {
                connection.close(now);
            }
        });
        self.let_in(now, key);
        Some(description::join(&sdp?, named.iter()))
    }

    fn ingredients(
        &mut self,
        setup: Option<SetupId>,
        reach: Reach,
        (mut engine, heard): (Box<Rtc>, Heard),
    ) -> Ingredients {
        let key = Key(self.next_key);
        self.next_key += 1;
        let ufrag = engine.direct_api().local_ice_credentials().ufrag;
        let peer = setup.map(|setup| setup.peer);
        Ingredients {
            key,
            setup,
            reach,
            engine,
            heard,
            traces: self.demux.insert(key, peer, ufrag),
            surroundings: self.surroundings(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            candidates: self.candidates(),
            networks: self.addresses.values().copied().collect(),
        }
    }

    /// All of our own.
    fn candidates(&self) -> Vec<Candidate> {
        let hosts = self.addresses.keys().copied().filter_map(host);
        let mapped = self.stun.mappings().into_iter();
        let mapped = mapped.filter_map(|mapping| self.reflexive(mapping));
        let relayed = self.relays.addresses().filter_map(|it| self.relayed(it));
        hosts.chain(mapped).chain(relayed).collect()
    }

    /// No candidate where no router is in between: that is a host's.
    fn reflexive(&self, mapping: Mapping) -> Option<Candidate> {
        let Mapping { base, mapped } = mapping;
        let is_host = self.addresses.contains_key(&mapped);
        let candidate = Candidate::server_reflexive(mapped, base, "udp").ok();
        candidate.filter(|_| !is_host)
    }

    /// One on a TURN server, which is where datagrams leave for the other side. `None` if it is an address of this
    /// machine: a server that says so would get all that leaves from there.
    fn relayed(&self, address: SocketAddr) -> Option<Candidate> {
        let candidate = Candidate::relayed(address, address, "udp").ok();
        candidate.filter(|_| !self.addresses.contains_key(&address))
    }

    /// `local` is where it arrived: address and port of our end.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
    ) {
        let kind = Kind::of(datagram);
        let is_response = matches!(kind, Kind::Response { .. });
        if self.relays.is_server(&remote) && !is_response {
            let received = self.relays.receive(now, local, remote, datagram);
            self.settle_relays(now);
            match received {
                Received::Other => {}
                Received::Taken => return,
                Received::Relayed {
                    relayed,
                    peer,
                    contents,
                } => {
                    self.pass(now, (relayed, peer), &Kind::of(&contents), &contents);
                    return;
                }
            }
        }
        let pair = (local, remote);
        if let Kind::Request { ufrag, .. } = kind
            && self.farewells.knows(now, ufrag)
        {
            let refusal = self.farewells.refuse(ufrag, datagram);
            self.outputs.send_from(pair, refusal);
            return;
        }
        if self.meet(now, pair, &kind, datagram) || self.pass(now, pair, &kind, datagram) {
            return;
        }
        if is_response {
            for mapping in self.stun.handle_datagram(now, local, remote, datagram) {
                if let Some(candidate) = self.reflexive(mapping) {
                    // Others have a path, and need none of how we look now and then.
                    let setups = self.setups.values().copied().collect();
                    self.add_candidate(now, &candidate, setups);
                }
            }
        } else if kind == Kind::Other
            && let Some(service) = &mut self.stun_service
            && let Some(contents) = service.answer(now, remote, datagram)
        {
            self.outputs.send_from(pair, Some(contents));
        }
    }

    /// Passes a datagram to the connection that it is for. Whether there is one.
    fn pass(&mut self, now: Instant, pair: Pair, kind: &Kind<'_>, datagram: &[u8]) -> bool {
        let Some(key) = self.demux.owner(&pair, kind) else {
            return false;
        };
        if self.may_answer(key, pair.1, kind) {
            if let Kind::Response { transaction, .. } = *kind
                && let Some(connection) = self.connections.get_mut(&key)
            {
                self.demux.answered(&mut connection.traces, transaction);
            }
            self.with(now, key, |connection| {
                connection.handle_datagram(now, pair, datagram);
            });
        }
        true
    }

    /// Whether a check may be answered, which has others follow: its source is the choice of who sent it.
    fn may_answer(&self, key: Key, source: SocketAddr, kind: &Kind<'_>) -> bool {
        let is_check = matches!(kind, Kind::Request { .. });
        let is_public = Reach::of_ip(source.ip()) == Some(Reach::Global);
        let Some(connection) = self
            .connections
            .get(&key)
            .filter(|_| is_check && !is_public)
        else {
            return true;
        };
        // An offer that is not answered keeps what comes, until it is known how near the other end is.
        connection.setup.is_none()
            || !connection.is_described()
            || self.surroundings().may_send_to(source, connection.nearness)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = self
            .deadlines
            .iter()
            .map_while(|(at, key)| (*at <= now).then_some(*key))
            .collect();
        for key in due {
            let connection = self.connections.get(&key);
            let has_due_paths = connection.is_some_and(|it| it.has_due_paths(now));
            let candidates = has_due_paths.then(|| self.candidates());
            self.with(now, key, |connection| {
                if let Some(candidates) = &candidates {
                    connection.tend_paths(now, candidates);
                }
                connection.handle_timeout(now);
            });
            let status = self.status(key);
            if let Status::Closed(Closed::Silent | Closed::SetupTimeout) = status {
                // Perhaps for a router looks upon us in another way now.
                self.stun.suspect(now);
            }
        }
        for request in self.stun.handle_timeout(now) {
            self.outputs.send(request);
        }
        if self.relays.next_deadline().is_some_and(|at| at <= now) {
            let connections = self.connections.values();
            let in_use: HashSet<_> = connections.filter_map(Connection::local).collect();
            self.relays
                .handle_timeout(now, |address| in_use.contains(address));
            self.settle_relays(now);
        }
        let mapping = self.stun.poll_nat_mapping(now).map(Notice::NatMapping);
        self.outputs.events.extend(mapping.map(Event::Notice));
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let next = self.deadlines.first().map(|(at, _)| *at);
        let others = [self.stun.next_deadline(), self.relays.next_deadline()];
        next.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// To be called until there is none, after each other call but the pure readers.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outputs.transmits.pop_front()
    }

    /// To be called until there is none, after each other call but the pure readers.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.outputs.events.pop_front()
    }

    /// Claims the set-up that `peer` has answered; the claimer ends it by [`Self::release`].
    pub(super) fn dial(&mut self, peer: &PeerId) -> Option<Key> {
        let answered = self.setups.iter().filter(|(setup, _)| setup.peer == *peer);
        let latest = answered
            .map(|(_, key)| *key)
            .filter(|key| {
                self.connections
                    .get(key)
                    .is_some_and(Connection::is_dialable)
            })
            .max()?;
        self.connections.get_mut(&latest)?.is_held = true;
        Some(latest)
    }

    pub(super) fn status(&self, key: Key) -> Status {
        let connection = self.connections.get(&key);
        connection.map_or(Status::Closed(Closed::Local), Connection::status)
    }

    /// Where the other end of a connected one is now.
    pub(super) fn remote(&self, key: Key) -> Option<SocketAddr> {
        self.ends(key).map(|(_, remote)| remote)
    }

    /// Where both ends of a connected one are now: ours and theirs.
    pub(super) fn ends(&self, key: Key) -> Option<Pair> {
        self.connections.get(&key)?.ends()
    }

    /// Opens a channel. Writes to it block until the other side knows of it.
    pub(super) fn open(&mut self, now: Instant, key: Key) -> Option<ChannelId> {
        self.with(now, key, |connection| connection.open(now))?
    }

    /// The next channel that the other side opened.
    pub(super) fn accept(&mut self, key: Key) -> Option<ChannelId> {
        self.connections.get_mut(&key)?.accept_channel()
    }

    pub(super) fn read(
        &mut self,
        now: Instant,
        key: Key,
        channel: ChannelId,
        buffer: &mut [u8],
    ) -> Read {
        let Some(connection) = self.connections.get_mut(&key) else {
            return Read::Failed(StreamError::ChannelClosed);
        };
        let read = connection.read(now, channel, buffer);
        self.schedule(now, key);
        read
    }

    /// Takes as many of `bytes` as one message may have, or none of them.
    pub(super) fn write(
        &mut self,
        now: Instant,
        key: Key,
        channel: ChannelId,
        bytes: &[u8],
    ) -> Write {
        self.with(now, key, |connection| connection.write(now, channel, bytes))
            .unwrap_or(Write::Failed(StreamError::ChannelClosed))
    }

    /// Ends what we send over this channel, which can still be read.
    pub(super) fn close_stream(&mut self, now: Instant, key: Key, channel: ChannelId) -> Close {
        self.with(now, key, |connection| connection.close_stream(now, channel))
            .unwrap_or(Close::Failed(StreamError::ChannelClosed))
    }

    /// Nobody uses this channel any more: it is closed once what was written has arrived and the other side agrees, or
    /// after a while.
    pub(super) fn release_channel(&mut self, now: Instant, key: Key, channel: ChannelId) {
        self.with(now, key, |connection| {
            connection.release_channel(now, channel)
        });
    }

    /// Closes a connection once what was written has arrived, or after a while. Its end is seen by
    /// [`Self::status`].
    pub(super) fn close(&mut self, now: Instant, key: Key) {
        self.with(now, key, |connection| connection.close(now));
    }

    /// Nobody asks for this connection any more: it is closed as by [`Self::close`], then forgotten.
    pub(super) fn release(&mut self, now: Instant, key: Key) {
        self.with(now, key, |connection| {
            connection.is_held = false;
            connection.close(now);
        });
    }

    fn keys(&self) -> Vec<Key> {
        self.connections.keys().copied().collect()
    }

    fn with_setup(
        &mut self,
        now: Instant,
        setup: SetupId,
        f: impl FnOnce(&mut Connection, &Surroundings),
    ) {
        if let Some(key) = self.setups.get(&setup).copied() {
            let around = self.surroundings();
            self.with(now, key, |connection| f(connection, &around));
            self.name_candidates(key, &around);
            self.let_in(now, key);
        }
    }

    /// Does something to a connection, and what follows from it.
    fn with<T>(
        &mut self,
        now: Instant,
        key: Key,
        f: impl FnOnce(&mut Connection) -> T,
    ) -> Option<T> {
        let connection = self.connections.get_mut(&key)?;
        let result = f(connection);
        self.settle(now, key);
        while let Some(replaced) = self.outputs.replaced.pop() {
            if let Some(connection) = self.connections.get_mut(&replaced) {
                connection.on_replaced();
                self.settle(now, replaced);
            }
        }
        self.relay(now, key);
        Some(result)
    }

    /// Has what leaves from our addresses on TURN servers sent to these.
    fn relay(&mut self, now: Instant, key: Key) {
        let transmits = std::mem::take(&mut self.outputs.to_relay);
        let has_some = !transmits.is_empty();
        for transmit in transmits {
            if self.may_relay_to(key, transmit.destination.ip()) {
                self.relays.send(now, transmit);
            }
        }
        if has_some {
            self.settle_relays(now);
        }
    }

    fn settle(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.settle(now, &mut self.demux, &mut self.outputs);
        if !connection.is_in_setup()
            && let Some(setup) = connection.setup
            && self.setups.get(&setup) == Some(&key)
        {
            self.setups.remove(&setup);
            if connection.was_far() {
                self.stun.doubt(now, connection.named());
            }
            if connection.is_closed() {
                let failed = Event::Notice(Notice::Failed(setup));
                self.outputs.events.push_back(failed);
            }
        }
        if connection.is_closed() {
            self.demux.remove(&connection.traces);
            if let Some(credentials) = connection.farewell.take() {
                self.farewells.add(now, credentials);
            }
        }
        for (seen, witness) in self.outputs.seen_at.drain(..) {
            self.stun.prove(seen, witness);
        }
        self.schedule(now, key);
        if self
            .connections
            .get(&key)
            .is_some_and(Connection::is_forgotten)
        {
            self.connections.remove(&key);
            self.forget_stranger(key);
        }
    }

    /// Has a connection called when it wants to be.
    fn schedule(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let deadline = connection.deadline().map(|at| {
            if connection.is_in_setup() || at < now + LONG_WAIT {
                return at;
            }
            let latest = at + TIMER_SLACK;
            let others = self.deadlines.range((at, Key(0))..(latest, Key(0)));
            others.map(|(at, _)| *at).next().unwrap_or(latest)
        });
        let before = std::mem::replace(&mut connection.scheduled, deadline);
        if before != deadline {
            before.map(|at| self.deadlines.remove(&(at, key)));
            deadline.map(|at| self.deadlines.insert((at, key)));
        }
    }

    #[cfg(any(test, fuzzing))]
    fn assert_empty(&self) {
        assert!(self.connections.is_empty() && self.setups.is_empty());
        assert!(self.demux.is_empty() && self.deadlines.is_empty());
        assert!(self.strangers.iter().all(Strangers::is_empty));
        assert_eq!(self.budget.held(), 0);
    }
}

fn host(address: SocketAddr) -> Option<Candidate> {
    Candidate::host(address, "udp").ok()
}
