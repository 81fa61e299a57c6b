//! Whatever packets a fuzzer thinks of, in both directions.

use super::{chunks::HEADER, sample, *};
use crate::{
    script::Script,
    transport::webrtc::endpoint::unproven::{Budget, PROOF_STREAM},
};

/// More operations than this add nothing but time.
const MAX_OPERATIONS: usize = 1000;

/// Receives and sends. Whatever it is, no bound is exceeded, and what the engine gets are packets.
pub fn association(bytes: &[u8]) {
    let budget = Budget::default();
    let share = (bytes.len() % 4 < 2).then(|| budget.share());
    let (mut script, mut association) = (Script(bytes), Association::new(share.clone()));
    association.set_client(bytes.len().is_multiple_of(2));
    for _ in 0..MAX_OPERATIONS {
        if act(&mut script, &mut association, share.as_deref()).is_none() {
            break;
        }
        while let Some(packet) = association.poll() {
            assert_whole(&packet);
        }
        assert_bounded(&association);
        if share.as_ref().is_some_and(|share| !share.is_proven()) {
            assert_unproven(&association, &budget);
        }
    }
    drop((association, share));
    assert_eq!(budget.held(), 0);
}

fn act(
    script: &mut Script<'_>,
    association: &mut Association,
    share: Option<&Share>,
) -> Option<()> {
    let is_incoming = script.below(2)? == 0;
    let packet = match script.below(3)? {
        0 => script.bytes()?.to_vec(),
        1 => {
            match (is_incoming, share) {
                (true, Some(share)) => share.set_proven(),
                _ => association.on_idle(),
            }
            return Some(());
        }
        _ => {
            let count = 1 + script.below(4)?;
            let chunks: Option<Vec<_>> = (0..count).map(|_| chunk(script)).collect();
            sample::packet(&[1; HEADER], &chunks?)
        }
    };
    if !is_incoming {
        association.send(&packet);
    } else if association.receive(&packet) == Verdict::Pass {
        assert!(association.violation().is_none());
        assert_whole(&packet);
    }
    Some(())
}

fn chunk(script: &mut Script<'_>) -> Option<Vec<u8>> {
    let tsn = u32::from(script.byte()?).wrapping_sub(100);
    let id = u16::from(script.byte()?) % 8;
    let other = script.byte()?;
    Some(match script.below(8)? {
        0..=2 => sample::data(
            tsn,
            (id, other.into()),
            script.byte()?,
            &[0; 9][..id.into()],
        ),
        3 => sample::open(tsn, id),
        4 => sample::sack(tsn, 1 << 20, &[(id, other.into())]),
        5 => sample::reset((other.into(), tsn), tsn, 0..id),
        6 => sample::response(other.into(), id.into()),
        _ => sample::chunk(other, 0, &[script.bytes()?]),
    })
}

/// The engine understands what it gets as we do.
fn assert_whole(packet: &[u8]) {
    let mut rest = &packet[HEADER..];
    while !rest.is_empty() {
        let (_, chunk) = chunks::next(&mut rest).unwrap();
        assert!(!matches!(chunk, Chunk::Data(data) if data.fragment.len == 0));
    }
}

/// Before the proof the engine gets one stream of the other side.
fn assert_unproven(association: &Association, budget: &Budget) {
    assert!(budget.held() <= Limits::UNPROVEN);
    let early = association.early.as_ref().map_or(0, Early::len);
    assert!(early <= Limits::UNPROVEN_STREAMS);
    let theirs = association
        .streams
        .iter()
        .filter(|it| it.opener != Opener::Us);
    assert!(theirs.into_iter().all(|stream| stream.id == PROOF_STREAM));
}

fn assert_bounded(association: &Association) {
    let waiting = association.resets.waiting.iter().map(|it| it.packet.len());
    assert!(association.ahead.len() <= Limits::SCTP_AHEAD);
    assert!(
        association.streams.len()
            <= Limits::SCTP_OURS + Limits::SCTP_STREAMS + Limits::SCTP_UNINVITED
    );
    assert!(association.streams.is_sorted_by_key(|stream| stream.id));
    assert!(waiting.sum::<usize>() <= Limits::SCTP_WAITING);
    assert!(association.resets.made.len() <= Limits::SCTP_RESETS);
    let is_over = association.violation().is_some();
    assert!(association.rests.is_empty() || is_over);
    assert!(association.small <= Limits::SCTP_HELD || is_over);
}
