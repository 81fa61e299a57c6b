//! What the core promises, proved on virtual time. Each failure names its seed.

mod abuse;
mod addresses;
mod amplifiers;
mod basics;
mod candidates;
mod counts;
mod dialed_by_others;
mod edges;
mod failover;
mod floods;
mod full;
mod glare;
mod inventions;
mod liars;
mod lifecycle;
mod liveness;
mod loss;
mod networks;
mod setups;
mod shares;
mod signaling;
mod stun;
mod tokens;
mod unsealed;
mod view;
mod walks;
mod world;

use std::time::Duration;

use libp2p::{PeerId, swarm::ConnectionId};

use super::sim::{Sim, address, arrived, forge, network, peer, read};
use crate::{
    config::Config,
    error::{LinkError, ProtocolError, QueryError, Refusal},
    event::{Origin, PxpEvent},
    id::{ExchangeId, NetworkTag, QueryId, RequestId, SessionId},
    message::{
        Description, Envelope, Frame, GetPeers, Peers, Refuse, Signal, SignalBody, SignalContent,
        Subject, Update,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// 0 and 2 both know 1, and nobody else.
fn strangers(seed: u64) -> Sim {
    let mut sim = Sim::with_nodes(seed, 3);
    sim.star(1, 0..1);
    sim.star(1, 2..3);
    sim
}

fn config() -> Config {
    Config::new(network("net"))
}

/// Sixteen bytes of one's own choosing.
fn id(n: usize) -> [u8; 16] {
    (n as u128).to_be_bytes()
}

/// What node `signer` would sign, invented or not.
fn signed(
    sim: &Sim,
    signer: usize,
    to: usize,
    exchange: usize,
    content: SignalContent,
) -> Envelope {
    sim.sign(signer, to, ExchangeId(id(exchange)), content)
}

fn offer_of(n: usize) -> SignalContent {
    SignalContent::Offer(Description {
        sdp: String::new(),
        addresses: vec![address(n)],
    })
}

fn answer_of(n: usize) -> SignalContent {
    SignalContent::Answer(Description {
        sdp: String::new(),
        addresses: vec![address(n)],
    })
}

fn signal(session: usize, envelope: Envelope) -> Frame {
    let session = SessionId(id(session));
    Frame::Signal(Signal { session, envelope })
}

fn get_peers(request: u32, limit: usize) -> Frame {
    Frame::GetPeers(GetPeers {
        request: RequestId(request),
        network: 0,
        limit,
        hops: 0,
    })
}

/// The answers that `from` gave to `to`.
fn answers(sim: &Sim, from: usize, to: usize) -> Vec<Peers> {
    let answers = sim.sent(from, to).filter_map(|frame| match frame {
        Frame::Peers(peers) => Some(peers.clone()),
        _ => None,
    });
    answers.collect()
}

/// What `from` refused to `to`, links aside.
fn refusals(sim: &Sim, from: usize, to: usize) -> Vec<Refusal> {
    let refusals = sim.sent(from, to).filter_map(|frame| match frame {
        Frame::Refuse(Refuse { subject, reason }) if *subject != Subject::Link => Some(*reason),
        _ => None,
    });
    refusals.collect()
}

/// How many links have ended at `node` for what they brought too much of.
fn floods(sim: &Sim, node: usize) -> usize {
    let is_flood = |it: &&&LinkError| matches!(it, LinkError::Protocol(ProtocolError::Flood));
    sim.link_errors(node).iter().filter(is_flood).count()
}

/// The contents of all signals that `from` signed and sent to `to`.
fn signals(sim: &Sim, from: usize, to: usize) -> Vec<SignalBody> {
    let signals = sim.sent(from, to).filter_map(|frame| match frame {
        Frame::Signal(signal) => read(&sim.mint, &signal.envelope),
        _ => None,
    });
    let own = signals.filter(|(signer, _)| *signer == peer(from));
    own.map(|(_, body)| body).collect()
}

fn connected(sim: &Sim, node: usize) -> Vec<(usize, Origin)> {
    let known = |of| (0..).find(|n| peer(*n) == of).unwrap();
    let events = sim.nodes[node]
        .events
        .iter()
        .filter_map(|event| match event {
            PxpEvent::Connected { peer, origin, .. } => Some((known(*peer), *origin)),
            _ => None,
        });
    events.collect()
}

fn disconnected(sim: &Sim, node: usize) -> usize {
    let is_it = |event: &&PxpEvent| matches!(event, PxpEvent::Disconnected { .. });
    sim.nodes[node].events.iter().filter(is_it).count()
}

/// A node that lives, and says nothing but that.
fn heed_nothing(sim: &mut Sim, node: usize) {
    let is_sign_of_life = |frame: &Frame| matches!(frame, Frame::Ping(_) | Frame::Pong(_));
    sim.nodes[node].lie = Some(Box::new(move |_, frame| {
        Vec::from_iter(Some(frame).filter(is_sign_of_life))
    }));
}
