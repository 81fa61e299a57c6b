//! SCTP packets as bytes (RFC 9260, section 3; RFC 6525, section 4), as far as [`super::Association`] has to
//! understand them. Whatever the engine would read in another way than we do is no packet here: it computes where a
//! chunk ends from what it read of it (`sctp-proto` 0.10.8, packet.rs:133 `finish` and each chunk's `value_length`), so that
//! what is in a chunk beside that would be chunks to it, and none to us.

/// Ports, verification tag and checksum.
pub(super) const HEADER: usize = 12;

/// Of messages that open a channel (RFC 8832, section 8.1 and 8.2.1), and of those with data, which may be empty (RFC
/// 8831, section 8).
const DCEP: u32 = 50;
const DCEP_OPEN: u8 = 3;
const DCEP_ACK: u8 = 2;
const DATA: [u32; 4] = [51, 53, 56, 57];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk<'a> {
    Data(Data),
    Sack(Sack<'a>),
    Reconfig(Reconfig<'a>),
    /// INIT or INIT ACK, in which nothing is for us.
    Init,
    /// COOKIE ECHO or COOKIE ACK.
    Cookie,
    Heartbeat,
    /// Says that there is nothing to wait for any more up to a sequence number.
    ForwardTsn,
    /// ABORT or ERROR.
    Abort,
    /// What ends an association in good order.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) tsn: u32,
    pub(super) fragment: Fragment,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Opens a channel.
    Open,
    /// Confirms that it is open.
    Ack,
    Data,
    /// The engine warns of it.
    Unknown,
}

/// What is the same whenever a chunk is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) stream: u16,
    /// Which message of its stream, if that is ordered.
    pub(super) number: u16,
    pub(super) len: u16,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    pub(super) is_unordered: bool,
    pub(super) purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sack<'a> {
    pub(super) cumulative: u32,
    pub(super) credit: u32,
    gaps: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reconfig<'a> {
    pub(super) request: Option<Reset<'a>>,
    /// The request that is answered, and whether what it asks for is done.
    pub(super) response: Option<(u32, bool)>,
}

/// A request that resets streams which its sender has sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reset<'a> {
    pub(super) number: u32,
    /// The last request of the other side.
    pub(super) last_request: u32,
    pub(super) last_tsn: u32,
    streams: &'a [u8],
}

impl Fragment {
    /// Whether `next` can be what follows: the fragments of a message have consecutive sequence numbers (RFC 9260,
    /// section 3.3.1).
    pub(super) fn precedes(&self, next: &Self) -> bool {
        match self.is_last {
            true => next.is_first,
            false => {
                let is_same = (self.stream, self.is_unordered) == (next.stream, next.is_unordered);
                !next.is_first && is_same && (self.is_unordered || self.number == next.number)
            }
        }
    }
}

impl Sack<'_> {
    /// The highest number that is acknowledged, if the blocks ascend.
    pub(super) fn last(&self) -> u32 {
        let ends = self.gaps.as_chunks().0.iter();
        let end = ends
            .map(|&[_, _, c, d]| u16::from_be_bytes([c, d]))
            .next_back();
        self.cumulative.wrapping_add(end.unwrap_or(0).into())
    }

    /// Whether each block begins after the one before has ended (RFC 9260, section 3.3.4).
    pub(super) fn is_ascending(&self) -> bool {
        let mut end = 0;
        self.gaps.as_chunks().0.iter().all(|&[a, b, c, d]| {
            let (start, before) = (u16::from_be_bytes([a, b]), end);
            end = u16::from_be_bytes([c, d]);
            before < start && start <= end
        })
    }
}

impl Reset<'_> {
    pub(super) fn streams(&self) -> impl Iterator<Item = u16> {
        let ids = self.streams.as_chunks().0.iter();
        ids.map(|id| u16::from_be_bytes(*id))
    }
}

/// Takes a chunk off the front of what follows a packet's header: its bytes, padding included, and what it is.
/// `None` if the engine would see something else.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Chunk<'a>)> {
    let [kind, flags, len @ ..] = *rest.first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes(len));
    let (whole, others) = rest.split_at_checked(len.next_multiple_of(4))?;
    let value = whole.get(4..len)?;
    if whole.get(len..)?.iter().any(|padding| *padding != 0) {
        return None; // the engine takes it for no chunk if others come before
    }
    let chunk = match kind {
        0 => Chunk::Data(data(flags, value)?),
        1 | 2 => Chunk::Init,
        3 => Chunk::Sack(sack(value)?),
        4 => heartbeat(value)?,
        6 | 9 => Chunk::Abort,
        7 if value.len() == 4 => Chunk::End,
        8 | 14 if value.is_empty() => Chunk::End,
        10 => Chunk::Cookie,
        11 if value.is_empty() => Chunk::Cookie,
        130 => Chunk::Reconfig(reconfig(value)?),
        192 | 194 => Chunk::ForwardTsn,
        _ => return None, // for the engine, such a packet is none
    };
    *rest = others;
    Some((whole, chunk))
}

fn data(flags: u8, value: &[u8]) -> Option<Data> {
    let (header, contents) = value.split_first_chunk::<12>()?;
    let [a, b, c, d, e, f, g, h, protocol @ ..] = *header;
    let purpose = match u32::from_be_bytes(protocol) {
        DCEP if flags & 7 == 3 => purpose(contents),
        protocol if DATA.contains(&protocol) => Purpose::Data,
        _ => Purpose::Unknown,
    };
    let fragment = Fragment {
        stream: u16::from_be_bytes([e, f]),
        number: u16::from_be_bytes([g, h]),
        len: u16::try_from(contents.len()).ok()?,
        is_first: flags & 2 != 0,
        is_last: flags & 1 != 0,
        is_unordered: flags & 4 != 0,
        purpose,
    };
    Some(Data {
        tsn: u32::from_be_bytes([a, b, c, d]),
        fragment,
    })
}

/// Reads a message of DCEP, which is ordered and fits into one chunk.
fn purpose(message: &[u8]) -> Purpose {
    match *message {
        [DCEP_ACK, ..] => Purpose::Ack,
        [DCEP_OPEN, _, _, _, _, _, _, _, a, b, c, d, ref rest @ ..] => {
            let [label, protocol] = [[a, b], [c, d]].map(u16::from_be_bytes).map(usize::from);
            let (label, protocol) = (rest.get(..label), rest.get(label..label + protocol));
            let is_text = |it: Option<&[u8]>| it.is_some_and(|it| str::from_utf8(it).is_ok());
            match is_text(label) && is_text(protocol) {
                true => Purpose::Open,
                false => Purpose::Unknown,
            }
        }
        _ => Purpose::Unknown,
    }
}

fn sack(value: &[u8]) -> Option<Sack<'_>> {
    let (header, lists) = value.split_first_chunk::<12>()?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *header;
    let gaps = 4 * usize::from(u16::from_be_bytes([i, j]));
    let duplicates = 4 * usize::from(u16::from_be_bytes([k, l]));
    (lists.len() == gaps + duplicates).then_some(Sack {
        cumulative: u32::from_be_bytes([a, b, c, d]),
        credit: u32::from_be_bytes([e, f, g, h]),
        gaps: lists.get(..gaps)?,
    })
}

/// With its one parameter and nothing else.
fn heartbeat(value: &[u8]) -> Option<Chunk<'_>> {
    let [0, 1, len @ ..] = *value.first_chunk::<4>()? else {
        return None;
    };
    (usize::from(u16::from_be_bytes(len)) == value.len()).then_some(Chunk::Heartbeat)
}

/// With one parameter or two.
fn reconfig(mut value: &[u8]) -> Option<Reconfig<'_>> {
    let mut reconfig = Reconfig {
        request: None,
        response: None,
    };
    for _ in 0..2 {
        let [a, b, len @ ..] = *value.first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes(len));
        let parameter = value.get(4..len)?;
        match u16::from_be_bytes([a, b]) {
            13 if reconfig.request.is_none() => reconfig.request = Some(reset(parameter)?),
            16 => {
                let [a, b, c, d, result @ ..] = *<&[u8; 8]>::try_from(parameter).ok()?;
                let is_done = matches!(u32::from_be_bytes(result), 0 | 1);
                reconfig.response = Some((u32::from_be_bytes([a, b, c, d]), is_done));
            }
            _ => return None,
        }
        value = value.get(len.next_multiple_of(4)..).unwrap_or_default();
        if value.is_empty() {
            return Some(reconfig);
        }
    }
    None
}

fn reset(parameter: &[u8]) -> Option<Reset<'_>> {
    let (header, streams) = parameter.split_first_chunk::<12>()?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *header;
    streams.len().is_multiple_of(2).then_some(Reset {
        number: u32::from_be_bytes([a, b, c, d]),
        last_request: u32::from_be_bytes([e, f, g, h]),
        last_tsn: u32::from_be_bytes([i, j, k, l]),
        streams,
    })
}

/// A packet with the header of another one, and some of its chunks.
pub(super) fn assemble(header: &[u8], chunks: &[&[u8]]) -> Vec<u8> {
    let mut packet = header.get(..8).unwrap_or_default().to_vec();
    packet.extend([0; 4]);
    packet.extend(chunks.concat());
    let checksum = checksum(&packet).to_le_bytes();
    if let Some(place) = packet.get_mut(8..HEADER) {
        place.copy_from_slice(&checksum);
    }
    packet
}

/// CRC32c (RFC 9260, appendix A), bit by bit: few packets are assembled.
fn checksum(packet: &[u8]) -> u32 {
    let crc = packet.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => (crc >> 1) ^ 0x82f6_3b78,
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }
}
