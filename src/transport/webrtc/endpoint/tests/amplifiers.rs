//! Remotes that would have us send to others, by lies of where they are and by datagrams with forged sources;
//! and that would have us remember what they say of us.

use ::stun::{
    agent::TransactionId, fingerprint::FINGERPRINT, integrity::MessageIntegrity,
    message::BINDING_SUCCESS, xoraddr::XorMappedAddress,
};

use super::{
    super::demux::{Kind, split_message},
    addresses::add_behind_router,
    *,
};
use crate::config::Limits;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn victim(n: usize) -> SocketAddr {
    addr(&format!("9.8.{}.{}:53", n / 250, n % 250))
}

/// What the first end has sent to each of these that it has sent to.
fn sent_to(lab: &Lab, victims: impl Iterator<Item = SocketAddr>) -> Vec<Sent> {
    victims
        .filter_map(|victim| lab.sent_to.get(&(0, victim)).copied())
        .collect()
}

fn largest(sent: &[Sent]) -> Sent {
    sent.iter()
        .copied()
        .max_by_key(|sent| sent.bytes)
        .unwrap_or_default()
}

/// An end with so many addresses of its own, and another one.
fn lab_with(addresses: usize) -> Lab {
    let mut lab = Lab::new(1);
    for which in 1..addresses {
        lab.add_address(0, address(0, which));
    }
    lab
}

/// The next check that an end makes, which the other one does not get.
fn check_of(lab: &mut Lab, n: usize) -> Vec<u8> {
    for _ in 0..1000 {
        let end = &mut lab.ends[n].endpoint;
        let next = end.next_deadline().unwrap();
        lab.now = lab.now.max(next);
        end.handle_timeout(lab.now);
        while let Some(transmit) = end.poll_transmit() {
            if matches!(Kind::of(&transmit.contents), Kind::Request { .. }) {
                return transmit.contents;
            }
        }
    }
    panic!("it does not check");
}

/// Has a datagram reach the first end that seems to come from elsewhere.
fn forge(lab: &mut Lab, from: SocketAddr, datagram: &[u8]) {
    let now = lab.now;
    let endpoint = &mut lab.ends[0].endpoint;
    endpoint.handle_datagram(now, address(0, 0), from, datagram);
    lab.collect(0);
}

#[test]
fn who_names_eight_others_as_itself_has_at_most_1000_bytes_sent_to_each() {
    for (addresses, offers) in [(1, true), (1, false), (4, true), (4, false)] {
        let mut lab = lab_with(addresses);
        lab.lies = (0..8).map(victim).collect();
        match offers {
            true => assert!(lab.connect(0, 1).is_err()),
            false => assert!(lab.connect(1, 0).is_err()),
        }
        lab.run(SECOND * 30);
        let sent = sent_to(&lab, (0..8).map(victim));
        let most = largest(&sent);
        println!(
            "with {addresses} addresses, {}: {} packets, {} bytes at most to each of 8",
            if offers { "asking" } else { "asked" },
            most.packets,
            most.bytes
        );
        assert_eq!(sent.len(), 8);
        assert!(most.bytes <= Limits::UNANSWERED, "{most:?}");
    }
}

#[test]
fn a_server_that_answers_anybody_is_sent_no_more_when_it_is_named_as_a_peer() {
    let mut lab = lab_with(4);
    lab.lies = [addr(STUN_SERVER)].into();
    lab.dead.insert(address(1, 0));
    assert!(lab.connect(0, 1).is_err());
    let sent = lab.sent_to[&(0, addr(STUN_SERVER))];
    assert!(sent.bytes <= Limits::UNANSWERED, "{sent:?}");
}

#[test]
fn however_often_paths_are_searched_those_who_never_answered_get_no_more() {
    let mut lab = lab_with(1);
    lab.lies = (0..7).map(victim).chain([address(1, 0)]).collect();
    let (a, b) = lab.connect(0, 1).unwrap();
    for which in 1..20 {
        lab.add_address(0, address(0, which));
        lab.run(SECOND * 10);
        let (lost, now) = (address(0, which), lab.now);
        lab.ends[0].endpoint.remove_address(now, lost);
        lab.run(SECOND * 10);
    }
    let sent = sent_to(&lab, (0..7).map(victim));
    println!(
        "in 20 searches: {:?} at most to each of {}",
        largest(&sent),
        sent.len()
    );
    assert_eq!(sent.len(), 7);
    assert!(largest(&sent).bytes <= Limits::UNANSWERED);
    assert_eq!(lab.status(0, a), Status::Connected);
    lab.finish((0, a), (1, b));
}

#[test]
fn a_forged_source_gets_three_times_what_seems_to_come_from_it_and_four_such_get_anything() {
    for (times, most_bytes) in [(1, 0), (60, Limits::UNANSWERED)] {
        let mut lab = lab_with(4);
        let (a, _) = lab.connect(0, 1).unwrap();
        let check = check_of(&mut lab, 1);
        for _ in 0..times {
            (0..500).for_each(|n| forge(&mut lab, victim(n), &check));
            lab.run(SECOND / 10);
        }
        lab.run(SECOND * 30);
        let sent = sent_to(&lab, (0..500).map(victim));
        let most = largest(&sent);
        println!(
            "{times} checks of {} bytes seem to come from each of 500: {} are sent to, {} packets, {} bytes at most",
            check.len(),
            sent.len(),
            most.packets,
            most.bytes
        );
        assert_eq!(sent.len(), Limits::ICE_SOURCES);
        assert!(most.bytes <= most_bytes.max(3 * check.len()), "{most:?}");
        assert_eq!(lab.status(0, a), Status::Connected);
    }
}

#[test]
fn an_address_that_is_named_and_forged_gets_at_most_2000_bytes() {
    let mut lab = lab_with(4);
    lab.lies = [victim(0), address(1, 0)].into();
    lab.connect(0, 1).unwrap();
    let check = check_of(&mut lab, 1);
    for _ in 0..600 {
        forge(&mut lab, victim(0), &check);
        lab.run(SECOND / 10);
    }
    let most = largest(&sent_to(&lab, [victim(0)].into_iter()));
    println!(
        "named, and forged 600 times: {} packets, {} bytes",
        most.packets, most.bytes
    );
    assert!(most.bytes > Limits::UNANSWERED && most.bytes <= 2 * Limits::UNANSWERED);
}

#[test]
fn who_does_not_know_the_passwords_has_nothing_sent_anywhere_and_keeps_no_place() {
    let mut lab = lab_with(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let mut check = check_of(&mut lab, 1);
    let last = check.len() - 1;
    let signature = last - 20; // before the fingerprint
    check[signature] ^= 1;
    (0..100).for_each(|n| forge(&mut lab, victim(n), &check));
    lab.run(SECOND * 3);
    assert!(sent_to(&lab, (0..100).map(victim)).is_empty());
    check[signature] ^= 1;
    forge(&mut lab, victim(100), &check);
    assert!(lab.sent_to.contains_key(&(0, victim(100))));
    lab.finish((0, a), (1, b));
}

/// Its checks come from a new address each time, which it does not know of.
#[test]
fn a_peer_whose_router_maps_it_anew_is_followed_for_as_long_as_it_answers() {
    let mut lab = Lab::new(1);
    let moving = add_behind_router(&mut lab, "10.0.0.2:4000", "9.50.0.1:7000");
    let (a, b) = lab.connect(moving, 0).unwrap();
    for port in 7001..7020 {
        let public = addr(&format!("9.50.0.1:{port}"));
        lab.mapped.insert(addr("10.0.0.2:4000"), public);
        lab.run(SECOND * 20);
        let sent = pattern(1000);
        assert_eq!(lab.transfer((0, b), (moving, a), &sent), sent, "{port}");
        assert_eq!(lab.ends[0].endpoint.remote(b), Some(public));
    }
    lab.finish((moving, a), (0, b));
}

/// What answers a check, signed by the other end.
fn answer(lab: &mut Lab, key: Key, check: &[u8], mapped: SocketAddr) -> Vec<u8> {
    let (_, transaction, _) = split_message(check).unwrap();
    let connection = lab.ends[1].endpoint.connections.get_mut(&key);
    let password = connection.unwrap().password();
    let (ip, port) = (mapped.ip(), mapped.port());
    let mut answer = ::stun::message::Message::new();
    let parts: [Box<dyn ::stun::message::Setter>; 5] = [
        Box::new(TransactionId(transaction)),
        Box::new(BINDING_SUCCESS),
        Box::new(XorMappedAddress { ip, port }),
        Box::new(MessageIntegrity::new_short_term_integrity(password)),
        Box::new(FINGERPRINT),
    ];
    answer.build(&parts).unwrap();
    answer.raw
}

#[test]
fn the_other_end_says_of_64_addresses_that_they_are_ours_and_no_more() {
    let mut lab = lab_with(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let before = lab.ends[0].endpoint.connections[&a].mapped();
    assert_eq!(before, 1, "the true one");
    let check = check_of(&mut lab, 0);
    for n in 0..100 {
        let answer = answer(&mut lab, b, &check, victim(n));
        forge(&mut lab, address(1, 0), &answer);
        let mapped = lab.ends[0].endpoint.connections[&a].mapped();
        assert_eq!(mapped, (before + n + 1).min(Limits::MAPPED_ADDRESSES));
    }
    lab.finish((0, a), (1, b));
}

/// It could say so in the name of whomever it likes, which would be kept, and sent to.
#[test]
fn what_answers_a_check_from_where_nobody_was_asked_says_nothing() {
    let mut lab = lab_with(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let ours = check_of(&mut lab, 0);
    let theirs = check_of(&mut lab, 1);
    forge(&mut lab, victim(0), &theirs);
    let before = sent_to(&lab, [victim(0)].into_iter());
    for n in 0..100 {
        let answer = answer(&mut lab, b, &ours, victim(n));
        forge(&mut lab, victim(0), &answer);
    }
    assert_eq!(lab.ends[0].endpoint.connections[&a].mapped(), 1);
    (0..100).for_each(|_| forge(&mut lab, victim(0), &theirs));
    lab.run(SECOND * 30);
    let after = sent_to(&lab, [victim(0)].into_iter());
    assert_eq!(before.len(), 1);
    assert!(largest(&after).bytes <= Limits::UNANSWERED, "{after:?}");
    lab.finish((0, a), (1, b));
}
