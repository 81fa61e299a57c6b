//! Offers that wait: one introducer can bring many at once, and each that is looked at costs a connection in set-up.
//! They have their turn in the order in which they came, as those before them are done, or are refused in time for the
//! offerer to try another way. Nothing is read before that.

use std::collections::{HashMap, VecDeque};

use libp2p::{PeerId, swarm::ConnectionId};
use web_time::Instant;

use super::{Exchange, timer::Expiries};
use crate::{
    config::Limits,
    error::Refusal,
    id::SessionId,
    message::{Envelope, Signal},
};

#[derive(Debug)]
pub(super) struct WaitingOffer {
    until: Instant,
    /// Over which the introducer has brought it.
    link: ConnectionId,
    session: SessionId,
    /// The offer, as it seems, and then what came in its session.
    envelopes: Vec<Envelope>,
}

impl WaitingOffer {
    fn len(&self) -> usize {
        self.envelopes.iter().map(|envelope| envelope.0.len()).sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By introducer, in the order in which they came. None is empty.
    offers: HashMap<PeerId, VecDeque<WaitingOffer>>,
    /// One for each, and for those that have had their turn or were withdrawn since.
    expiries: Expiries<PeerId>,
}

impl Waiting {
    /// Has an offer wait for its turn. Whether there is room.
    fn push(
        &mut self,
        now: Instant,
        introducer: PeerId,
        link: ConnectionId,
        signal: Signal,
    ) -> bool {
        let has_room = self.has_room(&introducer, &signal);
        if has_room {
            let until = now + Limits::WAITING_TIME;
            let offer = WaitingOffer {
                until,
                link,
                session: signal.session,
                envelopes: vec![signal.envelope],
            };
            self.offers.entry(introducer).or_default().push_back(offer);
            self.expiries.push(until, introducer);
        }
        has_room
    }

    /// Keeps what comes in the session of an offer that waits, as far as there is room. Whether there is such an offer.
    fn follow(&mut self, introducer: &PeerId, link: ConnectionId, signal: &Signal) -> bool {
        let has_room = self.has_room(introducer, signal);
        let mut offers = self.offers.get_mut(introducer).into_iter().flatten();
        let is_meant = |it: &&mut WaitingOffer| it.link == link && it.session == signal.session;
        let Some(offer) = offers.find(is_meant) else {
            return false;
        };
        if has_room && offer.envelopes.len() <= Limits::ICE_CANDIDATES {
            offer.envelopes.push(signal.envelope.clone());
        }
        true
    }

    fn has_room(&self, introducer: &PeerId, signal: &Signal) -> bool {
        let offers = self.offers.get(introducer).into_iter().flatten();
        let waiting: usize = offers.map(WaitingOffer::len).sum();
        waiting + signal.envelope.0.len() <= Limits::WAITING_OFFERS
    }

    /// The next offer that this introducer has brought.
    fn pop(&mut self, introducer: &PeerId) -> Option<WaitingOffer> {
        let offers = self.offers.get_mut(introducer)?;
        let next = offers.pop_front();
        if offers.is_empty() {
            self.offers.remove(introducer);
        }
        next
    }

    /// The next offer that has waited for too long.
    fn pop_expired(&mut self, now: Instant) -> Option<WaitingOffer> {
        while let Some(introducer) = self.expiries.pop(now) {
            let offers = self.offers.get(&introducer);
            if offers
                .and_then(VecDeque::front)
                .is_some_and(|offer| offer.until <= now)
            {
                return self.pop(&introducer);
            }
        }
        None
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.next()
    }

    fn retain(&mut self, introducer: &PeerId, is_kept: impl FnMut(&WaitingOffer) -> bool) {
        if let Some(offers) = self.offers.get_mut(introducer) {
            offers.retain(is_kept);
            if offers.is_empty() {
                self.offers.remove(introducer);
            }
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.offers.is_empty() && self.next_expiry().is_none()
    }

    /// For whom others wait, and how many bytes of them.
    #[cfg(any(test, fuzzing))]
    pub(super) fn by_introducer(&self) -> impl Iterator<Item = (&PeerId, usize)> {
        let len = |offers: &VecDeque<_>| offers.iter().map(WaitingOffer::len).sum();
        let offers = self.offers.iter();
        offers.map(move |(introducer, offers)| (introducer, len(offers)))
    }
}

impl Exchange {
    /// A signal came in no session that we relay, and in none of an attempt: it is an offer, or follows one.
    pub(super) fn on_offer(&mut self, now: Instant, from: ConnectionId, signal: Signal) {
        let session = signal.session;
        if let Err(reason) = self.receive_offer(now, from, signal) {
            self.refuse_session(from, session, reason);
        }
    }

    fn receive_offer(
        &mut self,
        now: Instant,
        from: ConnectionId,
        signal: Signal,
    ) -> Result<(), Refusal> {
        let introducer = self.links.get(&from).ok_or(Refusal::Gone)?.peer;
        if self.follow_offer(from, &signal)
            || self.answers.waiting.follow(&introducer, from, &signal)
        {
            return Ok(());
        }
        let rate = self.limits.introductions;
        let allowance = self.allowance(from).ok_or(Refusal::Gone)?;
        if !allowance.brought.take(rate, now) {
            return Err(Refusal::Busy);
        }
        if self.answers.may_begin(&introducer) {
            return self.consider_offer(now, from, &signal);
        }
        let waits = self.answers.waiting.push(now, introducer, from, signal);
        self.wake_expiries();
        waits.then_some(()).ok_or(Refusal::Busy)
    }

    /// Whether a signal is one of a session whose offer was let come.
    fn follow_offer(&mut self, from: ConnectionId, signal: &Signal) -> bool {
        let offerer = self.answers.negotiating_over(from, signal.session);
        if let Some(offerer) = &offerer {
            self.on_offerer_signal(offerer, signal);
        }
        offerer.is_some()
    }

    /// Who offered over a link has given us up in this session, or in all of them.
    pub(super) fn forget_waiting(&mut self, from: ConnectionId, session: Option<SessionId>) {
        if let Some(link) = self.links.get(&from) {
            let is_meant = |offer: &WaitingOffer| {
                offer.link == from && session.is_none_or(|session| offer.session == session)
            };
            let waiting = &mut self.answers.waiting;
            waiting.retain(&link.peer, |offer| !is_meant(offer));
        }
    }

    /// Where set-ups are over or give way, the next offers have their turn.
    pub(super) fn tend_offers(&mut self, now: Instant) {
        while let Some(introducer) = self.answers.freed.pop() {
            while self.answers.may_begin(&introducer)
                && let Some(offer) = self.answers.waiting.pop(&introducer)
            {
                self.begin(now, offer);
            }
        }
    }

    fn begin(&mut self, now: Instant, offer: WaitingOffer) {
        let (link, session) = (offer.link, offer.session);
        let signals = offer.envelopes.into_iter();
        let mut signals = signals.map(|envelope| Signal { session, envelope });
        if let Some(offer) = signals.next()
            && let Err(reason) = self.consider_offer(now, link, &offer)
        {
            self.refuse_session(link, session, reason);
        }
        for signal in signals {
            self.follow_offer(link, &signal);
        }
    }

    /// Some offers have waited long enough, and none of them has its turn now.
    pub(super) fn expire_offers(&mut self, now: Instant) {
        self.tend_offers(now);
        while let Some(offer) = self.answers.waiting.pop_expired(now) {
            self.refuse_session(offer.link, offer.session, Refusal::Busy);
        }
    }
}
