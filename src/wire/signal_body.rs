//! From the generated signal body to that of `message`, and back. Unlike a frame, a signal that is
//! not understood entirely is refused: it was signed to be acted on.

use libp2p::PeerId;
use prost::Message;

use super::{
    generated::{self, signal_body::Body},
    values::{read_addresses, read_reason, write_addresses, write_reason},
};
use crate::message::{Description, SignalBody, SignalContent};

/// `None` if it is no signal, or one of a kind unknown to this version.
pub(crate) fn decode(bytes: &[u8]) -> Option<SignalBody> {
    let body = generated::SignalBody::decode(bytes).ok()?;
    Some(SignalBody {
        to: PeerId::from_bytes(&body.to).ok()?,
        exchange: body.exchange.as_slice().try_into().ok()?,
        network: body.network.as_slice().try_into().ok()?,
        content: match body.body? {
            Body::Offer(offer) => {
                SignalContent::Offer(read_description(offer.sdp, offer.addresses))
            }
            Body::Answer(answer) => {
                SignalContent::Answer(read_description(answer.sdp, answer.addresses))
            }
            Body::IceCandidate(candidate) => SignalContent::IceCandidate(candidate),
            Body::Reject(reject) => SignalContent::Reject(read_reason(reject.reason)),
        },
    })
}

pub(crate) fn encode(body: &SignalBody) -> Vec<u8> {
    let content = match &body.content {
        SignalContent::Offer(description) => {
            let (sdp, addresses) = write_description(description);
            Body::Offer(generated::Offer { sdp, addresses })
        }
        SignalContent::Answer(description) => {
            let (sdp, addresses) = write_description(description);
            Body::Answer(generated::Answer { sdp, addresses })
        }
        SignalContent::IceCandidate(candidate) => Body::IceCandidate(candidate.clone()),
        SignalContent::Reject(refusal) => Body::Reject(generated::Reject {
            reason: write_reason(*refusal),
        }),
    };
    generated::SignalBody {
        to: body.to.to_bytes(),
        exchange: body.exchange.as_bytes().to_vec(),
        network: body.network.as_bytes().to_vec(),
        body: Some(content),
    }
    .encode_to_vec()
}

fn read_description(sdp: String, addresses: Vec<Vec<u8>>) -> Description {
    Description {
        sdp,
        addresses: read_addresses(addresses),
    }
}

fn write_description(description: &Description) -> (String, Vec<Vec<u8>>) {
    (
        description.sdp.clone(),
        write_addresses(&description.addresses),
    )
}
