//! Who is gone is noticed in time, and who is there is not taken for gone.

use super::*;

#[test]
fn a_vanished_peer_is_disconnected_within_ten_seconds_whether_idle_or_busy() {
    for seed in 0..1000 {
        let mut sim = strangers(seed);
        sim.run(Duration::from_millis(7 * seed));
        sim.vanish(1);
        let vanished = sim.now;
        let is_known = |sim: &Sim| disconnected(sim, 0) == 0;
        if seed.is_multiple_of(2) {
            sim.run_while(10 * SECOND, is_known);
        }
        while is_known(&sim) {
            drop(sim.tell(0, |core, now| core.get_new_peer(now, None)));
            sim.run_while(SECOND, is_known);
        }
        let time = sim.now - vanished;
        assert!(time <= 10 * SECOND, "seed {seed}: {time:?}");
        let is_silent = matches!(sim.link_errors(0)[..], [LinkError::Silent]);
        assert!(is_silent, "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_peer_that_was_silent_for_less_than_nine_seconds_stays() {
    for (silent, stays) in [(8_900, true), (9_100, false)] {
        let mut sim = Sim::with_nodes(1, 2);
        sim.delay = 1..2;
        let link = sim.connect(0, 1);
        sim.silence(1);
        // What was said last arrives now.
        sim.say(1, link, Frame::Ping(0));
        sim.run(Duration::from_millis(silent));
        sim.say(1, link, Frame::Ping(0));
        sim.run(SECOND / 10);
        assert_eq!(sim.peers(0) == [1], stays, "{silent} ms");
        sim.end();
    }
}

#[test]
fn a_vanished_peer_is_offered_to_nobody_and_its_connection_is_closed() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        sim.vanish(2);
        sim.run(10 * SECOND);
        let expected = QueryError::NoCandidates {
            asked: 1,
            full: 0,
            known: 0,
        };
        assert_eq!(sim.query(0), Err(expected), "seed {seed}");
        assert!(!sim.is_open(1, 2), "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_idle_link_lives_for_an_hour_on_a_ping_now_and_then() {
    let mut sim = Sim::with_nodes(1, 2);
    sim.connect(0, 1);
    sim.run(3600 * SECOND);
    assert!(sim.are_connected(0, 1));
    assert!(sim.nodes.iter().all(|node| node.events.len() == 1));
    assert!((800..1900).contains(&sim.sent(0, 1).count()));
    sim.end();
}

#[test]
fn a_node_that_slept_asks_its_peers_before_it_drops_them() {
    for seed in 0..200 {
        let mut sim = Sim::with_nodes(seed, 6);
        sim.star(0, 1..6);
        sim.run(Duration::from_millis(3000 + 10 * seed)); // a ping may be under way
        sim.now += 3600 * SECOND;
        sim.run(20 * SECOND);
        assert_eq!(sim.peers(0).len(), 5, "seed {seed}");
        assert_eq!(disconnected(&sim, 0), 0, "seed {seed}");
        sim.end();
    }
}
