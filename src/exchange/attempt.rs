//! One candidate that is tried: what was sent to it, what it answered, and how far it is on its way
//! to become a peer. It knows nothing of why it was chosen, nor of what comes after it.

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::RngExt;
use web_time::Instant;

use super::{
    Exchange, Output,
    address::signaled,
    negotiation::Negotiation,
    query::{Prospect, Queries, Query},
};
use crate::{
    config::Limits,
    error::{AttemptError, Refusal, SignalError},
    id::{QueryId, SessionId},
    message::{Description, Frame, Path, Seal, Signal, SignalContent},
    reach::Reach,
    signaling::{Command, SetupId},
};

/// A candidate that is being tried.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) peer: PeerId,
    pub(super) stage: Stage,
    pub(super) until: Instant,
    /// `None` for a candidate that is dialed on an introducer's word.
    pub(super) offer: Option<Offer>,
    /// Where it said that it is dialed.
    pub(super) addresses: Vec<Multiaddr>,
}

/// What is sent to a candidate, and the way it takes.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) negotiation: Negotiation,
    /// How near the addresses may be that are given and used.
    reach: Reach,
    /// Whether it named addresses at which we can be dialed.
    is_dialable: bool,
    /// What the transport is to abandon unless the candidate is reached by it.
    setup: Option<SetupId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Our offer waits for the transport to describe our end.
    Describing,
    /// Our offer waits for its answer.
    Offered,
    /// It will dial us.
    Expecting,
    /// We dial it.
    Dialing(Option<ConnectionId>),
    /// The connection is there, and its link is not.
    Greeting(ConnectionId),
}

impl Stage {
    pub(super) fn is_unanswered(self) -> bool {
        matches!(self, Self::Describing | Self::Offered)
    }
}

impl Attempt {
    pub(super) fn take_setup(&mut self) -> Option<SetupId> {
        self.offer.as_mut()?.setup.take()
    }

    /// The session in which the candidate may still count on us.
    pub(super) fn waiting(&self) -> Option<(ConnectionId, SessionId)> {
        let is_over = matches!(self.stage, Stage::Describing | Stage::Greeting(_));
        let negotiation = &self.offer.as_ref().filter(|_| !is_over)?.negotiation;
        Some((negotiation.link, negotiation.session))
    }

    /// The link of who introduced a candidate that has answered, and to which no path was found by
    /// signals.
    pub(super) fn missed_by(&self, error: &AttemptError) -> Option<ConnectionId> {
        use AttemptError::{DialFailed, NoConnection};

        let offer = self.offer.as_ref()?;
        let has_missed = offer.setup.is_some() && matches!(error, DialFailed(_) | NoConnection);
        has_missed.then_some(offer.negotiation.link)
    }

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

impl Offer {
    /// The frame that makes it. `None` if our key cannot sign it.
    fn make(&mut self, seal: &dyn Seal, local: &PeerId, ours: Description) -> Option<Frame> {
        self.is_dialable = !ours.addresses.is_empty();
        self.negotiation
            .sign(seal, local, SignalContent::Offer(ours))
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
    /// The query whose offer waits for the description of this set-up.
    pub(super) fn describing(&self, setup: &SetupId) -> Option<QueryId> {
        let is_it = |offer: &Offer| offer.setup == Some(*setup);
        self.find(|query| {
            query.stage() == Some(Stage::Describing) && query.offer().is_some_and(is_it)
        })
    }

    /// What is negotiated by this set-up, once the offer is made.
    pub(super) fn negotiation(&mut self, setup: &SetupId) -> Option<&mut Negotiation> {
        let id = self.attempting(&setup.peer)?;
        let attempt = self.attempt_mut(id)?;
        let is_made = attempt.stage != Stage::Describing;
        let offer = attempt.offer.as_mut()?;
        (is_made && offer.setup == Some(*setup)).then_some(&mut offer.negotiation)
    }

    /// Forgets the set-up by which `peer` is being reached.
    pub(super) fn take_setup(&mut self, peer: &PeerId) -> Option<SetupId> {
        let id = self.attempting(peer)?;
        self.attempt_mut(id)?.take_setup()
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
            is_beyond,
        } = prospect;
        let peer = candidate.peer;
        if let Some(until) = self.answers.expected_until(&peer) {
            return Ok(Attempt {
                peer,
                stage: Stage::Expecting,
                until: until.min(now + Limits::CONNECT_TIME),
                offer: None,
                addresses: Vec::new(),
            });
        }
        let reach = self
            .reach_over(introducer)
            .ok_or(AttemptError::IntroducerGone)?;
        // A near introducer says nothing of whom it has from others.
        let reach = if is_beyond { self.reach } else { reach };
        let token = match candidate.path {
            Path::Signals(token) => token,
            Path::Vouched(addresses) => {
                let addresses = self.addresses.to_dial(addresses, &peer, reach);
                let (stage, until) = self.dial(now, peer, addresses.clone())?;
                return Ok(Attempt {
                    peer,
                    stage,
                    until,
                    offer: None,
                    addresses,
                });
            }
        };
        let exchange = self.rng.random();
        let mut offer = Offer {
            negotiation: Negotiation::new(peer, introducer, token.into(), exchange, network),
            reach,
            is_dialable: false,
            setup: self.has_signaling.then(|| self.new_setup(peer)),
        };
        let stage = match offer.setup {
            Some(setup) => {
                self.signaling(Command::Offer { setup, reach });
                Stage::Describing
            }
            None => {
                let addresses = self.addresses.to_give(reach);
                let sdp = String::new();
                let frame = offer.make(&*self.seal, &self.local, Description { sdp, addresses });
                self.send(introducer, frame.ok_or(AttemptError::NotSigned)?);
                Stage::Offered
            }
        };
        Ok(Attempt {
            peer,
            stage,
            until: now + Limits::ANSWER_TIME,
            offer: Some(offer),
            addresses: Vec::new(),
        })
    }

    /// The transport has described our end, or does not.
    pub(super) fn on_offer_described(&mut self, now: Instant, id: QueryId, sdp: Option<String>) {
        let Some(attempt) = self.queries.attempt_mut(id) else {
            return;
        };
        let Some(offer) = &mut attempt.offer else {
            return;
        };
        attempt.stage = Stage::Offered;
        if sdp.is_none() {
            offer.setup = None;
        }
        let introducer = offer.negotiation.link;
        let addresses = self.addresses.to_give(offer.reach);
        let sdp = sdp.unwrap_or_default();
        let ours = Description { sdp, addresses };
        match offer.make(&*self.seal, &self.local, ours) {
            Some(frame) => self.send(introducer, frame),
            None => self.fail_attempt(now, id, AttemptError::NotSigned),
        }
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
        Ok((Stage::Dialing(None), now + Limits::CONNECT_TIME))
    }

    /// Tells a candidate that we have given it up, so that it does not keep a place for us, nor wait.
    pub(super) fn withdraw(&mut self, waiting: Option<(ConnectionId, SessionId)>) {
        if let Some((introducer, session)) = waiting
            && self.live(introducer).is_some()
        {
            self.refuse_session(introducer, session, Refusal::Closing);
        }
    }

    /// An offerer has given us up.
    pub(super) fn on_withdrawn(&mut self, now: Instant, offerer: &PeerId) {
        self.end_introduction(offerer);
        if let Some(id) = self.queries.attempting(offerer)
            && let Some(query) = self.queries.running.get(&id)
            && query.stage() == Some(Stage::Expecting)
        {
            self.fail_attempt(now, id, AttemptError::NoConnection);
        }
    }

    /// A signal came in the session of an attempt: its answer, or one more address of a candidate
    /// that we may reach by signals.
    pub(super) fn on_answer(&mut self, now: Instant, id: QueryId, signal: &Signal) {
        let Some(attempt) = self.queries.attempt_mut(id) else {
            return;
        };
        let (stage, Some(offer)) = (attempt.stage, &mut attempt.offer) else {
            return;
        };
        let is_due = stage == Stage::Offered;
        let is_followed = offer.setup.is_some() && stage != Stage::Describing;
        if !is_due && !is_followed {
            return; // not asked yet, answered already, or it yielded
        }
        let content = offer.negotiation.read(&*self.seal, &self.local, signal);
        let answered = match content {
            Ok(SignalContent::IceCandidate(candidate)) => {
                let Some(setup) = offer.setup else { return };
                return self.signaling(Command::Candidate { setup, candidate });
            }
            _ if !is_due => return,
            Ok(SignalContent::Answer(answer)) => {
                attempt.addresses.clone_from(&answer.addresses);
                let unused = offer.setup.take_if(|_| answer.sdp.is_empty());
                let offer = offer.clone();
                self.abandon(unused);
                self.on_answered(now, &offer, answer)
            }
            Ok(SignalContent::Reject(reason)) => Err(AttemptError::Rejected(reason)),
            Ok(SignalContent::Offer(_)) => Err(AttemptError::BadAnswer(SignalError::Unexpected)),
            Err(error) => Err(AttemptError::BadAnswer(error)),
        };
        match answered {
            Ok((stage, until)) => self.set_stage(id, stage, until),
            Err(error) => self.fail_attempt(now, id, error),
        }
    }

    /// Goes to the candidate by signals first, where both ends can, and then at its addresses.
    fn on_answered(
        &mut self,
        now: Instant,
        offer: &Offer,
        answer: Description,
    ) -> Result<(Stage, Instant), AttemptError> {
        let peer = offer.negotiation.peer;
        if offer.setup.is_none() && answer.addresses.is_empty() && offer.is_dialable {
            return Ok((Stage::Expecting, now + Limits::CONNECT_TIME));
        }
        let theirs = self.addresses.to_dial(answer.addresses, &peer, offer.reach);
        let by_signals = offer.setup.map(|_| signaled(peer));
        if let Some(setup) = offer.setup {
            let sdp = answer.sdp;
            self.signaling(Command::Accept { setup, sdp });
        }
        self.dial(now, peer, by_signals.into_iter().chain(theirs).collect())
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
            let unused = self.queries.take_setup(peer);
            self.abandon(unused);
            self.set_stage(id, Stage::Greeting(connection), now + Limits::CONNECT_TIME);
        }
    }

    /// Where a candidate is dialed that is being tried, as it said in its answer, or in an offer of its own to
    /// which ours has yielded.
    pub(super) fn addresses_of_attempt(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let query = self.queries.attempting(peer);
        let query = query.and_then(|id| self.queries.running.get(&id));
        let attempt = query.and_then(Query::attempt);
        let answered = attempt.map(|attempt| attempt.addresses.as_slice());
        let answered = answered.filter(|addresses| !addresses.is_empty());
        let addresses = answered.or_else(|| self.answers.addresses(peer));
        let addresses = addresses.unwrap_or_default().to_vec();
        self.addresses.to_dial(addresses, peer, self.reach)
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
        let Some(id) = self.queries.attempting(peer) else {
            return Glare::None;
        };
        let attempt = self.queries.attempt_mut(id);
        let Some(attempt) = attempt.filter(|attempt| attempt.offer.is_some()) else {
            return Glare::None;
        };
        if self.local > *peer {
            return Glare::OursStands;
        }
        if attempt.stage.is_unanswered() {
            let unused = attempt.take_setup();
            self.abandon(unused);
            self.set_stage(id, Stage::Expecting, now + Limits::CONNECT_TIME);
        }
        Glare::OursYields
    }
}
