//! What our sockets look like from outside, as the application's STUN servers tell (RFC 8489). They
//! are asked over the sockets that connections use, early, so that the answer is there when it is
//! needed, and again before a mapping expires.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use ::stun::{
    agent::TransactionId,
    fingerprint::FINGERPRINT,
    message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message},
    xoraddr::XorMappedAddress,
};

use super::Transmit;

/// The most addresses of servers that are asked: two of each that the application may name.
const MAX_SERVERS: usize = 16;

/// After so many requests without an answer, what a server said before is no longer believed.
const MAX_UNANSWERED: u8 = 3;

/// When a server is asked again that answered. Mappings of 30 s are usual.
const REFRESH: Duration = Duration::from_secs(20);

/// When one is asked again that did not answer: at first, doubled at each try, and at most (RFC 8489,
/// section 6.2.1).
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Stun {
    servers: BTreeMap<SocketAddr, Server>,
}

#[derive(Debug)]
struct Server {
    next: Instant,
    retry: Duration,
    asked: Option<TransactionId>,
    unanswered: u8,
    mapping: Option<Mapping>,
}

/// How the socket at `base` looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) base: SocketAddr,
    pub(super) mapped: SocketAddr,
}

impl Stun {
    pub(super) fn set_servers(&mut self, now: Instant, servers: &[SocketAddr]) {
        let servers = servers.get(..MAX_SERVERS).unwrap_or(servers);
        self.servers.retain(|address, _| servers.contains(address));
        for address in servers {
            self.servers.entry(*address).or_insert(Server {
                next: now,
                retry: FIRST_RETRY,
                asked: None,
                unanswered: 0,
                mapping: None,
            });
        }
    }

    /// This machine's addresses have changed, and with them perhaps how it looks from outside.
    pub(super) fn ask_again(&mut self, now: Instant) {
        for server in self.servers.values_mut() {
            server.next = now;
            server.retry = FIRST_RETRY;
        }
    }

    /// This machine has lost an address, and what leads to it.
    pub(super) fn forget(&mut self, now: Instant, base: SocketAddr) {
        for server in self.servers.values_mut() {
            server.mapping = server.mapping.filter(|mapping| mapping.base != base);
        }
        self.ask_again(now);
    }

    /// What was found out, each once.
    pub(super) fn mappings(&self) -> Vec<Mapping> {
        let mut mappings = Vec::new();
        for mapping in self.servers.values().filter_map(|server| server.mapping) {
            if !mappings.contains(&mapping) {
                mappings.push(mapping);
            }
        }
        mappings
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.servers.values().map(|server| server.next).min()
    }

    /// Asks the servers that are due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Transmit> {
        let due = self
            .servers
            .iter_mut()
            .filter(|(_, server)| server.next <= now);
        due.filter_map(|(address, server)| {
            let request = TransactionId::new();
            server.asked = Some(request);
            server.unanswered = server.unanswered.saturating_add(1);
            if server.unanswered > MAX_UNANSWERED {
                server.mapping = None;
            }
            server.next = now + server.retry;
            server.retry = LAST_RETRY.min(2 * server.retry);
            Some(Transmit {
                source: unspecified(address),
                destination: *address,
                contents: binding_request(request)?,
            })
        })
        .collect()
    }

    /// Takes a response that no connection waits for, arrived at `base`. Returns a mapping that is new.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        base: SocketAddr,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<Mapping> {
        let server = self.servers.get_mut(&from)?;
        let response = decode(datagram)?;
        if response.typ != BINDING_SUCCESS || server.asked != Some(response.transaction_id) {
            return None;
        }
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&response).ok()?;
        let mapped = SocketAddr::new(mapped.ip, mapped.port);
        server.asked = None;
        server.unanswered = 0;
        server.next = now + REFRESH;
        server.retry = FIRST_RETRY;
        let mapping = Some(Mapping { base, mapped });
        let is_new = server.mapping != mapping && !self.mappings().contains(&mapping?);
        if let Some(server) = self.servers.get_mut(&from) {
            server.mapping = mapping;
        }
        mapping.filter(|_| is_new)
    }
}

fn unspecified(address: &SocketAddr) -> SocketAddr {
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

pub(super) fn decode(datagram: &[u8]) -> Option<Message> {
    let mut message = Message::new();
    message.raw = datagram.to_vec();
    message.decode().ok()?;
    Some(message)
}
