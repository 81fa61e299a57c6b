//! Each bound, from both sides.

use super::{
    super::super::framing::{MAX_DATA_LEN, MAX_FRAME_LEN},
    descriptions::{answer_to, chrome},
    *,
};
use crate::config::Limits;

fn offers(lab: &mut Lab, count: usize) -> Vec<bool> {
    let (now, peer) = (lab.now, lab.ends[1].peer);
    let endpoint = &mut lab.ends[0].endpoint;
    for number in (10_000..).take(count) {
        let setup = SetupId { peer, number };
        let reach = Reach::Global;
        endpoint.handle_command(now, Command::Offer { setup, reach });
    }
    let events = std::iter::from_fn(|| endpoint.poll_event());
    let described = |event| match event {
        Event::Notice(Notice::Described { sdp, .. }) => Some(sdp.is_some()),
        _ => None,
    };
    events.filter_map(described).collect()
}

#[test]
fn so_many_set_ups_run_at_once_and_no_more() {
    let mut lab = Lab::new(1);
    let described = offers(&mut lab, Limits::SETUPS + 1);
    assert_eq!(described.len(), Limits::SETUPS + 1);
    assert!(described[..Limits::SETUPS].iter().all(|is_some| *is_some));
    assert!(!described[Limits::SETUPS]);
    lab.run(SECOND * 11);
    lab.ends[0].endpoint.assert_empty();
}

#[test]
fn offers_of_others_leave_a_quarter_of_the_set_ups_to_our_own() {
    let (mut lab, most) = (Lab::new(1), Limits::SETUPS_OFFERED_TO_US);
    for n in 1..=most + 1 {
        let answer = answer_to(&mut lab, &chrome());
        assert_eq!(answer.is_some(), n <= most, "{n}");
    }
    let ours = Limits::SETUPS - most;
    let described = offers(&mut lab, ours + 1);
    assert_eq!(ours, 128);
    assert!(described[..ours].iter().all(|is_some| *is_some));
    assert!(!described[ours]);
    lab.run(SECOND * 11);
    lab.ends[0].endpoint.assert_empty();
}

#[test]
fn so_many_candidates_of_the_other_side_are_tried() {
    for count in [
        Limits::ICE_CANDIDATES - 1,
        Limits::ICE_CANDIDATES,
        Limits::ICE_CANDIDATES + 1,
    ] {
        let mut lab = Lab::new(1);
        let setup = lab.offer(0, 1);
        lab.run(MS * 2);
        lab.ends[1].is_cut = true;
        for n in 1..count {
            let candidate = format!("candidate:1 1 udp 2130706175 9.7.0.{n} 4000 typ host");
            lab.command(0, Command::Candidate { setup, candidate });
        }
        let key = lab.ends[0].endpoint.setups[&setup];
        let tried = lab.ends[0].endpoint.connections[&key]
            .remote_candidates()
            .len();
        assert_eq!(tried, count.min(Limits::ICE_CANDIDATES));
    }
}

#[test]
fn so_many_checks_are_kept_until_the_answer_is_here() {
    for count in [
        Limits::EARLY_CHECKS - 1,
        Limits::EARLY_CHECKS,
        Limits::EARLY_CHECKS + 1,
    ] {
        let mut lab = Lab::new(1);
        let setup = lab.offer(0, 1);
        let key = lab.ends[0].endpoint.setups[&setup];
        let now = lab.now;
        let connection = lab.ends[0].endpoint.connections.get_mut(&key).unwrap();
        for _ in 0..count {
            connection.handle_datagram(now, (address(0, 0), address(1, 0)), &[0; 20]);
        }
        assert_eq!(connection.early(), count.min(Limits::EARLY_CHECKS));
    }
}

#[test]
fn a_datagram_may_be_so_long() {
    for len in [
        Limits::DATAGRAM_LEN - 1,
        Limits::DATAGRAM_LEN,
        Limits::DATAGRAM_LEN + 1,
    ] {
        let mut lab = Lab::new(1);
        let setup = lab.offer(0, 1);
        let key = lab.ends[0].endpoint.setups[&setup];
        let now = lab.now;
        let connection = lab.ends[0].endpoint.connections.get_mut(&key).unwrap();
        connection.handle_datagram(now, (address(0, 0), address(1, 0)), &vec![0; len]);
        assert_eq!(connection.early(), usize::from(len <= Limits::DATAGRAM_LEN));
    }
}

#[test]
fn checks_that_overtake_the_answer_save_a_tick() {
    let mut lab = Lab::new(1);
    lab.signaling_delay = MS * 5;
    let begin = lab.now;
    let (a, b) = lab.connect(0, 1).unwrap();
    let took = lab.now - begin;
    assert!(took < MS * 30, "{took:?}");
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
}

/// A connection at whose second end so many bytes are unread.
fn unread(bytes: usize) -> (Lab, Key) {
    const OVERHEAD: usize = 64 + 5; // of a message, and of the frame in it
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let channel = lab.open(0, a);
    lab.accept(1, b);
    let mut left = bytes;
    while left > 0 {
        let cost = if left < 16_000 { left } else { 8_000 };
        let message = pattern(cost - OVERHEAD);
        let taken = Write::Taken(message.len());
        assert!(lab.run_until(SECOND, |lab| lab.write(0, a, channel, &message) == taken));
        left -= cost;
    }
    lab.run(SECOND);
    assert_eq!(lab.ends[1].endpoint.connections[&b].kept(), bytes);
    (lab, b)
}

/// Something encrypted comes so many times. How many bytes of it are kept.
fn held_back(lab: &mut Lab, key: Key, times: usize) -> usize {
    let now = lab.now;
    let connection = lab.ends[1].endpoint.connections.get_mut(&key).unwrap();
    let (pair, before) = (connection.ends().unwrap(), connection.kept());
    for _ in 0..times {
        connection.handle_datagram(now, pair, &[22; 20]);
    }
    connection.kept() - before
}

#[test]
fn so_many_bytes_may_be_unread_before_the_other_side_has_to_wait() {
    for (bytes, is_held_back) in [
        (Limits::UNREAD - 1, false),
        (Limits::UNREAD, true),
        (Limits::UNREAD + 1, true),
    ] {
        let (mut lab, key) = unread(bytes);
        assert_eq!(held_back(&mut lab, key, 1), 20 * usize::from(is_held_back));
    }
}

#[test]
fn so_many_datagrams_are_kept_for_a_reader_that_is_behind() {
    for count in [Limits::BACKLOG - 1, Limits::BACKLOG, Limits::BACKLOG + 1] {
        let (mut lab, key) = unread(Limits::UNREAD);
        let kept = held_back(&mut lab, key, count);
        assert_eq!(kept, 20 * count.min(Limits::BACKLOG));
    }
}

#[test]
fn so_many_bytes_may_be_unacknowledged() {
    let mut lab = Lab::new(1);
    lab.delay = MS * 50..MS * 51;
    let (a, b) = lab.connect(0, 1).unwrap();
    let sent = pattern(8 << 20);
    assert!(lab.transfer((0, a), (1, b), &sent) == sent);
    let channel = lab.open(0, a);
    lab.accept(1, b);
    lab.run(SECOND);
    lab.ends[1].is_cut = true;
    for n in 0..Limits::UNACKNOWLEDGED / MAX_FRAME_LEN {
        let is_taken = |lab: &mut Lab| {
            lab.write(0, a, channel, &[0; MAX_FRAME_LEN]) == Write::Taken(MAX_DATA_LEN)
        };
        assert!(lab.run_until(MS * 10, is_taken), "{n}, at its pace");
    }
    lab.run(SECOND);
    assert_eq!(lab.write(0, a, channel, &[0]), Write::Blocked);
}

#[test]
fn a_connection_has_nine_seconds_of_silence() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let channel = lab.open(1, b);
    let at_a = lab.accept(0, a);
    lab.run(SECOND * 2);
    lab.write(1, b, channel, b"x");
    let has_come = |lab: &mut Lab| lab.read(0, a, at_a, &mut [0]) == Read::Bytes(1);
    assert!(lab.run_until(MS * 10, has_come));
    lab.ends[1].is_cut = true;
    lab.assert_ends_after((0, a), Limits::SILENCE, TIMER_SLACK, Closed::Silent);
}

#[test]
fn what_was_written_has_two_seconds_to_arrive_when_a_connection_is_closed() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let channel = lab.open(0, a);
    lab.accept(1, b);
    lab.run(SECOND);
    lab.ends[1].is_cut = true;
    assert_eq!(lab.write(0, a, channel, b"x"), Write::Taken(1));
    lab.close(0, a);
    lab.assert_ends_after((0, a), Limits::CLOSE_TIME, TIMER_SLACK, Closed::Local);
}

#[test]
fn a_connection_closes_without_waiting_for_flags() {
    for is_closed in [true, false] {
        let mut lab = Lab::new(1);
        let (a, b) = lab.connect(0, 1).unwrap();
        let ours = lab.open(0, a);
        let theirs = lab.accept(1, b);
        lab.run(SECOND);
        assert_eq!(lab.write(0, a, ours, b"x"), Write::Taken(1));
        if is_closed {
            // Both directions end, and the last that is said of it is our FIN_ACK.
            lab.close_stream(0, a, ours);
            lab.run(SECOND);
            lab.close_stream(1, b, theirs);
            lab.run(MS * 5);
        }
        lab.release_channel(0, a, ours);
        lab.close(0, a);
        assert_eq!(lab.status(0, a), Status::Closed(Closed::Local));
        let is_seen = |lab: &mut Lab| lab.status(1, b) == Status::Closed(Closed::Remote);
        assert!(lab.run_until(MS * 10, is_seen), "{is_closed}");
    }
}

#[test]
fn so_many_channels_wait_to_be_accepted() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    let ids: Vec<_> = (0..3).map(|_| lab.open(0, a)).collect();
    lab.run(SECOND);
    let now = lab.now;
    let fill = |connection: &mut super::super::Connection| {
        connection.fill_incoming(Limits::WAITING_STREAMS - 1, ids[0]);
    };
    lab.ends[1].endpoint.with(now, b, fill);
    let channels = [lab.open(0, a), lab.open(0, a)];
    lab.run(SECOND);
    let mut written = channels.map(|channel| lab.write(0, a, channel, b"x") == Write::Taken(1));
    written.sort_unstable(); // either may be the one that comes first
    assert_eq!(written, [false, true]);
}

#[test]
fn so_many_channels_of_the_other_side_may_be_open() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    for open in 0..=Limits::STREAMS {
        assert_eq!(lab.status(1, b), Status::Connected, "{open}");
        lab.open(0, a);
        if open < Limits::STREAMS {
            lab.accept(1, b);
        }
    }
    let closed = Status::Closed(Closed::Protocol);
    assert!(lab.run_until(SECOND, |lab| lab.status(1, b) == closed));
}

#[test]
fn channels_that_are_closed_again_do_not_count() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    for _ in 0..100 {
        let ours = lab.open(0, a);
        let theirs = lab.accept(1, b);
        lab.release_channel(0, a, ours);
        lab.release_channel(1, b, theirs);
        lab.run(MS * 10);
    }
    lab.run(SECOND);
    assert_eq!(lab.ends[1].endpoint.connections[&b].foreign(), 0);
}

#[test]
fn a_panic_inside_one_connection_ends_no_other() {
    let mut lab = Lab::new(1);
    let third = lab.add();
    let (a, b) = lab.connect(0, 1).unwrap();
    let (c, d) = lab.connect(0, third).unwrap();
    let now = lab.now;
    let panic = |connection: &mut super::super::Connection| connection.panic_inside();
    lab.ends[0].endpoint.with(now, a, panic);
    lab.collect(0);
    assert_eq!(lab.status(0, a), Status::Closed(Closed::Protocol));
    let sent = pattern(10_000);
    assert_eq!(lab.transfer((0, c), (third, d), &sent), sent);
    lab.run(SECOND * 10);
    assert_eq!(lab.status(1, b), Status::Closed(Closed::Remote));
    for (n, key) in [(0, a), (1, b), (0, c), (third, d)] {
        lab.release(n, key);
    }
    lab.assert_empty();
}
