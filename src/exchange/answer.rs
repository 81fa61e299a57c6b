//! The candidate: checks an offer, answers it, and remembers whom it told that it may come.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use web_time::Instant;

use super::{
    Exchange, Output, attempt::Glare, negotiation::Negotiation, timer::Expiries, waiting::Waiting,
};
use crate::{
    config::Limits,
    error::{Refusal, SignalError},
    event::Via,
    id::{ExchangeId, NetworkId, NetworkTag, SessionId},
    message::{Description, Signal, SignalContent},
    reach::Reach,
    signaling::{Command, SetupId},
};

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Whom we told that it may come, and who introduced it.
    introduced: HashMap<PeerId, Introduction>,
    /// Whose offer came in which session of which link, for each of them.
    sessions: HashMap<(ConnectionId, SessionId), PeerId>,
    /// The number of them that are charged to each introducer. None is 0.
    shares: HashMap<Option<PeerId>, usize>,
    introductions: Expiries<PeerId>,
    pub(super) waiting: Waiting,
    /// Who has brought somebody whose set-up is over, so that another may begin.
    pub(super) freed: Vec<PeerId>,
    /// When others are tired of waiting for a set-up.
    patience: Expiries<SetupId>,
    /// The exchanges of the last minute.
    seen: HashSet<ExchangeId>,
    replays: Expiries<ExchangeId>,
}

#[derive(Debug)]
struct Introduction {
    by: PeerId,
    /// The introducer in whose share it counts. All introducers that have left have one share together, `None`, so that
    /// nobody gets more by coming back or by a new identity.
    charged_to: Option<PeerId>,
    until: Instant,
    negotiation: Negotiation,
    /// What the transport is to abandon unless the peer comes by it.
    setup: Option<SetupId>,
    /// Until when others wait for it, from when it was answered on. Then it is late, and gives way to them.
    patience: Option<Instant>,
    /// Where the offerer is dialed, as it says.
    addresses: Vec<Multiaddr>,
    /// Whether the offer waits for the transport to describe our end.
    is_unanswered: bool,
}

impl Answers {
    /// Returns how many peers are expected.
    pub(super) fn len(&self) -> usize {
        self.introduced.len()
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.introduced.contains_key(peer)
    }

    /// Where a peer is dialed that was introduced, as it says.
    pub(super) fn addresses(&self, peer: &PeerId) -> Option<&[Multiaddr]> {
        let introduction = self.introduced.get(peer)?;
        Some(&introduction.addresses)
    }

    /// Returns the introducer in whose share an expected peer counts, if that one has not left.
    pub(super) fn introducer(&self, peer: &PeerId) -> Option<&PeerId> {
        self.introduced.get(peer)?.charged_to.as_ref()
    }

    /// Returns who brought an expected peer, whether that one has left or not.
    pub(super) fn brought_by(&self, peer: &PeerId) -> Option<PeerId> {
        self.introduced
            .get(peer)
            .map(|introduction| introduction.by)
    }

    /// Until when an introduced peer may come.
    pub(super) fn expected_until(&self, peer: &PeerId) -> Option<Instant> {
        self.introduced
            .get(peer)
            .map(|introduction| introduction.until)
    }

    /// Returns how many others than `peer` are expected by the word of `introducer`.
    pub(super) fn expected_by(&self, introducer: &PeerId, peer: &PeerId) -> usize {
        let all = self.shares.get(&Some(*introducer)).copied();
        let is_one_of_them = self.introducer(peer) == Some(introducer);
        let all = all.unwrap_or_default();
        all.saturating_sub(usize::from(is_one_of_them))
    }

    /// Returns the oldest introduction of whoever has the most, if there is any.
    pub(super) fn oldest_of_most(&self) -> Option<PeerId> {
        let most = self.shares.values().max();
        let of_most = self.introduced.iter();
        let of_most = of_most.filter(|(_, it)| self.shares.get(&it.charged_to) == most);
        let oldest = of_most.min_by_key(|(peer, it)| (it.until, **peer))?;
        Some(*oldest.0)
    }

    fn keep_place(&mut self, introduction: Introduction) {
        let Negotiation {
            peer,
            link,
            session,
            ..
        } = introduction.negotiation;
        self.sessions.insert((link, session), peer);
        self.introductions.push(introduction.until, peer);
        *self.shares.entry(introduction.charged_to).or_default() += 1;
        self.introduced.insert(peer, introduction);
    }

    fn forget(&mut self, peer: &PeerId) -> Option<Introduction> {
        let introduction = self.introduced.remove(peer)?;
        let Negotiation { link, session, .. } = introduction.negotiation;
        self.sessions.remove(&(link, session));
        if let Entry::Occupied(mut share) = self.shares.entry(introduction.charged_to) {
            *share.get_mut() -= 1;
            if *share.get() == 0 {
                share.remove();
            }
        }
        Some(introduction)
    }

    /// Whose offer came in this session.
    pub(super) fn negotiating_over(
        &self,
        link: ConnectionId,
        session: SessionId,
    ) -> Option<PeerId> {
        self.sessions.get(&(link, session)).copied()
    }

    fn by_setup(&mut self, setup: &SetupId) -> Option<&mut Introduction> {
        let introduction = self.introduced.get_mut(&setup.peer)?;
        (introduction.setup == Some(*setup)).then_some(introduction)
    }

    /// What is negotiated by this set-up, once the offer is answered.
    pub(super) fn negotiation(&mut self, setup: &SetupId) -> Option<&mut Negotiation> {
        let introduction = self.by_setup(setup)?;
        (!introduction.is_unanswered).then_some(&mut introduction.negotiation)
    }

    /// Forgets the set-up by which `peer` has come, or may come no longer.
    pub(super) fn take_setup(&mut self, peer: &PeerId) -> Option<SetupId> {
        let introduction = self.introduced.get_mut(peer)?;
        let setup = introduction.setup.take()?;
        self.freed.extend(introduction.charged_to);
        Some(setup)
    }

    /// An offerer does not come by this set-up, but may in another way.
    pub(super) fn on_setup_failed(&mut self, setup: &SetupId) {
        if self.by_setup(setup).is_some() {
            self.take_setup(&setup.peer);
        }
    }

    /// Others wait no longer for set-ups that have got no further.
    fn expire_patience(&mut self, now: Instant) {
        while let Some(setup) = self.patience.pop(now) {
            if let Some(introduction) = self.by_setup(&setup)
                && introduction
                    .patience
                    .take_if(|until| *until <= now)
                    .is_some()
            {
                let introducer = introduction.charged_to;
                self.freed.extend(introducer);
            }
        }
    }

    /// Whether one more set-up may begin with somebody whom `introducer` brings.
    pub(super) fn may_begin(&self, introducer: &PeerId) -> bool {
        let setups = self.setups_by(Some(introducer));
        let counted = setups.filter(|it| it.patience.is_some());
        counted.count() < Limits::SETUPS_PER_INTRODUCER
    }

    /// One more begins: the oldest that is late gives way to it, if one has to.
    fn make_way(&mut self, introducer: &PeerId) -> Option<SetupId> {
        let setups = || self.setups_by(Some(introducer));
        if setups().count() < Limits::SETUPS_PER_INTRODUCER {
            return None;
        }
        let late = setups().filter(|it| it.patience.is_none());
        let late = late.filter_map(|it| it.setup);
        let oldest = late.min_by_key(|setup| setup.number)?;
        self.take_setup(&oldest.peer)
    }

    /// An introducer has left, and its share goes to all that have. Yields the oldest set-ups of these beyond what one may
    /// have.
    pub(super) fn disown(&mut self, introducer: &PeerId) -> impl Iterator<Item = SetupId> {
        if let Some(share) = self.shares.remove(&Some(*introducer)) {
            *self.shares.entry(None).or_default() += share;
            for introduction in self.introduced.values_mut() {
                introduction.charged_to.take_if(|it| it == introducer);
            }
        }
        std::iter::from_fn(|| {
            let setups = || self.setups_by(None).filter_map(|it| it.setup);
            let is_full = setups().count() > Limits::SETUPS_PER_INTRODUCER;
            let oldest = setups().min_by_key(|setup| setup.number);
            let oldest = oldest.filter(|_| is_full)?;
            self.take_setup(&oldest.peer)
        })
    }

    /// Returns those whose set-ups are under way in this share.
    fn setups_by(&self, introducer: Option<&PeerId>) -> impl Iterator<Item = &Introduction> {
        let all = self.introduced.values();
        all.filter(move |it| it.setup.is_some() && it.charged_to.as_ref() == introducer)
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let nexts = [
            self.introductions.next(),
            self.waiting.next_expiry(),
            self.patience.next(),
            self.replays.next(),
        ];
        nexts.into_iter().flatten().min()
    }

    /// There is no more than there may be, and nobody waits for nothing.
    #[cfg(any(test, fuzzing))]
    pub(super) fn assert_bounded(&self, max_peers: usize) {
        assert!(self.introduced.len() <= max_peers.max(1));
        assert_eq!(self.shares.values().sum::<usize>(), self.introduced.len());
        for (introducer, len) in self.waiting.by_introducer() {
            assert!(len <= Limits::WAITING_OFFERS && !self.may_begin(introducer));
        }
        for introduction in self.introduced.values() {
            let setups = self.setups_by(introduction.charged_to.as_ref());
            assert!(setups.count() <= Limits::SETUPS_PER_INTRODUCER);
        }
        assert!(self.freed.is_empty() && self.seen.len() <= Limits::REPLAYS);
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.introduced.is_empty()
            && self.sessions.is_empty()
            && self.shares.is_empty()
            && self.waiting.is_empty()
            && self.freed.is_empty()
            && self.seen.is_empty()
            && self.next_expiry().is_none()
    }
}

impl Exchange {
    pub(super) fn consider_offer(
        &mut self,
        now: Instant,
        from: ConnectionId,
        signal: &Signal,
    ) -> Result<(), Refusal> {
        let (peer, body) = self
            .seal
            .open(&signal.envelope)
            .map_err(|_| Refusal::BadSignal)?;
        if body.to != self.local {
            return Err(Refusal::Expired); // meant to open a session, by a token that does not hold
        }
        let offer = match body.content {
            SignalContent::Offer(offer) => offer,
            // It may follow an offer, in the session of that offer, which is not to end for it.
            SignalContent::IceCandidate(_) => return Ok(()),
            // Late, in an exchange that is over.
            SignalContent::Answer(_) | SignalContent::Reject(_) => return Err(Refusal::Expired),
        };
        let network = self
            .check_offer(&peer, body.exchange, body.network)
            .map_err(|_| Refusal::BadSignal)?;
        self.remember(now, body.exchange);
        let admitted = match self.settle_glare(now, &peer) {
            Glare::OursStands => return Ok(()),
            Glare::OursYields => Ok(()),
            Glare::None => self.admit(now, &peer, from),
        };
        let mut negotiation = Negotiation::new(peer, from, signal.session, body.exchange, network);
        let answer = admitted.and_then(|()| self.accept_offer(now, &negotiation, offer));
        let Some(answer) = answer.transpose() else {
            return Ok(());
        };
        let content = self.verdict(answer);
        let frame = negotiation.sign(&*self.seal, &self.local, content);
        self.send(from, frame.ok_or(Refusal::Busy)?);
        Ok(())
    }

    /// What an offerer is told.
    fn verdict(&mut self, answer: Result<Description, Refusal>) -> SignalContent {
        match answer {
            Ok(answer) => SignalContent::Answer(answer),
            Err(reason) => {
                self.count_refusal(reason);
                SignalContent::Reject(reason)
            }
        }
    }

    /// The network of a sound offer.
    fn check_offer(
        &self,
        peer: &PeerId,
        exchange: ExchangeId,
        named: NetworkTag,
    ) -> Result<NetworkId, SignalError> {
        if *peer == self.local {
            return Err(SignalError::Signer);
        }
        if self.answers.seen.contains(&exchange) {
            return Err(SignalError::Exchange);
        }
        let is_named =
            |network: &&NetworkId| named == NetworkTag::new(peer, exchange.salt(), network);
        let network = self.networks.iter().find(is_named);
        network.cloned().ok_or(SignalError::Network)
    }

    /// Lets the offerer come. The answer, unless the transport is to describe our end first.
    fn accept_offer(
        &mut self,
        now: Instant,
        negotiation: &Negotiation,
        offer: Description,
    ) -> Result<Option<Description>, Refusal> {
        let Negotiation { peer, link, .. } = *negotiation;
        let link = self.links.get(&link).ok_or(Refusal::Gone)?;
        let (by, reach) = (link.peer, link.reach);
        let is_signaled = self.has_signaling && !offer.sdp.is_empty();
        let addresses = offer.addresses;
        let answer = match is_signaled {
            true => None,
            false => Some(self.answer(&peer, &by, None, addresses.clone(), reach)?),
        };
        self.end_introduction(&peer);
        self.make_room();
        let setup = is_signaled.then(|| self.new_setup(peer));
        if is_signaled {
            let unused = self.answers.make_way(&by);
            self.abandon(unused);
        }
        self.answers.keep_place(Introduction {
            by,
            charged_to: Some(by),
            until: now + Limits::INTRODUCTION_TIME,
            negotiation: negotiation.clone(),
            setup,
            patience: Some(now),
            addresses,
            is_unanswered: is_signaled,
        });
        self.wake_expiries();
        if let Some(setup) = setup {
            let sdp = offer.sdp;
            self.signaling(Command::Answer { setup, reach, sdp });
        }
        Ok(answer)
    }

    /// The transport has described our end, or does not.
    pub(super) fn on_answer_described(
        &mut self,
        now: Instant,
        setup: &SetupId,
        sdp: Option<String>,
    ) {
        let Some(introduction) = self.answers.by_setup(setup) else {
            return;
        };
        if !std::mem::take(&mut introduction.is_unanswered) {
            return;
        }
        let offered = introduction.addresses.clone();
        let (peer, negotiation) = (setup.peer, &introduction.negotiation);
        let (link, session) = (negotiation.link, negotiation.session);
        let by = introduction.by;
        match sdp {
            Some(_) => self.on_progress(now, setup),
            None => drop(self.answers.take_setup(&peer)),
        }
        let Some(reach) = self.reach_over(link) else {
            self.end_introduction(&peer);
            return;
        };
        let answer = self.answer(&peer, &by, sdp, offered, reach);
        let is_refused = answer.is_err();
        let content = self.verdict(answer);
        let introduction = self.answers.introduced.get_mut(&peer);
        let frame = introduction
            .and_then(|known| known.negotiation.sign(&*self.seal, &self.local, content));
        if is_refused || frame.is_none() {
            self.end_introduction(&peer);
        }
        match frame {
            Some(frame) => self.send(link, frame),
            None => self.refuse_session(link, session, Refusal::Busy),
        }
    }

    /// A set-up has got further: others wait for it a little longer.
    pub(super) fn on_progress(&mut self, now: Instant, setup: &SetupId) {
        if let Some(introduction) = self.answers.by_setup(setup) {
            let until = now + Limits::SETUP_PATIENCE;
            introduction.patience = Some(until);
            self.answers.patience.push(until, *setup);
            self.wake_expiries();
        }
    }

    /// How we are reached: by `sdp`, or at our addresses. Who cannot be reached at all comes itself.
    fn answer(
        &mut self,
        peer: &PeerId,
        by: &PeerId,
        sdp: Option<String>,
        offered: Vec<Multiaddr>,
        reach: Reach,
    ) -> Result<Description, Refusal> {
        let addresses = self.addresses.to_give(reach);
        if sdp.is_none() && addresses.is_empty() {
            self.dial_back(peer, by, offered, reach)?;
        }
        let sdp = sdp.unwrap_or_default();
        Ok(Description { sdp, addresses })
    }

    /// A signal came in the session of an offer that we let come. Only one more address of the
    /// offerer has a place there; no signal ends the session, for anybody may have sent it.
    pub(super) fn on_offerer_signal(&mut self, peer: &PeerId, signal: &Signal) {
        let Some(introduction) = self.answers.introduced.get_mut(peer) else {
            return;
        };
        let Some(setup) = introduction.setup else {
            return;
        };
        let negotiation = &mut introduction.negotiation;
        if let Ok(SignalContent::IceCandidate(candidate)) =
            negotiation.read(&*self.seal, &self.local, signal)
        {
            self.signaling(Command::Candidate { setup, candidate });
        }
    }

    /// A peer is there: its introduction is over, if that is how it came. Who it was by. An offer that
    /// is not answered, or a set-up that is under way still, comes from a peer that has left the
    /// connection which is greeted only now, and is coming back.
    pub(super) fn end_introduction_by(&mut self, peer: &PeerId, via: Via) -> Option<PeerId> {
        let introduction = self.answers.introduced.get(peer)?;
        let is_coming =
            introduction.is_unanswered || via == Via::Signaled && introduction.setup.is_some();
        match is_coming {
            true => None,
            false => self.end_introduction(peer),
        }
    }

    /// The introduction of a peer is over, and what is left of its set-up. Who it was by.
    pub(super) fn end_introduction(&mut self, peer: &PeerId) -> Option<PeerId> {
        let unused = self.answers.take_setup(peer);
        let introduction = self.answers.forget(peer)?;
        self.abandon(unused);
        Some(introduction.by)
    }

    pub(super) fn expire_answers(&mut self, now: Instant) {
        while let Some(peer) = self.answers.introductions.pop(now) {
            let until = self.answers.expected_until(&peer);
            if until.is_some_and(|until| until <= now) {
                self.end_introduction(&peer);
            }
        }
        self.answers.expire_patience(now);
        while let Some(exchange) = self.answers.replays.pop(now) {
            self.answers.seen.remove(&exchange);
        }
    }

    /// Without an address of our own the offerer cannot come, but we may come to it: a few at a time,
    /// for it is others who choose whom and where we dial.
    fn dial_back(
        &mut self,
        peer: &PeerId,
        by: &PeerId,
        offered: Vec<Multiaddr>,
        reach: Reach,
    ) -> Result<(), Refusal> {
        let addresses = self.addresses.to_dial(offered, peer, reach);
        if addresses.is_empty() {
            return Ok(());
        }
        // Those that are yet to be begun count too: offers that have waited are considered together.
        let begun = self.dials.values().map(|dial| (dial.peer, dial.brought_by));
        let to_begin = self.outputs.iter().filter_map(|output| match output {
            Output::Dial { peer, .. } => Some((*peer, self.answers.brought_by(peer))),
            _ => None,
        });
        let mut dials = begun.chain(to_begin);
        let brought_by = dials.clone().filter_map(|(_, brought_by)| brought_by);
        let of_introducer = brought_by.clone().filter(|it| it == by).count();
        if dials.any(|(dialed, _)| dialed == *peer)
            || of_introducer >= Limits::DIALS_BACK
            || brought_by.count() >= Limits::ALL_DIALS_BACK
        {
            return Err(Refusal::Busy);
        }
        let peer = *peer;
        self.outputs.push_back(Output::Dial { peer, addresses });
        Ok(())
    }

    /// Remembers an exchange. If there are too many, forgets the oldest: to refuse offers for it would let a few keep out
    /// all others.
    fn remember(&mut self, now: Instant, exchange: ExchangeId) {
        let answers = &mut self.answers;
        if answers.seen.len() >= Limits::REPLAYS
            && let Some(oldest) = answers.replays.pop_first()
        {
            answers.seen.remove(&oldest);
        }
        answers.seen.insert(exchange);
        answers.replays.push(now + Limits::REPLAY_TIME, exchange);
        self.wake_expiries();
    }
}
