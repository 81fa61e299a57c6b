//! One connection: the engine that runs it (`str0m`), the phase it is in, and what its
//! channels have to say. It knows its own datagrams only; whose is whose is for `demux`.

use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use str0m::{
    IceCreds, Input, Output, Rtc, RtcError,
    change::SdpPendingOffer,
    channel::ChannelId,
    net::{Protocol, Receive},
};

use self::{closing::Closing, paths::Paths, targets::Targets, window::Window};
use super::{
    super::framing::Stream,
    Closed, Event, Key, Outputs, Status, Transmit,
    channels::Channels,
    demux::{Demux, Kind, Pair, Traces, place},
    guard::Heard,
    surroundings::{Nearness, Surroundings},
    unproven::Share,
};
use crate::{
    config::Limits,
    reach::Reach,
    signaling::{Notice, SetupId},
};

mod checks;
mod closing;
mod direct;
mod paths;
mod setup;
mod streaming;
mod targets;
mod window;

/// How long an offer waits for its answer: as long as the core does, and twice that.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);

/// The hosts of each address family that a TURN server is to let in because one set-up names them: those of a usual peer
/// are how it looks from outside, and its own address on a TURN server.
pub(super) const HOSTS_PER_SETUP: usize = 2;

/// The label of the channel that makes a description name data channels at all (libp2p's
/// specification "WebRTC"). It carries nothing.
const INIT_LABEL: &str = "init";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Our offer waits for its answer.
    Offered,
    /// A path is searched for, and then secured.
    Connecting {
        has_path: bool,
    },
    Connected,
    /// What was written is to arrive first.
    Closing,
    Closed(Closed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Made the offer, and dials.
    Offerer,
    Answerer,
}

struct Datagram {
    pair: Pair,
    contents: Vec<u8>,
}

pub(super) struct Connection {
    key: Key,
    /// `None` if it was dialed by an address.
    pub(super) setup: Option<SetupId>,
    pub(super) nearness: Nearness,
    role: Role,
    pub(super) traces: Traces,
    /// `None` once the connection is closed.
    engine: Option<Box<Rtc>>,
    heard: Heard,
    /// Where the datagram came from that the engine was given last.
    fed: Option<Pair>,
    phase: Phase,
    /// When the phase has lasted too long.
    phase_ends: Instant,
    engine_deadline: Instant,
    pending: Option<SdpPendingOffer>,
    /// Where the other side says that it is, the first [`Limits::ICE_CANDIDATES`].
    remote_ips: Vec<IpAddr>,
    /// Those of them that may be sent to, at most as many.
    remote_candidates: Vec<SocketAddr>,
    targets: Targets,
    /// The hosts of these that a TURN server is to let in, at most [`HOSTS_PER_SETUP`] of each address family.
    claimed: Vec<IpAddr>,
    /// What it was told of our own, at most as many.
    named: Vec<SocketAddr>,
    /// How it sees us, as it says, at most in [`Limits::MAPPED_ADDRESSES`] ways: the engine keeps all of them.
    mapped: HashSet<SocketAddr>,
    /// Whether somebody holds the key and will let go of it.
    pub(super) is_held: bool,
    paths: Paths,
    /// Where the latest check was answered, and where we were seen. `settle` tells the demultiplexer and STUN.
    answered: Option<(Pair, SocketAddr)>,
    early: Vec<Datagram>,
    channels: Channels,
    /// Over which both ends are to prove who they are, until somebody asks for it. Only if it was dialed by an address.
    pub(super) noise: Option<ChannelId>,
    /// The same channel, also thereafter.
    handshake: Option<ChannelId>,
    /// Cleared when the other end seems not to know `FIN_ACK`.
    acks: bool,
    /// Bytes held before the proof. Only if it was dialed by an address.
    unproven: Option<Arc<Share>>,
    backlog: VecDeque<Datagram>,
    window: Window,
    closing: Closing,
    is_end_told: bool,
    /// By which the other end's checks can be refused, once it is over.
    pub(super) farewell: Option<IceCreds>,
    /// Connections whose addresses it has taken, which end once this one is up.
    replaced: Vec<Key>,
    /// When the endpoint has noted to call.
    pub(super) scheduled: Option<Instant>,
}

/// What a connection is made with.
pub(super) struct Ingredients {
    pub(super) key: Key,
    pub(super) setup: Option<SetupId>,
    pub(super) reach: Reach,
    pub(super) engine: Box<Rtc>,
    pub(super) heard: Heard,
    pub(super) traces: Traces,
    pub(super) surroundings: Surroundings,
}

impl Connection {
    fn new(now: Instant, role: Role, ingredients: Ingredients) -> Self {
        let mut connection = Self {
            key: ingredients.key,
            setup: ingredients.setup,
            nearness: Nearness::new(ingredients.reach),
            role,
            traces: ingredients.traces,
            engine: Some(ingredients.engine),
            heard: ingredients.heard,
            fed: None,
            phase: Phase::Offered,
            phase_ends: now + OFFER_TIMEOUT,
            engine_deadline: now,
            pending: None,
            remote_ips: Vec::new(),
            remote_candidates: Vec::new(),
            targets: Targets::default(),
            claimed: Vec::new(),
            named: Vec::new(),
            mapped: HashSet::new(),
            is_held: false,
            paths: Paths::new(now),
            answered: None,
            early: Vec::new(),
            channels: Channels::default(),
            noise: None,
            handshake: None,
            acks: true,
            unproven: None,
            backlog: VecDeque::new(),
            window: Window::default(),
            closing: Closing::default(),
            is_end_told: false,
            farewell: None,
            replaced: Vec::new(),
            scheduled: None,
        };
        for candidate in &ingredients.surroundings.candidates {
            connection.add_local_candidate(candidate);
        }
        connection
    }

    /// Who is at the other end, if that is known beforehand.
    fn peer(&self) -> Option<PeerId> {
        self.setup.map(|setup| setup.peer)
    }

    /// Whether it is still set up, so that late candidates are of use.
    pub(super) fn is_in_setup(&self) -> bool {
        matches!(self.phase, Phase::Offered | Phase::Connecting { .. })
    }

    /// Whether the other side has described itself.
    pub(super) fn is_described(&self) -> bool {
        self.phase != Phase::Offered
    }

    /// Returns true if the offer was ours.
    pub(super) fn is_offerer(&self) -> bool {
        self.role == Role::Offerer
    }

    /// Whether it waits to be dialed.
    pub(super) fn is_dialable(&self) -> bool {
        self.role == Role::Offerer && !self.is_held && self.is_described()
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, pair: Pair, contents: &[u8]) {
        if contents.len() > Limits::DATAGRAM_LEN {
            return;
        }
        if self.phase == Phase::Offered {
            if self.early.len() < Limits::EARLY_CHECKS {
                self.early.push(Datagram {
                    pair,
                    contents: contents.to_vec(),
                });
            }
            return;
        }
        let kind = Kind::of(contents);
        let is_listened_to = match kind {
            Kind::Request { .. } => self.on_request(now, pair, contents),
            Kind::Response {
                transaction,
                is_success,
            } => self.on_response(now, pair, contents, is_success.then_some(transaction)),
            _ => true,
        };
        if !is_listened_to {
            return;
        }
        let is_held_back = self.is_paused() || !self.backlog.is_empty();
        if is_held_back && kind == Kind::Dtls {
            if self.backlog.len() < Limits::BACKLOG {
                self.backlog.push_back(Datagram {
                    pair,
                    contents: contents.to_vec(),
                });
            }
            return;
        }
        self.feed(now, pair, contents);
    }

    /// The other side lives. Anybody can send datagrams in its name, but for what answers us: nobody
    /// else can see what is asked, and what is encrypted.
    fn hear(&mut self, now: Instant) {
        if self.is_connected() {
            self.phase_ends = self.phase_ends.max(now + Limits::SILENCE);
        }
    }

    fn feed(&mut self, now: Instant, (local, remote): Pair, contents: &[u8]) {
        self.fed = Some((local, remote));
        let Some(rtc) = &mut self.engine else {
            return;
        };
        // An error is about this datagram, which anybody may have sent.
        let fed = catch_unwind(AssertUnwindSafe(|| {
            let receive = Receive::new(Protocol::Udp, remote, local, contents);
            receive.map_or(Ok(()), |it| rtc.handle_input(Input::Receive(now, it)))
        }));
        match fed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(?error, "a datagram was refused"),
            Err(_) => self.on_panic(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.phase_ends <= now {
            match self.phase {
                Phase::Offered | Phase::Connecting { .. } => self.finish(Closed::SetupTimeout),
                Phase::Connected => self.finish(Closed::Silent),
                Phase::Closing => {} // `settle` sees to it
                Phase::Closed(_) => {}
            }
        }
        if self.engine_deadline <= now {
            self.tick(now);
        }
    }

    /// Lets the engine's time go on: it works with the time that it was told last.
    fn tick(&mut self, now: Instant) {
        self.run(|rtc| rtc.handle_input(Input::Timeout(now)));
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (paths, window) = match self.phase {
            Phase::Closed(_) => return None,
            Phase::Connected => (
                (!self.is_lite()).then(|| self.paths.deadline()),
                self.window.deadline(),
            ),
            _ => (None, None),
        };
        let streams = self.closing.deadline();
        let others = [Some(self.phase_ends), paths, window, streams];
        let engine = self.engine_deadline;
        Some(others.into_iter().flatten().fold(engine, Instant::min))
    }

    pub(super) fn status(&self) -> Status {
        match self.phase {
            Phase::Offered | Phase::Connecting { .. } => Status::Connecting,
            Phase::Connected | Phase::Closing => Status::Connected,
            Phase::Closed(why) => Status::Closed(why),
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// Whether nobody will ask for it any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.is_closed() && !self.is_held && self.channels.is_empty()
    }

    /// Where the other side says that it is, as far as it may be sent to there.
    pub(super) fn remote_candidates(&self) -> &[SocketAddr] {
        &self.remote_candidates
    }

    /// Claims a permission on our TURN servers for a host that the other side has named. Returns true if it may have
    /// one.
    pub(super) fn claim(&mut self, host: IpAddr) -> bool {
        let same = self
            .claimed
            .iter()
            .filter(|it| it.is_ipv4() == host.is_ipv4());
        let has_room = same.count() < HOSTS_PER_SETUP;
        let is_named = self.remote_candidates.iter().any(|it| it.ip() == host);
        let is_new = has_room && is_named && !self.claimed.contains(&host);
        self.claimed.extend(is_new.then_some(host));
        self.claimed.contains(&host)
    }

    /// Which of our addresses the other end was told.
    pub(super) fn named(&self) -> &[SocketAddr] {
        &self.named
    }

    /// Returns true if a set-up that is over has tried addresses over the Internet.
    pub(super) fn was_far(&self) -> bool {
        let is_far = |it: &SocketAddr| Reach::of_ip(it.ip()) == Some(Reach::Global);
        match self.paths.in_use() {
            Some((_, remote)) => is_far(&remote),
            None => self.remote_candidates.iter().any(is_far),
        }
    }

    /// Where data leaves.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.paths.in_use().map(|(local, _)| local)
    }

    pub(super) fn ends(&self) -> Option<Pair> {
        self.paths.in_use()
    }

    /// Closes it once what was written has arrived.
    pub(super) fn close(&mut self, now: Instant) {
        match self.phase {
            Phase::Connected => {
                self.phase = Phase::Closing;
                self.phase_ends = now + Limits::CLOSE_TIME;
                self.tick(now);
            }
            Phase::Offered | Phase::Connecting { .. } => self.finish(Closed::Local),
            Phase::Closing | Phase::Closed(_) => {}
        }
    }

    /// Another connection of the same two ends has taken its addresses.
    pub(super) fn on_replaced(&mut self) {
        self.finish(Closed::Replaced);
    }

    /// Draws the consequences of whatever was done to the connection. To be called after it.
    pub(super) fn settle(&mut self, now: Instant, demux: &mut Demux, outputs: &mut Outputs) {
        if let Some((pair, seen)) = self.answered.take() {
            outputs.seen_at.push((seen, pair.1.ip()));
            let replaced = demux.show(&mut self.traces, pair);
            self.replace(replaced, outputs);
        }
        self.drain(now, demux, outputs);
        self.take_backlog(now, demux, outputs);
        self.settle_streams(now, demux, outputs);
        self.unblock(now, outputs);
        let is_over = self.phase_ends <= now;
        if self.phase == Phase::Closing && (is_over || !self.owes_data()) {
            // It cannot say so before SCTP is up, and is asked again then.
            let is_said = self.run(|rtc| Ok(rtc.close().is_ok())) != Some(false);
            self.drain(now, demux, outputs);
            if is_said || is_over {
                self.finish(Closed::Local);
            }
        }
        if self.is_closed() && !std::mem::replace(&mut self.is_end_told, true) {
            let key = self.key;
            self.noise
                .take()
                .map(|unused| self.channels.release(unused, Stream::ignore));
            for channel in self.channels.close_all() {
                outputs.events.push_back(Event::Readable { key, channel });
                outputs.events.push_back(Event::Writable { key, channel });
            }
            outputs.events.push_back(Event::Changed { key });
        }
    }

    fn drain(&mut self, now: Instant, demux: &mut Demux, outputs: &mut Outputs) {
        let mut is_closed_remotely = false;
        while let Some(output) = self.run(Rtc::poll_output) {
            match output {
                Output::Timeout(at) => {
                    self.engine_deadline = at;
                    break;
                }
                Output::Transmit(transmit) => {
                    let transmit = Transmit {
                        source: transmit.source,
                        destination: transmit.destination,
                        contents: transmit.contents.into(),
                    };
                    self.send(now, transmit, demux, outputs);
                }
                Output::Event(str0m::Event::Closed) => is_closed_remotely = true,
                Output::Event(event) => self.on_event(now, event, outputs),
            }
        }
        if self.heard.take()
            && let Some(pair) = self.fed
        {
            self.paths.receive(pair);
        }
        if self.engine.as_ref().is_some_and(|rtc| !rtc.is_alive()) {
            self.finish(match (self.phase, is_closed_remotely) {
                (Phase::Closing, _) => Closed::Local,
                (_, true) => Closed::Remote,
                _ => Closed::Protocol,
            });
        }
    }

    fn send(&mut self, now: Instant, transmit: Transmit, demux: &mut Demux, outputs: &mut Outputs) {
        let pair = (transmit.source, transmit.destination);
        let (target, len) = (place(transmit.destination), transmit.contents.len());
        if !self.targets.send(target, len) {
            return; // as if it were lost
        }
        let replaced = demux.learn(&mut self.traces, pair, &transmit.contents);
        self.replace(replaced, outputs);
        let kind = Kind::of(&transmit.contents);
        if let Kind::Response {
            is_success: true, ..
        } = kind
            && self.is_lite()
        {
            // We do not ask ourselves. Who has seen a check can send it again, from there.
            self.hear(now);
        }
        let is_data = kind == Kind::Dtls;
        if let Kind::Request { transaction, .. } = kind {
            self.paths.ask(now, transaction);
        }
        if is_data && self.paths.send(now, pair) {
            self.window.change_path(self.paths.round_trip());
            outputs.events.push_back(Event::Changed { key: self.key });
        }
        outputs.send(transmit);
    }

    /// Ends the connection whose addresses this one has taken, once this one is up.
    fn replace(&mut self, replaced: Option<Key>, outputs: &mut Outputs) {
        self.replaced.extend(replaced);
        if self.is_connected() {
            outputs.replaced.append(&mut self.replaced);
        }
    }

    fn on_event(&mut self, now: Instant, event: str0m::Event, outputs: &mut Outputs) {
        use str0m::{Event as Engine, IceConnectionState as Ice};

        let key = self.key;
        match event {
            Engine::IceConnectionStateChange(Ice::Connected | Ice::Completed) => {
                if let Phase::Connecting { has_path: false } = self.phase {
                    self.phase = Phase::Connecting { has_path: true };
                    self.phase_ends += Limits::SETUP_TIME - Limits::PATH_TIME;
                    let found = self.setup.map(|it| Event::Notice(Notice::PathFound(it)));
                    outputs.events.extend(found);
                }
            }
            Engine::Connected if self.is_in_setup() => {
                self.phase = Phase::Connected;
                self.phase_ends = now + Limits::SILENCE;
                outputs.replaced.append(&mut self.replaced);
                match self.role {
                    Role::Offerer if self.is_held => {
                        outputs.events.push_back(Event::Changed { key });
                    }
                    Role::Offerer => self.close(now), // nobody dials
                    Role::Answerer => {
                        self.is_held = true;
                        outputs.events.push_back(match self.peer() {
                            Some(peer) => Event::Incoming { key, peer },
                            None => Event::Stranger { key },
                        });
                    }
                }
            }
            Engine::ChannelOpen(channel, label) => {
                if self.channels.opened(channel) {
                    self.unsettle(now, channel); // when flags could not be sent yet
                    outputs.events.push_back(Event::Writable { key, channel });
                } else if !self.channels.note_foreign(channel) {
                    self.finish(Closed::Protocol);
                } else if label == INIT_LABEL {
                    // It was to make the offer, and is closed by who made it.
                } else if self.channels.offer(channel) {
                    outputs.events.push_back(Event::Changed { key });
                } else {
                    self.close_channel(channel);
                }
            }
            Engine::ChannelData(data) => {
                self.hear(now);
                self.receive(now, data.id, data.data, outputs);
            }
            Engine::ChannelClose(channel) => {
                self.channels.closed(channel);
                outputs.events.push_back(Event::Readable { key, channel });
                outputs.events.push_back(Event::Writable { key, channel });
            }
            _ => {}
        }
    }

    /// Runs `action` on the engine, if it still lives. An error ends the connection, and so does
    /// a panic, which ends nothing else.
    fn run<T>(&mut self, action: impl FnOnce(&mut Rtc) -> Result<T, RtcError>) -> Option<T> {
        let rtc = self.engine.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| action(rtc))) {
            Ok(Ok(result)) => Some(result),
            Ok(Err(error)) => {
                // An error may quote the other side: as `Debug` it has no line break and no control character.
                tracing::debug!(peer = ?self.peer(), ?error, "a connection failed");
                self.finish(Closed::Protocol);
                None
            }
            Err(_) => {
                self.on_panic();
                None
            }
        }
    }

    fn on_panic(&mut self) {
        tracing::error!(peer = ?self.peer(), "the WebRTC engine panicked; its connection ends");
        self.finish(Closed::Protocol);
    }

    fn finish(&mut self, why: Closed) {
        let was_up = matches!(self.phase, Phase::Connected | Phase::Closing);
        // A crowd of strangers would push out those of others.
        let is_proven = self.unproven.as_ref().is_none_or(|it| it.is_proven());
        if was_up && is_proven && why != Closed::Remote {
            // The engine may have panicked.
            let engine = self.engine.as_mut();
            let credentials = |rtc: &mut Box<Rtc>| rtc.direct_api().local_ice_credentials();
            let read = catch_unwind(AssertUnwindSafe(|| engine.map(credentials)));
            self.farewell = read.ok().flatten();
        }
        if !self.is_closed() {
            self.phase = Phase::Closed(why);
        }
        self.engine = None;
        self.early.clear();
        self.backlog.clear();
        self.closing = Closing::default();
    }
}

#[cfg(any(test, fuzzing))]
impl Connection {
    /// The bytes that it holds before the proof, as it counts them.
    pub(super) fn held(&self) -> usize {
        self.unproven.as_ref().map_or(0, |share| share.held())
    }
}

#[cfg(test)]
impl Connection {
    /// How many bytes it keeps for a slow reader.
    pub(super) fn kept(&self) -> usize {
        let backlog: usize = self
            .backlog
            .iter()
            .map(|datagram| datagram.contents.len())
            .sum();
        backlog + self.channels.unread()
    }

    /// How much may be under way.
    pub(super) fn window(&self) -> usize {
        self.window.size()
    }

    /// In how many ways it is seen, as the other end says.
    pub(super) fn mapped(&self) -> usize {
        self.mapped.len()
    }

    /// What our end signs its answers to checks with.
    pub(super) fn password(&mut self) -> String {
        let engine = self.engine.as_mut().unwrap();
        engine.direct_api().local_ice_credentials().pass
    }

    pub(super) fn early(&self) -> usize {
        self.early.len()
    }

    pub(super) fn fill_incoming(&mut self, len: usize, id: ChannelId) {
        self.channels.fill_incoming(len, id);
    }

    pub(super) fn foreign(&self) -> usize {
        self.channels.foreign()
    }

    /// Has the engine look for something to do.
    pub(super) fn prod(&mut self, now: Instant) {
        self.tick(now);
    }

    pub(super) fn panic_inside(&mut self) {
        self.run::<()>(|_| panic!("a bug of the engine"));
    }
}
