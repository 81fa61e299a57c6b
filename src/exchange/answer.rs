//! The candidate: checks an offer, answers it, and remembers whom it told that it may come.

use std::collections::{HashMap, HashSet};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use web_time::Instant;

use super::{
    Exchange, Output, attempt::Glare, negotiation::Negotiation, timer::Expiries, waiting::Waiting,
};
use crate::{
    config::{Incoming, Limits},
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
    /// How many of them keep a place.
    kept_places: usize,
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
    until: Instant,
    /// Not if it was a peer already.
    keeps_place: bool,
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
    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.introduced.contains_key(peer)
    }

    /// Where a peer is dialed that was introduced, as it says.
    pub(super) fn addresses(&self, peer: &PeerId) -> Option<&[Multiaddr]> {
        let introduction = self.introduced.get(peer)?;
        Some(&introduction.addresses)
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

    fn keep_place(&mut self, introduction: Introduction) {
        let Negotiation {
            peer,
            link,
            session,
            ..
        } = introduction.negotiation;
        self.sessions.insert((link, session), peer);
        self.kept_places += usize::from(introduction.keeps_place);
        self.introductions.push(introduction.until, peer);
        self.introduced.insert(peer, introduction);
    }

    /// A peer that may come once more has left: it is to find its place again, and nobody else another.
    pub(super) fn on_peer_gone(&mut self, peer: &PeerId) {
        if let Some(introduction) = self.introduced.get_mut(peer) {
            let keeps_place = std::mem::replace(&mut introduction.keeps_place, true);
            self.kept_places += usize::from(!keeps_place);
        }
    }

    fn forget(&mut self, peer: &PeerId) -> Option<Introduction> {
        let introduction = self.introduced.remove(peer)?;
        let Negotiation { link, session, .. } = introduction.negotiation;
        self.sessions.remove(&(link, session));
        self.kept_places -= usize::from(introduction.keeps_place);
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
        self.freed.push(introduction.by);
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
                let by = introduction.by;
                self.freed.push(by);
            }
        }
    }

    /// Whether one more set-up may begin with somebody whom `introducer` brings.
    pub(super) fn may_begin(&self, introducer: &PeerId) -> bool {
        let setups = self.setups_by(introducer);
        let counted = setups.filter(|it| it.patience.is_some());
        counted.count() < Limits::SETUPS_PER_INTRODUCER
    }

    /// One more begins: the oldest that is late gives way to it, if one has to.
    fn make_way(&mut self, introducer: &PeerId) -> Option<SetupId> {
        if self.setups_by(introducer).count() < Limits::SETUPS_PER_INTRODUCER {
            return None;
        }
        let late = self
            .setups_by(introducer)
            .filter(|it| it.patience.is_none());
        let late = late.filter_map(|it| it.setup);
        let oldest = late.min_by_key(|setup| setup.number)?;
        self.take_setup(&oldest.peer)
    }

    /// With whom `introducer` has brought set-ups are under way.
    fn setups_by(&self, introducer: &PeerId) -> impl Iterator<Item = &Introduction> {
        let all = self.introduced.values();
        all.filter(move |it| it.setup.is_some() && it.by == *introducer)
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
    pub(super) fn assert_bounded(&self) {
        for (introducer, len) in self.waiting.by_introducer() {
            assert!(len <= Limits::WAITING_OFFERS && !self.may_begin(introducer));
        }
        for introduction in self.introduced.values() {
            let setups = self.setups_by(&introduction.by);
            assert!(setups.count() <= Limits::SETUPS_PER_INTRODUCER);
        }
        assert!(self.freed.is_empty() && self.seen.len() <= Limits::REPLAYS);
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_empty(&self) -> bool {
        self.introduced.is_empty()
            && self.sessions.is_empty()
            && self.kept_places == 0
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
        if !self.remember(now, body.exchange) {
            return Err(Refusal::Busy);
        }
        let admitted = match self.settle_glare(now, &peer) {
            Glare::OursStands => return Ok(()),
            Glare::OursYields => Ok(()),
            Glare::None => self.admit(&peer),
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
            false => Some(self.answer(&peer, None, addresses.clone(), reach)?),
        };
        let is_new = !self.roster.contains(&peer) && !self.answers.contains(&peer);
        self.end_introduction(&peer);
        let setup = is_signaled.then(|| self.new_setup(peer));
        if is_signaled {
            let unused = self.answers.make_way(&by);
            self.abandon(unused);
        }
        self.answers.keep_place(Introduction {
            by,
            until: now + Limits::INTRODUCTION_TIME,
            keeps_place: !self.roster.contains(&peer),
            negotiation: negotiation.clone(),
            setup,
            patience: Some(now),
            addresses,
            is_unanswered: is_signaled,
        });
        self.wake_expiries();
        if let Some(view) = self.view.as_mut().filter(|_| is_new) {
            view.on_introduced(now);
        }
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
        match sdp {
            Some(_) => self.on_progress(now, setup),
            None => drop(self.answers.take_setup(&peer)),
        }
        let Some(reach) = self.reach_over(link) else {
            self.end_introduction(&peer);
            return;
        };
        let answer = self.answer(&peer, sdp, offered, reach);
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
        sdp: Option<String>,
        offered: Vec<Multiaddr>,
        reach: Reach,
    ) -> Result<Description, Refusal> {
        let addresses = self.addresses.to_give(reach);
        if sdp.is_none() && addresses.is_empty() {
            self.dial_back(peer, offered, reach)?;
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
        if let Some(view) = &mut self.view {
            view.on_introduction_over();
        }
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
        offered: Vec<Multiaddr>,
        reach: Reach,
    ) -> Result<(), Refusal> {
        let addresses = self.addresses.to_dial(offered, peer, reach);
        if addresses.is_empty() {
            return Ok(());
        }
        let dials_back = self
            .dials
            .values()
            .filter(|peer| self.queries.attempting(peer).is_none());
        if self.dials.values().any(|dialed| dialed == peer)
            || dials_back.count() >= Limits::DIALS_BACK
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
        } else if !is_known && (self.has_no_place() || !self.has_room_in_view()) {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }

    /// Remembers an exchange; `false` if too many are remembered already.
    fn remember(&mut self, now: Instant, exchange: ExchangeId) -> bool {
        let has_room = self.answers.seen.len() < Limits::REPLAYS;
        if has_room {
            self.answers.seen.insert(exchange);
            self.answers
                .replays
                .push(now + Limits::REPLAY_TIME, exchange);
            self.wake_expiries();
        }
        has_room
    }
}
