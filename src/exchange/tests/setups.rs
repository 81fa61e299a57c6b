//! Set-ups that strangers bring about: how many there may be, who waits for its turn, and what becomes of those that
//! fail.

use super::{
    signaling::{abandoned, candidates, is_by_signals, setup, strangers},
    *,
};
use crate::{
    config::{Candidate, Incoming, Limits, Rate},
    exchange::{Exchange, Input, Output},
    signaling::{Command, Notice},
};

const MS: Duration = Duration::from_millis(1);
const MOST: usize = Limits::SETUPS_PER_INTRODUCER;

/// 0 and 2 both know 1, and nobody else, and say nothing; who brings how many is no matter.
fn generous() -> Sim {
    let mut sim = Sim::new(1);
    sim.has_signaling = true;
    let limits = Limits::default().with_introductions(Rate::new(1000, 1000));
    for _ in 0..3 {
        sim.add(config().with_limits(limits.clone()));
    }
    sim.star(1, 0..1);
    sim.star(1, 2..3);
    heed_nothing(&mut sim, 0);
    heed_nothing(&mut sim, 2);
    sim
}

/// At this moment `introducer` brings a signal to node 1.
fn bring(sim: &mut Sim, introducer: usize, signal: Frame) {
    let link = sim.between(introducer, 1);
    sim.tell(1, |core, now| core.handle(now, arrived(link, signal)));
}

fn offer(sim: &Sim, n: usize) -> Frame {
    let sdp = format!("offer {n} 0");
    let addresses = Vec::new();
    let offer = SignalContent::Offer(Description { sdp, addresses });
    signal(n, signed(sim, n, 1, n, offer))
}

/// Strangers ask node 1 to connect, all at this moment and by the word of `introducer`.
fn crowd(sim: &mut Sim, introducer: usize, strangers: impl Iterator<Item = usize>) {
    for n in strangers {
        let offer = offer(sim, n);
        bring(sim, introducer, offer);
    }
}

/// The transport of node 1 gives up a set-up.
fn fail(sim: &mut Sim, n: usize, number: u64) {
    sim.notify(1, Notice::Failed(setup(n, number)));
    sim.run(MS * 5);
}

/// With whom node 1 has begun a set-up, in this order.
fn begun(sim: &Sim) -> Vec<usize> {
    let commands = sim.nodes[1].commands.iter();
    let begun = commands.filter_map(|command| match command {
        Command::Answer { sdp, .. } => sdp.split(' ').nth(1)?.parse().ok(),
        _ => None,
    });
    begun.collect()
}

#[test]
fn so_many_are_on_their_way_by_the_word_of_one_introducer_and_the_others_wait() {
    for offers in [MOST - 1, MOST, MOST + 1, 6 * MOST] {
        let mut sim = generous();
        let began = sim.now;
        // Each introducer has as much.
        crowd(&mut sim, 0, 100..100 + offers);
        crowd(&mut sim, 2, 200..200 + offers);
        // Those that have begun give way each second, once they are answered.
        for turns in 1..=4 {
            let count = offers.min(turns * MOST);
            let gone = count - offers.min(MOST);
            for first in [100, 200] {
                let of_this = |n: &usize| (first..first + 100).contains(n);
                let mut now_begun: Vec<_> = begun(&sim).into_iter().filter(of_this).collect();
                now_begun.sort_unstable();
                assert_eq!(now_begun, Vec::from_iter(first..first + count));
                let of_earlier_turns = (first..first + (turns - 1) * MOST).map(peer);
                let of_earlier_turns = Vec::from_iter(of_earlier_turns);
                let who = abandoned(&sim, 1).into_iter();
                let who = who.filter(|setup| of_earlier_turns.contains(&setup.peer));
                assert_eq!(who.count(), gone);
            }
            assert_eq!(abandoned(&sim, 1).len(), 2 * gone);
            assert_eq!([refusals(&sim, 1, 0), refusals(&sim, 1, 2)], [[], []]);
            if turns < 4 {
                sim.run(began + Limits::SETUP_PATIENCE * turns as u32 - MS - sim.now);
                assert_eq!(begun(&sim).len(), 2 * count);
                sim.run(MS * 20); // for each answer takes some, too
            }
        }
        // They wait for so long, and no longer.
        sim.run(began + Limits::WAITING_TIME - sim.now - MS);
        assert_eq!([refusals(&sim, 1, 0), refusals(&sim, 1, 2)], [[], []]);
        sim.run(MS);
        let busy = vec![Refusal::Busy; offers - offers.min(4 * MOST)];
        let refused = [refusals(&sim, 1, 0), refusals(&sim, 1, 2)];
        assert_eq!(refused, [busy.clone(), busy]);
        sim.run(Limits::REPLAY_TIME);
        sim.end();
    }
}

#[test]
fn who_gets_no_further_for_a_second_gives_way_where_somebody_waits() {
    let mut sim = generous();
    let path_found = |sim: &mut Sim, n: usize| {
        sim.notify(1, Notice::PathFound(setup(n, n as u64 - 100)));
    };
    crowd(&mut sim, 0, 100..100 + MOST);
    sim.run(Limits::SETUP_PATIENCE - MS * 10);
    path_found(&mut sim, 101);
    sim.run(MS * 20);
    path_found(&mut sim, 104); // late
    sim.run(MS * 10);
    assert_eq!(abandoned(&sim, 1), []);
    // Two have found a path within the last second.
    crowd(&mut sim, 0, 200..200 + MOST);
    let late = [100, 102, 103, 105, 106, 107].map(|n| setup(n, n as u64 - 100));
    assert_eq!(abandoned(&sim, 1), late);
    let expected: Vec<_> = (100..100 + MOST).chain(200..206).collect();
    assert_eq!(begun(&sim), expected);
    // They have a second each from then on.
    sim.run(Limits::SETUP_PATIENCE - MS * 25);
    assert!(abandoned(&sim, 1).contains(&setup(101, 1)));
    assert_eq!(abandoned(&sim, 1).len(), late.len() + 1);
    sim.run(MS * 20);
    assert!(abandoned(&sim, 1).contains(&setup(104, 4)));
    assert_eq!(abandoned(&sim, 1).len(), late.len() + 2);
    assert_eq!(begun(&sim).len(), MOST + MOST);
    sim.run(Limits::REPLAY_TIME);
    sim.end();
}

#[test]
fn who_was_not_answered_yet_does_not_give_way() {
    let mut sim = generous();
    let link = sim.between(0, 1);
    let offers: Vec<_> = (100..=100 + MOST).map(|n| offer(&sim, n)).collect();
    // Its transport is slow: what the core asks of it is looked at here alone.
    let core = &mut sim.nodes[1].core;
    let mut now = sim.now;
    let asked = |core: &mut Exchange| {
        let outputs = std::iter::from_fn(|| core.poll_output());
        let commands = outputs.filter_map(|output| match output {
            Output::Signaling(Command::Answer { setup, .. }) => Some((true, setup)),
            Output::Signaling(Command::Abandon { setup }) => Some((false, setup)),
            _ => None,
        });
        commands.collect::<Vec<_>>()
    };
    for offer in offers {
        core.handle(now, arrived(link, offer));
    }
    let all: Vec<_> = (0..=MOST).map(|n| setup(100 + n, n as u64)).collect();
    let begun = all[..MOST].iter().map(|setup| (true, *setup));
    assert_eq!(asked(core), Vec::from_iter(begun));
    now += Limits::SETUP_PATIENCE * 2;
    core.handle_timeout(now);
    assert_eq!(asked(core), []);
    let (setup, sdp) = (all[1], Some("answer 1 1".to_owned()));
    let described = Notice::Described { setup, sdp };
    core.handle(now, Input::Signaling(described));
    now += Limits::SETUP_PATIENCE - MS;
    core.handle_timeout(now);
    assert_eq!(asked(core), []);
    now += MS;
    core.handle_timeout(now);
    assert_eq!(asked(core), [(false, all[1]), (true, all[MOST])]);
}

#[test]
fn those_that_wait_have_their_turn_as_others_are_done() {
    let mut sim = generous();
    crowd(&mut sim, 0, 100..100 + MOST + 6);
    sim.run(SECOND / 2);
    // Set-ups that have failed.
    for (n, number) in [(101, 1), (100, 0)] {
        fail(&mut sim, n, number);
    }
    assert_eq!(begun(&sim), Vec::from_iter(100..100 + MOST + 2));
    // One whose offerer had given up before its turn, and one that the offerer gives up.
    for n in [100 + MOST + 2, 102] {
        bring(&mut sim, 0, withdrawal(n, Refusal::Closing));
    }
    let served: Vec<_> = (100..100 + MOST + 2).chain([100 + MOST + 3]).collect();
    assert_eq!(begun(&sim), served);
    // One that is over already.
    fail(&mut sim, 102, 2);
    assert_eq!(begun(&sim), served);
    // What is refused on its turn takes none.
    sim.nodes[1].core.set_incoming(sim.now, Incoming::Refuse);
    fail(&mut sim, 103, 3);
    assert_eq!(begun(&sim), served);
    let rejected = signals(&sim, 1, 0).into_iter();
    let rejected = rejected.filter(|it| matches!(it.content, SignalContent::Reject(_)));
    assert_eq!(rejected.count(), 2);
    assert_eq!(refusals(&sim, 1, 0), []);
    sim.run(Limits::REPLAY_TIME);
    sim.end();
}

/// An offerer gives up, or an introducer does.
fn withdrawal(session: usize, reason: Refusal) -> Frame {
    let subject = Subject::Session(SessionId(id(session)));
    Frame::Refuse(Refuse { subject, reason })
}

#[test]
fn an_offer_that_waits_outlives_a_refusal_by_the_way_but_not_its_link() {
    let mut sim = generous();
    sim.nodes[0].lie = None;
    let [first, second] = [sim.between(0, 1), sim.connect(0, 1)];
    heed_nothing(&mut sim, 0);
    crowd(&mut sim, 0, 100..100 + MOST);
    // Both links of an introducer are one to this.
    for (n, link) in (200..).zip([first, first, second, first]) {
        let offer = offer(&sim, n);
        sim.tell(1, |core, now| core.handle(now, arrived(link, offer)));
    }
    assert_eq!(begun(&sim), Vec::from_iter(100..100 + MOST));
    bring(&mut sim, 0, withdrawal(200, Refusal::Gone));
    fail(&mut sim, 100, 0);
    assert_eq!(begun(&sim).last(), Some(&200));
    sim.cut(first);
    sim.run(MS * 100);
    for (n, number) in [(101, 1), (102, 2)] {
        fail(&mut sim, n, number);
    }
    assert_eq!(begun(&sim)[MOST..], [200, 202]);
    sim.run(Limits::REPLAY_TIME);
    sim.end();
}

#[test]
fn what_follows_an_offer_that_waits_is_told_on_its_turn() {
    let mut sim = generous();
    crowd(&mut sim, 0, 100..100 + MOST + 1);
    let last = 100 + MOST;
    let say = |sim: &mut Sim, n: usize, k: usize| {
        let candidate = SignalContent::IceCandidate(format!("{n} {k}"));
        let signal = signal(n, signed(sim, n, 1, n, candidate));
        bring(sim, 0, signal);
    };
    for k in 0..Limits::ICE_CANDIDATES + 1 {
        say(&mut sim, last, k);
    }
    assert_eq!(candidates(&sim, 1), Vec::<&str>::new());
    fail(&mut sim, 100, 0);
    assert_eq!(begun(&sim).last(), Some(&last));
    say(&mut sim, last, 100);
    let told = candidates(&sim, 1);
    let expected = (0..Limits::ICE_CANDIDATES).chain([100]);
    assert_eq!(
        told,
        Vec::from_iter(expected.map(|k| format!("{last} {k}")))
    );
    assert_eq!(refusals(&sim, 1, 0), []);
    sim.run(Limits::REPLAY_TIME);
    sim.end();
}

#[test]
fn so_much_waits_of_what_one_introducer_brings() {
    const LEN: usize = 8 * 1024;
    for (more, busy) in [(LEN - 1, 0), (LEN, 0), (LEN + 1, 1)] {
        let mut sim = generous();
        crowd(&mut sim, 0, 100..100 + MOST);
        let lens = std::iter::repeat_n(LEN, Limits::WAITING_OFFERS / LEN - 1);
        for (n, len) in (200..).zip(lens.chain([more])) {
            bring(&mut sim, 0, signal(n, Envelope(vec![0; len])));
        }
        assert_eq!(refusals(&sim, 1, 0), vec![Refusal::Busy; busy]);
        // What follows one is no offer, and lost.
        bring(&mut sim, 0, signal(200, Envelope(vec![0; LEN + 1])));
        assert_eq!(refusals(&sim, 1, 0).len(), busy);
        // None of it was one, and what follows such is not looked at.
        bring(&mut sim, 0, signal(201, Envelope(Vec::new())));
        fail(&mut sim, 100, 0);
        let refused = refusals(&sim, 1, 0);
        let bad = refused.iter().filter(|it| **it == Refusal::BadSignal);
        assert_eq!(bad.count(), Limits::WAITING_OFFERS / LEN - busy);
        sim.run(Limits::REPLAY_TIME);
        sim.end();
    }
}

/// A crowd asks at once to come to one candidate through one introducer, and as many as `lost` whom nobody reaches have
/// asked just before.
fn rush(seed: u64, askers: usize, lost: usize) {
    let mut sim = Sim::new(seed);
    sim.has_signaling = true;
    sim.add(config().with_candidates(|_: &_, _: &_, _| vec![Candidate::peer(peer(1))]));
    sim.add(config());
    for _ in 0..askers {
        sim.add(config().with_incoming(Incoming::Refuse));
    }
    sim.star(0, 1..2 + askers);
    crowd(&mut sim, 0, 1000..1000 + lost);
    let askers = 2..2 + askers;
    let queries: Vec<_> = askers.clone().map(|n| sim.start_query(n)).collect();
    sim.run(Limits::ANSWER_TIME);
    for (n, query) in askers.zip(queries) {
        assert_eq!(sim.outcome(n, query), Some(Ok(peer(1))), "seed {seed}");
        assert!(is_by_signals(&sim, n, 1), "seed {seed}");
    }
    sim.end();
}

#[test]
fn a_crowd_comes_through_one_introducer_to_one_candidate() {
    for seed in 0..20 {
        rush(seed, 64, 0);
    }
}

#[test]
fn a_crowd_is_not_held_up_by_those_whom_nobody_reaches() {
    for seed in 0..20 {
        rush(seed, 32, 16);
    }
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
