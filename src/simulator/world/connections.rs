//! How connections of the world come about, carry frames, and end.

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};

use super::{Arrival, End, Event, NodeId, Via, Wire, WireId, World};
use crate::{
    config::Limits,
    exchange::{Established, Input, Side},
    message::Frame,
    simulator::{
        names::signaled,
        wire::{DIAL_TIMEOUT, State, opposite},
    },
};

impl World {
    /// A core dials: the first of the addresses that leads anywhere.
    pub(super) fn dial(&mut self, dialer: NodeId, peer: PeerId, addresses: &[Multiaddr]) {
        let leads = addresses.iter().find_map(|address| {
            if address.iter().any(|part| part == Protocol::WebRTC) {
                return Some((NodeId::of_peer(&peer)?, Via::Signaled));
            }
            Some((NodeId::of_address(address)?, Via::Direct))
        });
        // An address that leads nowhere is one at which nobody answers.
        let (listener, via) = leads.unwrap_or((dialer, Via::Direct));
        let connection = self.begin_dial(dialer, listener, via).connection();
        if let Some(node) = self.nodes.get_mut(dialer.0) {
            node.mind
                .handle(self.now, Input::Dialing { peer, connection });
        }
    }

    /// An application dials by an address that it was given.
    pub(super) fn dial_directly(&mut self, dialer: NodeId, listener: NodeId) {
        self.begin_dial(dialer, listener, Via::Direct);
    }

    fn begin_dial(&mut self, dialer: NodeId, listener: NodeId, via: Via) -> WireId {
        let id = WireId(self.wires.len());
        let delay = self.conditions.delay(&mut self.rng);
        let wire = Wire::new(dialer, listener, via, delay);
        let comes_through = dialer != listener
            && self.is_alive(listener)
            && self.conditions.lets_through(&wire, &mut self.rng);
        let (time, end) = match comes_through {
            true => (wire.time_to_connect(), Event::Connects(id)),
            false => (DIAL_TIMEOUT, Event::DialFails(id)),
        };
        self.wires.push(wire);
        self.agenda.plan(self.now + time, end);
        id
    }

    pub(super) fn on_connects(&mut self, id: WireId) {
        let Some(wire) = self.wires.get(id.0) else {
            return;
        };
        if self.is_alive(wire.dialer) && self.is_alive(wire.listener) {
            self.establish(id, Side::Dialer);
            self.establish(id, Side::Listener);
        } else {
            self.on_dial_fails(id);
        }
    }

    pub(super) fn on_dial_fails(&mut self, id: WireId) {
        if let Some(wire) = self.wires.get(id.0) {
            let (connection, error) = (id.connection(), None);
            self.pass(wire.dialer, Input::Failed { connection, error });
        }
    }

    /// The connection is there for one of its ends, and its link right after.
    fn establish(&mut self, id: WireId, side: Side) {
        let Some(wire) = self.wires.get_mut(id.0) else {
            return;
        };
        *wire.end_mut(side) = State::Linked;
        let (node, other, via) = (wire.node(side), wire.node(opposite(side)), wire.via);
        let Some(peer) = self.nodes.get(other.0).map(|other| other.peer) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(node.0) {
            node.wires.push(id);
        }
        let connection = id.connection();
        let remote = match via {
            Via::Signaled => Some(signaled(peer)),
            _ => other.address(),
        };
        let established = Established {
            connection,
            peer,
            side,
            remote: remote.unwrap_or_else(Multiaddr::empty),
            via,
        };
        self.pass(node, Input::Established(established));
        if let Some(remote) = other.path().filter(|_| via == Via::Signaled) {
            self.pass(node, Input::Moved { connection, remote });
        }
        self.pass(node, Input::LinkOpened { connection });
    }

    pub(super) fn send(&mut self, from: NodeId, connection: ConnectionId, frame: Frame) {
        let is_for_another = self.is_for_another;
        if let Some(node) = self.nodes.get_mut(from.0) {
            node.tally.on_send(from, connection, &frame, is_for_another);
        }
        let id = WireId::of_connection(connection);
        if let Some(wire) = self.wires.get(id.0) {
            let side = opposite(wire.side_of(from));
            self.arrive(id, side, Arrival::Frame(Box::new(frame)));
        }
    }

    /// One end ends the link, for both.
    pub(super) fn close_link(&mut self, connection: ConnectionId) {
        let id = WireId::of_connection(connection);
        self.arrive(id, Side::Dialer, Arrival::LinkClosed);
        self.arrive(id, Side::Listener, Arrival::LinkClosed);
    }

    /// One end closes the connection. The other sees its link end first.
    pub(super) fn close(&mut self, from: NodeId, connection: ConnectionId) {
        let id = WireId::of_connection(connection);
        if let Some(wire) = self.wires.get(id.0) {
            let side = wire.side_of(from);
            self.arrive(id, opposite(side), Arrival::LinkClosed);
            self.arrive(id, opposite(side), Arrival::Closed);
            self.arrive(id, side, Arrival::Closed);
        }
    }

    /// One end's machine is gone. The other notices in time if its transport does.
    pub(super) fn break_wire(&mut self, id: WireId, gone: NodeId) {
        let Some(wire) = self.wires.get_mut(id.0) else {
            return;
        };
        let side = wire.side_of(gone);
        *wire.end_mut(side) = State::Closed;
        let wire_end = End {
            wire: id,
            side: opposite(side),
        };
        if wire.via == Via::Signaled && *wire.end_mut(opposite(side)) != State::Closed {
            let closed = Event::Arrival(wire_end, Arrival::Closed);
            self.agenda.plan(self.now + Limits::SILENCE, closed);
        }
    }

    pub(super) fn on_arrival(&mut self, end: End, arrival: Arrival) {
        let Some(wire) = self.wires.get_mut(end.wire.0) else {
            return;
        };
        let node = wire.node(end.side);
        let state = wire.end_mut(end.side);
        let connection = end.wire.connection();
        let input = match (arrival, *state) {
            (Arrival::Frame(frame), State::Linked) => {
                return self.on_frame(node, connection, *frame);
            }
            (Arrival::LinkClosed, State::Linked) => {
                *state = State::Open;
                let result = Ok(());
                Input::LinkClosed { connection, result }
            }
            (Arrival::Closed, State::Open | State::Linked) => {
                *state = State::Closed;
                let error = None;
                Input::Closed { connection, error }
            }
            _ => return,
        };
        self.pass(node, input);
    }

    fn on_frame(&mut self, id: NodeId, connection: ConnectionId, frame: Frame) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            self.is_for_another = node.tally.on_receive(connection, &frame);
            let len = 0; // none is long here
            self.pass(
                id,
                Input::Frame {
                    connection,
                    frame,
                    len,
                },
            );
            self.is_for_another = false;
        }
    }

    /// Something is on its way to one end.
    fn arrive(&mut self, id: WireId, side: Side, arrival: Arrival) {
        if let Some(wire) = self.wires.get(id.0) {
            let at = self.now + wire.delay;
            let end = End { wire: id, side };
            self.agenda.plan(at, Event::Arrival(end, arrival));
        }
    }

    fn pass(&mut self, id: NodeId, input: Input) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            node.mind.handle(self.now, input);
            self.flush(id);
        }
    }

    fn is_alive(&self, id: NodeId) -> bool {
        self.nodes.get(id.0).is_some_and(|node| node.is_alive())
    }
}
