//! How much may be written before the other side acknowledges it, and how fast. It knows sizes and times, and nothing
//! of channels.
//!
//! A receiver's socket may hold no more than 128 KiB (Chromium 156), of which each datagram takes some 2 KiB. What exceeds
//! it is lost, and the end of a burst is sent again only after a second. So no more than [`BURST`] is sent at once. A longer
//! path gets a larger window step by step, up to what its measured round trip asks for, and its writes are spread over that
//! time. A receiver that stands still delays acknowledgements just as a long path does. So late acknowledgements alone
//! never make the window larger: beyond that it grows only if they come about as fast as the path allows.
//!
//! An end that was dialed by an address measures the round trip once, and that measurement may have been late. It counts
//! until an acknowledgement comes sooner: no acknowledgement comes before a round trip is over.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// Bytes that may be sent at once: 45 datagrams, for which a socket of 128 KiB has room also if nobody reads it meanwhile.
pub(super) const BURST: usize = 48 * 1024;

/// Bytes per second that each receiver is taken to read: Chromium 156 reads 17 to 23 MiB.
const RATE: usize = 20 * 1024 * 1024;

/// How far a writer may be ahead of the pace at least, in time: timers are no finer.
const AHEAD: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Window {
    /// How large it has become.
    grown: usize,
    /// The shortest round trip of the path, as measured by ICE checks.
    measured: Option<Duration>,
    /// The shortest time in which something written was acknowledged.
    acknowledged_in: Option<Duration>,
    /// Bytes that were written over this path, or before.
    written: u64,
    round: Option<Round>,
    /// From a write until what was written is acknowledged, one at a time.
    write: Option<Round>,
    /// When everything written is sent at the pace of the path.
    paced_until: Option<Instant>,
    /// When a writer may go on that was too fast.
    opens_at: Option<Instant>,
}

/// A time in which something is acknowledged: a whole window, or a single write.
#[derive(Debug, Clone, Copy)]
struct Round {
    since: Instant,
    /// It is over when so many bytes have been acknowledged.
    until: u64,
}

impl Window {
    /// Data goes over another path.
    pub(super) fn change_path(&mut self, round_trip: Option<Duration>) {
        *self = Self {
            measured: round_trip,
            written: self.written,
            ..Self::default()
        };
    }

    /// Takes the shortest round trip of the path, measured by ICE checks.
    pub(super) fn measure(&mut self, round_trip: Option<Duration>) {
        self.measured = round_trip;
    }

    fn round_trip(&self) -> Option<Duration> {
        let sooner = |it: Duration| self.acknowledged_in.map_or(it, |other| other.min(it));
        self.measured.map(sooner)
    }

    pub(super) fn size(&self) -> usize {
        self.grown.clamp(BURST, Limits::UNACKNOWLEDGED)
    }

    /// How much fills the path if the other side reads at [`RATE`].
    fn by_distance(&self) -> usize {
        let bytes = self.round_trip().map_or(0.0, |it| it.as_secs_f64()) * RATE as f64;
        (bytes as usize).clamp(BURST, Limits::UNACKNOWLEDGED)
    }

    /// Returns true if so many bytes may be written now, beside those that are `outstanding`.
    pub(super) fn admits(&mut self, now: Instant, outstanding: usize, len: usize) -> bool {
        if outstanding > 0 && outstanding + len > self.size() {
            let (since, until) = (now, self.written);
            self.round.get_or_insert(Round { since, until });
            return false;
        }
        let ahead = self.duration_of(BURST / 2).max(AHEAD);
        let ahead = ahead.saturating_sub(self.duration_of(len));
        let is_too_fast = self.paced_until.is_some_and(|at| at > now + ahead);
        if is_too_fast {
            self.opens_at = self.paced_until.and_then(|at| at.checked_sub(ahead));
        }
        !is_too_fast
    }

    /// So many bytes were written.
    pub(super) fn write(&mut self, now: Instant, len: usize) {
        self.written = self.written.saturating_add(len as u64);
        let (since, until) = (now, self.written);
        self.write.get_or_insert(Round { since, until });
        let begin = self.paced_until.map_or(now, |at| at.max(now));
        self.paced_until = Some(begin + self.duration_of(len));
    }

    /// Returns true if waiting writers are to go on: once half a burst may be written, so that they do not wake up for each
    /// datagram.
    pub(super) fn has_room(&mut self, now: Instant, outstanding: usize) -> bool {
        self.learn(now, outstanding);
        self.opens_at.take_if(|at| *at <= now);
        self.opens_at.is_none() && outstanding + BURST / 2 <= self.size()
    }

    /// When [`Self::has_room`] is to be asked again, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.opens_at
    }

    /// Doubles until the path is filled. Then grows to what arrives within the shortest round trip and half a burst, which may
    /// wait at the receiver.
    fn learn(&mut self, now: Instant, outstanding: usize) {
        let acknowledged = self.written.saturating_sub(outstanding as u64);
        if let Some(write) = self.write.take_if(|it| it.until <= acknowledged) {
            let took = now.saturating_duration_since(write.since);
            let before = self.acknowledged_in.unwrap_or(took);
            self.acknowledged_in = Some(before.min(took));
        }
        let round = self.round.take_if(|round| round.until <= acknowledged);
        let (Some(round), Some(shortest)) = (round, self.round_trip()) else {
            return;
        };
        let took = now.saturating_duration_since(round.since).max(shortest);
        let share = shortest.as_secs_f64() / took.as_secs_f64();
        if share.is_finite() {
            let arriving = (self.size() as f64 * share) as usize;
            let doubled = self.by_distance().min(2 * self.size());
            self.grown = self.size().max(doubled).max(BURST / 2 + arriving);
        }
    }

    /// Returns how long so many bytes take at the pace of the path, which is a window in each round trip; no time where one burst is
    /// all that is under way.
    fn duration_of(&self, len: usize) -> Duration {
        let size = self.size();
        match self.round_trip() {
            Some(round_trip) if self.by_distance().max(size) > BURST => {
                round_trip.mul_f64(len as f64 / size as f64)
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn window(round_trip: Duration) -> Window {
        let mut window = Window::default();
        window.measure(Some(round_trip));
        window
    }

    #[test]
    fn a_long_path_is_filled_by_doubling() {
        for (round_trip, filled) in [
            (1, 48),
            (3, 61),
            (10, 204),
            (40, 819),
            (50, 1024),
            (9999, 1024),
        ] {
            let (mut window, mut now) = (window(MS * round_trip), Instant::now());
            let mut before = 48;
            assert_eq!(window.size() >> 10, before);
            while before < filled {
                // Whatever the acknowledgements say.
                pass(&mut window, &mut now, MS * round_trip * 10);
                before = filled.min(2 * before);
                assert_eq!(window.size() >> 10, before, "{round_trip} ms");
            }
        }
    }

    #[test]
    fn a_short_path_has_one_burst_under_way_and_no_pace() {
        let now = Instant::now();
        let mut window = window(MS);
        for (outstanding, admits) in [(32_767, true), (32_768, true), (32_769, false)] {
            assert_eq!(window.admits(now, outstanding, 16_384), admits);
        }
        for _ in 0..100 {
            assert!(window.admits(now, 0, 16_384));
            window.write(now, 16_384);
        }
    }

    #[test]
    fn a_long_path_gets_half_a_burst_at_once_and_the_rest_at_its_pace() {
        let start = Instant::now();
        let mut window = window(MS * 50);
        let mut write = |now: Instant| {
            let before = window.written;
            while window.admits(now, 0, 1024) {
                window.write(now, 1024);
            }
            let opens_at = window.deadline().unwrap();
            ((window.written - before) as usize, opens_at)
        };
        let (burst, opens_at) = write(start);
        assert!(burst.abs_diff(BURST / 2) <= 1024, "{burst}");
        // 48 KiB in 50 ms: 1 KiB in 1.04 ms.
        let late = opens_at - start;
        assert!(late > Duration::ZERO && late < MS * 2, "{late:?}");
        let (more, _) = write(start + MS * 10);
        assert!((9..=11).contains(&(more >> 10)), "{more}");
        assert!(!window.has_room(start + MS * 10, 0));
        assert!(window.has_room(start + MS * 12, 0));
        assert_eq!(window.deadline(), None);
    }

    /// Fills the window and has it acknowledged after `took`.
    fn pass(window: &mut Window, now: &mut Instant, took: Duration) {
        let size = window.size();
        window.write(*now, size);
        assert!(!window.admits(*now, size, 1));
        *now += took;
        window.has_room(*now, 0);
    }

    #[test]
    fn a_path_that_delivers_in_its_round_trip_gets_half_a_burst_more_each_time() {
        let (mut window, mut now) = (window(MS * 2), Instant::now());
        for halves in 2..=42 {
            assert_eq!(window.size(), halves * BURST / 2);
            pass(&mut window, &mut now, MS * 2);
        }
        assert_eq!(window.size(), Limits::UNACKNOWLEDGED);
    }

    #[test]
    fn a_receiver_that_stands_still_does_not_look_far_away() {
        let (mut window, mut now) = (window(MS / 4), Instant::now());
        for took in [MS * 3, MS * 1000, MS * 20, MS * 60_000] {
            pass(&mut window, &mut now, took);
            assert!(window.size() < BURST + BURST / 8, "{took:?}");
        }
    }

    /// Bytes that a writer gets through in a second, over a path whose round trip is `actual`.
    fn written_in_a_second(mut window: Window, actual: Duration) -> u64 {
        let (start, mut now) = (Instant::now(), Instant::now());
        let mut under_way = VecDeque::new();
        while now < start + SECOND {
            while under_way.front().is_some_and(|at| *at <= now) {
                under_way.pop_front();
            }
            if window.has_room(now, under_way.len() * 1024) {
                while window.admits(now, under_way.len() * 1024, 1024) {
                    window.write(now, 1024);
                    under_way.push_back(now + actual);
                }
            }
            now += MS / 10;
        }
        window.written
    }

    #[test]
    fn a_round_trip_that_was_measured_too_long_slows_nobody_down() {
        for actual in [1, 10, 40] {
            let exact = written_in_a_second(window(MS * actual), MS * actual);
            for measured in [actual + 5, actual * 2, 300] {
                let written = written_in_a_second(window(MS * measured), MS * actual);
                assert!(
                    written >= exact * 3 / 4,
                    "{actual} {measured} ms: {written} of {exact}"
                );
            }
        }
    }

    #[test]
    fn another_path_begins_anew() {
        let (mut window, mut now) = (window(MS * 50), Instant::now());
        (0..10).for_each(|_| pass(&mut window, &mut now, MS * 50));
        assert_eq!(window.size(), Limits::UNACKNOWLEDGED);
        window.change_path(Some(MS * 10));
        assert_eq!(window.size(), BURST);
        (0..3).for_each(|_| pass(&mut window, &mut now, SECOND));
        assert_eq!(window.size() >> 10, 204);
    }
}
