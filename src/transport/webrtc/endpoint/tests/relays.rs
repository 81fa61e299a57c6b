//! TURN servers: what goes over them, what does not, and what becomes of our addresses there.

use str0m::CandidateKind;
use turn_server_proto::{
    api::{TurnServerApi, TurnServerPollRet},
    server::TurnServer,
    types::{Instant as TurnInstant, TransportType::Udp},
};

use super::{
    super::{
        connection::HOSTS_PER_SETUP,
        relays::{MANY_HOSTS, MAX_HOSTS, MAX_RELAYS},
    },
    addresses::{add_behind_router, use_stun_server},
    closing::warnings_of,
    *,
};
use crate::config::{FoundServer, IceServer};

const TURN_SERVER: &str = "9.9.8.8:3478";

/// A TURN server on virtual time.
pub(super) struct Server {
    inner: TurnServer,
    epoch: Instant,
    /// Which addresses it has given away, one after the other.
    given: Vec<SocketAddr>,
    /// Whether it does not answer who wants a host to be let in.
    is_refusing: bool,
}

impl Server {
    fn new(epoch: Instant) -> Self {
        let mut inner = TurnServer::new(Udp, addr(TURN_SERVER), "realm".to_owned());
        inner.add_user("user".to_owned(), "password".to_owned());
        Self {
            inner,
            epoch,
            given: Vec::new(),
            is_refusing: false,
        }
    }

    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        address.ip() == addr(TURN_SERVER).ip()
    }

    /// What it sends when this has come.
    fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        contents: Vec<u8>,
    ) -> Vec<Delivery> {
        let nanos = now.duration_since(self.epoch).as_nanos();
        let now = TurnInstant::from_nanos(nanos as i64);
        const CREATE_PERMISSION: [u8; 2] = [0, 8];
        if self.is_refusing && contents.starts_with(&CREATE_PERMISSION) {
            return Vec::new();
        }
        let transmit = turn_server_proto::api::Transmit::new(contents, Udp, from, to);
        self.poll(now);
        let sent = self.inner.recv(transmit, now);
        self.poll(now);
        let mut sent: Vec<_> = sent.map(|sent| sent.build()).into_iter().collect();
        sent.extend(std::iter::from_fn(|| self.inner.poll_transmit(now)));
        let deliveries = sent.into_iter().map(|sent| Delivery::Datagram {
            from: sent.from,
            to: sent.to,
            contents: sent.data,
        });
        deliveries.collect()
    }

    fn poll(&mut self, now: TurnInstant) {
        loop {
            match self.inner.poll(now) {
                TurnServerPollRet::AllocateSocket {
                    listen_addr: at,
                    client_addr: client,
                    family,
                    ..
                } => {
                    let port = 50_000 + self.given.len() as u16;
                    let given = SocketAddr::new(at.ip(), port);
                    self.given.push(given);
                    self.inner
                        .allocated_socket(Udp, at, client, Udp, family, Ok(given), now);
                }
                TurnServerPollRet::WaitUntil(_) => break,
                _ => {}
            }
        }
    }
}

impl Lab {
    pub(super) fn relay(&mut self, from: SocketAddr, to: SocketAddr, contents: Vec<u8>) {
        let sent = self
            .turn
            .as_mut()
            .map(|turn| turn.handle(self.now, from, to, contents));
        for delivery in sent.unwrap_or_default() {
            self.mail(MS, delivery);
        }
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn turn_server(password: &str) -> FoundServer {
    let server = IceServer::turn(&format!("turn:{TURN_SERVER}"), "user", password);
    server.unwrap().found_at(addr(TURN_SERVER))
}

fn use_turn_server(lab: &mut Lab, n: usize, password: &str) {
    let now = lab.now;
    lab.turn.get_or_insert_with(|| Server::new(now));
    lab.ends[n]
        .endpoint
        .set_servers(now, &[turn_server(password)]);
    lab.collect(n);
}

fn set_refusing(lab: &mut Lab, is_refusing: bool) {
    lab.turn.as_mut().unwrap().is_refusing = is_refusing;
}

fn relayed(lab: &Lab, n: usize) -> Vec<SocketAddr> {
    lab.ends[n].endpoint.relays.addresses().collect()
}

/// Two ends behind symmetric routers of their own, who know at which IP these are.
fn behind_symmetric_routers(seed: u64) -> (Lab, usize, usize) {
    let mut lab = Lab::new(seed);
    let ends = [
        ("10.0.0.2:4000", "9.50.0.1:7001"),
        ("10.0.0.3:4000", "9.60.0.1:7002"),
    ];
    let [a, b] = ends.map(|(private, public)| {
        let end = add_behind_router(&mut lab, private, public);
        lab.symmetric.insert(addr(private), HashMap::new());
        use_stun_server(&mut lab, end);
        end
    });
    (lab, a, b)
}

#[test]
fn where_no_straight_way_leads_one_ends_server_is_enough_whichever_dials() {
    for (seed, served) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        let (mut lab, a, b) = behind_symmetric_routers(seed);
        use_turn_server(&mut lab, [a, b][served], "password");
        lab.run(SECOND);
        let begin = lab.now;
        let (x, y) = lab.connect(a, b).unwrap();
        assert!(lab.now - begin < MS * 150, "{:?}", lab.now - begin);
        lab.run(SECOND * 1000);
        lab.finish((a, x), (b, y));
    }
}

#[test]
fn both_may_have_one() {
    let (mut lab, a, b) = behind_symmetric_routers(1);
    use_turn_server(&mut lab, a, "password");
    use_turn_server(&mut lab, b, "password");
    lab.run(SECOND);
    assert_ne!(relayed(&lab, a), relayed(&lab, b));
    let (x, y) = lab.connect(a, b).unwrap();
    lab.finish((a, x), (b, y));
}

#[test]
fn where_a_straight_way_leads_it_is_taken_and_as_soon_as_without_a_server() {
    let took = |is_served| {
        let mut lab = Lab::new(1);
        let a = add_behind_router(&mut lab, "10.0.0.2:4000", "9.50.0.1:7001");
        let b = add_behind_router(&mut lab, "10.0.0.3:4000", "9.60.0.1:7002");
        for n in [a, b] {
            use_stun_server(&mut lab, n);
            if is_served {
                let mapped = FoundServer {
                    address: addr(STUN_SERVER),
                    credentials: None,
                };
                let now = lab.now;
                lab.turn.get_or_insert_with(|| Server::new(now));
                let servers = [mapped, turn_server("password")];
                lab.ends[n].endpoint.set_servers(now, &servers);
                lab.collect(n);
            }
        }
        lab.run(SECOND);
        assert_eq!(relayed(&lab, a).len(), usize::from(is_served));
        let begin = lab.now;
        let (x, y) = lab.connect(a, b).unwrap();
        let took = lab.now - begin;
        lab.run(SECOND * 10);
        assert_eq!(lab.ends[a].endpoint.remote(x), Some(addr("9.60.0.1:7002")));
        assert_eq!(lab.ends[b].endpoint.remote(y), Some(addr("9.50.0.1:7001")));
        lab.finish((a, x), (b, y));
        took
    };
    let (with, without) = (took(true), took(false));
    assert!(with <= without + MS * 5, "{with:?}, {without:?} without");
}

#[test]
fn an_address_that_a_server_gives_late_is_trickled() {
    let (mut lab, a, b) = behind_symmetric_routers(1);
    let key = lab.dial(a, b).unwrap();
    lab.run(MS * 200);
    use_turn_server(&mut lab, a, "password");
    assert!(lab.run_until(SECOND * 5, |lab| !lab.ends[b].incoming.is_empty()));
    let there = lab.ends[b].incoming.pop_front().unwrap();
    assert!(lab.run_until(SECOND, |lab| lab.status(a, key) == Status::Connected));
    lab.finish((a, key), (b, there));
}

#[test]
fn a_server_that_does_not_know_us_or_is_not_there_is_asked_ever_more_rarely() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "wrong");
    let asked = |lab: &mut Lab| {
        let before = lab.datagrams;
        lab.run(SECOND * 600);
        lab.datagrams - before
    };
    let first = asked(&mut lab);
    let (a, b) = lab.connect(0, 1).unwrap(); // which changes nothing
    lab.release(0, a);
    lab.release(1, b);
    lab.run(SECOND * 5);
    let then = asked(&mut lab);
    assert!(relayed(&lab, 0).is_empty());
    // Also asked as a STUN server, thirty times and more.
    assert!(then < first && then < 45, "{first}, then {then}");
    lab.ends[0].is_cut = true;
    assert!(asked(&mut lab) < 60);
}

#[test]
fn a_server_that_comes_back_gives_an_address_again() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    assert_eq!(relayed(&lab, 0), [addr("9.9.8.8:50000")]);
    lab.ends[0].is_cut = true;
    lab.run(SECOND * 3600);
    assert!(relayed(&lab, 0).is_empty());
    lab.ends[0].is_cut = false;
    lab.run(SECOND * 310);
    assert_eq!(relayed(&lab, 0).len(), 1);
}

#[test]
fn a_server_that_has_forgotten_us_is_found_out_by_who_needs_it() {
    let (mut lab, a, b) = behind_symmetric_routers(1);
    use_turn_server(&mut lab, a, "password");
    lab.run(SECOND * 60);
    lab.turn = Some(Server::new(lab.now));
    assert!(lab.connect(a, b).is_err());
    lab.run(SECOND * 20); // it ignores requests, as the client ignores who knows nothing of it
    let (x, y) = lab.connect(a, b).unwrap();
    lab.finish((a, x), (b, y));
}

#[test]
fn an_address_is_given_back_when_its_server_is_no_longer_used() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    let now = lab.now;
    lab.ends[0].endpoint.stop_asking();
    lab.ends[0].endpoint.give_back(now);
    lab.collect(0);
    lab.run(SECOND);
    assert_eq!(lab.ends[0].endpoint.next_deadline(), None);
    // The server gives another one to the same socket only if it has got the first one back.
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    assert_eq!(relayed(&lab, 0), [addr("9.9.8.8:50001")]);
}

#[test]
fn when_this_machine_moves_it_gets_another_address() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    lab.add_address(0, address(0, 1));
    let now = lab.now;
    lab.ends[0].endpoint.remove_address(now, address(0, 0));
    lab.collect(0);
    assert!(relayed(&lab, 0).is_empty());
    lab.run(SECOND * 15);
    assert_eq!(relayed(&lab, 0), [addr("9.9.8.8:50001")]);
}

/// Sends from the relayed address to some hosts.
fn send_to(lab: &mut Lab, n: usize, hosts: impl Iterator<Item = SocketAddr>) {
    for destination in hosts {
        let transmit = super::super::Transmit {
            source: relayed(lab, n)[0],
            destination,
            contents: vec![22; 20],
        };
        let now = lab.now;
        lab.ends[n].endpoint.relays.send(now, transmit);
        lab.ends[n].endpoint.settle_relays(now);
        lab.collect(n);
        lab.run(MS * 60);
    }
}

fn hosts(range: Range<usize>) -> impl Iterator<Item = SocketAddr> {
    range.map(|n| addr(&format!("9.1.{}.{}:1", n / 250, n % 250)))
}

fn let_in(lab: &Lab, n: usize) -> usize {
    lab.ends[n].endpoint.relays.hosts().len()
}

#[test]
fn an_address_that_has_let_in_many_is_exchanged_once_it_is_unused() {
    for (count, is_exchanged) in [(MANY_HOSTS - 1, false), (MANY_HOSTS, true)] {
        let mut lab = Lab::new(1);
        use_turn_server(&mut lab, 0, "password");
        lab.run(SECOND * 100);
        let before = relayed(&lab, 0);
        send_to(&mut lab, 0, hosts(0..count));
        assert_eq!(let_in(&lab, 0), count);
        lab.run(SECOND * 29);
        assert_eq!(relayed(&lab, 0), before, "a set-up may still need it");
        lab.run(SECOND * 3);
        assert_eq!(relayed(&lab, 0) != before, is_exchanged, "{count}");
        assert_eq!(relayed(&lab, 0).len(), 1);
    }
}

#[test]
fn an_address_that_is_in_use_is_kept_and_lets_in_so_many_at_most() {
    let (mut lab, a, b) = behind_symmetric_routers(1);
    use_turn_server(&mut lab, a, "password");
    lab.run(SECOND);
    let before = relayed(&lab, a);
    let (x, y) = lab.connect(a, b).unwrap();
    send_to(&mut lab, a, hosts(0..MAX_HOSTS - 2));
    assert_eq!(let_in(&lab, a), MAX_HOSTS - 1);
    send_to(&mut lab, a, hosts(600..603));
    assert_eq!(let_in(&lab, a), MAX_HOSTS);
    lab.run(SECOND * 100);
    assert_eq!(relayed(&lab, a), before);
    assert_eq!(lab.status(a, x), Status::Connected);
    lab.finish((a, x), (b, y));
}

#[test]
fn an_address_is_exchanged_when_a_host_is_not_let_in_but_not_all_the_time() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND * 100);
    set_refusing(&mut lab, true);
    let mut addresses = HashSet::new();
    for host in hosts(0..8) {
        addresses.extend(relayed(&lab, 0));
        send_to(&mut lab, 0, [host].into_iter());
        lab.run(SECOND * 10);
    }
    assert!((3..=4).contains(&addresses.len()), "{addresses:?} in 80 s");
    set_refusing(&mut lab, false);
    lab.run(SECOND * 100);
    send_to(&mut lab, 0, hosts(0..1));
    assert_eq!(let_in(&lab, 0), 1);
}

#[test]
fn hosts_that_are_not_let_in_do_not_end_what_goes_over_an_address() {
    let (mut lab, a, b) = behind_symmetric_routers(1);
    use_turn_server(&mut lab, a, "password");
    lab.run(SECOND);
    let before = relayed(&lab, a);
    let (x, y) = lab.connect(a, b).unwrap();
    for host in hosts(0..4) {
        // Datagrams of the connection go through meanwhile.
        set_refusing(&mut lab, true);
        send_to(&mut lab, a, [host].into_iter());
        lab.run(SECOND * 7);
    }
    assert_eq!(relayed(&lab, a), before);
    lab.finish((a, x), (b, y));
}

#[test]
fn a_server_is_asked_for_public_hosts_only() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    let near = ["10.0.0.1:1", "127.0.0.1:1", "169.254.1.1:1"].map(addr);
    send_to(&mut lab, 0, near.into_iter());
    assert_eq!(let_in(&lab, 0), 0);
}

#[test]
fn a_server_that_is_lost_ends_what_goes_over_it_and_nothing_else() {
    let (mut lab, a, b) = behind_symmetric_routers(1);
    use_turn_server(&mut lab, a, "password");
    lab.run(SECOND);
    let direct = lab.connect(0, a).unwrap();
    let (x, y) = lab.connect(a, b).unwrap();
    lab.run(SECOND * 10);
    lab.turn = Some(Server::new(lab.now)); // which knows nothing of the address
    lab.run(SECOND * 10);
    let is_silent = |lab: &Lab, n, key| lab.status(n, key) == Status::Closed(Closed::Silent);
    assert!(is_silent(&lab, a, x) && is_silent(&lab, b, y));
    lab.release(a, x);
    lab.release(b, y);
    let now = lab.now;
    lab.ends[a].endpoint.set_servers(now, &[]);
    lab.collect(a);
    let before = lab.datagrams;
    lab.run(MS * 500);
    let sent = lab.datagrams - before;
    assert!(
        sent <= 4,
        "{sent}: the path of the other one is not searched anew"
    );
    lab.finish((0, direct.0), (a, direct.1));
}

#[test]
fn a_panic_inside_the_client_costs_its_address_for_a_while() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    send_to(&mut lab, 0, hosts(0..1));
    lab.ends[0].endpoint.relays.panic_inside();
    let now = lab.now;
    lab.ends[0].endpoint.relays.hurry(now);
    lab.run(SECOND * 2);
    assert!(relayed(&lab, 0).is_empty() && let_in(&lab, 0) == 0);
    lab.run(SECOND * 2200); // until the server has forgotten the address, which nobody gave back
    assert_eq!(relayed(&lab, 0).len(), 1);
}

#[test]
fn addresses_are_had_on_four_servers_at_most() {
    for (given, used) in [(3, 3), (4, 4), (5, 4)] {
        let mut lab = Lab::new(1);
        let servers = (0..given).map(|n| FoundServer {
            address: addr(&format!("9.9.7.{n}:3478")),
            ..turn_server("password")
        });
        let now = lab.now;
        lab.ends[0]
            .endpoint
            .set_servers(now, &servers.collect::<Vec<_>>());
        lab.ends[0].endpoint.handle_timeout(now);
        lab.collect(0);
        let asked = (0..given).filter(|n| {
            let relays = &lab.ends[0].endpoint.relays;
            relays.is_server(&addr(&format!("9.9.7.{n}:3478")))
        });
        assert_eq!((asked.count(), MAX_RELAYS), (used, 4), "{given}");
    }
}

const CREATE_PERMISSION_ERROR: [u8; 2] = [1, 0x18];
const ALLOCATE_ERROR: [u8; 2] = [1, 0x13];

/// What a server that wants another nonce answers to a request, or to none.
fn refusal(typ: [u8; 2], transaction: [u8; 12], code: u16, nonce: &[u8]) -> Vec<u8> {
    let mut attributes = Vec::new();
    let code = [0, 0, (code / 100) as u8, (code % 100) as u8];
    for (typ, value) in [(0x0009_u16, &code[..]), (0x0014, b"realm"), (0x0015, nonce)] {
        attributes.extend(typ.to_be_bytes());
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    }
    let len = (attributes.len() as u16).to_be_bytes();
    let header = [&typ[..], &len, &[0x21, 0x12, 0xa4, 0x42], &transaction].concat();
    [header, attributes].concat()
}

fn say_to(lab: &mut Lab, n: usize, datagram: &[u8]) {
    let (now, local) = (lab.now, address(n, 0));
    let endpoint = &mut lab.ends[n].endpoint;
    endpoint.handle_datagram(now, local, addr(TURN_SERVER), datagram);
    lab.collect(n);
}

/// An end that has just asked for an address, and how it calls that.
fn asking() -> (Lab, [u8; 12]) {
    let mut lab = Lab::new(1);
    let now = lab.now;
    lab.turn = Some(Server::new(now));
    let endpoint = &mut lab.ends[0].endpoint;
    endpoint.set_servers(now, &[turn_server("password")]);
    endpoint.handle_timeout(now);
    let sent: Vec<_> = std::iter::from_fn(|| endpoint.poll_transmit()).collect();
    let is_allocate = |it: &&super::super::Transmit| it.contents.starts_with(&[0, 3]);
    let request = sent.iter().find(is_allocate).unwrap();
    let (_, transaction, _) = super::super::demux::split_message(&request.contents).unwrap();
    (lab, transaction)
}

/// Its fourth character is the one that the client would cut in two.
const BAD_NONCE: &[u8] = "obMatJos2abc\u{e9}def".as_bytes();

#[test]
fn a_nonce_that_is_none_does_not_harm_the_client() {
    let (mut lab, transaction) = asking();
    say_to(
        &mut lab,
        0,
        &refusal(ALLOCATE_ERROR, transaction, 401, BAD_NONCE),
    );
    assert_eq!(lab.ends[0].endpoint.relays.running(), 1);
    say_to(
        &mut lab,
        0,
        &refusal(ALLOCATE_ERROR, [7; 12], 401, BAD_NONCE),
    );
    lab.run(SECOND * 2);
    assert_eq!(relayed(&lab, 0).len(), 1);
    say_to(
        &mut lab,
        0,
        &refusal(CREATE_PERMISSION_ERROR, [7; 12], 438, BAD_NONCE),
    );
    lab.run(SECOND);
    assert_eq!(relayed(&lab, 0), [addr("9.9.8.8:50000")]);
}

#[test]
fn nobody_refuses_in_the_name_of_a_server_what_was_not_asked_for() {
    let (mut lab, transaction) = asking();
    say_to(&mut lab, 0, &refusal(ALLOCATE_ERROR, [7; 12], 403, b"evil"));
    say_to(&mut lab, 0, &refusal(ALLOCATE_ERROR, [7; 12], 401, b"evil"));
    lab.run(SECOND * 2);
    assert_eq!(relayed(&lab, 0).len(), 1);
    for n in 0..20 {
        for typ in [CREATE_PERMISSION_ERROR, ALLOCATE_ERROR] {
            let mut forged = transaction;
            forged[0] ^= n + 1;
            say_to(&mut lab, 0, &refusal(typ, forged, 438, b"evil"));
            say_to(&mut lab, 0, &refusal(typ, forged, 401, b"evil"));
        }
    }
    let before = lab.datagrams;
    send_to(&mut lab, 0, hosts(0..1));
    assert_eq!(let_in(&lab, 0), 1);
    assert!(
        lab.datagrams - before <= 2,
        "it asked with a nonce that is none"
    );
    assert_eq!(relayed(&lab, 0), [addr("9.9.8.8:50000")]);
}

/// A message with these attributes, in which a server says that it is about as long as `len`.
fn message(typ: u16, len: Option<u16>, attributes: &[&[u8]]) -> Vec<u8> {
    let attributes = attributes.concat();
    let len = len.unwrap_or(attributes.len() as u16);
    let header = [typ.to_be_bytes(), len.to_be_bytes()].concat();
    [
        &header,
        &[0x21, 0x12, 0xa4, 0x42][..],
        &[7; 12],
        &attributes,
    ]
    .concat()
}

#[test]
fn what_a_server_did_not_have_to_say_fills_no_log() {
    const DATA: u16 = 0x0017;
    let (integrity, fingerprint) = (
        [&[0, 8, 0, 20][..], &[7; 20]].concat(),
        [0x80, 0x28, 0, 4, 1, 2, 3, 4],
    );
    let software = [0x80, 0x22, 0, 4, b'n', b'o', b'n', b'e'];
    for datagram in [
        message(0x0001, None, &[]),
        message(0x0003, None, &[]),
        message(0x0016, None, &[]),
        message(DATA, Some(4), &[]),
        message(DATA, None, &[&[0, 0x13, 0, 8, 1, 2, 3, 4]]),
        message(DATA, None, &[&[0, 0x13, 0, 5, 1, 2, 3, 4, 5]]),
        message(DATA, None, &[&fingerprint]),
        message(DATA, None, &[&fingerprint, &fingerprint]),
        message(DATA, None, &[&integrity, &software]),
        message(DATA, None, &[&integrity, &integrity]),
    ] {
        let mut lab = Lab::new(1);
        use_turn_server(&mut lab, 0, "password");
        lab.run(SECOND);
        let warnings = warnings_of(|| (0..100).for_each(|_| say_to(&mut lab, 0, &datagram)));
        assert_eq!(warnings, 0, "{datagram:x?}");
        assert_eq!(relayed(&lab, 0).len(), 1);
    }
}

#[test]
fn an_answer_is_looked_at_once_a_request() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    let warnings = warnings_of(|| {
        let now = lab.now;
        let endpoint = &mut lab.ends[0].endpoint;
        endpoint
            .relays
            .let_in(now, hosts(0..1).next().unwrap().ip());
        endpoint.settle_relays(now);
        let request = endpoint.poll_transmit().unwrap();
        let (_, transaction, _) = super::super::demux::split_message(&request.contents).unwrap();
        // Without the signature that it should have.
        let mut answer = message(0x0108, None, &[]);
        answer[8..20].copy_from_slice(&transaction);
        (0..100).for_each(|_| say_to(&mut lab, 0, &answer));
    });
    assert_eq!(warnings, 1);
    // The server is asked again, and its answer is heard.
    lab.run(SECOND);
    assert_eq!(let_in(&lab, 0), 1);
}

#[test]
fn two_hosts_of_a_set_up_are_let_in() {
    for (named, most) in [(1, 1), (2, 2), (3, 2), (8, 2)] {
        let mut lab = Lab::new(1);
        use_turn_server(&mut lab, 0, "password");
        lab.run(SECOND);
        lab.lies = hosts(0..named).collect();
        lab.offer(1, 0);
        lab.run(SECOND * 4);
        assert_eq!(let_in(&lab, 0), most, "{named}");
        // Others have theirs.
        lab.lies = hosts(10..20).collect();
        lab.offer(1, 0);
        lab.run(SECOND * 4);
        assert_eq!(let_in(&lab, 0), most + HOSTS_PER_SETUP, "{named}");
    }
}

#[test]
fn what_a_server_seems_to_say_at_another_address_does_not_move_us() {
    let mut lab = Lab::new(1);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    send_to(&mut lab, 0, hosts(0..1));
    let other = address(0, 1);
    lab.add_address(0, other);
    lab.run(SECOND);
    // An ICMP error of the host that is let in, 9.1.0.0.
    let peer = [
        [0, 0x12, 0, 8],
        [0, 1, 0x21, 0x13],
        [9 ^ 0x21, 1 ^ 0x12, 0xa4, 0x42],
    ]
    .concat();
    let icmp = [0x80, 4, 0, 8, 0, 0, 3, 3, 0, 0, 0, 0];
    let (now, forged) = (lab.now, message(0x0017, None, &[&peer, &icmp]));
    let endpoint = &mut lab.ends[0].endpoint;
    endpoint.handle_datagram(now, other, addr(TURN_SERVER), &forged);
    endpoint.remove_address(now, other);
    lab.collect(0);
    assert_eq!(relayed(&lab, 0), [addr("9.9.8.8:50000")]);
}

#[test]
fn a_server_does_not_give_away_an_address_of_this_machine() {
    let mut lab = Lab::new(1);
    let ours = addr("9.9.8.8:50000"); // which it gives away first
    lab.add_address(0, ours);
    use_turn_server(&mut lab, 0, "password");
    lab.run(SECOND);
    assert_eq!(relayed(&lab, 0), [ours]);
    let candidates = lab.ends[0].endpoint.candidates();
    assert!(candidates.iter().all(|it| it.kind() == CandidateKind::Host));
    lab.ends[0].endpoint.outputs.send(super::super::Transmit {
        source: ours,
        destination: address(1, 0),
        contents: vec![22; 20],
    });
    assert!(lab.ends[0].endpoint.outputs.to_relay.is_empty());
}

#[test]
fn garbage_from_a_server_is_survived() {
    let (mut lab, a, b) = behind_symmetric_routers(1);
    use_turn_server(&mut lab, a, "password");
    lab.run(SECOND);
    let (x, y) = lab.connect(a, b).unwrap();
    let good = [&[0, 23, 0, 12, 0x21, 0x12, 0xa4, 0x42][..], &[7; 24]].concat();
    for n in 0..100_000 {
        let mut datagram = good.clone();
        datagram.truncate(lab.rng.random_range(0..=good.len()));
        for _ in 0..n % 5 {
            let len = datagram.len().max(1);
            let at = lab.rng.random_range(0..len);
            if let Some(byte) = datagram.get_mut(at) {
                *byte = lab.rng.random();
            }
        }
        let (now, local) = (lab.now, addr("10.0.0.2:4000"));
        let endpoint = &mut lab.ends[a].endpoint;
        endpoint.handle_datagram(now, local, addr(TURN_SERVER), &datagram);
    }
    lab.collect(a);
    lab.finish((a, x), (b, y));
}
