//! The core alone: what an answer costs and weighs, what a link holds, how fast signals pass.
//!
//! The core is private, so its modules are compiled into this program.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub)]

#[path = "../src"]
mod source {
    pub(crate) mod address;
    #[cfg(feature = "webrtc")]
    pub(crate) mod certificate;
    pub(crate) mod config;
    pub(crate) mod error;
    pub(crate) mod event;
    pub(crate) mod exchange;
    pub(crate) mod id;
    pub(crate) mod known;
    pub(crate) mod message;
    pub(crate) mod rate;
    pub(crate) mod reach;
    #[cfg(test)]
    pub(crate) mod script;
    pub(crate) mod signaling;
    pub(crate) mod wire;
}

use std::time::{Duration, Instant as Clock};

use libp2p::{PeerId, swarm::ConnectionId};
use peak_alloc::PeakAlloc;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use web_time::Instant;

#[cfg(feature = "webrtc")]
use self::source::certificate;
#[cfg(test)]
use self::source::script;
use self::source::{
    address,
    config::{self, Config, Limits, Rate},
    error::{self, SignalError},
    event::{self, Via},
    exchange::{self, Established, Exchange, Input, Output, Side},
    id::{self, NetworkId, NetworkTag, RequestId, Salt, SessionId},
    known,
    message::{self, Envelope, Frame, GetPeers, Hello, Path, Seal, Signal, SignalBody},
    rate, reach, signaling, wire,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How much is measured; with `--short` so little that it only shows that the benchmark runs.
struct Size {
    rounds: usize,
    answers: usize,
    sessions: usize,
}

const FULL: Size = Size {
    rounds: 15,
    answers: 1_000,
    sessions: 6_250,
};
const SHORT: Size = Size {
    rounds: 1,
    answers: 100,
    // More signals than are passed on at once.
    sessions: 300,
};

/// Signals in a session, the first of which opens it.
const SIGNALS_PER_SESSION: usize = 16;
/// Sessions at once: after so many signals an introducer passes on fewer to each peer for a while.
const SESSIONS_AT_ONCE: usize = Limits::ALL_SIGNALS.burst as usize / 2 / SIGNALS_PER_SESSION;
/// Between two frames of one peer, in virtual time: just too seldom to be a flood.
const FRAME_INTERVAL: Duration = Duration::from_millis(2);

/// An introducer opens no envelope.
struct NoKeys;

impl Seal for NoKeys {
    fn seal(&self, _: &SignalBody) -> Option<Envelope> {
        None
    }

    fn open(&self, _: &Envelope) -> Result<(PeerId, SignalBody), SignalError> {
        Err(SignalError::Malformed)
    }
}

/// A node with many peers.
struct Introducer {
    core: Exchange,
    now: Instant,
    links: Vec<ConnectionId>,
    rng: StdRng,
}

impl Introducer {
    fn new(peers: usize) -> Self {
        let network: NetworkId = "bench".parse().unwrap();
        let rate = Rate::new(u32::MAX, u32::MAX);
        let limits = Limits::default().with_max_peers(usize::MAX);
        let limits = limits.with_requests(rate).with_introductions(rate);
        let config = Config::new(network.clone()).with_limits(limits);
        let core = Exchange::new(
            PeerId::random(),
            Box::new(NoKeys),
            config,
            StdRng::seed_from_u64(1),
        );
        let (links, rng) = (Vec::with_capacity(peers), StdRng::seed_from_u64(2));
        let now = Instant::now();
        let mut introducer = Self {
            core,
            now,
            links,
            rng,
        };
        for n in 0..peers {
            introducer.add(ConnectionId::new_unchecked(n), &network);
        }
        introducer
    }

    fn add(&mut self, connection: ConnectionId, network: &NetworkId) {
        let (peer, salt) = (PeerId::random(), Salt(self.rng.random()));
        let remote = "/ip4/9.9.9.9/tcp/1".parse().unwrap();
        let (side, via) = (Side::Listener, Via::Direct);
        let established = Established {
            connection,
            peer,
            side,
            remote,
            via,
        };
        let networks = vec![NetworkTag::new(&peer, salt, network)];
        let hello = Hello {
            salt,
            networks,
            accepting: true,
            stun_port: None,
        };
        self.handle(Input::Established(established));
        self.handle(Input::LinkOpened { connection });
        self.frame(connection, Frame::Hello(hello));
        self.links.push(connection);
    }

    /// All peers give a sign of life, and timers are served: neither is part of an answer.
    fn refresh(&mut self) {
        self.now += Duration::from_secs(3);
        for connection in self.links.clone() {
            self.frame(connection, Frame::Pong(1));
        }
        self.core.handle_timeout(self.now);
        while self.core.poll_output().is_some() {}
    }

    fn handle(&mut self, input: Input) -> Option<Frame> {
        self.core.handle(self.now, input);
        let mut sent = None;
        while let Some(output) = self.core.poll_output() {
            if let Output::Send { frame, .. } = output {
                sent = Some(frame);
            }
        }
        sent
    }

    fn frame(&mut self, connection: ConnectionId, frame: Frame) -> Option<Frame> {
        let len = 0; // below a KiB
        self.handle(Input::Frame {
            connection,
            frame,
            len,
        })
    }

    fn any_link(&mut self) -> ConnectionId {
        self.links[self.rng.random_range(..self.links.len())]
    }

    fn get_peers(&mut self, asker: ConnectionId) -> Frame {
        let request = GetPeers {
            request: RequestId(1),
            network: 0,
            limit: 8,
            hops: 0,
        };
        self.frame(asker, Frame::GetPeers(request))
            .expect("an answer")
    }

    /// A session that an asker has opened by the first token of an answer.
    fn open_session(&mut self) -> (ConnectionId, SessionId) {
        let asker = self.any_link();
        let Frame::Peers(answer) = self.get_peers(asker) else {
            panic!("no answer");
        };
        let Path::Signals(token) = answer.candidates[0].path else {
            panic!("no token");
        };
        (asker, token.into())
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Microseconds for one answer, each to a random peer, as a node with many peers is asked.
fn answer_us(introducer: &mut Introducer, answers: usize) -> f64 {
    introducer.refresh();
    let askers: Vec<_> = (0..answers).map(|_| introducer.any_link()).collect();
    let start = Clock::now();
    for asker in askers {
        introducer.get_peers(asker);
    }
    start.elapsed().as_secs_f64() * 1e6 / answers as f64
}

/// Microseconds for one answer to a peer that asks again and again, whose state the caches hold: the
/// cost of the answer without that of finding the asker in memory.
fn repeated_answer_us(introducer: &mut Introducer, answers: usize) -> f64 {
    introducer.refresh();
    let asker = introducer.any_link();
    let start = Clock::now();
    for _ in 0..answers {
        introducer.now += FRAME_INTERVAL;
        introducer.get_peers(asker);
    }
    start.elapsed().as_secs_f64() * 1e6 / answers as f64
}

/// Signals of 500 bytes passed on in a second.
fn signals_per_s(introducer: &mut Introducer, sessions: usize) -> f64 {
    let mut spent = Duration::ZERO;
    for n in 0..sessions {
        introducer.now += FRAME_INTERVAL / 16;
        if n % SESSIONS_AT_ONCE == 0 {
            introducer.refresh();
        }
        let (asker, session) = introducer.open_session();
        let signals: Vec<_> = (0..SIGNALS_PER_SESSION)
            .map(|_| {
                Frame::Signal(Signal {
                    session,
                    envelope: Envelope(vec![7; 500]),
                })
            })
            .collect();
        let start = Clock::now();
        for signal in signals {
            let passed = introducer.frame(asker, signal);
            assert!(matches!(passed, Some(Frame::Signal(_))), "{passed:?}");
        }
        spent += start.elapsed();
    }
    (sessions * SIGNALS_PER_SESSION) as f64 / spent.as_secs_f64()
}

fn main() {
    let is_short = std::env::args().any(|argument| argument == "--short");
    let size = if is_short { SHORT } else { FULL };
    let before = HEAP.current_usage();
    let mut large = Introducer::new(10_000);
    let heap_per_link = (HEAP.current_usage() - before) / 10_000;
    let mut small = Introducer::new(10);
    let asker = large.any_link();
    let answer = wire::encode(&large.get_peers(asker)).expect("an answer fits a frame");
    let (mut us_10, mut us_10000) = (Vec::new(), Vec::new());
    let (mut repeated_us_10000, mut signals) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        us_10.push(answer_us(&mut small, size.answers));
        us_10000.push(answer_us(&mut large, size.answers));
        repeated_us_10000.push(repeated_answer_us(&mut large, size.answers));
        let mut introducer = Introducer::new(1_000);
        signals.push(signals_per_s(&mut introducer, size.sessions));
    }
    let (us_10, us_10000) = (median(us_10), median(us_10000));
    let (repeated_us_10000, signals) = (median(repeated_us_10000), median(signals));
    let times = us_10000 / us_10;
    println!("an answer with 10 peers      {us_10:>12.2} us");
    println!("an answer with 10,000 peers  {us_10000:>12.2} us, {times:.2} times as long");
    println!("the same, to one peer again  {repeated_us_10000:>12.2} us");
    println!("an answer of 8 candidates    {:>12} bytes", answer.len());
    println!("heap                         {heap_per_link:>12} bytes a link");
    println!("signals of 500 bytes         {signals:>12.0} a second");
    println!(
        "RESULT exchange get_peers_us_10={us_10:.2} get_peers_us_10000={us_10000:.2} \
         answer_bytes={} heap_per_link={heap_per_link} signals_per_s={signals:.0} \
         get_peers_repeated_us_10000={repeated_us_10000:.2}",
        answer.len()
    );
}
