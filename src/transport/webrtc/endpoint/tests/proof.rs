//! Those who have dialed an address, or were dialed, and have not proven yet who they are.

use super::{associations::Siege, direct, *};
use crate::{
    config::Limits,
    transport::webrtc::endpoint::{
        Budget,
        association::sample::{self, FIRST, WHOLE},
    },
};

/// Both ways to come by.
const WAYS: [bool; 2] = [false, true];

fn unproven(is_dialed: bool) -> Siege {
    let mut lab = direct::lab(1);
    lab.delay = Duration::from_micros(10)..Duration::from_micros(20);
    Siege::unproven(lab, 0, is_dialed)
}

impl Siege {
    /// What our end holds, as it counts, after everything that a stranger can think of.
    fn held(&self) -> usize {
        let connection = &self.lab.ends[1].endpoint.connections[&self.us];
        assert!(connection.kept() <= connection.held());
        connection.held()
    }

    fn is_up(&self) -> bool {
        self.lab.status(1, self.us) == Status::Connected
    }

    /// Sends small chunks. What our end holds then.
    fn fills(&mut self, chunk: impl FnMut(&mut Self, usize) -> Vec<u8>) -> usize {
        assert_eq!(self.flood(5000, chunk), None);
        assert!(self.is_up());
        assert_eq!(self.lab.ends[1].endpoint.accept(self.us), None);
        self.held()
    }
}

#[test]
fn a_stranger_has_us_hold_8_kib_before_the_proof() {
    for is_dialed in WAYS {
        let fillings: [fn(&mut Siege, usize) -> Vec<u8>; 5] = [
            |it, n| it.data(0, 1 + n as u16, WHOLE, b"x"),
            |it, n| it.data(0, 2 + n as u16, WHOLE, b"x"),
            |it, n| it.data(0, 1, if n == 0 { FIRST } else { 0 }, b"x"),
            |it, n| it.data(2 * n as u16, 0, WHOLE, b"x"),
            |it, n| {
                let tsn = it.tsn.wrapping_add(1 + n as u32);
                sample::data(tsn, (0, 1 + n as u16), WHOLE, b"x")
            },
        ];
        for (which, filling) in fillings.into_iter().enumerate() {
            let held = unproven(is_dialed).fills(filling);
            assert!(held > Limits::UNPROVEN / 4, "{which}: {held}");
            assert!(held <= Limits::UNPROVEN, "{which}: {held}");
        }
    }
}

#[test]
fn a_crowd_of_strangers_holds_8_kib_each() {
    const STRANGERS: usize = 16;
    let mut lab = direct::lab(1);
    lab.delay = Duration::from_micros(10)..Duration::from_micros(20);
    let mut ours = Vec::new();
    for n in 0..STRANGERS {
        let end = lab.add();
        let (now, host) = (lab.now, format!("9.77.0.1:{}", 5000 + n));
        lab.ends[end].endpoint.remove_address(now, address(end, 0));
        lab.add_address(end, host.parse().unwrap());
        let mut siege = Siege::unproven(lab, end, false);
        siege.fills(|it, n| it.data(0, 2 + n as u16, WHOLE, b"x"));
        ours.push((end, siege.enemy, siege.us, siege.channel));
        lab = siege.lab;
    }
    let endpoint = &lab.ends[1].endpoint;
    let held: Vec<_> = ours
        .iter()
        .map(|(.., us, _)| endpoint.connections[us].held())
        .collect();
    assert!(held.iter().all(|held| *held <= Limits::UNPROVEN));
    assert_eq!(endpoint.budget.held(), held.iter().sum::<usize>());
    // An honest one comes by.
    let (a, b) = lab.connect_directly(0, 1);
    lab.believe((0, a));
    lab.believe((1, b));
    let sent = pattern(10_000);
    assert_eq!(lab.transfer((0, a), (1, b), &sent), sent);
    for (end, enemy, us, channel) in ours {
        lab.release(end, enemy);
        lab.release_channel(1, us, channel);
        lab.release(1, us);
    }
    lab.release(0, a);
    lab.release(1, b);
    lab.run(SECOND * 30);
    lab.ends[1].endpoint.assert_empty();
}

#[test]
fn a_proof_finds_room_though_others_hold_as_much_as_they_may() {
    let budget = Budget::default();
    let full: Vec<_> = (0..800).map(|_| budget.share()).collect();
    assert!(!full.iter().all(|share| share.hold(Limits::UNPROVEN)));
    let mut lab = direct::lab(1);
    lab.ends[1].endpoint.share_budget(budget);
    let (a, b) = lab.connect_directly(0, 1);
    let [at_a, at_b] = [(0, a), (1, b)].map(|(n, key)| lab.ends[n].endpoint.noise(key).unwrap().0);
    let proof = [0; 400];
    let says = |lab: &mut Lab| lab.write(0, a, at_a, &proof) == Write::Taken(400);
    assert!(lab.run_until(SECOND, says));
    let hears = |lab: &mut Lab| lab.read(1, b, at_b, &mut [0; 400]) == Read::Bytes(400);
    assert!(lab.run_until(MS * 100, hears));
}

/// A sound dialer may open its first channel before the listener has read its proof, and the other way round.
#[test]
fn a_channel_that_is_opened_early_waits_for_the_proof_and_no_longer() {
    for (from, to) in [(0, 1), (1, 0)] {
        for late in [0, 1, 5, 50, 500] {
            let mut lab = direct::lab(1);
            let (a, b) = lab.connect_directly(0, 1);
            let (key, other) = if from == 0 { (a, b) } else { (b, a) };
            // As after the words of a proof.
            lab.run(MS * 10);
            lab.believe((from, key));
            let opened = lab.open(from, key);
            lab.run(MS * late);
            assert_eq!(lab.ends[to].endpoint.accept(other), None);
            lab.believe((to, other));
            let begin = lab.now;
            let accepted = lab.accept(to, other);
            assert!(lab.run_until(SECOND, |lab| {
                lab.write(from, key, opened, b"hello") == Write::Taken(5)
            }));
            assert!(lab.run_until(SECOND, |lab| {
                lab.read(to, other, accepted, &mut [0; 5]) == Read::Bytes(5)
            }));
            let took = lab.now - begin;
            assert!(took < MS * 10, "{took:?} from {from}, {late} ms late");
        }
    }
}

#[test]
fn channels_that_find_no_room_before_the_proof_come_again() {
    const CHANNELS: usize = 200;
    let mut lab = direct::lab(1);
    let (a, b) = lab.connect_directly(0, 1);
    lab.run(MS * 10);
    lab.believe((0, a));
    for _ in 0..CHANNELS {
        lab.open(0, a);
    }
    lab.run(MS * 10);
    let held = lab.ends[1].endpoint.connections[&b].held();
    assert!(
        held > Limits::UNPROVEN_STREAMS / 2 && held <= Limits::UNPROVEN,
        "{held}"
    );
    lab.believe((1, b));
    for _ in 0..CHANNELS {
        lab.accept(1, b);
    }
    assert_eq!(lab.status(1, b), Status::Connected);
}
