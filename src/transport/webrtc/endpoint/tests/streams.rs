//! What streams promise.

use super::{super::super::framing::MAX_DATA_LEN, *};
use crate::config::Limits;

#[test]
fn writes_of_any_size_arrive_in_order() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let writer = lab.open(0, a);
    let mut sent = Vec::new();
    for size in [1, 2, 3, 100, 1200, 1201, 8191, 8192, MAX_DATA_LEN] {
        let message = pattern(size);
        assert!(
            lab.run_until(SECOND, |lab| lab.write(0, a, writer, &message)
                == Write::Taken(size))
        );
        sent.extend(message);
    }
    let reader = lab.accept(1, b);
    let (mut received, mut buffer) = (Vec::new(), [0; 777]);
    lab.run_until(SECOND * 5, |lab| {
        while let Read::Bytes(n) = lab.read(1, b, reader, &mut buffer) {
            received.extend_from_slice(&buffer[..n]);
        }
        received.len() == sent.len()
    });
    assert_eq!(received, sent);
    lab.release(0, a);
    lab.release(1, b);
    lab.release_channel(0, a, writer);
    lab.release_channel(1, b, reader);
    lab.assert_empty();
}

#[test]
fn what_was_written_arrives_before_a_close_and_can_be_read_after_it() {
    let mut lab = Lab::new(1);
    lab.loss = 0.05;
    let (a, b) = lab.connect(0, 1).unwrap();
    let writer = lab.open(0, a);
    let sent = pattern(16_000);
    assert!(
        lab.run_until(SECOND * 5, |lab| lab.write(0, a, writer, &sent)
            == Write::Taken(16_000))
    );
    let reader = lab.accept(1, b);
    lab.release(0, a);
    assert!(lab.run_until(SECOND * 12, |lab| lab.status(1, b) != Status::Connected));
    let mut received = vec![0; 20_000];
    assert_eq!(lab.read(1, b, reader, &mut received), Read::Bytes(16_000));
    assert_eq!(received[..16_000], sent);
    let closed = Read::Failed(StreamError::ChannelClosed);
    assert_eq!(lab.read(1, b, reader, &mut received), closed);
    let closed = Write::Failed(StreamError::ChannelClosed);
    assert_eq!(lab.write(1, b, reader, b"late"), closed);
    lab.release_channel(0, a, writer);
    lab.release(1, b);
    lab.release_channel(1, b, reader);
    lab.assert_empty();
}

#[test]
fn a_thousand_streams_run_at_once() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let writers: Vec<_> = (0..1000).map(|_| lab.open(0, a)).collect();
    for (n, writer) in writers.iter().enumerate() {
        let message = pattern(n + 1);
        let taken = Write::Taken(n + 1);
        assert!(
            lab.run_until(SECOND * 30, |lab| lab.write(0, a, *writer, &message)
                == taken)
        );
    }
    let mut lengths = Vec::new();
    let mut buffer = vec![0; 2000];
    for _ in 0..1000 {
        let reader = lab.accept(1, b);
        let mut n = 0;
        assert!(lab.run_until(SECOND * 30, |lab| {
            match lab.read(1, b, reader, &mut buffer) {
                Read::Bytes(read) => n = read,
                _ => return false,
            }
            true
        }));
        assert_eq!(buffer[..n], pattern(n));
        lengths.push(n);
        lab.release_channel(1, b, reader);
    }
    lengths.sort_unstable();
    assert_eq!(lengths, (1..=1000).collect::<Vec<_>>());
    writers
        .into_iter()
        .for_each(|writer| lab.release_channel(0, a, writer));
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
}

#[test]
fn a_reader_that_pauses_costs_little_and_loses_nothing() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let sent = pattern(64 * 1024 * 1024);
    let writer = lab.open(0, a);
    let (mut written, mut received) = (0, Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    let mut reader = None;
    let mut paused_until = None;
    let mut most_kept = 0;
    let (mut last_read, mut longest_gap) = (lab.now, Duration::ZERO);
    while received.len() < sent.len() {
        while written < sent.len() {
            let end = sent.len().min(written + 16 * 1024);
            match lab.write(0, a, writer, &sent[written..end]) {
                Write::Taken(n) => written += n,
                Write::Blocked => break,
                Write::Failed(why) => panic!("{why} after {written}: {:?}", lab.status(0, a)),
            }
        }
        reader = reader.or_else(|| lab.ends[1].endpoint.accept(b));
        if received.len() >= sent.len() / 2 && paused_until.is_none() {
            paused_until = Some(lab.now + SECOND * 30);
        }
        let is_paused = paused_until.is_some_and(|until| lab.now < until);
        let connection = &lab.ends[1].endpoint.connections[&b];
        most_kept = most_kept.max(connection.kept());
        let before = received.len();
        while let Some(reader) = reader.filter(|_| !is_paused) {
            match lab.read(1, b, reader, &mut buffer) {
                Read::Bytes(n) => received.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
        if received.len() > before {
            longest_gap = longest_gap.max(lab.now - last_read);
            last_read = lab.now;
        }
        assert!(lab.step());
    }
    let resumed = longest_gap - SECOND * 30;
    println!("most kept: {most_kept} bytes, running again after {resumed:?}");
    assert!(resumed < SECOND * 3);
    assert!(received == sent);
    assert!(most_kept < 3 * 1024 * 1024, "{most_kept}");
    lab.release(0, a);
    lab.release(1, b);
    lab.release_channel(0, a, writer);
    lab.release_channel(1, b, reader.unwrap());
    lab.assert_empty();
}

#[test]
fn writers_wait_for_room_and_are_let_in_again() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let writers: Vec<_> = (0..40).map(|_| lab.open(0, a)).collect();
    lab.run(SECOND);
    let message = pattern(8000);
    let mut taken = 0;
    for writer in writers.iter().cycle().take(120) {
        assert!(lab.run_until(SECOND * 10, |lab| {
            lab.write(0, a, *writer, &message) == Write::Taken(8000)
        }));
        taken += 8000;
    }
    assert_eq!(taken, 120 * 8000);
    writers
        .into_iter()
        .for_each(|writer| lab.release_channel(0, a, writer));
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
}

/// Two ends, and a channel at both that the first one has opened.
fn channel() -> (Lab, (Key, ChannelId), (Key, ChannelId)) {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let ours = lab.open(0, a);
    let theirs = lab.accept(1, b);
    lab.run(MS * 10);
    (lab, (a, ours), (b, theirs))
}

impl Lab {
    fn is_open_at_b(&self, key: Key) -> bool {
        self.ends[1].endpoint.connections[&key].foreign() > 0
    }
}

#[test]
fn an_end_is_acknowledged_while_nobody_reads() {
    let (mut lab, (a, ours), _) = channel();
    assert_eq!(lab.write(0, a, ours, b"unread"), Write::Taken(6));
    assert_eq!(lab.close_stream(0, a, ours), Close::Blocked);
    let is_closed = |lab: &mut Lab| lab.close_stream(0, a, ours) == Close::Closed;
    assert!(lab.run_until(MS * 20, is_closed));
}

#[test]
fn an_end_is_acknowledged_after_the_stream_was_dropped() {
    let (mut lab, (a, ours), (b, theirs)) = channel();
    assert_eq!(lab.close_stream(1, b, theirs), Close::Blocked);
    lab.release_channel(1, b, theirs);
    lab.run(MS * 20);
    let stopped = Write::Failed(StreamError::Stopped);
    assert_eq!(lab.write(0, a, ours, b"x"), stopped);
    assert_eq!(lab.close_stream(0, a, ours), Close::Closed);
    assert!(lab.is_open_at_b(b));
    lab.release_channel(0, a, ours);
    lab.run(SECOND); // for all to be acknowledged
    assert!(!lab.is_open_at_b(b));
}

#[test]
fn a_close_waits_five_seconds_for_its_acknowledgement() {
    let (mut lab, (a, ours), _) = channel();
    lab.ends[1].is_cut = true;
    assert_eq!(lab.close_stream(0, a, ours), Close::Blocked);
    lab.run(Limits::STREAM_CLOSE_TIME - MS);
    assert_eq!(lab.close_stream(0, a, ours), Close::Blocked);
    lab.run(MS + TIMER_SLACK);
    assert_eq!(lab.close_stream(0, a, ours), Close::Closed);
}

#[test]
fn the_side_that_opened_a_channel_closes_it() {
    let (mut lab, (a, ours), (b, theirs)) = channel();
    lab.close_stream(0, a, ours);
    lab.close_stream(1, b, theirs);
    lab.run(MS * 20);
    lab.release_channel(1, b, theirs);
    lab.run(SECOND);
    assert!(lab.is_open_at_b(b));
    lab.release_channel(0, a, ours);
    lab.run(MS * 20);
    assert!(!lab.is_open_at_b(b));
    lab.finish((0, a), (1, b));
}

#[test]
fn the_other_side_closes_it_after_five_seconds() {
    let (mut lab, (a, ours), (b, theirs)) = channel();
    lab.close_stream(0, a, ours);
    lab.close_stream(1, b, theirs);
    lab.run(MS * 20);
    lab.release_channel(1, b, theirs);
    lab.run(Limits::STREAM_CLOSE_TIME - MS);
    assert!(lab.is_open_at_b(b));
    lab.run(MS * 20 + TIMER_SLACK);
    assert!(!lab.is_open_at_b(b));
    lab.release_channel(0, a, ours);
    lab.finish((0, a), (1, b));
}

#[test]
fn what_was_written_arrives_before_a_channel_is_closed() {
    let (mut lab, (a, ours), (b, theirs)) = channel();
    lab.loss = 0.1;
    let sent = pattern(16_000);
    assert_eq!(lab.write(0, a, ours, &sent), Write::Taken(16_000));
    lab.close_stream(0, a, ours);
    lab.release_channel(0, a, ours);
    let mut received = vec![0; 20_000];
    let has_come = |lab: &mut Lab| lab.read(1, b, theirs, &mut received) == Read::Bytes(16_000);
    assert!(lab.run_until(SECOND * 9, has_come));
    assert_eq!(received[..16_000], sent);
    let has_ended = |lab: &mut Lab| lab.read(1, b, theirs, &mut [0]) == Read::Ended;
    assert!(lab.run_until(SECOND * 9, has_ended));
}
