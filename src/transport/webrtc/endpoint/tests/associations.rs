//! What somebody can do whose DTLS is up, and who speaks SCTP by hand.

use std::sync::{Arc, Mutex};

use str0m::{
    config::{CryptoProvider, DtlsCert},
    crypto::{
        CryptoError,
        dtls::{
            DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
        },
    },
};

use super::{closing::warnings_of, *};
use crate::{
    config::Limits,
    transport::webrtc::endpoint::association::sample::{
        self, ACK, DCEP, FIRST, FORWARD_TSN, OPEN, WHOLE,
    },
};

/// Has a chunk acknowledged at once (RFC 9260, section 3.3.1).
const AT_ONCE: u8 = 8;

/// How many small chunks fit into a packet.
const SMALL_CHUNKS: usize = 40;

/// What is done with the end that is not ours.
#[derive(Debug, Default)]
struct Strings {
    /// Whether its engine neither sends nor receives any more.
    is_puppet: bool,
    /// Whether it does not hear what comes.
    is_deaf: bool,
    to_send: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Puppeteer(&'static dyn DtlsProvider, Arc<Mutex<Strings>>);

#[derive(Debug)]
struct Puppet(Box<dyn DtlsInstance>, Arc<Mutex<Strings>>);

impl DtlsProvider for Puppeteer {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.0.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let dtls = self.0.new_dtls(cert, now, version, mtu)?;
        Ok(Box::new(Puppet(dtls, self.1.clone())))
    }
}

impl DtlsInstance for Puppet {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        match self.1.lock().unwrap().is_deaf {
            true => Ok(()),
            false => self.0.handle_packet(packet),
        }
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let mut strings = self.1.lock().unwrap();
        for packet in std::mem::take(&mut strings.to_send) {
            self.0.send_application_data(&packet).unwrap();
        }
        match self.0.poll_output(buf) {
            DtlsOutput::ApplicationData(packet) if strings.is_puppet => {
                strings.received.push(packet.to_vec());
                DtlsOutput::ApplicationData(&[])
            }
            output => output,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        let mut strings = self.1.lock().unwrap();
        if strings.is_puppet {
            return Ok(data.len());
        }
        strings.sent.push(data.to_vec());
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

/// A connection between an enemy and us.
pub(super) struct Siege {
    pub(super) lab: Lab,
    /// Which end the enemy is.
    end: usize,
    pub(super) enemy: Key,
    pub(super) us: Key,
    strings: Arc<Mutex<Strings>>,
    header: Vec<u8>,
    /// The next number of a chunk.
    pub(super) tsn: u32,
    /// The next number of a request.
    request: u32,
    /// A stream that the enemy has opened, and the next message of it.
    stream: (u16, u16),
    /// The same at our end.
    pub(super) channel: ChannelId,
}

/// The first end is a puppet.
fn theatre() -> (Lab, Arc<Mutex<Strings>>) {
    let mut lab = Lab::new(1);
    let strings = lab.play_with(0);
    (lab, strings)
}

impl Lab {
    /// Makes a puppet of an end.
    fn play_with(&mut self, end: usize) -> Arc<Mutex<Strings>> {
        let strings = Arc::new(Mutex::new(Strings::default()));
        let crypto = str0m::crypto::from_feature_flags();
        let puppeteer = Puppeteer(crypto.dtls_provider, strings.clone());
        self.ends[end].endpoint.crypto = Arc::new(CryptoProvider {
            dtls_provider: Box::leak(Box::new(puppeteer)),
            ..crypto
        });
        strings
    }
}

impl Siege {
    fn new() -> Self {
        let (mut lab, strings) = theatre();
        lab.delay = Duration::from_micros(10)..Duration::from_micros(20);
        let (enemy, us) = lab.connect(0, 1).unwrap();
        let writer = lab.open(0, enemy);
        let channel = lab.accept(1, us);
        lab.run(SECOND);
        assert_eq!(lab.write(0, enemy, writer, b"x"), Write::Taken(1));
        lab.run(SECOND);
        let mut guard = strings.lock().unwrap();
        guard.is_puppet = true;
        let header = guard.sent[0][..8].to_vec();
        let chunks = guard.sent.iter().flat_map(|packet| chunks(packet));
        let data: Vec<_> = chunks.filter(|(kind, _)| *kind == 0).collect();
        drop(guard);
        assert_eq!(data.len(), 2);
        let request = u32_at(&data[0].1, 0);
        let stream = u16::from_be_bytes([data[0].1[4], data[0].1[5]]);
        Self {
            lab,
            end: 0,
            enemy,
            us,
            strings,
            header,
            tsn: request.wrapping_add(2),
            request,
            stream: (stream, 2),
            channel,
        }
    }

    /// A connection by an address, which the puppet `end` or we have dialed, and over which it has said one byte of a
    /// proof.
    pub(super) fn unproven(mut lab: Lab, end: usize, is_dialed: bool) -> Self {
        let strings = lab.play_with(end);
        let (enemy, us) = match is_dialed {
            false => lab.connect_directly(end, 1),
            true => {
                lab.ends[end].endpoint.let_strangers_in();
                lab.ends[1].endpoint.strangers = None;
                let (us, enemy) = lab.connect_directly(1, end);
                (enemy, us)
            }
        };
        let [proof, channel] =
            [(end, enemy), (1, us)].map(|(n, key)| lab.ends[n].endpoint.noise(key).unwrap().0);
        let taken = Write::Taken(1);
        assert!(lab.run_until(SECOND, |lab| lab.write(end, enemy, proof, b"x") == taken));
        let has_come = |lab: &mut Lab| lab.read(1, us, channel, &mut [0]) == Read::Bytes(1);
        assert!(lab.run_until(SECOND, has_come));
        let mut guard = strings.lock().unwrap();
        guard.is_puppet = true;
        let is_data = |packet: &&Vec<u8>| packet[12] == 0;
        let said = guard.sent.iter().find(is_data).unwrap().clone();
        drop(guard);
        let tsn = u32_at(&said, 16);
        Self {
            lab,
            end,
            enemy,
            us,
            strings,
            header: said[..8].to_vec(),
            tsn: tsn.wrapping_add(1),
            request: tsn,
            stream: (0, 1),
            channel,
        }
    }

    /// The next chunk.
    pub(super) fn data(&mut self, stream: u16, number: u16, flags: u8, contents: &[u8]) -> Vec<u8> {
        let chunk = sample::data(self.tsn, (stream, number), flags, contents);
        self.tsn = self.tsn.wrapping_add(1);
        chunk
    }

    /// The next request, as if all that it is to wait for was sent.
    pub(super) fn reset(&mut self, streams: impl IntoIterator<Item = u16>) -> Vec<u8> {
        let chunk = sample::reset((self.request, 0), self.tsn.wrapping_sub(1), streams);
        self.request = self.request.wrapping_add(1);
        chunk
    }

    /// Sends a packet, and waits for what comes of it.
    pub(super) fn send(&mut self, chunks: &[Vec<u8>]) {
        let packet = sample::packet(&self.header, chunks);
        assert!(packet.len() <= 1200);
        self.strings.lock().unwrap().to_send.push_back(packet);
        let now = self.lab.now;
        let endpoint = &mut self.lab.ends[self.end].endpoint;
        endpoint.with(now, self.enemy, |connection| connection.prod(now));
        self.lab.collect(self.end);
        self.lab.run(MS);
    }

    /// Sends small chunks until our end has enough of them. How many that took, if it was less than `limit`.
    pub(super) fn flood(
        &mut self,
        limit: usize,
        mut chunk: impl FnMut(&mut Self, usize) -> Vec<u8>,
    ) -> Option<usize> {
        let begin = Instant::now();
        let mut count = 0;
        while count < limit && self.lab.status(1, self.us) == Status::Connected {
            let numbers = count..count + SMALL_CHUNKS;
            let chunks: Vec<_> = numbers.map(|n| chunk(self, n)).collect();
            self.send(&chunks);
            count += SMALL_CHUNKS;
        }
        println!("{count} chunks in {:?}", begin.elapsed());
        self.is_over().then_some(count)
    }

    /// Acknowledges all that our end has sent, if it has sent anything.
    fn heard(&self) -> Option<Vec<u8>> {
        let last = u32_at(self.received(0).last()?, 0);
        Some(sample::sack(last, 1 << 20, &[]))
    }

    /// Our end closes the channel, and the enemy does not.
    fn have_closed(&mut self) {
        self.lab.release_channel(1, self.us, self.channel);
        self.lab.run(MS * 10);
        let heard = self.heard();
        self.send(&Vec::from_iter(heard));
        self.lab.run(Limits::STREAM_CLOSE_TIME + SECOND);
    }

    /// Whether our end has ended it.
    fn is_over(&self) -> bool {
        self.lab.status(1, self.us) == Status::Closed(Closed::Protocol)
    }

    /// The chunks of a kind that our end has sent.
    fn received(&self, kind: u8) -> Vec<Vec<u8>> {
        let received = &self.strings.lock().unwrap().received;
        let chunks = received.iter().flat_map(|packet| chunks(packet));
        let of_kind = chunks.filter(|(it, _)| *it == kind);
        of_kind.map(|(_, value)| value).collect()
    }

    /// What came of requests.
    fn results(&self) -> Vec<u32> {
        let reconfigs = self.received(130).into_iter();
        let responses = reconfigs.filter(|value| value[1] == 16);
        responses.map(|value| u32_at(&value, 8)).collect()
    }
}

/// Their kinds, and what they say.
fn chunks(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut rest, mut chunks) = (&packet[12..], Vec::new());
    while let [kind, _, a, b, ..] = rest {
        let len = usize::from(u16::from_be_bytes([*a, *b]));
        chunks.push((*kind, rest[4..len].to_vec()));
        rest = &rest[len.next_multiple_of(4)..];
    }
    chunks
}

fn u32_at(value: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(value[at..at + 4].try_into().unwrap())
}

#[test]
fn who_speaks_by_hand_is_heard() {
    let mut siege = Siege::new();
    let (stream, number) = siege.stream;
    let hello = framing::data_frame(b"hello");
    let chunk = siege.data(stream, number, WHOLE | AT_ONCE, &hello);
    siege.send(&[chunk]);
    let mut buffer = [0; 10];
    let channel = siege.channel;
    let read = siege.lab.read(1, siege.us, channel, &mut buffer);
    assert_eq!((read, &buffer[..6]), (Read::Bytes(6), &b"xhello"[..]));
    let request = siege.reset([stream]);
    siege.send(&[request]);
    assert_eq!(siege.results(), [1]);
    let read = siege.lab.read(1, siege.us, channel, &mut buffer);
    assert_eq!(read, Read::Failed(StreamError::ChannelClosed));
}

#[test]
fn a_message_that_is_no_frame_resets_its_stream_only() {
    let mut siege = Siege::new();
    let (stream, number) = siege.stream;
    let chunk = siege.data(stream, number, WHOLE | AT_ONCE, b"\x02garbage");
    siege.send(&[chunk]);
    let (channel, malformed) = (siege.channel, StreamError::Malformed);
    let read = siege.lab.read(1, siege.us, channel, &mut [0; 10]);
    assert_eq!(read, Read::Failed(malformed));
    let written = siege.lab.write(1, siege.us, channel, b"x");
    assert_eq!(written, Write::Failed(malformed));
    assert_eq!(siege.lab.status(1, siege.us), Status::Connected);
}

#[test]
fn chunks_without_data_end_it() {
    let mut siege = Siege::new();
    let chunk = siege.data(siege.stream.0, 2, WHOLE, b"");
    siege.send(&[chunk]);
    assert!(siege.is_over());
}

#[test]
fn a_reset_of_all_streams_ends_it() {
    let mut siege = Siege::new();
    let request = siege.reset([]);
    siege.send(&[request]);
    assert!(siege.is_over());
    assert!(siege.results().is_empty());
}

#[test]
fn resets_that_are_never_answered_are_kept_in_bounds() {
    let mut siege = Siege::new();
    let begin = Instant::now();
    for n in 0..Limits::SCTP_RESETS as u16 + 50 {
        let id = siege.stream.0 + 2 + 2 * n;
        let chunk = siege.message(DCEP, (id, 0), &OPEN);
        let (request, heard) = (siege.reset([id]), siege.heard());
        siege.send(&Vec::from_iter(heard.into_iter().chain([chunk, request])));
    }
    println!("{:?}", begin.elapsed());
    assert_eq!(siege.lab.status(1, siege.us), Status::Connected);
    // The first of ours is sent, and the others wait for its answer.
    let results = siege.results();
    assert!(results.iter().all(|result| *result == 1));
    assert_eq!(results.len(), Limits::SCTP_RESETS + 1);
}

#[test]
fn a_reset_that_cannot_be_done_yet_is_not_begun() {
    let mut siege = Siege::new();
    let missing = siege.tsn;
    siege.tsn = siege.tsn.wrapping_add(1);
    let stream = siege.stream.0;
    let request = siege.reset([stream]);
    siege.send(&[request]);
    let flood = siege.flood(Limits::SCTP_AHEAD - SMALL_CHUNKS, |siege, n| {
        siege.data(stream, 2 + n as u16, WHOLE, b"x")
    });
    assert_eq!(flood, None);
    assert!(siege.results().is_empty());
    let chunk = sample::open(missing, stream + 2);
    siege.send(&[chunk]);
    siege.lab.run(SECOND);
    assert_eq!(siege.results(), [1]);
}

#[test]
fn messages_that_cannot_be_read_end_it() {
    let mut siege = Siege::new();
    let id = siege.stream.0 + 2;
    let flood = siege.flood(3 * Limits::SCTP_HELD / 2, |siege, n| {
        siege.data(id, 1 + n as u16, WHOLE, b"x")
    });
    assert!(flood.is_some());
}

#[test]
fn messages_on_a_stream_that_we_have_closed_end_it() {
    let mut siege = Siege::new();
    let (stream, number) = siege.stream;
    siege.have_closed();
    let flood = siege.flood(3 * Limits::SCTP_HELD / 2, |siege, n| {
        siege.data(stream, number + n as u16, WHOLE, b"x")
    });
    assert!(flood.is_some());
}

#[test]
fn a_message_in_crumbs_ends_it() {
    let mut siege = Siege::new();
    let (id, number) = siege.stream;
    let flood = siege.flood(Limits::SCTP_FRAGMENTS + 3 * SMALL_CHUNKS, |siege, n| {
        siege.data(id, number, if n == 0 { FIRST } else { 0 }, b"x")
    });
    assert!(flood.is_some());
}

#[test]
fn what_is_far_ahead_is_not_kept() {
    for (distance, is_kept) in [
        (Limits::SCTP_AHEAD as u32 - 1, true),
        (Limits::SCTP_AHEAD as u32, false),
    ] {
        let mut siege = Siege::new();
        let cumulative = siege.tsn.wrapping_sub(1);
        siege.tsn = siege.tsn.wrapping_add(distance);
        let chunk = siege.data(siege.stream.0, 3, WHOLE, b"x");
        siege.send(&[chunk]);
        siege.lab.run(SECOND);
        let blocks = siege.received(3).into_iter().filter(|sack| {
            u32_at(sack, 0) == cumulative && sack.get(12..14) == Some(&sack[14..16])
        });
        assert_eq!(blocks.count() > 0, is_kept);
    }
}

#[test]
fn more_streams_than_channels_could_need_end_it() {
    let mut siege = Siege::new();
    let first = siege.stream.0 + 2;
    let flood = siege.flood(2 * Limits::SCTP_STREAMS, |siege, n| {
        siege.message(DCEP, (first + 2 * n as u16, 0), &OPEN)
    });
    assert!(flood.is_some());
}

#[test]
fn streams_that_are_ours_to_open_end_it() {
    let mut siege = Siege::new();
    let first = 1 - siege.stream.0 % 2;
    let flood = siege.flood(Limits::SCTP_UNINVITED + SMALL_CHUNKS, |siege, n| {
        siege.message(DCEP, (first + 2 * n as u16, 0), &OPEN)
    });
    assert!(flood.is_some());
}

#[test]
fn what_is_acknowledged_over_and_over_ends_it() {
    let mut siege = Siege::new();
    let own = siege.received(0);
    let cumulative = own.last().map_or(0, |data| u32_at(data, 0));
    siege.send(&[sample::sack(cumulative, 1 << 20, &[(1, 1); 200])]);
    assert!(siege.is_over());
}

#[test]
fn what_is_to_be_skipped_ends_it() {
    let mut siege = Siege::new();
    let skip = siege.tsn.wrapping_add(1_000_000).to_be_bytes();
    siege.send(&[sample::chunk(FORWARD_TSN, 0, &[&skip])]);
    assert!(siege.is_over());
}

#[test]
fn a_packet_is_answered_by_one() {
    for (count, answers) in [(1, 1), (2, 0), (50, 0)] {
        let mut siege = Siege::new();
        siege.send(&vec![sample::heartbeat(); count]);
        assert_eq!(siege.received(5).len(), answers);
    }
}

/// Many channels at a time, both ways, that both ends close at once.
#[test]
fn channels_that_are_closed_make_room_for_others() {
    for seed in 0..3 {
        let (lab, ends) = churn(seed);
        lab.finish((0, ends.0), (1, ends.1));
    }
}

fn churn(seed: u64) -> (Lab, (Key, Key)) {
    const CHANNELS: usize = 200;
    let mut lab = Lab::new(seed);
    let ends = lab.connect(0, 1).unwrap();
    for _ in 0..3 {
        let mut channels = Vec::new();
        for (n, key) in [ends.0, ends.1].into_iter().enumerate() {
            let opened: Vec<_> = (0..CHANNELS).map(|_| lab.open(n, key)).collect();
            for (place, channel) in opened.iter().enumerate() {
                let message = pattern(1 + place * 10);
                let taken = Write::Taken(message.len());
                assert!(lab.run_until(SECOND * 30, |lab| {
                    lab.write(n, key, *channel, &message) == taken
                }));
            }
            channels.extend(opened.into_iter().map(|channel| (n, key, channel)));
        }
        for (n, key) in [ends.0, ends.1].into_iter().enumerate() {
            let accepted = (0..CHANNELS).map(|_| (n, key, lab.accept(n, key)));
            channels.extend(accepted.collect::<Vec<_>>());
        }
        for (n, key, channel) in channels {
            lab.release_channel(n, key, channel);
        }
    }
    (lab, ends)
}

#[test]
fn a_set_up_has_ten_seconds_in_all() {
    let (mut lab, strings) = theatre();
    strings.lock().unwrap().is_deaf = true;
    let key = lab.dial(0, 1).unwrap();
    let (time, late) = (Limits::SETUP_TIME, Duration::ZERO);
    lab.assert_ends_after((0, key), time, late, Closed::SetupTimeout);
    lab.release(0, key);
    lab.assert_empty();
}

#[test]
fn a_message_may_be_so_long() {
    const FULL: usize = 1024;
    let most = Limits::MESSAGE_LEN as usize;
    for len in [most - 1, most, most + 1] {
        let mut siege = Siege::new();
        let (stream, number) = siege.stream;
        // Bytes of zero are empty frames.
        let data = framing::data_frame(&pattern(10_000)).repeat(6);
        let message = [data, vec![0; len - 6 * 10_005]].concat();
        let last = len.div_ceil(FULL) - 1;
        for (n, part) in message.chunks(FULL).enumerate() {
            let mut flags = AT_ONCE;
            flags |= if n == 0 { FIRST } else { 0 };
            flags |= if n == last { sample::LAST } else { 0 };
            let chunk = siege.data(stream, number, flags, part);
            siege.send(&[chunk]);
        }
        siege.lab.run(SECOND * 5);
        let (channel, mut buffer) = (siege.channel, vec![0; 2 * most]);
        let read = siege.lab.read(1, siege.us, channel, &mut buffer);
        let there = 1 + if len <= most { 60_000 } else { 0 };
        assert_eq!(read, Read::Bytes(there), "{len}");
        let is_open = siege.lab.status(1, siege.us) == Status::Connected;
        assert_eq!(is_open, len <= most, "{len}");
    }
}

/// What somebody says of channels that no sound implementation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noise {
    Unopened,
    UnopenedAndReset,
    OpenedTwice,
    Acknowledged,
    Garbled,
    Unknown,
    /// This is sound.
    OpenedAndReset,
}

impl Siege {
    /// The next chunk, of a whole message.
    fn message(&mut self, protocol: u32, ids: (u16, u16), contents: &[u8]) -> Vec<u8> {
        let chunk = sample::of_protocol(protocol, self.tsn, ids, WHOLE | AT_ONCE, contents);
        self.tsn = self.tsn.wrapping_add(1);
        chunk
    }

    fn noise(&mut self, noise: Noise, n: u16) -> Vec<Vec<u8>> {
        let stream = self.stream.0 + 2 + 2 * n;
        let opens = |siege: &mut Self, n| siege.message(DCEP, (stream, n), &OPEN);
        match noise {
            Noise::Unopened => vec![self.message(53, (stream, 0), b"x")],
            Noise::UnopenedAndReset => {
                vec![self.message(53, (stream, 0), b"x"), self.reset([stream])]
            }
            Noise::OpenedTwice => vec![opens(self, 0), opens(self, 1)],
            Noise::Acknowledged => vec![self.message(DCEP, (stream, 0), &ACK)],
            Noise::Garbled => vec![self.message(DCEP, (stream, 0), &OPEN[..11])],
            Noise::Unknown => vec![opens(self, 0), self.message(52, (stream, 1), b"x")],
            Noise::OpenedAndReset => {
                let heard = self.heard().into_iter();
                heard
                    .chain([opens(self, 0), self.reset([stream])])
                    .collect()
            }
        }
    }
}

#[test]
fn channels_that_are_used_wrongly_fill_no_log() {
    for (noise, most) in [
        (Noise::Unopened, 20),
        (Noise::UnopenedAndReset, 20),
        (Noise::OpenedTwice, 20),
        (Noise::Acknowledged, 20),
        (Noise::Garbled, 0),
        (Noise::Unknown, 0),
        (Noise::OpenedAndReset, 0),
    ] {
        let lines = warnings_of(|| {
            let mut siege = Siege::new();
            for n in 0..100 {
                let chunks = siege.noise(noise, n);
                siege.send(&chunks);
            }
            siege.lab.run(SECOND);
            assert_eq!(siege.is_over(), noise != Noise::OpenedAndReset, "{noise:?}");
        });
        assert!(lines <= most, "{noise:?}: {lines}");
    }
}
