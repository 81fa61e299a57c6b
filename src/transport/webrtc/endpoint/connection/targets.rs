//! Where the other end may be, and how much may be sent there before it has answered: what it says of where
//! it is, and where its datagrams seem to come from, is its own choice, and somebody else may be there.

use std::collections::HashMap;

use super::super::demux::Place;
use crate::config::Limits;

/// How many times as many bytes may go to an address that the other end has not named as it has sent from there
/// (RFC 9000, section 8.1).
const GROWTH: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Targets {
    /// At most [`Limits::ICE_CANDIDATES`] that are named, and [`Limits::ALL_ICE_SOURCES`] others.
    all: HashMap<Place, Target>,
}

#[derive(Debug, Default)]
struct Target {
    /// Whether the other end has signed that it is there.
    is_named: bool,
    /// Whether it has told what only who is there can know.
    has_answered: bool,
    /// How many bytes of its requests seem to have come from there.
    asked: usize,
    /// How many went there before it answered.
    sent: usize,
}

impl Target {
    fn allowance(&self) -> usize {
        let named = if self.is_named { Limits::UNANSWERED } else { 0 };
        named + Limits::UNANSWERED.min(GROWTH.saturating_mul(self.asked))
    }

    fn is_doubtful(&self) -> bool {
        !self.is_named && !self.has_answered
    }
}

impl Targets {
    /// The other end says that it is there.
    pub(super) fn name(&mut self, place: Place) {
        self.all.entry(place).or_default().is_named = true;
    }

    /// Whether it says that it is there.
    pub(super) fn is_named(&self, place: Place) -> bool {
        self.all.get(&place).is_some_and(|target| target.is_named)
    }

    /// A request of the other end seems to come from there, of so many bytes. Whether it may be listened to.
    pub(super) fn ask(&mut self, place: Place, len: usize) -> bool {
        let unnamed = || self.all.values().filter(|target| !target.is_named);
        let has_room = self.all.contains_key(&place)
            || unnamed().count() < Limits::ALL_ICE_SOURCES
                && unnamed().filter(|it| it.is_doubtful()).count() < Limits::ICE_SOURCES;
        if has_room {
            let target = self.all.entry(place).or_default();
            target.asked = target.asked.saturating_add(len);
        }
        has_room
    }

    /// The other end is there.
    pub(super) fn answer(&mut self, place: Place) {
        if let Some(target) = self.all.get_mut(&place) {
            target.has_answered = true;
        }
    }

    /// Whether so many more bytes may go there, which they do then.
    pub(super) fn send(&mut self, place: Place, len: usize) -> bool {
        let Some(target) = self.all.get_mut(&place) else {
            return false;
        };
        let may_send = target.has_answered || target.sent + len <= target.allowance();
        if may_send && !target.has_answered {
            target.sent += len;
        }
        may_send
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn place(port: usize) -> Place {
        (IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), port as u16)
    }

    #[test]
    fn an_address_that_was_named_and_has_not_answered_gets_1000_bytes() {
        for (len, more) in [(999, true), (1000, true), (1001, false)] {
            let mut targets = Targets::default();
            targets.name(place(1));
            assert!(targets.send(place(1), 500));
            assert_eq!(targets.send(place(1), len - 500), more, "{len}");
        }
    }

    #[test]
    fn an_address_that_is_a_source_only_gets_3_times_what_came_from_it_and_1000_bytes_at_most() {
        for (asked, allowed) in [(1, 3), (100, 300), (333, 999), (334, 1000), (5000, 1000)] {
            for (len, may_send) in [(allowed - 1, true), (allowed, true), (allowed + 1, false)] {
                let mut targets = Targets::default();
                assert!(!targets.send(place(1), 0));
                assert!(targets.ask(place(1), asked));
                assert_eq!(targets.send(place(1), len), may_send, "{asked}, {len}");
                assert!(!targets.send(place(2), 0));
            }
        }
    }

    #[test]
    fn an_address_that_was_named_and_is_a_source_gets_both() {
        for (len, may_send) in [(1299, true), (1300, true), (1301, false)] {
            let mut targets = Targets::default();
            targets.name(place(1));
            assert!(targets.ask(place(1), 100));
            assert_eq!(targets.send(place(1), len), may_send, "{len}");
        }
    }

    #[test]
    fn who_has_answered_gets_whatever_there_is() {
        let mut targets = Targets::default();
        targets.answer(place(1));
        assert!(!targets.send(place(1), 1), "nobody was asked there");
        targets.name(place(1));
        targets.answer(place(1));
        assert!(targets.send(place(1), 1_000_000));
    }

    #[test]
    fn of_the_sources_that_are_not_named_4_may_be_without_an_answer() {
        let mut targets = Targets::default();
        (0..8).for_each(|port| targets.name(place(port)));
        for port in 0..13 {
            assert_eq!(targets.ask(place(port), 1), port < 12, "{port}");
        }
        assert!(targets.ask(place(11), 1), "it was there before");
        targets.answer(place(11));
        assert!(targets.ask(place(12), 1));
        assert!(!targets.ask(place(13), 1));
        targets.name(place(12));
        assert!(targets.ask(place(13), 1));
    }

    #[test]
    fn a_connection_has_256_sources_that_are_not_named() {
        let mut targets = Targets::default();
        targets.name(place(1000));
        for port in 0..257 {
            assert_eq!(targets.ask(place(port), 1), port < 256, "{port}");
            targets.answer(place(port));
        }
    }
}
