//! Set-ups of signaled connections, of which a running attempt and an introduction have one each:
//! how they begin and end, and the addresses that both ends find meanwhile. What a description says
//! is known to the transport alone.

use libp2p::PeerId;
use web_time::Instant;

use super::{Exchange, Output, link::Side};
use crate::{
    event::PxpEvent,
    message::SignalContent,
    signaling::{Command, Notice, SetupId},
};

impl Exchange {
    /// This node has a transport that is set up by signals.
    pub(crate) fn with_signaling(mut self) -> Self {
        self.has_signaling = true;
        self
    }

    /// Names a new set-up.
    pub(super) fn new_setup(&mut self, peer: PeerId) -> SetupId {
        let number = self.setups;
        self.setups += 1;
        SetupId { peer, number }
    }

    pub(super) fn signaling(&mut self, command: Command) {
        self.outputs.push_back(Output::Signaling(command));
    }

    /// Gives up a set-up, if there still is one.
    pub(super) fn abandon(&mut self, setup: Option<SetupId>) {
        if let Some(setup) = setup {
            self.signaling(Command::Abandon { setup });
        }
    }

    /// The connection of a set-up is there: it is no longer to be abandoned.
    pub(super) fn on_set_up(&mut self, peer: &PeerId, side: Side) {
        match side {
            Side::Dialer => self.queries.take_setup(peer),
            Side::Listener => self.answers.take_setup(peer),
        };
    }

    pub(super) fn on_notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::Described { setup, sdp } => match self.queries.describing(&setup) {
                Some(query) => self.on_offer_described(now, query, sdp),
                None => self.on_answer_described(now, &setup, sdp),
            },
            Notice::Failed(setup) => {
                self.on_answer_described(now, &setup, None); // if it failed before that was said
                self.answers.on_setup_failed(&setup);
            }
            Notice::PathFound(setup) => self.on_progress(now, &setup),
            Notice::Candidate { setup, candidate } => self.on_own_candidate(&setup, candidate),
            Notice::Serving { port } => self.stun_port = Some(port),
            Notice::NatMapping(_) if self.is_closed() => {}
            Notice::NatMapping(mapping) => self.event(PxpEvent::NatMapping(mapping)),
        }
    }

    /// Tells the other end of an address that ours has found since it was described.
    fn on_own_candidate(&mut self, setup: &SetupId, candidate: String) {
        let offered = self.queries.negotiation(setup);
        if let Some(negotiation) = offered.or_else(|| self.answers.negotiation(setup)) {
            let content = SignalContent::IceCandidate(candidate);
            let frame = negotiation.sign(&*self.seal, &self.local, content);
            let link = negotiation.link;
            if let Some(frame) = frame.filter(|_| self.reach_over(link).is_some()) {
                self.send(link, frame);
            }
        }
    }
}
