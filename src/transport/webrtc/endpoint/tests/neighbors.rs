//! Neighbours instead of STUN servers: what they tell, and what of it is believed.

use super::{
    super::{Stun, stun::MAX_UNANSWERED},
    addresses::{add_behind_router, use_stun_server},
    *,
};

const PUBLIC: &str = "9.50.0.1:7001";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An end behind a router, and neighbours that tell the truth, or something else.
fn lab_with(neighbors: &[(&str, Option<&str>)]) -> (Lab, usize) {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "10.0.0.2:4000", PUBLIC);
    for (neighbor, lie) in neighbors {
        lab.servers.insert(addr(neighbor), lie.map(addr));
    }
    let neighbors = neighbors.iter().map(|(neighbor, _)| addr(neighbor));
    lab.command(a, Command::StunNeighbors(neighbors.collect()));
    lab.run(SECOND);
    (lab, a)
}

fn mapped(lab: &Lab, n: usize) -> Vec<String> {
    let mappings = lab.ends[n].endpoint.stun.mappings().into_iter();
    mappings.map(|it| it.mapped.to_string()).collect()
}

/// What an offer says that is made at once.
fn described(lab: &mut Lab, n: usize) -> String {
    let (peer, number) = (lab.ends[0].peer, 1000);
    let setup = SetupId { peer, number };
    let reach = Reach::Global;
    let offer = Command::Offer { setup, reach };
    lab.ends[n].endpoint.handle_command(lab.now, offer);
    match lab.ends[n].endpoint.poll_event() {
        Some(Event::Notice(Notice::Described { sdp: Some(sdp), .. })) => sdp,
        event => panic!("{event:?}"),
    }
}

#[test]
fn two_hosts_behind_routers_meet_by_what_a_neighbour_told_them() {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "10.0.0.2:4000", PUBLIC);
    let b = add_behind_router(&mut lab, "192.168.0.2:4000", "9.60.0.1:7002");
    lab.ends[0].endpoint.serve_stun(4000);
    for n in [a, b] {
        lab.command(n, Command::StunNeighbors(vec![address(0, 0)]));
    }
    lab.run(SECOND);
    let (x, y) = lab.connect(a, b).unwrap();
    let remote = lab.ends[a].endpoint.remote(x).unwrap();
    assert_eq!(remote.to_string(), "9.60.0.1:7002");
    lab.finish((a, x), (b, y));
}

#[test]
fn a_node_that_was_not_told_to_does_not_answer() {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "10.0.0.2:4000", PUBLIC);
    lab.command(a, Command::StunNeighbors(vec![address(0, 0)]));
    lab.run(SECOND * 30);
    assert_eq!(mapped(&lab, a), [] as [&str; 0]);
}

#[test]
fn the_mapping_is_there_before_it_is_needed_and_hosts_are_named_without_it() {
    let mut lab = Lab::new(1);
    let a = add_behind_router(&mut lab, "9.0.0.77:4000", PUBLIC);
    let silent = addr("9.9.9.1:1");
    lab.command(a, Command::StunNeighbors(vec![silent]));
    let sdp = described(&mut lab, a);
    assert!(sdp.contains("9.0.0.77 4000 typ host"), "{sdp}");
    assert!(!sdp.contains("srflx"), "{sdp}");
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", None)]);
    lab.run(SECOND * 1000);
    let sdp = described(&mut lab, a);
    assert!(sdp.contains("9.50.0.1 7001 typ srflx"), "{sdp}");
}

#[test]
fn a_mapping_is_kept_alive_and_a_new_one_is_found_out() {
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", None), ("9.9.9.2:1", None)]);
    let before = lab.datagrams;
    lab.run(SECOND * 100);
    let asked = lab.datagrams - before;
    assert!(
        (10..=12).contains(&asked),
        "{asked} in 100 s, two each 20 s"
    );
    lab.mapped
        .insert(addr("10.0.0.2:4000"), addr("9.50.0.1:7777"));
    lab.run(SECOND * 21);
    assert_eq!(mapped(&lab, a), ["9.50.0.1:7777"]);
}

#[test]
fn who_is_no_neighbour_any_more_is_neither_asked_nor_believed() {
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", None)]);
    assert_eq!(mapped(&lab, a), [PUBLIC]);
    use_stun_server(&mut lab, a);
    lab.servers
        .insert(addr(STUN_SERVER), Some(addr("9.1.1.1:1")));
    lab.run(SECOND);
    lab.command(a, Command::StunNeighbors(Vec::new()));
    assert_eq!(mapped(&lab, a), ["9.1.1.1:1"], "a server is asked on");
    let now = lab.now;
    lab.ends[a].endpoint.set_servers(now, &[]);
    assert_eq!(mapped(&lab, a), [] as [&str; 0]);
    lab.run(SECOND * 5);
    assert_eq!(lab.ends[a].endpoint.next_deadline(), None);
}

#[test]
fn a_neighbour_on_our_side_of_the_router_takes_nothing_from_what_others_see() {
    let inside = "10.0.0.2:4000";
    let near = [("10.0.0.3:1", Some(inside)), ("10.0.0.4:1", Some(inside))];
    let (mut lab, a) = lab_with(&[near[0], near[1], ("9.9.9.1:1", None)]);
    let mut told = mapped(&lab, a);
    told.sort_unstable();
    assert_eq!(told, [inside, PUBLIC]);
    let sdp = described(&mut lab, a);
    assert!(sdp.contains("9.50.0.1 7001 typ srflx"), "{sdp}");
    assert_eq!(sdp.matches("typ srflx").count(), 1, "{sdp}");
}

#[test]
fn a_host_without_a_router_is_named_once() {
    let (mut lab, _) = lab_with(&[]);
    lab.command(1, Command::StunNeighbors(vec![addr(STUN_SERVER)]));
    lab.run(SECOND);
    assert_eq!(mapped(&lab, 1), [address(1, 0).to_string()]);
    let sdp = described(&mut lab, 1);
    assert_eq!(sdp.matches("a=candidate:").count(), 1, "{sdp}");
}

#[test]
fn what_two_agree_on_is_believed_and_a_third_is_not() {
    let lie = Some("9.6.6.6:6");
    let [a, b, c] = ["9.9.9.1:1", "9.9.9.2:1", "9.9.9.3:1"];
    for liar in [a, b, c] {
        let neighbors = [a, b, c].map(|neighbor| (neighbor, lie.filter(|_| neighbor == liar)));
        let (lab, n) = lab_with(&neighbors);
        assert_eq!(mapped(&lab, n), [PUBLIC], "{liar}");
    }
    let (mut lab, n) = lab_with(&[(a, lie), (b, lie), (c, None)]);
    assert_eq!(mapped(&lab, n), ["9.6.6.6:6"], "two liars");
    use_stun_server(&mut lab, n);
    lab.run(SECOND);
    let mut told = mapped(&lab, n);
    told.sort_unstable();
    assert_eq!(told, [PUBLIC, "9.6.6.6:6"], "and a server of our own");
}

#[test]
fn two_at_one_ip_are_one() {
    let lie = Some("9.6.6.6:6");
    let (lab, n) = lab_with(&[("9.9.9.1:1", lie), ("9.9.9.1:2", lie), ("9.9.9.2:1", None)]);
    assert_eq!(mapped(&lab, n).len(), 2, "it is one word against another");
}

#[test]
fn where_none_agree_two_are_believed() {
    for (count, believed) in [(1, 1), (2, 2), (3, 2)] {
        let (mut lab, n) = lab_with(&[]);
        lab.symmetric.insert(addr("10.0.0.2:4000"), HashMap::new());
        let neighbors: Vec<_> = (1..=count).map(|n| addr(&format!("9.9.9.{n}:1"))).collect();
        lab.servers.extend(neighbors.iter().map(|it| (*it, None)));
        lab.command(n, Command::StunNeighbors(neighbors));
        lab.run(SECOND);
        assert_eq!(mapped(&lab, n).len(), believed);
        assert!(mapped(&lab, n).iter().all(|it| it.starts_with("9.50.0.1:")));
    }
}

#[test]
fn what_cannot_be_is_not_believed() {
    for lie in ["0.0.0.0:1", "224.0.0.1:1", "9.6.6.6:0", "[2620:fe::6]:1"] {
        let (lab, n) = lab_with(&[("9.9.9.1:1", Some(lie))]);
        assert_eq!(mapped(&lab, n), [] as [&str; 0], "{lie}");
    }
}

const INDEPENDENT: NatMapping = NatMapping::EndpointIndependent;
const DEPENDENT: NatMapping = NatMapping::EndpointDependent;

/// What the end behind the router reports when these neighbours tell the truth, or something else.
fn reported(neighbors: &[(&str, Option<&str>)], is_symmetric: bool) -> Vec<NatMapping> {
    let (mut lab, n) = lab_with(&[]);
    if is_symmetric {
        lab.symmetric.insert(addr("10.0.0.2:4000"), HashMap::new());
    }
    for (neighbor, lie) in neighbors {
        lab.servers.insert(addr(neighbor), lie.map(addr));
    }
    let neighbors = neighbors.iter().map(|(neighbor, _)| addr(neighbor));
    lab.command(n, Command::StunNeighbors(neighbors.collect()));
    lab.run(SECOND * 100);
    assert!(lab.nat_mappings.iter().all(|(of, _)| *of == n));
    lab.nat_mappings
        .iter()
        .map(|(_, mapping)| *mapping)
        .collect()
}

#[test]
fn what_the_router_does_is_reported_once_two_have_told() {
    let [a, b, c] = ["9.9.9.1:1", "9.9.9.2:1", "9.9.9.3:1"].map(|it| (it, None));
    let beside_a = ("9.9.9.1:2", None);
    for (neighbors, independent, dependent) in [
        (&[a][..], None, None),
        (&[a, beside_a], None, Some(DEPENDENT)),
        (&[a, b], Some(INDEPENDENT), Some(DEPENDENT)),
        (&[a, b, c], Some(INDEPENDENT), Some(DEPENDENT)),
    ] {
        assert_eq!(reported(neighbors, false), Vec::from_iter(independent));
        assert_eq!(reported(neighbors, true), Vec::from_iter(dependent));
    }
}

#[test]
fn one_liar_among_three_makes_no_router_symmetric() {
    let [a, b, c] = ["9.9.9.1:1", "9.9.9.2:1", "9.9.9.3:1"];
    let lie = Some("9.50.0.1:6");
    assert_eq!(
        reported(&[(a, lie), (b, None), (c, None)], false),
        [INDEPENDENT]
    );
    assert_eq!(
        reported(&[(a, lie), (b, None), (c, None)], true),
        [DEPENDENT]
    );
    assert_eq!(reported(&[(a, lie), (b, None)], false), [DEPENDENT]);
}

#[test]
fn who_is_on_our_side_of_the_router_says_nothing_of_it() {
    let inside = Some("10.0.0.2:4000");
    let near = [("10.0.0.3:1", inside), ("10.0.0.4:1", inside)];
    let far = [("9.9.9.1:1", None), ("9.9.9.2:1", None)];
    assert_eq!(reported(&near, true), [INDEPENDENT], "as far as they see");
    assert_eq!(reported(&[near[0], near[1], far[0]], true), []);
    assert_eq!(reported(&[near[0], far[0], far[1]], true), [DEPENDENT]);
}

#[test]
fn a_change_of_the_router_is_reported_and_one_of_its_mapping_is_not() {
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", None), ("9.9.9.2:1", None)]);
    lab.loss = 0.1;
    for port in 7001..7050 {
        let public = SocketAddr::new(addr(PUBLIC).ip(), port);
        lab.mapped.insert(addr("10.0.0.2:4000"), public);
        lab.run(SECOND * 30);
    }
    assert_eq!(lab.nat_mappings, [(a, INDEPENDENT)]);
    lab.symmetric.insert(addr("10.0.0.2:4000"), HashMap::new());
    lab.run(SECOND * 30);
    assert_eq!(lab.nat_mappings, [(a, INDEPENDENT), (a, DEPENDENT)]);
}

/// Asks those who are due, and has all of them answer at once. Returns who was asked.
fn ask(stun: &mut Stun, now: Instant, public: &str) -> Vec<SocketAddr> {
    let base = addr("10.0.0.2:4000");
    let requests = stun.handle_timeout(now).into_iter();
    let asked = requests.map(|request| {
        let answer = mapping_of(addr(public), &request.contents);
        stun.handle_datagram(now, base, request.destination, &answer);
        request.destination
    });
    asked.collect()
}

#[test]
fn what_a_new_neighbour_says_is_compared_with_what_others_say_then() {
    let (mut stun, now) = (Stun::default(), Instant::now());
    let [old, new] = ["9.9.9.1:1", "9.9.9.2:1"].map(addr);
    stun.set_neighbors(now, vec![old]);
    assert_eq!(ask(&mut stun, now, PUBLIC), [old]);
    let later = now + SECOND * 10;
    assert_eq!(stun.poll_nat_mapping(later), None);
    stun.set_neighbors(later, vec![old, new]);
    assert_eq!(ask(&mut stun, later, "9.50.0.1:7777"), [old, new]);
    let judged = stun.poll_nat_mapping(later + SECOND * 4);
    assert_eq!(judged, Some(INDEPENDENT));
}

#[test]
fn a_crowd_of_new_neighbours_has_nobody_else_asked_more_than_once_in_4_seconds() {
    let (mut stun, mut now) = (Stun::default(), Instant::now());
    let (old, mut asked) = (addr("9.9.9.1:1"), 0);
    for n in 0..1000 {
        let new = addr(&format!("9.8.{}.{}:1", n / 200, n % 200));
        stun.set_neighbors(now, vec![old, new]);
        let all = ask(&mut stun, now, PUBLIC);
        assert!(all.contains(&new));
        asked += usize::from(all.contains(&old));
        now += MS * 10;
    }
    assert_eq!(asked, 3, "in 10 s");
}

#[test]
fn a_neighbours_answer_of_any_shape_is_survived() {
    let (mut rng, now) = (StdRng::seed_from_u64(1), Instant::now());
    let (mut stun, neighbor, base) = (Stun::default(), addr("9.9.9.1:1"), addr("10.0.0.2:4000"));
    stun.set_neighbors(now, vec![neighbor]);
    ask(&mut stun, now, PUBLIC);
    let mut believed = 0;
    for n in 0..50_000 {
        stun.ask_again(now);
        let request = stun.handle_timeout(now).pop().unwrap().contents;
        let public = ["9.50.0.1:7001", "[2620:fe::1]:7001"][n % 2];
        let mut answer = mapping_of(addr(public), &request);
        for _ in 0..rng.random_range(0..4) {
            let len = answer.len();
            answer[rng.random_range(20..len)] = rng.random();
        }
        // Its length fits, so that what is in it is looked at.
        let len = rng.random_range(20..=answer.len());
        answer.truncate(len);
        answer[2..4].copy_from_slice(&(len as u16 - 20).to_be_bytes());
        believed += stun.handle_datagram(now, base, neighbor, &answer).len();
    }
    assert!(believed > 100, "{believed}");
}

/// Returns how many requests went to an address within an hour, in which a set-up fails each minute.
fn requests_within_an_hour(lab: &mut Lab, n: usize, address: &str) -> usize {
    for _ in 0..60 {
        lab.run(SECOND * 60);
        let now = lab.now;
        lab.ends[n].endpoint.stun.suspect(now);
    }
    let sent = lab.sent_to.get(&(n, addr(address)));
    sent.map_or(0, |sent| sent.packets)
}

#[test]
fn where_a_neighbour_never_answers_it_is_asked_three_times() {
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", None)]);
    let neighbors = ["9.9.9.1:1", VICTIM].map(addr);
    lab.command(a, Command::StunNeighbors(neighbors.into()));
    let asked = requests_within_an_hour(&mut lab, a, VICTIM);
    assert_eq!(asked, usize::from(MAX_UNANSWERED));
    assert_eq!(lab.sent_to[&(a, addr(VICTIM))].bytes, 84);
    // It is named anew, and another address is gained.
    lab.command(a, Command::StunNeighbors(neighbors.into()));
    lab.add_address(a, addr("10.0.0.9:4000"));
    assert_eq!(requests_within_an_hour(&mut lab, a, VICTIM), asked);
}

#[test]
fn where_somebody_has_answered_or_the_application_says_so_requests_go_on() {
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", None)]);
    use_stun_server(&mut lab, a);
    lab.servers.clear();
    for address in ["9.9.9.1:1", STUN_SERVER] {
        assert!(requests_within_an_hour(&mut lab, a, address) > 100);
    }
}

const VICTIM: &str = "9.6.6.6:6";

/// An end that was told something by a neighbour has met somebody who sees the truth.
fn met(lie: Option<&str>) -> (Lab, usize) {
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", lie)]);
    assert_eq!(mapped(&lab, a), [lie.unwrap_or(PUBLIC)]);
    let (ours, theirs) = lab.connect(a, 0).unwrap();
    lab.release(a, ours);
    lab.release(0, theirs);
    (lab, a)
}

#[test]
fn a_mapping_at_which_no_check_was_answered_is_dropped_after_a_minute() {
    let (mut lab, a) = met(Some(VICTIM));
    lab.run(SECOND * 59);
    assert_eq!(mapped(&lab, a), [VICTIM]);
    lab.run(SECOND);
    assert_eq!(mapped(&lab, a), [] as [&str; 0]);
    lab.run(SECOND * 299);
    assert_eq!(mapped(&lab, a), [] as [&str; 0], "nor what it repeats");
    lab.run(SECOND * 21);
    assert_eq!(mapped(&lab, a), [VICTIM], "it may tell the truth now");
}

#[test]
fn another_victim_gets_no_other_minute() {
    let (mut lab, a) = met(Some(VICTIM));
    let other = addr("9.7.7.7:7");
    lab.servers.insert(addr("9.9.9.1:1"), Some(other));
    lab.run(SECOND * 30);
    assert_eq!(mapped(&lab, a), [other.to_string()]);
    lab.run(SECOND * 30);
    assert_eq!(mapped(&lab, a), [] as [&str; 0]);
}

#[test]
fn a_mapping_at_which_a_check_was_answered_is_kept() {
    let (mut lab, a) = met(None);
    lab.run(SECOND * 600);
    assert_eq!(mapped(&lab, a), [PUBLIC]);
}

#[test]
fn what_a_neighbour_tells_is_not_proven_by_its_own_host() {
    for (witness, is_kept) in [("9.9.9.1", false), ("9.9.9.2", true)] {
        let (mut stun, now) = (Stun::default(), Instant::now());
        let liar = addr("9.9.9.1:1");
        stun.set_neighbors(now, vec![liar]);
        assert_eq!(ask(&mut stun, now, VICTIM), [liar]);
        stun.doubt(now, &[addr(VICTIM)]);
        stun.prove(addr(VICTIM), witness.parse().unwrap());
        stun.handle_timeout(now + SECOND * 60);
        assert_eq!(stun.mappings().len(), usize::from(is_kept), "{witness}");
    }
}

#[test]
fn a_mapping_is_kept_while_nobody_has_tried_it() {
    let (mut lab, a) = lab_with(&[("9.9.9.1:1", Some(VICTIM))]);
    lab.run(SECOND * 600);
    assert_eq!(mapped(&lab, a), [VICTIM]);
}

#[test]
fn what_a_server_of_the_application_tells_needs_no_proof() {
    let (mut lab, a) = lab_with(&[]);
    use_stun_server(&mut lab, a);
    lab.servers.insert(addr(STUN_SERVER), Some(addr(VICTIM)));
    lab.run(SECOND);
    lab.connect(a, 0).unwrap();
    lab.run(SECOND * 120);
    assert_eq!(mapped(&lab, a), [VICTIM]);
}
