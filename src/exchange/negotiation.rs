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
    /// How many more signals we may send. Of more, the introducer would end the session.
    to_send: u8,
    /// How many more signals we look at, which costs us a check of a signature each.
    to_read: u8,
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
        self.to_send = self.to_send.checked_sub(1)?;
        let (session, exchange) = (self.session, self.exchange);
        let envelope = seal.seal(&SignalBody {
            to: self.peer,
            exchange,
            network: NetworkTag::new(local, exchange.salt(), &self.network),
            content,
        })?;
        Some(Frame::Signal(Signal { session, envelope }))
    }

    /// What the other end says in a signal of this session.
    pub(super) fn read(
        &mut self,
        seal: &dyn Seal,
        local: &PeerId,
        signal: &Signal,
    ) -> Result<SignalContent, SignalError> {
        let left = self.to_read.checked_sub(1);
        self.to_read = left.ok_or(SignalError::Unexpected)?;
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
