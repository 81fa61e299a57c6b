//! Set-ups that strangers bring about: how many there may be, and what becomes of those that fail.

use super::{
    signaling::{setup, strangers},
    *,
};
use crate::{
    config::{Limits, Rate},
    exchange::Input,
    signaling::{Command, Notice},
};

const MOST: usize = Limits::SETUPS_PER_INTRODUCER;

/// 0 and 2 both know 1, and nobody else; who brings how many is no matter.
fn generous() -> Sim {
    let mut sim = Sim::new(1);
    sim.has_signaling = true;
    let limits = Limits::default().with_introductions(Rate::new(1000, 1000));
    for _ in 0..3 {
        sim.add(config().with_limits(limits.clone()));
    }
    sim.star(1, 0..1);
    sim.star(1, 2..3);
    sim
}

/// Has `offers` strangers ask node 1 to connect, by the word of `introducer`. How many of them were answered,
/// and how many refused.
fn crowd(sim: &mut Sim, introducer: usize, first: usize, offers: usize) -> (usize, usize) {
    let counts = |sim: &Sim| {
        let refused = refusals(sim, 1, introducer);
        assert!(refused.iter().all(|reason| *reason == Refusal::Busy));
        let signals = sim.nodes[1].commands.iter();
        let answered = signals.filter(|it| matches!(it, Command::Answer { .. }));
        (answered.count(), refused.len())
    };
    let before = counts(sim);
    let link = sim.between(introducer, 1);
    for n in first..first + offers {
        let sdp = format!("offer {n} 0");
        let addresses = Vec::new();
        let offer = SignalContent::Offer(Description { sdp, addresses });
        let envelope = signed(sim, n, 1, n, offer);
        sim.say(introducer, link, signal(n, envelope));
    }
    sim.run(SECOND / 10);
    let after = counts(sim);
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn so_many_are_on_their_way_by_the_word_of_one_introducer() {
    for (offers, busy) in [(MOST - 1, 0), (MOST, 0), (MOST + 1, 1), (MOST + 16, 16)] {
        let mut sim = generous();
        heed_nothing(&mut sim, 0);
        heed_nothing(&mut sim, 2);
        assert_eq!(crowd(&mut sim, 0, 100, offers), (offers - busy, busy));
        // Each introducer has as much.
        assert_eq!(crowd(&mut sim, 2, 200, offers), (offers - busy, busy));
        // Until they may come no longer.
        let coming = offers - busy;
        sim.run(24 * SECOND);
        assert_eq!(crowd(&mut sim, 0, 300, MOST), (MOST - coming, coming));
        sim.run(SECOND);
        assert_eq!(crowd(&mut sim, 0, 400, MOST), (coming, MOST - coming));
        sim.run(26 * SECOND);
        sim.end();
    }
}

#[test]
fn a_set_up_that_has_failed_makes_room_for_another() {
    let mut sim = generous();
    heed_nothing(&mut sim, 0);
    assert_eq!(crowd(&mut sim, 0, 100, MOST + 1), (MOST, 1));
    for (n, number) in (100..).zip(0..3) {
        sim.notify(1, Notice::Failed(setup(n, number)));
    }
    sim.run(SECOND / 10);
    assert_eq!(crowd(&mut sim, 0, 200, 4), (3, 1));
    sim.run(26 * SECOND);
    sim.end();
}

#[test]
fn a_set_up_that_fails_before_it_is_described_is_answered_all_the_same() {
    let mut failed_early = 0;
    for seed in 0..20 {
        let mut sim = strangers(seed);
        heed_nothing(&mut sim, 0);
        let (link, sdp) = (sim.between(0, 1), "offer 100 0".to_owned());
        let addresses = Vec::new();
        let offer = SignalContent::Offer(Description { sdp, addresses });
        let envelope = signed(&sim, 100, 1, 100, offer);
        sim.say(0, link, signal(100, envelope));
        sim.run_until("an answer", |sim| !sim.nodes[1].commands.is_empty());
        let is_described = !signals(&sim, 1, 0).is_empty();
        let failed = Input::Signaling(Notice::Failed(setup(100, 0)));
        sim.tell(1, |core, now| core.handle(now, failed));
        sim.run(SECOND / 10);
        if !is_described {
            failed_early += 1;
            let answers = signals(&sim, 1, 0).into_iter().map(|body| body.content);
            assert_eq!(answers.collect::<Vec<_>>(), [answer_of(1)]);
        }
        sim.notify(1, Notice::Failed(setup(100, 0)));
        sim.run(26 * SECOND);
        sim.end();
    }
    assert!(failed_early > 10);
}
