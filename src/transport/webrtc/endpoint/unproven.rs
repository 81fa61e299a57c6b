//! What connections make us hold before their other ends have proven who they are. This counts bytes and compares them
//! with the limits. It knows neither what is held nor what proves an identity.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::config::Limits;

/// SCTP's number of the channel over which both ends of a webrtc-direct connection prove who they are.
pub(super) const PROOF_STREAM: u16 = 0;

/// The bytes that all unproven connections hold together, at most [`Limits::ALL_UNPROVEN`]. Endpoints may share it.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Begins the account of one connection.
    pub(super) fn share(&self) -> Arc<Share> {
        Arc::new(Share {
            budget: self.clone(),
            held: AtomicUsize::new(0),
            is_proven: AtomicBool::new(false),
        })
    }

    /// Takes `bytes` for a connection that holds `own` then. One that holds more than a proof takes leaves the other half
    /// to those that do not, so that nobody's proof waits for others.
    fn take(&self, bytes: usize, own: usize) -> bool {
        let most = match own <= Limits::PROOF {
            true => Limits::ALL_UNPROVEN,
            false => Limits::ALL_UNPROVEN / 2,
        };
        let take = |held: usize| Some(held + bytes).filter(|held| *held <= most);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, fetch, take).is_ok()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bytes that one connection has had us hold, at most [`Limits::UNPROVEN`]. It gives them back at the proof, or when
/// it is dropped. Until then the count never falls: no honest proof comes near the limit.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    held: AtomicUsize,
    is_proven: AtomicBool,
}

impl Share {
    /// Counts `bytes` that are to be held. Returns false if they must not be.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        if self.is_proven() {
            return true;
        }
        let held = self.held() + bytes;
        let may_hold = held <= Limits::UNPROVEN && self.budget.take(bytes, held);
        if may_hold {
            self.held.store(held, Ordering::Relaxed);
        }
        may_hold
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// Notes that the other end has proven who it is.
    pub(super) fn set_proven(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
        self.give_back();
    }

    fn give_back(&self) {
        let held = self.held.swap(0, Ordering::Relaxed);
        self.budget.0.fetch_sub(held, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_holds_8_kib() {
        for (bytes, may_hold) in [(8191, true), (8192, true), (8193, false)] {
            let share = Budget::default().share();
            assert!(share.hold(1));
            assert_eq!(share.hold(bytes - 1), may_hold, "{bytes}");
            assert_eq!(share.held(), if may_hold { bytes } else { 1 });
        }
    }

    #[test]
    fn all_connections_together_hold_4_mib_and_half_of_it_is_for_proofs() {
        const HALF: usize = 2 * 1024 * 1024;
        for past in [-1, 0, 1] {
            let budget = Budget::default();
            let full: Vec<_> = (1..256).map(|_| budget.share()).collect();
            assert!(full.iter().all(|share| share.hold(8192)));
            let last = budget.share();
            assert!(last.hold(8100));
            assert_eq!(last.hold(92usize.saturating_add_signed(past)), past <= 0);
            if past != 0 {
                continue;
            }
            assert_eq!(budget.held(), HALF);
            let proofs: Vec<_> = (0..1024).map(|_| budget.share()).collect();
            assert!(proofs.iter().all(|share| share.hold(2048)));
            assert_eq!(budget.held(), 2 * HALF);
            assert!(!budget.share().hold(1));
            assert!(!proofs[0].hold(1));
        }
    }

    #[test]
    fn a_proof_and_an_end_give_the_bytes_back() {
        let budget = Budget::default();
        let [proven, ended] = [budget.share(), budget.share()];
        assert!(proven.hold(1000) && ended.hold(100));
        proven.set_proven();
        assert_eq!((proven.held(), budget.held()), (0, 100));
        assert!(proven.hold(1_000_000), "nothing is counted any more");
        drop(ended);
        assert_eq!(budget.held(), 0);
    }
}
