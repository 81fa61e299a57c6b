//! One address of ours on a TURN server: how it is got, kept, exchanged and lost, and whom the server is to
//! let send to it.

use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use ::stun::{attributes::ATTR_FINGERPRINT, fingerprint::FINGERPRINT, message::Message};
use turn_client_proto::{
    api::{
        Transmit as TurnTransmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet,
    },
    stun::Instant as TurnInstant,
    types::{AddressFamily, TransportType::Udp, TurnCredentials},
    udp::TurnClientUdp,
};

use super::{
    super::{
        demux::{TransactionId, attributes, split_message},
        stun::unspecified,
    },
    Change, Received, Transmit,
};
use crate::{config::Credentials, reach::Reach};

/// When a request is repeated at first and at most, and how often it is sent: within 6 s.
const FIRST_REPETITION: Duration = Duration::from_millis(250);
const LAST_REPETITION: Duration = Duration::from_secs(2);
const REQUESTS: u32 = 5;

/// How long a server may take to give an address, which takes two requests, or to take it back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// When a server is asked again that gave no address, or ended it: at first, doubled at each try, and at
/// most.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// How many hosts an address lets send to it until it is exchanged for a fresh one, once it is unused:
/// the client asks for each anew every four minutes, for as long as the address lasts.
pub(in super::super) const MANY_HOSTS: usize = 32;

/// How many it lets at most, if it is always used: two requests a second.
pub(in super::super) const MAX_HOSTS: usize = 512;

/// How long no new host was to be let in when an address counts as unused by set-ups, and how long one is
/// kept at least.
const UNUSED_AFTER: Duration = Duration::from_secs(30);

/// For how many hosts the server is asked at a time. Each has to be asked for twice when the server wants
/// another nonce, and the client gives up when nine in a row have to be.
const MAX_ASKING: usize = 4;

/// How many datagrams wait until the server lets their hosts send to us: a check of each address that the
/// other end of a set-up names. Lost, they would be repeated 50 ms later and more.
const MAX_WAITING: usize = 8;

/// How many requests are remembered until they are answered: as many as the client makes within the 6 s that it
/// waits for an answer, for it keeps 50 ms between any two.
const MAX_REQUESTS: usize = 128;

/// The bit of a STUN message's type that tells responses from the rest (RFC 8489, section 5), and the only type of
/// the rest that is for a client: a datagram of a peer (RFC 8656, section 11.4).
const RESPONSE: u16 = 0x0100;
const DATA_INDICATION: u16 = 0x0017;

/// The attribute in which a server says what is to come with the next request, and those that end a message.
const NONCE: u16 = 0x0015;
const ENDINGS: [u16; 3] = [0x0008, 0x001c, ATTR_FINGERPRINT.0];

/// How a request begins that has an address kept, or given back (RFC 8656, section 17).
const REFRESH: [u8; 2] = [0, 4];

/// How often the client is called in a row. It wants to be called again after each step, of which it has a
/// few at a time.
const MAX_STEPS: usize = 16;

/// The time, as they and the clients tell it.
#[derive(Clone, Copy)]
pub(super) struct Time {
    pub(super) now: Instant,
    pub(super) turn: TurnInstant,
}

#[derive(Debug)]
pub(super) struct Relay {
    server: SocketAddr,
    pub(super) credentials: Credentials,
    /// `None` until the server is asked again.
    pub(super) client: Option<Box<TurnClientUdp>>,
    pub(super) relayed: Option<SocketAddr>,
    /// Where the server's datagrams arrive.
    pub(super) base: Option<SocketAddr>,
    /// Which hosts the server lets send to us, at most [`MAX_HOSTS`] with those that it is asked for.
    pub(super) hosts: HashSet<IpAddr>,
    /// What may be answered, at most [`MAX_REQUESTS`].
    requests: VecDeque<TransactionId>,
    /// Which it is asked for, at most [`MAX_ASKING`].
    asking: HashSet<IpAddr>,
    /// What is to be sent to these, at most [`MAX_WAITING`].
    waiting: Vec<Transmit>,
    /// When it was last asked for one.
    used: Instant,
    /// When the server gave the address.
    since: Instant,
    /// Whether the server did not let in the last host. It may just not want it, and others choose them; or
    /// it has started anew, and knows nothing of the address.
    is_doubtful: bool,
    /// Whether the address is being given back for another one.
    is_renewed: bool,
    /// When it is to be called.
    pub(super) next: Instant,
    /// Until when the server may take, while it is waited for.
    patience: Option<Instant>,
    pub(super) retry: Duration,
}

impl Time {
    fn of(self, turn: TurnInstant) -> Instant {
        self.now + turn.saturating_duration_since(self.turn)
    }
}

impl Relay {
    pub(super) fn new(now: Instant, server: SocketAddr, credentials: Credentials) -> Self {
        Self {
            server,
            credentials,
            client: None,
            relayed: None,
            base: None,
            hosts: HashSet::new(),
            requests: VecDeque::new(),
            asking: HashSet::new(),
            waiting: Vec::new(),
            used: now,
            since: now,
            is_doubtful: false,
            is_renewed: false,
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
        // Who has a server at addresses of both families gets one of each from it.
        config.set_address_family(match self.server {
            SocketAddr::V4(_) => AddressFamily::IPV4,
            SocketAddr::V6(_) => AddressFamily::IPV6,
        });
        // Our end is not named to the server, which sees it itself.
        let client = TurnClientUdp::allocate(unspecified(&self.server), self.server, config);
        self.client = Some(Box::new(client));
        self.patience = Some(now + ANSWER_TIMEOUT);
    }

    /// Does what is due: what the client wants, and what is to become of it.
    pub(super) fn go_on(
        &mut self,
        time: Time,
        transmits: &mut Vec<Transmit>,
        changes: &mut Vec<Change>,
    ) {
        if self.client.is_none() && self.relayed.is_none() {
            if self.next > time.now {
                return;
            }
            self.begin(time.now);
        }
        let next = self.run(time, transmits, changes);
        let is_late = self.patience.is_some_and(|until| until <= time.now);
        match next.filter(|_| !is_late) {
            Some(next) => {
                // One that is in use then is looked at again.
                let worn = self.wears_out().map(|at| at.max(time.now + FIRST_RETRY));
                let next = [Some(next), self.patience, worn];
                self.next = next.into_iter().flatten().min().unwrap_or(time.now);
            }
            None if self.is_renewed => {
                self.end(changes);
                self.next = time.now;
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
            while let Some(request) = self.call(|client| {
                let request = client.poll_transmit(time.turn)?;
                Some(request.data.to_vec())
            })? {
                self.remember(&request);
                transmits.push(to_server(self.server, request));
            }
            let polled = self.call(|client| client.poll(time.turn))?;
            let mut is_idle = true;
            while let Some(event) = self.call(TurnClientApi::poll_event)? {
                is_idle = false;
                self.on_event(time, &event, transmits, changes);
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

    fn on_event(
        &mut self,
        time: Time,
        event: &TurnEvent,
        transmits: &mut Vec<Transmit>,
        changes: &mut Vec<Change>,
    ) {
        match event {
            TurnEvent::AllocationCreated(_, relayed) => {
                tracing::debug!(server = %self.server, %relayed, "relayed");
                self.relayed = Some(*relayed);
                self.used = time.now;
                self.since = time.now;
                self.patience = None;
                self.retry = FIRST_RETRY;
                changes.push(Change::Gained(*relayed));
            }
            TurnEvent::PermissionCreated(_, host) => {
                self.is_doubtful = false;
                self.asking.remove(host);
                self.hosts.insert(*host);
                for transmit in self.take_waiting(host) {
                    self.send(time, transmit, transmits);
                }
            }
            TurnEvent::PermissionCreateFailed(_, host) => {
                self.is_doubtful = true;
                self.asking.remove(host);
                self.hosts.remove(host);
                self.take_waiting(host);
            }
            _ => {}
        }
    }

    fn take_waiting(&mut self, host: &IpAddr) -> Vec<Transmit> {
        let is_its = |waiting: &mut Transmit| waiting.destination.ip() == *host;
        self.waiting.extract_if(.., is_its).collect()
    }

    /// From when on the address is to be exchanged, once no data goes over it.
    pub(super) fn wears_out(&self) -> Option<Instant> {
        self.relayed?;
        let doubted = self.is_doubtful.then_some(self.since);
        let full = (self.hosts.len() >= MANY_HOSTS).then_some(self.used);
        Some(doubted.into_iter().chain(full).min()? + UNUSED_AFTER)
    }

    /// Gives the address back, to get a fresh one.
    pub(super) fn renew(
        &mut self,
        time: Time,
        transmits: &mut Vec<Transmit>,
        changes: &mut Vec<Change>,
    ) {
        self.lose(changes);
        self.give_back(time, transmits);
        self.is_renewed = true;
        self.patience = Some(time.now + ANSWER_TIMEOUT);
    }

    /// The client keeps 50 ms between any two requests; as it is to make no others, there is no need to
    /// wait until this one is out.
    pub(super) fn give_back(&mut self, time: Time, transmits: &mut Vec<Transmit>) {
        let deleted = self.call(|client| client.delete(time.turn).ok());
        if deleted.flatten().is_none() {
            return; // there is nothing to give back
        }
        for step in 0..MAX_STEPS {
            let later = time.turn + FIRST_REPETITION * step as u32;
            let request = self.call(|client| Some(client.poll_transmit(later)?.data.to_vec()));
            if let Some(request) = request.flatten() {
                self.remember(&request);
                let is_last = request.starts_with(&REFRESH);
                transmits.push(to_server(self.server, request));
                if is_last {
                    break;
                }
            }
        }
    }

    pub(super) fn lose(&mut self, changes: &mut Vec<Change>) {
        changes.extend(self.relayed.take().map(Change::Lost));
        self.hosts.clear();
        self.asking.clear();
        self.waiting.clear();
        self.is_doubtful = false;
    }

    /// There is no address any more, and none will come of this client.
    pub(super) fn end(&mut self, changes: &mut Vec<Change>) {
        self.lose(changes);
        self.client = None;
        self.is_renewed = false;
        self.patience = None;
        self.retry = FIRST_RETRY;
    }

    /// The server gave no address, or has ended it.
    fn fail(&mut self, now: Instant, changes: &mut Vec<Change>) {
        let retry = self.retry;
        tracing::debug!(server = %self.server, again_in = ?retry, "no relayed address");
        self.end(changes);
        self.next = now + retry;
        self.retry = LAST_RETRY.min(2 * retry);
    }

    fn remember(&mut self, request: &[u8]) {
        if let Some((_, transaction, _)) = split_message(request)
            && !self.requests.contains(&transaction)
        {
            self.requests.push_back(transaction);
            if self.requests.len() > MAX_REQUESTS {
                self.requests.pop_front();
            }
        }
    }

    /// Returns true if the client may see this. The client believes some responses before it looks at what they answer,
    /// and panics at a nonce that begins as those of RFC 8489 do and has a longer character in its next four bytes
    /// (`stun-proto` 2.0.4, `NonceSecurityBits::from_nonce`): a nonce of anything but ASCII is none (section 14.10). It
    /// logs each request, and each response that is not signed (auth.rs:464), so a response passes once.
    fn is_credible(&mut self, datagram: &[u8]) -> bool {
        let Some((typ, transaction, rest)) = split_message(datagram) else {
            return true; // of a channel, or nothing
        };
        let is_sound = is_sound(datagram, rest)
            && attributes(rest).all(|(typ, value)| typ != NONCE || value.is_ascii());
        if !is_sound || typ & RESPONSE == 0 {
            return is_sound && typ == DATA_INDICATION;
        }
        let place = self.requests.iter().position(|it| *it == transaction);
        place.is_some_and(|place| self.requests.remove(place).is_some())
    }

    pub(super) fn receive(&mut self, time: Time, datagram: &[u8]) -> Received {
        if !self.is_credible(datagram) {
            return Received::Other;
        }
        let (server, relayed) = (self.server, self.relayed);
        let received = self.call(|client| {
            let transmit = TurnTransmit::new(datagram, Udp, server, client.local_addr());
            match client.recv(transmit, time.turn) {
                // What an indication says can be forged, and tells nothing of where the server sees us.
                TurnRecvRet::Ignored(_) | TurnRecvRet::PeerIcmp { .. } => Received::Other,
                TurnRecvRet::PeerData(data) => relayed.map_or(Received::Other, |relayed| {
                    let (peer, contents) = (data.peer, data.data().to_vec());
                    Received::Relayed {
                        relayed,
                        peer,
                        contents,
                    }
                }),
                TurnRecvRet::Handled => Received::Taken,
            }
        });
        received.unwrap_or(Received::Other)
    }

    /// Whether the server was told, and not first asked to let the host send to us.
    pub(super) fn send(
        &mut self,
        time: Time,
        transmit: Transmit,
        transmits: &mut Vec<Transmit>,
    ) -> bool {
        let (host, server) = (transmit.destination.ip(), self.server);
        if !self.hosts.contains(&host) {
            if self.let_in(time, host) && self.waiting.len() < MAX_WAITING {
                self.waiting.push(transmit);
            }
            return false;
        }
        let wrapped = self.call(|client| {
            let contents = &transmit.contents[..];
            let sent = client.send_to(Udp, transmit.destination, contents, time.turn);
            Some(to_server(server, sent.ok()??.build().data))
        });
        transmits.extend(wrapped.flatten());
        true
    }

    /// Returns true if the server would have to be asked to let a host send to us, and may be. Where the address of ours
    /// is a public one, so has the host to be: private ones are beside the server, not beside us.
    pub(super) fn lacks(&self, host: IpAddr) -> bool {
        let ours = self.relayed.map(|relayed| relayed.ip());
        let is_of_family = ours.is_some_and(|ours| ours.is_ipv4() == host.is_ipv4());
        let reach = ours.and_then(Reach::of_ip);
        let is_near = reach.is_none_or(|reach| !reach.permits(host));
        let is_let_in = self.hosts.contains(&host) || self.asking.contains(&host);
        is_of_family && !is_near && !is_let_in
    }

    /// Has the server let a host send to us. Whether it does, or is asked to.
    pub(super) fn let_in(&mut self, time: Time, host: IpAddr) -> bool {
        let is_let_in = self.hosts.contains(&host) || self.asking.contains(&host);
        let count = self.hosts.len() + self.asking.len();
        if is_let_in || !self.lacks(host) || self.asking.len() >= MAX_ASKING || count >= MAX_HOSTS {
            return is_let_in;
        }
        self.asking.insert(host);
        self.used = time.now;
        self.call(|client| client.create_permission(Udp, host, time.turn).ok());
        true
    }

    /// Does something to the client. A panic in it ends it, and nothing else.
    pub(super) fn call<T>(&mut self, action: impl FnOnce(&mut TurnClientUdp) -> T) -> Option<T> {
        let client = self.client.as_mut()?;
        let result = catch_unwind(AssertUnwindSafe(|| action(client)));
        if result.is_err() {
            tracing::error!(server = %self.server, "the TURN client panicked");
            self.client = None;
        }
        result.ok()
    }
}

/// Returns true if a message is one of which the client's parser does not warn (`stun-types` 2.0.4, message.rs:1290 to
/// 1378): its attributes fill it, those that end it come last and once, and its fingerprint is right.
fn is_sound(datagram: &[u8], rest: &[u8]) -> bool {
    let [_, _, a, b, ..] = datagram else {
        return false;
    };
    let lens = attributes(rest).map(|(_, value)| 4 + value.len().next_multiple_of(4));
    let is_filled = lens.sum::<usize>() == rest.len();
    let endings = attributes(rest).map(|(typ, _)| ENDINGS.iter().position(|it| *it == typ));
    let are_last = endings.is_sorted_by(|a, b| a < b || a.is_none() && b.is_none());
    if usize::from(u16::from_be_bytes([*a, *b])) != rest.len() || !is_filled || !are_last {
        return false;
    }
    let mut message = Message::new();
    message.raw = datagram.to_vec();
    let is_shown = attributes(rest).any(|(typ, _)| typ == ATTR_FINGERPRINT.0);
    !is_shown || message.decode().is_ok() && FINGERPRINT.check(&message).is_ok()
}

fn to_server(server: SocketAddr, contents: Vec<u8>) -> Transmit {
    Transmit {
        source: unspecified(&server),
        destination: server,
        contents,
    }
}
