//! One negotiation as one of its ends sees it: with whom, over which introducer, and what may still
//! be said in it. It signs what we say and checks what it is told; what that makes us do is not its
//! business.

use libp2p::{PeerId, swarm::ConnectionId};

use crate::{
    config::Limits,
    error::SignalError,
    id::{ExchangeId, NetworkId, NetworkTag, SessionId},
    message::{Frame, Seal, Signal, SignalBody, SignalContent},
};

#[derive(Debug, Clone)]
pub(super) struct Negotiation {
    /// The other end.
    pub(super) peer: PeerId,
    /// The link of the introducer.
    pub(super) link: ConnectionId,
    pub(super) session: SessionId,
    exchange: ExchangeId,
    network: NetworkId,
    /// How many more signals we may send, by weight. Of more, the introducer would end the session.
    to_send: u32,
    /// The same, of those that we look at, which costs us a check of a signature each.
    to_read: u32,
}

impl Negotiation {
    pub(super) fn new(
        peer: PeerId,
        link: ConnectionId,
        session: SessionId,
        exchange: ExchangeId,
        network: NetworkId,
    ) -> Self {
        Self {
            peer,
            link,
            session,
            exchange,
            network,
            to_send: Limits::SESSION_SIGNALS,
            to_read: Limits::SESSION_SIGNALS,
        }
    }

    /// What we say, as it is to be sent. `None` if it was one signal too many or cannot be signed.
    pub(super) fn sign(
        &mut self,
        seal: &dyn Seal,
        local: &PeerId,
        content: SignalContent,
    ) -> Option<Frame> {
        if self.to_send == 0 {
            return None;
        }
        let (session, exchange) = (self.session, self.exchange);
        let envelope = seal.seal(&SignalBody {
            to: self.peer,
            exchange,
            network: NetworkTag::new(local, exchange.salt(), &self.network),
            content,
        })?;
        let signal = Signal { session, envelope };
        self.to_send = self.to_send.saturating_sub(signal.weight());
        Some(Frame::Signal(signal))
    }

    /// What the other end says in a signal of this session.
    pub(super) fn read(
        &mut self,
        seal: &dyn Seal,
        local: &PeerId,
        signal: &Signal,
    ) -> Result<SignalContent, SignalError> {
        if self.to_read == 0 {
            return Err(SignalError::Unexpected);
        }
        self.to_read = self.to_read.saturating_sub(signal.weight());
        let (signer, body) = seal.open(&signal.envelope)?;
        let network = NetworkTag::new(&self.peer, self.exchange.salt(), &self.network);
        if signer != self.peer {
            Err(SignalError::Signer)
        } else if body.to != *local {
            Err(SignalError::Addressee)
        } else if body.exchange != self.exchange {
            Err(SignalError::Exchange)
        } else if body.network != network {
            Err(SignalError::Network)
        } else {
            Ok(body.content)
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;
    use crate::{message::Description, wire::Signer};

    #[test]
    fn both_ends_and_the_introducer_agree_on_how_much_may_be_said() {
        for (len, more) in [(0, 31), (3_000, 30), (8_000, 27)] {
            let [us, them] = [1, 2].map(|seed| Keypair::ed25519_from_bytes([seed; 32]).unwrap());
            let [local, peer] = [&us, &them].map(|key| key.public().to_peer_id());
            let negotiation = |with| {
                let (link, session) = (ConnectionId::new_unchecked(1), SessionId([1; 16]));
                let network = "net".parse().unwrap();
                Negotiation::new(with, link, session, ExchangeId([1; 16]), network)
            };
            let (mut ours, mut theirs) = (negotiation(peer), negotiation(local));
            let [us, them] = [us, them].map(Signer::new);
            let mut left = Limits::SESSION_SIGNALS;
            let mut say = |content| match ours.sign(&us, &local, content) {
                Some(Frame::Signal(signal)) => {
                    assert!(left > 0, "the introducer passes it on");
                    left = left.saturating_sub(signal.weight());
                    theirs.read(&them, &peer, &signal).unwrap();
                    true
                }
                _ => false,
            };
            let (sdp, addresses) = ("x".repeat(len), Vec::new());
            assert!(say(SignalContent::Offer(Description { sdp, addresses })));
            let candidate = || SignalContent::IceCandidate("candidate:1".to_owned());
            assert_eq!((0..40).filter(|_| say(candidate())).count(), more, "{len}");
            assert_eq!(left, 0);
        }
    }
}
