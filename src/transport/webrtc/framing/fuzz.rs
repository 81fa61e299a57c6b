//! Whatever messages, cuts and orders a fuzzer thinks of.

use std::time::{Duration, Instant};

use super::{MAX_DATA_LEN, Opener, Read, Stream, StreamError, data_frame};
use crate::script::Script;

/// More operations than this add nothing but time.
const MAX_OPERATIONS: usize = 500;

/// A stream that gets any bytes as messages, and two that talk to each other.
pub fn streams(bytes: &[u8]) {
    match Script(bytes).byte() {
        Some(cut) if cut < 128 => take_any(&bytes[1..], usize::from(cut)),
        Some(_) => talk(&bytes[1..]),
        None => {}
    }
}

/// However bytes are cut into messages, the same comes out, and not more is held than came.
fn take_any(bytes: &[u8], cut: usize) {
    let (mut whole, mut parts) = (Stream::new(Opener::Us), Stream::new(Opener::Us));
    whole.receive(bytes.to_vec(), true);
    assert!(whole.held() <= bytes.len() + 64);
    for part in bytes.chunks(cut.max(1)) {
        let before = parts.held();
        parts.receive(part.to_vec(), true);
        assert!(parts.held() <= before + part.len() + 64);
    }
    assert_eq!(whole.due(), parts.due());
    assert_eq!(read_all(&mut whole), read_all(&mut parts));
    assert_eq!(whole.check_writable(), parts.check_writable());
    assert_eq!((whole.held(), parts.held()), (0, 0));
}

/// Returns what can be read, and what comes behind that.
fn read_all(stream: &mut Stream) -> (Vec<u8>, Read) {
    let (mut all, mut buffer) = (Vec::new(), [0; 100]);
    loop {
        match stream.read(&mut buffer) {
            Read::Bytes(len) => all.extend_from_slice(&buffer[..len]),
            end => return (all, end),
        }
    }
}

/// One of two ends of a channel.
struct End {
    stream: Stream,
    /// What it has sent and the other end has not received yet.
    sent: Vec<Vec<u8>>,
    written: usize,
    read: usize,
    is_closed: bool,
    is_dropped: bool,
}

impl End {
    fn new(opener: Opener) -> Self {
        Self {
            stream: Stream::new(opener),
            sent: Vec::new(),
            written: 0,
            read: 0,
            is_closed: false,
            is_dropped: false,
        }
    }

    fn send_flags(&mut self) {
        while let Some(flag) = self.stream.due() {
            self.sent.push(flag.frame().to_vec());
            self.stream.on_sent(flag);
        }
    }

    /// Bytes are numbered, so that it shows if some are missing.
    fn write(&mut self, len: usize) {
        if self.is_dropped || self.stream.check_writable().is_err() {
            return;
        }
        let len = len.min(MAX_DATA_LEN);
        let data: Vec<_> = (self.written..self.written + len)
            .map(|n| n as u8)
            .collect();
        self.written += len;
        self.sent.push(data_frame(&data));
    }

    fn read(&mut self, len: usize, other: &Self) {
        let mut buffer = vec![0; len];
        match self.stream.read(&mut buffer) {
            Read::Bytes(len) => {
                for (n, byte) in buffer[..len].iter().enumerate() {
                    assert_eq!(*byte, (self.read + n) as u8);
                }
                self.read += len;
                assert!(self.read <= other.written);
            }
            Read::Ended => assert!(other.is_closed && self.read == other.written),
            Read::Blocked => {}
            Read::Failed(why) => {
                assert_ne!(why, StreamError::Malformed);
                assert!(other.is_dropped);
            }
        }
    }
}

/// What arrives was written, an end is one, and a stream of which both ends are dropped and heard each other waits for
/// nothing but the close of its channel.
fn talk(bytes: &[u8]) {
    let start = Instant::now();
    let (mut script, mut now) = (Script(bytes), start);
    let mut ends = [End::new(Opener::Us), End::new(Opener::Them)];
    for _ in 0..MAX_OPERATIONS {
        if act(&mut script, &mut now, &mut ends).is_none() {
            break;
        }
    }
    for end in &mut ends {
        if !end.is_dropped {
            end.stream.release(now);
        }
    }
    let [one, other] = &mut ends;
    // Flags answer flags, each of the four at most once.
    for _ in 0..8 {
        one.send_flags();
        other.send_flags();
        for message in one.sent.drain(..) {
            other.stream.receive(message, true);
        }
        for message in other.sent.drain(..) {
            one.stream.receive(message, true);
        }
    }
    assert!(ends.iter().all(|end| end.stream.due().is_none()));
    assert!(ends.iter().all(|end| end.stream.held() == 0));
    // The opener closes the channel without having waited for so long as it might, and the other end leaves that to it.
    assert!(ends[0].stream.is_over(start, true));
    assert!(!ends[1].stream.is_over(start, true));
}

fn act(script: &mut Script<'_>, now: &mut Instant, ends: &mut [End; 2]) -> Option<()> {
    let operation = script.below(7)?;
    let [one, other] = ends;
    let (one, other) = match script.below(2)? {
        0 => (one, other),
        _ => (other, one),
    };
    match operation {
        0 => one.write(100 * script.below(200)?),
        1 if !one.is_dropped => one.read(script.below(200)?, other),
        2 if !one.is_dropped => {
            one.is_closed |= one.stream.close(*now, true).is_ok();
        }
        3 if !one.is_dropped => {
            one.is_dropped = true;
            one.stream.release(*now);
        }
        4 => *now += Duration::from_millis(50) * u32::from(script.byte()?),
        5 => {
            // Messages arrive together, in part.
            let (count, cut) = (script.below(4)?, 1 + script.below(100)?);
            let count = count.min(other.sent.len());
            let arrived: Vec<u8> = other.sent.drain(..count).flatten().collect();
            for part in arrived.chunks(cut * 100) {
                one.stream.receive(part.to_vec(), true);
            }
        }
        _ => one.send_flags(),
    }
    one.stream.expire(*now);
    Some(())
}
