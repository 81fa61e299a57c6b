//! Addresses of our own on TURN servers (RFC 8656), for where no other way leads. They are got at the
//! start, so that nobody waits for one, and kept for as long as the server answers. It knows nothing of
//! connections, nor of what the datagrams are that come and go.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use turn_client_proto::stun::Instant as TurnInstant;

use self::relay::{FIRST_RETRY, Relay, Time};
#[cfg(test)]
pub(super) use self::relay::{MANY_HOSTS, MAX_HOSTS};
use super::Transmit;
use crate::config::FoundServer;

mod relay;

/// The most addresses: two servers in both address families.
pub(super) const MAX_RELAYS: usize = 4;

/// What a datagram from a server is.
#[derive(Debug)]
pub(super) enum Received {
    /// Of no use for an address of ours.
    Other,
    /// An answer to a request.
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

impl Relays {
    /// Has an address on each of these that are TURN servers, and on no others.
    pub(super) fn set_servers(&mut self, now: Instant, servers: &[FoundServer]) {
        let turn = servers
            .iter()
            .filter_map(|server| Some((server.address, server.credentials.as_ref()?)));
        let wanted: BTreeMap<_, _> = turn.take(MAX_RELAYS).collect();
        let time = self.time(now);
        self.all.retain(|server, relay| {
            let is_wanted = wanted.get(server) == Some(&&relay.credentials);
            if !is_wanted {
                relay.lose(&mut self.changes);
                relay.give_back(time, &mut self.transmits);
            }
            is_wanted
        });
        for (server, credentials) in wanted {
            let relay = || Relay::new(now, server, credentials.clone());
            self.all.entry(server).or_insert_with(relay);
        }
    }

    /// Gives all addresses back, as far as one datagram to each server can do that.
    pub(super) fn close(&mut self, now: Instant) {
        self.set_servers(now, &[]);
    }

    /// This machine has got an address. Servers that could not be reached perhaps can be now.
    pub(super) fn hurry(&mut self, now: Instant) {
        let waiting = self.all.values_mut();
        for relay in waiting.filter(|relay| relay.client.is_none()) {
            relay.next = now;
            relay.retry = FIRST_RETRY;
        }
    }

    /// This machine has lost an address, by which servers knew us. They take us for somebody else now.
    pub(super) fn forget(&mut self, now: Instant, base: SocketAddr) {
        for relay in self.all.values_mut() {
            if relay.base == Some(base) {
                relay.end(&mut self.changes);
                relay.next = now;
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

    /// `is_in_use` tells of an address whether data goes over it.
    pub(super) fn handle_timeout(&mut self, now: Instant, is_in_use: impl Fn(&SocketAddr) -> bool) {
        let time = self.time(now);
        for relay in self.all.values_mut().filter(|relay| relay.next <= now) {
            let is_worn = relay.wears_out().is_some_and(|at| at <= now);
            if is_worn && !relay.relayed.is_some_and(|it| is_in_use(&it)) {
                relay.renew(time, &mut self.transmits, &mut self.changes);
            }
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

    /// Returns true if one of the servers would have to be asked to let a host send to us, and may be.
    pub(super) fn lacks(&self, host: IpAddr) -> bool {
        self.all.values().any(|relay| relay.lacks(host))
    }

    /// Has the servers let a host send to us, which will: checks of ours may come later than its own.
    pub(super) fn let_in(&mut self, now: Instant, host: IpAddr) {
        let time = self.time(now);
        for relay in self.all.values_mut() {
            relay.let_in(time, host);
            relay.go_on(time, &mut self.transmits, &mut self.changes);
        }
    }

    /// Sends from one of our addresses on a server, once the server lets the host send to us.
    pub(super) fn send(&mut self, now: Instant, transmit: Transmit) {
        let time = self.time(now);
        let mut relays = self.all.values_mut();
        let is_its = |relay: &&mut Relay| relay.relayed == Some(transmit.source);
        if let Some(relay) = relays.find(is_its)
            && !relay.send(time, transmit, &mut self.transmits)
        {
            relay.go_on(time, &mut self.transmits, &mut self.changes);
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

#[cfg(test)]
impl Relays {
    pub(super) fn hosts(&self) -> Vec<IpAddr> {
        let hosts = self.all.values().flat_map(|relay| &relay.hosts);
        hosts.copied().collect()
    }

    /// How many clients have not panicked, failed or ended.
    pub(super) fn running(&self) -> usize {
        let clients = self.all.values().filter_map(|relay| relay.client.as_ref());
        clients.count()
    }

    pub(super) fn panic_inside(&mut self) {
        for relay in self.all.values_mut() {
            relay.call::<()>(|_| panic!("a bug of the client"));
        }
    }
}
