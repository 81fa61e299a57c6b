//! What honest peers send each other arrives, and the limits hold.

use libp2p::{Multiaddr, multiaddr::Protocol};
use rand::RngExt;

use super::samples::{self, FRAME_KINDS};
use crate::{
    config::Limits,
    error::ProtocolError,
    id::{RequestId, SessionId},
    message::{Envelope, Frame, Hello, Path, PeerCandidate, Peers, Signal, weight},
    wire::{Decoder, encode, envelope::MAX_ENVELOPE_LEN},
};

/// All frames in `bytes`, which must end with the last of them.
pub(super) fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, ProtocolError> {
    let mut decoder = Decoder::default();
    decoder.extend(bytes);
    let frames = std::iter::from_fn(|| decoder.decode().transpose());
    let frames = frames
        .map(|it| it.map(|(frame, _)| frame))
        .collect::<Result<_, _>>()?;
    decoder.finish()?;
    Ok(frames)
}

/// `body` with its length in front.
pub(super) fn prefixed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encode_length_delimiter(body.len(), &mut bytes).unwrap();
    bytes.extend_from_slice(body);
    bytes
}

fn signal_of(len: usize) -> Frame {
    Frame::Signal(Signal {
        session: SessionId([7; 16]),
        envelope: Envelope(vec![1; len]),
    })
}

#[test]
fn every_frame_arrives_as_it_was_sent() {
    for seed in 0..300 {
        let mut rng = samples::rng(seed);
        for kind in 0..FRAME_KINDS {
            let frame = samples::frame(&mut rng, kind);
            let bytes = encode(&frame).unwrap();
            assert_eq!(decode_all(&bytes), Ok(vec![frame]), "seed {seed}");
        }
    }
}

#[test]
fn frames_arrive_however_the_network_cuts_them() {
    for seed in 0..100 {
        let mut rng = samples::rng(seed);
        let frames = (0..20).map(|kind| samples::frame(&mut rng, kind % FRAME_KINDS));
        let frames = frames.collect::<Vec<_>>();
        let bytes = frames.iter().flat_map(|frame| encode(frame).unwrap());
        let mut rest = &*bytes.collect::<Vec<_>>();

        let mut decoder = Decoder::default();
        let mut arrived = Vec::new();
        while !rest.is_empty() {
            let (packet, later) = rest.split_at(rng.random_range(1..=rest.len().min(700)));
            decoder.extend(packet);
            while let Some((frame, _)) = decoder.decode().unwrap() {
                arrived.push(frame);
            }
            rest = later;
        }
        assert_eq!(decoder.finish(), Ok(()), "seed {seed}");
        assert_eq!(arrived, frames, "seed {seed}");
    }
}

#[test]
fn a_stream_that_ends_within_a_frame_is_truncated() {
    let bytes = encode(&signal_of(200)).unwrap();
    assert_eq!(decode_all(&[]), Ok(vec![]));
    for len in 1..bytes.len() {
        let cut = decode_all(&bytes[..len]);
        assert_eq!(cut, Err(ProtocolError::Truncated), "after {len} bytes");
    }
}

#[test]
fn a_frame_has_at_most_16_kib() {
    for (len, prefix) in [(MAX_ENVELOPE_LEN - 1, 2), (MAX_ENVELOPE_LEN, 3)] {
        let bytes = encode(&signal_of(len)).unwrap();
        let frame_len = len + Limits::FRAME_LEN - MAX_ENVELOPE_LEN;
        assert_eq!(bytes.len(), prefix + frame_len);
        assert_eq!(decode_all(&bytes), Ok(vec![signal_of(len)]));
    }
    let error = ProtocolError::TooLong {
        len: Limits::FRAME_LEN as u64 + 1,
    };
    assert_eq!(encode(&signal_of(MAX_ENVELOPE_LEN + 1)), Err(error));
}

#[test]
fn a_frame_that_is_too_long_is_refused_at_its_length() {
    for (len, allowed) in [(0, true), (1, true), (2, false), (1 << 40, false)] {
        let len = Limits::FRAME_LEN as u64 - 1 + len;
        let mut prefix = Vec::new();
        prost::encode_length_delimiter(len as usize, &mut prefix).unwrap();
        let expected = if allowed {
            Err(ProtocolError::Truncated)
        } else {
            Err(ProtocolError::TooLong { len })
        };
        assert_eq!(decode_all(&prefix), expected);
    }
}

#[test]
fn a_length_is_a_varint_of_the_shortest_form() {
    for bytes in [&[0x80, 0x00][..], &[0xff; 9], &[0x80; 20]] {
        assert_eq!(decode_all(bytes), Err(ProtocolError::Malformed));
    }
    assert_eq!(decode_all(&[0xff; 8]), Err(ProtocolError::Truncated));
}

#[test]
fn the_largest_hello_and_peers_fit_into_a_frame() {
    let mut rng = samples::rng(1);
    let hello = Frame::Hello(Hello {
        salt: rng.random(),
        networks: vec![rng.random(); Limits::NETWORKS],
        accepting: true,
        stun_port: None,
    });
    assert_eq!(decode_all(&encode(&hello).unwrap()), Ok(vec![hello]));

    let address = dns_address(Limits::ADDRESS_LEN);
    let candidate = PeerCandidate {
        peer: samples::peer(&mut rng),
        accepting: true,
        path: Path::Vouched(vec![address; Limits::ADDRESSES]),
    };
    let peers = Frame::Peers(Peers {
        request: RequestId(u32::MAX),
        candidates: vec![candidate; Limits::CANDIDATES],
    });
    assert_eq!(decode_all(&encode(&peers).unwrap()), Ok(vec![peers]));
}

#[test]
fn a_signal_counts_as_its_frame_does() {
    for len in (1900..2200).chain(MAX_ENVELOPE_LEN - 100..=MAX_ENVELOPE_LEN) {
        let frame = signal_of(len);
        let mut decoder = Decoder::default();
        decoder.extend(&encode(&frame).unwrap());
        let (_, frame_len) = decoder.decode().unwrap().unwrap();
        assert_eq!(frame.weight(), weight(frame_len), "{len}");
    }
}

#[test]
fn an_address_that_is_too_long_does_not_travel() {
    let vouched = |addresses| {
        Frame::Peers(Peers {
            request: RequestId(1),
            candidates: vec![PeerCandidate {
                peer: samples::peer(&mut samples::rng(1)),
                accepting: true,
                path: Path::Vouched(addresses),
            }],
        })
    };
    let [short, limit, long] = [
        Limits::ADDRESS_LEN - 1,
        Limits::ADDRESS_LEN,
        Limits::ADDRESS_LEN + 1,
    ]
    .map(dns_address);
    let sent = vouched(vec![long, Multiaddr::empty(), short.clone(), limit.clone()]);
    let arrived = vouched(vec![short, limit]);
    assert_eq!(decode_all(&encode(&sent).unwrap()), Ok(vec![arrived]));
}

/// An address of that many bytes.
pub(super) fn dns_address(len: usize) -> Multiaddr {
    let of = |name: usize| {
        Multiaddr::from(Protocol::Dns("x".repeat(name).into())).with(Protocol::Tcp(1))
    };
    let address = of(len - (of(200).len() - 200));
    assert_eq!(address.len(), len);
    address
}
