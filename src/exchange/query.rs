//! The asker: one query at a time asks one peer after the other for candidates and tries one
//! candidate after the other, until one has become a peer or nothing is left to try.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use libp2p::{PeerId, swarm::ConnectionId};
use rand::seq::SliceRandom;
use web_time::Instant;

use super::{
    Exchange,
    attempt::{Attempt, Offer, Stage},
    timer::Timer,
    view::View,
};
use crate::{
    config::Limits,
    error::{AttemptError, QueryError, Refusal, StartQueryError},
    event::{Origin, PxpEvent},
    id::{NetworkId, QueryId, RequestId, SessionId},
    message::{Frame, GetPeers, PeerCandidate, Peers, Refuse, Subject},
};

#[derive(Debug, Default)]
pub(super) struct Queries {
    pub(super) running: BTreeMap<QueryId, Query>,
    started: u64,
    requests: u32,
}

#[derive(Debug)]
pub(super) struct Query {
    /// `None` for any.
    network: Option<NetworkId>,
    /// How far from those who are asked the candidates are to be.
    hops: u8,
    /// Who is asked, again and again, if it is a search of our own for the view.
    through: Option<PeerId>,
    requests: usize,
    until: Instant,
    step: Step,
    asked: HashSet<PeerId>,
    /// The next to be tried is the last: the newest answer's come first, in random order.
    prospects: Vec<Prospect>,
    tried: HashSet<PeerId>,
    /// Those that failed by themselves, so that another introducer would not help.
    failed: HashSet<PeerId>,
    /// Those to which no path was found, once. Packets may have been lost, or a router have come to look
    /// upon one of us in another way: each may be tried once more, from the beginning, after all others.
    missed: HashSet<PeerId>,
    /// Who named them, and is asked for them again when nobody else is left to ask.
    to_ask_again: HashSet<PeerId>,
    has_asked_again: bool,
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
    Attempting(Box<Attempt>),
}

/// A candidate that may still be tried.
#[derive(Debug)]
pub(super) struct Prospect {
    pub(super) candidate: PeerCandidate,
    pub(super) network: NetworkId,
    pub(super) introducer: ConnectionId,
    /// Whether it may be a peer of somebody else than the introducer.
    pub(super) is_beyond: bool,
}

impl Query {
    pub(super) fn network(&self) -> Option<&NetworkId> {
        self.network.as_ref()
    }

    /// The network in which it searches on our own account.
    fn searched(&self) -> Option<&NetworkId> {
        self.network.as_ref().filter(|_| self.through.is_some())
    }

    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.step {
            Step::Attempting(attempt) => Some(attempt),
            _ => None,
        }
    }

    pub(super) fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.step {
            Step::Attempting(attempt) => Some(attempt),
            _ => None,
        }
    }

    pub(super) fn offer(&self) -> Option<&Offer> {
        self.attempt()?.offer.as_ref()
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        self.attempt().map(|attempt| attempt.stage)
    }

    /// Takes out who is to be tried next: somebody new, before those to whom one way has led nowhere.
    fn take_prospect(&mut self) -> Option<Prospect> {
        let is_new = |it: &Prospect| !self.tried.contains(&it.candidate.peer);
        match self.prospects.iter().rposition(is_new) {
            Some(place) => Some(self.prospects.remove(place)),
            None => self.prospects.pop(),
        }
    }

    fn deadline(&self) -> Instant {
        match &self.step {
            Step::Choosing => self.until,
            Step::Asking { until, .. } => self.until.min(*until),
            Step::Attempting(attempt) => self.until.min(attempt.until),
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

impl Queries {
    pub(super) fn new_request(&mut self) -> RequestId {
        let request = RequestId(self.requests);
        self.requests = self.requests.wrapping_add(1);
        request
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn find(&self, is_it: impl Fn(&Query) -> bool) -> Option<QueryId> {
        let found = self.running.iter().find(|(_, query)| is_it(query));
        found.map(|(id, _)| *id)
    }

    /// In which network we are looking for peers on our own account and through whom, for each that is looked
    /// for.
    pub(super) fn searches(&self) -> impl Iterator<Item = (&NetworkId, &PeerId)> {
        let running = self.running.values();
        running.filter_map(|query| query.searched().zip(query.through.as_ref()))
    }

    pub(super) fn attempting(&self, peer: &PeerId) -> Option<QueryId> {
        self.find(|query| query.attempt().is_some_and(|attempt| attempt.peer == *peer))
    }

    pub(super) fn attempt_mut(&mut self, id: QueryId) -> Option<&mut Attempt> {
        self.running.get_mut(&id)?.attempt_mut()
    }

    /// The query whose offer went over this link under this session.
    pub(super) fn attempting_over(
        &self,
        link: ConnectionId,
        session: SessionId,
    ) -> Option<QueryId> {
        let is_it = |Offer { negotiation, .. }: &Offer| {
            negotiation.link == link && negotiation.session == session
        };
        self.find(|query| query.offer().is_some_and(is_it))
    }

    /// Whether a connection from this peer is due.
    pub(super) fn expects(&self, peer: &PeerId) -> bool {
        let is_due = |attempt: &Attempt| attempt.peer == *peer && attempt.stage == Stage::Expecting;
        self.find(|query| query.attempt().is_some_and(is_due))
            .is_some()
    }

    pub(super) fn on_dialing(&mut self, peer: &PeerId, connection: ConnectionId) {
        let id = self.attempting(peer);
        if let Some(attempt) = id.and_then(|id| self.attempt_mut(id))
            && attempt.stage == Stage::Dialing(None)
        {
            attempt.stage = Stage::Dialing(Some(connection));
        }
    }
}

impl Exchange {
    pub(crate) fn get_new_peer(
        &mut self,
        now: Instant,
        network: Option<&NetworkId>,
    ) -> Result<QueryId, StartQueryError> {
        self.start_query(now, network, 0)
    }

    /// Looks for a peer on our own account: so many hops from one of ours, which is asked until it names
    /// somebody who takes us, for each time it may name others.
    pub(super) fn search(&mut self, now: Instant, network: &NetworkId, through: PeerId, hops: u8) {
        self.begin_query(now, Some(network), hops, Some(through));
    }

    /// Starts a query for peers that are so many hops from those who are asked.
    pub(super) fn start_query(
        &mut self,
        now: Instant,
        network: Option<&NetworkId>,
        hops: u8,
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
        Ok(self.begin_query(now, network, hops, None))
    }

    fn begin_query(
        &mut self,
        now: Instant,
        network: Option<&NetworkId>,
        hops: u8,
        through: Option<PeerId>,
    ) -> QueryId {
        let id = QueryId(self.queries.started);
        self.queries.started += 1;
        let query = Query {
            network: network.cloned(),
            hops,
            through,
            requests: 0,
            until: now + self.query_timeout,
            step: Step::Choosing,
            asked: HashSet::new(),
            prospects: Vec::new(),
            tried: HashSet::new(),
            failed: HashSet::new(),
            missed: HashSet::new(),
            to_ask_again: HashSet::new(),
            has_asked_again: false,
            full: HashSet::new(),
            known: HashSet::new(),
            last: None,
        };
        self.queries.running.insert(id, query);
        self.advance(now, id);
        id
    }

    /// Tries the next candidate, or asks the next peer for some, or gives up.
    fn advance(&mut self, now: Instant, id: QueryId) {
        while let Some(prospect) = self.next_prospect(now, id) {
            let peer = prospect.candidate.peer;
            match self.attempt(now, prospect) {
                Ok(attempt) => return self.step(id, Step::Attempting(attempt.into())),
                Err(error) => self.note(id, peer, error),
            }
        }
        match self.ask(now, id).or_else(|| self.ask_again(now, id)) {
            Some(step) => self.step(id, step),
            None => {
                if let Some(query) = self.end_query(id) {
                    let searched = query.searched().cloned();
                    self.report_failure(id, searched, query.failure());
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

    pub(super) fn wake_query(&mut self, id: QueryId) {
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

    /// A candidate that is not a peer, nor tried by another query, nor one that is to be tried later.
    fn next_prospect(&mut self, now: Instant, id: QueryId) -> Option<Prospect> {
        loop {
            let query = self.queries.running.get_mut(&id)?;
            query.step = Step::Choosing;
            let prospect = query.take_prospect()?;
            let peer = prospect.candidate.peer;
            let is_known = self.roster.contains(&peer) || self.queries.attempting(&peer).is_some();
            let introducer = self.links.get(&prospect.introducer).map(|link| link.peer);
            let shuns = |view: &View| view.shuns(now, &peer);
            let is_shunned = self.view.as_ref().is_some_and(shuns);
            let query = self.queries.running.get_mut(&id)?;
            if is_known || is_shunned && query.through.is_some() {
                query.known.insert(peer);
            } else if query.missed.contains(&peer) && !query.has_asked_again {
                query.to_ask_again.extend(introducer);
            } else if !query.failed.contains(&peer) {
                query.tried.insert(peer);
                return Some(prospect);
            }
        }
    }

    /// Asks a random peer that was not asked yet.
    fn ask(&mut self, now: Instant, id: QueryId) -> Option<Step> {
        let query = self.queries.running.get_mut(&id)?;
        if query.asked.len() >= Limits::ASKED {
            return None;
        }
        if let Some(through) = query.through {
            return self.ask_for_search(now, id, &through);
        }
        let networks = match &query.network {
            Some(network) => Arc::new([network.clone()]),
            None => self.networks.clone(),
        };
        let mut passed_over = query.asked.clone();
        loop {
            let (network, member) = self.roster.pick(&networks, &passed_over, &mut self.rng)?;
            passed_over.insert(member.peer);
            // Not one that was not told yet that we are in the network.
            if let Some(step) = self.request(now, id, &network, member.link) {
                let query = self.queries.running.get_mut(&id)?;
                query.asked.insert(member.peer);
                return Some(step);
            }
        }
    }

    fn ask_for_search(&mut self, now: Instant, id: QueryId, through: &PeerId) -> Option<Step> {
        let query = self.queries.running.get_mut(&id)?;
        query.requests += 1;
        let network = query.network.clone()?;
        if query.requests > Limits::SEARCH_REQUESTS {
            return None;
        }
        let link = self.roster.member(&network, through)?.link;
        self.request(now, id, &network, link)
    }

    fn request(
        &mut self,
        now: Instant,
        id: QueryId,
        network: &NetworkId,
        link: ConnectionId,
    ) -> Option<Step> {
        let index = self.live(link)?.index_of(network)?;
        let hops = self.queries.running.get(&id)?.hops;
        let request = self.queries.new_request();
        let frame = GetPeers {
            request,
            network: index,
            limit: Limits::CANDIDATES,
            hops,
        };
        self.send(link, Frame::GetPeers(frame));
        Some(Step::Asking {
            link,
            request,
            network: network.clone(),
            until: now + Limits::ASK_TIME,
        })
    }

    /// Asks again, once, those who named candidates to which there was no path.
    fn ask_again(&mut self, now: Instant, id: QueryId) -> Option<Step> {
        let query = self.queries.running.get_mut(&id)?;
        if std::mem::replace(&mut query.has_asked_again, true) {
            return None;
        }
        for introducer in std::mem::take(&mut query.to_ask_again) {
            query.asked.remove(&introducer);
        }
        self.ask(now, id)
    }

    pub(super) fn on_peers(&mut self, now: Instant, link: ConnectionId, peers: Peers) {
        let Some(id) = self.asking_over(link, Some(peers.request)) else {
            return self.on_walked(now, link, peers);
        };
        let Some(query) = self.queries.running.get_mut(&id) else {
            return;
        };
        let Step::Asking { network, .. } = &query.step else {
            return;
        };
        let is_beyond = query.hops > 0;
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
                    is_beyond,
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

    pub(super) fn set_stage(&mut self, id: QueryId, stage: Stage, until: Instant) {
        if let Some(attempt) = self.queries.attempt_mut(id) {
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
        let Some(attempt) = query.attempt_mut() else {
            return;
        };
        let peer = attempt.peer;
        let missed_by = attempt.missed_by(&error).map(|link| self.links.get(&link));
        let is_to_blame = attempt.failed_by_itself(&error);
        let is_known_there = matches!(error, AttemptError::Refused(_) | AttemptError::Rejected(_));
        let unused = attempt.take_setup();
        let told = attempt.waiting().filter(|_| !is_known_there);
        match missed_by {
            Some(link) if query.missed.insert(peer) => {
                query.to_ask_again.extend(link.map(|link| link.peer));
            }
            _ if is_to_blame => {
                query.failed.insert(peer);
            }
            _ => {}
        }
        let is_search = query.through.is_some();
        if let (AttemptError::Rejected(_), Some(view)) = (&error, &mut self.view) {
            view.on_refused(now, peer);
        }
        self.abandon(unused);
        self.withdraw(told);
        self.note(id, peer, error);
        let step = if is_search { None } else { self.ask(now, id) };
        match step {
            Some(step) => self.step(id, step),
            None => self.advance(now, id),
        }
    }

    pub(super) fn on_refuse(&mut self, now: Instant, from: ConnectionId, refuse: Refuse) {
        match refuse.subject {
            Subject::Link => {}
            Subject::Request(request) => match self.asking_over(from, Some(request)) {
                Some(id) => self.advance(now, id),
                None => self.on_walk_refused(now, from, request),
            },
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
        if let Some(offerer) = self.answers.negotiating_over(from, session) {
            // Any other reason is about the way to it, and it may come all the same.
            if reason == Refusal::Closing {
                self.on_withdrawn(now, &offerer);
            }
            return;
        }
        if reason == Refusal::Closing {
            self.forget_waiting(from, Some(session));
        }
        let Some(id) = self.queries.attempting_over(from, session) else {
            return;
        };
        let query = self.queries.running.get(&id);
        if query.and_then(Query::stage) == Some(Stage::Offered) {
            self.fail_attempt(now, id, AttemptError::Refused(reason));
        }
    }

    /// Whoever waits for something over this link need not wait any longer.
    pub(super) fn on_introducer_gone(&mut self, now: Instant, link: ConnectionId) {
        self.forget_waiting(link, None);
        self.end_walks(now, link);
        while let Some(id) = self.asking_over(link, None) {
            self.advance(now, id);
        }
        let is_stranded = |query: &Query| {
            query.stage().is_some_and(Stage::is_unanswered)
                && query
                    .offer()
                    .is_some_and(|offer| offer.negotiation.link == link)
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
            return self.fail_query(id, QueryError::Timeout(self.query_timeout));
        }
        match query.stage() {
            None => self.advance(now, id),
            Some(stage) if stage.is_unanswered() => {
                self.fail_attempt(now, id, AttemptError::NoAnswer);
            }
            Some(_) => self.fail_attempt(now, id, AttemptError::NoConnection),
        }
    }

    /// Ends all queries of a kind.
    pub(super) fn fail_queries(&mut self, is_over: impl Fn(&Query) -> bool, error: QueryError) {
        while let Some(id) = self.queries.find(&is_over) {
            self.fail_query(id, error.clone());
        }
    }

    /// Ends the query that tries this peer, which has become a peer in these networks.
    pub(super) fn end_found(&mut self, peer: &PeerId, networks: &[NetworkId]) -> Option<Origin> {
        let id = self.queries.attempting(peer)?;
        let network = self.queries.running.get(&id)?.network();
        if network.is_some_and(|network| !networks.contains(network)) {
            return None;
        }
        let through = self.end_query(id)?.through;
        Some(through.map_or(Origin::Found(id), |through| Origin::Chosen { through }))
    }

    /// Removes a query, with the attempt that it was at.
    fn end_query(&mut self, id: QueryId) -> Option<Query> {
        let mut query = self.queries.running.remove(&id)?;
        let unused = query.attempt_mut().and_then(Attempt::take_setup);
        let told = query.attempt().and_then(Attempt::waiting);
        self.abandon(unused);
        self.withdraw(told);
        Some(query)
    }

    fn fail_query(&mut self, id: QueryId, error: QueryError) {
        if let Some(query) = self.end_query(id) {
            self.report_failure(id, query.searched().cloned(), error);
        }
    }

    fn report_failure(&mut self, query: QueryId, searched: Option<NetworkId>, error: QueryError) {
        tracing::debug!(%query, %error, "query failed");
        match (&mut self.view, searched) {
            (Some(view), Some(network)) => view.on_search_failed(&network),
            _ => self.event(PxpEvent::QueryFailed { query, error }),
        }
    }
}
