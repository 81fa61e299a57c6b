//! Admits peers: by an offer, and once they are here. A place that is kept for a peer which was told to come counts against
//! its introducer alone, because that peer may never come; whoever comes first gets it.

use libp2p::{PeerId, swarm::ConnectionId};
use web_time::Instant;

use super::{Exchange, Side, link::Link};
use crate::{
    config::{Incoming, Limits},
    error::Refusal,
    event::Via,
};

impl Exchange {
    /// Returns why an offer is refused, if it is: an introducer has no more peers expected than there are places free.
    pub(super) fn admit(
        &self,
        now: Instant,
        peer: &PeerId,
        from: ConnectionId,
    ) -> Result<(), Refusal> {
        let introducer = self.links.get(&from).ok_or(Refusal::Gone)?.peer;
        let expected = self.answers.expected_by(&introducer, peer);
        let has_place = self.roster.len() + expected < self.limits.max_peers;
        let has_place_in_view = || self.view.as_ref().is_none_or(|it| it.admits(now, expected));
        let is_known =
            self.roster.contains(peer) || self.answers.introducer(peer) == Some(&introducer);
        if self.incoming == Incoming::Refuse {
            Err(Refusal::NotAccepting)
        } else if is_known || has_place && has_place_in_view() {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Makes room for one more peer that is expected. If there are too many, the introducer that has brought the most loses
    /// the oldest of them, so that it keeps out nobody whom others bring.
    pub(super) fn make_room(&mut self) {
        if self.answers.len() >= self.limits.max_peers
            && let Some(oldest) = self.answers.oldest_of_most()
        {
            self.end_introduction(&oldest);
        }
    }

    /// The last link of a peer has ended. Those that it has introduced may still come.
    pub(super) fn disown_introductions(&mut self, introducer: &PeerId) {
        let unused: Vec<_> = self.answers.disown(introducer).collect();
        for setup in unused {
            self.abandon(Some(setup));
        }
    }

    /// Returns true if a stranger has come and has no place, or a peer has links enough.
    pub(super) fn is_one_too_many(&self, now: Instant, link: &Link) -> bool {
        match self.roster.links(&link.peer).len() {
            0 => self.is_by_wish_of_others(link) && !self.has_place_for(now, link),
            links => links >= Limits::LINKS,
        }
    }

    fn is_by_wish_of_others(&self, link: &Link) -> bool {
        let comes = match link.side {
            Side::Listener => link.via != Via::Stream,
            Side::Dialer => link.is_brought,
        };
        comes && self.queries.attempting(&link.peer).is_none()
    }

    fn has_place_for(&self, now: Instant, link: &Link) -> bool {
        let is_introduced = self.is_introduced(link);
        let has_place_in_view = self.view.as_ref().is_none_or(|view| {
            let dials = link.via != Via::Signaled;
            dials && !view.is_full() || is_introduced && view.admits(now, 0)
        });
        !self.is_full() && has_place_in_view
    }

    /// Returns true if a peer comes by the word of another, which may have been withdrawn since.
    pub(super) fn is_introduced(&self, link: &Link) -> bool {
        let is_signaled = link.via == Via::Signaled && link.side == Side::Listener;
        is_signaled || link.is_brought || self.answers.contains(&link.peer)
    }
}
