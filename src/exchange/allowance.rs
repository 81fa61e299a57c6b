//! What one peer may still ask of us, counted in token buckets.

use web_time::Instant;

use crate::{config::Limits, rate::Bucket};

/// What one peer may still ask of us, over all its links together.
#[derive(Debug)]
pub(super) struct Allowance {
    pub(super) requests: Bucket,
    /// Introductions that the peer asks us to carry.
    pub(super) asked: Bucket,
    /// Introductions that we carry to the peer.
    pub(super) carried: Bucket,
    /// Introductions that the peer carries to us.
    pub(super) brought: Bucket,
}

impl Allowance {
    pub(super) fn full(limits: &Limits, now: Instant) -> Self {
        Self {
            requests: Bucket::full(limits.requests, now),
            asked: Bucket::full(limits.introductions, now),
            carried: Bucket::full(limits.introductions, now),
            brought: Bucket::full(limits.introductions, now),
        }
    }
}
