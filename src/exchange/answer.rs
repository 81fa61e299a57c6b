//! The candidate: checks an offer, answers it, and remembers whom it told that it may come.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use libp2p::{PeerId, swarm::ConnectionId};
use web_time::Instant;

use super::{Exchange, Output, attempt::Glare, timer::Expiries};
use crate::{
    config::Incoming,
    error::{Refusal, SignalError},
    id::{ExchangeId, NetworkId, NetworkTag},
    message::{Description, Envelope, Frame, Signal, SignalBody, SignalContent},
    reach::Reach,
};

/// How long an answered offerer may take to come: longer than any dial of its.
const INTRODUCTION_TTL: Duration = Duration::from_secs(25);

/// How long an offer is remembered, so that nobody can play it again.
const REPLAY_TTL: Duration = Duration::from_secs(60);

/// How many offers are remembered, which takes 2 MiB and 32 peers that bring as many as they may.
/// With more in a minute, new ones are refused: forgetting one would open it to replay.
const MAX_REPLAYS: usize = 32 * 1024;

/// How many dials to offerers may be under way.
const MAX_DIALS_BACK: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Whom we told that it may come, and who introduced it.
    introduced: HashMap<PeerId, Introduction>,
    /// How many of them keep a place.
    kept_places: usize,
    introductions: Expiries<PeerId>,
    /// The exchanges of the last minute.
    seen: HashSet<ExchangeId>,
    replays: Expiries<ExchangeId>,
}

#[derive(Debug)]
struct Introduction {
    by: PeerId,
    until: Instant,
    /// Not if it was a peer already.
    keeps_place: bool,
}

impl Answers {
    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.introduced.contains_key(peer)
    }

    /// Until when an introduced peer may come.
    pub(super) fn expected_until(&self, peer: &PeerId) -> Option<Instant> {
        self.introduced
            .get(peer)
            .map(|introduction| introduction.until)
    }

    /// How many places are kept for those who have not come yet.
    pub(super) fn kept_places(&self) -> usize {
        self.kept_places
    }

    fn keep_place(&mut self, peer: PeerId, introduction: Introduction) {
        self.forget(&peer);
        self.kept_places += usize::from(introduction.keeps_place);
        self.introductions.push(introduction.until, peer);
        self.introduced.insert(peer, introduction);
    }

    fn forget(&mut self, peer: &PeerId) -> Option<Introduction> {
        let introduction = self.introduced.remove(peer)?;
        self.kept_places -= usize::from(introduction.keeps_place);
        Some(introduction)
    }

    /// Who introduced a peer that has come.
    pub(super) fn take(&mut self, peer: &PeerId) -> Option<PeerId> {
        self.forget(peer).map(|introduction| introduction.by)
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let nexts = [self.introductions.next(), self.replays.next()];
        nexts.into_iter().flatten().min()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(peer) = self.introductions.pop(now) {
            if self
                .introduced
                .get(&peer)
                .is_some_and(|introduction| introduction.until <= now)
            {
                self.forget(&peer);
            }
        }
        while let Some(exchange) = self.replays.pop(now) {
            self.seen.remove(&exchange);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.introduced.is_empty()
            && self.kept_places == 0
            && self.seen.is_empty()
            && self.next_expiry().is_none()
    }
}

impl Exchange {
    pub(super) fn on_offer(&mut self, now: Instant, from: ConnectionId, signal: Signal) {
        if let Err(reason) = self.consider_offer(now, from, &signal) {
            self.refuse_session(from, signal.session, reason);
        }
    }

    fn consider_offer(
        &mut self,
        now: Instant,
        from: ConnectionId,
        signal: &Signal,
    ) -> Result<(), Refusal> {
        let rate = self.limits.introductions;
        let allowance = self.allowance(from).ok_or(Refusal::Gone)?;
        if !allowance.brought.take(rate, now) {
            return Err(Refusal::Busy);
        }
        let (peer, body) = self
            .seal
            .open(&signal.envelope)
            .map_err(|_| Refusal::BadSignal)?;
        if body.to != self.local {
            return Err(Refusal::Expired); // meant to open a session, by a token that does not hold
        }
        let offer = match &body.content {
            SignalContent::Offer(offer) => offer,
            // It may follow an offer, in the session of that offer, which is not to end for it.
            SignalContent::IceCandidate(_) => return Ok(()),
            // Late, in an exchange that is over.
            SignalContent::Answer(_) | SignalContent::Reject(_) => return Err(Refusal::Expired),
        };
        let network = self
            .check_offer(&peer, &body)
            .map_err(|_| Refusal::BadSignal)?;
        if !self.remember(now, body.exchange) {
            return Err(Refusal::Busy);
        }
        let content = match self.settle_glare(now, &peer) {
            Glare::OursStands => return Ok(()),
            Glare::OursYields => self.accept_offer(now, from, &peer, offer),
            Glare::None => match self.admit(&peer) {
                Ok(()) => self.accept_offer(now, from, &peer, offer),
                Err(reason) => SignalContent::Reject(reason),
            },
        };
        let envelope = self
            .seal_signal(peer, body.exchange, &network, content)
            .ok_or(Refusal::Busy)?;
        self.send(
            from,
            Frame::Signal(Signal {
                session: signal.session,
                envelope,
            }),
        );
        Ok(())
    }

    /// The network of a sound offer.
    fn check_offer(&self, peer: &PeerId, body: &SignalBody) -> Result<NetworkId, SignalError> {
        if *peer == self.local {
            return Err(SignalError::Signer);
        }
        if self.answers.seen.contains(&body.exchange) {
            return Err(SignalError::Exchange);
        }
        let is_named = |network: &&NetworkId| {
            body.network == NetworkTag::new(peer, body.exchange.salt(), network)
        };
        let network = self.networks.iter().find(is_named);
        network.cloned().ok_or(SignalError::Network)
    }

    fn accept_offer(
        &mut self,
        now: Instant,
        from: ConnectionId,
        peer: &PeerId,
        offer: &Description,
    ) -> SignalContent {
        let Some((by, reach)) = self.links.get(&from).map(|link| (link.peer, link.reach)) else {
            return SignalContent::Reject(Refusal::Gone);
        };
        let addresses = self.addresses.to_give(reach);
        if addresses.is_empty()
            && let Err(reason) = self.dial_back(peer, offer, reach)
        {
            return SignalContent::Reject(reason);
        }
        let until = now + INTRODUCTION_TTL;
        let keeps_place = !self.roster.contains(peer);
        let introduction = Introduction {
            by,
            until,
            keeps_place,
        };
        self.answers.keep_place(*peer, introduction);
        self.wake_expiries();
        let sdp = String::new();
        SignalContent::Answer(Description { sdp, addresses })
    }

    /// Without an address of our own the offerer cannot come, but we may come to it: a few at a time,
    /// for it is others who choose whom and where we dial.
    fn dial_back(
        &mut self,
        peer: &PeerId,
        offer: &Description,
        reach: Reach,
    ) -> Result<(), Refusal> {
        let addresses = self.addresses.to_dial(offer.addresses.clone(), peer, reach);
        if addresses.is_empty() {
            return Ok(());
        }
        let dials_back = self
            .dials
            .values()
            .filter(|peer| self.queries.attempting(peer).is_none());
        if self.dials.values().any(|dialed| dialed == peer) || dials_back.count() >= MAX_DIALS_BACK
        {
            return Err(Refusal::Busy);
        }
        let peer = *peer;
        self.outputs.push_back(Output::Dial { peer, addresses });
        Ok(())
    }

    /// Whether a stranger may come.
    fn admit(&self, peer: &PeerId) -> Result<(), Refusal> {
        let is_known = self.roster.contains(peer) || self.answers.contains(peer);
        if self.incoming == Incoming::Refuse {
            Err(Refusal::NotAccepting)
        } else if !is_known && self.has_no_place() {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }

    /// Remembers an exchange; `false` if too many are remembered already.
    fn remember(&mut self, now: Instant, exchange: ExchangeId) -> bool {
        let has_room = self.answers.seen.len() < MAX_REPLAYS;
        if has_room {
            self.answers.seen.insert(exchange);
            self.answers.replays.push(now + REPLAY_TTL, exchange);
            self.wake_expiries();
        }
        has_room
    }

    pub(super) fn seal_signal(
        &self,
        to: PeerId,
        exchange: ExchangeId,
        network: &NetworkId,
        content: SignalContent,
    ) -> Option<Envelope> {
        let network = NetworkTag::new(&self.local, exchange.salt(), network);
        self.seal.seal(&SignalBody {
            to,
            exchange,
            network,
            content,
        })
    }
}
