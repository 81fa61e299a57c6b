//! A signal is who signed it, for this purpose, unchanged; or it is refused.

use libp2p::{core::SignedEnvelope, identity::Keypair};
use prost::Message;
use rand::{Rng, RngExt};

use super::samples::{self, SIGNAL_KINDS};
use crate::{
    config::Limits,
    error::SignalError,
    message::{Description, Envelope, Frame, Seal, Signal, SignalBody, SignalContent},
    wire::{
        Signer, encode,
        envelope::{DOMAIN, MAX_ENVELOPE_LEN, PAYLOAD_TYPE},
        generated::{self, signal_body::Body},
        signal_body,
    },
};

fn signer() -> (Signer, Keypair) {
    let keypair = Keypair::generate_ed25519();
    (Signer::new(keypair.clone()), keypair)
}

fn sealed_as(keypair: &Keypair, domain: &str, kind: &[u8], payload: Vec<u8>) -> Envelope {
    let envelope = SignedEnvelope::new(keypair, domain.into(), kind.into(), payload).unwrap();
    Envelope(envelope.into_protobuf_encoding())
}

fn ice_candidate_of(len: usize) -> SignalBody {
    SignalBody {
        content: SignalContent::IceCandidate("x".repeat(len)),
        ..samples::signal_body(&mut samples::rng(1), 3)
    }
}

#[test]
fn every_signal_arrives_as_it_was_sealed() {
    let (alice, keypair) = signer();
    let (bob, _) = signer();
    for seed in 0..50 {
        let mut rng = samples::rng(seed);
        for kind in 0..SIGNAL_KINDS {
            let body = samples::signal_body(&mut rng, kind);
            let envelope = alice.seal(&body).unwrap();
            let expected = (keypair.public().to_peer_id(), body);
            assert_eq!(bob.open(&envelope), Ok(expected), "seed {seed}");
        }
    }
}

#[test]
fn a_changed_envelope_is_refused() {
    let (alice, _) = signer();
    let mut rng = samples::rng(1);
    let envelope = alice.seal(&ice_candidate_of(50)).unwrap();
    for place in 0..envelope.0.len() {
        let mut changed = envelope.clone();
        changed.0[place] ^= 1 << rng.random_range(0..8);
        assert!(alice.open(&changed).is_err(), "byte {place} has no meaning");
    }
}

#[test]
fn a_signature_of_somebody_else_does_not_fit() {
    let (_, alice) = signer();
    let (bob, mallory) = signer();
    let payload = signal_body::encode(&ice_candidate_of(10));
    let envelope = sealed_as(&mallory, DOMAIN, PAYLOAD_TYPE, payload);
    let mut bytes = envelope.0;
    let own = mallory.public().encode_protobuf();
    let place = bytes.windows(own.len()).position(|window| window == own);
    let place = place.unwrap();
    bytes[place..place + own.len()].copy_from_slice(&alice.public().encode_protobuf());
    assert_eq!(bob.open(&Envelope(bytes)), Err(SignalError::Signature));
}

#[test]
fn an_envelope_made_for_something_else_is_refused() {
    let (bob, keypair) = signer();
    let payload = || signal_body::encode(&ice_candidate_of(10));
    let domain = sealed_as(&keypair, "libp2p-peer-record", PAYLOAD_TYPE, payload());
    assert_eq!(bob.open(&domain), Err(SignalError::Signature));
    let kind = sealed_as(&keypair, DOMAIN, b"/libp2p/routing-state-record", payload());
    assert_eq!(bob.open(&kind), Err(SignalError::Malformed));
    let good = sealed_as(&keypair, DOMAIN, PAYLOAD_TYPE, payload());
    assert!(bob.open(&good).is_ok());
}

#[test]
fn a_signal_that_is_not_understood_is_malformed() {
    let (bob, keypair) = signer();
    let good = generated::SignalBody {
        to: keypair.public().to_peer_id().to_bytes(),
        exchange: vec![1; 16],
        network: vec![2; 16],
        body: Some(Body::IceCandidate(String::new())),
    };
    let open = |body: &generated::SignalBody| {
        bob.open(&sealed_as(
            &keypair,
            DOMAIN,
            PAYLOAD_TYPE,
            body.encode_to_vec(),
        ))
    };
    assert!(open(&good).is_ok());
    for len in [0, 15, 17] {
        let (to, exchange, network) = (vec![1; len], vec![1; len], vec![1; len]);
        let bad = [
            generated::SignalBody { to, ..good.clone() },
            generated::SignalBody {
                exchange,
                ..good.clone()
            },
            generated::SignalBody {
                network,
                ..good.clone()
            },
        ];
        for body in bad {
            assert_eq!(open(&body), Err(SignalError::Malformed));
        }
    }
    let later = generated::SignalBody { body: None, ..good };
    assert_eq!(open(&later), Err(SignalError::Malformed));
}

#[test]
fn of_many_addresses_the_first_4_are_signed_and_the_first_4_are_read() {
    let (bob, keypair) = signer();
    let mut rng = samples::rng(1);
    let addresses = (0..6)
        .map(|_| samples::address(&mut rng))
        .collect::<Vec<_>>();
    let offer = |addresses| {
        SignalContent::Offer(Description {
            sdp: String::new(),
            addresses,
        })
    };
    let body = SignalBody {
        content: offer(addresses.clone()),
        ..ice_candidate_of(0)
    };
    let expected = offer(addresses[..Limits::ADDRESSES].to_vec());
    let (_, opened) = bob.open(&bob.seal(&body).unwrap()).unwrap();
    assert_eq!(opened.content, expected);

    let body = generated::SignalBody {
        to: body.to.to_bytes(),
        exchange: vec![1; 16],
        network: vec![2; 16],
        body: Some(Body::Offer(generated::Offer {
            sdp: String::new(),
            addresses: addresses.iter().map(|address| address.to_vec()).collect(),
        })),
    };
    let envelope = sealed_as(&keypair, DOMAIN, PAYLOAD_TYPE, body.encode_to_vec());
    assert_eq!(bob.open(&envelope).unwrap().1.content, expected);
}

#[test]
fn a_signal_that_fits_into_no_frame_is_not_sealed() {
    let (bob, _) = signer();
    let sealed_len = |len| {
        bob.seal(&ice_candidate_of(len))
            .map(|sealed| sealed.0.len())
    };
    let room = MAX_ENVELOPE_LEN - (sealed_len(10_000).unwrap() - 10_000);
    assert_eq!(sealed_len(room - 1), Some(MAX_ENVELOPE_LEN - 1));
    assert_eq!(sealed_len(room), Some(MAX_ENVELOPE_LEN));
    assert_eq!(sealed_len(room + 1), None);
    assert_eq!(sealed_len(1_000_000), None);

    let session = samples::rng(1).random();
    let envelope = bob.seal(&ice_candidate_of(room)).unwrap();
    assert!(encode(&Frame::Signal(Signal { session, envelope })).is_ok());
}

#[test]
fn garbage_in_an_envelope_is_malformed() {
    let (bob, keypair) = signer();
    let mut rng = samples::rng(1);
    assert_eq!(bob.open(&Envelope(vec![])), Err(SignalError::Malformed));
    for _ in 0..10_000 {
        let mut bytes = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut bytes);
        assert_eq!(bob.open(&Envelope(bytes)), Err(SignalError::Malformed));
    }
    for _ in 0..200 {
        let mut payload = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut payload);
        let signed = sealed_as(&keypair, DOMAIN, PAYLOAD_TYPE, payload);
        assert_eq!(bob.open(&signed), Err(SignalError::Malformed));
    }
}
