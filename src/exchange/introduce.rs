//! The introducer: answers who asks for peers, hands out tokens, and passes signals between the two
//! ends of a session without reading them.

use std::collections::{HashMap, HashSet};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::RngExt;
use web_time::Instant;

use super::{Exchange, allowance::Allowance};
use crate::{
    config::{Limits, Rate},
    error::Refusal,
    id::{NetworkId, RequestId, SessionId, Token},
    message::{Frame, GetPeers, Path, PeerCandidate, Peers, Refuse, Signal, Subject},
    rate::Bucket,
};

/// A candidate as it was handed out to one asker.
#[derive(Debug)]
pub(super) struct Offered {
    token: Token,
    /// Over which link it is reached.
    candidate: ConnectionId,
    /// If it is behind that link: what the peer there handed out for it.
    next: Option<Box<Token>>,
    expires: Instant,
}

/// One of the two legs of a session: what comes over it goes out as `session` over `link`.
#[derive(Debug)]
pub(super) struct Leg {
    link: ConnectionId,
    session: SessionId,
    /// How many more signals may come over this leg.
    left: u32,
    /// When the session expires.
    expires: Instant,
}

impl Exchange {
    pub(super) fn on_get_peers(&mut self, now: Instant, asker: ConnectionId, request: GetPeers) {
        let rate = self.limits.requests;
        let allowance = self.allowance(asker);
        let is_allowed = allowance.is_some_and(|peer| peer.requests.take(rate, now));
        let Some(live) = self.live(asker) else {
            return;
        };
        let network = match is_allowed {
            true => live.named(request.network).ok_or(Refusal::Network),
            false => Err(Refusal::Busy),
        };
        match network {
            Ok(network) => {
                if request.hops == 0 || !self.walk(now, asker, &request, &network) {
                    let candidates = self.candidates(now, asker, &network, request.limit);
                    self.answer_request(asker, request.request, candidates);
                }
            }
            Err(reason) => {
                let subject = Subject::Request(request.request);
                self.send(asker, Frame::Refuse(Refuse { subject, reason }));
            }
        }
    }

    pub(super) fn answer_request(
        &mut self,
        asker: ConnectionId,
        request: RequestId,
        candidates: Vec<PeerCandidate>,
    ) {
        let peers = Peers {
            request,
            candidates,
        };
        self.send(asker, Frame::Peers(peers));
    }

    /// What is offered to one asker: what the application names, then a random sample of our peers.
    pub(super) fn candidates(
        &mut self,
        now: Instant,
        link: ConnectionId,
        network: &NetworkId,
        limit: usize,
    ) -> Vec<PeerCandidate> {
        let Some(asker) = self.links.get(&link).map(|link| link.peer) else {
            return Vec::new();
        };
        let limit = limit.min(Limits::CANDIDATES);
        let named = self.named_by_application(network, &asker, limit);
        let mut sample = self.named(now, network, &asker, limit);
        sample.retain(|member| named.iter().all(|(peer, ..)| *peer != member.peer));
        let sample = sample
            .into_iter()
            .map(|member| (member.peer, member.accepting, Reached::Over(member.link)));
        let chosen: Vec<_> = named.into_iter().chain(sample).take(limit).collect();
        self.offer(now, link, chosen.into_iter())
    }

    /// Hands out tokens for candidates.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        link: ConnectionId,
        chosen: impl ExactSizeIterator<Item = (PeerId, bool, Reached)>,
    ) -> Vec<PeerCandidate> {
        let expires = now + self.token_ttl;
        let answer = self.rng.random();
        let mut offered = Vec::with_capacity(chosen.len());
        let mut candidates = Vec::with_capacity(chosen.len());
        for (place, (peer, accepting, reached)) in (0..).zip(chosen) {
            let token = Token::new(answer, place);
            let (candidate, next) = match reached {
                Reached::Over(candidate) => (candidate, None),
                Reached::Beyond(neighbor, next) => (neighbor, Some(Box::new(next))),
                Reached::At(addresses) => {
                    candidates.push(PeerCandidate {
                        peer,
                        accepting,
                        path: Path::Vouched(addresses),
                    });
                    continue;
                }
            };
            let path = Path::Signals(token);
            candidates.push(PeerCandidate {
                peer,
                accepting,
                path,
            });
            offered.push(Offered {
                token,
                candidate,
                next,
                expires,
            });
        }
        self.hand_out(now, link, offered);
        candidates
    }

    fn named_by_application(
        &mut self,
        network: &NetworkId,
        asker: &PeerId,
        limit: usize,
    ) -> Vec<(PeerId, bool, Reached)> {
        let Some(source) = &mut self.candidates else {
            return Vec::new();
        };
        let mut known = HashSet::from([*asker, self.local]);
        let mut named = Vec::new();
        for mut candidate in source.candidates(network, asker, limit) {
            let member = self.roster.member(network, &candidate.peer);
            let entry = match (candidate.addresses.is_empty(), member) {
                (true, Some(member)) => (member.accepting, Reached::Over(member.link)),
                (true, None) => continue,
                (false, _) => {
                    candidate.addresses.truncate(Limits::ADDRESSES);
                    (true, Reached::At(candidate.addresses))
                }
            };
            if named.len() < limit && known.insert(candidate.peer) {
                named.push((candidate.peer, entry.0, entry.1));
            }
        }
        named
    }

    /// Remembers what an asker was offered, in place of what it was offered longest ago.
    fn hand_out(&mut self, now: Instant, asker: ConnectionId, new: Vec<Offered>) {
        let Some(live) = self.live_mut(asker) else {
            return;
        };
        // The oldest expire first, so that most need not be looked at.
        let is_over = |oldest: &Offered| oldest.expires <= now;
        while live.offered.front().is_some_and(is_over)
            || live.offered.len() + new.len() > Limits::TOKENS
        {
            live.offered.pop_front();
        }
        if live.offered.capacity() == 0 {
            live.offered.reserve_exact(Limits::TOKENS);
        }
        live.offered.extend(new);
    }

    /// A signal is one of a session that we relay, or opens one by a token, or is for us.
    pub(super) fn on_signal(&mut self, now: Instant, from: ConnectionId, signal: Signal) {
        let Some(live) = self.live_mut(from) else {
            return;
        };
        if let Some(leg) = live.legs.get_mut(&signal.session) {
            let is_allowed = leg.left > 0;
            leg.left = leg.left.saturating_sub(signal.weight());
            let (link, session) = (leg.link, leg.session);
            if !is_allowed || !self.may_relay(now, link, &signal) {
                return self.refuse_session(from, signal.session, Refusal::Busy);
            }
            self.send(link, Frame::Signal(Signal { session, ..signal }));
        } else if let Some(query) = self.queries.attempting_over(from, signal.session) {
            self.on_answer(now, query, &signal);
        } else if let Some(offered) = self.redeem(now, from, signal.session) {
            self.open_session(now, from, &offered, signal);
        } else {
            self.on_offer(now, from, signal);
        }
    }

    /// Uses up a token. Returns what it was handed out for, if it was valid.
    fn redeem(&mut self, now: Instant, asker: ConnectionId, session: SessionId) -> Option<Offered> {
        let offered = &mut self.live_mut(asker)?.offered;
        let place = offered
            .iter()
            .position(|offered| SessionId::from(offered.token) == session)?;
        let offered = offered.remove(place)?;
        (offered.expires > now).then_some(offered)
    }

    fn open_session(
        &mut self,
        now: Instant,
        asker: ConnectionId,
        offered: &Offered,
        signal: Signal,
    ) {
        let candidate = offered.candidate;
        let next = offered.next.as_deref();
        let session = next.map_or_else(|| self.rng.random(), |token| SessionId::from(*token));
        let share = self.session_share();
        let rate = self.limits.introductions;
        let may_ask = |peer: &mut Allowance| peer.sessions < share && peer.asked.take(rate, now);
        if !self.allowance(asker).is_some_and(may_ask) {
            return self.refuse_session(asker, signal.session, Refusal::Busy);
        }
        // Who hands out the same token twice has it used once.
        let live = self.live(candidate);
        if live.is_none_or(|live| live.legs.contains_key(&session)) {
            return self.refuse_session(asker, signal.session, Refusal::Gone);
        }
        let carries = self.allowance(candidate);
        let carries = carries.is_some_and(|peer| match next {
            Some(_) => peer.forwarded.take(Limits::INTRODUCTIONS_FOR_OTHERS, now),
            None => peer.carried.take(rate, now),
        });
        if !carries || !self.may_relay(now, candidate, &signal) {
            return self.refuse_session(asker, signal.session, Refusal::Busy);
        }
        let expires = now + Limits::SESSION_TIME;
        let back = Leg {
            link: asker,
            session: signal.session,
            left: Limits::SESSION_SIGNALS,
            expires,
        };
        let forth = Leg {
            link: candidate,
            session,
            left: Limits::SESSION_SIGNALS.saturating_sub(signal.weight()),
            expires,
        };
        if let Some(live) = self.live_mut(candidate) {
            live.legs.insert(session, back);
        }
        if let Some(live) = self.live_mut(asker) {
            live.legs.insert(signal.session, forth);
        }
        if let Some(allowance) = self.allowance(asker) {
            allowance.sessions += 1;
        }
        self.sessions.insert((expires, asker, signal.session));
        self.wake_expiries();
        self.send(candidate, Frame::Signal(Signal { session, ..signal }));
    }

    /// Returns how many sessions one asker may have. The second half of all is shared equally among as many peers as there
    /// may be, so that no number of them can use it up.
    fn session_share(&self) -> usize {
        let (most, open) = (self.limits.max_sessions(), self.sessions.len());
        match open {
            _ if open >= most => 0,
            _ if open >= most / 2 => Limits::SESSIONS_PER_PEER / 2,
            _ => most,
        }
    }

    fn may_relay(&mut self, now: Instant, to: ConnectionId, signal: &Signal) -> bool {
        const ALL: Rate = Limits::ALL_SIGNALS;
        let weight = signal.weight();
        let all = *self.relayed.get_or_insert_with(|| Bucket::full(ALL, now));
        let counted = match all.is_half_full(ALL, now) {
            true => weight,
            false => weight * Limits::SCARCE_SIGNAL_WEIGHT,
        };
        let receives = self.allowance(to);
        receives.is_some_and(|peer| peer.relayed.take_n(Limits::SIGNALS, now, counted))
            && self
                .relayed
                .as_mut()
                .is_some_and(|all| all.take_n(ALL, now, weight))
    }

    pub(super) fn refuse_session(&mut self, to: ConnectionId, session: SessionId, reason: Refusal) {
        let subject = Subject::Session(session);
        self.send(to, Frame::Refuse(Refuse { subject, reason }));
    }

    /// Passes on the refusal of a session, which ends it. Whether we relay that session.
    pub(super) fn pass_refusal(
        &mut self,
        from: ConnectionId,
        session: SessionId,
        reason: Refusal,
    ) -> bool {
        let leg = self
            .live_mut(from)
            .and_then(|live| live.legs.remove(&session));
        if let Some(leg) = &leg {
            self.end_session((from, session), leg, reason);
        }
        leg.is_some()
    }

    /// Ends the sessions of a link that is gone.
    pub(super) fn drop_legs(&mut self, link: ConnectionId, legs: HashMap<SessionId, Leg>) {
        let mut legs: Vec<_> = legs.into_iter().collect();
        legs.sort_unstable_by_key(|(_, leg)| (leg.link, leg.session.0));
        for (session, leg) in legs {
            self.end_session((link, session), &leg, Refusal::Gone);
        }
    }

    /// Ends a session of which one leg, at `near`, is removed: tells the other end why, and counts the session no more.
    fn end_session(&mut self, near: (ConnectionId, SessionId), leg: &Leg, reason: Refusal) {
        let far = (leg.link, leg.session);
        if let Some(live) = self.live_mut(far.0)
            && live.legs.remove(&far.1).is_some()
        {
            self.refuse_session(far.0, far.1, reason);
        }
        // Either end may be the asker's.
        for (link, session) in [near, far] {
            if self.sessions.remove(&(leg.expires, link, session)) {
                self.release_session(link);
            }
        }
    }

    fn release_session(&mut self, asker: ConnectionId) {
        if let Some(allowance) = self.allowance(asker) {
            allowance.sessions = allowance.sessions.saturating_sub(1);
        }
    }

    pub(super) fn expire_sessions(&mut self, now: Instant) {
        let is_over = |(expires, ..): &(Instant, _, _)| *expires <= now;
        while self.sessions.first().is_some_and(is_over)
            && let Some((_, asker, session)) = self.sessions.pop_first()
        {
            self.release_session(asker);
            let leg = self
                .live_mut(asker)
                .and_then(|live| live.legs.remove(&session));
            if let Some(leg) = leg
                && let Some(live) = self.live_mut(leg.link)
            {
                live.legs.remove(&leg.session);
            }
        }
    }
}

/// Where an offered candidate is.
#[derive(Debug)]
pub(super) enum Reached {
    Over(ConnectionId),
    /// Behind the peer at the other end, which handed out this token for it.
    Beyond(ConnectionId, Token),
    At(Vec<Multiaddr>),
}
