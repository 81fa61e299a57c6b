//! What a few introducers can take from others by offers of peers that never come, by leaving and coming back, and by new
//! identities: nothing that others need.

use super::*;
use crate::{
    config::{Candidate, Incoming, Limits, View},
    event::Via,
    exchange::{Established, Input, Output, Side, sim::Lie},
    signaling::Command,
};

fn at_most(peers: usize) -> Config {
    config().with_limits(Limits::default().with_max_peers(peers))
}

fn add(sim: &mut Sim, count: usize, config: impl Fn() -> Config) {
    for _ in 0..count {
        sim.add(config());
    }
}

/// Names node 0 first.
fn introducer() -> Config {
    config().with_candidates(|_: &_, _: &_, _| vec![Candidate::peer(peer(0))])
}

/// An offer of a peer that will not come. Every second one asks for a set-up.
fn vain_offer(sim: &Sim, n: usize) -> Frame {
    let sdp = match n % 2 {
        0 => String::new(),
        _ => format!("offer {n} 0"),
    };
    let addresses = vec![address(n)];
    let offer = SignalContent::Offer(Description { sdp, addresses });
    signal(n, signed(sim, n, 0, n, offer))
}

/// Who floods node 0 with offers of peers that never come.
enum Flood {
    /// Some peers stay, and bring so many offers a second each.
    Stay(Vec<usize>, usize),
    /// Four times a second one peer comes, brings 64 offers and leaves: this one, or always another.
    Return(Option<usize>),
}

impl Flood {
    fn run(&self, sim: &mut Sim, seconds: usize) {
        match self {
            Self::Stay(introducers, per_second) => {
                for _ in 0..seconds * per_second {
                    for introducer in introducers {
                        bring(sim, *introducer, 1);
                    }
                    sim.run(SECOND / *per_second as u32);
                }
            }
            Self::Return(known) => {
                for _ in 0..4 * seconds {
                    let introducer = known.unwrap_or_else(|| mute(sim));
                    let link = sim.link(introducer, 0);
                    sim.run(SECOND / 8);
                    assert!(sim.peers(0).contains(&introducer));
                    bring(sim, introducer, 64);
                    sim.run(SECOND / 16);
                    sim.cut(link);
                    sim.run(SECOND / 16);
                }
            }
        }
    }
}

/// A node that comes, and says nothing of itself but hello.
fn mute(sim: &mut Sim) -> usize {
    let node = sim.add(config());
    sim.nodes[node].lie = Some(hello_only());
    node
}

fn hello_only() -> Lie {
    let is_hello = |frame: &Frame| matches!(frame, Frame::Hello(_) | Frame::Pong(_));
    Box::new(move |_, frame| Vec::from_iter(Some(frame).filter(is_hello)))
}

fn bring(sim: &mut Sim, introducer: usize, offers: usize) {
    let link = sim.between(introducer, 0);
    for _ in 0..offers {
        let next = 10_000 + sim.mint.lock().unwrap().len() % 50_000;
        let offer = vain_offer(sim, next);
        sim.say(introducer, link, offer);
    }
}

/// While the flood goes on, one comes to node 0 directly, and another by the word of node 1.
fn assert_reachable(sim: &mut Sim, flood: &Flood) {
    let [direct, introduced] = [(); 2].map(|()| sim.add(config().with_incoming(Incoming::Refuse)));
    sim.link(direct, 0);
    sim.link(introduced, 1);
    flood.run(sim, 1);
    assert!(sim.are_connected(direct, 0));
    let query = sim.start_query(introduced);
    flood.run(sim, 3);
    assert_eq!(sim.outcome(introduced, query), Some(Ok(peer(0))));
    sim.nodes[0].core.assert_bounded();
}

#[test]
fn offers_of_peers_that_never_come_keep_nobody_out() {
    for (max_peers, malicious, others) in [
        (512, 1, 200),
        (512, 2, 0),
        (512, 4, 0),
        (32, 1, 0),
        (32, 4, 0),
    ] {
        let mut sim = Sim::signaling(1, 0);
        sim.add(at_most(max_peers));
        sim.add(introducer());
        add(&mut sim, malicious + others, config);
        sim.star(0, 1..2 + malicious + others);
        (2..2 + malicious).for_each(|node| heed_nothing(&mut sim, node));
        let flood = Flood::Stay((2..2 + malicious).collect(), 16);
        flood.run(&mut sim, 30);
        (0..5).for_each(|_| assert_reachable(&mut sim, &flood));
        sim.end();
    }
}

#[test]
fn introducers_that_come_and_go_keep_nobody_out() {
    for returns in [true, false] {
        let mut sim = Sim::signaling(1, 0);
        sim.add(at_most(32));
        sim.add(introducer());
        sim.star(0, 1..2);
        let flood = Flood::Return(returns.then(|| mute(&mut sim)));
        flood.run(&mut sim, 10);
        (0..5).for_each(|_| assert_reachable(&mut sim, &flood));
        sim.end();
    }
}

/// A view of this age which has two peers, both of which have dialed it.
fn aged_view(age: u32, view: View) -> Sim {
    let mut sim = Sim::new(1);
    sim.add(config().with_view(view));
    sim.add(introducer());
    sim.add(config());
    sim.star(0, 1..3);
    sim.run(SECOND * age);
    heed_nothing(&mut sim, 2);
    sim
}

/// Returns how many offers of its node 0 has rejected over `introducer`.
fn rejected(sim: &Sim, introducer: usize) -> usize {
    let signals = signals(sim, 0, introducer).into_iter();
    let rejected = signals.filter(|body| matches!(body.content, SignalContent::Reject(_)));
    rejected.count()
}

#[test]
fn peers_that_never_come_do_not_fill_a_view() {
    for (age, chosen) in [(1, 6), (700, 6), (1, 0), (700, 0)] {
        let mut sim = aged_view(age, View::default().with_chosen(chosen));
        let flood = Flood::Stay(vec![2], 4);
        for _ in 0..30 {
            flood.run(&mut sim, 10);
            assert!(sim.nodes[0].core.accepts());
            // Of the honest ones, many do not come either.
            bring(&mut sim, 1, 1);
        }
        sim.run(SECOND);
        assert_eq!(rejected(&sim, 1), 0, "{age} s, {chosen} chosen");
        assert!(rejected(&sim, 2) > 900, "more than there are places");
        assert_reachable(&mut sim, &flood);
        sim.end();
    }
}

/// A view without a place that has grown, so that one may take the place of another.
fn full_view() -> Sim {
    let mut sim = Sim::new(1);
    sim.add(config().with_view(View::default().with_chosen(0)));
    sim.add(introducer());
    add(&mut sim, 11, config);
    // The first two are not in the younger half, which is to go.
    sim.star(0, 1..3);
    sim.star(0, 3..13);
    assert_eq!(sim.peers(0).len(), 12);
    sim.run(SECOND * 700);
    sim
}

#[test]
fn a_full_view_keeps_its_place_for_nobody_who_never_comes() {
    let mut sim = full_view();
    heed_nothing(&mut sim, 2);
    let flood = Flood::Stay(vec![2], 4);
    for is_due in [true, false, true] {
        flood.run(&mut sim, 30);
        assert_eq!(sim.nodes[0].core.accepts(), is_due);
        let asker = sim.add(config().with_incoming(Incoming::Refuse));
        sim.connect(asker, 1);
        let query = sim.start_query(asker);
        flood.run(&mut sim, 5);
        let is_found = sim.outcome(asker, query) == Some(Ok(peer(0)));
        assert_eq!(is_found, is_due);
        assert_eq!(sim.peers(0).len(), 12);
        if !is_due {
            sim.run(SECOND * 600);
        }
    }
    sim.end();
}

#[test]
fn of_two_that_come_for_one_place_the_second_is_refused() {
    for is_view in [false, true] {
        let mut sim = match is_view {
            true => full_view(),
            false => Sim::new(1),
        };
        if !is_view {
            sim.add(at_most(3));
            add(&mut sim, 2, introducer);
            sim.star(0, 1..3);
        }
        let full = sim.peers(0).len() + usize::from(!is_view);
        // Each by the word of an introducer of its own.
        let askers = [1, 2].map(|introducer| {
            let asker = sim.add(config());
            sim.connect(asker, introducer);
            asker
        });
        let links = [sim.between(1, 0), sim.between(2, 0)];
        let now = sim.now;
        for ((asker, link), n) in askers.into_iter().zip(links).zip(7..) {
            let offer = signal(n, signed(&sim, asker, 0, n, offer_of(asker)));
            sim.tell(0, |core, _| core.handle(now, arrived(link, offer)));
        }
        assert_eq!(
            [rejected(&sim, 1), rejected(&sim, 2)],
            [0, 0],
            "both are told to come"
        );
        for asker in askers {
            sim.connect(asker, 0);
        }
        let has_come = askers.map(|asker| sim.are_connected(asker, 0));
        assert_eq!((has_come, sim.peers(0).len()), ([true, false], full));
        let errors = sim.link_errors(askers[1]);
        assert!(
            matches!(errors[..], [LinkError::Refused(Refusal::Full)]),
            "{errors:?}"
        );
        assert!(!sim.is_open(askers[1], 0), "it was for this alone");
        sim.end();
    }
}

#[test]
fn only_an_introduced_peer_that_comes_spends_the_arrival_budget() {
    // Three at once, and one in 30 s.
    let mut sim = aged_view(1000, View::default().with_chosen(0).with_max_incoming(3));
    (0..5).for_each(|_| {
        bring(&mut sim, 2, 1);
        sim.run(26 * SECOND);
    });
    assert_eq!(rejected(&sim, 2), 0);
    for is_found in [true, true, true, false] {
        let asker = sim.add(config().with_incoming(Incoming::Refuse));
        sim.connect(asker, 1);
        assert_eq!(sim.query(asker).is_ok(), is_found);
        for other in [0, 1].into_iter().filter(|_| is_found) {
            sim.cut(sim.between(asker, other));
        }
        sim.run(SECOND);
    }
    sim.end();
}

/// A stranger connects to node 0. Returns true if it is not refused.
fn is_greeted(sim: &mut Sim, via: Via) -> bool {
    let connection = ConnectionId::new_unchecked(usize::MAX);
    let established = Established {
        connection,
        peer: peer(9_999),
        side: Side::Listener,
        remote: address(9_999),
        via,
    };
    let core = &mut sim.nodes[0].core;
    core.handle(sim.now, Input::Established(established));
    says_hello(sim, connection)
}

/// The link of a connection opens. Returns true if node 0 says hello. Then the connection ends.
fn says_hello(sim: &mut Sim, connection: ConnectionId) -> bool {
    let core = &mut sim.nodes[0].core;
    core.handle(sim.now, Input::LinkOpened { connection });
    let outputs: Vec<_> = std::iter::from_fn(|| core.poll_output()).collect();
    let is_hello = |output: &Output| match output {
        Output::Send { frame, .. } => matches!(frame, Frame::Hello(_)),
        _ => false,
    };
    let is_greeted = outputs.iter().any(is_hello);
    let error = None;
    core.handle(sim.now, Input::Closed { connection, error });
    while core.poll_output().is_some() {}
    is_greeted
}

#[test]
fn a_signaled_peer_needs_the_arrival_budget_though_its_introduction_is_over() {
    let mut sim = aged_view(1000, View::default().with_chosen(0).with_max_incoming(3));
    for left in (0..3).rev() {
        assert!(is_greeted(&mut sim, Via::Signaled));
        sim.tell(0, |core, now| core.note_arrival(now));
        let is_left = is_greeted(&mut sim, Via::Signaled);
        assert_eq!(
            (is_left, is_greeted(&mut sim, Via::Direct)),
            (left > 0, true)
        );
    }
    sim.end();
}

#[test]
fn one_introducer_has_as_many_expected_as_there_are_places_free() {
    for (offers, full) in [(28, 0), (29, 0), (30, 1)] {
        let mut sim = Sim::with_nodes(1, 0);
        sim.add(at_most(32));
        add(&mut sim, 3, config);
        sim.star(0, 1..4);
        (1..4).for_each(|node| heed_nothing(&mut sim, node));
        bring(&mut sim, 1, offers);
        sim.run(SECOND);
        assert_eq!(rejected(&sim, 1), full, "{offers}");
        bring(&mut sim, 2, 29);
        sim.run(SECOND);
        assert_eq!(rejected(&sim, 2), 0, "another has places of its own");
        sim.nodes[0].core.assert_bounded();
        sim.end();
    }
}

#[test]
fn the_introducer_with_the_most_expected_loses_the_oldest() {
    let mut sim = Sim::with_nodes(1, 0);
    sim.add(at_most(8));
    add(&mut sim, 3, config);
    sim.star(0, 1..4);
    (1..4).for_each(|node| heed_nothing(&mut sim, node));
    let expected =
        |sim: &Sim| [1, 2, 3].map(|n| sim.nodes[0].core.answers.expected_by(&peer(n), &peer(0)));
    for (introducer, after) in [
        (1, [1, 0, 0]),
        (1, [2, 0, 0]),
        (1, [3, 0, 0]),
        (1, [4, 0, 0]),
        (1, [5, 0, 0]),
        (1, [5, 0, 0]),
        (2, [5, 1, 0]),
        (2, [5, 2, 0]),
        (2, [5, 3, 0]),
        (2, [4, 4, 0]),
        (3, [3, 4, 1]),
        (3, [3, 3, 2]),
    ] {
        bring(&mut sim, introducer, 1);
        sim.run(SECOND);
        assert_eq!(expected(&sim), after);
        sim.nodes[0].core.assert_bounded();
    }
    // The places of those that leave are one's.
    for introducer in [1, 2] {
        sim.cut(sim.between(introducer, 0));
    }
    sim.run(SECOND);
    for after in [3, 4, 5, 5] {
        bring(&mut sim, 3, 1);
        sim.run(SECOND);
        assert_eq!(expected(&sim), [0, 0, after]);
    }
    sim.end();
}

#[test]
fn introducers_that_have_left_share_the_set_ups_of_one() {
    const MOST: usize = Limits::SETUPS_PER_INTRODUCER;
    for (more, given_up) in [(MOST - 1, 0), (MOST, 0), (MOST + 1, 1), (2 * MOST, MOST)] {
        let mut sim = Sim::signaling(1, 3);
        sim.star(0, 1..3);
        (1..3).for_each(|node| heed_nothing(&mut sim, node));
        for (introducer, offers) in [(1, more.min(MOST)), (2, more - more.min(MOST))] {
            let link = sim.between(introducer, 0);
            for n in 0..offers {
                let n = 1001 + 2 * n + 100 * introducer;
                let offer = vain_offer(&sim, n);
                sim.tell(0, |core, now| core.handle(now, arrived(link, offer)));
            }
        }
        for introducer in [1, 2] {
            sim.cut(sim.between(introducer, 0));
        }
        sim.run(SECOND / 2);
        let commands = sim.nodes[0].commands.iter();
        let abandoned = commands.filter(|it| matches!(it, Command::Abandon { .. }));
        assert_eq!(abandoned.count(), given_up, "{more}");
        sim.nodes[0].core.assert_bounded();
        sim.run(60 * SECOND);
        sim.end();
    }
}

/// Node 0 has no address, and knows so many that say nothing.
fn without_addresses(others: usize) -> Sim {
    let mut sim = Sim::with_nodes(1, others + 1);
    sim.star(0, 1..others + 1);
    sim.tell(0, |core, now| {
        core.handle(now, Input::Addresses(Vec::new()))
    });
    (1..others + 1).for_each(|node| heed_nothing(&mut sim, node));
    sim
}

/// At this moment node 0 gets some offers from an introducer. Returns how many dials that brings.
fn dials_for(sim: &mut Sim, introducer: usize, offers: std::ops::Range<usize>) -> usize {
    let before = sim.nodes[0].dialed.len();
    let link = sim.between(introducer, 0);
    for n in offers {
        let offer = vain_offer(sim, 1000 + 2 * n + 100 * introducer);
        sim.tell(0, |core, now| core.handle(now, arrived(link, offer)));
    }
    sim.nodes[0].dialed.len() - before
}

#[test]
fn one_introducer_leaves_others_their_dials_to_offerers() {
    const EACH: usize = Limits::DIALS_BACK;
    const ENOUGH: usize = Limits::ALL_DIALS_BACK / EACH;
    let mut sim = without_addresses(ENOUGH + 2);
    for introducer in 1..ENOUGH {
        let dialed = dials_for(&mut sim, introducer, 0..2 * EACH);
        assert_eq!(dialed, EACH, "{introducer}");
    }
    for (introducer, dialed) in [(ENOUGH, 1), (ENOUGH + 1, 1), (ENOUGH + 2, 0)] {
        assert_eq!(dials_for(&mut sim, introducer, 0..1), dialed);
    }
    sim.run(60 * SECOND);
    assert_eq!(dials_for(&mut sim, 1, 10..14), EACH, "the others are over");
    sim.run(60 * SECOND);
    sim.end();
}

#[test]
fn dials_to_offerers_count_before_they_have_begun() {
    let mut sim = without_addresses(1);
    let link = sim.between(1, 0);
    let offers: Vec<_> = (0..8).map(|n| vain_offer(&sim, 1100 + 2 * n)).collect();
    sim.tell(0, |core, now| {
        for offer in offers {
            core.handle(now, arrived(link, offer));
        }
    });
    assert_eq!(sim.nodes[0].dialed.len(), Limits::DIALS_BACK);
    sim.run(60 * SECOND);
    sim.end();
}

#[test]
fn an_offerer_that_is_dialed_needs_a_place_though_its_offer_has_ended() {
    for (others, has_place) in [(0, true), (1, false)] {
        let mut sim = Sim::with_nodes(1, 0);
        sim.add(at_most(2));
        add(&mut sim, 2, config);
        sim.star(0, 1..2);
        heed_nothing(&mut sim, 1);
        sim.tell(0, |core, now| {
            core.handle(now, Input::Addresses(Vec::new()))
        });
        assert_eq!(dials_for(&mut sim, 1, 0..1), 1);
        let core = &mut sim.nodes[0].core;
        let (connection, dial) = core.dials.iter().next().unwrap();
        let (connection, peer) = (*connection, dial.peer);
        let established = Established {
            connection,
            peer,
            side: Side::Dialer,
            remote: address(1100),
            via: Via::Direct,
        };
        core.handle(sim.now, Input::Established(established));
        let link = sim.between(1, 0);
        let subject = Subject::Session(SessionId(id(1100)));
        let reason = Refusal::Closing;
        let withdrawn = Frame::Refuse(Refuse { subject, reason });
        sim.tell(0, |core, now| core.handle(now, arrived(link, withdrawn)));
        assert_eq!(sim.nodes[0].core.answers.len(), 0);
        for _ in 0..others {
            sim.link(2, 0);
        }
        sim.run(SECOND);
        assert_eq!(sim.nodes[0].core.roster.len(), 1 + others);
        assert_eq!(says_hello(&mut sim, connection), has_place);
    }
}

#[test]
fn dials_to_offerers_count_though_their_offers_have_ended() {
    for comes_back in [false, true] {
        let mut sim = without_addresses(1);
        let mut dialed = 0;
        for round in 0..4 {
            dialed += dials_for(&mut sim, 1, 4 * round..4 * round + 4);
            let link = sim.between(1, 0);
            for n in 4 * round..4 * round + 4 {
                let subject = Subject::Session(SessionId(id(1000 + 2 * n + 100)));
                let reason = Refusal::Closing;
                let withdrawn = Frame::Refuse(Refuse { subject, reason });
                sim.tell(0, |core, now| core.handle(now, arrived(link, withdrawn)));
            }
            assert_eq!(sim.nodes[0].core.answers.len(), 0);
            if comes_back {
                sim.cut(link);
                sim.run(SECOND / 50);
                sim.link(1, 0);
                sim.run(SECOND / 50);
            }
        }
        assert_eq!(dialed, Limits::DIALS_BACK);
        sim.run(60 * SECOND);
        sim.end();
    }
}
