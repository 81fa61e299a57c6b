//! Hosts with several addresses, and routers in between.

use super::*;
use crate::config::FoundServer;

fn add(lab: &mut Lab, n: usize, address: &str) -> SocketAddr {
    let address = address.parse().unwrap();
    lab.add_address(n, address);
    address
}

/// What an end has said of candidates so far, and its sources: those it sent a datagram to.
fn is_named(lab: &Lab, n: usize, address: &str) -> bool {
    let connections = lab.ends[n].endpoint.connections.values();
    let mut named = connections.flat_map(|connection| connection.named());
    named.any(|named| named.to_string() == address)
}

/// A fresh end behind a router of its own, which lets answers in from where it has sent to.
pub(super) fn add_behind_router(lab: &mut Lab, private: &str, public: &str) -> usize {
    let n = lab.add();
    let now = lab.now;
    lab.ends[n].endpoint.remove_address(now, address(n, 0));
    let private = add(lab, n, private);
    lab.mapped.insert(private, public.parse().unwrap());
    n
}

pub(super) fn use_stun_server(lab: &mut Lab, n: usize) {
    let (address, credentials) = (STUN_SERVER.parse().unwrap(), None);
    let server = FoundServer {
        address,
        credentials,
    };
    lab.ends[n].endpoint.set_servers(lab.now, &[server]);
}

#[test]
fn of_several_addresses_one_that_works_is_found() {
    let mut lab = Lab::new(1);
    for n in [0, 1] {
        for address in ["9.1.0.1:1", "9.1.0.2:1", "[2620:fe::1]:1", "10.1.1.1:1"] {
            let address = address.replace(":1", &format!(":{}", n + 1));
            let address = add(&mut lab, n, &address);
            lab.dead.insert(address);
        }
    }
    let begin = lab.now;
    let (a, b) = lab.connect(0, 1).unwrap();
    println!("connected after {:?}", lab.now - begin);
    assert_eq!(lab.ends[0].endpoint.remote(a), Some(address(1, 0)));
    lab.finish((0, a), (1, b));
}

#[test]
fn two_hosts_behind_routers_meet_by_what_a_server_told_them() {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "10.0.0.2:4000", "9.50.0.1:7001");
    let b = add_behind_router(&mut lab, "192.168.0.2:4000", "9.60.0.1:7002");
    assert!(lab.connect(a, b).is_err(), "it takes a server");
    use_stun_server(&mut lab, a);
    use_stun_server(&mut lab, b);
    lab.run(SECOND);
    let (x, y) = lab.connect(a, b).unwrap();
    let remote = lab.ends[a].endpoint.remote(x).unwrap();
    assert_eq!(remote.to_string(), "9.60.0.1:7002");
    lab.finish((a, x), (b, y));
}

#[test]
fn between_routers_another_address_takes_the_place_of_one_that_dies() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed);
        let a = add_behind_router(&mut lab, "10.0.0.2:4000", "9.50.0.1:7001");
        let b = add_behind_router(&mut lab, "10.0.0.3:4000", "9.60.0.1:7002");
        let public = add(&mut lab, b, "99.70.0.1:4000");
        use_stun_server(&mut lab, a);
        use_stun_server(&mut lab, b);
        lab.run(SECOND);
        let (x, y) = lab.connect(a, b).unwrap();
        let sent = pattern(2000);
        assert_eq!(lab.transfer((a, x), (b, y), &sent), sent);
        assert_eq!(lab.transfer((b, y), (a, x), &sent), sent);
        lab.run(SECOND * 40);
        assert_eq!(lab.ends[a].endpoint.remote(x), Some(public));
        lab.let_out.clear(); // what is not used expires
        lab.dead.insert(public);
        lab.run(SECOND * 9);
        assert_eq!(lab.transfer((a, x), (b, y), &sent), sent, "seed {seed}");
        assert_eq!(lab.transfer((b, y), (a, x), &sent), sent, "seed {seed}");
        lab.release(a, x);
        lab.release(b, y);
        lab.assert_empty();
    }
}

#[test]
fn an_address_that_a_server_tells_late_is_trickled() {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "10.0.0.2:4000", "9.50.0.1:7001");
    let b = add_behind_router(&mut lab, "192.168.0.2:4000", "9.60.0.1:7002");
    let key = lab.dial(a, b).unwrap();
    lab.run(MS * 200);
    use_stun_server(&mut lab, a);
    use_stun_server(&mut lab, b);
    assert!(lab.run_until(SECOND * 5, |lab| !lab.ends[b].incoming.is_empty()));
    let there = lab.ends[b].incoming.pop_front().unwrap();
    assert!(lab.run_until(SECOND, |lab| lab.status(a, key) == Status::Connected));
    lab.finish((a, key), (b, there));
}

#[test]
fn what_leads_to_a_lost_address_is_named_no_more() {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "10.0.0.2:4000", "9.50.0.1:7001");
    use_stun_server(&mut lab, a);
    lab.run(SECOND);
    let mapped = |lab: &Lab| lab.ends[a].endpoint.stun.mappings();
    assert_eq!(mapped(&lab).len(), 1);
    let now = lab.now;
    let lost = "10.0.0.2:4000".parse().unwrap();
    lab.ends[a].endpoint.remove_address(now, lost);
    assert_eq!(mapped(&lab), []);
    add(&mut lab, a, "10.0.0.2:4000");
    lab.run(SECOND);
    assert_eq!(mapped(&lab).len(), 1);
    lab.ends[a].is_cut = true;
    lab.run(SECOND * 60);
    assert_eq!(mapped(&lab), []);
}

#[test]
fn near_addresses_are_named_to_near_ones_only() {
    for (reach, expected) in [(Reach::Global, 1), (Reach::Site, 2), (Reach::Machine, 3)] {
        let mut lab = Lab::new(1);
        add(&mut lab, 0, "10.1.1.1:1");
        add(&mut lab, 0, "127.0.0.1:1");
        lab.ends[0].reach = reach;
        let setup = SetupId {
            peer: lab.ends[1].peer,
            number: 1,
        };
        let now = lab.now;
        let offer = Command::Offer { setup, reach };
        lab.ends[0].endpoint.handle_command(now, offer);
        let Some(Event::Notice(Notice::Described { sdp: Some(sdp), .. })) =
            lab.ends[0].endpoint.poll_event()
        else {
            panic!("no description");
        };
        assert_eq!(sdp.matches("a=candidate:").count(), expected, "{reach:?}");
    }
}

#[test]
fn a_server_is_asked_again_and_again() {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "10.0.0.2:4000", "9.50.0.1:7001");
    use_stun_server(&mut lab, a);
    let before = lab.datagrams;
    lab.run(SECOND * 100);
    assert!((4..=8).contains(&(lab.datagrams - before)));
    lab.ends[a].is_cut = true;
    let before = lab.datagrams;
    lab.run(SECOND * 100);
    assert!((5..=15).contains(&(lab.datagrams - before)));
}

/// Two ends in one private network, which look from outside as if they were at these addresses, and do not
/// reach each other there: their router leads nothing back in.
fn beside_each_other(publics: [&str; 2]) -> (Lab, [usize; 2]) {
    let mut lab = Lab::new(1);
    let ends = [
        ("192.168.0.2:4000", publics[0]),
        ("192.168.0.3:4000", publics[1]),
    ];
    let ends = ends.map(|(private, public)| {
        let end = add_behind_router(&mut lab, private, public);
        use_stun_server(&mut lab, end);
        end
    });
    lab.run(SECOND);
    lab.dead
        .extend(publics.map(|public| -> SocketAddr { public.parse().unwrap() }));
    (lab, ends)
}

#[test]
fn two_hosts_behind_one_router_meet_at_their_private_addresses() {
    let (mut lab, [a, b]) = beside_each_other(["9.50.0.1:7001", "9.50.0.1:7002"]);
    let (x, y) = lab.connect(a, b).unwrap();
    let remote = lab.ends[a].endpoint.remote(x).unwrap();
    assert_eq!(remote.to_string(), "192.168.0.3:4000");
    lab.finish((a, x), (b, y));
}

#[test]
fn hosts_in_the_same_private_range_behind_different_routers_are_told_nothing_of_it() {
    let (mut lab, [a, b]) = beside_each_other(["9.50.0.1:7001", "9.60.0.1:7002"]);
    let key = lab.dial(a, b).unwrap();
    lab.run(SECOND);
    assert!(!is_named(&lab, a, "192.168.0.2:4000") && !is_named(&lab, b, "192.168.0.3:4000"));
    assert!(!lab.has_sent_to(a, "192.168.0.3:4000") && !lab.has_sent_to(b, "192.168.0.2:4000"));
    lab.release(a, key);
}

#[test]
fn that_two_hosts_are_behind_one_router_can_be_found_out_late() {
    let (mut lab, [a, b]) = beside_each_other(["9.50.0.1:7001", "9.50.0.1:7002"]);
    let now = lab.now;
    for n in [a, b] {
        lab.ends[n].endpoint.set_servers(now, &[]);
    }
    let key = lab.dial(a, b).unwrap();
    lab.run(MS * 200);
    assert!(!is_named(&lab, a, "192.168.0.2:4000"));
    lab.dead.clear();
    use_stun_server(&mut lab, a);
    use_stun_server(&mut lab, b);
    assert!(lab.run_until(SECOND * 5, |lab| !lab.ends[b].incoming.is_empty()));
    let there = lab.ends[b].incoming.pop_front().unwrap();
    assert!(lab.run_until(SECOND, |lab| lab.status(a, key) == Status::Connected));
    assert!(is_named(&lab, a, "192.168.0.2:4000") && is_named(&lab, b, "192.168.0.3:4000"));
    lab.finish((a, key), (b, there));
}

/// To which of these addresses an end in a private network sends, if the other end says that it is there.
fn is_sent_to<const N: usize>(lies: [&str; N]) -> [bool; N] {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "192.168.0.2:4000", "9.50.0.1:7001");
    use_stun_server(&mut lab, a);
    lab.run(SECOND);
    lab.lies = lies.map(|lie| lie.parse().unwrap()).into();
    let key = lab.dial(a, 1).unwrap();
    lab.run(SECOND * 2);
    lab.release(a, key);
    lies.map(|lie| lab.has_sent_to(a, lie))
}

#[test]
fn nobody_is_sent_to_a_private_address_by_who_is_not_behind_our_router() {
    let [private, elsewhere, loopback] = ["192.168.0.77:1", "192.168.1.77:1", "127.0.0.1:1"];
    assert_eq!(is_sent_to([private]), [false]);
    assert_eq!(is_sent_to([private, "9.50.0.2:1"]), [false, true]);
    let behind_our_router = "9.50.0.1:1"; // as it says
    let sent = is_sent_to([behind_our_router, private, elsewhere, loopback]);
    assert_eq!(sent, [true, true, false, false]);
}

#[test]
fn nothing_is_sent_to_ourselves_or_to_a_whole_network() {
    let (ours, mapped) = ("192.168.0.2:4000", "9.50.0.1:7001");
    let sent = is_sent_to([ours, mapped, "9.50.0.1:1", "192.168.0.255:1"]);
    assert_eq!(sent, [false, false, true, false]);
}

#[test]
fn a_check_that_seems_to_come_from_a_private_network_is_not_answered() {
    let mut lab = Lab::new(1);
    // The router of the second one, which is far away, forges where its checks come from.
    let forged = "192.168.0.77:1";
    let b = add_behind_router(&mut lab, "10.0.0.3:4000", forged);
    let key = lab.dial(b, 0).unwrap();
    lab.run(SECOND * 2);
    assert!(lab.has_sent_to(b, &address(0, 0).to_string()));
    assert!(!lab.has_sent_to(0, forged));
    lab.release(b, key);
}
