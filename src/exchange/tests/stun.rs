//! Neighbours as each other's STUN servers: who offers it.

use std::num::NonZeroU16;

use super::*;
use crate::signaling::Notice;

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

/// What `from` said in its hellos to `to`.
fn told_ports(sim: &Sim, from: usize, to: usize) -> Vec<Option<NonZeroU16>> {
    let ports = sim.sent(from, to).filter_map(|frame| match frame {
        Frame::Hello(hello) => Some(hello.stun_port),
        _ => None,
    });
    ports.collect()
}

#[test]
fn a_hello_names_the_port_of_the_service_once_there_is_one() {
    let mut sim = Sim::signaling(1, 2);
    sim.connect(0, 1);
    sim.notify(0, Notice::Serving { port: port(3478) });
    sim.run(SECOND);
    sim.connect(0, 1);
    assert_eq!(told_ports(&sim, 0, 1), [None, Some(port(3478))]);
    assert_eq!(told_ports(&sim, 1, 0), [None, None]);
    sim.end();
}
