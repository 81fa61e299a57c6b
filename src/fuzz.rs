//! What strangers send, for a fuzzer: each of these takes any bytes, and panics if something does not hold that
//! always has to. `fuzz/` feeds them, and what they found worth keeping, in `tests/corpus`, is replayed here.

#![allow(clippy::expect_used, reason = "a panic is what is looked for")]

use libp2p::identity::Keypair;

pub use crate::exchange::fuzz::{core, cores};
#[cfg(feature = "webrtc")]
pub use crate::transport::{
    fuzz::{association, setup, strangers},
    stream_fuzz::streams,
};
use crate::{
    error::ProtocolError,
    message::{Envelope, Frame, Seal},
    wire,
};

/// The decoder of frames: the first byte says how the rest is cut into reads. However that is, the same frames
/// come out, and each of them arrives as it is if it is sent on.
pub fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = decode(bytes, bytes.len());
    assert_eq!(decode(bytes, usize::from(*cut)), whole);
    for frame in whole.0 {
        let sent = wire::encode(&frame);
        let sent = sent.expect("what came in a frame fits into one");
        assert_eq!(decode(&sent, sent.len()), (vec![frame], Ok(())));
    }
}

fn decode(bytes: &[u8], cut: usize) -> (Vec<Frame>, Result<(), ProtocolError>) {
    let (mut decoder, mut frames) = (wire::Decoder::default(), Vec::new());
    for read in bytes.chunks(cut.max(1)) {
        decoder.extend(read);
        loop {
            match decoder.decode() {
                Ok(Some((frame, _))) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, decoder.finish())
}

/// The reader of what is signed, with and without a signature around it: what can be read is what was written.
pub fn signal(bytes: &[u8]) {
    let signer =
        wire::Signer::new(Keypair::ed25519_from_bytes([1; 32]).expect("a key of 32 bytes"));
    let _ = signer.open(&Envelope(bytes.to_vec()));
    if let Some(body) = wire::decode_signal(bytes) {
        assert_eq!(
            wire::decode_signal(&wire::encode_signal(&body)).as_ref(),
            Some(&body)
        );
        if let Some(envelope) = signer.seal(&body) {
            assert_eq!(signer.open(&envelope).map(|(_, body)| body), Ok(body));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, any},
        proptest,
    };

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn whatever_strangers_say_a_core_keeps_its_rules(bytes in vec(any::<u8>(), 0..600)) {
            super::core(&bytes);
        }

        #[test]
        fn whatever_the_network_does_each_query_ends_once_and_nothing_is_left(bytes in vec(any::<u8>(), 0..600)) {
            super::cores(&bytes);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in vec(any::<u8>(), 0..600)) {
            super::frames(&bytes);
            super::signal(&bytes);
        }
    }

    #[cfg(feature = "webrtc")]
    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn any_messages_are_a_stream_or_an_error(bytes in vec(any::<u8>(), 0..600)) {
            super::streams(&bytes);
        }

        #[test]
        fn whatever_packets_say_an_association_keeps_its_rules(bytes in vec(any::<u8>(), 0..300)) {
            super::association(&bytes);
        }
    }

    #[cfg(feature = "webrtc")]
    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(30) })]

        #[test]
        fn whatever_comes_a_set_up_ends(bytes in vec(any::<u8>(), 0..300)) {
            super::setup(&bytes);
            super::strangers(&bytes);
        }
    }

    /// Feeds a target what is kept for it.
    fn replay(target: &str, run: impl Fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/corpus")
            .join(target);
        let files = fs::read_dir(&corpus).unwrap();
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", corpus.display());
    }

    #[test]
    fn frames() {
        replay("frames", super::frames);
    }

    #[test]
    fn signal() {
        replay("signal", super::signal);
    }

    #[cfg(feature = "webrtc")]
    #[test]
    fn association() {
        replay("association", super::association);
    }

    #[cfg(feature = "webrtc")]
    #[test]
    fn setup() {
        replay("setup", super::setup);
    }

    #[cfg(feature = "webrtc")]
    #[test]
    fn strangers() {
        replay("strangers", super::strangers);
    }

    #[cfg(feature = "webrtc")]
    #[test]
    fn streams() {
        replay("streams", super::streams);
    }

    #[test]
    fn core() {
        replay("core", super::core);
    }

    #[test]
    fn cores() {
        replay("cores", super::cores);
    }
}
