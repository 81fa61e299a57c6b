//! Which paths are checked. All are while a connection is set up; of one that has settled only the
//! path in use is (RFC 8445, section 8.3), for each costs both ends a check every 3 s. The others are
//! searched again when nothing comes over it, and when this machine's addresses change.

use std::time::{Duration, Instant};

use str0m::Candidate;

use super::{
    super::{demux::Pair, description},
    Connection, SILENCE_TIMEOUT,
};
use crate::{reach::Reach, signaling::Notice};

/// How long a path has to be in use until the others are let go: a better one is found by then.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// How long nothing may come before the other paths are searched: one check and its repetitions. Both
/// ends see the silence within 3 s of each other, which leaves them time to find another one.
const DOUBT_TIME: Duration = Duration::from_millis(4500);

pub(super) struct Paths {
    /// What the data leaves by.
    sent: Option<Pair>,
    /// What the other side's data came by last.
    received: Option<Pair>,
    /// When all but the path in use are let go; `None` once they are.
    settles: Option<Instant>,
}

impl Paths {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: None,
            received: None,
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

    pub(super) fn in_use(&self) -> Option<Pair> {
        self.sent
    }

    /// The path that both ends use.
    fn agreed(&self) -> Option<Pair> {
        self.sent.filter(|_| self.sent == self.received)
    }
}

impl Connection {
    /// When [`Self::tend_paths`] wants to be called, while the connection is up.
    pub(super) fn paths_deadline(&self) -> Instant {
        let doubted = self.phase_ends - (SILENCE_TIMEOUT - DOUBT_TIME);
        self.paths.settles.unwrap_or(doubted)
    }

    /// Whether [`Self::tend_paths`] has something to do.
    pub(in super::super) fn has_due_paths(&self, now: Instant) -> bool {
        self.is_connected() && self.paths_deadline() <= now
    }

    /// `candidates` are all of our own.
    pub(in super::super) fn tend_paths(&mut self, now: Instant, candidates: &[Candidate]) {
        let is_doubtful = self.phase_ends <= now + (SILENCE_TIMEOUT - DOUBT_TIME);
        match self.paths.agreed() {
            Some((local, _)) if self.paths.settles.is_some() && !is_doubtful => {
                self.paths.settles = None;
                let spares = candidates.iter().filter(|spare| spare.local() != local);
                spares.for_each(|spare| self.invalidate(spare));
            }
            _ => self.search_paths(now, candidates),
        }
        self.engine_deadline = now;
    }

    /// Has all paths checked again.
    fn search_paths(&mut self, now: Instant, candidates: &[Candidate]) {
        let are_checked = self.paths.settles.replace(now + SETTLE_TIME).is_some();
        if let Some((local, _)) = self.paths.sent.filter(|_| !are_checked) {
            let spares = candidates.iter().filter(|spare| spare.local() != local);
            spares.for_each(|spare| self.add_local_candidate(spare));
        }
    }

    /// This machine has got an address, or found out how it looks from outside. To be told to the other
    /// side, if it may know.
    pub(in super::super) fn on_local_candidate(
        &mut self,
        now: Instant,
        candidate: &Candidate,
        candidates: &[Candidate],
    ) -> Option<Notice> {
        self.search_paths(now, candidates);
        self.add_local_candidate(candidate);
        self.tick(now);
        let may_know = self.is_in_setup() && description::may_use(candidate, self.reach);
        may_know.then(|| Notice::Candidate {
            setup: self.setup,
            candidate: candidate.to_sdp_string(),
        })
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
        if candidate.addr().ip().is_loopback() && self.reach != Reach::Machine {
            return;
        }
        self.run(|rtc| Ok(rtc.add_local_candidate(candidate.clone()).is_some()));
    }

    fn invalidate(&mut self, candidate: &Candidate) {
        self.run(|rtc| Ok(rtc.direct_api().invalidate_candidate(candidate)));
    }
}
