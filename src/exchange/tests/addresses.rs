//! What is given away and dialed, by where the introducer is. (How far addresses reach is tested
//! beside their code.)

use libp2p::Multiaddr;

use super::*;
use crate::{
    config::Candidate,
    event::Via,
    exchange::{Established, Input, Output, Side},
    signaling::{Command, Notice},
};

fn addr(s: &str) -> Multiaddr {
    s.parse().unwrap()
}

const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/1";
const PRIVATE: &str = "/ip4/192.168.1.1/tcp/1";
const GLOBAL: &str = "/ip4/9.9.9.9/tcp/1";
const CIRCUIT: &str =
    "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo/p2p-circuit";

/// A query over an introducer that is reached there: what the asker gave away in its offer, and
/// what it dials of such addresses in the answer.
fn exchanged(introducer: &str, offered: &[&str]) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let mut sim = Sim::with_nodes(1, 2);
    let connection = sim.connect(0, 1);
    sim.cut(connection);
    sim.run(SECOND);
    let own = [LOOPBACK, PRIVATE, GLOBAL].map(addr).to_vec();
    let core = &mut sim.nodes[0].core;
    let (now, connection) = (sim.now, ConnectionId::new_unchecked(1000));
    core.handle(now, Input::Addresses(own));
    core.handle(
        now,
        Input::Established(Established {
            connection,
            peer: peer(1),
            side: Side::Dialer,
            remote: addr(introducer),
            via: Via::Direct,
        }),
    );
    core.handle(now, Input::LinkOpened { connection });
    let salt = crate::id::Salt(id(1));
    let networks = vec![NetworkTag::new(&peer(1), salt, &network("net"))];
    let frame = Frame::Hello(crate::message::Hello {
        salt,
        networks,
        accepting: true,
        stun_port: None,
    });
    core.handle(now, arrived(connection, frame));
    core.get_new_peer(now, None).unwrap();
    let token = crate::id::Token(id(2));
    let path = crate::message::Path::Signals(token);
    let candidate = crate::message::PeerCandidate {
        peer: peer(2),
        accepting: true,
        path,
    };
    let peers = Peers {
        request: RequestId(0),
        candidates: vec![candidate],
    };
    core.handle(now, arrived(connection, Frame::Peers(peers)));
    let sent = std::iter::from_fn(|| core.poll_output()).find_map(|output| match output {
        Output::Send {
            frame: Frame::Signal(signal),
            ..
        } => Some(signal),
        _ => None,
    });
    let (_, offer) = read(&sim.mint, &sent.unwrap().envelope).unwrap();
    let SignalContent::Offer(given) = offer.content else {
        panic!()
    };
    let answer = Description {
        sdp: String::new(),
        addresses: offered.iter().map(|a| addr(a)).collect(),
    };
    let (signer, exchange) = (peer(2), offer.exchange);
    let network = NetworkTag::new(&signer, exchange.salt(), &network("net"));
    let content = SignalContent::Answer(answer);
    let body = SignalBody {
        to: peer(0),
        exchange,
        network,
        content,
    };
    let envelope = forge(&sim.mint, signer, body);
    let frame = Frame::Signal(Signal {
        session: token.into(),
        envelope,
    });
    core.handle(now, arrived(connection, frame));
    let dialed = std::iter::from_fn(|| core.poll_output()).find_map(|output| match output {
        Output::Dial { addresses, .. } => Some(addresses),
        _ => None,
    });
    core.handle(
        now,
        Input::Closed {
            connection,
            error: None,
        },
    );
    sim.run(20 * SECOND);
    sim.end();
    (given.addresses, dialed.unwrap_or_default())
}

#[test]
fn near_addresses_are_given_and_dialed_through_near_introducers_only() {
    let theirs = [
        "/ip4/127.0.0.1/tcp/2",
        "/ip4/192.168.1.2/tcp/2",
        "/ip4/9.9.9.8/tcp/2",
    ];
    let ours = [LOOPBACK, PRIVATE, GLOBAL];
    for (introducer, from) in [
        ("/ip4/127.0.0.1/tcp/9", 0),
        ("/ip4/10.0.0.9/tcp/9", 1),
        ("/ip4/9.9.9.1/tcp/9", 2),
        ("/dns/localhost/tcp/9", 2),
        (CIRCUIT, 2),
    ] {
        let (given, dialed) = exchanged(introducer, &theirs);
        assert_eq!(
            given,
            ours[from..].iter().map(|a| addr(a)).collect::<Vec<_>>(),
            "{introducer}"
        );
        assert_eq!(
            dialed,
            theirs[from..].iter().map(|a| addr(a)).collect::<Vec<_>>(),
            "{introducer}"
        );
    }
}

#[test]
fn our_own_addresses_are_not_dialed_whatever_peer_they_are_said_to_be_of() {
    let disguised = format!("{GLOBAL}/p2p/{}", peer(2));
    let (_, dialed) = exchanged("/ip4/9.9.9.1/tcp/9", &[GLOBAL, &disguised, LOOPBACK]);
    assert_eq!(dialed, []);
}

#[test]
fn at_most_four_addresses_of_an_answer_are_dialed() {
    for (count, expected) in [(3, 3), (4, 4), (5, 4), (100, 4)] {
        let many: Vec<_> = (0..count)
            .map(|n| format!("/ip4/9.9.8.{n}/tcp/1"))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(exchanged("/ip4/9.9.9.1/tcp/9", &many).1.len(), expected);
    }
}

/// Addresses that libp2p's transports take for others than their first part says.
fn hidden() -> Vec<Multiaddr> {
    [
        "/ip4/9.9.9.9/ip4/127.0.0.1/tcp/6379",
        "/ip4/9.9.9.9/dns4/localhost/tcp/80",
        "/ip4/9.9.9.9/udp/1/ip4/10.0.0.1/tcp/22",
        "/ip4/9.9.9.9/tcp/80/x-parity-ws/%2Fadmin",
    ]
    .map(addr)
    .into()
}

#[test]
fn no_hidden_address_is_dialed_on_the_word_of_an_introducer() {
    let mut sim = Sim::new(1);
    sim.add(config());
    let vouched = || hidden().into_iter().skip(1).chain([addr(GLOBAL)]);
    sim.add(
        config()
            .with_candidates(move |_: &_, _: &_, _| vec![Candidate::vouched(peer(99), vouched())]),
    );
    sim.connect(0, 1);
    sim.nodes[0].dialed.clear();
    sim.start_query(0);
    sim.run(SECOND);
    assert_eq!(sim.nodes[0].dialed, [[addr(GLOBAL)]]);
}

#[test]
fn no_hidden_address_of_an_answer_is_dialed() {
    let hidden = hidden().into_iter().map(|address| address.to_string());
    let offered: Vec<_> = hidden.chain([GLOBAL.replace(".9/", ".8/")]).collect();
    let offered: Vec<_> = offered.iter().map(String::as_str).collect();
    let (_, dialed) = exchanged("/ip4/9.9.9.1/tcp/9", &offered);
    assert_eq!(dialed, [addr("/ip4/9.9.9.8/tcp/1")]);
}

#[test]
fn no_hidden_address_of_an_offer_is_dialed() {
    for (addresses, dialed) in [
        (hidden(), vec![]),
        (vec![addr(GLOBAL)], vec![vec![addr(GLOBAL)]]),
    ] {
        let mut sim = Sim::with_nodes(1, 2);
        sim.connect(0, 1);
        sim.silence(0);
        sim.tell(1, |core, now| {
            core.handle(now, Input::Addresses(Vec::new()))
        });
        let sdp = String::new();
        let content = SignalContent::Offer(Description { sdp, addresses });
        let envelope = signed(&sim, 100, 1, 100, content);
        let link = sim.between(0, 1);
        sim.nodes[1].dialed.clear();
        sim.say(0, link, signal(100, envelope));
        sim.run(SECOND);
        assert_eq!(sim.nodes[1].dialed, dialed);
    }
}

#[test]
fn a_peer_is_not_where_a_part_of_its_address_says() {
    let mut sim = Sim::signaling(1, 2);
    let port = 53.try_into().unwrap();
    sim.notify(1, Notice::Serving { port });
    sim.run(SECOND);
    let connection = sim.connect(0, 1);
    for (remote, asked) in [
        ("/ip4/8.8.8.8/tcp/1", vec!["8.8.8.8:53".parse().unwrap()]),
        ("/ip4/8.8.8.8/ip4/6.6.6.6/tcp/1", vec![]),
    ] {
        let remote = addr(remote);
        sim.tell(0, |core, now| {
            core.handle(now, Input::Moved { connection, remote });
        });
        let last = sim.nodes[0].commands.last();
        assert_eq!(last, Some(&Command::StunNeighbors(asked)));
    }
}
