//! Signals under the signature of who sent them: libp2p's signed envelope, RFC 0002. It knows keys
//! and bytes, and not whose signature is the right one.

use libp2p::{
    PeerId,
    core::{SignedEnvelope, signed_envelope::ReadPayloadError},
    identity::Keypair,
};

use super::signal_body;
use crate::{
    config::Limits,
    error::SignalError,
    message::{Envelope, Seal, Signal, SignalBody},
};

/// Keeps a signature that was made here from being taken for one that was made for something else.
pub(super) const DOMAIN: &str = "libp2p-pxp-signal";

/// What is in the envelope. No multicodec stands for it, so it has a name, as protocols do.
pub(super) const PAYLOAD_TYPE: &[u8] = b"/libp2p/pxp/signal/1";

/// The longest envelope that fits into a frame, and so the longest that is sealed.
pub(super) const MAX_ENVELOPE_LEN: usize = Limits::FRAME_LEN - Signal::OVERHEAD;

/// Signs with the key of the local peer, and opens what anybody signed.
pub(crate) struct Signer {
    keypair: Keypair,
}

impl Signer {
    pub(crate) fn new(keypair: Keypair) -> Self {
        Self { keypair }
    }
}

impl Seal for Signer {
    fn seal(&self, body: &SignalBody) -> Option<Envelope> {
        let payload = signal_body::encode(body);
        let envelope = SignedEnvelope::new(
            &self.keypair,
            DOMAIN.to_owned(),
            PAYLOAD_TYPE.to_vec(),
            payload,
        );
        let bytes = envelope.ok()?.into_protobuf_encoding();
        (bytes.len() <= MAX_ENVELOPE_LEN).then_some(Envelope(bytes))
    }

    fn open(&self, envelope: &Envelope) -> Result<(PeerId, SignalBody), SignalError> {
        let envelope = SignedEnvelope::from_protobuf_encoding(&envelope.0)
            .map_err(|_| SignalError::Malformed)?;
        let (payload, key) = envelope
            .payload_and_signing_key(DOMAIN.to_owned(), PAYLOAD_TYPE)
            .map_err(|error| match error {
                ReadPayloadError::InvalidSignature => SignalError::Signature,
                ReadPayloadError::UnexpectedPayloadType { .. } => SignalError::Malformed,
            })?;
        let body = signal_body::decode(payload).ok_or(SignalError::Malformed)?;
        Ok((key.to_peer_id(), body))
    }
}
