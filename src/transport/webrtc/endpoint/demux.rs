//! Whose datagram is this? All connections share a socket, so STUN requests are told apart by the
//! user name they are for, STUN responses by the transaction they answer, if that was sent to where they come
//! from, and everything else by the pair of addresses that the other end of a connection has verifiably used.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use libp2p::PeerId;

use super::Key;
use crate::config::Limits;

const HEADER_LEN: usize = 20;

/// Where the numbers of TURN's channels begin, which stand in the place of a type (RFC 8656, section 12).
const FIRST_CHANNEL: u16 = 0x4000;

const USERNAME: u16 = 0x0006;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

/// Identifies a STUN request and its response (RFC 8489, section 5).
pub(super) type TransactionId = [u8; 12];

/// What a datagram is, as far as its first bytes tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A STUN request for the user of this name at our end.
    Request {
        ufrag: &'a str,
        transaction: TransactionId,
    },
    Response {
        transaction: TransactionId,
        is_success: bool,
    },
    Dtls,
    Other,
}

impl<'a> Kind<'a> {
    pub(super) fn of(datagram: &'a [u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::of_stun(datagram).unwrap_or(Self::Other),
            Some(20..=63) => Self::Dtls, // RFC 7983
            _ => Self::Other,
        }
    }

    fn of_stun(datagram: &'a [u8]) -> Option<Self> {
        let (typ, transaction, attributes) = split_message(datagram)?;
        match typ {
            BINDING_REQUEST => Some(Self::Request {
                ufrag: local_ufrag(attributes)?,
                transaction,
            }),
            BINDING_SUCCESS => Some(Self::Response {
                transaction,
                is_success: true,
            }),
            BINDING_ERROR => Some(Self::Response {
                transaction,
                is_success: false,
            }),
            _ => None,
        }
    }
}

/// The type of a STUN message, its transaction, and what follows, if it is one.
pub(super) fn split_message(datagram: &[u8]) -> Option<(u16, TransactionId, &[u8])> {
    let (header, attributes) = datagram.split_at_checked(HEADER_LEN)?;
    let typ = u16::from_be_bytes(*header.first_chunk()?);
    (typ < FIRST_CHANNEL).then_some((typ, header.last_chunk().copied()?, attributes))
}

/// The part of the user name before the colon, which is of the one who is asked (RFC 8445, section
/// 7.2.2).
fn local_ufrag(attributes: &[u8]) -> Option<&str> {
    let (_, name) = self::attributes(attributes).find(|(typ, _)| *typ == USERNAME)?;
    let name = std::str::from_utf8(name).ok()?;
    name.split_once(':').map(|(ours, _)| ours)
}

/// The types and values of what follows the header of a STUN message, as far as it makes sense.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let ([t0, t1, l0, l1], values) = rest.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        rest = values.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_be_bytes([*t0, *t1]), values.get(..len)?))
    })
}

/// The pair of addresses that a datagram travels between: ours and theirs.
pub(super) type Pair = (SocketAddr, SocketAddr);

/// Where somebody is, without what one end alone calls it: the scope of an IPv6 address.
pub(super) type Place = (IpAddr, u16);

pub(super) fn place(address: SocketAddr) -> Place {
    (address.ip().to_canonical(), address.port())
}

#[derive(Debug, Default)]
pub(super) struct Demux {
    ufrags: HashMap<String, Key>,
    /// Whose they are, and whom they ask.
    transactions: HashMap<TransactionId, (Key, Place)>,
    pairs: HashMap<Pair, (Key, Option<PeerId>)>,
}

/// What leads to one connection, to be taken out with it.
#[derive(Debug)]
pub(super) struct Traces {
    key: Key,
    /// Of those that were dialed by an address it is not known yet.
    peer: Option<PeerId>,
    ufrag: String,
    /// Those that wait for an answer: at most [`Limits::TRANSACTIONS`].
    transactions: VecDeque<TransactionId>,
    answered: Option<TransactionId>,
    /// At most [`Limits::PAIRS`].
    pairs: VecDeque<Pair>,
}

impl Demux {
    pub(super) fn insert(&mut self, key: Key, peer: Option<PeerId>, ufrag: String) -> Traces {
        self.ufrags.insert(ufrag.clone(), key);
        Traces {
            key,
            peer,
            ufrag,
            transactions: VecDeque::new(),
            answered: None,
            pairs: VecDeque::new(),
        }
    }

    pub(super) fn remove(&mut self, traces: &Traces) {
        self.ufrags.remove(&traces.ufrag);
        for transaction in traces.transactions.iter().chain(&traces.answered) {
            self.transactions.remove(transaction);
        }
        for pair in &traces.pairs {
            self.remove_pair(traces.key, pair);
        }
    }

    fn remove_pair(&mut self, key: Key, pair: &Pair) {
        if self.pairs.get(pair).is_some_and(|(owner, _)| *owner == key) {
            self.pairs.remove(pair);
        }
    }

    /// Whose datagram this is.
    pub(super) fn owner(&self, pair: &Pair, kind: &Kind<'_>) -> Option<Key> {
        match kind {
            Kind::Request { ufrag, .. } => self.ufrags.get(*ufrag).copied(),
            // Who was asked at one place could answer in the name of another one (RFC 8445, section 7.2.5.2.1).
            Kind::Response { transaction, .. } => {
                let (key, asked) = self.transactions.get(transaction)?;
                (*asked == place(pair.1)).then_some(*key)
            }
            Kind::Dtls => self.pairs.get(pair).map(|(key, _)| *key),
            Kind::Other => None,
        }
    }

    /// A transaction was answered, as it seems. Who can see it on its way can make up an answer, so
    /// it is remembered until the next one is answered.
    pub(super) fn answered(&mut self, traces: &mut Traces, transaction: TransactionId) {
        traces.transactions.retain(|sent| *sent != transaction);
        let before = traces.answered.replace(transaction);
        if let Some(before) = before.filter(|before| *before != transaction) {
            self.transactions.remove(&before);
        }
    }

    /// Learns from what a connection sends: its requests will be answered, and it answers only requests that
    /// are signed with the password that the other end was told. Returns what [`Self::show`] does.
    pub(super) fn learn(
        &mut self,
        traces: &mut Traces,
        pair: Pair,
        datagram: &[u8],
    ) -> Option<Key> {
        match Kind::of(datagram) {
            Kind::Request { transaction, .. } => {
                let (key, asked) = (traces.key, place(pair.1));
                self.transactions.insert(transaction, (key, asked));
                traces.transactions.push_back(transaction);
                if traces.transactions.len() > Limits::TRANSACTIONS
                    && let Some(oldest) = traces.transactions.pop_front()
                {
                    self.transactions.remove(&oldest);
                }
                None
            }
            Kind::Response {
                is_success: true, ..
            } => self.show(traces, pair),
            _ => None,
        }
    }

    /// The other end of a connection has verifiably used these addresses: by a signed request, or by a signed answer to a
    /// request of ours. Addresses that another connection uses are taken over from the same peer only, for a source can be
    /// forged, or where that was tried before; that connection is returned, which no datagram reaches any more.
    pub(super) fn show(&mut self, traces: &mut Traces, pair: Pair) -> Option<Key> {
        let key = traces.key;
        let before = self.pairs.get(&pair).copied();
        if before.is_some_and(|(owner, peer)| owner >= key || peer != traces.peer) {
            return None;
        }
        self.pairs.insert(pair, (key, traces.peer));
        traces.pairs.push_back(pair);
        if traces.pairs.len() > Limits::PAIRS
            && let Some(oldest) = traces.pairs.pop_front()
        {
            self.remove_pair(key, &oldest);
        }
        before.map(|(owner, _)| owner)
    }

    /// Which connection is for the user of this name.
    pub(super) fn of_user(&self, ufrag: &str) -> Option<Key> {
        self.ufrags.get(ufrag).copied()
    }

    /// Whether this connection has shown itself at these addresses.
    pub(super) fn is_known(&self, pair: &Pair, key: Key) -> bool {
        self.pairs.get(pair).is_some_and(|(owner, _)| *owner == key)
    }

    #[cfg(test)]
    pub(super) fn ufrags(&self) -> impl Iterator<Item = &String> {
        self.ufrags.keys()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.ufrags.is_empty() && self.transactions.is_empty() && self.pairs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = (address(1), address(2));

    const fn address(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
    }

    fn stun(kind: u16, transaction: u8, attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER_LEN];
        message[..2].copy_from_slice(&kind.to_be_bytes());
        message[HEADER_LEN - 1] = transaction;
        message.extend_from_slice(attributes);
        message
    }

    fn request_for(name: &str, transaction: u8) -> Vec<u8> {
        let mut attributes = vec![0x80, 0x22, 0, 1, 7, 0, 0, 0]; // another attribute, padded
        attributes.extend_from_slice(&USERNAME.to_be_bytes());
        attributes.extend_from_slice(&(name.len() as u16).to_be_bytes());
        attributes.extend_from_slice(name.as_bytes());
        stun(BINDING_REQUEST, transaction, &attributes)
    }

    #[test]
    fn requests_are_told_apart_by_the_name_they_are_for() {
        let mut demux = Demux::default();
        let peer = PeerId::random();
        let traces =
            [Key(1), Key(2)].map(|key| demux.insert(key, Some(peer), format!("u{}", key.0)));
        for (name, owner) in [
            ("u1:x", Some(Key(1))),
            ("u2:u1", Some(Key(2))),
            ("u3:u1", None),
        ] {
            let request = request_for(name, 0);
            assert_eq!(demux.owner(&PAIR, &Kind::of(&request)), owner);
        }
        traces.iter().for_each(|traces| demux.remove(traces));
        assert!(demux.is_empty());
    }

    #[test]
    fn datagrams_that_are_cut_short_are_nobodys() {
        let request = request_for("u1:x", 0);
        for len in 0..request.len() {
            let kind = Kind::of(&request[..len]);
            assert_eq!(kind, Kind::Other, "{len}");
        }
        assert_eq!(Kind::of(&[22]), Kind::Dtls);
        assert_eq!(Kind::of(&[64]), Kind::Other);
    }

    #[test]
    fn the_last_64_transactions_are_remembered() {
        let mut demux = Demux::default();
        let mut traces = demux.insert(Key(1), Some(PeerId::random()), "u".to_owned());
        for transaction in 0..65 {
            demux.learn(&mut traces, PAIR, &request_for("x:u", transaction));
        }
        for (transaction, owner) in [(0, None), (1, Some(Key(1))), (64, Some(Key(1)))] {
            let response = stun(BINDING_SUCCESS, transaction, &[]);
            assert_eq!(demux.owner(&PAIR, &Kind::of(&response)), owner);
        }
        demux.remove(&traces);
        assert!(demux.is_empty());
    }

    #[test]
    fn who_is_asked_at_one_address_does_not_answer_from_another() {
        let mut demux = Demux::default();
        let mut traces = demux.insert(Key(1), Some(PeerId::random()), "u".to_owned());
        demux.learn(&mut traces, PAIR, &request_for("x:u", 1));
        let response = stun(BINDING_SUCCESS, 1, &[]);
        let owner = |from| demux.owner(&(PAIR.0, from), &Kind::of(&response));
        assert_eq!(owner(PAIR.1), Some(Key(1)));
        assert_eq!(owner(address(3)), None);
        let other_host = SocketAddr::from(([127, 0, 0, 2], PAIR.1.port()));
        assert_eq!(owner(other_host), None);
    }

    #[test]
    fn of_the_answered_transactions_the_last_is_remembered() {
        let mut demux = Demux::default();
        let mut traces = demux.insert(Key(1), Some(PeerId::random()), "u".to_owned());
        for transaction in 0..3 {
            demux.learn(&mut traces, PAIR, &request_for("x:u", transaction));
        }
        for (answered, owners) in [
            (1, [Some(Key(1)); 3]),
            (1, [Some(Key(1)); 3]),
            (0, [Some(Key(1)), None, Some(Key(1))]),
            (2, [None, None, Some(Key(1))]),
        ] {
            let responses = [0, 1, 2].map(|transaction| stun(BINDING_SUCCESS, transaction, &[]));
            let Kind::Response { transaction, .. } = Kind::of(&responses[answered]) else {
                panic!("no response");
            };
            demux.answered(&mut traces, transaction);
            let found = responses.map(|response| demux.owner(&PAIR, &Kind::of(&response)));
            assert_eq!(found, owners, "{answered}");
        }
        demux.remove(&traces);
        assert!(demux.is_empty());
    }

    #[test]
    fn addresses_go_to_a_newer_connection_of_the_same_peer_only() {
        let mut demux = Demux::default();
        let (peer, other) = (PeerId::random(), PeerId::random());
        let success = stun(BINDING_SUCCESS, 0, &[]);
        let mut old = demux.insert(Key(1), Some(peer), "a".to_owned());
        let mut new = demux.insert(Key(2), Some(peer), "b".to_owned());
        let mut foreign = demux.insert(Key(3), Some(other), "c".to_owned());
        let owner = |demux: &Demux| demux.owner(&PAIR, &Kind::Dtls);
        assert_eq!(demux.learn(&mut old, PAIR, &success), None);
        assert_eq!(demux.learn(&mut foreign, PAIR, &success), None);
        assert_eq!(owner(&demux), Some(Key(1)));
        assert_eq!(demux.learn(&mut new, PAIR, &success), Some(Key(1)));
        assert_eq!(demux.learn(&mut old, PAIR, &success), None);
        assert_eq!(owner(&demux), Some(Key(2)));
        demux.remove(&old);
        assert_eq!(owner(&demux), Some(Key(2)));
        demux.remove(&new);
        assert_eq!(demux.learn(&mut foreign, PAIR, &success), None);
        assert_eq!(owner(&demux), Some(Key(3)));
        demux.remove(&foreign);
        assert!(demux.is_empty());
    }

    #[test]
    fn a_connection_is_found_at_its_last_16_pairs() {
        let mut demux = Demux::default();
        let mut traces = demux.insert(Key(1), Some(PeerId::random()), "u".to_owned());
        let pairs: Vec<_> = (0..17).map(|port| (address(1), address(port))).collect();
        for pair in &pairs {
            demux.learn(&mut traces, *pair, &stun(BINDING_SUCCESS, 0, &[]));
        }
        let owner = |pair| demux.owner(pair, &Kind::Dtls);
        assert_eq!(owner(&pairs[0]), None);
        assert!(pairs[1..].iter().all(|pair| owner(pair) == Some(Key(1))));
        demux.remove(&traces);
        assert!(demux.is_empty());
    }
}
