//! Which paths are checked. All are while a connection is set up; of one that has settled only the
//! path in use is (RFC 8445, section 8.3), for each costs both ends a check every 3 s. The others are
//! searched again when nothing comes over it, and when this machine's addresses change.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use str0m::Candidate;

use super::{
    super::{
        demux::{Pair, TransactionId},
        surroundings::Surroundings,
    },
    Connection,
};
use crate::config::Limits;

/// How long a path has to be in use until the others are let go: a better one is found by then.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// How long a check of the path in use may be unanswered before the other paths are searched. The ends
/// see that it is dead up to 3 s apart, and the first must not have given up when the last begins to
/// search, so that there is no time to check twice.
const DOUBT_TIME: Duration = Duration::from_millis(4500);

pub(super) struct Paths {
    /// What the data leaves by.
    sent: Option<Pair>,
    /// What the other side's data came by last.
    received: Option<Pair>,
    /// When a check of the path in use was answered last.
    answered: Instant,
    /// When all but the path in use are let go; `None` once they are.
    settles: Option<Instant>,
    /// The checks that wait for an answer and when they were sent, the last [`Limits::TRANSACTIONS`]. Each is sent once, so its
    /// answer tells the round trip, however often others were repeated.
    checks: VecDeque<(TransactionId, Instant)>,
    /// The shortest round trip of each path, the last [`Limits::PAIRS`].
    round_trips: VecDeque<(Pair, Duration)>,
}

impl Paths {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: None,
            received: None,
            answered: now,
            settles: Some(now + SETTLE_TIME),
            checks: VecDeque::new(),
            round_trips: VecDeque::new(),
        }
    }

    /// A check was sent.
    pub(super) fn ask(&mut self, now: Instant, transaction: TransactionId) {
        self.checks.push_back((transaction, now));
        if self.checks.len() > Limits::TRANSACTIONS {
            self.checks.pop_front();
        }
    }

    /// Data leaves by `pair`. Whether it did not before.
    pub(super) fn send(&mut self, now: Instant, pair: Pair) -> bool {
        let is_new = self.sent.replace(pair) != Some(pair);
        if is_new && let Some(settles) = &mut self.settles {
            *settles = now + SETTLE_TIME;
        }
        is_new
    }

    /// Something came by `pair` that only the other side can have sent.
    pub(super) fn receive(&mut self, pair: Pair) {
        self.received = Some(pair);
    }

    /// A check of `pair` was answered.
    pub(super) fn answer(&mut self, now: Instant, pair: Pair, transaction: TransactionId) {
        if self.sent == Some(pair) {
            self.answered = now;
        }
        let check = self.checks.iter().position(|(it, _)| *it == transaction);
        if let Some((_, sent)) = check.and_then(|check| self.checks.remove(check)) {
            self.note_round_trip(pair, now.saturating_duration_since(sent));
        }
    }

    /// A datagram to the other end of `pair` was answered after so long.
    pub(super) fn note_round_trip(&mut self, pair: Pair, time: Duration) {
        match self.round_trips.iter_mut().find(|(of, _)| *of == pair) {
            Some((_, shortest)) => *shortest = time.min(*shortest),
            None => self.round_trips.push_back((pair, time)),
        }
        if self.round_trips.len() > Limits::PAIRS {
            self.round_trips.pop_front();
        }
    }

    /// Returns the shortest round trip of the path that data leaves by, if it was measured.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let in_use = self.round_trips.iter();
        let mut in_use = in_use.filter(|(pair, _)| self.sent == Some(*pair));
        in_use.next().map(|(_, time)| *time)
    }

    pub(super) fn in_use(&self) -> Option<Pair> {
        self.sent
    }

    /// The path that both ends use, and that works.
    fn agreed(&self, now: Instant) -> Option<Pair> {
        let is_good = self.sent == self.received && now < self.answered + DOUBT_TIME;
        self.sent.filter(|_| is_good)
    }

    /// When it is to be looked at again.
    pub(super) fn deadline(&self) -> Instant {
        self.settles.unwrap_or(self.answered + DOUBT_TIME)
    }
}

impl Connection {
    /// Whether [`Self::tend_paths`] has something to do.
    pub(in super::super) fn has_due_paths(&self, now: Instant) -> bool {
        self.is_connected() && !self.is_lite() && self.paths.deadline() <= now
    }

    /// `candidates` are all of our own.
    pub(in super::super) fn tend_paths(&mut self, now: Instant, candidates: &[Candidate]) {
        match self.paths.agreed(now) {
            Some((local, _)) if self.paths.settles.take().is_some() => {
                let spares = candidates.iter().filter(|spare| spare.local() != local);
                spares.for_each(|spare| self.invalidate(spare));
            }
            _ => self.search_paths(now, candidates),
        }
        self.engine_deadline = now;
    }

    /// Has all paths checked from the beginning, also the one in use: the engine would go on to believe
    /// in it for long, and has given up those from its address to others of the other side.
    fn search_paths(&mut self, now: Instant, candidates: &[Candidate]) {
        if self.is_lite() {
            return;
        }
        if self.paths.settles.replace(now + SETTLE_TIME).is_none() {
            for candidate in candidates {
                self.invalidate(candidate);
                self.add_local_candidate(candidate);
            }
        }
    }

    /// This machine has got an address, or found out how it looks from outside.
    pub(in super::super) fn on_local_candidate(
        &mut self,
        now: Instant,
        candidate: &Candidate,
        around: &Surroundings,
    ) {
        self.search_paths(now, &around.candidates);
        self.add_local_candidate(candidate);
        self.nearness.compare(&self.remote_ips, around);
        self.tick(now);
    }

    /// This machine has lost an address.
    pub(in super::super) fn remove_local_candidate(
        &mut self,
        now: Instant,
        candidate: &Candidate,
        candidates: &[Candidate],
    ) {
        self.search_paths(now, candidates);
        self.invalidate(candidate);
        self.tick(now);
    }

    pub(super) fn add_local_candidate(&mut self, candidate: &Candidate) {
        // Datagrams from this machine to itself leave no other way.
        if candidate.addr().ip().is_loopback() && !self.nearness.is_machine() {
            return;
        }
        self.run(|rtc| Ok(rtc.add_local_candidate(candidate.clone()).is_some()));
    }

    fn invalidate(&mut self, candidate: &Candidate) {
        self.run(|rtc| Ok(rtc.direct_api().invalidate_candidate(candidate)));
    }
}
