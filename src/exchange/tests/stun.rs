//! Neighbours as each other's STUN servers: who offers it, and who is asked.

use std::{net::SocketAddr, num::NonZeroU16};

use super::{
    signaling::{hide, strangers},
    *,
};
use crate::{
    event::{NatMapping, Via},
    exchange::{Established, Input, Output, Side},
    signaling::{Command, Notice},
};

const PORT: NonZeroU16 = NonZeroU16::new(3478).unwrap();

/// Nodes of which those other than 0 answer STUN, none connected.
fn servers(n: usize) -> Sim {
    let mut sim = Sim::signaling(1, n);
    (1..n).for_each(|node| sim.notify(node, Notice::Serving { port: PORT }));
    sim.run(SECOND);
    sim
}

/// What `from` said in its hellos to `to`.
fn told_ports(sim: &Sim, from: usize, to: usize) -> Vec<Option<NonZeroU16>> {
    let ports = sim.sent(from, to).filter_map(|frame| match frame {
        Frame::Hello(hello) => Some(hello.stun_port),
        _ => None,
    });
    ports.collect()
}

/// Whom a node had asked, one choice after the other.
fn choices(sim: &Sim, node: usize) -> Vec<Vec<String>> {
    let commands = sim.nodes[node].commands.iter();
    let choices = commands.filter_map(|command| match command {
        Command::StunNeighbors(asked) => Some(asked.iter().map(SocketAddr::to_string).collect()),
        _ => None,
    });
    choices.collect()
}

fn at(nodes: &[usize]) -> Vec<String> {
    nodes.iter().map(|n| format!("9.0.0.{n}:3478")).collect()
}

#[test]
fn a_hello_names_the_port_of_the_service_once_there_is_one() {
    let mut sim = Sim::signaling(1, 2);
    sim.connect(0, 1);
    sim.notify(0, Notice::Serving { port: PORT });
    sim.run(SECOND);
    sim.connect(0, 1);
    assert_eq!(told_ports(&sim, 0, 1), [None, Some(PORT)]);
    assert_eq!(told_ports(&sim, 1, 0), [None, None]);
    sim.end();
}

#[test]
fn three_neighbours_that_answer_are_asked_and_replaced_when_they_go() {
    let mut sim = servers(6);
    let silent = sim.add(config());
    let links = [silent, 1, 2, 3, 4, 5].map(|node| sim.connect(0, node));
    assert_eq!(choices(&sim, 0), [at(&[1]), at(&[1, 2]), at(&[1, 2, 3])]);
    sim.cut(links[5]);
    sim.cut(links[0]);
    sim.run(SECOND);
    assert_eq!(choices(&sim, 0).len(), 3, "nobody who is asked has gone");
    sim.cut(links[2]);
    sim.run(SECOND);
    assert_eq!(choices(&sim, 0).last(), Some(&at(&[1, 3, 4])));
    sim.vanish(1);
    sim.run(20 * SECOND);
    assert_eq!(choices(&sim, 0).last(), Some(&at(&[3, 4])));
    assert_eq!(choices(&sim, 1), [] as [Vec<String>; 0], "0 answers nobody");
    sim.tell(0, |core, now| core.close(now));
    assert_eq!(choices(&sim, 0).last(), Some(&Vec::new()));
    assert_eq!(choices(&sim, 0).len(), 6, "the end of all is told once");
    sim.end();
}

#[test]
fn a_neighbour_by_several_links_is_asked_until_the_last_has_ended() {
    let mut sim = servers(2);
    let links = [(); 2].map(|()| sim.connect(0, 1));
    sim.cut(links[0]);
    sim.run(SECOND);
    assert_eq!(choices(&sim, 0), [at(&[1])]);
    sim.cut(links[1]);
    sim.run(SECOND);
    assert_eq!(choices(&sim, 0), [at(&[1]), Vec::new()]);
    sim.end();
}

#[test]
fn a_neighbour_that_came_is_not_asked() {
    let mut sim = servers(4);
    sim.connect(1, 0);
    sim.connect(2, 0);
    assert_eq!(choices(&sim, 0), [] as [Vec<String>; 0]);
    sim.connect(0, 3);
    assert_eq!(choices(&sim, 0), [at(&[3])]);
    // A link that we dialed counts also beside one that came.
    sim.connect(0, 1);
    assert_eq!(choices(&sim, 0).last(), Some(&at(&[3, 1])));
    sim.end();
}

#[test]
fn a_neighbour_that_was_introduced_to_us_is_not_asked() {
    for dials_back in [false, true] {
        let mut sim = strangers(1);
        sim.notify(0, Notice::Serving { port: PORT });
        sim.nodes[0].describes = !dials_back;
        if dials_back {
            hide(&mut sim, 2);
        }
        assert_eq!(sim.query(0), Ok(peer(2)));
        sim.run(SECOND);
        assert_eq!(choices(&sim, 2), [] as [Vec<String>; 0], "{dials_back}");
        sim.end();
    }
}

#[test]
fn who_was_met_by_signals_is_asked_where_its_connection_turns_out_to_go() {
    let mut sim = servers(3);
    sim.connect(0, 1);
    sim.connect(2, 1);
    assert_eq!(sim.query(0), Ok(peer(2)));
    sim.run(SECOND);
    assert!(sim.is_signaled(sim.between(0, 2)));
    assert_eq!(choices(&sim, 0), [at(&[1]), at(&[1, 2])]);
    sim.end();
}

#[test]
fn without_a_signaled_transport_nobody_is_asked() {
    let mut sim = servers(2);
    sim.has_signaling = false;
    let plain = sim.add(config());
    sim.connect(plain, 1);
    assert_eq!(choices(&sim, plain), [] as [Vec<String>; 0]);
    sim.end();
}

#[test]
fn what_the_nat_does_is_reported_until_the_node_is_closed() {
    let mut sim = Sim::signaling(1, 1);
    let mapping = NatMapping::EndpointDependent;
    sim.notify(0, Notice::NatMapping(mapping));
    sim.run(SECOND);
    let events = &sim.nodes[0].events;
    assert!(matches!(events[..], [PxpEvent::NatMapping(it)] if it == mapping));
    sim.tell(0, |core, now| core.close(now));
    sim.notify(0, Notice::NatMapping(mapping));
    sim.end();
}

/// Whom a node asks whose one neighbour is reached there and says that it answers.
fn asked_at(remote: &str) -> Option<Vec<SocketAddr>> {
    let mut sim = Sim::signaling(1, 1);
    let core = &mut sim.nodes[0].core;
    let (now, connection) = (sim.now, ConnectionId::new_unchecked(1000));
    let established = Established {
        connection,
        peer: peer(1),
        side: Side::Dialer,
        remote: remote.parse().unwrap(),
        via: Via::Direct,
    };
    core.handle(now, Input::Established(established));
    core.handle(now, Input::LinkOpened { connection });
    let salt = crate::id::Salt(id(1));
    let hello = crate::message::Hello {
        salt,
        networks: vec![NetworkTag::new(&peer(1), salt, &network("net"))],
        accepting: true,
        stun_port: Some(PORT),
    };
    let frame = Frame::Hello(hello);
    core.handle(now, arrived(connection, frame));
    assert_eq!(core.peers().len(), 1);
    let mut outputs = std::iter::from_fn(|| core.poll_output());
    outputs.find_map(|output| match output {
        Output::Signaling(Command::StunNeighbors(asked)) => Some(asked),
        _ => None,
    })
}

#[test]
fn a_neighbour_is_asked_over_the_internet_and_not_where_others_are() {
    for (remote, asked) in [
        ("/ip4/9.9.9.9/tcp/1", Some("9.9.9.9:3478")),
        ("/ip4/9.9.9.9/tcp/1/ws", Some("9.9.9.9:3478")),
        ("/ip4/9.9.9.9/udp/1/quic-v1", Some("9.9.9.9:3478")),
        ("/ip6/2620:fe::fe/tcp/1", Some("[2620:fe::fe]:3478")),
        ("/ip6/::ffff:9.9.9.9/tcp/1", Some("9.9.9.9:3478")),
        ("/ip4/127.0.0.1/tcp/1", Some("127.0.0.1:3478")),
        ("/ip4/224.0.0.1/tcp/1", None),
        ("/dns4/example.org/tcp/1", None),
        ("/memory/1", None),
        ("/unix/pxp-stream-1", None),
        ("/webrtc", None),
    ] {
        let asked = asked.map(|address| vec![address.parse().unwrap()]);
        assert_eq!(asked_at(remote), asked, "{remote}");
    }
    let relay = "/ip4/9.9.9.9/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
    assert_eq!(asked_at(&format!("{relay}/p2p-circuit")), None);
    assert_eq!(asked_at(&format!("{relay}/p2p-circuit/webrtc")), None);
}
