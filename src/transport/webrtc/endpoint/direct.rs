//! Who dials by an address, in libp2p's specification "WebRTC Direct": no signal announces it, both ends use one
//! made-up name as user and password, and who they are is proven once DTLS is up. So the first that is heard
//! of somebody is a STUN request that anybody may have sent in anybody's name. Its source is asked back, by one
//! request that is no longer, and only who answers that gets a connection.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use ::stun::{
    agent::TransactionId,
    attributes::{ATTR_ICE_CONTROLLED, ATTR_PRIORITY, ATTR_USERNAME, AttrType, RawAttribute},
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_REQUEST, Message},
};
use rand::{RngExt, distr::Alphanumeric};
use str0m::IceCreds;

use super::{
    super::fingerprint::Fingerprint,
    AddressChange, Budget, ChannelId, Connection, Endpoint, Event, Key, Transmit,
    demux::{self, Kind, Pair},
    stun::decode,
};
use crate::{
    config::Limits,
    reach::{Reach, host_of},
};

/// What every name begins with, as user and as password.
const PREFIX: &str = "libp2p+webrtc+v1/";

/// How many random characters follow in ours: 142 bits, where ICE wants 128 of a password (RFC 8445, section 5.3),
/// and no more, for `is` panics at a user name of more than 128 bytes (`stun_client_binding_request`).
const RANDOM_LEN: usize = 24;

/// What the one who is asked for a nomination is told of our address: that it is a host's (RFC 8445, section 5.1.2).
const PRIORITY: u32 = 2_130_706_431;

#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Whether there are to be no more. Those who are there may still show themselves at another address.
    is_closed: bool,
    /// Their connections, until it is proven who they are, and which host has them: at most [`Limits::DIRECT_SETUPS`], and
    /// [`Limits::DIRECT_SETUPS_PER_HOST`].
    setups: HashMap<Key, IpAddr>,
    /// Who is asked and has not answered yet, the oldest first, at most [`Limits::DIRECT_SOURCES`].
    sources: VecDeque<Source>,
}

#[derive(Debug)]
struct Source {
    pair: Pair,
    name: String,
    /// What it sent.
    request: Vec<u8>,
    asked: demux::TransactionId,
    asked_at: Instant,
    times: u8,
    until: Instant,
}

impl Strangers {
    fn has_room(&self, ip: IpAddr) -> bool {
        let host = host_of(ip);
        let its = self.setups.values().filter(|of| **of == host);
        !self.is_closed
            && self.setups.len() < Limits::DIRECT_SETUPS
            && its.count() < Limits::DIRECT_SETUPS_PER_HOST
    }

    /// What to ask the source of `request`, if it is to be asked.
    fn ask(&mut self, now: Instant, pair: Pair, request: &[u8]) -> Option<Vec<u8>> {
        while self
            .sources
            .front()
            .is_some_and(|oldest| oldest.until <= now)
        {
            self.sources.pop_front();
        }
        let name = name_of(request)?;
        let known = self.sources.iter_mut().find(|it| it.pair == pair);
        let times = known.as_ref().map_or(0, |it| it.times);
        let transaction = TransactionId::new();
        let question = check(&name, transaction, ATTR_ICE_CONTROLLED)?;
        if times >= Limits::DIRECT_QUESTIONS || question.len() > request.len() {
            return None;
        }
        let source = Source {
            pair,
            name,
            request: request.to_vec(),
            asked: transaction.0,
            asked_at: now,
            times: times + 1,
            until: known
                .as_ref()
                .map_or(now + Limits::DIRECT_QUESTION_TIME, |it| it.until),
        };
        match known {
            Some(known) => *known = source,
            None => self.sources.push_back(source),
        }
        if self.sources.len() > Limits::DIRECT_SOURCES {
            self.sources.pop_front();
        }
        Some(question)
    }

    /// The source that has answered, if it has.
    fn answered(
        &mut self,
        now: Instant,
        pair: &Pair,
        transaction: demux::TransactionId,
        response: &[u8],
    ) -> Option<Source> {
        let place = self.sources.iter().position(|it| it.pair == *pair)?;
        let source = self.sources.get(place)?;
        let is_answer = source.asked == transaction
            && source.until > now
            && is_by(&source.name, &mut decode(response)?);
        if !is_answer {
            return None;
        }
        self.sources.remove(place)
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.setups.is_empty()
    }
}

impl Endpoint {
    /// Lets in from now on who dials one of our addresses.
    pub(in super::super) fn let_strangers_in(&mut self) {
        self.strangers = Some(Strangers::default());
    }

    /// Lets nobody in any more.
    pub(in super::super) fn turn_strangers_away(&mut self) {
        if let Some(strangers) = &mut self.strangers {
            strangers.is_closed = true;
        }
    }

    /// Dials an address, whose other end has a certificate with this fingerprint. The caller ends the connection by
    /// [`Self::release`].
    pub(in super::super) fn dial_address(
        &mut self,
        now: Instant,
        target: SocketAddr,
        fingerprint: Fingerprint,
    ) -> Key {
        let random = rand::rng().sample_iter(Alphanumeric).take(RANDOM_LEN);
        let name: String = PREFIX.chars().chain(random.map(char::from)).collect();
        let key = self.make_direct(now, &name, Some((target, fingerprint)));
        self.with(now, key, |connection| connection.handle_timeout(now));
        key
    }

    /// The channel over which both ends prove who they are, which is the caller's from now on, and the fingerprints of
    /// our certificate and theirs.
    pub(in super::super) fn noise(
        &mut self,
        key: Key,
    ) -> Option<(ChannelId, Fingerprint, Fingerprint)> {
        let ours = Fingerprint::from_certificate(&self.certificate.certificate);
        let connection = self.connections.get_mut(&key)?;
        let theirs = connection.remote_fingerprint()?;
        Some((connection.noise.take()?, ours, theirs))
    }

    /// Counts what unproven connections hold in a budget that other endpoints share.
    pub(in super::super) fn share_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// Notes that the other end has proven who it is, and lets in what has waited for that.
    pub(in super::super) fn set_proven(&mut self, now: Instant, key: Key) {
        self.forget_stranger(key);
        self.with(now, key, |connection| connection.set_proven(now));
    }

    /// Who dialed an address of ours has proven who it is, or is gone.
    pub(super) fn forget_stranger(&mut self, key: Key) {
        let strangers = self.strangers.as_mut();
        strangers.map(|strangers| strangers.setups.remove(&key));
    }

    /// Sees to datagrams of those who have not shown yet that they are where they seem to be. Whether this was
    /// one.
    pub(super) fn meet(
        &mut self,
        now: Instant,
        pair: Pair,
        kind: &Kind<'_>,
        datagram: &[u8],
    ) -> bool {
        let Some(strangers) = &mut self.strangers else {
            return false;
        };
        match *kind {
            Kind::Request { ufrag, .. } => {
                let known = self.demux.of_user(ufrag);
                if known.is_some_and(|key| self.demux.is_known(&pair, key)) {
                    return false;
                }
                let has_room = known.is_some() || strangers.has_room(pair.1.ip());
                let question = has_room.then(|| strangers.ask(now, pair, datagram));
                if let Some(contents) = question.flatten() {
                    let (source, destination) = pair;
                    self.outputs.send(Transmit {
                        source,
                        destination,
                        contents,
                    });
                }
                true
            }
            Kind::Response { transaction, .. } => {
                let answered = strangers.answered(now, &pair, transaction, datagram);
                answered
                    .map(|source| self.admit(now, pair, source))
                    .is_some()
            }
            Kind::Dtls | Kind::Other => false,
        }
    }

    /// Passes on what a source sent first.
    fn admit(&mut self, now: Instant, pair: Pair, source: Source) {
        let known = self.demux.of_user(&source.name);
        // Many may have been asked while there was room for one.
        let has_room = |it: &Strangers| it.has_room(pair.1.ip());
        let has_room = self.strangers.as_ref().is_some_and(has_room);
        let make = || has_room.then(|| self.make_direct(now, &source.name, None));
        let Some(key) = known.or_else(make) else {
            return;
        };
        let is_new = known.is_none();
        if is_new && let Some(strangers) = &mut self.strangers {
            strangers.setups.insert(key, host_of(pair.1.ip()));
        }
        self.with(now, key, |connection| {
            if is_new {
                connection.handle_timeout(now);
            }
            let round_trip = now.saturating_duration_since(source.asked_at);
            connection.show(now, pair, round_trip, &source.request);
        });
    }

    /// A connection that is to be begun.
    pub(super) fn make_direct(
        &mut self,
        now: Instant,
        name: &str,
        dialed: Option<(SocketAddr, Fingerprint)>,
    ) -> Key {
        let credentials = IceCreds {
            ufrag: name.to_owned(),
            pass: name.to_owned(),
        };
        let share = self.budget.share();
        let mut engine = self.engine(now, dialed.is_some(), Some(share.clone()));
        engine
            .0
            .direct_api()
            .set_local_ice_credentials(credentials.clone());
        let ingredients = self.ingredients(None, Reach::Machine, engine);
        let key = ingredients.key;
        let connection = Connection::direct(now, ingredients, credentials, share, dialed);
        self.connections.insert(key, connection);
        key
    }

    /// Whoever is let in is one of these hosts, and there, and not one too many. Nobody has us hold too much.
    #[cfg(any(test, fuzzing))]
    pub(super) fn assert_strangers_bounded(&self, has_answered: impl Fn(&IpAddr) -> bool) {
        let held = self.connections.values().map(Connection::held);
        assert!(held.max() <= Some(Limits::UNPROVEN));
        assert!(self.budget.held() <= Limits::ALL_UNPROVEN);
        if let Some(Strangers {
            setups, sources, ..
        }) = &self.strangers
        {
            assert!(setups.keys().all(|it| self.connections.contains_key(it)));
            assert!(setups.len() <= Limits::DIRECT_SETUPS);
            assert!(sources.len() <= Limits::DIRECT_SOURCES);
            for host in setups.values() {
                assert!(has_answered(host));
                let its = setups.values().filter(|of| *of == host);
                assert!(its.count() <= Limits::DIRECT_SETUPS_PER_HOST);
            }
        }
    }

    /// Tells that we can be dialed at an address, or not any more.
    pub(super) fn tell_listening(&mut self, change: AddressChange) {
        if self.strangers.as_ref().is_some_and(|it| !it.is_closed) {
            self.outputs.events.push_back(Event::Address(change));
        }
    }
}

/// The name that a request is for and by, if it is one that begins a connection. The end that dials controls; a
/// question of ours does not, so that two listeners do not ask each other.
fn name_of(request: &[u8]) -> Option<String> {
    let mut message = decode(request)?;
    if message.contains(ATTR_ICE_CONTROLLED) {
        return None;
    }
    let users = message.attributes.get(ATTR_USERNAME).0.value;
    let (ours, theirs) = std::str::from_utf8(&users).ok()?.split_once(':')?;
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    let is_name = ours == theirs && ours.starts_with(PREFIX) && ours.bytes().all(is_ice_char);
    (is_name && is_by(ours, &mut message)).then(|| ours.to_owned())
}

/// Whether who sent a message knows the password.
fn is_by(password: &str, message: &mut Message) -> bool {
    let key = MessageIntegrity::new_short_term_integrity(password.to_owned());
    key.check(message).is_ok()
}

/// A check of the path to the user of this name, as ICE makes it of the end with this `role`.
pub(super) fn check(name: &str, transaction: TransactionId, role: AttrType) -> Option<Vec<u8>> {
    let attribute = |typ, value: Vec<u8>| {
        let length = u16::try_from(value.len()).unwrap_or_default();
        Box::new(RawAttribute { typ, length, value })
    };
    let key = MessageIntegrity::new_short_term_integrity(name.to_owned());
    let mut message = Message::new();
    message
        .build(&[
            Box::new(transaction),
            Box::new(BINDING_REQUEST),
            attribute(ATTR_USERNAME, format!("{name}:{name}").into()),
            attribute(ATTR_PRIORITY, PRIORITY.to_be_bytes().into()),
            attribute(role, rand::rng().random::<[u8; 8]>().into()),
            Box::new(key),
            Box::new(FINGERPRINT),
        ])
        .ok()?;
    Some(message.raw)
}
