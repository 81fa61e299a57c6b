//! Whatever packets a fuzzer thinks of, in both directions.

use super::{chunks::HEADER, sample, *};
use crate::script::Script;

/// More operations than this add nothing but time.
const MAX_OPERATIONS: usize = 1000;

/// Receives and sends. Whatever it is, no bound is exceeded, and what the engine gets are packets.
pub fn association(bytes: &[u8]) {
    let (mut script, mut association) = (Script(bytes), Association::default());
    association.set_client(bytes.len().is_multiple_of(2));
    for _ in 0..MAX_OPERATIONS {
        if act(&mut script, &mut association).is_none() {
            break;
        }
        while let Some(packet) = association.poll() {
            assert_whole(&packet);
        }
        assert_bounded(&association);
    }
}

fn act(script: &mut Script<'_>, association: &mut Association) -> Option<()> {
    let is_incoming = script.below(2)? == 0;
    let packet = match script.below(3)? {
        0 => script.bytes()?.to_vec(),
        1 => {
            association.on_idle();
            return Some(());
        }
        _ => {
            let count = 1 + script.below(4)?;
            let chunks: Option<Vec<_>> = (0..count).map(|_| chunk(script)).collect();
            sample::packet(&[0; HEADER], &chunks?)
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
