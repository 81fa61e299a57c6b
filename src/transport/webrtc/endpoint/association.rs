//! What a remote may ask of the SCTP engine. This sees each packet that DTLS has decrypted and each that it is to
//! encrypt, and says which of the former the engine may have. It knows SCTP (RFC 9260, 6525 and 8831) and where the
//! engine lets itself be exhausted; it has no clock, and knows neither whose association it is nor DTLS.
//!
//! SCTP is inside DTLS, so that whoever is at the other end has shown its certificate. But this can be any stranger,
//! and `sctp-proto` 0.10.8 believes what it says:
//!
//! - association/mod.rs:1355 `retire_stream` and 3332 `reset_streams_if_any`: a request that resets no stream by name
//!   resets all, and each repetition adds as many events and boundaries as there are streams with something unread.
//! - 3332 `reset_streams_if_any`: for each reset that is done there is one of our own, kept until it is answered, if it
//!   ever is (`reconfigs`, `reconfig_reset_streams`, `control_queue`; and `closed_stream_ids` in `str0m` 0.25.0,
//!   channel.rs:307 `do_allocations`, which looks for an id among them over and over once there is none).
//! - 2377 `validate_deferred_reset_data`: what comes on a stream whose reset cannot be done yet is put together anew,
//!   all of it, for each chunk.
//! - 2425 `handle_data` and queue/reassembly_queue.rs: chunks without data cost no credit and some thousand bytes; those
//!   with one byte cost as many, and one byte of credit. Without credit, whatever is below the highest number is taken.
//!   All that is kept is gone through for each chunk, and so are all streams.
//! - 3487 `get_or_create_stream`: there is no bound for streams.
//! - 3017 `process_selective_ack`: each block is gone through, also when all of them are the same.
//! - endpoint/mod.rs:408 `handle_first_packet`: each INIT with a new tag is remembered.
//! - 1861 `handle_heartbeat`: all of a packet's heartbeats are answered, each by a packet.
//! - `str0m` 0.25.0, sctp/mod.rs:783 `do_poll` and lib.rs:1817: each message on a stream that nobody has opened, or that
//!   opens one in a wrong way, is a line or two in the log.
//!
//! Nothing is taken for granted that only the remote says: what has arrived is what the engine acknowledges, what is
//! read is what it gives credit for, and what is reset is what it answers.

use std::{collections::VecDeque, mem, sync::Arc};

use self::{
    chunks::{Chunk, Data, Fragment, HEADER, Purpose, Reconfig, Sack},
    early::Early,
    resets::{Request, Resets},
};
use super::unproven::{PROOF_STREAM, Share};
use crate::config::Limits;

mod chunks;
mod early;
#[cfg(any(test, fuzzing))]
#[allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // it is to
pub(crate) mod fuzz;
pub(super) mod resets;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))]
pub(super) mod sample;
#[cfg(test)]
mod tests;

/// For how many of them there is room when none is missing: those of two packets.
const USUAL: usize = 256;

/// What may be unread forever, in bytes, for it is on a stream that was closed at both ends at the same time.
const LEFT: u32 = 1024;

/// The most credit that the engine gives, in bytes (str0m, sctp/snap.rs:24).
const CREDIT: u32 = 1024 * 1024;

/// Bytes that the engine takes for a chunk that it keeps, beside the packet that it came in. This counts only before the
/// proof.
const CHUNK_OVERHEAD: usize = 512;

/// Bytes of a place in [`Association::ahead`].
const PLACE: usize = size_of::<Option<Fragment>>();

/// Why a connection has to end: what no sound implementation sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// A chunk without data (RFC 9260, section 6.2, has it end the association).
    NoData,
    /// Two chunks have the same number.
    Renumbered,
    /// A message is not complete when another one begins, or a stream is reset.
    Torn,
    TooManyFragments,
    /// A message is longer than [`Limits::MESSAGE_LEN`].
    TooLong,
    TooManyStreams,
    /// A message is neither data nor of DCEP.
    Unknown,
    /// More than [`Limits::SCTP_STRAYS`] messages on streams that are not open, or that open them once more.
    NotOpen,
    /// More small chunks than [`Limits::SCTP_HELD`].
    Hoarded,
    /// The first number was another one.
    FarAhead,
    /// Asks not to wait for data: all channels are reliable.
    Skipped,
    /// Acknowledges something twice.
    Blocks,
    /// Acknowledges what was not sent.
    NotSent,
    /// Says that the association is over, or that it has failed. The engine logs it as an error of its own.
    Aborted,
    /// Resets all streams, and so those that it has never used.
    ResetsAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The engine may have it as it is.
    Pass,
    /// The engine must not see it. What is good in it follows by [`Association::poll`].
    Drop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opener {
    Us,
    Them,
    /// Nobody: the other side uses what is ours to open.
    Nobody,
}

/// How far the channel of a stream is, as DCEP opens it (RFC 8832, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    NotBegun,
    /// One side has opened it.
    Asked,
    /// The other side has confirmed that.
    Confirmed,
}

#[derive(Debug)]
struct Stream {
    id: u16,
    opener: Opener,
    opening: Opening,
    /// The next message that can be read.
    next: u16,
    /// Whether one is missing, so that what follows is never read.
    is_torn: bool,
}

/// Those of a packet, with their bytes: a response and a request are sometimes two chunks.
type Reconfigs<'a> = [Option<(&'a [u8], Reconfig<'a>)>; 2];

#[derive(Debug, Default)]
pub(super) struct Association {
    /// Whether the streams with even ids are ours to open.
    is_even_ours: bool,
    violation: Option<Violation>,
    handshake: usize,
    /// Whether data was sent, in either direction.
    is_up: bool,
    /// The number of the chunk that the engine waits for, where `ahead` begins.
    next: Option<u32>,
    /// What the engine has acknowledged last.
    acknowledged: Option<u32>,
    /// What has come and is not acknowledged.
    ahead: VecDeque<Option<Fragment>>,
    /// The last that is acknowledged.
    last: Option<Fragment>,
    /// The message that is not complete there: in how many fragments and bytes.
    fragments: usize,
    partial: u32,
    /// Small chunks since the engine had nothing unread.
    small: usize,
    /// Bytes that the engine has got since it was last idle.
    fresh: u32,
    is_idle: bool,
    /// All that are open, by id.
    streams: Vec<Stream>,
    /// True if [`PROOF_STREAM`] is open without DCEP, and unused as yet.
    has_proof_stream: bool,
    /// Messages that no stream expects.
    strays: usize,
    /// What is left of packets that held a request.
    rests: VecDeque<Vec<u8>>,
    resets: Resets,
    /// The last chunk of ours, and the last that opened a channel.
    sent: Option<u32>,
    opened: Option<u32>,
    /// `None` once the other end has proven who it is.
    early: Option<Early>,
}

impl Association {
    /// `share` counts what is held until the other end has proven who it is, if it has to.
    pub(super) fn new(share: Option<Arc<Share>>) -> Self {
        Self {
            has_proof_stream: share.is_some(),
            early: share.map(Early::new),
            ..Self::default()
        }
    }

    /// Whether we are the DTLS client, whose streams have even ids (RFC 8832, section 6).
    pub(super) fn set_client(&mut self, is_client: bool) {
        self.is_even_ours = is_client;
    }

    /// Why it has to end.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// A packet has come.
    pub(super) fn receive(&mut self, packet: &[u8]) -> Verdict {
        let Some(rest) = self.early.as_mut().and_then(|it| it.split(packet)) else {
            return self.examine(packet);
        };
        if rest.len() > HEADER && self.examine(&rest) == Verdict::Pass {
            self.rests.push_back(rest);
        }
        Verdict::Drop
    }

    fn examine(&mut self, packet: &[u8]) -> Verdict {
        if self.violation.is_some() {
            return Verdict::Drop;
        }
        let verdict = self.judge(packet);
        verdict.unwrap_or_else(|violation| {
            self.violation = Some(violation);
            Verdict::Drop
        })
    }

    /// The next packet for the engine that was not passed as it was. To be called until there is none, before each
    /// packet that comes.
    pub(super) fn poll(&mut self) -> Option<Vec<u8>> {
        if self.violation.is_some() {
            return None;
        }
        if let Some(rest) = self.rests.pop_front() {
            return Some(rest);
        }
        while let Some(packet) = self.early.as_mut().and_then(Early::next) {
            if self.examine(&packet) == Verdict::Pass {
                return Some(packet);
            }
        }
        self.early.take_if(|it| it.is_over());
        let next = self.resets.next(self.acknowledged)?;
        if next.request.as_ref().is_some_and(|it| self.is_torn(it)) {
            self.violation = Some(Violation::Torn);
            return None;
        }
        if next.request.as_ref().is_some_and(|it| self.is_opening(it)) {
            return None;
        }
        self.resets.take_next()
    }

    /// Returns true if the engine has yet to open a channel that a request resets: it would warn of one that it closes
    /// before.
    fn is_opening(&self, request: &Request) -> bool {
        let is_asked = |it: &&Stream| it.opener != Opener::Us && it.opening == Opening::Asked;
        let mut asked = self.streams.iter().filter(is_asked);
        asked.any(|stream| request.streams.contains(&stream.id))
    }

    /// Whether something of what it resets will never be complete.
    fn is_torn(&self, request: &Request) -> bool {
        let torn = self.last.filter(|last| !last.is_last);
        request.streams.iter().any(|id| {
            let place = find(&self.streams, *id).ok();
            let stream = place.and_then(|place| self.streams.get(place));
            stream.is_some_and(|stream| stream.is_torn) || torn.is_some_and(|it| it.stream == *id)
        })
    }

    /// The engine has done all that follows from what it got, but for what it has to say.
    pub(super) fn on_idle(&mut self) {
        self.is_idle = true;
    }

    /// The engine sends a packet.
    pub(super) fn send(&mut self, packet: &[u8]) {
        let mut rest = packet.get(HEADER..).unwrap_or_default();
        let mut result = Ok(());
        while let (Ok(()), Some((_, chunk))) = (result, chunks::next(&mut rest)) {
            result = match chunk {
                Chunk::Data(data) => self.on_own_data(data),
                Chunk::Sack(sack) => self.on_acknowledged(sack),
                Chunk::Reconfig(reconfig) => {
                    self.on_own_reconfig(reconfig);
                    Ok(())
                }
                _ => Ok(()),
            };
        }
        self.violation = self.violation.or(result.err());
    }

    fn judge(&mut self, packet: &[u8]) -> Result<Verdict, Violation> {
        let Some((header, all)) = packet.split_at_checked(HEADER) else {
            return Ok(Verdict::Drop);
        };
        if let [0, 0, ..] | [_, _, 0, 0, ..] = header {
            return Ok(Verdict::Drop); // there is no port 0, and the engine warns of it
        }
        // All of it is read before any of it counts.
        let mut rest = all;
        while !rest.is_empty() {
            if chunks::next(&mut rest).is_none() {
                return Ok(Verdict::Drop);
            }
        }
        let mut rest = all;
        let (mut has_sack, mut has_heartbeat, mut has_request) = (false, false, false);
        let mut reconfigs: Reconfigs<'_> = [None; 2];
        let mut uncounted = packet.len();
        while let Some((whole, chunk)) = chunks::next(&mut rest) {
            let verdict = match chunk {
                Chunk::Data(data) => self.on_data(data, &mut uncounted)?,
                Chunk::Sack(sack) if !sack.is_ascending() => return Err(Violation::Blocks),
                Chunk::Sack(sack) if self.sent.is_none_or(|it| is_after(sack.last(), it)) => {
                    return Err(Violation::NotSent);
                }
                Chunk::Sack(_) => once(&mut has_sack),
                Chunk::Heartbeat => once(&mut has_heartbeat),
                Chunk::Init if whole.len() == all.len() && !self.is_up => {
                    match self.hold(packet.len() + CHUNK_OVERHEAD) {
                        true => self.on_handshake(),
                        false => Verdict::Drop,
                    }
                }
                Chunk::Init => Verdict::Drop,
                Chunk::Cookie => self.on_handshake(),
                Chunk::ForwardTsn => return Err(Violation::Skipped),
                Chunk::Abort => return Err(Violation::Aborted),
                Chunk::End => Verdict::Pass,
                Chunk::Reconfig(reconfig) => match reconfigs.iter_mut().find(|it| it.is_none()) {
                    Some(place) => {
                        *place = Some((whole, reconfig));
                        match reconfig.request {
                            Some(_) => once(&mut has_request),
                            None => Verdict::Pass,
                        }
                    }
                    None => Verdict::Drop,
                },
            };
            if verdict == Verdict::Drop {
                return Ok(Verdict::Drop);
            }
        }
        let has_response = reconfigs.iter().any(Option::is_some);
        let is_behind = has_response && self.resets.has_next();
        if !has_request && !is_behind {
            return Ok(Verdict::Pass);
        }
        self.hold_back(header, all, reconfigs)?;
        Ok(Verdict::Drop)
    }

    /// Has what resets streams, or answers that, wait for its turn, and lets the other chunks go on.
    fn hold_back(
        &mut self,
        header: &[u8],
        mut rest: &[u8],
        reconfigs: Reconfigs<'_>,
    ) -> Result<(), Violation> {
        let mut others = Vec::new();
        while let Some((whole, chunk)) = chunks::next(&mut rest) {
            if !matches!(chunk, Chunk::Reconfig(_)) {
                others.push(whole);
            }
        }
        if !others.is_empty() {
            self.rests.push_back(chunks::assemble(header, &others));
        }
        for (whole, reconfig) in reconfigs.into_iter().flatten() {
            let packet = chunks::assemble(header, &[whole]);
            if self.hold(packet.len() + CHUNK_OVERHEAD) {
                self.resets.wait(packet, reconfig.request)?;
            }
        }
        Ok(())
    }

    /// Counts `bytes` that are to be held, if the other end has not proven yet who it is. Returns false if they must not be.
    fn hold(&self, bytes: usize) -> bool {
        self.early.as_ref().is_none_or(|it| it.hold(bytes))
    }

    fn on_handshake(&mut self) -> Verdict {
        self.handshake = self.handshake.saturating_add(1);
        match self.handshake <= Limits::SCTP_HANDSHAKE {
            true => Verdict::Pass,
            false => Verdict::Drop,
        }
    }

    /// The engine keeps a packet as long as a chunk of it: `uncounted` are the bytes of this one that are not counted yet.
    fn on_data(&mut self, data: Data, uncounted: &mut usize) -> Result<Verdict, Violation> {
        let fragment = data.fragment;
        if fragment.len == 0 {
            return Err(Violation::NoData);
        }
        self.is_up = true;
        let Some(place) = self.place(data.tsn) else {
            return Ok(Verdict::Pass); // the engine has it already
        };
        if place >= Limits::SCTP_AHEAD {
            return Ok(Verdict::Drop);
        }
        let at = |place| self.ahead.get(place).copied().flatten();
        if let Some(before) = at(place) {
            let is_same = before == fragment;
            return is_same
                .then_some(Verdict::Pass)
                .ok_or(Violation::Renumbered);
        }
        let previous = place.checked_sub(1).map_or(self.last, at);
        if previous.is_some_and(|it| !it.precedes(&fragment))
            || at(place + 1).is_some_and(|it| !fragment.precedes(&it))
        {
            return Err(Violation::Torn);
        }
        let missing = (place + 1).saturating_sub(self.ahead.len());
        if !self.hold(mem::take(uncounted) + CHUNK_OVERHEAD + missing * PLACE) {
            return Ok(Verdict::Drop);
        }
        if missing > 0 {
            self.ahead.resize(place + 1, None);
        }
        self.enter(fragment)?;
        if !(fragment.is_first && fragment.is_last)
            && self.message_len(place, fragment) > Limits::MESSAGE_LEN
        {
            return Err(Violation::TooLong);
        }
        if let Some(it) = self.ahead.get_mut(place) {
            *it = Some(fragment);
        }
        if mem::take(&mut self.is_idle) {
            self.fresh = 0;
        }
        self.fresh = self.fresh.saturating_add(fragment.len.into());
        self.small += usize::from(fragment.len < Limits::SCTP_SMALL);
        match self.small <= Limits::SCTP_HELD {
            true => Ok(Verdict::Pass),
            false => Err(Violation::Hoarded),
        }
    }

    /// Where in `ahead` a chunk belongs, unless it is acknowledged.
    fn place(&mut self, tsn: u32) -> Option<usize> {
        let next = *self.next.get_or_insert(tsn);
        let distance = tsn.wrapping_sub(next).cast_signed();
        if distance < 0 && self.acknowledged.is_none() {
            // The first that has come is not the first.
            let is_near = self.shift(distance.unsigned_abs());
            return Some(if is_near { 0 } else { Limits::SCTP_AHEAD });
        }
        usize::try_from(distance).ok()
    }

    /// So many were missing before those that have come. Whether there may be so many.
    fn shift(&mut self, missing: u32) -> bool {
        let missing = usize::try_from(missing).unwrap_or(Limits::SCTP_AHEAD);
        let is_near = missing.saturating_add(self.ahead.len()) <= Limits::SCTP_AHEAD
            && self.hold(missing * PLACE);
        if is_near {
            for _ in 0..missing {
                self.ahead.push_front(None);
                self.next = self.next.map(|next| next.wrapping_sub(1));
            }
        }
        is_near
    }

    /// The bytes that have come of the message of a fragment without a gap to it.
    fn message_len(&self, place: usize, fragment: Fragment) -> u32 {
        let mut len = u32::from(fragment.len);
        let (mut first, mut last) = (Some(fragment), Some(fragment));
        let mut before = self.ahead.iter().take(place).rev();
        let mut after = self.ahead.iter().skip(place + 1);
        while first.is_some_and(|it| !it.is_first) {
            let other = before.next();
            let acknowledged = if other.is_none() { self.partial } else { 0 };
            first = other.copied().flatten();
            len = len.saturating_add(first.map_or(acknowledged, |it| it.len.into()));
        }
        while last.is_some_and(|it| !it.is_last) {
            last = after.next().copied().flatten();
            len = len.saturating_add(last.map_or(0, |it| it.len.into()));
        }
        len
    }

    /// Something is sent on a stream.
    fn enter(&mut self, fragment: Fragment) -> Result<(), Violation> {
        let id = fragment.stream;
        let place = match find(&self.streams, id) {
            Ok(place) => place,
            Err(place) => {
                let opener = match id.is_multiple_of(2) == self.is_even_ours {
                    true => Opener::Nobody,
                    false => Opener::Them,
                };
                let opening = match id == PROOF_STREAM && mem::take(&mut self.has_proof_stream) {
                    true => Opening::Confirmed,
                    false => Opening::NotBegun,
                };
                self.insert(place, id, opener, opening)?;
                place
            }
        };
        let is_expected = self
            .streams
            .get_mut(place)
            .is_some_and(|it| it.expects(&fragment));
        self.strays += usize::from(!is_expected);
        match fragment.purpose {
            Purpose::Unknown => Err(Violation::Unknown),
            _ if self.strays > Limits::SCTP_STRAYS => Err(Violation::NotOpen),
            _ => Ok(()),
        }
    }

    fn insert(
        &mut self,
        place: usize,
        id: u16,
        opener: Opener,
        opening: Opening,
    ) -> Result<(), Violation> {
        let limit = match opener {
            Opener::Us => Limits::SCTP_OURS,
            Opener::Them => Limits::SCTP_STREAMS,
            Opener::Nobody => Limits::SCTP_UNINVITED,
        };
        let others = self.streams.iter().filter(|it| it.opener == opener);
        if others.count() >= limit {
            return Err(Violation::TooManyStreams);
        }
        let stream = Stream {
            id,
            opener,
            opening,
            next: 0,
            is_torn: false,
        };
        self.streams.insert(place, stream);
        Ok(())
    }

    fn on_own_data(&mut self, data: Data) -> Result<(), Violation> {
        self.is_up = true;
        let sent = self.sent.get_or_insert(data.tsn);
        if is_after(data.tsn, *sent) {
            *sent = data.tsn;
        }
        let is_new = self.opened.is_none_or(|last| is_after(data.tsn, last));
        let (id, purpose) = (data.fragment.stream, data.fragment.purpose);
        let place = find(&self.streams, id);
        let stream = place.ok().and_then(|place| self.streams.get_mut(place));
        match (purpose, stream) {
            (Purpose::Ack, Some(stream)) => stream.opening = Opening::Confirmed,
            (Purpose::Open, stream) if is_new => {
                self.opened = Some(data.tsn);
                match (stream, place) {
                    (Some(it), _) => (it.opener, it.opening) = (Opener::Us, Opening::Asked),
                    (None, place) => {
                        let place = place.unwrap_or_else(|place| place);
                        self.insert(place, id, Opener::Us, Opening::Asked)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_acknowledged(&mut self, sack: Sack<'_>) -> Result<(), Violation> {
        let next = sack.cumulative.wrapping_add(1);
        let before = *self.next.get_or_insert(next);
        let distance = next.wrapping_sub(before).cast_signed();
        if distance < 0 && !self.shift(distance.unsigned_abs()) {
            return Err(Violation::FarAhead);
        }
        let passed = usize::try_from(distance).unwrap_or(0);
        for _ in 0..passed.min(self.ahead.len()) {
            if let Some(fragment) = self.ahead.pop_front().flatten() {
                self.pass(fragment)?;
            }
        }
        self.next = Some(next);
        self.acknowledged = Some(sack.cumulative);
        // What is complete is read before anything else comes.
        let unread = CREDIT.saturating_sub(sack.credit);
        let expected = self.fresh.saturating_add(self.partial);
        if self.ahead.is_empty() {
            self.ahead.shrink_to(USUAL);
            if unread <= expected.saturating_add(LEFT) {
                self.small = 0;
            }
        }
        Ok(())
    }

    /// All that was sent up to this has come.
    fn pass(&mut self, fragment: Fragment) -> Result<(), Violation> {
        if fragment.is_first {
            (self.fragments, self.partial) = (0, 0);
            let place = find(&self.streams, fragment.stream);
            let stream = place.ok().and_then(|place| self.streams.get_mut(place));
            if let Some(stream) = stream.filter(|_| !fragment.is_unordered) {
                stream.is_torn |= fragment.number != stream.next;
                stream.next = stream.next.wrapping_add(1);
            }
        }
        self.fragments += 1;
        self.partial = self.partial.saturating_add(fragment.len.into());
        self.last = Some(fragment);
        if self.fragments > Limits::SCTP_FRAGMENTS {
            return Err(Violation::TooManyFragments);
        }
        if fragment.is_last {
            (self.fragments, self.partial) = (0, 0);
        }
        Ok(())
    }

    fn on_own_reconfig(&mut self, reconfig: Reconfig<'_>) {
        if let Some((number, is_done)) = reconfig.response
            && let Some(done) = self.resets.on_answered(number, is_done)
        {
            let before = self.streams.len();
            for id in done {
                if let Ok(place) = find(&self.streams, id) {
                    self.streams.remove(place);
                }
            }
            self.resets.expect_ours(number, before - self.streams.len());
        }
        if let Some(reset) = reconfig.request {
            self.resets.on_ours(reset.last_request);
            // The engine has closed them, whether it has opened them or not.
            for id in reset.streams() {
                let place = find(&self.streams, id);
                let stream = place.ok().and_then(|place| self.streams.get_mut(place));
                if let Some(stream) = stream.filter(|it| it.opener != Opener::Us) {
                    stream.opening = Opening::Confirmed;
                }
            }
        }
    }
}

impl Stream {
    /// Returns true if the other side may say this here and now. What it says as its first word on a stream is the only
    /// ordered message of the number 0 that opens one. Others may overtake it.
    fn expects(&mut self, fragment: &Fragment) -> bool {
        use {Opening::*, Purpose::*};

        if !fragment.is_first {
            return true;
        }
        let is_ours = self.opener == Opener::Us;
        match (fragment.purpose, self.opening) {
            (Open, NotBegun) if fragment.number == 0 => self.opening = Asked,
            (Ack, Asked) if is_ours => self.opening = Confirmed,
            (Data, NotBegun) => return fragment.number != 0 && !fragment.is_unordered,
            (Data, _) => {}
            _ => return false,
        }
        true
    }
}

fn find(streams: &[Stream], id: u16) -> Result<usize, usize> {
    streams.binary_search_by_key(&id, |stream| stream.id)
}

/// In the arithmetic of sequence numbers (RFC 1982).
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// What may be in a packet once.
fn once(was_seen: &mut bool) -> Verdict {
    match mem::replace(was_seen, true) {
        false => Verdict::Pass,
        true => Verdict::Drop,
    }
}
