//! A stand-in for a node that one attacker runs with many others: it speaks the protocol as far as
//! it helps, names none but its like, accepts whoever comes, and has itself introduced to honest
//! nodes. It is no core, for it keeps to no rule; what it knows of honest nodes is what they tell it,
//! and which ids are its like's.

use std::{collections::VecDeque, ops::Range};

use libp2p::{PeerId, swarm::ConnectionId};
use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, index},
};

use super::{
    names::{NodeId, signaled},
    seal::PlainSeal,
};
use crate::{
    config::Limits,
    exchange::{Input, Output},
    id::{NetworkId, NetworkTag, RequestId, SessionId, Token},
    message::{
        Description, Envelope, Frame, GetPeers, Hello, Path, PeerCandidate, Peers, Seal, Signal,
        SignalBody, SignalContent,
    },
};

/// How many connections a sybil tries to make in a tick.
const ATTEMPTS_PER_TICK: f64 = 0.1;

pub(super) struct Sybil {
    local: NodeId,
    peer: PeerId,
    network: NetworkId,
    /// Its like, itself among them.
    like: Range<usize>,
    /// All to honest nodes: sybils need none to each other.
    links: Vec<(ConnectionId, PeerId)>,
    rng: StdRng,
    outputs: VecDeque<Output>,
}

impl Sybil {
    pub(super) fn new(local: NodeId, peer: PeerId, like: Range<usize>, rng: &mut StdRng) -> Self {
        Self {
            local,
            peer,
            network: NetworkId::simulated(),
            like,
            links: Vec::new(),
            rng: StdRng::from_rng(rng),
            outputs: VecDeque::new(),
        }
    }

    /// Asks one honest node for another to be introduced to, if it is time for that. Whether there is any
    /// that could be asked.
    pub(super) fn on_tick(&mut self) -> bool {
        let is_due = self.rng.random_bool(ATTEMPTS_PER_TICK);
        let link = self.links.choose(&mut self.rng).copied();
        if let Some((connection, _)) = link.filter(|_| is_due) {
            self.ask(connection);
        }
        link.is_some()
    }

    fn ask(&mut self, connection: ConnectionId) {
        let request = GetPeers {
            request: RequestId(0),
            network: 0,
            limit: Limits::CANDIDATES,
            hops: 0,
        };
        self.send(connection, Frame::GetPeers(request));
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn handle(&mut self, input: Input) {
        match input {
            Input::Established(established) => {
                let link = (established.connection, established.peer);
                self.links.push(link);
            }
            Input::LinkOpened { connection } => self.greet(connection),
            Input::LinkClosed { connection, .. } | Input::Closed { connection, .. } => {
                self.links.retain(|(other, _)| *other != connection);
            }
            Input::Frame {
                connection, frame, ..
            } => self.on_frame(connection, frame),
            _ => {}
        }
    }

    fn greet(&mut self, connection: ConnectionId) {
        let salt = self.rng.random();
        let hello = Hello {
            salt,
            networks: vec![NetworkTag::new(&self.peer, salt, &self.network)],
            accepting: true,
            stun_port: None,
        };
        self.send(connection, Frame::Hello(hello));
    }

    fn on_frame(&mut self, connection: ConnectionId, frame: Frame) {
        match frame {
            Frame::GetPeers(request) => self.name_its_like(connection, &request),
            Frame::Peers(peers) => self.take_aim(connection, peers),
            Frame::Signal(signal) => self.on_signal(connection, &signal),
            Frame::Ping(nonce) => self.send(connection, Frame::Pong(nonce)),
            _ => {}
        }
    }

    /// Answers at once, however far the asker wants to have its candidates from here.
    fn name_its_like(&mut self, connection: ConnectionId, request: &GetPeers) {
        let (first, all) = (self.like.start, self.like.len());
        let named = index::sample(&mut self.rng, all, request.limit.min(all));
        let answer = self.rng.random();
        let candidates = (0..).zip(named).filter_map(|(place, sybil)| {
            Some(PeerCandidate {
                peer: NodeId(first + sybil).peer()?,
                accepting: true,
                path: Path::Signals(Token::new(answer, place)),
            })
        });
        let peers = Peers {
            request: request.request,
            candidates: candidates.collect(),
        };
        self.send(connection, Frame::Peers(peers));
    }

    /// Has itself introduced to one of those whom it was told of, full or not.
    fn take_aim(&mut self, introducer: ConnectionId, peers: Peers) {
        let aims = peers.candidates.into_iter().filter_map(|candidate| {
            let is_new = !self.is_like(&candidate.peer)
                && self.links.iter().all(|(_, peer)| *peer != candidate.peer);
            match candidate.path {
                Path::Signals(token) if is_new => Some((candidate.peer, token)),
                _ => None,
            }
        });
        let aims: Vec<_> = aims.collect();
        let Some((to, token)) = aims.choose(&mut self.rng).copied() else {
            return;
        };
        let exchange = self.rng.random();
        let offer = SignalBody {
            to,
            exchange,
            network: NetworkTag::new(&self.peer, exchange.salt(), &self.network),
            content: SignalContent::Offer(description()),
        };
        if let Some(envelope) = PlainSeal(self.local).seal(&offer) {
            self.signal(introducer, token.into(), envelope);
        }
    }

    /// Answers an offer to itself, or to one of its like that it has named, and goes where an answer
    /// to its own lets it come.
    fn on_signal(&mut self, connection: ConnectionId, signal: &Signal) {
        let Ok((signer, body)) = PlainSeal(self.local).open(&signal.envelope) else {
            return;
        };
        match body.content {
            SignalContent::Offer(_) if self.is_like(&body.to) => {
                let answer = SignalBody {
                    to: signer,
                    exchange: body.exchange,
                    network: NetworkTag::new(&body.to, body.exchange.salt(), &self.network),
                    content: SignalContent::Answer(description()),
                };
                let sealed =
                    NodeId::of_peer(&body.to).and_then(|like| PlainSeal(like).seal(&answer));
                if let Some(envelope) = sealed {
                    self.signal(connection, signal.session, envelope);
                }
            }
            SignalContent::Answer(_) => self.outputs.push_back(Output::Dial {
                peer: signer,
                addresses: vec![signaled(signer)],
            }),
            _ => {}
        }
    }

    fn is_like(&self, peer: &PeerId) -> bool {
        NodeId::of_peer(peer).is_some_and(|node| self.like.contains(&node.0))
    }

    fn signal(&mut self, connection: ConnectionId, session: SessionId, envelope: Envelope) {
        let signal = Signal { session, envelope };
        self.send(connection, Frame::Signal(signal));
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let peer = self.peer;
        self.outputs.push_back(Output::Send {
            peer,
            connection,
            frame,
        });
    }
}

fn description() -> Description {
    Description {
        sdp: "sybil".to_owned(),
        addresses: Vec::new(),
    }
}
