//! How a connection is set up that was dialed by an address (libp2p's specification "WebRTC Direct"): both ends
//! know beforehand what a description would say.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{Candidate, IceCreds, channel::ChannelConfig, config};

use super::{
    super::{
        super::fingerprint::Fingerprint,
        demux::{Pair, place},
    },
    Connection, Ingredients, Phase, Role,
};
use crate::config::Limits;

/// SCTP's number of the channel over which both ends prove who they are.
const NOISE_STREAM: u16 = 0;

impl Connection {
    /// Dials an address, whose certificate has that fingerprint, or lets in who dialed us.
    pub(in super::super) fn direct(
        now: Instant,
        ingredients: Ingredients,
        credentials: IceCreds,
        dialed: Option<(SocketAddr, Fingerprint)>,
    ) -> Self {
        let is_dialer = dialed.is_some();
        let role = match is_dialer {
            true => Role::Offerer,
            false => Role::Answerer,
        };
        let mut connection = Self::new(now, role, ingredients);
        connection.phase = Phase::Connecting { has_path: false };
        connection.phase_ends = now + Limits::PATH_TIME;
        connection.is_held = is_dialer;
        // The engine wants to expect one also where it is not to look at it.
        let (target, expected) = dialed.unzip();
        let expected = expected.map_or(vec![0; 32], |it| it.digest().to_vec());
        if let Some(target) = target {
            connection.targets.name(place(target));
        }
        let target = target.and_then(|target| Candidate::host(target, "udp").ok());
        connection.noise = connection.run(|rtc| {
            if let Some(target) = target {
                rtc.add_remote_candidate(target);
            }
            let mut api = rtc.direct_api();
            api.set_ice_lite(!is_dialer);
            api.set_ice_controlling(is_dialer);
            api.set_remote_ice_credentials(credentials);
            api.set_remote_fingerprint(config::Fingerprint {
                hash_func: "sha-256".to_owned(),
                bytes: expected,
            });
            api.start_dtls(is_dialer)?;
            api.start_sctp(is_dialer);
            Ok(api.create_data_channel(ChannelConfig {
                negotiated: Some(NOISE_STREAM),
                ..ChannelConfig::default()
            }))
        });
        if let Some(noise) = connection.noise {
            connection.channels.insert(noise);
            connection.handshake = Some(noise);
        }
        connection
    }

    /// Whether we dialed an address.
    pub(super) fn dialed_address(&self) -> bool {
        self.setup.is_none() && self.role == Role::Offerer
    }

    /// Whether the other end alone chooses the path, and checks it: it dialed an address of ours.
    pub(super) fn is_lite(&self) -> bool {
        self.setup.is_none() && self.role == Role::Answerer
    }

    /// The other end has shown that it is at `source`, from where this request came, by an answer after `round_trip`.
    pub(in super::super) fn show(
        &mut self,
        now: Instant,
        pair: Pair,
        round_trip: Duration,
        request: &[u8],
    ) {
        self.paths.note_round_trip(pair, round_trip);
        let source = place(pair.1);
        if self.targets.ask(source, request.len()) {
            self.targets.answer(source);
        }
        self.handle_datagram(now, pair, request);
    }

    /// What the other end's certificate has shown.
    pub(in super::super) fn remote_fingerprint(&mut self) -> Option<Fingerprint> {
        let shown = self.run(|rtc| Ok(rtc.direct_api().remote_dtls_fingerprint().cloned()))??;
        Fingerprint::from_digest(&shown.bytes)
    }
}
