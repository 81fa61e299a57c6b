//! How a connection is set up: the descriptions of both ends, and their addresses. Nothing is sent to
//! an address before the other side has described itself.

use std::time::Instant;

use str0m::{
    Candidate,
    change::{SdpAnswer, SdpOffer},
    channel::ChannelConfig,
};

use super::{
    super::description::{self, MAX_CANDIDATES},
    Connection, INIT_LABEL, Ingredients, PATH_TIMEOUT, Phase, Role,
};

/// SCTP's number of that channel: agreed beforehand, so that nothing is sent for it, and far from
/// those that are counted up.
const INIT_STREAM: u16 = 65534;

impl Connection {
    /// Describes our end as the side that offers.
    pub(in super::super) fn offer(
        now: Instant,
        ingredients: Ingredients,
    ) -> (Self, Option<String>) {
        let mut connection = Self::new(now, Role::Offerer, ingredients);
        let sdp = connection.run(|rtc| {
            let mut api = rtc.sdp_api();
            api.add_channel_with_config(ChannelConfig {
                label: INIT_LABEL.to_owned(),
                negotiated: Some(INIT_STREAM),
                ..ChannelConfig::default()
            });
            Ok(api.apply())
        });
        let sdp = sdp.flatten().map(|(offer, pending)| {
            connection.pending = Some(pending);
            offer.to_sdp_string()
        });
        (connection, sdp)
    }

    /// Describes our end to the side that offered.
    pub(in super::super) fn answer(
        now: Instant,
        ingredients: Ingredients,
        offer: &str,
    ) -> (Self, Option<String>) {
        let mut connection = Self::new(now, Role::Answerer, ingredients);
        let (offer, candidates) = description::part(offer, connection.reach);
        let sdp = connection.run(|rtc| {
            let offer = SdpOffer::from_sdp_string(&offer)?;
            rtc.sdp_api().accept_offer(offer)
        });
        connection.on_described(now, candidates);
        (connection, sdp.map(|answer| answer.to_sdp_string()))
    }

    /// Takes the answer to our offer.
    pub(in super::super) fn accept(&mut self, now: Instant, answer: &str) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let (answer, candidates) = description::part(answer, self.reach);
        self.run(|rtc| {
            let answer = SdpAnswer::from_sdp_string(&answer)?;
            rtc.sdp_api().accept_answer(pending, answer)
        });
        self.on_described(now, candidates);
        for datagram in std::mem::take(&mut self.early) {
            self.feed(now, datagram.pair, &datagram.contents);
        }
    }

    fn on_described(&mut self, now: Instant, candidates: Vec<Candidate>) {
        if self.phase != Phase::Offered {
            return; // what was said made no sense
        }
        self.phase = Phase::Connecting { has_path: false };
        self.phase_ends = now + PATH_TIMEOUT;
        for candidate in candidates {
            self.add_remote_candidate(candidate);
        }
        self.tick(now);
    }

    /// Takes one more address of the other side.
    pub(in super::super) fn on_remote_candidate(&mut self, now: Instant, candidate: &str) {
        if let Some(candidate) = description::candidate(candidate, self.reach) {
            self.add_remote_candidate(candidate);
            self.tick(now);
        }
    }

    fn add_remote_candidate(&mut self, candidate: Candidate) {
        if self.remote_candidates < MAX_CANDIDATES {
            self.remote_candidates += 1;
            self.run(|rtc| {
                rtc.add_remote_candidate(candidate);
                Ok(())
            });
        }
    }
}
