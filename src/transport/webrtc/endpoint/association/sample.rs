//! Packets and chunks to try things with.

use super::chunks::assemble;

pub(in super::super) const LAST: u8 = 1;
pub(in super::super) const FIRST: u8 = 2;
pub(in super::super) const WHOLE: u8 = FIRST | LAST;

pub(in super::super) const INIT: u8 = 1;
pub(in super::super) const HEARTBEAT: u8 = 4;
pub(in super::super) const FORWARD_TSN: u8 = 192;

pub(in super::super) fn packet(header: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks: Vec<_> = chunks.iter().map(Vec::as_slice).collect();
    assemble(header, &chunks)
}

pub(in super::super) fn chunk(kind: u8, flags: u8, value: &[&[u8]]) -> Vec<u8> {
    let value = value.concat();
    let mut chunk = vec![kind, flags];
    chunk.extend((4 + value.len() as u16).to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// Of data, as bytes.
pub(in super::super) fn data(tsn: u32, ids: (u16, u16), flags: u8, contents: &[u8]) -> Vec<u8> {
    of_protocol(53, tsn, ids, flags, contents)
}

pub(in super::super) fn of_protocol(
    protocol: u32,
    tsn: u32,
    (stream, number): (u16, u16),
    flags: u8,
    contents: &[u8],
) -> Vec<u8> {
    let (stream, number) = (stream.to_be_bytes(), number.to_be_bytes());
    let (tsn, protocol) = (tsn.to_be_bytes(), protocol.to_be_bytes());
    chunk(0, flags, &[&tsn, &stream, &number, &protocol, contents])
}

/// What opens a channel without a label.
pub(in super::super) const OPEN: [u8; 12] = [3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(in super::super) const ACK: [u8; 1] = [2];
pub(in super::super) const DCEP: u32 = 50;

pub(in super::super) fn open(tsn: u32, stream: u16) -> Vec<u8> {
    of_protocol(DCEP, tsn, (stream, 0), WHOLE, &OPEN)
}

pub(in super::super) fn sack(cumulative: u32, credit: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
    let blocks = gaps.iter();
    let blocks = blocks.flat_map(|(start, end)| [start.to_be_bytes(), end.to_be_bytes()]);
    let blocks: Vec<_> = blocks.flatten().collect();
    let (cumulative, credit) = (cumulative.to_be_bytes(), credit.to_be_bytes());
    let count = (gaps.len() as u16).to_be_bytes();
    chunk(3, 0, &[&cumulative, &credit, &count, &[0; 2], &blocks])
}

/// A request, which says that it knows of `last_request`.
pub(in super::super) fn reset(
    (number, last_request): (u32, u32),
    last_tsn: u32,
    streams: impl IntoIterator<Item = u16>,
) -> Vec<u8> {
    let numbers = [number, last_request, last_tsn].map(u32::to_be_bytes);
    let streams: Vec<_> = streams.into_iter().flat_map(u16::to_be_bytes).collect();
    let len = 16 + streams.len() as u16;
    let (kind, len) = (13u16.to_be_bytes(), len.to_be_bytes());
    chunk(130, 0, &[&kind, &len, &numbers.concat(), &streams])
}

pub(in super::super) fn response(number: u32, result: u32) -> Vec<u8> {
    let (number, result) = (number.to_be_bytes(), result.to_be_bytes());
    chunk(130, 0, &[&[0, 16, 0, 12], &number, &result])
}

pub(in super::super) fn heartbeat() -> Vec<u8> {
    chunk(HEARTBEAT, 0, &[&[0, 1, 0, 8], &[7; 4]])
}

/// With a tag, and otherwise as from anybody.
pub(in super::super) fn init(tag: u32) -> Vec<u8> {
    let (tag, credit, tsn) = (tag.to_be_bytes(), (1u32 << 20).to_be_bytes(), [0, 0, 0, 1]);
    chunk(INIT, 0, &[&tag, &credit, &[0, 100, 0, 100], &tsn])
}
