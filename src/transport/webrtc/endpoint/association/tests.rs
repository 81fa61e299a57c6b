//! Each bound, from both sides, and what is sound.

use super::{sample::*, *};
use crate::transport::webrtc::endpoint::Budget;

const HEADER: [u8; 8] = [0x13, 0x88, 0x13, 0x88, 1, 2, 3, 4];
const PASS: Result<Verdict, Violation> = Ok(Verdict::Pass);
const DROP: Result<Verdict, Violation> = Ok(Verdict::Drop);

/// The first number of the other side.
const TSN: u32 = u32::MAX - 100;

impl Association {
    fn get(&mut self, chunks: &[Vec<u8>]) -> Result<Verdict, Violation> {
        let verdict = self.receive(&packet(&HEADER, chunks));
        self.violation.map_or(Ok(verdict), Err)
    }

    /// Sends the chunks 0 to 9, to be acknowledged.
    fn after_ten(mut self) -> Self {
        (0..10).for_each(|n| self.put(data(n, (1, n as u16), WHOLE, b"x")));
        self
    }

    fn put(&mut self, chunk: Vec<u8>) {
        self.send(&packet(&HEADER, &[chunk]));
    }

    fn polled(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.poll()).collect()
    }

    /// Opens streams, of all of which the engine reads that.
    fn use_streams(
        &mut self,
        tsn: u32,
        ids: impl IntoIterator<Item = u16>,
    ) -> Result<u32, Violation> {
        let mut next = tsn;
        for id in ids {
            self.get(&[open(next, id)])?;
            self.put(sack(next, CREDIT, &[]));
            self.put(of_protocol(DCEP, 0, (id, 0), WHOLE, &ACK));
            next = next.wrapping_add(1);
        }
        Ok(next)
    }
}

fn at(n: usize) -> u32 {
    TSN.wrapping_add(n as u32)
}

/// The other side's are the even ones.
fn even(n: usize) -> impl Iterator<Item = u16> {
    (0..n as u16).map(|n| 2 * n)
}

#[test]
fn what_is_no_packet_is_dropped() {
    let mut association = Association::default();
    let whole = packet(&HEADER, &[data(TSN, (0, 0), WHOLE, b"hello"), heartbeat()]);
    for len in 0..whole.len() {
        let verdict = association.receive(&whole[..len]);
        let is_cut = len > 11 && len != 12 && len != 36; // between two chunks
        assert!(verdict == Verdict::Drop || !is_cut, "{len}");
    }
    assert_eq!(association.receive(&whole), Verdict::Pass);
    assert_eq!(association.violation(), None);
}

#[test]
fn nothing_hides_in_chunks_that_the_engine_thinks_shorter() {
    let hidden = data(TSN, (0, 0), WHOLE, b"");
    let [a, b] = [9u16, 16].map(u16::to_be_bytes);
    for chunk in [
        chunk(3, 0, &[&[0; 12], &hidden]),
        chunk(HEARTBEAT, 0, &[&[0, 1, 0, 8, 0, 0, 0, 0], &hidden]),
        chunk(8, 0, &[&hidden]),
        chunk(11, 0, &[&hidden]),
        chunk(14, 0, &[&hidden]),
        chunk(130, 0, &[&[0, 16, 0, 12], &[0; 8], &hidden]),
        chunk(
            130,
            0,
            &[&[0, 16, 0, 12], &[0; 8], &[0, 16, 0, 12], &[0; 8], &hidden],
        ),
        chunk(130, 0, &[&a, &b, &[0; 12]]),
        chunk(5, 0, &[]),
        chunk(64, 0, &[]),
    ] {
        assert_eq!(Association::default().get(&[chunk]), DROP);
    }
}

#[test]
fn a_stream_of_messages_passes_across_the_end_of_the_numbers() {
    let mut association = Association::default();
    let mut number = 0;
    for n in (0..3000).step_by(3) {
        let (id, contents) = ((0, number), [0; 1100]);
        assert_eq!(association.get(&[data(at(n), id, FIRST, &contents)]), PASS);
        assert_eq!(association.get(&[data(at(n + 1), id, 0, &contents)]), PASS);
        assert_eq!(association.get(&[data(at(n + 2), id, LAST, b"x")]), PASS);
        association.on_idle();
        association.put(sack(at(n + 2), CREDIT - 2201, &[]));
        number = number.wrapping_add(1);
    }
    assert_eq!((association.small, association.ahead.len()), (0, 0));
}

#[test]
fn order_and_repetitions_do_not_matter() {
    let mut association = Association::default();
    let chunk = |n: usize| data(at(n), (0, n as u16), WHOLE, b"x");
    for n in [5, 3, 4, 3, 9, 0, 1, 2, 0] {
        assert_eq!(association.get(&[chunk(n)]), PASS);
    }
    association.put(sack(at(5), CREDIT, &[(4, 4)]));
    for n in [5, 3, 9, 8, 7, 6] {
        assert_eq!(association.get(&[chunk(n)]), PASS);
    }
    association.put(sack(at(9), CREDIT, &[]));
    assert!(!association.streams[0].is_torn);
    assert_eq!(association.ahead.len(), 0);
}

#[test]
fn a_chunk_has_data() {
    let mut association = Association::default();
    let empty = data(TSN, (0, 0), WHOLE, b"");
    assert_eq!(association.get(&[empty]), Err(Violation::NoData));
    assert_eq!(association.get(&[heartbeat()]), Err(Violation::NoData));
}

#[test]
fn a_number_is_used_once() {
    for other in [
        data(TSN, (2, 0), WHOLE, b"x"),
        data(TSN, (0, 1), WHOLE, b"x"),
        data(TSN, (0, 0), FIRST, b"x"),
        data(TSN, (0, 0), WHOLE, b"xy"),
    ] {
        let mut association = Association::default();
        let chunk = data(TSN, (0, 0), WHOLE, b"x");
        assert_eq!(association.get(&[chunk]), PASS);
        assert_eq!(association.get(&[other]), Err(Violation::Renumbered));
    }
}

#[test]
fn fragments_are_of_one_message() {
    let (first, middle) = (
        data(at(0), (0, 0), FIRST, b"x"),
        data(at(1), (0, 0), 0, b"x"),
    );
    for other in [
        data(at(1), (0, 0), FIRST, b"x"),
        data(at(1), (0, 1), LAST, b"x"),
        data(at(1), (2, 0), LAST, b"x"),
        data(at(1), (0, 0), LAST | 4, b"x"),
    ] {
        for is_turned in [false, true] {
            let mut chunks = [first.clone(), other.clone()];
            if is_turned {
                chunks.reverse();
            }
            let mut association = Association::default();
            assert_eq!(association.get(&chunks), Err(Violation::Torn));
        }
    }
    let mut association = Association::default();
    let torn = data(at(2), (0, 0), FIRST, b"x");
    assert_eq!(
        association.get(&[first, middle, torn]),
        Err(Violation::Torn)
    );
}

#[test]
fn data_may_be_so_far_ahead() {
    for (place, verdict) in [
        (Limits::SCTP_AHEAD - 2, PASS),
        (Limits::SCTP_AHEAD - 1, PASS),
        (Limits::SCTP_AHEAD, DROP),
    ] {
        let mut association = Association::default();
        assert_eq!(association.get(&[data(TSN, (0, 0), WHOLE, b"x")]), PASS);
        association.put(sack(TSN.wrapping_sub(1), CREDIT, &[(1, 1)]));
        let far = data(at(place), (0, 1), WHOLE, b"x");
        assert_eq!(association.get(&[far]), verdict, "{place}");
        assert!(association.ahead.len() <= Limits::SCTP_AHEAD);
    }
}

#[test]
fn the_first_may_come_so_much_later() {
    for (late, verdict) in [
        (Limits::SCTP_AHEAD - 2, PASS),
        (Limits::SCTP_AHEAD - 1, PASS),
        (Limits::SCTP_AHEAD, DROP),
    ] {
        let mut association = Association::default();
        assert_eq!(
            association.get(&[data(at(late), (0, 1), WHOLE, b"x")]),
            PASS
        );
        assert_eq!(association.get(&[data(TSN, (0, 0), WHOLE, b"x")]), verdict);
        assert!(association.ahead.len() <= Limits::SCTP_AHEAD);
    }
    for (late, violation) in [
        (Limits::SCTP_AHEAD - 1, None),
        (Limits::SCTP_AHEAD, Some(Violation::FarAhead)),
    ] {
        let mut association = Association::default();
        assert_eq!(
            association.get(&[data(at(late), (0, 1), WHOLE, b"x")]),
            PASS
        );
        association.put(sack(TSN.wrapping_sub(1), CREDIT, &[]));
        assert_eq!(association.violation(), violation);
    }
}

/// Messages that nobody reads, of so many bytes each. How many there may be.
fn hoard(len: usize, most: usize) -> usize {
    let mut association = Association::default();
    let contents = vec![0; len];
    for n in 0..most {
        let chunk = data(at(n), (0, n as u16), WHOLE, &contents);
        match association.get(&[chunk]) {
            Err(violation) => {
                assert_eq!(violation, Violation::Hoarded);
                return n;
            }
            verdict => assert_eq!(verdict, PASS),
        }
        association.on_idle();
        let credit = (CREDIT as usize).saturating_sub((n + 1) * len);
        association.put(sack(at(n), credit as u32, &[]));
    }
    most
}

#[test]
fn so_many_small_chunks_may_be_unread() {
    // A thousand of them are not noticed, for they are so few bytes.
    let unnoticed = LEFT as usize + 1;
    assert_eq!(hoard(1, 20_000), Limits::SCTP_HELD + unnoticed);
    let longest = usize::from(Limits::SCTP_SMALL) - 1;
    assert_eq!(
        hoard(longest, 20_000),
        Limits::SCTP_HELD + LEFT as usize / longest + 1
    );
    assert_eq!(hoard(longest + 1, 20_000), 20_000);
}

#[test]
fn what_is_read_is_not_held() {
    let mut association = Association::default();
    for n in 0..3 * Limits::SCTP_HELD {
        let chunk = data(at(n), (0, n as u16), WHOLE, b"x");
        assert_eq!(association.get(&[chunk]), PASS);
        association.on_idle();
        association.put(sack(at(n), CREDIT - 1, &[]));
    }
}

#[test]
fn a_message_may_have_so_many_fragments() {
    for count in [
        Limits::SCTP_FRAGMENTS - 1,
        Limits::SCTP_FRAGMENTS,
        Limits::SCTP_FRAGMENTS + 1,
    ] {
        let mut association = Association::default();
        for n in 0..count {
            let flags = match n {
                0 => FIRST,
                _ if n == count - 1 => LAST,
                _ => 0,
            };
            let chunk = data(at(n), (0, 0), flags, &[0; 200]);
            assert_eq!(association.get(&[chunk]), PASS);
        }
        association.put(sack(at(count - 1), 0, &[]));
        let is_over = association.violation() == Some(Violation::TooManyFragments);
        assert_eq!(is_over, count > Limits::SCTP_FRAGMENTS);
    }
}

#[test]
fn the_other_side_may_have_so_many_streams() {
    for count in [
        Limits::SCTP_STREAMS - 1,
        Limits::SCTP_STREAMS,
        Limits::SCTP_STREAMS + 1,
    ] {
        let mut association = Association::default();
        let used = association.use_streams(TSN, even(count));
        let expected = match count <= Limits::SCTP_STREAMS {
            true => Ok(at(count)),
            false => Err(Violation::TooManyStreams),
        };
        assert_eq!(used, expected);
    }
}

#[test]
fn the_other_side_may_use_so_many_of_ours() {
    for count in [
        Limits::SCTP_UNINVITED - 1,
        Limits::SCTP_UNINVITED,
        Limits::SCTP_UNINVITED + 1,
    ] {
        let mut association = Association::default();
        association.set_client(true);
        let used = association.use_streams(TSN, even(count));
        assert_eq!(used.is_ok(), count <= Limits::SCTP_UNINVITED);
        // It is invited to those that we open.
        let mut association = Association::default();
        association.set_client(true);
        for (n, id) in even(count).enumerate() {
            association.put(open(n as u32, id));
            let ack = of_protocol(DCEP, at(n), (id, 0), WHOLE, &ACK);
            assert_eq!(association.get(&[ack]), PASS);
        }
    }
}

#[test]
fn we_may_have_so_many_streams() {
    for count in [
        Limits::SCTP_OURS - 1,
        Limits::SCTP_OURS,
        Limits::SCTP_OURS + 1,
    ] {
        let mut association = Association::default();
        for n in 0..count {
            association.put(open(n as u32, 2 * n as u16 + 1));
            association.put(open(n as u32, 2 * n as u16 + 1)); // again
        }
        let violation = (count > Limits::SCTP_OURS).then_some(Violation::TooManyStreams);
        assert_eq!(association.violation(), violation);
    }
}

#[test]
fn a_stream_that_is_reset_can_be_used_again_and_counts_no_more() {
    let mut association = Association::default();
    let mut tsn = TSN;
    for number in 0..5 {
        tsn = association
            .use_streams(tsn, even(Limits::SCTP_STREAMS))
            .unwrap();
        let last_tsn = tsn.wrapping_sub(1);
        // A packet takes some 700.
        for (n, some) in even(Limits::SCTP_STREAMS)
            .collect::<Vec<_>>()
            .chunks(700)
            .enumerate()
        {
            let number = number * 10 + n as u32;
            let request = reset((number, 0), last_tsn, some.iter().copied());
            assert_eq!(association.get(std::slice::from_ref(&request)), DROP);
            assert_eq!(association.polled(), [packet(&HEADER, &[request])]);
            association.put(response(number, 1));
            association.put(reset((number, number), 0, some.iter().copied()));
        }
        assert_eq!(association.streams.len(), 0);
        assert_eq!(association.resets.made.len(), 0);
    }
}

#[test]
fn a_request_waits_for_what_was_sent_before_it() {
    let mut association = Association::default();
    let request = reset((7, 0), at(1), [0]);
    let chunk = data(at(1), (0, 1), WHOLE, b"x");
    let verdict = association.get(&[heartbeat(), request.clone(), chunk.clone()]);
    assert_eq!(verdict, DROP);
    // The rest of the packet does not wait.
    let rest = packet(&HEADER, &[heartbeat(), chunk]);
    assert_eq!(association.polled(), [rest]);
    association.put(sack(TSN.wrapping_sub(1), CREDIT, &[(2, 2)]));
    assert_eq!(association.polled().len(), 0);
    assert_eq!(association.get(&[data(at(0), (0, 0), WHOLE, b"x")]), PASS);
    assert_eq!(association.polled().len(), 0);
    association.put(sack(at(1), CREDIT, &[]));
    assert_eq!(association.polled(), [packet(&HEADER, &[request])]);
    assert_eq!(association.polled().len(), 0);
}

#[test]
fn a_response_overtakes_no_request() {
    let mut association = Association::default();
    let (request, answer) = (reset((7, 0), TSN, [0]), response(3, 1));
    association.get(std::slice::from_ref(&request)).unwrap();
    assert_eq!(association.get(&[heartbeat(), answer.clone()]), DROP);
    assert_eq!(association.polled(), [packet(&HEADER, &[heartbeat()])]);
    assert_eq!(association.get(&[data(TSN, (0, 0), WHOLE, b"x")]), PASS);
    association.put(sack(TSN, CREDIT, &[]));
    let packets = [request, answer.clone()].map(|chunk| packet(&HEADER, &[chunk]));
    assert_eq!(association.polled(), packets);
    assert_eq!(association.get(&[answer]), PASS);
}

#[test]
fn a_request_that_is_repeated_is_answered_and_not_done_again() {
    let mut association = Association::default();
    let tsn = association.use_streams(TSN, [0]).unwrap();
    let request = [reset((7, 0), tsn.wrapping_sub(1), [0])];
    for _ in 0..2 {
        association.get(&request).unwrap();
        assert_eq!(
            association.polled().len(),
            1,
            "the engine may have missed it"
        );
    }
    association.put(response(7, 1));
    assert_eq!(association.streams.len(), 0);
    association.use_streams(tsn, [0]).unwrap();
    association.get(&request).unwrap();
    assert_eq!(association.polled().len(), 1);
    association.put(response(7, 1));
    assert_eq!(
        (association.streams.len(), association.resets.made.len()),
        (1, 1)
    );
}

#[test]
fn a_reset_that_is_refused_resets_nothing() {
    let mut association = Association::default();
    let tsn = association.use_streams(TSN, [0]).unwrap();
    association
        .get(&[reset((7, 0), tsn.wrapping_sub(1), [0])])
        .unwrap();
    association.polled();
    association.put(response(7, 5));
    assert_eq!(
        (association.streams.len(), association.resets.waiting.len()),
        (1, 0)
    );
}

#[test]
fn so_many_resets_may_be_unanswered() {
    let mut association = Association::default();
    let mut tsn = TSN;
    for number in 0..=Limits::SCTP_RESETS {
        tsn = association.use_streams(tsn, [0]).unwrap();
        association
            .get(&[reset((number as u32, 0), tsn.wrapping_sub(1), [0])])
            .unwrap();
        assert_eq!(
            association.polled().len(),
            usize::from(number < Limits::SCTP_RESETS),
            "{number}"
        );
        association.put(response(number as u32, 1));
    }
    // The first is answered, for the second is sent.
    association.put(reset((1, 1), 0, [0]));
    let again = reset((Limits::SCTP_RESETS as u32, 0), tsn.wrapping_sub(1), [0]);
    association.get(&[again]).unwrap();
    assert_eq!(association.polled().len(), 1);
}

#[test]
fn so_many_streams_may_be_in_resets_that_are_unanswered() {
    for first in [Limits::SCTP_RESET_STREAMS - 1, Limits::SCTP_RESET_STREAMS] {
        let mut association = Association::default();
        let tsn = association.use_streams(TSN, even(first)).unwrap();
        for (number, some) in even(first).collect::<Vec<_>>().chunks(700).enumerate() {
            let request = reset(
                (number as u32, 0),
                tsn.wrapping_sub(1),
                some.iter().copied(),
            );
            association.get(&[request]).unwrap();
            assert_eq!(association.polled().len(), 1);
            association.put(response(number as u32, 1));
        }
        let tsn = association.use_streams(tsn, [0]).unwrap();
        association
            .get(&[reset((100, 0), tsn.wrapping_sub(1), [0])])
            .unwrap();
        assert_eq!(
            association.polled().len(),
            usize::from(first < Limits::SCTP_RESET_STREAMS)
        );
    }
}

#[test]
fn so_many_bytes_of_requests_wait() {
    let mut association = Association::default();
    let of = |n| packet(&HEADER, &[reset((n, 0), TSN, [0])]).len();
    let count = Limits::SCTP_WAITING / of(0);
    for n in 0..=count {
        association.get(&[reset((n as u32, 0), TSN, [0])]).unwrap();
        assert_eq!(association.resets.waiting.len(), count.min(n + 1));
    }
}

#[test]
fn no_request_resets_all_or_what_is_not_complete() {
    let mut association = Association::default();
    let all = [reset((0, 0), TSN, [])];
    assert_eq!(association.get(&all), Err(Violation::ResetsAll));
    for chunk in [
        data(TSN, (0, 0), FIRST, b"x"),
        data(TSN, (0, 1), WHOLE, b"x"),
    ] {
        for (id, violation) in [(2, None), (0, Some(Violation::Torn))] {
            let mut association = Association::default();
            association.get(std::slice::from_ref(&chunk)).unwrap();
            association.put(sack(TSN, CREDIT - 1, &[]));
            association.get(&[reset((0, 0), TSN, [id])]).unwrap();
            association.polled();
            assert_eq!(association.violation(), violation);
        }
    }
}

#[test]
fn blocks_of_what_has_come_ascend() {
    for (blocks, is_sound) in [
        (&[][..], true),
        (&[(2, 2)], true),
        (&[(2, 3), (4, 4), (7, 9)], true),
        (&[(0, 3)], false),
        (&[(3, 2)], false),
        (&[(2, 3), (3, 4)], false),
        (&[(5, 6), (2, 3)], false),
    ] {
        let mut association = Association::default().after_ten();
        let verdict = association.get(&[sack(0, 0, blocks)]);
        let expected = is_sound.then_some(Verdict::Pass).ok_or(Violation::Blocks);
        assert_eq!(verdict, expected);
    }
}

#[test]
fn nothing_is_skipped() {
    let skip = chunk(FORWARD_TSN, 0, &[&TSN.to_be_bytes()]);
    assert_eq!(Association::default().get(&[skip]), Err(Violation::Skipped));
}

#[test]
fn a_packet_has_one_of_each_that_is_not_data() {
    let request = |number| reset((number, 0), TSN, [0]);
    for (one, other, is_sound) in [
        (heartbeat(), sack(0, 0, &[]), true),
        (heartbeat(), heartbeat(), false),
        (sack(0, 0, &[]), sack(0, 0, &[]), false),
        (response(1, 1), response(2, 1), true),
        (init(1), heartbeat(), false),
    ] {
        let verdict = Association::default().after_ten().get(&[one, other]);
        assert_eq!(verdict == PASS, is_sound);
    }
    let mut association = Association::default();
    association.get(&[response(1, 1), request(1)]).unwrap();
    assert_eq!(association.resets.waiting.len(), 2);
    association.get(&[request(2), request(3)]).unwrap();
    association
        .get(&[response(1, 1), response(2, 1), request(4)])
        .unwrap();
    assert_eq!(association.resets.waiting.len(), 2);
}

#[test]
fn a_handshake_takes_so_many_packets_and_comes_first() {
    let mut association = Association::default();
    for n in 0..=Limits::SCTP_HANDSHAKE {
        let verdict = association.get(&[init(n as u32)]);
        assert_eq!(verdict == PASS, n < Limits::SCTP_HANDSHAKE);
    }
    for is_ours in [true, false] {
        let mut association = Association::default();
        match is_ours {
            true => association.put(data(TSN, (0, 0), WHOLE, b"x")),
            false => assert_eq!(association.get(&[data(TSN, (0, 0), WHOLE, b"x")]), PASS),
        }
        assert_eq!(association.get(&[init(1)]), DROP);
    }
}

/// One whose other end has not proven yet who it is.
fn unproven() -> (Association, Arc<Share>) {
    let share = Budget::default().share();
    (Association::new(Some(share.clone())), share)
}

#[test]
fn a_chunk_is_kept_before_the_proof_if_there_is_room() {
    let chunk = data(TSN, (0, 0), WHOLE, &[7; 100]);
    let cost = packet(&HEADER, std::slice::from_ref(&chunk)).len() + CHUNK_OVERHEAD + PLACE;
    for (before, expected) in [(1, PASS), (0, PASS), (-1, DROP)] {
        let (mut association, share) = unproven();
        let room = Limits::UNPROVEN - cost;
        assert!(share.hold(room.saturating_add_signed(-before)));
        assert_eq!(
            association.get(std::slice::from_ref(&chunk)),
            expected,
            "{before}"
        );
        // Once more it takes no more.
        let held = share.held();
        assert_eq!(association.get(std::slice::from_ref(&chunk)), expected);
        assert_eq!(share.held(), held);
        share.set_proven();
        assert_eq!(association.get(std::slice::from_ref(&chunk)), PASS);
    }
}

#[test]
fn what_is_for_other_channels_waits_for_the_proof() {
    let (association, share) = unproven();
    let mut association = association.after_ten();
    let (proof, other) = (data(at(0), (0, 0), WHOLE, b"proof"), open(at(1), 2));
    let together = [proof.clone(), other.clone(), sack(0, 0, &[])];
    assert_eq!(association.get(&together), DROP);
    let for_engine = packet(&HEADER, &[proof, sack(0, 0, &[])]);
    assert_eq!(association.polled(), [for_engine]);
    assert_eq!(association.get(std::slice::from_ref(&other)), DROP);
    assert!(association.polled().is_empty());
    share.set_proven();
    let waited = packet(&HEADER, &[other]);
    assert_eq!(association.polled(), [waited.clone(), waited]);
    assert!(association.early.is_none());
    assert_eq!(association.violation(), None);
}

#[test]
fn so_much_waits_for_the_proof() {
    // A header, a chunk's, and what a packet costs beside.
    const OTHER: usize = 12 + 16 + 64;
    let most = Limits::UNPROVEN_STREAMS;
    for (len, is_kept) in [(most - 4, true), (most, true), (most + 4, false)] {
        let (mut association, share) = unproven();
        let contents = vec![7; len - OTHER];
        let chunk = data(at(0), (2, 0), WHOLE, &contents);
        assert_eq!(association.get(&[chunk]), DROP);
        assert_eq!(share.held(), if is_kept { len } else { 0 });
        // The channel of the proof has room of its own.
        assert_eq!(
            association.get(&[data(at(1), (0, 0), WHOLE, &[7; 1000])]),
            PASS
        );
        share.set_proven();
        assert_eq!(association.polled().len(), usize::from(is_kept));
    }
}

#[test]
fn early_chunks_are_judged_as_all_others() {
    let (mut association, share) = unproven();
    let empty = data(at(0), (2, 0), WHOLE, b"");
    assert_eq!(association.get(&[empty]), DROP);
    share.set_proven();
    assert!(association.polled().is_empty());
    assert_eq!(association.violation(), Some(Violation::NoData));
}

#[test]
fn what_is_far_ahead_costs_its_distance_before_the_proof() {
    let (mut association, share) = unproven();
    assert_eq!(association.get(&[data(at(0), (0, 0), WHOLE, b"x")]), PASS);
    let far = Limits::UNPROVEN / PLACE;
    assert_eq!(association.get(&[data(at(far), (0, 1), WHOLE, b"x")]), DROP);
    assert_eq!(association.get(&[data(at(9), (0, 1), WHOLE, b"x")]), PASS);
    let packets = 2 * (32 + CHUNK_OVERHEAD);
    assert_eq!(share.held(), packets + 10 * PLACE);
}

#[test]
fn a_packet_has_ports() {
    for (ports, is_one) in [
        ([0, 0, 1, 1], false),
        ([1, 1, 0, 0], false),
        ([0, 1, 1, 0], true),
    ] {
        let header = [&ports[..], &[1; 4]].concat();
        let packet = packet(&header, &[heartbeat()]);
        let verdict = Association::default().receive(&packet);
        assert_eq!(verdict == Verdict::Pass, is_one);
    }
}

#[test]
fn padding_is_of_zeros() {
    for padding in [0, 1] {
        let mut chunk = data(TSN, (0, 0), WHOLE, b"x");
        *chunk.last_mut().unwrap() = padding;
        let mut association = Association::default().after_ten();
        let verdict = association.get(&[sack(0, 0, &[]), chunk]);
        assert_eq!(verdict, if padding == 0 { PASS } else { DROP });
    }
}

#[test]
fn an_abort_ends_it() {
    for kind in [6, 9] {
        let verdict = Association::default().get(&[chunk(kind, 0, &[])]);
        assert_eq!(verdict, Err(Violation::Aborted));
    }
}

#[test]
fn what_was_not_sent_is_not_acknowledged() {
    for (cumulative, blocks, is_sound) in [
        (6, &[][..], true),
        (7, &[], true),
        (8, &[], false),
        (5, &[(2, 2)], true),
        (5, &[(2, 3)], false),
    ] {
        let mut association = Association::default();
        for n in [5, 7, 6] {
            association.put(data(at(n), (1, n as u16), WHOLE, b"x"));
        }
        let verdict = association.get(&[sack(at(cumulative), CREDIT, blocks)]);
        let expected = is_sound.then_some(Verdict::Pass).ok_or(Violation::NotSent);
        assert_eq!(verdict, expected);
    }
    let verdict = Association::default().get(&[sack(at(4), CREDIT, &[])]);
    assert_eq!(verdict, Err(Violation::NotSent), "nothing was sent");
}

#[test]
fn a_packet_that_is_damaged_at_its_end_counts_for_nothing() {
    let (mut association, share) = unproven();
    let damaged = vec![77, 0, 0, 0];
    for stream in [0, 2] {
        let chunks = [data(1, (stream, 0), WHOLE, b"x"), damaged.clone()];
        assert_eq!(association.get(&chunks), DROP);
    }
    assert!(association.streams.is_empty() && association.ahead.is_empty());
    assert_eq!(share.held(), 0);
}

#[test]
fn requests_to_reset_are_bounded_before_the_proof() {
    let (mut association, share) = unproven();
    for n in 0..100 {
        let request = reset((n, 0), at(1), [0]);
        assert_eq!(association.get(&[request]), DROP);
    }
    let waiting = association.resets.waiting.iter();
    let waiting: Vec<_> = waiting.map(|it| it.packet.len() + CHUNK_OVERHEAD).collect();
    assert_eq!(waiting.iter().sum::<usize>(), share.held());
    assert!(share.held() <= Limits::UNPROVEN && !waiting.is_empty());
}

#[test]
fn a_message_is_data_or_dcep() {
    let label = |len: u8, label: &[u8]| [&[3, 0, 0, 0, 0, 0, 0, 0, 0, len, 0, 0], label].concat();
    for (protocol, flags, contents, is_sound) in [
        (50, WHOLE, &OPEN[..], true),
        (50, WHOLE, &label(3, "\u{20ac}".as_bytes()), true),
        (50, WHOLE, &label(3, b"xy"), false),
        (50, WHOLE, &label(1, &[0xff]), false),
        (50, WHOLE, &OPEN[..11], false),
        (50, WHOLE, &[2], true),
        (50, WHOLE, &[1], false),
        (50, FIRST, &OPEN, false),
        (50, WHOLE | 4, &OPEN, false),
        (51, WHOLE, b"x", true),
        (53, FIRST, b"x", true),
        (56, WHOLE, b"x", true),
        (57, WHOLE, b"x", true),
        (52, WHOLE, b"x", false),
        (0, WHOLE, b"x", false),
    ] {
        let message = of_protocol(protocol, TSN, (0, 0), flags, contents);
        let verdict = Association::default().get(&[message]);
        let expected = is_sound.then_some(Verdict::Pass).ok_or(Violation::Unknown);
        assert_eq!(verdict, expected, "{protocol} {contents:?}");
    }
}

/// What comes of 8 and of 9 messages of the other side on as many streams, each of which follows `before`.
fn strays(before: &[(u32, &[u8])], last: (u32, &[u8])) -> bool {
    let counts = [Limits::SCTP_STRAYS, Limits::SCTP_STRAYS + 1].map(|count| {
        let (mut association, mut tsn) = (Association::default(), TSN);
        let mut verdict = PASS;
        for id in even(count) {
            for (number, (protocol, contents)) in before.iter().chain([&last]).enumerate() {
                let ids = (id, number as u16);
                verdict = association.get(&[of_protocol(*protocol, tsn, ids, WHOLE, contents)]);
                tsn = tsn.wrapping_add(1);
            }
        }
        verdict
    });
    assert_eq!(counts[0], PASS);
    assert!(counts[1] == PASS || counts[1] == Err(Violation::NotOpen));
    counts[1] != PASS
}

#[test]
fn eight_messages_may_go_astray() {
    let [open, ack, data] = [(DCEP, &OPEN[..]), (DCEP, &ACK), (53, b"x")];
    assert!(!strays(&[], open));
    assert!(!strays(&[open], data));
    assert!(strays(&[], data), "nobody has opened it");
    assert!(strays(&[], ack));
    assert!(strays(&[open], ack), "that is for us to say");
    assert!(strays(&[open], open), "once more");
    assert!(strays(&[open, data], open));
}

#[test]
fn data_may_overtake_what_opens_its_stream() {
    let mut association = Association::default();
    for n in (0..100).rev() {
        let chunk = match n {
            0 => open(at(0), 0),
            _ => data(at(n), (0, n as u16), WHOLE, b"x"),
        };
        assert_eq!(association.get(&[chunk]), PASS);
    }
    assert_eq!(association.strays, 0);
}

#[test]
fn the_channel_of_the_proof_is_open_once() {
    let (mut association, share) = unproven();
    share.set_proven();
    for life in 0..2 {
        let first = data(at(life), (PROOF_STREAM, 0), WHOLE, b"x");
        assert_eq!(association.get(&[first]), PASS);
        assert_eq!(association.strays, life);
        association.put(sack(at(life), CREDIT, &[]));
        let request = reset((life as u32, 0), at(life), [PROOF_STREAM]);
        association.get(&[request]).unwrap();
        association.polled();
        association.put(response(life as u32, 1));
        assert_eq!(association.streams.len(), 0);
    }
}

#[test]
fn a_reset_waits_until_the_engine_has_opened_the_channel() {
    let mut association = Association::default();
    association.get(&[open(TSN, 0)]).unwrap();
    association.put(sack(TSN, CREDIT, &[]));
    association.get(&[reset((7, 0), TSN, [0])]).unwrap();
    assert_eq!(association.polled().len(), 0);
    association.put(of_protocol(DCEP, 0, (0, 0), WHOLE, &ACK));
    assert_eq!(association.polled().len(), 1);
}

#[test]
fn fragments_make_a_message_of_64_kib() {
    const LEN: u32 = 1000;
    let count = Limits::MESSAGE_LEN.div_ceil(LEN) as usize;
    let rest = (Limits::MESSAGE_LEN % LEN) as usize;
    let orders: [fn(usize) -> Vec<usize>; 3] = [
        |count| (0..count).collect(),
        |count| (0..count).rev().collect(),
        |count| {
            (0..count)
                .step_by(2)
                .chain((0..count).skip(1).step_by(2))
                .collect()
        },
    ];
    for (order, is_acknowledged) in [(0, false), (0, true), (1, false), (2, false)] {
        for (last, is_sound) in [(rest - 1, true), (rest, true), (rest + 1, false)] {
            let mut association = Association::default();
            let mut verdict = PASS;
            for n in orders[order](count) {
                let (flags, len) = match n {
                    0 => (FIRST, LEN as usize),
                    _ if n == count - 1 => (LAST, last),
                    _ => (0, LEN as usize),
                };
                verdict = association.get(&[data(at(n), (0, 1), flags, &vec![0; len])]);
                if is_acknowledged && n == 20 {
                    association.put(sack(at(n), CREDIT, &[]));
                }
            }
            let expected = is_sound.then_some(Verdict::Pass).ok_or(Violation::TooLong);
            assert_eq!(verdict, expected, "{order} {last}");
        }
    }
}

#[test]
fn a_channel_that_we_close_at_once_is_confirmed_late() {
    let mut association = Association::default();
    for n in 0..20 {
        let id = 2 * n as u16 + 1;
        association.put(open(n as u32, id));
        association.put(reset((n as u32, 0), n as u32, [id]));
        let ack = of_protocol(DCEP, at(2 * n), (id, 0), WHOLE, &ACK);
        let late = data(at(2 * n + 1), (id, 1), WHOLE, b"x");
        assert_eq!(association.get(&[ack, late]), PASS);
    }
    assert_eq!(association.strays, 0);
}
