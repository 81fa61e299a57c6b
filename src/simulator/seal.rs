//! Signatures that nobody forges here, and so need no keys: an envelope names its signer and says what
//! kind of signal is in it, for who counts them, before the signal itself. Nothing is kept of any.

use libp2p::PeerId;

use super::names::NodeId;
use crate::{
    error::SignalError,
    message::{Envelope, Seal, SignalBody, SignalContent},
    wire,
};

/// What a signal is to who counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Answer,
    Reject,
    Other,
}

pub(super) struct PlainSeal(pub(super) NodeId);

impl Seal for PlainSeal {
    fn seal(&self, body: &SignalBody) -> Option<Envelope> {
        let kind = match &body.content {
            SignalContent::Offer(_) => b'o',
            SignalContent::Answer(_) => b'a',
            SignalContent::Reject(_) => b'r',
            SignalContent::IceCandidate(_) => b'c',
        };
        let signer = u64::try_from(self.0.0).ok()?.to_be_bytes();
        let head = [kind].into_iter().chain(signer);
        Some(Envelope(head.chain(wire::encode_signal(body)).collect()))
    }

    fn open(&self, envelope: &Envelope) -> Result<(PeerId, SignalBody), SignalError> {
        let opened = || {
            let (_, signer, body) = split(envelope)?;
            Some((signer.peer()?, wire::decode_signal(body)?))
        };
        opened().ok_or(SignalError::Malformed)
    }
}

/// What kind of signal it is and who signed it.
pub(super) fn read(envelope: &Envelope) -> Option<(Kind, NodeId)> {
    split(envelope).map(|(kind, signer, _)| (kind, signer))
}

fn split(envelope: &Envelope) -> Option<(Kind, NodeId, &[u8])> {
    let (kind, rest) = envelope.0.split_first()?;
    let (signer, body) = rest.split_first_chunk()?;
    let kind = match kind {
        b'o' => Kind::Offer,
        b'a' => Kind::Answer,
        b'r' => Kind::Reject,
        _ => Kind::Other,
    };
    let signer = usize::try_from(u64::from_be_bytes(*signer)).ok()?;
    Some((kind, NodeId(signer), body))
}
