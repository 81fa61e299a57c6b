//! From the generated frames to those of `message`, and back. What comes from a remote is checked and
//! clamped here, once; nobody above looks at a length again.

use std::num::NonZeroU16;

use libp2p::PeerId;

use super::{
    generated::{self, frame::Body, refuse},
    values::{id, read_addresses, read_reason, write_addresses, write_reason},
};
use crate::{
    config::Limits,
    error::ProtocolError,
    id::{NetworkTag, RequestId},
    message::{
        Envelope, Frame, GetPeers, Hello, Path, PeerCandidate, Peers, Refuse, Signal, Subject,
        Update,
    },
};

impl TryFrom<generated::Frame> for Frame {
    type Error = ProtocolError;

    fn try_from(frame: generated::Frame) -> Result<Self, ProtocolError> {
        Ok(match frame.body {
            Some(Body::Hello(hello)) => Self::Hello(read_hello(hello)?),
            Some(Body::GetPeers(question)) => Self::GetPeers(read_get_peers(&question)),
            Some(Body::Peers(peers)) => Self::Peers(read_peers(peers)),
            Some(Body::Signal(signal)) => Self::Signal(read_signal(signal)?),
            Some(Body::Refuse(refuse)) => Self::Refuse(read_refuse(&refuse)?),
            Some(Body::Update(update)) => Self::Update(read_update(&update)?),
            Some(Body::Ping(ping)) => Self::Ping(ping.nonce),
            Some(Body::Pong(pong)) => Self::Pong(pong.nonce),
            None => Self::Unknown,
        })
    }
}

fn read_hello(hello: generated::Hello) -> Result<Hello, ProtocolError> {
    let stun_port =
        u16::try_from(hello.stun_port).map_err(|_| ProtocolError::Field("hello.stun_port"))?;
    Ok(Hello {
        salt: id(&hello.salt, "hello.salt")?,
        networks: read_networks(&hello.networks, "hello.networks")?,
        accepting: hello.accepting,
        stun_port: NonZeroU16::new(stun_port),
    })
}

/// Too many are an error, not a list to cut: the place of a network in it has a meaning.
fn read_networks(tags: &[Vec<u8>], field: &'static str) -> Result<Vec<NetworkTag>, ProtocolError> {
    if tags.len() > Limits::NETWORKS {
        return Err(ProtocolError::Field(field));
    }
    tags.iter().map(|tag| id(tag, field)).collect()
}

fn read_get_peers(question: &generated::GetPeers) -> GetPeers {
    GetPeers {
        request: RequestId(question.request),
        // An index that does not fit names no network, as the largest does not.
        network: usize::try_from(question.network).unwrap_or(usize::MAX),
        limit: usize::try_from(question.limit)
            .map_or(Limits::CANDIDATES, |limit| limit.min(Limits::CANDIDATES)),
        hops: u8::try_from(question.hops).map_or(Limits::HOPS, |hops| hops.min(Limits::HOPS)),
    }
}

fn read_peers(peers: generated::Peers) -> Peers {
    Peers {
        request: RequestId(peers.request),
        candidates: peers
            .candidates
            .into_iter()
            .filter_map(read_candidate)
            .take(Limits::CANDIDATES)
            .collect(),
    }
}

/// `None` for a candidate that cannot be used, which must not hide the others.
fn read_candidate(candidate: generated::PeerCandidate) -> Option<PeerCandidate> {
    let path = match candidate.token.as_slice().try_into() {
        Ok(token) => Path::Signals(token),
        Err(_) => Path::Vouched(read_addresses(candidate.addresses)),
    };
    if path == Path::Vouched(Vec::new()) {
        return None;
    }
    Some(PeerCandidate {
        peer: PeerId::from_bytes(&candidate.peer).ok()?,
        accepting: candidate.accepting,
        path,
    })
}

fn read_signal(signal: generated::Signal) -> Result<Signal, ProtocolError> {
    Ok(Signal {
        session: id(&signal.session, "signal.session")?,
        envelope: Envelope(signal.envelope),
    })
}

fn read_refuse(refuse: &generated::Refuse) -> Result<Refuse, ProtocolError> {
    let subject = match &refuse.subject {
        None => Subject::Link,
        Some(refuse::Subject::Request(request)) => Subject::Request(RequestId(*request)),
        Some(refuse::Subject::Session(session)) => Subject::Session(id(session, "refuse.session")?),
    };
    Ok(Refuse {
        subject,
        reason: read_reason(refuse.reason),
    })
}

fn read_update(update: &generated::Update) -> Result<Update, ProtocolError> {
    Ok(Update {
        networks: read_networks(&update.networks, "update.networks")?,
        accepting: update.accepting,
    })
}

impl From<&Frame> for generated::Frame {
    fn from(frame: &Frame) -> Self {
        let body = match frame {
            Frame::Hello(hello) => Some(Body::Hello(write_hello(hello))),
            Frame::GetPeers(question) => Some(Body::GetPeers(write_get_peers(question))),
            Frame::Peers(peers) => Some(Body::Peers(write_peers(peers))),
            Frame::Signal(signal) => Some(Body::Signal(write_signal(signal))),
            Frame::Refuse(refuse) => Some(Body::Refuse(write_refuse(refuse))),
            Frame::Update(update) => Some(Body::Update(write_update(update))),
            Frame::Ping(nonce) => Some(Body::Ping(generated::Ping { nonce: *nonce })),
            Frame::Pong(nonce) => Some(Body::Pong(generated::Pong { nonce: *nonce })),
            Frame::Unknown => None,
        };
        Self { body }
    }
}

fn write_hello(hello: &Hello) -> generated::Hello {
    generated::Hello {
        salt: hello.salt.as_bytes().to_vec(),
        networks: write_networks(&hello.networks),
        accepting: hello.accepting,
        stun_port: hello.stun_port.map_or(0, |port| port.get().into()),
    }
}

fn write_networks(networks: &[NetworkTag]) -> Vec<Vec<u8>> {
    networks.iter().map(|tag| tag.as_bytes().to_vec()).collect()
}

fn write_get_peers(question: &GetPeers) -> generated::GetPeers {
    generated::GetPeers {
        request: question.request.0,
        network: u32::try_from(question.network).unwrap_or(u32::MAX),
        limit: u32::try_from(question.limit).unwrap_or(u32::MAX),
        hops: question.hops.into(),
    }
}

fn write_peers(peers: &Peers) -> generated::Peers {
    generated::Peers {
        request: peers.request.0,
        candidates: peers
            .candidates
            .iter()
            .take(Limits::CANDIDATES)
            .map(write_candidate)
            .collect(),
    }
}

fn write_candidate(candidate: &PeerCandidate) -> generated::PeerCandidate {
    let (token, addresses) = match &candidate.path {
        Path::Signals(token) => (token.as_bytes().to_vec(), Vec::new()),
        Path::Vouched(addresses) => (Vec::new(), write_addresses(addresses)),
    };
    generated::PeerCandidate {
        peer: candidate.peer.to_bytes(),
        token,
        accepting: candidate.accepting,
        addresses,
    }
}

fn write_signal(signal: &Signal) -> generated::Signal {
    generated::Signal {
        session: signal.session.as_bytes().to_vec(),
        envelope: signal.envelope.0.clone(),
    }
}

fn write_refuse(refuse: &Refuse) -> generated::Refuse {
    let subject = match refuse.subject {
        Subject::Link => None,
        Subject::Request(request) => Some(refuse::Subject::Request(request.0)),
        Subject::Session(session) => Some(refuse::Subject::Session(session.as_bytes().to_vec())),
    };
    generated::Refuse {
        reason: write_reason(refuse.reason),
        subject,
    }
}

fn write_update(update: &Update) -> generated::Update {
    generated::Update {
        networks: write_networks(&update.networks),
        accepting: update.accepting,
    }
}
