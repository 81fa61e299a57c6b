//! An introducer that misbehaves at random: it says nothing or nonsense, refuses, names strangers and tokens that lead
//! nowhere, and drops, alters and misleads signals. In between it does what it should.

use std::{collections::HashMap, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Stream, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    swarm::dial_opts::{DialOpts, PeerCondition},
    tcp, yamux,
};
use prost::Message;
use pxp::PROTOCOL_NAME;
use sha2::{Digest, Sha256};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};

use super::{
    NETWORK, Result,
    proto::{self, Frame, frame::Body},
};

const SALT: [u8; 16] = [7; 16];
/// How many links it has at a time, and how many sessions it remembers.
const LINKS: usize = 6;
const SESSIONS: usize = 1000;
/// The longest frame, in bytes.
const FRAME_LEN: usize = 16 * 1024;

type Id = Vec<u8>;
/// What came from a peer; nothing at the end of its link.
type Incoming = (PeerId, Option<Body>);

/// Who is linked, and whom a session leads to under which other id.
struct Rogue {
    links: HashMap<PeerId, Sender<Vec<u8>>>,
    sessions: HashMap<Id, (PeerId, Id)>,
}

/// Runs it, linked to whom it is given, until nothing more comes.
pub(crate) async fn misbehave(key: Keypair, mut addresses: Receiver<Multiaddr>) -> Result<()> {
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|_| libp2p_stream::Behaviour::new())?
        .build();
    let hello = hello(swarm.local_peer_id());
    let (incoming, mut frames) = mpsc::channel(64);
    let mut rogue = Rogue {
        links: HashMap::new(),
        sessions: HashMap::new(),
    };
    loop {
        tokio::select! {
            _ = swarm.select_next_some() => {}
            Some((peer, frame)) = frames.recv() => match frame {
                Some(body) => rogue.on_frame(peer, body),
                None => drop(rogue.links.remove(&peer)),
            },
            address = addresses.recv() => {
                let Some(address) = address else {
                    return Ok(());
                };
                let Some(Protocol::P2p(peer)) = address.iter().last() else {
                    continue;
                };
                if rogue.links.len() >= LINKS || rogue.links.contains_key(&peer) {
                    continue;
                }
                let opts = DialOpts::peer_id(peer).addresses(vec![address]);
                let _ = swarm.dial(opts.condition(PeerCondition::DisconnectedAndNotDialing).build());
                let (link, outgoing) = mpsc::channel(64);
                rogue.links.insert(peer, link);
                let (mut control, hello) = (swarm.behaviour().new_control(), hello.clone());
                let incoming = incoming.clone();
                tokio::spawn(async move {
                    let opened = control.open_stream(peer, PROTOCOL_NAME);
                    if let Ok(Ok(stream)) = timeout(Duration::from_secs(5), opened).await {
                        let _ = link_with(peer, stream, hello, outgoing, &incoming).await;
                    }
                    let _ = incoming.send((peer, None)).await;
                });
            }
        }
    }
}

fn hello(local: &PeerId) -> Vec<u8> {
    let mut tag = Sha256::new();
    tag.update(b"pxp-network");
    tag.update(local.to_bytes());
    tag.update(SALT);
    tag.update(NETWORK);
    let tag = tag.finalize().into_iter().take(16).collect();
    frame(Body::Hello(proto::Hello {
        salt: SALT.to_vec(),
        networks: vec![tag],
        accepting: true,
        stun_port: 0,
    }))
}

fn frame(body: Body) -> Vec<u8> {
    Frame { body: Some(body) }.encode_length_delimited_to_vec()
}

/// Carries frames both ways until either end has had enough.
async fn link_with(
    peer: PeerId,
    stream: Stream,
    hello: Vec<u8>,
    mut outgoing: Receiver<Vec<u8>>,
    incoming: &Sender<Incoming>,
) -> Result<()> {
    let (mut read, mut write) = stream.split();
    write.write_all(&hello).await?;
    write.flush().await?;
    let reads = async {
        loop {
            let (mut len, mut shift, mut byte) = (0, 0, [0x80]);
            while byte[0] & 0x80 != 0 && shift <= 14 {
                read.read_exact(&mut byte).await?;
                len |= usize::from(byte[0] & 0x7f) << shift;
                shift += 7;
            }
            let mut body = vec![0; len.min(FRAME_LEN)];
            read.read_exact(&mut body).await?;
            if let Some(body) = Frame::decode(&*body)?.body {
                incoming.send((peer, Some(body))).await?;
            }
        }
    };
    let writes = async {
        while let Some(bytes) = outgoing.recv().await {
            write.write_all(&bytes).await?;
            write.flush().await?;
        }
        Ok(())
    };
    tokio::select! {
        result = reads => result,
        result = writes => result,
    }
}

impl Rogue {
    /// Who reads too slowly misses it.
    fn send(&self, to: &PeerId, bytes: Vec<u8>) {
        if let Some(link) = self.links.get(to) {
            let _ = link.try_send(bytes);
        }
    }

    fn on_frame(&mut self, from: PeerId, body: Body) {
        match (body, rand::random_range(0..100)) {
            (Body::Ping(_) | Body::GetPeers(_), 0) => self.send(&from, vec![0xff; 100]),
            (Body::Ping(_) | Body::GetPeers(_), 1) => {
                self.send(&from, vec![0x81, 0x80, 0x01, 0]); // one byte too long
            }
            (Body::Ping(_), 2..10) => {}
            (Body::Ping(proto::Ping { nonce }), _) => {
                self.send(&from, frame(Body::Pong(proto::Pong { nonce })));
            }
            (Body::GetPeers(_), 2..10) => {}
            (Body::GetPeers(asked), 10..25) => {
                let subject = proto::refuse::Subject::Request(asked.request);
                self.refuse(&from, subject);
            }
            (Body::GetPeers(asked), whim) => self.name(from, asked.request, whim),
            (Body::Signal(signal), whim) => self.pass(from, signal, whim),
            _ => {}
        }
    }

    fn refuse(&self, to: &PeerId, subject: proto::refuse::Subject) {
        let (reason, subject) = (rand::random_range(1..10), Some(subject));
        self.send(to, frame(Body::Refuse(proto::Refuse { reason, subject })));
    }

    /// Names whom it knows, under tokens that lead there or nowhere, or who does not exist.
    fn name(&mut self, asker: PeerId, request: u32, whim: u8) {
        if self.sessions.len() > SESSIONS {
            self.sessions.clear();
        }
        let mut candidates = Vec::new();
        for peer in self.links.keys().copied().filter(|peer| *peer != asker) {
            let (token, session) = (id(), id());
            if whim > 50 {
                self.sessions.insert(token.clone(), (peer, session.clone()));
                self.sessions.insert(session, (asker, token.clone()));
            }
            let peer = if whim < 35 { PeerId::random() } else { peer };
            candidates.push(proto::PeerCandidate {
                peer: peer.to_bytes(),
                token,
                accepting: true,
                addresses: Vec::new(),
            });
        }
        let mut answer = proto::Peers::default();
        (answer.request, answer.candidates) = (request, candidates);
        self.send(&asker, frame(Body::Peers(answer)));
    }

    /// Passes a signal on, as it is or not, to whom it is for or not. What nobody else gets is for itself.
    fn pass(&self, from: PeerId, mut signal: proto::Signal, whim: u8) {
        let mut to = self.sessions.get(&signal.session).cloned();
        match whim {
            0..10 => return,
            10..20 => {
                let subject = proto::refuse::Subject::Session(signal.session);
                return self.refuse(&from, subject);
            }
            20..30 => signal.envelope.reverse(),
            30..35 => to = self.links.keys().next().map(|peer| (*peer, id())),
            _ => {}
        }
        let to = to.unwrap_or_else(|| (from, signal.session.clone()));
        signal.session = to.1;
        self.send(&to.0, frame(Body::Signal(signal)));
    }
}

fn id() -> Id {
    rand::random::<[u8; 16]>().to_vec()
}
