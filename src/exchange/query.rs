//! The asker: one query at a time asks one peer after the other for candidates and tries one
//! candidate after the other, until one has become a peer or nothing is left to try.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::{RngExt, seq::SliceRandom};
use web_time::Instant;

use super::{Exchange, Output, timer::Timer};
use crate::{
    error::{AttemptError, QueryError, Refusal, SignalError, StartQueryError},
    event::PxpEvent,
    id::{ExchangeId, NetworkId, NetworkTag, QueryId, RequestId, SessionId},
    message::{
        Description, Frame, GetPeers, MAX_CANDIDATES, Path, PeerCandidate, Peers, Refuse, Signal,
        SignalContent, Subject,
    },
};

/// How long a peer may take to name candidates: it needs nobody else for it.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a candidate may take to answer an offer: two legs there and two back, and then some.
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take from the answer on: longer than the transport tries.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(12);

/// How many peers one query asks. Where so many know nobody new, there is nobody.
const MAX_ASKED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Queries {
    running: BTreeMap<QueryId, Query>,
    started: u64,
    requests: u32,
}

#[derive(Debug)]
pub(super) struct Query {
    /// `None` for any.
    network: Option<NetworkId>,
    until: Instant,
    step: Step,
    asked: HashSet<PeerId>,
    /// The next to be tried is the last: the newest answer's come first, in random order.
    prospects: Vec<Prospect>,
    tried: HashSet<PeerId>,
    /// Those that failed by themselves, so that another introducer would not help.
    failed: HashSet<PeerId>,
    full: HashSet<PeerId>,
    known: HashSet<PeerId>,
    last: Option<(PeerId, AttemptError)>,
}

#[derive(Debug)]
enum Step {
    /// Between two others, never at the end of an input.
    Choosing,
    Asking {
        link: ConnectionId,
        request: RequestId,
        network: NetworkId,
        until: Instant,
    },
    Attempting(Attempt),
}

/// A candidate that may still be tried.
#[derive(Debug)]
struct Prospect {
    candidate: PeerCandidate,
    network: NetworkId,
    introducer: ConnectionId,
}

/// A candidate that is being tried.
#[derive(Debug)]
struct Attempt {
    peer: PeerId,
    stage: Stage,
    until: Instant,
    /// `None` for a candidate that is dialed on an introducer's word.
    offer: Option<Offer>,
}

/// What was sent to a candidate, and the way it took.
#[derive(Debug)]
struct Offer {
    introducer: ConnectionId,
    session: SessionId,
    exchange: ExchangeId,
    network: NetworkId,
    /// Whether it named addresses at which we can be dialed.
    is_dialable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Our offer waits for its answer.
    Offered,
    /// It will dial us.
    Expecting,
    /// We dial it.
    Dialing(Option<ConnectionId>),
    /// The connection is there, and its link is not.
    Greeting(ConnectionId),
}

impl Query {
    pub(super) fn network(&self) -> Option<&NetworkId> {
        self.network.as_ref()
    }

    fn attempt(&self) -> Option<&Attempt> {
        match &self.step {
            Step::Attempting(attempt) => Some(attempt),
            _ => None,
        }
    }

    fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.step {
            Step::Attempting(attempt) => Some(attempt),
            _ => None,
        }
    }

    fn stage(&self) -> Option<Stage> {
        self.attempt().map(|attempt| attempt.stage)
    }

    fn deadline(&self) -> Instant {
        match &self.step {
            Step::Choosing => self.until,
            Step::Asking { until, .. } | Step::Attempting(Attempt { until, .. }) => {
                self.until.min(*until)
            }
        }
    }

    fn failure(self) -> QueryError {
        match self.last {
            Some((peer, last)) => QueryError::Unreachable {
                tried: self.tried.len(),
                peer,
                last,
            },
            None => QueryError::NoCandidates {
                asked: self.asked.len(),
                full: self.full.len(),
                known: self.known.len(),
            },
        }
    }
}

impl Attempt {
    /// Whether the candidate is to blame, and not the way to it: it has answered itself.
    fn failed_by_itself(&self, error: &AttemptError) -> bool {
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

impl Queries {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn find(&self, is_it: impl Fn(&Query) -> bool) -> Option<QueryId> {
        let found = self.running.iter().find(|(_, query)| is_it(query));
        found.map(|(id, _)| *id)
    }

    fn attempting(&self, peer: &PeerId) -> Option<QueryId> {
        self.find(|query| query.attempt().is_some_and(|attempt| attempt.peer == *peer))
    }

    /// Ends the query that tries this peer, which has become a peer in these networks.
    pub(super) fn take_found(&mut self, peer: &PeerId, networks: &[NetworkId]) -> Option<QueryId> {
        let id = self.attempting(peer)?;
        let network = self.running.get(&id)?.network();
        if network.is_some_and(|network| !networks.contains(network)) {
            return None;
        }
        self.running.remove(&id);
        Some(id)
    }

    /// The query whose offer went over this link under this session.
    pub(super) fn attempting_over(
        &self,
        link: ConnectionId,
        session: SessionId,
    ) -> Option<QueryId> {
        let is_it = |offer: &Offer| offer.introducer == link && offer.session == session;
        self.find(|query| {
            query
                .attempt()
                .and_then(|attempt| attempt.offer.as_ref())
                .is_some_and(is_it)
        })
    }

    /// Whether a connection from this peer is due.
    pub(super) fn expects(&self, peer: &PeerId) -> bool {
        let is_due = |attempt: &Attempt| attempt.peer == *peer && attempt.stage == Stage::Expecting;
        self.find(|query| query.attempt().is_some_and(is_due))
            .is_some()
    }

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

    pub(super) fn on_dialing(&mut self, peer: &PeerId, connection: ConnectionId) {
        let id = self.attempting(peer);
        if let Some(attempt) = id.and_then(|id| self.running.get_mut(&id)?.attempt_mut())
            && attempt.stage == Stage::Dialing(None)
        {
            attempt.stage = Stage::Dialing(Some(connection));
        }
    }
}

/// What two offers that cross make of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glare {
    None,
    OursYields,
    OursStands,
}

impl Exchange {
    pub(crate) fn get_new_peer(
        &mut self,
        now: Instant,
        network: Option<&NetworkId>,
    ) -> Result<QueryId, StartQueryError> {
        if self.is_closed() {
            return Err(StartQueryError::Closed);
        }
        if let Some(network) = network.filter(|network| !self.networks.contains(network)) {
            return Err(StartQueryError::UnknownNetwork(network.clone()));
        }
        let peers = network.map_or(self.roster.len(), |network| {
            self.roster.members(network).len()
        });
        if peers == 0 {
            return Err(StartQueryError::NoPeers);
        }
        if self.queries.running.len() >= self.limits.max_queries {
            return Err(StartQueryError::TooManyQueries);
        }
        let id = QueryId(self.queries.started);
        self.queries.started += 1;
        let query = Query {
            network: network.cloned(),
            until: now + self.query_timeout,
            step: Step::Choosing,
            asked: HashSet::new(),
            prospects: Vec::new(),
            tried: HashSet::new(),
            failed: HashSet::new(),
            full: HashSet::new(),
            known: HashSet::new(),
            last: None,
        };
        self.queries.running.insert(id, query);
        self.advance(now, id);
        Ok(id)
    }

    /// Tries the next candidate, or asks the next peer for some, or gives up.
    fn advance(&mut self, now: Instant, id: QueryId) {
        while let Some(prospect) = self.next_prospect(id) {
            let peer = prospect.candidate.peer;
            match self.attempt(now, prospect) {
                Ok(attempt) => return self.step(id, Step::Attempting(attempt)),
                Err(error) => self.note(id, peer, error),
            }
        }
        match self.ask(now, id) {
            Some(step) => self.step(id, step),
            None => {
                if let Some(query) = self.queries.running.remove(&id) {
                    self.fail_query(id, query.failure());
                }
            }
        }
    }

    fn step(&mut self, id: QueryId, step: Step) {
        if let Some(query) = self.queries.running.get_mut(&id) {
            query.step = step;
            self.wake_query(id);
        }
    }

    fn wake_query(&mut self, id: QueryId) {
        if let Some(query) = self.queries.running.get(&id) {
            self.timers.set(query.deadline(), Timer::Query(id));
        }
    }

    fn note(&mut self, id: QueryId, peer: PeerId, error: AttemptError) {
        if let Some(query) = self.queries.running.get_mut(&id) {
            tracing::debug!(%id, %peer, %error, "candidate failed");
            query.last = Some((peer, error));
        }
    }

    /// A candidate that is not a peer, nor tried by another query.
    fn next_prospect(&mut self, id: QueryId) -> Option<Prospect> {
        loop {
            let query = self.queries.running.get_mut(&id)?;
            query.step = Step::Choosing;
            let prospect = query.prospects.pop()?;
            let peer = prospect.candidate.peer;
            let is_known = self.roster.contains(&peer) || self.queries.attempting(&peer).is_some();
            let query = self.queries.running.get_mut(&id)?;
            if is_known {
                query.known.insert(peer);
            } else if !query.failed.contains(&peer) {
                query.tried.insert(peer);
                return Some(prospect);
            }
        }
    }

    fn attempt(&mut self, now: Instant, prospect: Prospect) -> Result<Attempt, AttemptError> {
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
        let scope = link.ok_or(AttemptError::IntroducerGone)?.scope;
        let token = match candidate.path {
            Path::Signals(token) => token,
            Path::Vouched(addresses) => {
                let addresses = self.addresses.to_dial(addresses, &peer, scope);
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
        let addresses = self.addresses.to_give(scope);
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

    /// Asks a random peer that was not asked yet.
    fn ask(&mut self, now: Instant, id: QueryId) -> Option<Step> {
        let query = self.queries.running.get_mut(&id)?;
        if query.asked.len() >= MAX_ASKED {
            return None;
        }
        let networks = match &query.network {
            Some(network) => std::slice::from_ref(network),
            None => &self.networks,
        };
        let mut passed_over = query.asked.clone();
        loop {
            let (network, member) = self.roster.pick(networks, &passed_over, &mut self.rng)?;
            passed_over.insert(member.peer);
            let link = self.links.get(&member.link);
            let index = link.and_then(|link| link.live()?.index_of(&network));
            // none, if it was not told yet that we are in the network
            if let Some(index) = index {
                query.asked.insert(member.peer);
                let request = RequestId(self.queries.requests);
                self.queries.requests = self.queries.requests.wrapping_add(1);
                let limit = MAX_CANDIDATES;
                let frame = GetPeers {
                    request,
                    network: index,
                    limit,
                    hops: 0,
                };
                self.send(member.link, Frame::GetPeers(frame));
                let until = now + ASK_TIMEOUT;
                return Some(Step::Asking {
                    link: member.link,
                    request,
                    network,
                    until,
                });
            }
        }
    }

    pub(super) fn on_peers(&mut self, now: Instant, link: ConnectionId, peers: Peers) {
        let Some(id) = self.asking_over(link, Some(peers.request)) else {
            return; // too late
        };
        let Some(query) = self.queries.running.get_mut(&id) else {
            return;
        };
        let Step::Asking { network, .. } = &query.step else {
            return;
        };
        let mut candidates = peers.candidates;
        candidates.shuffle(&mut self.rng);
        let mut named = HashSet::from([self.local]);
        for candidate in candidates {
            let peer = candidate.peer;
            if !named.insert(peer) {
                continue;
            }
            if self.roster.contains(&peer) {
                query.known.insert(peer);
            } else if !candidate.accepting {
                query.full.insert(peer);
            } else {
                let (network, introducer) = (network.clone(), link);
                query.prospects.push(Prospect {
                    candidate,
                    network,
                    introducer,
                });
            }
        }
        self.advance(now, id);
    }

    /// The query that waits for this answer from this link; for any, if `request` is `None`.
    fn asking_over(&self, over: ConnectionId, asked: Option<RequestId>) -> Option<QueryId> {
        self.queries.find(|query| match &query.step {
            Step::Asking { link, request, .. } => {
                *link == over && asked.is_none_or(|asked| asked == *request)
            }
            _ => false,
        })
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
        let addresses = self.addresses.to_dial(answer.addresses, &peer, link.scope);
        self.dial(now, peer, addresses)
    }

    fn set_stage(&mut self, id: QueryId, stage: Stage, until: Instant) {
        if let Some(attempt) = self
            .queries
            .running
            .get_mut(&id)
            .and_then(Query::attempt_mut)
        {
            attempt.stage = stage;
            attempt.until = until;
            self.wake_query(id);
        }
    }

    /// Goes on with another introducer, as long as there is one: who names candidates that lead
    /// nowhere holds up a query for one of them, and not for all.
    pub(super) fn fail_attempt(&mut self, now: Instant, id: QueryId, error: AttemptError) {
        let Some(query) = self.queries.running.get_mut(&id) else {
            return;
        };
        let Some(attempt) = query.attempt() else {
            return;
        };
        let peer = attempt.peer;
        if attempt.failed_by_itself(&error) {
            query.failed.insert(peer);
        }
        self.note(id, peer, error);
        match self.ask(now, id) {
            Some(step) => self.step(id, step),
            None => self.advance(now, id),
        }
    }

    pub(super) fn on_refuse(&mut self, now: Instant, from: ConnectionId, refuse: Refuse) {
        match refuse.subject {
            Subject::Link => {}
            Subject::Request(request) => {
                if let Some(id) = self.asking_over(from, Some(request)) {
                    self.advance(now, id);
                }
            }
            Subject::Session(session) => self.on_session_refused(now, from, session, refuse.reason),
        }
    }

    fn on_session_refused(
        &mut self,
        now: Instant,
        from: ConnectionId,
        session: SessionId,
        reason: Refusal,
    ) {
        if self.pass_refusal(from, session, reason) {
            return;
        }
        let Some(id) = self.queries.attempting_over(from, session) else {
            return;
        };
        let query = self.queries.running.get(&id);
        if query.and_then(Query::stage) == Some(Stage::Offered) {
            self.fail_attempt(now, id, AttemptError::Refused(reason));
        }
    }

    /// A connection came about that an attempt was waiting for.
    pub(super) fn on_attempt_connected(
        &mut self,
        now: Instant,
        peer: &PeerId,
        connection: ConnectionId,
    ) {
        if let Some(id) = self.queries.attempting(peer) {
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

    /// Whoever waits for something over this link need not wait any longer.
    pub(super) fn on_introducer_gone(&mut self, now: Instant, link: ConnectionId) {
        while let Some(id) = self.asking_over(link, None) {
            self.advance(now, id);
        }
        let is_stranded = |query: &Query| {
            let attempt = query
                .attempt()
                .filter(|attempt| attempt.stage == Stage::Offered);
            let offer = attempt.and_then(|attempt| attempt.offer.as_ref());
            offer.is_some_and(|offer| offer.introducer == link)
        };
        while let Some(id) = self.queries.find(is_stranded) {
            self.fail_attempt(now, id, AttemptError::IntroducerGone);
        }
    }

    pub(super) fn on_query_timer(&mut self, now: Instant, id: QueryId) {
        let Some(query) = self.queries.running.get(&id) else {
            return;
        };
        if query.deadline() > now {
            return; // superseded
        }
        if query.until <= now {
            self.queries.running.remove(&id);
            return self.fail_query(id, QueryError::Timeout(self.query_timeout));
        }
        match query.stage() {
            None => self.advance(now, id),
            Some(Stage::Offered) => self.fail_attempt(now, id, AttemptError::NoAnswer),
            Some(_) => self.fail_attempt(now, id, AttemptError::NoConnection),
        }
    }

    /// Ends all queries of a kind.
    pub(super) fn fail_queries(&mut self, is_over: impl Fn(&Query) -> bool, error: QueryError) {
        while let Some(id) = self.queries.find(&is_over) {
            self.queries.running.remove(&id);
            self.fail_query(id, error.clone());
        }
    }

    fn fail_query(&mut self, query: QueryId, error: QueryError) {
        tracing::debug!(%query, %error, "query failed");
        self.event(PxpEvent::QueryFailed { query, error });
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
