//! What our sockets look like from outside, as the application's STUN servers and some neighbours tell
//! (RFC 8489). They are asked over the sockets that connections use, early, so that the answer is there
//! when it is needed, and again before a mapping expires.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use ::stun::{
    agent::TransactionId,
    attributes::ATTR_XORMAPPED_ADDRESS,
    fingerprint::FINGERPRINT,
    message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message},
    xoraddr::XorMappedAddress,
};

use super::Transmit;
use crate::{
    event::NatMapping,
    reach::{Reach, host_of},
};

/// The most addresses of servers that are asked: two of each that the application may name.
const MAX_SERVERS: usize = 16;

/// After so many requests without an answer, what a server said before is no longer believed, and a neighbour that has
/// never answered is not asked again: its port is what it says, and somebody else may be there.
pub(super) const MAX_UNANSWERED: u8 = 3;

/// When those are asked again who answered. Mappings of 30 s are usual.
const REFRESH: Duration = Duration::from_secs(20);

/// When one is asked again that did not answer: at first, doubled at each try, and at most (RFC 8489,
/// section 6.2.1).
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(20);

/// How long after the first answer it is judged what the router does. Until then the others have answered
/// too, or are no longer believed, so that a mapping which has changed is not taken for two.
const SETTLE: Duration = Duration::from_secs(4);

/// The longest message that is looked at: no path has to carry a longer one (RFC 8489, section 6.1).
const MAX_MESSAGE: usize = 548;

/// The most mappings of one address of ours that are believed: behind a router that makes one for each
/// host that is sent to, others are no better than these.
const MAX_RIVALS: usize = 2;

/// How long an unconfirmed mapping is still named to peers, from the first set-up that did not confirm it. A path is found
/// in seconds.
const PROOF_TIME: Duration = Duration::from_secs(60);

/// How long its teller is not believed then, so that a named victim gets our checks for at most one minute in six.
const DISTRUST_TIME: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
pub(super) struct Stun {
    /// The application's, at most [`MAX_SERVERS`].
    servers: Vec<SocketAddr>,
    /// As many as the core says.
    neighbors: Vec<SocketAddr>,
    /// Both of them.
    asked: BTreeMap<SocketAddr, Asked>,
    /// When those are asked again who answered: all at once, so that their answers can be compared.
    next_round: Option<Instant>,
    /// When it is to be judged what the router does.
    settles: Option<Instant>,
    nat_mapping: Option<NatMapping>,
}

#[derive(Debug)]
struct Asked {
    next: Instant,
    retry: Duration,
    request: Option<TransactionId>,
    unanswered: u8,
    has_answered: bool,
    mapping: Option<Mapping>,
    /// True if somebody at another host has seen us at that IP.
    is_proven: bool,
    /// When it is not believed any more, unless it is proven until then.
    doubted_until: Option<Instant>,
    /// When it is believed again.
    distrusted_until: Option<Instant>,
}

impl Asked {
    fn new(now: Instant) -> Self {
        Self {
            next: now,
            retry: FIRST_RETRY,
            request: None,
            unanswered: 0,
            has_answered: false,
            mapping: None,
            is_proven: false,
            doubted_until: None,
            distrusted_until: None,
        }
    }

    /// Takes what it tells. Another IP has to be proven again, in what is left of the time.
    fn tell(&mut self, now: Instant, mapping: Mapping) {
        if self.distrusted_until.is_some_and(|until| now < until) {
            return;
        }
        let ip = |mapping: Mapping| mapping.mapped.ip();
        self.is_proven &= self.mapping.map(ip) == Some(ip(mapping));
        self.mapping = Some(mapping);
    }

    /// Forgets a mapping that was not proven in time.
    fn expire(&mut self, now: Instant) {
        if self.doubted_until.take_if(|until| *until <= now).is_some() {
            self.mapping = None;
            self.distrusted_until = Some(now + DISTRUST_TIME);
        }
    }
}

/// How the socket at `base` looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) base: SocketAddr,
    pub(super) mapped: SocketAddr,
}

impl Mapping {
    fn new(base: SocketAddr, mapped: SocketAddr) -> Option<Self> {
        let is_possible = base.is_ipv4() == mapped.is_ipv4() && mapped.port() != 0;
        (is_possible && Reach::of_ip(mapped.ip()).is_some()).then_some(Self { base, mapped })
    }

    /// Whether both speak of the same thing, and contradict each other unless they are equal. Who is on
    /// our side of a router sees another address of ours than who is beyond it.
    fn is_rival(&self, other: &Self) -> bool {
        let reach = |mapping: &Self| Reach::of_ip(mapping.mapped.ip());
        self.base == other.base && reach(self) == reach(other)
    }
}

impl Stun {
    /// Asks these servers of the application.
    pub(super) fn set_servers(&mut self, now: Instant, servers: &[SocketAddr]) {
        self.servers = servers.iter().take(MAX_SERVERS).copied().collect();
        self.update(now);
    }

    /// Asks these neighbours.
    pub(super) fn set_neighbors(&mut self, now: Instant, neighbors: Vec<SocketAddr>) {
        self.neighbors = neighbors;
        self.update(now);
    }

    fn update(&mut self, now: Instant) {
        let all: Vec<_> = self.servers.iter().chain(&self.neighbors).collect();
        self.asked.retain(|address, _| all.contains(&address));
        let is_new = all.iter().any(|it| !self.asked.contains_key(it));
        for address in all {
            let asked = self.asked.entry(*address);
            asked.or_insert_with(|| Asked::new(now));
        }
        if is_new {
            self.suspect(now);
        }
    }

    /// A peer has tried these addresses of ours. Those that nobody has confirmed have a minute from the first time. What a
    /// server of the application tells needs no proof.
    pub(super) fn doubt(&mut self, now: Instant, named: &[SocketAddr]) {
        for (from, asked) in &mut self.asked {
            let was_named = asked.mapping.is_some_and(|it| named.contains(&it.mapped));
            if was_named && !asked.is_proven && !self.servers.contains(from) {
                asked.doubted_until.get_or_insert(now + PROOF_TIME);
            }
        }
    }

    /// A check of ours was answered by `witness`, who saw us there. The port may be another one behind a symmetric router.
    /// Nobody proves what a neighbour of the same host has told.
    pub(super) fn prove(&mut self, seen: SocketAddr, witness: IpAddr) {
        for (from, asked) in &mut self.asked {
            let is_same = |mapping: Mapping| mapping.mapped.ip() == seen.ip();
            if asked.mapping.is_some_and(is_same) && host_of(from.ip()) != host_of(witness) {
                asked.is_proven = true;
                asked.doubted_until = None;
            }
        }
    }

    /// What was told may no longer be so, or is to be compared with what others say. Asks again, but for
    /// those who were asked just now: many connections can end at once.
    pub(super) fn suspect(&mut self, now: Instant) {
        let is_late = |next: Instant| next < now + (REFRESH - SETTLE);
        if self.next_round.is_some_and(is_late) {
            self.ask_again(now);
        }
    }

    /// This machine's addresses have changed, and with them perhaps how it looks from outside.
    pub(super) fn ask_again(&mut self, now: Instant) {
        self.next_round = None;
        for asked in self.asked.values_mut() {
            asked.next = now;
            asked.retry = FIRST_RETRY;
        }
    }

    /// This machine has lost an address, and what leads to it.
    pub(super) fn forget(&mut self, now: Instant, base: SocketAddr) {
        for asked in self.asked.values_mut() {
            asked.mapping = asked.mapping.filter(|mapping| mapping.base != base);
        }
        self.ask_again(now);
    }

    /// What is believed of what they say, each once.
    ///
    /// Any of them may lie, though only neighbours are asked that this node chose (`exchange::link`). What two at
    /// different IPs agree on is so: a router that makes a mapping for
    /// each host that is sent to, as symmetric ones do, shows no two hosts the same one. What
    /// contradicts it is ignored, unless a server of the application says so, which nobody can slip in.
    /// Where no two agree, the router may well be such a one, and all are believed up to a number: its
    /// IP, which they share, is what lets a peer's router expect us.
    pub(super) fn mappings(&self) -> Vec<Mapping> {
        let mut told: Vec<_> = self.told().collect();
        told.sort_by_cached_key(|(from, mapping)| {
            Reverse((self.voices(mapping), self.servers.contains(from)))
        });
        let mut believed: Vec<Mapping> = Vec::new();
        for (from, mapping) in &told {
            let rivals = believed.iter().filter(|other| other.is_rival(mapping));
            let is_refuted = !self.is_agreed(mapping)
                && !self.servers.contains(from)
                && rivals.clone().any(|rival| self.is_agreed(rival));
            let has_room = rivals.count() < MAX_RIVALS;
            if has_room && !is_refuted && !believed.contains(mapping) {
                believed.push(*mapping);
            }
        }
        believed
    }

    /// What the router does, if that is known now and was not, or was something else.
    pub(super) fn poll_nat_mapping(&mut self, now: Instant) -> Option<NatMapping> {
        self.settles.take_if(|settles| *settles <= now)?;
        let judged = self.judge()?;
        (self.nat_mapping.replace(judged) != Some(judged)).then_some(judged)
    }

    /// The same rule: two that agree cannot be behind a symmetric router, and others contradict each
    /// other because of one. Who is on our side of the router cannot tell, so that those count who see
    /// us at the farthest.
    fn judge(&self) -> Option<NatMapping> {
        let reach = |mapping: &Mapping| Reach::of_ip(mapping.mapped.ip());
        let farthest = self.told().map(|(_, mapping)| reach(&mapping)).max()?;
        let told = self.told().map(|(_, mapping)| mapping);
        let told: Vec<_> = told.filter(|it| reach(it) == farthest).collect();
        let is_disputed = |mapping: &Mapping| {
            let mut rivals = told.iter().filter(|other| other.is_rival(mapping));
            rivals.clone().any(|rival| rival != mapping) && !rivals.any(|it| self.is_agreed(it))
        };
        if told.iter().any(is_disputed) {
            return Some(NatMapping::EndpointDependent);
        }
        let is_agreed = told.iter().any(|mapping| self.is_agreed(mapping));
        is_agreed.then_some(NatMapping::EndpointIndependent)
    }

    fn told(&self) -> impl Iterator<Item = (&SocketAddr, Mapping)> {
        let asked = self.asked.iter();
        asked.filter_map(|(from, asked)| Some((from, asked.mapping?)))
    }

    /// How many say so; of each IP only one counts.
    fn voices(&self, mapping: &Mapping) -> usize {
        let same = self.told().filter(|(_, told)| told == mapping);
        let hosts: HashSet<_> = same.map(|(from, _)| host_of(from.ip())).collect();
        hosts.len()
    }

    fn is_agreed(&self, mapping: &Mapping) -> bool {
        self.voices(mapping) > 1
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let asked = self.asked.iter();
        let all = asked.flat_map(|(address, asked)| {
            let next = may_ask(&self.servers, address, asked).then_some(asked.next);
            [next, asked.doubted_until]
        });
        all.flatten().chain(self.settles).min()
    }

    /// Asks those who are due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Transmit> {
        self.asked.values_mut().for_each(|asked| asked.expire(now));
        let due = self
            .asked
            .iter_mut()
            .filter(|(address, asked)| asked.next <= now && may_ask(&self.servers, address, asked));
        due.filter_map(|(address, asked)| {
            let request = TransactionId::new();
            asked.request = Some(request);
            asked.unanswered = asked.unanswered.saturating_add(1);
            if asked.unanswered > MAX_UNANSWERED {
                asked.mapping = None;
            }
            asked.next = now + asked.retry;
            asked.retry = LAST_RETRY.min(2 * asked.retry);
            Some(Transmit {
                source: unspecified(address),
                destination: *address,
                contents: binding_request(request)?,
            })
        })
        .collect()
    }

    /// Takes a response that no connection waits for, arrived at `base`. Returns what is believed now
    /// and was not before.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        base: SocketAddr,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Vec<Mapping> {
        let Some(mapping) = self.read(base, from, datagram) else {
            return Vec::new();
        };
        let before = self.mappings();
        self.on_told(now, from, mapping);
        let mut believed = self.mappings();
        believed.retain(|mapping| !before.contains(mapping));
        believed
    }

    /// What this says, if it answers our latest request.
    fn read(&self, base: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Option<Mapping> {
        let asked = self.asked.get(&from)?;
        let response = decode(datagram)?;
        if response.typ != BINDING_SUCCESS || asked.request != Some(response.transaction_id) {
            return None;
        }
        Mapping::new(base, mapped_address(&response)?)
    }

    fn on_told(&mut self, now: Instant, from: SocketAddr, mapping: Mapping) {
        if let Some(asked) = self.asked.get_mut(&from) {
            asked.tell(now, mapping);
            asked.request = None;
            asked.unanswered = 0;
            asked.has_answered = true;
            asked.retry = FIRST_RETRY;
            let round = self.next_round.filter(|next| *next > now);
            asked.next = *self.next_round.insert(round.unwrap_or(now + REFRESH));
            self.settles.get_or_insert(now + SETTLE);
        }
    }
}

/// Returns true if more requests may go to an address: it is one of these servers, or has answered, or was hardly asked.
fn may_ask(servers: &[SocketAddr], address: &SocketAddr, asked: &Asked) -> bool {
    asked.has_answered || asked.unanswered < MAX_UNANSWERED || servers.contains(address)
}

pub(super) fn unspecified(address: &SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0, 0, 0, 0, 0, 0, 0, 0], 0).into(),
    }
}

pub(super) fn binding_request(transaction: TransactionId) -> Option<Vec<u8>> {
    let mut request = Message::new();
    // With a fingerprint it is long enough for an answer that is not to be much longer.
    request
        .build(&[
            Box::new(transaction),
            Box::new(BINDING_REQUEST),
            Box::new(FINGERPRINT),
        ])
        .ok()?;
    Some(request.raw)
}

/// How the asker looks from outside. `None` also if it is told in several ways, of which another reader could take
/// another one.
pub(super) fn mapped_address(response: &Message) -> Option<SocketAddr> {
    let attributes = response.attributes.0.iter();
    let told = attributes.filter(|it| it.typ == ATTR_XORMAPPED_ADDRESS);
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(response).ok()?;
    (told.count() == 1).then_some(SocketAddr::new(mapped.ip, mapped.port))
}

pub(super) fn decode(datagram: &[u8]) -> Option<Message> {
    if datagram.len() > MAX_MESSAGE {
        return None;
    }
    let mut message = Message::new();
    message.raw = datagram.to_vec();
    message.decode().ok()?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_we_look_from_outside_is_told_in_one_way() {
        let told = |addresses: &[&str]| {
            let mut response = Message::new();
            let parts: [Box<dyn ::stun::message::Setter>; 2] =
                [Box::new(TransactionId::new()), Box::new(BINDING_SUCCESS)];
            response.build(&parts).unwrap();
            for address in addresses {
                let address: SocketAddr = address.parse().unwrap();
                let (ip, port) = (address.ip(), address.port());
                let mapped = XorMappedAddress { ip, port };
                ::stun::message::Setter::add_to(&mapped, &mut response).unwrap();
            }
            mapped_address(&decode(&response.raw).unwrap())
        };
        for address in ["9.9.9.9:1", "[2620:fe::9]:1"] {
            assert_eq!(told(&[address]), Some(address.parse().unwrap()));
            assert_eq!(told(&[address, address]), None);
        }
        assert_eq!(told(&[]), None);
    }
}
