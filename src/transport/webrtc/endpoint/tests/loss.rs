//! What a bad network does.

use super::*;

#[test]
fn strangers_connect_and_talk_both_ways() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    lab.finish((0, a), (1, b));
}

#[test]
fn on_a_quiet_path_a_connection_is_there_within_ten_round_trips() {
    let mut lab = Lab::new(2);
    lab.delay = MS * 25..MS * 25 + Duration::from_micros(1);
    lab.signaling_delay = MS * 50;
    let begin = lab.now;
    let (a, b) = lab.connect(0, 1).unwrap();
    let took = lab.now - begin;
    println!("connected in {took:?} at 50 ms a round trip and 100 ms a signaling one");
    assert!(took < MS * 500);
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
}

/// Every connect succeeds or fails typed, within its time, and every byte arrives or the stream says
/// that it did not.
#[test]
fn a_bad_network_loses_no_byte_silently() {
    let mut ends = [0; 3];
    for seed in 0..1000 {
        ends[survives(seed) as usize] += 1;
    }
    let [failed, lost, whole] = ends;
    println!("{failed} of 1000 connects failed, {lost} connections were lost, {whole} were not");
    assert!(failed < 50 && lost < 50, "{ends:?}");
}

#[derive(Clone, Copy)]
enum End {
    Failed,
    Lost,
    Whole,
}

fn survives(seed: u64) -> End {
    let mut lab = Lab::new(seed);
    lab.loss = lab.rng.random_range(0.0..0.2);
    lab.duplication = lab.rng.random_range(0.0..0.1);
    let delay = MS * lab.rng.random_range(0..200);
    lab.delay = delay / 2..delay + MS;
    lab.signaling_delay = delay;
    let begin = lab.now;
    let connected = lab.connect(0, 1);
    let took = lab.now - begin;
    let limit = SECOND * 10 + delay * 2 + MS;
    let Ok((a, b)) = connected else {
        assert!(took <= limit, "seed {seed}: failed after {took:?}");
        lab.run(SECOND * 11); // the other side may have come up meanwhile
        let late: Vec<_> = lab.ends[1].incoming.drain(..).collect();
        late.into_iter().for_each(|key| lab.release(1, key));
        lab.assert_empty();
        return End::Failed;
    };
    assert!(took <= limit * 2, "seed {seed}: connected after {took:?}");
    let sent = pattern(lab.rng.random_range(1..40_000));
    let received = lab.transfer((0, a), (1, b), &sent);
    let is_whole = received == sent;
    let is_told = matches!(lab.status(1, b), Status::Closed(_)) && sent.starts_with(&received);
    assert!(
        is_whole || is_told,
        "seed {seed}: {} of {} bytes",
        received.len(),
        sent.len()
    );
    lab.release(0, a);
    lab.release(1, b);
    lab.assert_empty();
    if is_whole { End::Whole } else { End::Lost }
}
