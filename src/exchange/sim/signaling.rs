//! The signaled transports of all nodes: descriptions that name who made them, and connections that
//! come about where two ends were given each other's.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use rand::RngExt;

use super::{Event, Sim, address, peer};
use crate::{
    config::Limits,
    exchange::Input,
    signaling::{Command, Notice, SetupId},
};

/// One end of a connection that is being set up.
#[derive(Debug)]
pub(super) struct Setup {
    peer: PeerId,
    ours: String,
    theirs: Option<String>,
}

/// Where a signaled connection with a node turns out to go.
pub(super) fn path(node: usize, peer: PeerId) -> Multiaddr {
    let path: Multiaddr = address(node).iter().take(2).collect();
    path.with(Protocol::WebRTC).with(Protocol::P2p(peer))
}

impl Sim {
    /// Nodes of the network "net" with signaled transports, none connected.
    pub(in super::super) fn signaling(seed: u64, n: usize) -> Self {
        let mut sim = Self::new(seed);
        sim.has_signaling = true;
        for _ in 0..n {
            sim.add(crate::config::Config::new(super::network("net")));
        }
        sim
    }

    pub(super) fn on_command(&mut self, node: usize, command: Command) {
        self.nodes[node].commands.push(command.clone());
        match command {
            Command::Offer { setup, .. } => self.describe(node, setup, "offer", None),
            Command::Answer { setup, sdp, .. } => self.describe(node, setup, "answer", Some(sdp)),
            Command::Accept { setup, sdp } => {
                if let Some(setup) = self.setups.get_mut(&(node, setup.number)) {
                    setup.theirs = Some(sdp);
                }
            }
            Command::Candidate { .. } | Command::StunNeighbors(_) => {}
            Command::Abandon { setup } => {
                self.setups.remove(&(node, setup.number));
            }
        }
    }

    /// Tells a node's core something of its signaled transport.
    pub(in super::super) fn notify(&mut self, node: usize, notice: Notice) {
        if let Notice::Failed(setup) = notice {
            self.setups.remove(&(node, setup.number));
        }
        let delay = Duration::from_millis(self.rng.random_range(0..5));
        let input = Input::Signaling(notice);
        self.at(self.now + delay, Event::Input(node, input));
    }

    fn describe(&mut self, node: usize, setup: SetupId, kind: &str, theirs: Option<String>) {
        let is_offer = |sdp: &String| sdp.starts_with("offer ");
        if !self.nodes[node].describes || !theirs.iter().all(is_offer) {
            return self.notify(node, Notice::Described { setup, sdp: None });
        }
        let (peer, ours) = (setup.peer, format!("{kind} {node} {}", setup.number));
        let sdp = Some(ours.clone());
        let known = Setup { peer, ours, theirs };
        self.setups.insert((node, setup.number), known);
        self.notify(node, Notice::Described { setup, sdp });
        // it may come before the description, and is lost then
        let candidate = format!("candidate:{node} {}", setup.number);
        self.notify(node, Notice::Candidate { setup, candidate });
    }

    /// Whom a node reaches that dials `to` by signals. Both set-ups are used up.
    pub(super) fn set_up(&mut self, dialer: usize, to: PeerId) -> Option<usize> {
        let mut setups = self.setups.iter();
        let (ours, theirs) = setups.find_map(|((node, number), setup)| {
            let mut words = setup.theirs.as_ref()?.split(' ');
            let is_ours = *node == dialer && setup.peer == to && words.next()? == "answer";
            let theirs = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let known = self.setups.get(&theirs)?;
            // A transport knows whom its own end means, not who made the description.
            let is_meant = peer(theirs.0) == to || known.peer == to;
            let is_match = known.theirs.as_ref() == Some(&setup.ours) && is_meant;
            (is_ours && is_match).then_some(((*node, *number), theirs))
        })?;
        let node = &self.nodes[theirs.0];
        if !node.is_alive || !node.is_punchable {
            return None;
        }
        self.setups.remove(&ours);
        self.setups.remove(&theirs);
        Some(theirs.0)
    }

    /// Ends the signaled connections of a node that has vanished, and forgets what it was setting up.
    pub(super) fn break_signaled(&mut self, node: usize) {
        self.setups.retain(|(of, _), _| *of != node);
        let mut broken: Vec<_> = self.wires.iter().collect();
        broken.retain(|(_, wire)| wire.is_signaled && [wire.dialer, wire.listener].contains(&node));
        let mut broken: Vec<_> = broken.into_iter().map(|(id, _)| *id).collect();
        broken.sort_unstable();
        for connection in broken {
            let (other, error) = (self.other(connection, node), None);
            let closed = Input::Closed { connection, error };
            self.at(self.now + Limits::SILENCE, Event::Input(other, closed));
        }
    }
}
