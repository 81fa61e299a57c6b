//! The framing by itself, and against that of libp2p-webrtc.

use std::time::{Duration, Instant};

use super::*;
use crate::config::Limits;

mod reference;

const FLAGS: [Flag; 4] = [Flag::Fin, Flag::StopSending, Flag::Reset, Flag::FinAck];

const BRIEF: Duration = Duration::from_millis(1);

fn stream() -> Stream {
    Stream::new(Opener::Us)
}

/// A frame of these bytes.
fn frame(body: &[u8]) -> Vec<u8> {
    let prefix: Vec<_> = varint(body.len()).collect();
    [&prefix, body].concat()
}

fn receive(stream: &mut Stream, flag: Flag) -> Received {
    stream.receive(flag.frame().to_vec(), true)
}

/// Sends what is due.
fn sent(stream: &mut Stream) -> Vec<Flag> {
    std::iter::from_fn(|| {
        let flag = stream.due()?;
        stream.on_sent(flag);
        Some(flag)
    })
    .collect()
}

fn read(stream: &mut Stream) -> (Read, Vec<u8>) {
    let mut buffer = vec![0; 2 * MAX_FRAME_LEN];
    let read = stream.read(&mut buffer);
    buffer.truncate(match read {
        Read::Bytes(len) => len,
        _ => 0,
    });
    (read, buffer)
}

fn failed<T>(why: StreamError) -> (Read, Vec<T>) {
    (Read::Failed(why), Vec::new())
}

fn is_malformed(message: &[u8]) -> bool {
    let mut stream = stream();
    stream.receive(message.to_vec(), true);
    read(&mut stream) == failed(StreamError::Malformed)
}

#[test]
fn data_arrives_however_its_frames_are_cut() {
    let sizes = [1, 2, 127, 128, 8000, MAX_DATA_LEN];
    let frames: Vec<u8> = sizes
        .iter()
        .flat_map(|len| data_frame(&vec![7; *len]))
        .collect();
    for cut in [1, 2, 3, 1000, frames.len()] {
        let mut stream = stream();
        for part in frames.chunks(cut) {
            stream.receive(part.to_vec(), true);
        }
        let mut all = Vec::new();
        while let (Read::Bytes(_), bytes) = read(&mut stream) {
            all.extend(bytes);
        }
        assert_eq!(all, vec![7; sizes.iter().sum()], "{cut}");
        assert_eq!(stream.held(), 0);
    }
}

#[test]
fn a_frame_may_have_16_kib_and_no_more() {
    assert_eq!(data_frame(&[0; MAX_DATA_LEN]).len(), MAX_FRAME_LEN);
    for (len, is_too_long) in [
        (MAX_FRAME_LEN - 1, false),
        (MAX_FRAME_LEN, false),
        (MAX_FRAME_LEN + 1, true),
    ] {
        let [low, high] = [(len - 2) as u8 | 0x80, ((len - 2) >> 7) as u8];
        assert_eq!(is_malformed(&[low, high]), is_too_long, "{len}");
    }
    assert!(is_malformed(&[0x80, 0x80, 1]));
}

#[test]
fn a_flag_counts_after_the_data_of_its_frame() {
    let mut stream = stream();
    let both = [&[FLAG_KEY, Flag::Fin as u8], &[DATA_KEY, 3][..], b"end"].concat();
    stream.receive(frame(&both), true);
    assert_eq!(read(&mut stream), (Read::Bytes(3), b"end".to_vec()));
    assert_eq!(read(&mut stream), (Read::Ended, vec![]));
}

#[test]
fn fields_and_flags_that_are_not_known_are_skipped() {
    let mut stream = stream();
    for unknown in [
        &[3 << 3, 0xFF, 0x7F][..],                                   // a varint
        &[4 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0],                       // 8 bytes
        &[5 << 3 | 2, 2, 0xFF, 0xFF],                                // bytes
        &[5 << 3 | 2, 0],                                            // no bytes
        &[6 << 3 | 5, 0xFF, 0xFF, 0xFF, 0xFF],                       // 4 bytes
        &[FLAG_KEY, 4],                                              // a flag of another time
        &[FLAG_KEY, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], // a negative one
        &[],
    ] {
        let frame = frame(&[unknown, &[DATA_KEY, 1, b'x']].concat());
        stream.receive(frame, true);
        assert_eq!(
            read(&mut stream),
            (Read::Bytes(1), b"x".to_vec()),
            "{unknown:?}"
        );
    }
    assert_eq!(sent(&mut stream), []);
}

#[test]
fn what_is_no_frame_resets_the_stream() {
    for garbage in [
        &[2, DATA_KEY, 1][..],          // data beyond the frame
        &[1, FLAG_KEY, 0],              // a flag beyond the frame
        &[2, 1 << 3 | 2, 0],            // a flag that is bytes
        &[2, 2 << 3, 0],                // data that is a number
        &[2, 3, 0],                     // a field with number 0
        &[2, 3 << 3 | 3, 0],            // a group
        &[4, DATA_KEY, 0, DATA_KEY, 0], // data twice
        &[
            12,
            3 << 3,
            255,
            255,
            255,
            255,
            255,
            255,
            255,
            255,
            255,
            255,
            1,
        ], // a number of 77 bits
    ] {
        let mut stream = stream();
        let before = data_frame(b"data");
        stream.receive([&before, garbage, &[0; 20]].concat(), true);
        assert_eq!(
            read(&mut stream),
            failed(StreamError::Malformed),
            "{garbage:?}"
        );
        assert_eq!(stream.check_writable(), Err(StreamError::Malformed));
        assert_eq!(sent(&mut stream), [Flag::Reset]);
        stream.receive(before, true);
        assert_eq!((stream.held(), sent(&mut stream)), (0, vec![]));
    }
}

#[test]
fn empty_frames_cost_nothing() {
    let mut stream = stream();
    for _ in 0..100 {
        stream.receive(vec![0; 10_000], true);
        stream.receive(data_frame(b"").repeat(1000), true);
    }
    assert_eq!((stream.held(), read(&mut stream).0), (0, Read::Blocked));
    assert!(stream.size() < 1024, "{}", stream.size());
}

#[test]
fn unknown_fields_are_not_kept() {
    let mut stream = stream();
    let unknown = [
        &[5 << 3 | 2, 0xA0, 0x1F],
        &[0; 4000][..],
        &[DATA_KEY, 1, b'x'],
    ]
    .concat();
    stream.receive(frame(&unknown), true);
    assert_eq!(stream.held(), 1 + 64);
    assert_eq!(read(&mut stream), (Read::Bytes(1), b"x".to_vec()));
}

#[test]
fn an_idle_stream_takes_less_than_a_kibibyte() {
    let mut stream = stream();
    for _ in 0..1000 {
        stream.receive(data_frame(&[0; 100]), true);
    }
    assert_eq!(stream.held(), 1000 * (data_frame(&[0; 100]).len() + 64));
    while let Read::Bytes(_) = read(&mut stream).0 {}
    assert!(stream.size() < 1024, "{}", stream.size());
}

#[test]
fn a_fin_is_acknowledged_at_once_and_ends_reading_only() {
    let mut stream = stream();
    stream.receive(data_frame(b"data"), true);
    assert!(receive(&mut stream, Flag::Fin).fin);
    assert_eq!(sent(&mut stream), [Flag::FinAck]);
    receive(&mut stream, Flag::Fin);
    stream.receive(data_frame(b"more"), true);
    assert_eq!(sent(&mut stream), []);
    assert_eq!(read(&mut stream), (Read::Bytes(4), b"data".to_vec()));
    assert_eq!(read(&mut stream), (Read::Ended, vec![]));
    assert_eq!(stream.check_writable(), Ok(()));
}

#[test]
fn a_fin_is_acknowledged_when_nobody_reads_any_more() {
    let now = Instant::now();
    let mut stream = stream();
    assert_eq!(stream.close(now, true), Ok(false));
    stream.release(now);
    assert_eq!(sent(&mut stream), [Flag::Fin, Flag::StopSending]);
    stream.receive(data_frame(b"data"), true);
    receive(&mut stream, Flag::Fin);
    assert_eq!((stream.held(), sent(&mut stream)), (0, vec![Flag::FinAck]));
}

#[test]
fn no_fin_ack_goes_to_an_end_that_does_not_know_it() {
    let now = Instant::now();
    let mut stream = stream();
    stream.receive(Flag::Fin.frame().to_vec(), false);
    assert_eq!(stream.close(now, false), Ok(true));
    assert_eq!(sent(&mut stream), [Flag::Fin]);
    stream.release(now);
    assert!(stream.is_over(now, false));
}

#[test]
fn a_reset_is_an_error_both_ways() {
    let mut stream = stream();
    stream.receive(data_frame(b"data"), true);
    receive(&mut stream, Flag::Reset);
    assert_eq!(read(&mut stream), failed(StreamError::Reset));
    assert_eq!(stream.check_writable(), Err(StreamError::Reset));
    assert_eq!(stream.close(Instant::now(), true), Err(StreamError::Reset));
    assert_eq!(sent(&mut stream), []);
    let kind = std::io::Error::from(StreamError::Reset).kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stop_is_an_error_of_writing_only() {
    let mut stream = stream();
    receive(&mut stream, Flag::StopSending);
    assert_eq!(stream.check_writable(), Err(StreamError::Stopped));
    stream.receive(data_frame(b"data"), true);
    assert_eq!(read(&mut stream), (Read::Bytes(4), b"data".to_vec()));
    // The end is still told, and nobody waits for its acknowledgement.
    assert_eq!(stream.close(Instant::now(), true), Ok(true));
    assert_eq!(sent(&mut stream), [Flag::Fin]);
    let kind = std::io::Error::from(StreamError::Stopped).kind();
    assert_eq!(kind, std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_closed_channel_is_an_error_and_no_end() {
    let mut stream = stream();
    stream.receive(data_frame(b"data"), true);
    assert_eq!(stream.close(Instant::now(), true), Ok(false));
    stream.on_channel_closed();
    assert_eq!(read(&mut stream), (Read::Bytes(4), b"data".to_vec()));
    assert_eq!(read(&mut stream), failed(StreamError::ChannelClosed));
    let closed = stream.close(Instant::now(), true);
    assert_eq!(closed, Err(StreamError::ChannelClosed));
}

#[test]
fn a_channel_may_be_closed_after_the_end() {
    let mut stream = stream();
    assert_eq!(stream.close(Instant::now(), true), Ok(false));
    receive(&mut stream, Flag::FinAck);
    receive(&mut stream, Flag::Fin);
    stream.on_channel_closed();
    assert_eq!(read(&mut stream), (Read::Ended, vec![]));
    assert_eq!(stream.close(Instant::now(), true), Ok(true));
}

#[test]
fn a_close_waits_for_its_acknowledgement_for_five_seconds() {
    for acknowledged in [Some(Flag::FinAck), Some(Flag::StopSending), None] {
        let begin = Instant::now();
        let until = begin + Limits::STREAM_CLOSE_TIME;
        let mut stream = stream();
        assert_eq!(stream.close(begin, true), Ok(false));
        assert_eq!(stream.check_writable(), Err(StreamError::Finished));
        assert_eq!(sent(&mut stream), [Flag::Fin]);
        assert_eq!(stream.deadline(begin), Some(until));
        assert!(!stream.expire(until - BRIEF));
        assert_eq!(stream.close(until - BRIEF, true), Ok(false));
        match acknowledged {
            Some(flag) => {
                receive(&mut stream, flag);
                assert!(!stream.is_unsettled());
            }
            None => assert!(stream.expire(until)),
        }
        assert_eq!(stream.close(until, true), Ok(true));
        assert_eq!(stream.deadline(until), None);
    }
}

#[test]
fn a_stream_that_is_dropped_before_it_is_closed_is_reset() {
    let now = Instant::now();
    for mut stream in [Stream::new(Opener::Us), Stream::new(Opener::Them)] {
        stream.receive(data_frame(b"data"), true);
        stream.release(now);
        assert!(!stream.is_over(now, true));
        assert_eq!((stream.held(), sent(&mut stream)), (0, vec![Flag::Reset]));
    }
}

/// A stream of which both ends have ended both directions, and which is dropped now.
fn ended(opener: Opener, now: Instant) -> Stream {
    let mut stream = Stream::new(opener);
    receive(&mut stream, Flag::Fin);
    assert_eq!(stream.close(now, true), Ok(false));
    stream.release(now);
    assert_eq!(sent(&mut stream), [Flag::FinAck, Flag::Fin]);
    assert!(!stream.is_over(now, true));
    assert!(receive(&mut stream, Flag::FinAck).fin_ack);
    stream
}

#[test]
fn the_side_that_opened_a_channel_closes_it_at_once() {
    let now = Instant::now();
    assert!(ended(Opener::Us, now).is_over(now, true));
}

#[test]
fn the_other_side_waits_for_that_for_five_seconds() {
    let now = Instant::now();
    let (stream, until) = (ended(Opener::Them, now), now + Limits::STREAM_CLOSE_TIME);
    assert!(!stream.is_over(until - BRIEF, true));
    assert!(stream.is_over(until, true));
    assert_eq!(stream.deadline(now), Some(until));
    assert!(
        stream.is_over(now, false),
        "an end that does not know of it"
    );
}

#[test]
fn a_channel_that_the_other_side_has_not_ended_is_closed_after_five_seconds() {
    let now = Instant::now();
    let mut stream = stream();
    assert_eq!(stream.close(now, true), Ok(false));
    stream.release(now);
    sent(&mut stream);
    receive(&mut stream, Flag::FinAck);
    assert!(!stream.is_over(now + Limits::STREAM_CLOSE_TIME - BRIEF, true));
    assert!(stream.is_over(now + Limits::STREAM_CLOSE_TIME, true));
}

#[test]
fn each_flag_is_read_as_it_was_written() {
    for flag in FLAGS {
        let (mut scanner, mut at) = (Scanner::default(), 0);
        let next = scanner.next(&flag.frame(), &mut at);
        assert_eq!((next, at), (Ok(Some(Item::Flag(flag))), Flag::FRAME_LEN));
    }
}
