//! Addresses of our own on TURN servers (RFC 8656), for where no other way leads. They are got at the
//! start, so that nobody waits for one, and kept for as long as the server answers. It knows nothing of
//! connections, nor of what the datagrams are that come and go.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use turn_client_proto::{
    api::{
        Transmit as TurnTransmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet,
    },
    stun::Instant as TurnInstant,
    types::{TransportType::Udp, TurnCredentials},
    udp::TurnClientUdp,
};

use super::{Transmit, stun::unspecified};
use crate::config::{Credentials, FoundServer};

/// The most addresses: two servers in both address families.
pub(super) const MAX_RELAYS: usize = 4;

/// How long a server may take to give an address, or to take it back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// When a request is repeated at first and at most, and how often it is sent: within some 6 s.
const FIRST_REPETITION: Duration = Duration::from_millis(250);
const LAST_REPETITION: Duration = Duration::from_secs(2);
const REQUESTS: u32 = 5;

/// When a server is asked again that gave no address, or took it back: at first, doubled at each try, and
/// at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// How many hosts an address lets send to it until it is given back for a fresh one, once it is unused:
/// the client asks for each anew every four minutes, for as long as the address lasts.
pub(super) const MANY_HOSTS: usize = 32;

/// How many it lets at most, if it is always used: two requests a second.
pub(super) const MAX_HOSTS: usize = 512;

/// When an address counts as unused over which nothing came: a path that is in use is checked every 3 s.
const UNUSED_AFTER: Duration = Duration::from_secs(30);

/// How often the client is called in a row. It wants to be called again after each step, of which it has a
/// few at a time.
const MAX_STEPS: usize = 16;

/// What a datagram from a server is.
#[derive(Debug)]
pub(super) enum Received {
    /// Not about an address of ours.
    Other,
    Taken,
    /// It came from `peer` to one of them.
    Relayed {
        relayed: SocketAddr,
        peer: SocketAddr,
        contents: Vec<u8>,
    },
}

/// What has become of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Gained(SocketAddr),
    Lost(SocketAddr),
}

#[derive(Debug, Default)]
pub(super) struct Relays {
    /// By server, at most [`MAX_RELAYS`].
    all: BTreeMap<SocketAddr, Relay>,
    /// What the clients call zero.
    epoch: Option<Instant>,
    transmits: Vec<Transmit>,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Relay {
    server: SocketAddr,
    credentials: Credentials,
    /// `None` until the server is asked again.
    client: Option<Box<TurnClientUdp>>,
    relayed: Option<SocketAddr>,
    /// Where the server's datagrams arrive.
    base: Option<SocketAddr>,
    /// Which hosts the server is to let send to us, at most [`MAX_HOSTS`].
    hosts: HashSet<IpAddr>,
    /// When something came last from one of them.
    used: Instant,
    /// When it is to be called.
    next: Instant,
    /// Until when the server may take, while it is waited for.
    patience: Option<Instant>,
    retry: Duration,
}

/// The time, as they and the clients tell it.
#[derive(Clone, Copy)]
struct Time {
    now: Instant,
    turn: TurnInstant,
}

impl Relays {
    /// Has an address on each of these that are TURN servers, and on no others.
    pub(super) fn set_servers(&mut self, now: Instant, servers: &[FoundServer]) {
        let turn = servers
            .iter()
            .filter_map(|server| Some((server.address, server.credentials.as_ref()?)));
        let wanted: BTreeMap<_, _> = turn.take(MAX_RELAYS).collect();
        self.all.retain(|server, relay| {
            let is_wanted = wanted.get(server) == Some(&&relay.credentials);
            let lost = relay.relayed.filter(|_| !is_wanted);
            self.changes.extend(lost.map(Change::Lost));
            is_wanted
        });
        for (server, credentials) in wanted {
            let relay = || Relay::new(now, server, credentials.clone());
            self.all.entry(server).or_insert_with(relay);
        }
    }

    /// Gives all addresses back, as far as one datagram to each server can do that.
    pub(super) fn close(&mut self, now: Instant) {
        let time = self.time(now);
        for (_, mut relay) in std::mem::take(&mut self.all) {
            relay.give_back(time);
            relay.send_requests(time, &mut self.transmits);
        }
    }

    /// This machine has got an address. Servers that could not be reached perhaps can be now.
    pub(super) fn hurry(&mut self, now: Instant) {
        let waiting = self.all.values_mut();
        for relay in waiting.filter(|relay| relay.client.is_none()) {
            relay.next = now;
            relay.retry = FIRST_RETRY;
        }
    }

    /// This machine has lost an address. Servers know us by it, and would take us for somebody else.
    pub(super) fn forget(&mut self, now: Instant, base: SocketAddr) {
        let time = self.time(now);
        for relay in self.all.values_mut() {
            if relay.base == Some(base) {
                relay.renew(time, &mut self.changes);
            }
        }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.values().filter_map(|relay| relay.relayed)
    }

    pub(super) fn is_server(&self, address: &SocketAddr) -> bool {
        self.all.contains_key(address)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.all.values().map(|relay| relay.next).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let time = self.time(now);
        for relay in self.all.values_mut().filter(|relay| relay.next <= now) {
            relay.go_on(time, &mut self.transmits, &mut self.changes);
        }
    }

    /// Takes a datagram of a server that arrived at `base`.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        base: SocketAddr,
        server: SocketAddr,
        datagram: &[u8],
    ) -> Received {
        let time = self.time(now);
        let Some(relay) = self.all.get_mut(&server) else {
            return Received::Other;
        };
        let received = relay.receive(time, datagram);
        if let Received::Taken = received {
            relay.base = Some(base);
            relay.go_on(time, &mut self.transmits, &mut self.changes);
        }
        received
    }

    /// Sends from one of our addresses on a server. The first datagrams to a host are lost, until the
    /// server lets it send to us.
    pub(super) fn send(&mut self, now: Instant, transmit: &Transmit) {
        let time = self.time(now);
        let relays = self.all.values_mut();
        for relay in relays.filter(|relay| relay.relayed == Some(transmit.source)) {
            match relay.wrap(time, transmit) {
                Some(wrapped) => self.transmits.push(wrapped),
                None => relay.go_on(time, &mut self.transmits, &mut self.changes),
            }
        }
    }

    /// To be asked after each other call.
    pub(super) fn take_transmits(&mut self) -> Vec<Transmit> {
        std::mem::take(&mut self.transmits)
    }

    /// To be asked after each other call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn time(&mut self, now: Instant) -> Time {
        let epoch = *self.epoch.get_or_insert(now);
        let nanos = now.saturating_duration_since(epoch).as_nanos();
        let turn = TurnInstant::from_nanos(nanos.try_into().unwrap_or(i64::MAX));
        Time { now, turn }
    }
}

impl Time {
    fn of(self, turn: TurnInstant) -> Instant {
        self.now + turn.saturating_duration_since(self.turn)
    }
}

impl Relay {
    fn new(now: Instant, server: SocketAddr, credentials: Credentials) -> Self {
        Self {
            server,
            credentials,
            client: None,
            relayed: None,
            base: None,
            hosts: HashSet::new(),
            used: now,
            next: now,
            patience: None,
            retry: FIRST_RETRY,
        }
    }

    fn begin(&mut self, now: Instant) {
        let Credentials { username, password } = &self.credentials;
        let mut config = TurnConfig::new(TurnCredentials::new(username, password));
        let (first, last) = (FIRST_REPETITION, LAST_REPETITION);
        config.set_request_retransmits(first, last, REQUESTS, last);
        // Our end is not named to the server, which sees it itself.
        let client = TurnClientUdp::allocate(unspecified(&self.server), self.server, config);
        self.client = Some(Box::new(client));
        self.patience = Some(now + ANSWER_TIMEOUT);
    }

    /// Does what is due: what the client wants, and what is to become of it.
    fn go_on(&mut self, time: Time, transmits: &mut Vec<Transmit>, changes: &mut Vec<Change>) {
        if self.client.is_none() && self.next <= time.now {
            self.begin(time.now);
        }
        let next = self.run(time, transmits, changes);
        let is_late = self.patience.is_some_and(|until| until <= time.now);
        match next.filter(|_| !is_late) {
            _ if self.is_unused(time.now) && self.hosts.len() >= MANY_HOSTS => {
                self.renew(time, changes);
                self.next = time.now;
            }
            Some(next) => {
                let unused = self.used + UNUSED_AFTER;
                let unused = Some(unused).filter(|_| self.hosts.len() >= MANY_HOSTS);
                let next = [Some(next), self.patience, unused];
                self.next = next.into_iter().flatten().min().unwrap_or(time.now);
            }
            None => self.fail(time.now, changes),
        }
    }

    /// Runs the client. When it wants to be called again, if it still lives.
    fn run(
        &mut self,
        time: Time,
        transmits: &mut Vec<Transmit>,
        changes: &mut Vec<Change>,
    ) -> Option<Instant> {
        for _ in 0..MAX_STEPS {
            self.send_requests(time, transmits);
            let polled = self.call(|client| client.poll(time.turn))?;
            let mut is_idle = true;
            while let Some(event) = self.call(TurnClientApi::poll_event)? {
                is_idle = false;
                self.on_event(time, &event, changes);
            }
            match polled {
                TurnPollRet::WaitUntil(at) if is_idle && at > time.turn => {
                    return Some(time.of(at));
                }
                TurnPollRet::WaitUntil(_) => {}
                _ => return None,
            }
        }
        Some(time.now + FIRST_REPETITION)
    }

    fn send_requests(&mut self, time: Time, transmits: &mut Vec<Transmit>) {
        while let Some(Some(request)) = self.call(|client| client.poll_transmit(time.turn)) {
            transmits.push(to_server(self.server, request.data.to_vec()));
        }
    }

    fn on_event(&mut self, time: Time, event: &TurnEvent, changes: &mut Vec<Change>) {
        match event {
            TurnEvent::AllocationCreated(_, relayed) => {
                tracing::debug!(server = %self.server, %relayed, "relayed");
                self.relayed = Some(*relayed);
                self.used = time.now;
                self.patience = None;
                self.retry = FIRST_RETRY;
                changes.push(Change::Gained(*relayed));
            }
            // Whoever names its address may have chosen one that the server refuses. Or the server has
            // started anew, and knows nothing of us.
            TurnEvent::PermissionCreateFailed(_, ip) => {
                self.hosts.remove(ip);
                if self.is_unused(time.now) {
                    self.renew(time, changes);
                }
            }
            _ => {}
        }
    }

    fn is_unused(&self, now: Instant) -> bool {
        self.relayed.is_some() && self.used + UNUSED_AFTER <= now
    }

    /// Gives the address back, to get a fresh one.
    fn renew(&mut self, time: Time, changes: &mut Vec<Change>) {
        self.lose(changes);
        self.give_back(time);
        self.patience = Some(time.now + ANSWER_TIMEOUT);
        self.next = time.now;
    }

    fn give_back(&mut self, time: Time) {
        self.call(|client| client.delete(time.turn).ok());
    }

    fn lose(&mut self, changes: &mut Vec<Change>) {
        changes.extend(self.relayed.take().map(Change::Lost));
        self.hosts.clear();
    }

    /// There is no address, and none will come of this client.
    fn fail(&mut self, now: Instant, changes: &mut Vec<Change>) {
        tracing::debug!(server = %self.server, again_in = ?self.retry, "no relayed address");
        self.lose(changes);
        self.client = None;
        self.patience = None;
        self.next = now + self.retry;
        self.retry = LAST_RETRY.min(2 * self.retry);
    }

    fn receive(&mut self, time: Time, datagram: &[u8]) -> Received {
        let (server, relayed) = (self.server, self.relayed);
        let received = self.call(|client| {
            let transmit = TurnTransmit::new(datagram, Udp, server, client.local_addr());
            match client.recv(transmit, time.turn) {
                TurnRecvRet::Ignored(_) => Received::Other,
                TurnRecvRet::PeerData(data) => relayed.map_or(Received::Taken, |relayed| {
                    let (peer, contents) = (data.peer, data.data().to_vec());
                    Received::Relayed {
                        relayed,
                        peer,
                        contents,
                    }
                }),
                TurnRecvRet::Handled | TurnRecvRet::PeerIcmp { .. } => Received::Taken,
            }
        });
        if let Some(Received::Relayed { .. }) = received {
            self.used = time.now;
        }
        received.unwrap_or(Received::Other)
    }

    /// What is to be sent to the server for it. `None` if the server was asked to let the host send to us
    /// first, or is asked for that already.
    fn wrap(&mut self, time: Time, transmit: &Transmit) -> Option<Transmit> {
        let (to, server) = (transmit.destination, self.server);
        if self.hosts.len() < MAX_HOSTS && self.hosts.insert(to.ip()) {
            self.call(|client| client.create_permission(Udp, to.ip(), time.turn).ok());
            return None;
        }
        let contents = &transmit.contents[..];
        self.call(|client| {
            let sent = client.send_to(Udp, to, contents, time.turn).ok()??;
            Some(to_server(server, sent.build().data))
        })?
    }

    /// Does something to the client. A panic in it ends it, and nothing else.
    fn call<T>(&mut self, action: impl FnOnce(&mut TurnClientUdp) -> T) -> Option<T> {
        let client = self.client.as_mut()?;
        let result = catch_unwind(AssertUnwindSafe(|| action(client)));
        if result.is_err() {
            tracing::error!(server = %self.server, "the TURN client panicked");
            self.client = None;
        }
        result.ok()
    }
}

fn to_server(server: SocketAddr, contents: Vec<u8>) -> Transmit {
    Transmit {
        source: unspecified(&server),
        destination: server,
        contents,
    }
}
