//! Connections that are set up by signals: what travels between the two transports, who can meddle
//! with it, and that nothing is left behind. (In half of the other worlds the nodes signal, too.)

use libp2p::Multiaddr;

use super::{liars::is_refused, *};
use crate::{
    config::Incoming,
    error::{AttemptError, SignalError},
    exchange::{Input, sim::Lie},
    id::Salt,
    message::Hello,
    reach::Reach,
    signaling::{Command, Notice, SetupId},
};

/// 0 and 2 both know 1, and nobody else; all signal.
pub(super) fn strangers(seed: u64) -> Sim {
    let mut sim = Sim::signaling(seed, 3);
    sim.star(1, 0..1);
    sim.star(1, 2..3);
    sim
}

/// Nobody can dial a node, nor give its address away.
pub(super) fn hide(sim: &mut Sim, node: usize) {
    sim.nodes[node].is_reachable = false;
    sim.tell(node, |core, now| {
        core.handle(now, Input::Addresses(Vec::new()));
    });
}

/// The descriptions that `from` signed, and for whom.
fn descriptions(sim: &Sim, from: usize) -> Vec<Description> {
    let bodies = signals(sim, from, 1).into_iter();
    let described = bodies.filter_map(|body| match body.content {
        SignalContent::Offer(description) | SignalContent::Answer(description) => Some(description),
        _ => None,
    });
    described.collect()
}

pub(super) fn abandoned(sim: &Sim, node: usize) -> Vec<SetupId> {
    let commands = sim.nodes[node].commands.iter();
    let abandoned = commands.filter_map(|command| match command {
        Command::Abandon { setup } => Some(*setup),
        _ => None,
    });
    abandoned.collect()
}

/// The candidates that a node's transport was told of.
pub(super) fn candidates(sim: &Sim, node: usize) -> Vec<&str> {
    let commands = sim.nodes[node].commands.iter();
    let candidates = commands.filter_map(|command| match command {
        Command::Candidate { candidate, .. } => Some(candidate.as_str()),
        _ => None,
    });
    candidates.collect()
}

/// Whether the connection between two nodes was set up by signals.
pub(super) fn is_by_signals(sim: &Sim, a: usize, b: usize) -> bool {
    sim.is_signaled(sim.between(a, b))
}

pub(super) fn setup(peer: usize, number: u64) -> SetupId {
    let peer = self::peer(peer);
    SetupId { peer, number }
}

#[test]
fn both_ends_are_described_and_the_signaled_way_is_dialed_before_any_other() {
    for seed in 0..300 {
        let mut sim = strangers(seed);
        assert_eq!(sim.query(0), Ok(peer(2)), "seed {seed}");
        sim.run(SECOND);
        assert!(is_by_signals(&sim, 0, 2), "seed {seed}");
        let (reach, setups) = (Reach::Global, [setup(2, 0), setup(0, 0)]);
        let [offer, answer] = ["offer 0 0", "answer 2 0"].map(str::to_owned);
        let is_not_candidate = |command: &&Command| !matches!(command, Command::Candidate { .. });
        let commands = |node: usize| -> Vec<_> {
            let commands = sim.nodes[node].commands.iter();
            commands.filter(is_not_candidate).cloned().collect()
        };
        let offered = Command::Offer {
            setup: setups[0],
            reach,
        };
        let accepted = Command::Accept {
            setup: setups[0],
            sdp: answer.clone(),
        };
        let answered = Command::Answer {
            setup: setups[1],
            reach,
            sdp: offer.clone(),
        };
        assert_eq!(commands(0), [offered, accepted], "seed {seed}");
        assert_eq!(commands(2), [answered], "seed {seed}");
        for (node, sdp) in [(0, offer), (2, answer)] {
            let addresses = vec![address(node)];
            assert_eq!(descriptions(&sim, node), [Description { sdp, addresses }]);
        }
        let dialed = sim.nodes[0].dialed.last().unwrap();
        let expected: [Multiaddr; 2] = [
            format!("/webrtc/p2p/{}", peer(2)).parse().unwrap(),
            address(2),
        ];
        assert_eq!(*dialed, expected, "seed {seed}");
        let origin = Origin::Introduced { by: peer(1) };
        assert!(connected(&sim, 2).contains(&(0, origin)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn who_cannot_be_dialed_at_all_is_reached_by_signals() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        hide(&mut sim, 0);
        hide(&mut sim, 2);
        assert_eq!(sim.query(0), Ok(peer(2)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn where_a_signaled_connection_does_not_come_about_the_addresses_are_used() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        sim.nodes[2].is_punchable = false;
        assert_eq!(sim.query(0), Ok(peer(2)), "seed {seed}");
        sim.run(SECOND);
        assert!(!is_by_signals(&sim, 0, 2), "seed {seed}");
        assert_eq!(abandoned(&sim, 0), [setup(2, 0)], "seed {seed}");
        assert_eq!(abandoned(&sim, 2), [setup(0, 0)], "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_end_that_describes_nothing_is_met_at_its_addresses_or_dials_back() {
    for seed in 0..400 {
        let (silent, is_hidden) = (2 * (seed as usize % 2), seed % 4 >= 2);
        let mut sim = strangers(seed);
        sim.nodes[silent].describes = false;
        if is_hidden {
            hide(&mut sim, 2);
        }
        assert_eq!(sim.query(0), Ok(peer(2)), "seed {seed}");
        sim.run(SECOND);
        assert!(!is_by_signals(&sim, 0, 2), "seed {seed}");
        let without = |description: &Description| description.sdp.is_empty();
        assert!(descriptions(&sim, 2).iter().all(without), "seed {seed}");
        let is_offer_without = descriptions(&sim, 0).iter().all(without);
        assert_eq!(is_offer_without, silent == 0, "seed {seed}");
        let has_unused = usize::from(silent == 2);
        assert_eq!(abandoned(&sim, 0).len(), has_unused, "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_node_that_signals_and_one_that_does_not_meet_at_addresses() {
    for seed in 0..200 {
        let mut sim = Sim::new(seed);
        for node in 0..3 {
            sim.has_signaling = node == 2 * (seed as usize % 2);
            sim.add(config());
        }
        sim.star(1, 0..1);
        sim.star(1, 2..3);
        assert_eq!(sim.query(0), Ok(peer(2)), "seed {seed}");
        sim.end();
    }
}

#[test]
fn near_candidates_are_asked_for_through_near_introducers_only() {
    for (remote, reach) in [
        ("/webrtc".parse().unwrap(), Reach::Global),
        (
            "/ip4/127.0.0.1/udp/1/webrtc".parse().unwrap(),
            Reach::Machine,
        ),
        ("/ip4/10.0.0.1/udp/1/webrtc".parse().unwrap(), Reach::Site),
        ("/ip4/9.9.9.9/udp/1/webrtc".parse().unwrap(), Reach::Global),
    ] {
        let mut sim = strangers(1);
        for (node, other) in [(0, 1), (2, 1)] {
            let connection = sim.between(node, other);
            let remote = Multiaddr::clone(&remote);
            sim.tell(node, |core, now| {
                core.handle(now, Input::Moved { connection, remote });
            });
        }
        sim.query(0).unwrap();
        sim.run(SECOND);
        for node in [0, 2] {
            let asked = match &sim.nodes[node].commands[0] {
                Command::Offer { reach, .. } | Command::Answer { reach, .. } => *reach,
                other => panic!("{other:?}"),
            };
            assert_eq!(asked, reach);
        }
        sim.end();
    }
}

/// Changes those signals to one node that somebody is named for, who signs them instead.
fn changing(
    sim: &Sim,
    node: usize,
    mut change: impl FnMut(&mut SignalBody) -> Option<usize> + 'static,
) -> Lie {
    let mint = sim.mint.clone();
    Box::new(move |to, frame| match frame {
        Frame::Signal(signal) if to == node => {
            let (_, mut body) = read(&mint, &signal.envelope).unwrap();
            let envelope = match change(&mut body) {
                Some(forger) => forge(&mint, peer(forger), body),
                None => signal.envelope,
            };
            vec![Frame::Signal(Signal { envelope, ..signal })]
        }
        frame => vec![frame],
    })
}

#[test]
fn an_introducer_that_swaps_a_description_has_to_sign_it_and_is_refused() {
    for seed in 0..200 {
        let mut sim = strangers(seed);
        let victim = 2 * (seed as usize % 2);
        sim.nodes[1].lie = Some(changing(&sim, victim, |body| {
            let (SignalContent::Offer(ours) | SignalContent::Answer(ours)) = &mut body.content
            else {
                return None;
            };
            ours.sdp = "answer 1 0".to_owned();
            Some(1)
        }));
        let error = sim.query(0).unwrap_err();
        match victim {
            // it stands in for 0, whom it can only name as itself
            2 => assert!(
                is_refused(&error, Refusal::BadSignal),
                "seed {seed}: {error:?}"
            ),
            _ => assert!(
                matches!(
                    error,
                    QueryError::Unreachable {
                        last: AttemptError::BadAnswer(SignalError::Signer),
                        ..
                    }
                ),
                "seed {seed}: {error:?}"
            ),
        }
        assert!(!sim.are_connected(0, 2), "seed {seed}");
        let accepts = |command: &Command| matches!(command, Command::Accept { .. });
        assert!(!sim.nodes[0].commands.iter().any(accepts), "seed {seed}");
        sim.end();
    }
}

/// The session and the exchange of the first signal that one node sent to another.
fn negotiation(sim: &Sim, from: usize, to: usize) -> (SessionId, ExchangeId) {
    let mut signals = sim.sent(from, to).filter_map(|frame| match frame {
        Frame::Signal(signal) => Some(signal),
        _ => None,
    });
    let signal = signals.next().unwrap();
    let (_, body) = read(&sim.mint, &signal.envelope).unwrap();
    (signal.session, body.exchange)
}

/// A candidate as `signer` signs it, altered where it is checked.
fn candidate_of(
    sim: &Sim,
    signer: usize,
    to: usize,
    exchange: ExchangeId,
    altered: usize,
) -> Envelope {
    let signed_by = if altered == 1 { 3 } else { signer };
    let exchange = if altered == 2 {
        ExchangeId(id(7))
    } else {
        exchange
    };
    let name = if altered == 3 { "other" } else { "net" };
    let body = SignalBody {
        to: peer(if altered == 4 { 3 } else { to }),
        exchange,
        network: NetworkTag::new(&peer(signer), exchange.salt(), &network(name)),
        content: SignalContent::IceCandidate(format!("altered {altered}")),
    };
    match altered {
        5 => Envelope(b"altered".to_vec()),
        _ => forge(&sim.mint, peer(signed_by), body),
    }
}

/// An exchange of 0 with 2 in which 0 dials for a while to come; its session with `end`.
fn dialing(seed: u64, end: usize) -> (Sim, ConnectionId, SessionId, ExchangeId) {
    let mut sim = strangers(seed);
    sim.delay = 1..2;
    let query = sim.start_query(0);
    sim.run_until("a dial", |sim| !sim.nodes[0].dialed.is_empty());
    assert_eq!(sim.outcome(0, query), None);
    let (session, exchange) = match end {
        0 => negotiation(&sim, 0, 1),
        _ => negotiation(&sim, 1, 2),
    };
    let link = sim.between(end, 1);
    (sim, link, session, exchange)
}

#[test]
fn each_end_learns_of_the_addresses_that_the_other_finds() {
    let mut told = 0;
    for seed in 0..100 {
        let mut sim = strangers(seed);
        sim.query(0).unwrap();
        for (node, expected) in [(0, "candidate:2 0"), (2, "candidate:0 0")] {
            let candidates = candidates(&sim, node);
            assert!(candidates.iter().all(|candidate| *candidate == expected));
            assert!(candidates.len() <= 1, "seed {seed}");
            told += candidates.len();
        }
        sim.end();
    }
    // those that come before the description are lost, or are in it
    assert!((50..150).contains(&told), "{told}");
}

#[test]
fn a_candidate_is_passed_on_if_it_holds_and_ends_nothing_if_it_does_not() {
    for (seed, end) in (0..100).flat_map(|seed| [(seed, 0), (seed, 2)]) {
        let (mut sim, link, session, exchange) = dialing(seed, end);
        for altered in [1, 2, 3, 4, 5, 0] {
            let envelope = candidate_of(&sim, 2 - end, end, exchange, altered);
            sim.say(1, link, Frame::Signal(Signal { session, envelope }));
        }
        sim.run(SECOND);
        let told = candidates(&sim, end).into_iter();
        let told: Vec<_> = told.filter(|told| told.starts_with("altered")).collect();
        assert_eq!(told, ["altered 0"], "seed {seed}");
        assert_eq!(refusals(&sim, end, 1), [], "seed {seed}");
        assert!(sim.are_connected(0, 2), "seed {seed}");
        sim.end();
    }
}

#[test]
fn a_candidate_that_comes_before_the_answer_is_passed_on() {
    let mut sim = strangers(1);
    sim.silence(2);
    sim.start_query(0);
    sim.run(SECOND);
    let (session, exchange) = negotiation(&sim, 0, 1);
    let envelope = candidate_of(&sim, 2, 0, exchange, 0);
    let link = sim.between(0, 1);
    sim.say(1, link, Frame::Signal(Signal { session, envelope }));
    sim.run(SECOND);
    assert_eq!(candidates(&sim, 0), ["altered 0"]);
    sim.run(10 * SECOND);
    assert_eq!(abandoned(&sim, 0), [setup(2, 0)]);
    sim.end();
}

#[test]
fn of_a_flood_of_candidates_thirty_two_signals_are_looked_at() {
    for end in [0, 2] {
        for candidates_sent in [20, 60] {
            let (mut sim, link, session, exchange) = dialing(1, end);
            for _ in 0..candidates_sent {
                let envelope = candidate_of(&sim, 2 - end, end, exchange, 0);
                sim.say(1, link, Frame::Signal(Signal { session, envelope }));
            }
            sim.run(SECOND / 50);
            let told = candidates(&sim, end).len();
            // the answer was looked at, too
            let most = if end == 0 { 31 } else { 32 };
            assert!((candidates_sent.min(most)..=most).contains(&told), "{told}");
            assert_eq!(refusals(&sim, end, 1), []);
            sim.run(SECOND);
            assert!(sim.are_connected(0, 2));
            sim.end();
        }
    }
}

#[test]
fn a_transport_that_finds_many_addresses_does_not_end_its_session() {
    for end in [0, 2] {
        let (mut sim, ..) = dialing(1, end);
        let number = 0;
        let setup = SetupId {
            peer: peer(2 - end),
            number,
        };
        for n in 0..100 {
            let candidate = format!("candidate {n}");
            sim.notify(end, Notice::Candidate { setup, candidate });
        }
        sim.run(SECOND / 20);
        assert_eq!(signals(&sim, end, 1).len(), 32);
        assert_eq!(refusals(&sim, 1, end), []);
        sim.run(SECOND);
        assert!(sim.are_connected(0, 2));
        sim.end();
    }
}

#[test]
fn notices_about_set_ups_that_are_over_or_never_were_mean_nothing() {
    for seed in 0..50 {
        let mut sim = strangers(seed);
        sim.query(0).unwrap();
        sim.run(SECOND);
        let before = [0, 2].map(|node| signals(&sim, node, 1).len());
        for (node, other) in [(0, 2), (2, 0), (0, 1), (1, 0)] {
            for number in [0, 1, u64::MAX] {
                let (setup, text) = (setup(other, number), "late".to_owned());
                let sdp = Some(text.clone());
                sim.notify(node, Notice::Described { setup, sdp });
                sim.notify(node, Notice::Described { setup, sdp: None });
                let candidate = text;
                sim.notify(node, Notice::Candidate { setup, candidate });
                sim.notify(node, Notice::Failed(setup));
            }
        }
        sim.run(SECOND);
        assert_eq!([0, 2].map(|node| signals(&sim, node, 1).len()), before);
        assert!(sim.are_connected(0, 2), "seed {seed}");
        sim.end();
    }
}

#[test]
fn the_offer_that_yields_is_abandoned_and_the_other_answered() {
    let mut crossed = 0;
    for seed in 0..200 {
        let mut sim = strangers(seed);
        let queries = [(0, sim.start_query(0)), (2, sim.start_query(2))];
        sim.run(5 * SECOND);
        for (node, query) in queries {
            assert_eq!(
                sim.outcome(node, query),
                Some(Ok(peer(2 - node))),
                "seed {seed}"
            );
        }
        assert!(is_by_signals(&sim, 0, 2), "seed {seed}");
        assert_eq!(sim.connections_between(0, 2), 1, "seed {seed}");
        assert_eq!(abandoned(&sim, 2), [], "seed {seed}");
        let offers = |command: &Command| matches!(command, Command::Offer { .. });
        let yielded = sim.nodes[0].commands.iter().any(offers);
        if yielded && sim.nodes[2].commands.iter().any(offers) {
            assert_eq!(abandoned(&sim, 0), [setup(2, 0)], "seed {seed}");
            crossed += 1;
        }
        sim.end();
    }
    assert!(crossed > 100, "{crossed}");
}

/// How an attempt may end before there is a connection.
const ENDS: [fn(&mut Sim); 5] = [
    // it is refused, by a candidate of which the introducer does not know that it would
    |sim| {
        sim.nodes[2].lie = Some(Box::new(|_, frame| match frame {
            Frame::Update(_) => Vec::new(),
            frame => vec![frame],
        }));
        sim.tell(2, |core, now| core.set_incoming(now, Incoming::Refuse));
    },
    |sim| sim.vanish(2),
    |sim| sim.vanish(1),
    |sim| sim.cut(sim.between(0, 1)),
    |sim| sim.tell(0, |core, now| core.close(now)),
];

#[test]
fn whatever_ends_an_attempt_its_set_up_is_abandoned() {
    for seed in 0..500 {
        let mut sim = strangers(seed);
        let (end, steps) = (ENDS[seed as usize % 5], seed as usize / 5 % 3);
        let offers = |sim: &Sim| sim.nodes[0].commands.is_empty();
        if seed % 5 == 0 {
            end(&mut sim);
        }
        let query = sim.start_query(0);
        sim.run_while(SECOND, offers);
        let sent = sim.nodes[1].sent.len() + steps;
        sim.run_while(SECOND / 2, |sim| sim.nodes[1].sent.len() < sent);
        let is_over = |sim: &Sim| sim.are_connected(0, 2);
        if seed % 5 != 0 {
            end(&mut sim);
        }
        sim.run(40 * SECOND);
        assert!(sim.outcome(0, query).is_some(), "seed {seed}");
        if !is_over(&sim) && sim.nodes[0].dialed.is_empty() {
            assert_eq!(abandoned(&sim, 0), [setup(2, 0)], "seed {seed}");
        }
        sim.end(); // where no set-up is left
    }
}

#[test]
fn an_offerer_that_does_not_come_is_given_up_with_its_introduction() {
    for seed in 0..100 {
        let mut sim = strangers(seed);
        sim.start_query(0);
        sim.run_until("an answer", |sim| !descriptions(sim, 2).is_empty());
        sim.vanish(0);
        sim.run(24 * SECOND);
        assert_eq!(abandoned(&sim, 2), [], "seed {seed}");
        sim.run(2 * SECOND);
        assert_eq!(abandoned(&sim, 2), [setup(0, 0)], "seed {seed}");
        sim.end();
    }
}

/// What 100 offers by signals.
fn signaled_offer(sdp: &str) -> SignalContent {
    let (sdp, addresses) = (sdp.to_owned(), vec![address(100)]);
    SignalContent::Offer(Description { sdp, addresses })
}

#[test]
fn a_new_offer_of_the_same_peer_replaces_its_introduction_and_set_up() {
    let mut sim = strangers(1);
    sim.silence(1);
    let link = sim.between(1, 2);
    for n in 0..5 {
        let envelope = signed(&sim, 100, 2, n, signaled_offer("offer 100 0"));
        sim.say(1, link, signal(n, envelope));
        sim.run(SECOND / 10);
    }
    let replaced: Vec<_> = (0..4).map(|number| setup(100, number)).collect();
    assert_eq!(abandoned(&sim, 2), replaced);
    assert_eq!(descriptions(&sim, 2).len(), 5);
    sim.end();
}

#[test]
fn an_offer_is_answered_though_the_hello_of_a_connection_before_it_comes_only_now() {
    for seed in 0..20 {
        let mut sim = Sim::signaling(seed, 3);
        let introducer = sim.connect(1, 2);
        sim.silence(1);
        sim.silence(0);
        let connection = sim.connect(0, 2);
        let envelope = signed(&sim, 0, 2, 1, signaled_offer("offer 0 0"));
        sim.say(1, introducer, signal(1, envelope));
        sim.run_until("a command", |sim| !sim.nodes[2].commands.is_empty());
        let salt = Salt(id(1));
        let frame = Frame::Hello(Hello {
            salt,
            networks: vec![NetworkTag::new(&peer(0), salt, &network("net"))],
            accepting: true,
            stun_port: None,
        });
        sim.tell(2, |core, now| {
            core.handle(now, arrived(connection, frame));
        });
        assert!(sim.peers(2).contains(&0), "seed {seed}");
        sim.run(SECOND);
        assert_eq!(descriptions(&sim, 2).len(), 1, "seed {seed}");
        assert_eq!(abandoned(&sim, 2), [], "seed {seed}");
        sim.end();
    }
}

#[test]
fn an_offer_that_is_played_again_in_another_session_is_refused() {
    let mut sim = strangers(1);
    sim.silence(1);
    let link = sim.between(1, 2);
    let envelope = signed(&sim, 100, 2, 1, signaled_offer("offer 100 0"));
    for session in [1, 2, 1] {
        sim.say(1, link, signal(session, envelope.clone()));
        sim.run(SECOND / 10);
    }
    assert_eq!(refusals(&sim, 2, 1), [Refusal::BadSignal]);
    assert_eq!(descriptions(&sim, 2).len(), 1);
    assert_eq!(abandoned(&sim, 2), []);
    sim.end();
}

#[test]
fn an_offer_that_the_transport_cannot_read_is_answered_with_addresses() {
    let mut sim = strangers(1);
    sim.silence(1);
    let link = sim.between(1, 2);
    let envelope = signed(&sim, 100, 2, 1, signaled_offer("nonsense"));
    sim.say(1, link, signal(1, envelope));
    sim.run(SECOND);
    let (sdp, addresses) = (String::new(), vec![address(2)]);
    assert_eq!(descriptions(&sim, 2), [Description { sdp, addresses }]);
    sim.end();
}

#[test]
fn an_answer_that_is_described_when_the_introducer_is_gone_is_not_given() {
    let mut sim = strangers(1);
    sim.silence(1);
    let link = sim.between(1, 2);
    let envelope = signed(&sim, 100, 2, 1, signaled_offer("offer 100 0"));
    sim.say(1, link, signal(1, envelope));
    sim.run_until("a command", |sim| !sim.nodes[2].commands.is_empty());
    sim.tell(2, |core, now| core.close(now));
    sim.run(SECOND);
    assert_eq!(abandoned(&sim, 2), [setup(100, 0)]);
    assert_eq!(descriptions(&sim, 2), []);
    sim.end();
}

#[test]
fn a_signaled_link_sends_no_pings_and_answers_them() {
    let mut sim = strangers(1);
    sim.query(0).unwrap();
    sim.run(SECOND);
    let link = sim.between(0, 2);
    assert!(sim.is_signaled(link));
    sim.run(3600 * SECOND);
    let pings = |sim: &Sim, from, to| {
        let is_ping = |frame: &&Frame| matches!(frame, Frame::Ping(_));
        sim.sent(from, to).filter(is_ping).count()
    };
    assert_eq!((pings(&sim, 0, 2), pings(&sim, 2, 0)), (0, 0));
    assert!(pings(&sim, 0, 1) + pings(&sim, 1, 0) > 800);
    assert!(sim.are_connected(0, 2));
    sim.say(2, link, Frame::Ping(7));
    sim.run(SECOND);
    assert_eq!(sim.sent(0, 2).last(), Some(&Frame::Pong(7)));
    sim.end();
}

#[test]
fn a_signaled_link_still_tells_what_changes() {
    let mut sim = strangers(1);
    sim.query(0).unwrap();
    sim.run(SECOND);
    for incoming in [Incoming::Refuse, Incoming::Accept, Incoming::Refuse] {
        sim.tell(0, |core, now| core.set_incoming(now, incoming));
        sim.run(SECOND / 10);
    }
    sim.run(SECOND);
    let told = sim.sent(0, 2).filter_map(|frame| match frame {
        Frame::Update(update) => Some(update.accepting),
        _ => None,
    });
    assert_eq!(told.last(), Some(false));
    sim.end();
}

#[test]
fn a_peer_that_vanishes_from_a_signaled_connection_is_missed_when_the_transport_says_so() {
    for seed in 0..50 {
        let mut sim = strangers(seed);
        sim.query(0).unwrap();
        sim.run(5 * SECOND);
        sim.vanish(2);
        sim.run(8 * SECOND);
        assert_eq!(sim.peers(0), [1, 2], "seed {seed}");
        sim.run(2 * SECOND);
        assert_eq!(sim.peers(0), [1], "seed {seed}");
        assert!(sim.link_errors(0).is_empty(), "seed {seed}");
        sim.end();
    }
}
