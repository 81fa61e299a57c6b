//! Any sequence of operations that a fuzzer thinks of, on the simulator's cores; what always holds is checked
//! after each, and at the end that nothing is left.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use libp2p::swarm::ConnectionId;

use super::{
    Input,
    sim::{Sim, address, network, peer},
};
use crate::{
    config::{Config, View},
    error::Refusal,
    id::{ExchangeId, NetworkTag, QueryId, RequestId, Salt, SessionId, Token},
    message::{
        Description, Envelope, Frame, GetPeers, Hello, Path, PeerCandidate, Peers, Refuse, Signal,
        SignalContent, Subject, Update,
    },
    script::Script,
    wire,
};

const NETWORKS: [&str; 2] = ["net", "second"];

/// More operations than this add nothing but time.
const MAX_OPERATIONS: usize = 200;

/// One core among strangers: whatever they say, in any order.
pub fn core(bytes: &[u8]) {
    run(bytes, 1..4);
}

/// Cores that mean well, in a network that loses, repeats, swaps and damages what they say.
pub fn cores(bytes: &[u8]) {
    run(bytes, 0..4);
}

struct World {
    sim: Sim,
    queries: Vec<(usize, QueryId)>,
    /// What becomes of the next frames.
    fates: Rc<RefCell<VecDeque<u8>>>,
}

fn run(bytes: &[u8], liars: std::ops::Range<usize>) {
    let mut script = Script(bytes);
    let Some(settings) = script.byte() else {
        return;
    };
    // The simulator's own decisions are settled: delays, ids, whom a core picks.
    let mut sim = Sim::new(1);
    sim.has_signaling = settings & 1 != 0;
    for node in 0..4 {
        let config = Config::new(network("net")).with_network(network("second"));
        let mut config = config.unwrap();
        if settings & (2 << node) != 0 {
            config = config.with_view(View::default().with_max_incoming(2));
        }
        sim.add(config);
    }
    let fates = Rc::<RefCell<VecDeque<u8>>>::default();
    for node in liars.clone() {
        let fates = fates.clone();
        let mut held = None;
        sim.nodes[node].lie = Some(Box::new(move |_, frame| {
            let fate = fates.borrow_mut().pop_front();
            suffer(fate, &mut held, frame)
        }));
    }
    // All know one of them, which may introduce them, and a stranger knows ours.
    sim.star(1, 2..4);
    for (dialer, listener) in [(0, 1), (2, 0)] {
        let _: ConnectionId = sim.connect(dialer, listener);
    }
    let queries = Vec::new();
    let mut world = World {
        sim,
        queries,
        fates,
    };
    for _ in 0..MAX_OPERATIONS {
        if world.act(&mut script, &liars).is_none() {
            break;
        }
        for node in 0..4 {
            world.sim.nodes[node].core.assert_bounded();
        }
    }
    world.end();
}

/// What comes of a frame on its way.
fn suffer(fate: Option<u8>, held: &mut Option<Frame>, frame: Frame) -> Vec<Frame> {
    match fate {
        None | Some(0..=99) => [held.take(), Some(frame)].into_iter().flatten().collect(),
        Some(100..=139) => Vec::new(),
        Some(140..=179) => vec![frame.clone(), frame],
        Some(180..=199) => held.replace(frame).into_iter().collect(),
        Some(damage) => {
            let Ok(mut bytes) = wire::encode(&frame) else {
                return Vec::new();
            };
            let place = usize::from(damage) % bytes.len();
            bytes[place] ^= 1 << (damage % 8);
            let mut decoder = wire::Decoder::default();
            decoder.extend(&bytes);
            decoder
                .decode()
                .into_iter()
                .flatten()
                .map(|(frame, _)| frame)
                .collect()
        }
    }
}

impl World {
    fn act(&mut self, script: &mut Script<'_>, liars: &std::ops::Range<usize>) -> Option<()> {
        let sim = &mut self.sim;
        let operation = script.below(16)?;
        let node = script.below(4)?;
        let other = (node + 1 + script.below(3)?) % 4;
        let alive = sim.is_alive(node);
        match operation {
            0..=2 => sim.run(Duration::from_millis(
                [1, 20, 1000][operation] * u64::from(script.byte()?),
            )),
            3 | 4 if alive => {
                let hops = script.byte()? % 5;
                let name = (operation == 3).then(|| network(NETWORKS[usize::from(hops) % 2]));
                let query = sim.tell(node, |core, now| core.start_query(now, name.as_ref(), hops));
                self.queries.extend(query.ok().map(|query| (node, query)));
            }
            5 if alive && sim.is_alive(other) => drop(sim.link(node, other)),
            6 if sim.connections_between(node, other) > 0 => sim.cut(sim.between(node, other)),
            7 if node != 0 => sim.vanish(node),
            8 if alive => {
                let _: bool = sim.tell(node, |core, now| core.leave(now, &network("second")));
            }
            9 if alive => drop(sim.tell(node, |core, now| core.join(now, network("second")))),
            10 if alive => sim.tell(node, |core, now| core.close(now)),
            11 => {
                let flags = script.byte()?;
                let state = &mut sim.nodes[node];
                state.is_reachable = flags & 1 == 0;
                state.is_punchable = flags & 2 == 0;
                state.describes = flags & 4 == 0;
                if flags & 8 != 0 && liars.contains(&other) {
                    self.rush(other, node, usize::from(flags >> 4));
                }
            }
            12 => self
                .fates
                .borrow_mut()
                .extend(script.bytes()?.iter().copied().take(64)),
            13 if alive => {
                let addresses = (0..script.below(9)?).map(address).collect();
                sim.tell(node, |core, now| {
                    core.handle(now, Input::Addresses(addresses))
                });
            }
            14 | 15 if liars.contains(&node) => self.say(script, node, other)?,
            _ => {}
        }
        Some(())
    }

    /// Has a liar say something.
    fn say(&mut self, script: &mut Script<'_>, liar: usize, to: usize) -> Option<()> {
        let count = self.sim.connections_between(liar, to);
        if count == 0 {
            return Some(());
        }
        let link = self.sim.between(liar, to);
        for frame in self.invent(script, link, liar, to)? {
            self.sim.nodes[liar].sent.push((link, frame.clone()));
            self.sim.say(liar, link, frame);
        }
        Some(())
    }

    /// A liar brings so many strangers, whom nobody will reach.
    fn rush(&mut self, liar: usize, to: usize, strangers: usize) {
        if self.sim.connections_between(liar, to) == 0 {
            return;
        }
        let link = self.sim.between(liar, to);
        for _ in 0..strangers {
            let number = self.sim.mint.lock().unwrap().len();
            let id = (number as u128).to_be_bytes();
            let sdp = format!("offer {number} 0");
            let addresses = Vec::new();
            let offer = SignalContent::Offer(Description { sdp, addresses });
            let envelope = self.sim.sign(1000 + number, to, ExchangeId(id), offer);
            let session = SessionId(id);
            let frame = Frame::Signal(Signal { session, envelope });
            self.sim.nodes[liar].sent.push((link, frame.clone()));
            self.sim.say(liar, link, frame);
        }
    }

    fn invent(
        &self,
        script: &mut Script<'_>,
        link: ConnectionId,
        liar: usize,
        to: usize,
    ) -> Option<Vec<Frame>> {
        let request = |script: &mut Script<'_>| Some(RequestId(u32::from(script.byte()? % 16)));
        let frame = match script.below(9)? {
            0 => {
                let mut decoder = wire::Decoder::default();
                decoder.extend(script.bytes()?);
                return Some(
                    std::iter::from_fn(|| decoder.decode().ok().flatten())
                        .map(|(frame, _)| frame)
                        .collect(),
                );
            }
            1 => {
                let salt = Salt([script.byte()?; 16]);
                let networks =
                    NETWORKS.map(|name| NetworkTag::new(&peer(liar), salt, &network(name)));
                let networks = networks
                    .into_iter()
                    .cycle()
                    .take(script.below(17)?)
                    .collect();
                let (accepting, stun_port) = (true, None);
                Frame::Hello(Hello {
                    salt,
                    networks,
                    accepting,
                    stun_port,
                })
            }
            2 => Frame::GetPeers(GetPeers {
                request: request(script)?,
                network: script.below(4)?,
                limit: script.below(9)?,
                hops: script.byte()? % 4,
            }),
            3 => {
                let request = request(script)?;
                let candidates = (0..script.below(9)?).map_while(|_| {
                    let path = match script.below(3)? {
                        0 => Path::Vouched((0..1 + script.below(4)?).map(address).collect()),
                        _ => Path::Signals(Token(self.session(script)?.0)),
                    };
                    let peer = peer(script.below(6)?);
                    Some(PeerCandidate {
                        peer,
                        accepting: script.byte()? & 1 == 0,
                        path,
                    })
                });
                let candidates = candidates.collect();
                Frame::Peers(Peers {
                    request,
                    candidates,
                })
            }
            4 | 5 => {
                let session = self.session(script)?;
                let envelope = self.envelope(script, liar, to)?;
                Frame::Signal(Signal { session, envelope })
            }
            6 => {
                let subject = match script.below(3)? {
                    0 => Subject::Link,
                    1 => Subject::Request(request(script)?),
                    _ => Subject::Session(self.session(script)?),
                };
                let reason = [
                    Refusal::Busy,
                    Refusal::Full,
                    Refusal::Expired,
                    Refusal::Closing,
                    Refusal::Network,
                ];
                let reason = reason[script.below(5)?];
                Frame::Refuse(Refuse { subject, reason })
            }
            7 => {
                let salt = self.salt(link, liar)?;
                let tag = |name| NetworkTag::new(&peer(liar), salt, &network(name));
                let networks = NETWORKS
                    .map(tag)
                    .into_iter()
                    .take(script.below(3)?)
                    .collect();
                Frame::Update(Update {
                    networks,
                    accepting: script.byte()? & 1 == 0,
                })
            }
            _ => [Frame::Ping(7), Frame::Pong(7), Frame::Unknown][script.below(3)?].clone(),
        };
        Some(vec![frame])
    }

    fn salt(&self, link: ConnectionId, liar: usize) -> Option<Salt> {
        self.sim.nodes[liar]
            .sent
            .iter()
            .find_map(|(connection, frame)| match frame {
                Frame::Hello(hello) if *connection == link => Some(hello.salt),
                _ => None,
            })
    }

    /// One that somebody has heard of, the newest first, or one that was made up.
    fn session(&self, script: &mut Script<'_>) -> Option<SessionId> {
        let back = script.below(24)?;
        let sent = self
            .sim
            .nodes
            .iter()
            .flat_map(|node| node.sent.iter().rev().take(16));
        let mut known = sent.flat_map(|(_, frame)| sessions(frame));
        let known = known.nth(back);
        Some(known.unwrap_or(SessionId([back as u8; 16])))
    }

    /// What somebody signed before, or the liar signs now.
    fn envelope(&self, script: &mut Script<'_>, liar: usize, to: usize) -> Option<Envelope> {
        let kind = script.below(8)?;
        let read = script.byte()?;
        let body = self
            .sim
            .mint
            .lock()
            .unwrap()
            .iter()
            .rev()
            .nth(usize::from(read))
            .cloned();
        let index = |back: u8| {
            Some(Envelope(
                (self
                    .sim
                    .mint
                    .lock()
                    .ok()?
                    .len()
                    .checked_sub(1 + usize::from(back))?)
                .to_be_bytes()
                .to_vec(),
            ))
        };
        if kind >= 6 {
            return index(read).or(Some(Envelope(vec![read])));
        }
        let exchange = match body {
            Some((_, body)) if kind < 4 => body.exchange,
            _ => ExchangeId([read; 16]),
        };
        let description = Description {
            sdp: [
                String::new(),
                "offer 1 1".to_owned(),
                "answer 0 1".to_owned(),
            ][script.below(3)?]
            .clone(),
            addresses: (0..script.below(5)?).map(address).collect(),
        };
        let content = match kind {
            0 | 4 => SignalContent::Offer(description),
            1 | 5 => SignalContent::Answer(description),
            2 => SignalContent::IceCandidate("candidate:1".to_owned()),
            _ => SignalContent::Reject(Refusal::Full),
        };
        Some(self.sim.sign(liar, to, exchange, content))
    }

    fn end(mut self) {
        self.fates.borrow_mut().clear();
        // Longer than any query takes.
        self.sim.run(Duration::from_secs(40));
        for (node, query) in &self.queries {
            let outcome = self.sim.outcome(*node, *query);
            assert!(
                outcome.is_some() || !self.sim.is_alive(*node),
                "{query} of {node} never ended"
            );
        }
        (0..4).for_each(|node| self.sim.assert_consistent(node));
        self.assert_tokens_used_once();
        self.sim.end();
    }

    /// No core whose frames arrive as they are has opened more sessions than it was shown tokens of its own.
    fn assert_tokens_used_once(&self) {
        for node in self.sim.nodes.iter().filter(|node| node.lie.is_none()) {
            let mut handed_out = std::collections::HashSet::new();
            let mut said = std::collections::HashSet::new();
            for (_, frame) in &node.sent {
                match frame {
                    Frame::Peers(_) => handed_out.extend(sessions(frame)),
                    Frame::Signal(signal) => drop(said.insert(signal.session)),
                    _ => {}
                }
            }
            let others = self
                .sim
                .nodes
                .iter()
                .filter(|other| other.peer != node.peer);
            let heard: std::collections::HashSet<_> = others
                .flat_map(|other| &other.sent)
                .flat_map(|(_, frame)| sessions(frame))
                .collect();
            let opened = said.difference(&heard).count();
            let shown = handed_out.intersection(&heard).count();
            assert!(
                opened <= shown,
                "{opened} sessions opened for {shown} tokens"
            );
        }
    }
}

/// The tokens and sessions that a frame names.
fn sessions(frame: &Frame) -> Vec<SessionId> {
    match frame {
        Frame::Peers(peers) => {
            let paths = peers.candidates.iter().map(|candidate| &candidate.path);
            let tokens = paths.filter_map(|path| match path {
                Path::Signals(token) => Some((*token).into()),
                Path::Vouched(_) => None,
            });
            tokens.collect()
        }
        Frame::Signal(signal) => vec![signal.session],
        _ => Vec::new(),
    }
}
