//! How connections end, and begin again.

use super::*;
use crate::config::Limits;

#[test]
fn a_close_is_seen_at_once() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    lab.close(0, a);
    let closed = |lab: &mut Lab| lab.status(1, b) == Status::Closed(Closed::Remote);
    assert!(lab.run_until(MS * 100, closed));
    assert_eq!(lab.status(0, a), Status::Closed(Closed::Local));
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
}

#[test]
fn a_peer_that_vanishes_is_missed_within_ten_seconds() {
    for seed in 0..50 {
        let mut lab = Lab::new(seed);
        let (a, b) = lab.connect(0, 1).unwrap();
        let idle = MS * lab.rng.random_range(0..20_000);
        lab.run(idle);
        lab.ends[1].is_cut = true;
        let silent = |lab: &mut Lab| lab.status(0, a) == Status::Closed(Closed::Silent);
        let cut = lab.now;
        assert!(lab.run_until(SECOND * 10, silent), "seed {seed}");
        println!("missed after {:?}", lab.now - cut);
        lab.release(0, a);
        lab.release(1, b);
        lab.assert_empty();
    }
}

#[test]
fn an_idle_connection_stays() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let begin = lab.datagrams;
    lab.run(SECOND * 600);
    println!("{} datagrams in 600 s", lab.datagrams - begin);
    assert_eq!(lab.status(0, a), Status::Connected);
    assert_eq!(lab.status(1, b), Status::Connected);
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
}

#[test]
fn a_connection_can_be_made_again_right_after_its_close() {
    let mut lab = Lab::new(1);
    for round in 0..100 {
        let (a, b) = lab
            .connect(0, 1)
            .unwrap_or_else(|why| panic!("round {round}: {why}"));
        lab.release(0, a);
        lab.run(MS * (round % 3));
        lab.release(1, b);
    }
    lab.assert_empty();
}

#[test]
fn a_connection_takes_the_place_of_one_that_the_other_side_still_holds() {
    let mut lab = Lab::new(1);
    let mut held = lab.connect(0, 1).unwrap();
    for round in 0..100 {
        // The other side does not hear of the end.
        lab.ends[0].is_cut = true;
        lab.release(0, held.0);
        lab.run(SECOND * 3);
        lab.ends[0].is_cut = false;
        let next = lab
            .connect(0, 1)
            .unwrap_or_else(|why| panic!("round {round}: {why}"));
        let replaced = Status::Closed(Closed::Replaced);
        assert_eq!(lab.status(1, held.1), replaced, "round {round}");
        lab.release(1, held.1);
        let sent = pattern(2000);
        assert_eq!(lab.transfer((0, next.0), (1, next.1), &sent), sent);
        held = next;
    }
    lab.release(0, held.0);
    lab.release(1, held.1);
    lab.assert_empty();
}

#[test]
fn an_offer_that_nobody_answers_ends_in_time() {
    let mut lab = Lab::new(1);
    lab.ends[1].is_cut = true;
    lab.signaling_delay = SECOND * 3600;
    lab.offer(0, 1);
    lab.run(SECOND * 10 - MS);
    assert_eq!(lab.ends[0].endpoint.setups.len(), 1);
    lab.run(MS);
    lab.ends[0].endpoint.assert_empty();
}

#[test]
fn a_set_up_that_is_given_up_leaves_nothing() {
    let mut lab = Lab::new(1);
    for _ in 0..200 {
        let setup = lab.offer(0, 1);
        let time = MS * lab.rng.random_range(0..6);
        lab.run(time);
        lab.command(0, Command::Abandon { setup });
        lab.run(time);
        let late: Vec<_> = lab.ends[1].incoming.drain(..).collect();
        late.into_iter().for_each(|key| lab.release(1, key));
    }
    lab.run(SECOND * 10);
    let late: Vec<_> = lab.ends[1].incoming.drain(..).collect();
    late.into_iter().for_each(|key| lab.release(1, key));
    lab.assert_empty();
}

#[test]
fn a_connection_that_nobody_dials_is_closed_when_it_is_up() {
    let mut lab = Lab::new(1);
    lab.offer(0, 1);
    assert!(lab.run_until(SECOND, |lab| !lab.ends[1].incoming.is_empty()));
    let theirs = lab.ends[1].incoming.pop_front().unwrap();
    let closed = Status::Closed(Closed::Remote);
    assert!(lab.run_until(SECOND, |lab| lab.status(1, theirs) == closed));
    lab.release(1, theirs);
    lab.assert_empty();
}

#[test]
fn no_path_means_a_typed_end_after_five_seconds() {
    let mut lab = Lab::new(1);
    let key = lab.dial(0, 1).unwrap();
    lab.ends[1].is_cut = true;
    let (time, late) = (Limits::PATH_TIME, Duration::ZERO);
    lab.assert_ends_after((0, key), time, late, Closed::SetupTimeout);
    lab.release(0, key);
    lab.assert_empty();
}

#[test]
fn an_address_that_changes_does_not_end_the_connection() {
    for (who, seed) in [(0, 1), (1, 2)] {
        let mut lab = Lab::new(seed);
        let (a, b) = lab.connect(0, 1).unwrap();
        lab.run(SECOND * 5);
        lab.add_address(who, address(who, 1));
        lab.run(SECOND);
        let now = lab.now;
        lab.ends[who].endpoint.remove_address(now, address(who, 0));
        lab.collect(who);
        lab.run(SECOND * 20);
        println!("{who}: {:?} {:?}", lab.status(0, a), lab.status(1, b));
        let sent = pattern(50_000);
        assert_eq!(lab.transfer((0, a), (1, b), &sent), sent, "{who} moved");
        assert_eq!(lab.transfer((1, b), (0, a), &sent), sent, "{who} moved");
        let other = [b, a][who];
        assert_eq!(
            lab.ends[1 - who].endpoint.remote(other),
            Some(address(who, 1))
        );
        lab.release(0, a);
        lab.release(1, b);
        lab.assert_empty();
    }
}

/// Two ends with two addresses each, and a connection of theirs that has settled.
fn settled(seed: u64) -> (Lab, Key, Key) {
    let mut lab = Lab::new(seed);
    for n in [0, 1] {
        lab.add_address(n, address(n, 1));
    }
    let (a, b) = lab.connect(0, 1).unwrap();
    let sent = pattern(2000);
    assert_eq!(lab.transfer((0, a), (1, b), &sent), sent);
    assert_eq!(lab.transfer((1, b), (0, a), &sent), sent);
    lab.run(SECOND * 40);
    (lab, a, b)
}

#[test]
fn of_a_settled_connection_only_the_path_in_use_is_checked() {
    let (mut lab, a, b) = settled(1);
    let before = lab.datagrams;
    lab.run(SECOND * 30);
    // A check and its answer, each way, every 3 s.
    let count = lab.datagrams - before;
    assert!((36..=44).contains(&count), "{count} datagrams in 30 s");
    lab.finish((0, a), (1, b));
}

#[test]
fn what_nobody_can_decrypt_keeps_no_connection_from_settling() {
    for content_type in [20, 21, 22, 23, 26] {
        let mut lab = Lab::new(1);
        for n in [0, 1] {
            lab.add_address(n, address(n, 1));
        }
        let (a, b) = lab.connect(0, 1).unwrap();
        lab.run(SECOND);
        let in_use = lab.ends[0].endpoint.ends(a).unwrap();
        let mut others = [0, 1].map(|n| (in_use.0, address(1, n))).into_iter();
        let pair = others.find(|it| *it != in_use).unwrap();
        assert!(lab.ends[0].endpoint.demux.is_known(&pair, a));
        let mut before = 0;
        for second in 0..60 {
            if second == 30 {
                before = lab.datagrams;
            }
            let header = [
                content_type,
                254,
                253,
                0,
                second % 2,
                0,
                0,
                0,
                0,
                9,
                second,
                0,
                87,
            ];
            let (now, forged) = (lab.now, [&header[..], &[7; 87]].concat());
            let endpoint = &mut lab.ends[0].endpoint;
            endpoint.handle_datagram(now, pair.0, pair.1, &forged);
            lab.collect(0);
            lab.run(SECOND);
        }
        let count = lab.datagrams - before;
        assert!((36..=44).contains(&count), "{count} datagrams in 30 s");
        lab.finish((0, a), (1, b));
    }
}

#[test]
fn when_the_path_in_use_dies_another_takes_its_place() {
    for seed in 0..50 {
        let (mut lab, a, b) = settled(seed);
        let idle = MS * lab.rng.random_range(0..20_000);
        lab.run(idle);
        let dead = lab.ends[0].endpoint.remote(a).unwrap();
        lab.dead.insert(dead);
        lab.run(SECOND * 9);
        let (begin, sent) = (lab.now, pattern(50_000));
        assert_eq!(lab.transfer((0, a), (1, b), &sent), sent, "seed {seed}");
        assert_eq!(lab.transfer((1, b), (0, a), &sent), sent, "seed {seed}");
        assert!(
            lab.now - begin < SECOND,
            "seed {seed}: {:?}",
            lab.now - begin
        );
        assert_ne!(lab.ends[0].endpoint.remote(a), Some(dead));
        lab.release(0, a);
        lab.release(1, b);
        lab.assert_empty();
    }
}

#[test]
fn a_settled_connection_survives_the_loss_of_the_address_it_uses() {
    for seed in 0..50 {
        let (mut lab, a, b) = settled(seed);
        let lost = lab.ends[0].endpoint.remote(a).unwrap();
        let now = lab.now;
        lab.ends[1].endpoint.remove_address(now, lost);
        lab.collect(1);
        lab.run(SECOND * 20);
        let sent = pattern(50_000);
        assert_eq!(lab.transfer((0, a), (1, b), &sent), sent, "seed {seed}");
        assert_eq!(lab.transfer((1, b), (0, a), &sent), sent, "seed {seed}");
        lab.release(0, a);
        lab.release(1, b);
        lab.assert_empty();
    }
}

#[test]
fn an_idle_end_wakes_up_ten_times_a_second_however_many_peers_it_has() {
    let mut lab = Lab::new(1);
    let mut links = Vec::new();
    for n in 1..100 {
        let n = if n == 1 { n } else { lab.add() };
        links.push((n, lab.connect(n, 0).unwrap()));
    }
    lab.run(SECOND * 30);
    let (end, mut wakes) = (lab.now + SECOND * 30, 0);
    while lab.now < end {
        let deadline = lab.ends[0].endpoint.next_deadline();
        lab.step();
        wakes += usize::from(deadline == Some(lab.now));
    }
    assert!(wakes <= 330, "{wakes} in 30 s");
    for (n, (theirs, ours)) in links {
        lab.release(n, theirs);
        lab.release(0, ours);
    }
    lab.assert_empty();
}

#[test]
fn of_a_set_up_is_said_once_that_it_has_a_path_or_comes_to_nothing() {
    let mut lab = Lab::new(1);
    let lost = lab.offer(0, 1);
    lab.ends[1].is_cut = true;
    lab.run(SECOND * 20);
    let at_other_end = |lab: &Lab, setup| lab.partners[&(0, setup)];
    let mut expected = vec![(0, lost), at_other_end(&lab, lost)];
    lab.failed.sort_unstable_by_key(|(n, _)| *n);
    assert_eq!(lab.failed, expected);

    lab.ends[1].is_cut = false;
    let given_up = lab.offer(0, 1);
    lab.command(0, Command::Abandon { setup: given_up });
    lab.run(SECOND * 20);
    expected.extend([(0, given_up), at_other_end(&lab, given_up)]);
    assert_eq!(lab.failed, expected);
    assert_eq!(lab.paths_found, []);

    let set_up = lab.offer(0, 1);
    let at_other_end = at_other_end(&lab, set_up);
    let mut a = None;
    assert!(lab.run_until(SECOND, |lab| {
        a = a.or_else(|| lab.ends[0].endpoint.dial(&set_up.peer));
        !lab.paths_found.is_empty()
    }));
    // Before it is secured.
    let a = a.unwrap();
    assert_eq!(lab.status(0, a), Status::Connecting);
    assert!(lab.ends[1].incoming.is_empty());
    lab.run(SECOND);
    assert_eq!(lab.status(0, a), Status::Connected);
    let b = lab.ends[1].incoming.pop_front().unwrap();
    lab.paths_found.sort_unstable_by_key(|(n, _)| *n);
    assert_eq!(lab.paths_found, [(0, set_up), at_other_end]);
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
    assert_eq!(lab.failed, expected);
}
