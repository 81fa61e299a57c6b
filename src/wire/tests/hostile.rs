//! What a remote of another version, or a hostile one, sends: it is left out, clamped or refused, and
//! never more than that.

use libp2p::Multiaddr;
use prost::Message;
use rand::{Rng, RngExt};

use super::{
    frames::{decode_all, dns_address, prefixed},
    samples::{self, FRAME_KINDS, REFUSALS},
};
use crate::{
    config::Limits,
    error::{ProtocolError, Refusal},
    id::{RequestId, Token},
    message::{Frame, GetPeers, Path, Refuse, Subject},
    wire::{
        encode,
        generated::{self, frame::Body, refuse},
    },
};

fn decode(body: Body) -> Result<Frame, ProtocolError> {
    let frame = generated::Frame { body: Some(body) };
    decode_all(&prefixed(&frame.encode_to_vec())).map(|mut frames| frames.remove(0))
}

fn hello() -> generated::Hello {
    generated::Hello {
        salt: vec![1; 16],
        networks: vec![vec![2; 16]],
        accepting: true,
        stun_port: 65_535,
    }
}

fn candidate(token: &[u8], addresses: &[&[u8]]) -> generated::PeerCandidate {
    generated::PeerCandidate {
        peer: samples::peer(&mut samples::rng(5)).to_bytes(),
        token: token.to_vec(),
        accepting: true,
        addresses: addresses.iter().map(|bytes| bytes.to_vec()).collect(),
    }
}

fn paths(candidates: Vec<generated::PeerCandidate>) -> Vec<Path> {
    let peers = generated::Peers {
        request: 1,
        candidates,
    };
    match decode(Body::Peers(peers)) {
        Ok(Frame::Peers(peers)) => peers.candidates.into_iter().map(|c| c.path).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn garbage_is_an_error_or_a_message_but_never_a_panic() {
    let mut rng = samples::rng(1);
    for _ in 0..100_000 {
        let mut body = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut body);
        let _ = decode_all(&body);
        let _ = decode_all(&prefixed(&body));
    }
}

#[test]
fn a_damaged_frame_is_an_error_or_a_message_but_never_a_panic() {
    let mut rng = samples::rng(2);
    for round in 0..50_000 {
        let frame = samples::frame(&mut rng, (round % u32::from(FRAME_KINDS)) as u8);
        let mut bytes = encode(&frame).unwrap();
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(0..bytes.len());
            bytes[place] = rng.random();
        }
        let _ = decode_all(&bytes);
    }
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    // Field 100, of each wire type, in the frame and in its body.
    let later = [
        &[0xa0, 0x06, 0x05][..],
        &[0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xa2, 0x06, 0x02, 0xff, 0xff],
        &[0xa5, 0x06, 1, 2, 3, 4],
    ];
    for unknown in later {
        let mut ping = vec![0x08, 0x07];
        ping.extend_from_slice(unknown);
        let mut frame = vec![0x3a, ping.len() as u8];
        frame.extend_from_slice(&ping);
        frame.extend_from_slice(unknown);
        assert_eq!(decode_all(&prefixed(&frame)), Ok(vec![Frame::Ping(7)]));
    }
}

#[test]
fn a_body_of_a_later_version_is_an_unknown_frame() {
    for bytes in [&[0x4a, 0x02, 0xff, 0xff][..], &[0xa0, 0x06, 0x05], &[]] {
        assert_eq!(decode_all(&prefixed(bytes)), Ok(vec![Frame::Unknown]));
    }
}

#[test]
fn bytes_that_are_no_protobuf_are_malformed() {
    for bytes in [&[0x0a, 0x10][..], &[0x07], &[0x0a, 0x01, 0xff]] {
        assert_eq!(decode_all(&prefixed(bytes)), Err(ProtocolError::Malformed));
    }
}

#[test]
fn a_hello_has_a_salt_of_16_bytes() {
    for len in [0, 15, 17] {
        let salt = vec![1; len];
        let error = Err(ProtocolError::Field("hello.salt"));
        assert_eq!(
            decode(Body::Hello(generated::Hello { salt, ..hello() })),
            error
        );
    }
    assert!(decode(Body::Hello(hello())).is_ok());
}

#[test]
fn a_stun_port_has_16_bits() {
    let stun_port = 65_536;
    let bad = generated::Hello {
        stun_port,
        ..hello()
    };
    let error = Err(ProtocolError::Field("hello.stun_port"));
    assert_eq!(decode(Body::Hello(bad)), error);
}

#[test]
fn a_peer_names_at_most_16_networks_of_16_bytes() {
    let network_lists = [
        (vec![vec![2; 16]; Limits::NETWORKS - 1], true),
        (vec![vec![2; 16]; Limits::NETWORKS], true),
        (vec![vec![2; 16]; Limits::NETWORKS + 1], false),
        (vec![vec![2; 16], vec![2; 15]], false),
        (vec![vec![2; 17]], false),
    ];
    for (networks, good) in network_lists {
        let update = decode(Body::Update(generated::Update {
            networks: networks.clone(),
            accepting: false,
        }));
        let hello = decode(Body::Hello(generated::Hello {
            networks,
            ..hello()
        }));
        if good {
            assert!(hello.is_ok() && update.is_ok());
        } else {
            assert_eq!(hello, Err(ProtocolError::Field("hello.networks")));
            assert_eq!(update, Err(ProtocolError::Field("update.networks")));
        }
    }
}

#[test]
fn a_question_is_clamped_to_what_is_answered() {
    let ask = |network, limit, hops| {
        decode(Body::GetPeers(generated::GetPeers {
            request: 1,
            network,
            limit,
            hops,
        }))
    };
    let most = GetPeers {
        request: RequestId(1),
        network: u32::MAX as usize,
        limit: Limits::CANDIDATES,
        hops: Limits::HOPS,
    };
    for (limit, hops) in [(8, 3), (9, 4), (256, 256), (u32::MAX, u32::MAX)] {
        let asked = ask(u32::MAX, limit, hops);
        assert_eq!(asked, Ok(Frame::GetPeers(most.clone())));
    }
    let less = GetPeers {
        limit: Limits::CANDIDATES - 1,
        hops: Limits::HOPS - 1,
        ..most
    };
    assert_eq!(ask(u32::MAX, 7, 2), Ok(Frame::GetPeers(less)));
}

#[test]
fn a_bad_candidate_is_left_out_and_the_others_are_kept() {
    let good = candidate(&[3; 16], &[]);
    let bad_peer = generated::PeerCandidate {
        peer: vec![1, 2, 3],
        ..good.clone()
    };
    let candidates = vec![
        bad_peer,
        candidate(&[3; 15], &[]),
        candidate(&[3; 17], &[b"no address", b""]),
        good,
        generated::PeerCandidate::default(),
    ];
    assert_eq!(paths(candidates), [Path::Signals(Token([3; 16]))]);
}

#[test]
fn of_many_candidates_the_first_8_are_kept() {
    for count in [7, 8, 9, 200] {
        let kept = paths(vec![candidate(&[3; 16], &[]); count]).len();
        assert_eq!(kept, count.min(Limits::CANDIDATES));
    }
}

#[test]
fn bad_addresses_are_left_out_and_the_first_4_others_are_kept() {
    let good = "/ip4/1.2.3.4/tcp/5".parse::<Multiaddr>().unwrap();
    let bytes = good.to_vec();
    let hidden = "/ip4/1.2.3.4/ip4/127.0.0.1/tcp/5"
        .parse::<Multiaddr>()
        .unwrap();
    let bad = candidate(&[], &[&[0xff, 0xff, 0xff], &[], &hidden.to_vec(), &bytes]);
    assert_eq!(paths(vec![bad]), [Path::Vouched(vec![good.clone()])]);
    for count in [3, 4, 5] {
        let kept = paths(vec![candidate(&[], &vec![&*bytes; count])]);
        let expected = vec![good.clone(); count.min(Limits::ADDRESSES)];
        assert_eq!(kept, [Path::Vouched(expected)]);
    }
}

#[test]
fn an_address_that_is_too_long_is_left_out() {
    let most = Limits::ADDRESS_LEN;
    for len in [most - 1, most, most + 1] {
        let address = dns_address(len);
        let kept = paths(vec![candidate(&[], &[&address.to_vec()])]);
        let expected = (len <= most).then(|| Path::Vouched(vec![address]));
        assert_eq!(kept, Vec::from_iter(expected));
    }
}

#[test]
fn a_session_has_16_bytes() {
    for len in [0, 15, 17] {
        let session = vec![1; len];
        let signal = decode(Body::Signal(generated::Signal {
            session: session.clone(),
            envelope: vec![1],
        }));
        assert_eq!(signal, Err(ProtocolError::Field("signal.session")));
        let refuse = decode(Body::Refuse(generated::Refuse {
            reason: 1,
            subject: Some(refuse::Subject::Session(session)),
        }));
        assert_eq!(refuse, Err(ProtocolError::Field("refuse.session")));
    }
}

#[test]
fn a_reason_of_a_later_version_is_another_reason() {
    let known = REFUSALS.len() as i32 - 1;
    for reason in [0, known + 1, -1, i32::MAX] {
        let refuse = decode(Body::Refuse(generated::Refuse {
            reason,
            subject: None,
        }));
        let expected = Refuse {
            subject: Subject::Link,
            reason: Refusal::Other,
        };
        assert_eq!(refuse, Ok(Frame::Refuse(expected)));
    }
}
