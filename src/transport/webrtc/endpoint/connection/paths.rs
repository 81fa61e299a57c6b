//! Which paths are checked. All are while a connection is set up; of one that has settled only the
//! path in use is (RFC 8445, section 8.3), for each costs both ends a check every 3 s. The others are
//! searched again when nothing comes over it, and when this machine's addresses change.

use std::time::{Duration, Instant};

use str0m::Candidate;

use super::{
    super::{demux::Pair, surroundings::Surroundings},
    Connection,
};

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
}

impl Paths {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: None,
            received: None,
            answered: now,
            settles: Some(now + SETTLE_TIME),
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

    pub(super) fn receive(&mut self, pair: Pair) {
        self.received = Some(pair);
    }

    /// A check of `pair` was answered.
    pub(super) fn answer(&mut self, now: Instant, pair: Pair) {
        if self.sent == Some(pair) {
            self.answered = now;
        }
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
