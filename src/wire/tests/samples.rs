//! Random messages, of every kind and within their limits.

use std::num::NonZeroU16;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, multihash::Multihash};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    config::Limits,
    error::Refusal,
    id::RequestId,
    message::{
        Description, Envelope, Frame, GetPeers, Hello, Path, PeerCandidate, Peers, Refuse, Signal,
        SignalBody, SignalContent, Subject, Update,
    },
};

/// How many kinds [`frame`] knows.
pub(super) const FRAME_KINDS: u8 = 9;

/// How many kinds [`signal_body`] knows.
pub(super) const SIGNAL_KINDS: u8 = 4;

const SHA2_256: u64 = 0x12;

/// All refusals that travel.
pub(super) const REFUSALS: [Refusal; 10] = [
    Refusal::Network,
    Refusal::Expired,
    Refusal::Gone,
    Refusal::Busy,
    Refusal::Full,
    Refusal::NotAccepting,
    Refusal::BadSignal,
    Refusal::Closing,
    Refusal::Protocol,
    Refusal::Other,
];

pub(super) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(super) fn frame(rng: &mut StdRng, kind: u8) -> Frame {
    match kind {
        0 => Frame::Hello(Hello {
            salt: rng.random(),
            networks: some(rng, Limits::NETWORKS, |rng| rng.random()),
            accepting: rng.random(),
            stun_port: NonZeroU16::new(rng.random()),
        }),
        1 => Frame::GetPeers(GetPeers {
            request: RequestId(rng.random()),
            network: rng.random_range(0..Limits::NETWORKS),
            limit: rng.random_range(0..=Limits::CANDIDATES),
            hops: rng.random_range(0..=Limits::HOPS),
        }),
        2 => Frame::Peers(Peers {
            request: RequestId(rng.random()),
            candidates: some(rng, Limits::CANDIDATES, candidate),
        }),
        3 => Frame::Signal(Signal {
            session: rng.random(),
            envelope: Envelope(some(rng, 2_000, |rng| rng.random())),
        }),
        4 => Frame::Refuse(Refuse {
            subject: subject(rng),
            reason: refusal(rng),
        }),
        5 => Frame::Update(Update {
            networks: some(rng, Limits::NETWORKS, |rng| rng.random()),
            accepting: rng.random(),
        }),
        6 => Frame::Ping(rng.random()),
        7 => Frame::Pong(rng.random()),
        _ => Frame::Unknown,
    }
}

pub(super) fn signal_body(rng: &mut StdRng, kind: u8) -> SignalBody {
    SignalBody {
        to: peer(rng),
        exchange: rng.random(),
        network: rng.random(),
        content: match kind {
            0 => SignalContent::Offer(description(rng)),
            1 => SignalContent::Answer(description(rng)),
            2 => SignalContent::IceCandidate(text(rng)),
            _ => SignalContent::Reject(refusal(rng)),
        },
    }
}

pub(super) fn peer(rng: &mut StdRng) -> PeerId {
    let hash = Multihash::wrap(SHA2_256, &rng.random::<[u8; 32]>()).unwrap();
    PeerId::from_multihash(hash).unwrap()
}

/// An address of one of the shapes that are kept.
pub(super) fn address(rng: &mut StdRng) -> Multiaddr {
    use Protocol::{Certhash, P2pCircuit, QuicV1, Tcp, Tls, Udp, WebRTCDirect, Ws};

    let ip4 = Protocol::Ip4(rng.random::<[u8; 4]>().into());
    let ip6 = Protocol::Ip6(rng.random::<[u16; 8]>().into());
    let name = Protocol::Dns(format!("host-{}.example", rng.random::<u16>()).into());
    let port = rng.random_range(1..=u16::MAX);
    let (tcp, udp) = (Tcp(port), Udp(port));
    let of = |parts: &[&Protocol<'static>]| parts.iter().map(|part| (*part).clone()).collect();
    let (peer, ws) = (Protocol::P2p(peer(rng)), Ws("/".into()));
    let hash = Certhash(Multihash::wrap(SHA2_256, &rng.random::<[u8; 32]>()).unwrap());
    match rng.random_range(0..6) {
        0 => of(&[&ip4, &tcp, &peer]),
        1 => of(&[&name, &tcp, &Tls, &ws]),
        2 => of(&[&ip6, &udp, &QuicV1]),
        3 => of(&[&ip4, &udp, &WebRTCDirect, &hash, &peer]),
        4 => of(&[&ip6, &tcp, &ws, &peer, &P2pCircuit]),
        _ => of(&[&name, &tcp, &peer, &P2pCircuit, &peer]),
    }
}

pub(super) fn candidate(rng: &mut StdRng) -> PeerCandidate {
    PeerCandidate {
        peer: peer(rng),
        accepting: rng.random(),
        path: if rng.random() {
            Path::Signals(rng.random())
        } else {
            Path::Vouched(vec![address(rng); rng.random_range(1..=Limits::ADDRESSES)])
        },
    }
}

fn subject(rng: &mut StdRng) -> Subject {
    match rng.random_range(0..3) {
        0 => Subject::Link,
        1 => Subject::Request(RequestId(rng.random())),
        _ => Subject::Session(rng.random()),
    }
}

fn refusal(rng: &mut StdRng) -> Refusal {
    REFUSALS[rng.random_range(0..REFUSALS.len())]
}

fn description(rng: &mut StdRng) -> Description {
    Description {
        sdp: text(rng),
        addresses: some(rng, Limits::ADDRESSES, address),
    }
}

fn text(rng: &mut StdRng) -> String {
    some(rng, 500, |rng| rng.random::<char>())
        .into_iter()
        .collect()
}

fn some<T>(rng: &mut StdRng, most: usize, mut make: impl FnMut(&mut StdRng) -> T) -> Vec<T> {
    let count = rng.random_range(0..=most);
    (0..count).map(|_| make(rng)).collect()
}
