//! How a connection is set up: the descriptions of both ends, and their addresses. Nothing is sent to
//! an address before the other side has described itself.

use std::time::Instant;

use str0m::{
    Candidate,
    change::{SdpAnswer, SdpOffer},
    channel::ChannelConfig,
};

use super::{
    super::{Closed, demux::place, description, surroundings::Surroundings},
    Connection, INIT_LABEL, Ingredients, Phase, Role,
};
use crate::config::Limits;

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
        let around = ingredients.surroundings.clone();
        let mut connection = Self::new(now, Role::Answerer, ingredients);
        let described = connection.run(|rtc| {
            let Some((offer, candidates)) = description::read(offer) else {
                return Ok(None);
            };
            let offer = SdpOffer::from_sdp_string(&offer)?;
            let answer = rtc.sdp_api().accept_offer(offer)?;
            Ok(Some((answer.to_sdp_string(), candidates)))
        });
        let (sdp, candidates) = described.flatten().unzip();
        connection.on_described(now, candidates, &around);
        (connection, sdp)
    }

    /// Takes the answer to our offer.
    pub(in super::super) fn accept(&mut self, now: Instant, answer: &str, around: &Surroundings) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let candidates = self.run(|rtc| {
            let Some((answer, candidates)) = description::read(answer) else {
                return Ok(None);
            };
            let answer = SdpAnswer::from_sdp_string(&answer)?;
            rtc.sdp_api().accept_answer(pending, answer)?;
            Ok(Some(candidates))
        });
        self.on_described(now, candidates.flatten(), around);
        for datagram in std::mem::take(&mut self.early) {
            if around.may_send_to(datagram.pair.1, self.nearness) {
                self.handle_datagram(now, datagram.pair, &datagram.contents);
            }
        }
    }

    /// The other side has said what it is, and where, if what it said made sense.
    fn on_described(
        &mut self,
        now: Instant,
        candidates: Option<Vec<Candidate>>,
        around: &Surroundings,
    ) {
        let Some(candidates) = candidates else {
            return self.finish(Closed::Protocol);
        };
        self.phase = Phase::Connecting { has_path: false };
        self.phase_ends = now + Limits::PATH_TIME;
        self.add_remote_candidates(candidates, around);
        self.tick(now);
    }

    /// Takes one more address of the other side.
    pub(in super::super) fn on_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &str,
        around: &Surroundings,
    ) {
        let read = self.run(|_| Ok(description::candidate(candidate)));
        if let Some(candidate) = read.flatten() {
            self.add_remote_candidates(vec![candidate], around);
            self.tick(now);
        }
    }

    fn add_remote_candidates(&mut self, candidates: Vec<Candidate>, around: &Surroundings) {
        let ips = candidates.iter().map(|candidate| candidate.addr().ip());
        self.remote_ips.extend(ips);
        self.remote_ips.truncate(Limits::ICE_CANDIDATES);
        self.nearness.compare(&self.remote_ips, around);
        for candidate in candidates {
            if self.remote_candidates.len() < Limits::ICE_CANDIDATES
                && around.may_send_to(candidate.addr(), self.nearness)
            {
                self.remote_candidates.push(candidate.addr());
                self.targets.name(place(candidate.addr()));
                self.run(|rtc| {
                    rtc.add_remote_candidate(candidate);
                    Ok(())
                });
            }
        }
    }

    /// Those of our own that the other side may know of now and was not told. To be told to it.
    pub(in super::super) fn name_candidates(&mut self, around: &Surroundings) -> Vec<Candidate> {
        if !self.is_in_setup() {
            return Vec::new(); // it has a path, and needs no other for how we look now and then
        }
        let mut candidates = description::choose(&around.candidates, self.nearness);
        candidates.retain(|candidate| !self.named.contains(&candidate.addr()));
        candidates.truncate(Limits::ICE_CANDIDATES.saturating_sub(self.named.len()));
        self.named.extend(candidates.iter().map(Candidate::addr));
        candidates
    }
}
