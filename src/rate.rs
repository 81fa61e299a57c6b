//! Token buckets. They know a [`Rate`] and the time; what is counted is their owner's business.

use web_time::Instant;

use crate::config::Rate;

/// How much of a [`Rate`] is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst.into(),
            at: now,
        }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.take_n(rate, now, 1)
    }

    /// Takes so many, if there is one: those that are missing have to be earned before the next. Who takes many at a
    /// time would else get none beside those who take one.
    pub(crate) fn take_n(&mut self, rate: Rate, now: Instant, count: u32) -> bool {
        self.left = self.earned(rate, now);
        self.at = self.at.max(now);
        let is_enough = self.left >= 1.0;
        if is_enough {
            self.left -= f64::from(count);
        }
        is_enough
    }

    /// Returns true if at least half of the burst is left.
    pub(crate) fn is_half_full(&self, rate: Rate, now: Instant) -> bool {
        2.0 * self.earned(rate, now) >= rate.burst.into()
    }

    /// Whether nothing is missing any more, so that it need not be remembered.
    #[cfg(any(feature = "webrtc", test))]
    pub(crate) fn is_full(&self, rate: Rate, now: Instant) -> bool {
        self.earned(rate, now) >= rate.burst.into()
    }

    fn earned(&self, rate: Rate, now: Instant) -> f64 {
        let time = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + time * f64::from(rate.per_second)).min(rate.burst.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_served_and_credit_does_not_grow_past_it() {
        let (rate, start) = (Rate::new(3, 2), Instant::now());
        let mut bucket = Bucket::full(rate, start);
        assert!(bucket.is_full(rate, start));
        assert_eq!((0..5).filter(|_| bucket.take(rate, start)).count(), 3);
        let soon = start + Duration::from_millis(500);
        assert_eq!((0..5).filter(|_| bucket.take(rate, soon)).count(), 1);
        assert!(!bucket.is_full(rate, soon + Duration::from_millis(1499)));
        assert!(bucket.is_full(rate, soon + Duration::from_millis(1500)));
        assert!(!bucket.is_half_full(rate, soon + Duration::from_millis(749)));
        assert!(bucket.is_half_full(rate, soon + Duration::from_millis(750)));
        let much_later = start + Duration::from_secs(1_000_000);
        assert_eq!((0..5).filter(|_| bucket.take(rate, much_later)).count(), 3);
    }

    #[test]
    fn who_takes_many_has_the_same_chance_and_pays_for_all() {
        let (rate, start) = (Rate::new(4, 1), Instant::now());
        let mut bucket = Bucket::full(rate, start);
        assert!((0..3).all(|_| bucket.take(rate, start)));
        assert!(bucket.take_n(rate, start, 3));
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!bucket.take(rate, after(2)));
        assert!(bucket.take(rate, after(3)));
        assert!(!bucket.take(rate, after(3)));
    }
}
