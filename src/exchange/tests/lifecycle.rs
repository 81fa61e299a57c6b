//! Links from the first hello to the last word, and the end of the whole exchange.

use std::{io, sync::Arc};

use super::*;
use crate::{
    error::{JoinError, ProtocolError, StartQueryError},
    event::Via,
    exchange::{Established, Input, Output, Side},
    id::Salt,
    message::{Hello, Update},
};

fn hello() -> Frame {
    Frame::Hello(Hello {
        salt: Salt(id(1)),
        networks: vec![NetworkTag::new(&peer(1), Salt(id(1)), &network("net"))],
        accepting: true,
        stun_port: None,
    })
}

/// 0 and 1 are linked, 1 says only what it is made to say.
fn half_open() -> (Sim, ConnectionId) {
    let mut sim = Sim::with_nodes(1, 3);
    sim.connect(0, 2);
    sim.silence(1);
    let link = sim.connect(1, 0);
    (sim, link)
}

#[test]
fn anything_before_the_hello_ends_the_link_and_nothing_else() {
    let peers = Vec::new();
    for frame in [
        Frame::Ping(1),
        Frame::Unknown,
        get_peers(1, 8),
        Frame::Peers(Peers {
            request: RequestId(1),
            candidates: Vec::new(),
        }),
        Frame::Update(Update {
            networks: peers,
            accepting: true,
        }),
        signal(1, Envelope(Vec::new())),
    ] {
        let (mut sim, link) = half_open();
        sim.say(1, link, frame.clone());
        sim.say(1, link, frame);
        sim.run(SECOND);
        let errors = sim.link_errors(0);
        assert!(
            matches!(errors[..], [LinkError::Protocol(ProtocolError::NoHello)]),
            "{errors:?}"
        );
        assert_eq!((sim.peers(0), sim.open_connections()), (vec![2], 2));
        sim.end();
    }
}

#[test]
fn a_second_hello_ends_the_link_once_and_nothing_else() {
    let (mut sim, link) = half_open();
    (0..3).for_each(|_| sim.say(1, link, hello()));
    sim.run(SECOND);
    let errors = sim.link_errors(0);
    assert!(
        matches!(
            errors[..],
            [LinkError::Protocol(ProtocolError::SecondHello)]
        ),
        "{errors:?}"
    );
    assert_eq!((disconnected(&sim, 0), sim.peers(0)), (1, vec![2]));
    sim.end();
}

#[test]
fn the_remote_learns_that_it_broke_the_protocol() {
    let mut sim = Sim::with_nodes(1, 2);
    let link = sim.connect(0, 1);
    sim.say(0, link, hello());
    sim.run(SECOND);
    let errors = sim.link_errors(0);
    assert!(
        matches!(errors[..], [LinkError::Refused(Refusal::Protocol)]),
        "{errors:?}"
    );
    sim.end();
}

#[test]
fn no_hello_within_ten_seconds_ends_the_link() {
    let mut sim = Sim::with_nodes(1, 2);
    sim.link(1, 0);
    sim.vanish(1);
    sim.run(10 * SECOND);
    assert!(sim.link_errors(0).is_empty());
    sim.run(SECOND / 10);
    assert!(matches!(sim.link_errors(0)[..], [LinkError::NoHello]));
    assert!(sim.is_open(0, 1));
    let (subject, reason) = (Subject::Link, Refusal::Protocol);
    let said = Frame::Refuse(Refuse { subject, reason });
    assert_eq!(sim.sent(0, 1).last(), Some(&said));
    sim.end();
}

#[test]
fn who_has_not_said_hello_is_no_peer_and_offered_to_nobody() {
    let (mut sim, _) = half_open();
    assert_eq!((sim.peers(0), connected(&sim, 0).len()), (vec![2], 1));
    let expected = QueryError::NoCandidates {
        asked: 1,
        full: 0,
        known: 0,
    };
    assert_eq!(sim.query(2), Err(expected));
    sim.end();
}

#[test]
fn a_flood_of_frames_ends_the_link_at_its_limit() {
    for frames in [1023, 1024, 1025] {
        let mut sim = Sim::with_nodes(1, 2);
        let link = sim.connect(0, 1);
        sim.run(2 * SECOND);
        sim.delay = 1..2;
        (0..frames).for_each(|_| sim.say(1, link, Frame::Unknown));
        sim.run(SECOND);
        let flooded = usize::from(frames > 1024);
        assert_eq!(floods(&sim, 0), flooded, "{frames}");
        sim.end();
    }
}

#[test]
fn two_links_of_one_peer_are_one_peer() {
    for seed in 0..100 {
        let mut sim = Sim::with_nodes(seed, 2);
        let one = sim.connect(0, 1);
        let two = sim.connect(1, 0);
        sim.cut([one, two][seed as usize % 2]);
        sim.run(20 * SECOND);
        assert!(sim.are_connected(0, 1), "seed {seed}");
        assert_eq!(
            (connected(&sim, 0).len(), disconnected(&sim, 0)),
            (1, 0),
            "seed {seed}"
        );
        sim.cut([two, one][seed as usize % 2]);
        sim.run(SECOND);
        assert_eq!(
            (connected(&sim, 0).len(), disconnected(&sim, 0)),
            (1, 1),
            "seed {seed}"
        );
        sim.end();
    }
}

#[test]
fn an_error_of_the_substream_is_reported_with_its_cause() {
    let cause = || Arc::new(io::Error::other("cause"));
    for (error, is_live) in [
        (LinkError::Unsupported, false),
        (LinkError::Stalled, true),
        (LinkError::Io(cause()), true),
        (LinkError::Protocol(ProtocolError::Malformed), true),
    ] {
        let mut sim = Sim::with_nodes(1, 2);
        let connection = sim.link(0, 1);
        if is_live {
            sim.run(SECOND);
        } else {
            sim.run_while(SECOND, |sim| sim.sent(0, 1).count() == 0);
        }
        let result = Err(error.clone());
        sim.tell(0, |core, now| {
            core.handle(now, Input::LinkClosed { connection, result })
        });
        let reported = format!("{:?}", sim.link_errors(0));
        assert_eq!(reported, format!("{:?}", [error]));
        assert_eq!(disconnected(&sim, 0), usize::from(is_live));
        sim.end();
    }
}

#[test]
fn a_link_that_ends_without_a_word_leaves_its_connection() {
    for is_found in [true, false] {
        let mut sim = Sim::signaling(1, 3);
        sim.connect(0, 1);
        sim.connect(2, 1);
        let connection = match is_found {
            true => {
                assert_eq!(sim.query(0), Ok(peer(2)));
                sim.between(0, 2)
            }
            false => sim.connect(0, 2),
        };
        sim.run(SECOND);
        assert!(sim.peers(0).contains(&2));
        for node in [0, 2] {
            let result = Ok(());
            sim.tell(node, |core, now| {
                core.handle(now, Input::LinkClosed { connection, result });
            });
        }
        sim.run(SECOND);
        assert!(!sim.peers(0).contains(&2) && !sim.peers(2).contains(&0));
        assert_eq!(disconnected(&sim, 0), 1);
        assert!(sim.is_open(0, 2), "found by a query: {is_found}");
        sim.end();
    }
}

#[test]
fn a_stream_that_cannot_be_secured_is_reported_without_a_peer() {
    let mut sim = Sim::with_nodes(1, 1);
    let connection = ConnectionId::new_unchecked(9);
    let error = Some(LinkError::Handshake(Arc::new(io::Error::other("cause"))));
    sim.tell(0, |core, now| {
        core.handle(now, Input::Failed { connection, error })
    });
    assert!(matches!(
        sim.nodes[0].events[..],
        [PxpEvent::LinkFailed {
            peer: None,
            error: LinkError::Handshake(_),
            ..
        }]
    ));
    sim.end();
}

#[test]
fn closing_ends_every_link_and_query_and_says_so_once() {
    for seed in 0..200 {
        let mut sim = Sim::with_nodes(seed, 8);
        sim.star(0, 1..7);
        let query = sim.start_query(0);
        sim.link(7, 0);
        sim.link(0, 7);
        sim.run(Duration::from_millis(seed));
        let found = sim.outcome(0, query);
        sim.tell(0, |core, now| core.close(now));
        sim.tell(0, |core, now| core.close(now));
        assert_eq!(
            sim.outcome(0, query),
            found.or(Some(Err(QueryError::Closed))),
            "seed {seed}"
        );
        sim.run(SECOND);
        assert!(sim.peers(0).is_empty(), "seed {seed}");
        assert!(
            (1..8).all(|node| !sim.peers(node).contains(&0)),
            "seed {seed}"
        );
        assert_eq!(
            connected(&sim, 0).len(),
            disconnected(&sim, 0),
            "seed {seed}"
        );
        assert!(sim.open_connections() >= 6, "connections stay, seed {seed}");
        sim.end();
    }
}

#[test]
fn a_closed_exchange_takes_no_commands_and_no_links() {
    let mut sim = Sim::with_nodes(1, 2);
    sim.tell(0, |core, now| core.close(now));
    let query = sim.tell(0, |core, now| core.get_new_peer(now, None));
    assert_eq!(query, Err(StartQueryError::Closed));
    let join = sim.tell(0, |core, now| core.join(now, network("other")));
    assert_eq!(join, Err(JoinError::Closed));
    sim.connect(0, 1);
    sim.connect(1, 0);
    assert!((0..2).all(|node| sim.peers(node).is_empty()));
    assert!(matches!(sim.nodes[0].events[..], [PxpEvent::Closed]));
    sim.end();
}

#[test]
fn nothing_follows_the_end_though_dials_and_silent_remotes_were_under_way() {
    for seed in 0..300 {
        let mut sim = strangers(seed);
        sim.silence(2);
        sim.nodes[2].lie = (seed.is_multiple_of(2))
            .then(|| sim.nodes[2].lie.take())
            .flatten();
        sim.start_query(0);
        sim.run(Duration::from_millis(2 * seed));
        sim.tell(0, |core, now| core.close(now));
        sim.run(60 * SECOND);
        assert!(
            matches!(sim.nodes[0].events.last(), Some(PxpEvent::Closed)),
            "seed {seed}: {:?}",
            sim.nodes[0].events
        );
        sim.end();
    }
}

#[test]
fn a_connection_without_a_link_is_given_up_in_silence_after_the_end() {
    let mut sim = Sim::with_nodes(1, 1);
    sim.tell(0, |core, now| core.close(now));
    let connection = ConnectionId::new_unchecked(9);
    let established = Established {
        connection,
        peer: peer(9),
        side: Side::Dialer,
        remote: address(9),
        via: Via::Stream,
    };
    let core = &mut sim.nodes[0].core;
    core.handle(sim.now, Input::Established(established));
    core.handle_timeout(sim.now + 11 * SECOND);
    assert!(matches!(
        core.poll_output(),
        Some(Output::CloseConnection { .. })
    ));
    assert!(core.poll_output().is_none());
    let error = None;
    core.handle(sim.now, Input::Closed { connection, error });
    sim.end();
}

#[test]
fn a_stream_on_which_no_link_comes_about_is_reported_and_closed_after_ten_seconds() {
    let mut sim = Sim::with_nodes(1, 1);
    let connection = ConnectionId::new_unchecked(9);
    let established = Established {
        connection,
        peer: peer(9),
        side: Side::Listener,
        remote: address(9),
        via: Via::Stream,
    };
    let core = &mut sim.nodes[0].core;
    core.handle(sim.now, Input::Established(established));
    core.handle_timeout(sim.now + 10 * SECOND - SECOND / 1000);
    assert!(core.poll_output().is_none());
    core.handle_timeout(sim.now + 10 * SECOND);
    let outputs = [core.poll_output(), core.poll_output(), core.poll_output()];
    assert!(matches!(
        outputs,
        [
            Some(Output::Event(PxpEvent::LinkFailed {
                error: LinkError::NoHello,
                ..
            })),
            Some(Output::CloseConnection { .. }),
            None
        ]
    ));
    let error = None;
    core.handle(sim.now, Input::Closed { connection, error });
    sim.end();
}
