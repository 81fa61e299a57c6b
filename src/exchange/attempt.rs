//! One candidate that is tried: what was sent to it, what it answered, and how far it is on its way
//! to become a peer. It knows nothing of why it was chosen, nor of what comes after it.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::RngExt;
use web_time::Instant;

use super::{
    Exchange, Output,
    query::{Prospect, Queries, Query},
};
use crate::{
    error::{AttemptError, SignalError},
    id::{ExchangeId, NetworkId, NetworkTag, SessionId},
    message::{Description, Frame, Path, Signal, SignalContent},
};

/// How long a candidate may take to answer an offer: two legs there and two back, and then some.
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take from the answer on: the transport gives each address 6 s, so three
/// that lead nowhere may come before the one that does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A candidate that is being tried.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) peer: PeerId,
    pub(super) stage: Stage,
    pub(super) until: Instant,
    /// `None` for a candidate that is dialed on an introducer's word.
    pub(super) offer: Option<Offer>,
}

/// What was sent to a candidate, and the way it took.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) introducer: ConnectionId,
    pub(super) session: SessionId,
    exchange: ExchangeId,
    network: NetworkId,
    /// Whether it named addresses at which we can be dialed.
    is_dialable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Our offer waits for its answer.
    Offered,
    /// It will dial us.
    Expecting,
    /// We dial it.
    Dialing(Option<ConnectionId>),
    /// The connection is there, and its link is not.
    Greeting(ConnectionId),
}

impl Attempt {
    /// Whether the candidate is to blame, and not the way to it: it has answered itself.
    pub(super) fn failed_by_itself(&self, error: &AttemptError) -> bool {
        let has_answered = matches!(
            error,
            AttemptError::Rejected(_)
                | AttemptError::DialFailed(_)
                | AttemptError::NoConnection
                | AttemptError::LinkFailed(_)
                | AttemptError::LeftNetwork
        );
        has_answered && self.offer.is_some()
    }
}

/// What two offers that cross make of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glare {
    None,
    OursYields,
    OursStands,
}

impl Queries {
    /// What becomes of an offer that `peer` makes while we may have one out to it.
    pub(super) fn glare(&mut self, local: &PeerId, peer: &PeerId, now: Instant) -> Glare {
        let attempt = self
            .attempting(peer)
            .and_then(|id| self.running.get_mut(&id)?.attempt_mut())
            .filter(|attempt| attempt.offer.is_some());
        match attempt {
            None => Glare::None,
            Some(_) if local > peer => Glare::OursStands,
            Some(attempt) => {
                if attempt.stage == Stage::Offered {
                    attempt.stage = Stage::Expecting;
                    attempt.until = now + CONNECT_TIMEOUT;
                }
                Glare::OursYields
            }
        }
    }
}

impl Exchange {
    pub(super) fn attempt(
        &mut self,
        now: Instant,
        prospect: Prospect,
    ) -> Result<Attempt, AttemptError> {
        let Prospect {
            candidate,
            network,
            introducer,
        } = prospect;
        let peer = candidate.peer;
        if let Some(until) = self.answers.expected_until(&peer) {
            return Ok(Attempt {
                peer,
                stage: Stage::Expecting,
                until: until.min(now + CONNECT_TIMEOUT),
                offer: None,
            });
        }
        let link = self
            .links
            .get(&introducer)
            .filter(|link| link.live().is_some());
        let reach = link.ok_or(AttemptError::IntroducerGone)?.reach;
        let token = match candidate.path {
            Path::Signals(token) => token,
            Path::Vouched(addresses) => {
                let addresses = self.addresses.to_dial(addresses, &peer, reach);
                let (stage, until) = self.dial(now, peer, addresses)?;
                return Ok(Attempt {
                    peer,
                    stage,
                    until,
                    offer: None,
                });
            }
        };
        let exchange = self.rng.random();
        let sdp = String::new();
        let addresses = self.addresses.to_give(reach);
        let is_dialable = !addresses.is_empty();
        let offer = SignalContent::Offer(Description { sdp, addresses });
        let envelope = self
            .seal_signal(peer, exchange, &network, offer)
            .ok_or(AttemptError::NotSigned)?;
        let session = token.into();
        self.send(introducer, Frame::Signal(Signal { session, envelope }));
        let offer = Offer {
            introducer,
            session,
            exchange,
            network,
            is_dialable,
        };
        let (stage, until) = (Stage::Offered, now + OFFER_TIMEOUT);
        Ok(Attempt {
            peer,
            stage,
            until,
            offer: Some(offer),
        })
    }

    fn dial(
        &mut self,
        now: Instant,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<(Stage, Instant), AttemptError> {
        if addresses.is_empty() {
            return Err(AttemptError::NoAddress);
        }
        self.outputs.push_back(Output::Dial { peer, addresses });
        Ok((Stage::Dialing(None), now + CONNECT_TIMEOUT))
    }

    pub(super) fn on_answer(&mut self, now: Instant, from: ConnectionId, signal: Signal) {
        let Some(id) = self.queries.attempting_over(from, signal.session) else {
            return;
        };
        let Some(attempt) = self.queries.running.get(&id).and_then(Query::attempt) else {
            return;
        };
        let (peer, Some(offer)) = (attempt.peer, &attempt.offer) else {
            return;
        };
        if attempt.stage != Stage::Offered {
            return; // answered already, or it yielded
        }
        let answered = match self.check_answer(&signal, &peer, offer) {
            Ok(SignalContent::Answer(answer)) => {
                self.on_answered(now, from, peer, offer.is_dialable, answer)
            }
            Ok(SignalContent::Reject(reason)) => Err(AttemptError::Rejected(reason)),
            Ok(SignalContent::IceCandidate(_)) => return,
            Ok(SignalContent::Offer(_)) => Err(AttemptError::BadAnswer(SignalError::Unexpected)),
            Err(error) => Err(AttemptError::BadAnswer(error)),
        };
        match answered {
            Ok((stage, until)) => self.set_stage(id, stage, until),
            Err(error) => self.fail_attempt(now, id, error),
        }
    }

    fn check_answer(
        &self,
        signal: &Signal,
        candidate: &PeerId,
        offer: &Offer,
    ) -> Result<SignalContent, SignalError> {
        let (signer, body) = self.seal.open(&signal.envelope)?;
        let network = NetworkTag::new(candidate, offer.exchange.salt(), &offer.network);
        if signer != *candidate {
            Err(SignalError::Signer)
        } else if body.to != self.local {
            Err(SignalError::Addressee)
        } else if body.exchange != offer.exchange {
            Err(SignalError::Exchange)
        } else if body.network != network {
            Err(SignalError::Network)
        } else {
            Ok(body.content)
        }
    }

    fn on_answered(
        &mut self,
        now: Instant,
        introducer: ConnectionId,
        peer: PeerId,
        is_dialable: bool,
        answer: Description,
    ) -> Result<(Stage, Instant), AttemptError> {
        if answer.addresses.is_empty() && is_dialable {
            return Ok((Stage::Expecting, now + CONNECT_TIMEOUT));
        }
        let link = self
            .links
            .get(&introducer)
            .ok_or(AttemptError::IntroducerGone)?;
        let addresses = self.addresses.to_dial(answer.addresses, &peer, link.reach);
        self.dial(now, peer, addresses)
    }

    /// A connection came about that an attempt was waiting for.
    pub(super) fn on_attempt_connected(
        &mut self,
        now: Instant,
        peer: &PeerId,
        connection: ConnectionId,
    ) {
        let is_first = |attempt: &Attempt| !matches!(attempt.stage, Stage::Greeting(_));
        if let Some(id) = self.queries.attempting(peer)
            && let Some(query) = self.queries.running.get(&id)
            && query.attempt().is_some_and(is_first)
        {
            self.set_stage(id, Stage::Greeting(connection), now + CONNECT_TIMEOUT);
        }
    }

    /// Where the query is for another network than those in which its candidate is a peer now.
    pub(super) fn on_attempt_missed(&mut self, now: Instant, peer: &PeerId) {
        if let Some(id) = self.queries.attempting(peer) {
            self.fail_attempt(now, id, AttemptError::LeftNetwork);
        }
    }

    pub(super) fn on_dial_failed(&mut self, now: Instant, connection: ConnectionId) {
        let failed = Some(Stage::Dialing(Some(connection)));
        if let Some(id) = self.queries.find(|query| query.stage() == failed) {
            self.fail_attempt(now, id, AttemptError::DialFailed(connection));
        }
    }

    pub(super) fn on_attempt_link_ended(&mut self, now: Instant, connection: ConnectionId) {
        let failed = Some(Stage::Greeting(connection));
        if let Some(id) = self.queries.find(|query| query.stage() == failed) {
            self.fail_attempt(now, id, AttemptError::LinkFailed(connection));
        }
    }

    /// What becomes of an offer of `peer` while we may have one out to it.
    pub(super) fn settle_glare(&mut self, now: Instant, peer: &PeerId) -> Glare {
        let glare = self.queries.glare(&self.local, peer, now);
        if let Some(id) = self.queries.attempting(peer) {
            self.wake_query(id);
        }
        glare
    }
}
