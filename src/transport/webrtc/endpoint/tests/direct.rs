//! Those who dial an address, and those who do as if.

use ::stun::{
    agent::TransactionId,
    attributes::{ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING},
};

use super::{
    super::{super::fingerprint::Fingerprint, direct::check, fuzz::strangers},
    *,
};
use crate::config::Limits;

/// The second end lets strangers in.
pub(super) fn lab(seed: u64) -> Lab {
    let mut lab = Lab::new(seed);
    lab.ends[1].endpoint.let_strangers_in();
    lab
}

impl Lab {
    pub(super) fn dial_address(&mut self, from: usize, to: usize) -> Key {
        let certificate = &self.ends[to].endpoint.certificate.certificate;
        let fingerprint = Fingerprint::from_certificate(certificate);
        let (now, target) = (self.now, address(to, 0));
        let endpoint = &mut self.ends[from].endpoint;
        let key = endpoint.dial_address(now, target, fingerprint);
        self.collect(from);
        key
    }

    /// Both ends are connected, and neither has proven who it is.
    pub(super) fn connect_directly(&mut self, from: usize, to: usize) -> (Key, Key) {
        let ours = self.dial_address(from, to);
        let has_come = |lab: &mut Self| !lab.ends[to].incoming.is_empty();
        assert!(self.run_until(SECOND * 20, has_come));
        let is_up = |lab: &mut Self| lab.status(from, ours) == Status::Connected;
        assert!(self.run_until(SECOND * 20, is_up));
        (ours, self.ends[to].incoming.pop_front().unwrap())
    }

    /// An end believes the proof of the other one.
    pub(super) fn believe(&mut self, (n, key): (usize, Key)) {
        self.ends[n].endpoint.set_proven(self.now, key);
        self.collect(n);
    }
}

#[test]
fn who_dials_an_address_is_connected_and_both_see_each_others_certificate() {
    let mut lab = lab(1);
    let (a, b) = lab.connect_directly(0, 1);
    let [at_a, at_b] = [(0, a), (1, b)].map(|(n, key)| lab.ends[n].endpoint.noise(key).unwrap());
    assert_eq!((at_a.1, at_a.2), (at_b.2, at_b.1));
    lab.release_channel(0, a, at_a.0);
    lab.release_channel(1, b, at_b.0);
    lab.believe((0, a));
    lab.believe((1, b));
    lab.finish((0, a), (1, b));
}

#[test]
fn the_channel_of_the_proof_can_be_used_and_then_dropped_by_both() {
    for seed in 0..20 {
        let mut lab = lab(seed);
        let (a, b) = lab.connect_directly(0, 1);
        let [(at_a, ..), (at_b, ..)] =
            [(0, a), (1, b)].map(|(n, key)| lab.ends[n].endpoint.noise(key).unwrap());
        for ((n, key, from), (m, other, to)) in [
            ((1, b, at_b), (0, a, at_a)),
            ((0, a, at_a), (1, b, at_b)),
            ((1, b, at_b), (0, a, at_a)),
        ] {
            assert!(
                lab.run_until(SECOND, |lab| lab.write(n, key, from, b"proof")
                    == Write::Taken(5))
            );
            let has_come = |lab: &mut Lab| lab.read(m, other, to, &mut [0; 5]) == Read::Bytes(5);
            assert!(lab.run_until(SECOND, has_come), "seed {seed}");
        }
        lab.write(0, a, at_a, b"end");
        lab.write(1, b, at_b, b"end");
        lab.release_channel(0, a, at_a);
        lab.release_channel(1, b, at_b);
        lab.believe((0, a));
        lab.believe((1, b));
        lab.finish((0, a), (1, b));
    }
}

/// As libp2p-webrtc does, which sends no `FIN_ACK` and breaks when it gets one.
#[test]
fn an_end_that_ends_the_stream_of_the_proof_gets_no_fin_ack() {
    let mut lab = lab(1);
    let (a, b) = lab.connect_directly(0, 1);
    let noise = lab.ends[0].endpoint.noise(a).unwrap().0;
    lab.run(MS * 20);
    lab.close_stream(0, a, noise);
    lab.believe((0, a));
    lab.believe((1, b));
    let ours = lab.open(0, a);
    let theirs = lab.accept(1, b);
    lab.run(MS * 20);
    assert_eq!(lab.close_stream(0, a, ours), Close::Blocked);
    lab.run(MS * 20);
    assert_eq!(lab.close_stream(0, a, ours), Close::Blocked);
    assert_eq!(lab.read(1, b, theirs, &mut [0]), Read::Ended);
    assert_eq!(lab.close_stream(1, b, theirs), Close::Closed);
    lab.release_channel(1, b, theirs);
    lab.run(MS * 20);
    // Nobody waits for the other side to close it.
    assert_eq!(lab.ends[1].endpoint.connections[&b].foreign(), 0);
}

/// As js-libp2p and go-libp2p do, which leave it open.
#[test]
fn the_channel_of_the_proof_stays_open_when_it_is_dropped() {
    let mut lab = lab(1);
    let (a, b) = lab.connect_directly(0, 1);
    let noise = [(0, a), (1, b)].map(|(n, key)| lab.ends[n].endpoint.noise(key).unwrap().0);
    lab.release_channel(0, a, noise[0]);
    lab.run(Limits::STREAM_CLOSE_TIME + SECOND);
    assert_eq!(lab.read(1, b, noise[1], &mut [0]), Read::Blocked);
    assert_eq!(lab.write(1, b, noise[1], b"x"), Write::Taken(1));
    lab.release_channel(1, b, noise[1]);
    lab.believe((0, a));
    lab.believe((1, b));
    lab.finish((0, a), (1, b));
}

#[test]
fn an_address_is_dialed_where_datagrams_are_lost_and_doubled() {
    for seed in 0..20 {
        let mut lab = lab(seed);
        (lab.loss, lab.duplication) = (0.05, 0.1);
        lab.delay = MS * 20..MS * 40;
        let (a, b) = lab.connect_directly(0, 1);
        (lab.loss, lab.duplication) = (0.0, 0.0);
        lab.release(0, a);
        lab.release(1, b);
        lab.assert_empty();
    }
}

#[test]
fn who_has_another_certificate_than_the_address_says_is_not_connected() {
    let mut lab = lab(1);
    let (now, target) = (lab.now, address(1, 0));
    let endpoint = &mut lab.ends[0].endpoint;
    let key = endpoint.dial_address(now, target, Fingerprint::from_certificate(&[]));
    lab.collect(0);
    let closed = Status::Closed(Closed::Protocol);
    assert!(lab.run_until(SECOND * 5, |lab| lab.status(0, key) == closed));
    lab.release(0, key);
    lab.run(SECOND);
    while let Some(come) = lab.ends[1].incoming.pop_front() {
        lab.release(1, come);
    }
    lab.assert_empty();
}

#[test]
fn an_idle_connection_that_was_dialed_lasts_and_ends_when_the_other_side_vanishes() {
    for vanishes in [0, 1] {
        let mut lab = lab(1);
        let (a, b) = lab.connect_directly(0, 1);
        lab.run(SECOND * 120);
        let ends = [(0, a), (1, b)];
        for (n, key) in ends {
            assert_eq!(lab.status(n, key), Status::Connected);
        }
        lab.ends[vanishes].is_cut = true;
        lab.run(SECOND * 10);
        let (n, key) = ends[1 - vanishes];
        assert_eq!(lab.status(n, key), Status::Closed(Closed::Silent));
        for (n, key) in ends {
            lab.release(n, key);
        }
        lab.assert_empty();
    }
}

/// Somebody outside of the lab, by number.
fn stranger(n: usize) -> SocketAddr {
    format!("9.1.{}.{}:4000", n / 250, n % 250).parse().unwrap()
}

fn name(n: usize) -> String {
    format!("libp2p+webrtc+v1/{n:06}")
}

impl Lab {
    /// A datagram arrives at the end that lets strangers in. What is sent to where it came from.
    fn arrives(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
        let now = self.now;
        let endpoint = &mut self.ends[1].endpoint;
        endpoint.handle_datagram(now, address(1, 0), from, datagram);
        let sent = std::iter::from_fn(|| endpoint.poll_transmit());
        let sent = sent.map(|transmit| {
            assert_eq!(transmit.destination, from);
            transmit.contents
        });
        sent.collect()
    }

    /// A stranger sends a request, and answers what it is asked then.
    fn comes(&mut self, n: usize) {
        self.comes_from(stranger(n), n);
    }

    fn comes_from(&mut self, from: SocketAddr, n: usize) {
        let asked = self.arrives(from, &request(&name(n)));
        if let [asked] = &asked[..] {
            self.arrives(from, &answer(&name(n), asked));
        }
    }
}

fn request(name: &str) -> Vec<u8> {
    check(name, TransactionId::new(), ATTR_ICE_CONTROLLING).unwrap()
}

fn answer(name: &str, asked: &[u8]) -> Vec<u8> {
    strangers::answer(name, asked).unwrap()
}

#[test]
fn a_forged_source_is_asked_three_times_by_no_more_bytes_and_gets_no_connection() {
    let mut lab = lab(1);
    for _ in 0..2 {
        let asked: Vec<_> = (0..10)
            .flat_map(|_| lab.arrives(stranger(1), &request(&name(1))))
            .collect();
        let (len, longest) = (request(&name(1)).len(), asked.iter().map(Vec::len).max());
        println!(
            "10 requests of {len} bytes: {} questions of {longest:?}",
            asked.len()
        );
        assert_eq!(asked.len(), 3);
        assert!(longest <= Some(len));
        // Somebody else cannot answer for it, nor with another password.
        let last = &asked[2];
        for (from, answer) in [
            (2, answer(&name(1), last)),
            (1, answer(&name(2), last)),
            (1, answer(&name(1), &asked[0])),
        ] {
            assert!(lab.arrives(stranger(from), &answer).is_empty());
        }
        assert!(!lab.ends[1].endpoint.has_connections());
        lab.now += SECOND * 2;
    }
}

#[test]
fn who_answers_in_time_gets_a_connection() {
    for (after, comes) in [(1999, true), (2000, false)] {
        let mut lab = lab(1);
        let asked = lab.arrives(stranger(1), &request(&name(1)));
        lab.now += MS * after;
        let sent = lab.arrives(stranger(1), &answer(&name(1), &asked[0]));
        assert_eq!(lab.ends[1].endpoint.has_connections(), comes);
        assert_eq!(!sent.is_empty(), comes, "what it sent first is answered");
        lab.run(SECOND * 10);
        lab.ends[1].endpoint.assert_empty();
    }
}

#[test]
fn requests_that_do_not_begin_a_connection_are_not_answered() {
    let mut lab = lab(1);
    let mut changed = request(&name(1));
    changed[40] ^= 1;
    let long = |len: usize| request(&format!("libp2p+webrtc+v1/{}", "x".repeat(len - 17)));
    for (request, is_asked) in [
        (request(&name(1)), true),
        (long(234), true),
        (long(235), true),
        (long(236), false), // 552 bytes, more than every path carries
        (request("another"), false),
        (request("libp2p+webrtc+v1/a\nb"), false),
        (request("libp2p+webrtc+v1/ä"), false),
        (changed, false),
        (request(&name(1))[..60].to_vec(), false),
    ] {
        lab.now += SECOND * 3;
        let asked = lab.arrives(stranger(1), &request);
        assert_eq!(!asked.is_empty(), is_asked, "{}", request.len());
    }
}

#[test]
fn a_check_of_an_end_that_does_not_control_begins_nothing() {
    let mut lab = lab(1);
    let question = check(&name(1), TransactionId::new(), ATTR_ICE_CONTROLLED).unwrap();
    assert!(lab.arrives(stranger(1), &question).is_empty());
    assert_eq!(lab.arrives(stranger(1), &request(&name(1))).len(), 1);
}

/// On a path that takes so long that each question comes when the one before is forgotten.
#[test]
fn two_listeners_do_not_ask_each_other() {
    let mut lab = lab(1);
    lab.ends[0].endpoint.let_strangers_in();
    lab.delay = SECOND..SECOND + MS;
    let (from, to) = (address(0, 0), address(1, 0));
    let contents = request(&name(1));
    lab.mail(MS, Delivery::Datagram { from, to, contents });
    lab.run(SECOND * 60);
    assert_eq!(lab.datagrams, 1, "the question to the forged source");
}

#[test]
fn so_many_strangers_are_set_up_at_a_time() {
    let mut lab = lab(1);
    for n in 1..Limits::DIRECT_SETUPS {
        lab.comes(n);
    }
    for there in [399, 400, 400] {
        assert_eq!(lab.ends[1].endpoint.connections.len(), there);
        let n = lab.ends[1].endpoint.next_key as usize;
        lab.comes(1000 + n);
    }
    // Nor are there more if all are asked before the first one answers.
    lab.run(SECOND * 6);
    let asked: Vec<_> = (0..=Limits::DIRECT_SETUPS)
        .map(|n| lab.arrives(stranger(n), &request(&name(n))))
        .collect();
    for (n, asked) in asked.iter().enumerate() {
        lab.arrives(stranger(n), &answer(&name(n), &asked[0]));
    }
    let there = lab.ends[1].endpoint.connections.len();
    assert_eq!(there, Limits::DIRECT_SETUPS);
    // Those who do not go on make room for others.
    lab.run(SECOND * 6);
    lab.comes(0);
    assert_eq!(lab.ends[1].endpoint.connections.len(), 1);
    lab.run(SECOND * 6);
    lab.ends[1].endpoint.assert_empty();
}

#[test]
fn one_host_has_so_many_of_them_and_leaves_others_room() {
    let most = Limits::DIRECT_SETUPS_PER_HOST;
    for host in ["9.2.0.1", "[2620:fe::1:0:0:0:9]"] {
        let mut lab = lab(1);
        for n in 1..most {
            lab.comes_from(format!("{host}:{n}").parse().unwrap(), n);
        }
        for there in [most - 1, most, most] {
            assert_eq!(lab.ends[1].endpoint.connections.len(), there);
            let n = lab.ends[1].endpoint.next_key as usize + 1;
            lab.comes_from(format!("{host}:{n}").parse().unwrap(), n);
        }
        // Nor by another address of its network.
        lab.comes_from("[2620:fe::1:0:0:0:8]:1".parse().unwrap(), 1000);
        let has_v4 = host.starts_with('9');
        let there = most + usize::from(has_v4);
        assert_eq!(lab.ends[1].endpoint.connections.len(), there);
        lab.comes(1001);
        assert_eq!(lab.ends[1].endpoint.connections.len(), there + 1);
    }
}

#[test]
fn who_has_come_counts_until_it_has_proven_who_it_is_or_is_gone() {
    for is_proven in [true, false] {
        let mut lab = lab(1);
        let (a, b) = lab.connect_directly(0, 1);
        lab.run(SECOND * 20);
        let waiting = |lab: &Lab| {
            let strangers = lab.ends[1].endpoint.strangers.as_ref();
            !strangers.unwrap().is_empty()
        };
        assert!(waiting(&lab));
        if is_proven {
            lab.believe((1, b));
            assert!(!waiting(&lab));
        }
        lab.release(0, a);
        lab.release(1, b);
        lab.assert_empty();
    }
}

#[test]
fn so_many_sources_are_remembered() {
    let most = Limits::DIRECT_SOURCES;
    for others in [most - 2, most - 1, most] {
        let mut lab = lab(1);
        let asked = lab.arrives(stranger(0), &request(&name(0)));
        for n in 1..=others {
            assert_eq!(lab.arrives(stranger(n), &request(&name(n))).len(), 1);
        }
        lab.arrives(stranger(0), &answer(&name(0), &asked[0]));
        let is_remembered = lab.ends[1].endpoint.has_connections();
        assert_eq!(is_remembered, others < most, "{others}");
    }
}

#[test]
fn nobody_is_let_in_any_more() {
    let mut lab = lab(1);
    let (a, b) = lab.connect_directly(0, 1);
    lab.ends[1].endpoint.turn_strangers_away();
    assert!(lab.arrives(stranger(1), &request(&name(1))).is_empty());
    let noise = |lab: &mut Lab, n: usize, key| lab.ends[n].endpoint.noise(key).unwrap().0;
    for (n, key) in [(0, a), (1, b)] {
        let noise = noise(&mut lab, n, key);
        lab.release_channel(n, key, noise);
        lab.believe((n, key));
    }
    lab.finish((0, a), (1, b));
}

#[test]
fn who_was_dialed_is_heard_where_it_was_dialed_only() {
    let mut lab = lab(1);
    let key = lab.dial_address(0, 1);
    lab.run(MS * 5);
    let name = lab.ends[0].endpoint.demux.ufrags().next().unwrap().clone();
    let (now, elsewhere) = (lab.now, stranger(1));
    let endpoint = &mut lab.ends[0].endpoint;
    endpoint.handle_datagram(now, address(0, 0), elsewhere, &request(&name));
    lab.run(SECOND * 3);
    assert!(!lab.sent_to.contains_key(&(0, elsewhere)));
    assert_eq!(lab.status(0, key), Status::Connected);
}

#[test]
fn who_comes_to_a_new_address_is_asked_there_also_when_nobody_else_is_let_in() {
    let mut lab = lab(1);
    lab.connect_directly(0, 1);
    lab.ends[1].endpoint.turn_strangers_away();
    let name = lab.ends[1].endpoint.demux.ufrags().next().unwrap().clone();
    let sent = lab.arrives(stranger(1), &request(&name));
    let [asked] = &sent[..] else {
        panic!("{} datagrams", sent.len());
    };
    assert!(asked.len() <= request(&name).len());
    let sent = lab.arrives(stranger(1), &answer(&name, asked));
    assert_eq!(sent.len(), 1, "its check is answered now");
}

impl Lab {
    /// A direct connection whose proof is over.
    fn proven_connection(&mut self) -> [(usize, Key); 2] {
        let (a, b) = self.connect_directly(0, 1);
        let ends = [(0, a), (1, b)];
        for (n, key) in ends {
            let noise = self.ends[n].endpoint.noise(key).unwrap().0;
            self.release_channel(n, key, noise);
        }
        self.ends[1].endpoint.forget_stranger(b);
        ends.into_iter().for_each(|end| self.believe(end));
        self.run(SECOND);
        ends
    }
}

#[test]
fn a_close_is_seen_at_once_by_the_other_end() {
    for closes in [0, 1] {
        let mut lab = lab(1);
        let ends = lab.proven_connection();
        let ((n, ours), (m, theirs)) = (ends[closes], ends[1 - closes]);
        lab.release(n, ours);
        let is_seen = |lab: &mut Lab| lab.status(m, theirs) == Status::Closed(Closed::Remote);
        assert!(lab.run_until(MS * 10, is_seen), "{closes}");
        lab.release(m, theirs);
        lab.assert_empty();
    }
}

/// A browser's application may learn of a close only by the checks of ICE, and last words can be lost.
#[test]
fn a_check_of_a_closed_connection_is_refused_and_begins_none() {
    let mut lab = lab(1);
    let [(_, a), (_, b)] = lab.proven_connection();
    lab.loss = 1.0;
    lab.release(1, b);
    lab.run(MS * 50);
    lab.loss = 0.0;
    assert_eq!(lab.status(0, a), Status::Connected);
    let is_seen = |lab: &mut Lab| lab.status(0, a) == Status::Closed(Closed::Remote);
    assert!(lab.run_until(SECOND * 4, is_seen), "within one check");
    assert!(!lab.ends[1].endpoint.has_connections());
    lab.release(0, a);
    lab.assert_empty();
}

#[test]
fn eight_signed_checks_of_a_closed_connection_are_refused_within_30_s() {
    let mut lab = lab(1);
    let [(_, a), (_, b)] = lab.proven_connection();
    let name = lab.ends[1].endpoint.demux.ufrags().next().unwrap().clone();
    for (n, key) in [(0, a), (1, b)] {
        lab.release(n, key);
    }
    lab.run(SECOND);
    let mut forged = request(&name);
    let integrity = forged.len() - 20;
    forged[integrity] ^= 1;
    assert!(lab.arrives(stranger(1), &forged).is_empty());
    for refusals in 1..=9 {
        let sent = lab.arrives(stranger(1), &request(&name));
        assert_eq!(sent.len(), usize::from(refusals <= 8), "{refusals}");
        assert!(sent.iter().all(|it| it.len() <= request(&name).len()));
    }
    // It is forgotten then, and asked like any other.
    lab.now += SECOND * 29;
    assert_eq!(lab.arrives(stranger(1), &request(&name)).len(), 1);
}
