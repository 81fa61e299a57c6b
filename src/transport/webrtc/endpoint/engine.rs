//! How the engine of a connection is made. What it is used for is not its business.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use str0m::{Rtc, RtcConfig, config::DtlsCert};

use super::{
    Endpoint,
    guard::{self, Heard},
    unproven::Share,
};
use crate::config::Limits;

/// How long a check of a path is unanswered when it is repeated for the first time; each next time it is
/// twice as long. A router drops the check that comes before its own host has sent one, and the next would
/// come after 250 ms otherwise, or the 500 ms of RFC 8445, section 14.3. Those are to keep the network from
/// congestion, for which it is enough that there are 50 ms between any two checks of a connection (section
/// 14.2).
const FIRST_REPETITION: Duration = Duration::from_millis(50);

/// What a connection shows to the other end. `None` if there is no randomness.
pub(in super::super) fn generate_certificate() -> Option<DtlsCert> {
    let crypto = guard::crypto();
    crypto.dtls_provider.generate_certificate()
}

impl Endpoint {
    /// `expects_certificate` unless the other end may show any. `share` counts what is held until it has proven who it
    /// is, if it has to.
    pub(super) fn engine(
        &self,
        now: Instant,
        expects_certificate: bool,
        share: Option<Arc<Share>>,
    ) -> (Box<Rtc>, Heard) {
        let mut config = RtcConfig::new()
            .clear_codecs()
            .set_fingerprint_verification(expects_certificate)
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_sctp_max_buffered_amount(Limits::UNACKNOWLEDGED)
            .set_sctp_max_message_size(Limits::MESSAGE_LEN)
            .set_snap_enabled(true);
        config.set_initial_stun_rto(FIRST_REPETITION);
        guard::build(share, || Box::new(config.build(now)))
    }
}
