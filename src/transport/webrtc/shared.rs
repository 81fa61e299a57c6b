//! The endpoint as its driver, the transport, the connections and the streams share it: each calls
//! it under one lock, and then sees to it that the driver does what follows from that. It knows
//! nothing of sockets.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures::task::AtomicWaker;
use libp2p::PeerId;

use super::{
    endpoint::{AddressChange, Closed, Endpoint, Event, Key, Status},
    waiting::{Cause, Waiting},
};
use crate::signaling::Notice;

/// What is shared.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the driver.
    driver: AtomicWaker,
    /// How many [`Handle`]s there are. At none the driver ends.
    handles: AtomicUsize,
}

impl Shared {
    pub(super) fn new(endpoint: Endpoint) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(endpoint)),
            driver: AtomicWaker::new(),
            handles: AtomicUsize::new(0),
        })
    }

    pub(super) fn register_driver(&self, cx: &Context<'_>) {
        self.driver.register(cx.waker());
    }

    pub(super) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    /// Calls the endpoint and wakes who is concerned by what follows, except the driver.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        // Read under the lock, so that the endpoint's time never goes back.
        let now = Instant::now();
        let result = call(&mut state, now);
        state.dispatch(now);
        let due = state.waiting.take_due();
        drop(state);
        due.into_iter().for_each(Waker::wake);
        result
    }

    /// The driver is gone. The endpoint is not called: maybe it was the endpoint's fault.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.phase = Phase::Over;
        state.waiting.wake_all();
        let due = state.waiting.take_due();
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    /// Used on although a panic may have come in between: what it left behind concerns one
    /// connection, which then fails or times out, and giving up would end all of them.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the driver going.
pub(super) struct Handle(Arc<Shared>);

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.handles.fetch_add(1, Ordering::AcqRel);
        Self(shared)
    }

    /// Calls the endpoint, after which the driver may have something to do.
    pub(super) fn act<T>(&self, call: impl FnOnce(&mut State, Instant) -> T) -> T {
        let result = self.0.with(call);
        self.0.driver.wake();
        result
    }

    /// Calls the endpoint, after which the driver may have something to do, unless it is pending and no deadline came
    /// nearer: a writer that is too fast goes on at one.
    pub(super) fn poll<T>(&self, call: impl FnOnce(&mut State, Instant) -> Poll<T>) -> Poll<T> {
        let (result, is_sooner) = self.0.with(|state, now| {
            let before = state.endpoint.next_deadline();
            let result = call(state, now);
            let after = state.endpoint.next_deadline();
            let is_sooner = after.is_some_and(|at| before.is_none_or(|before| at < before));
            (result, is_sooner)
        });
        if result.is_ready() || is_sooner {
            self.0.driver.wake();
        }
        result
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.driver.wake();
        }
    }
}

/// What the lock guards.
pub(super) struct State {
    pub(super) endpoint: Endpoint,
    pub(super) waiting: Waiting,
    /// For the transport. There are as many as the set-ups that it asked for bring about, and one of each
    /// other kind.
    pub(super) notices: VecDeque<Notice>,
    /// For the transport, and ours until then. There are as many as there are set-ups.
    incoming: VecDeque<(Key, PeerId)>,
    /// The same, of those who dialed an address.
    strangers: VecDeque<Key>,
    /// For the transport: as many as this machine's addresses change between two polls.
    addresses: VecDeque<AddressChange>,
    phase: Phase,
    has_transport: bool,
}

/// How far the driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It finds out this machine's addresses.
    Starting,
    Running,
    /// It is gone: its runtime was shut down.
    Over,
}

impl State {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            waiting: Waiting::default(),
            notices: VecDeque::new(),
            incoming: VecDeque::new(),
            strangers: VecDeque::new(),
            addresses: VecDeque::new(),
            phase: Phase::Starting,
            has_transport: true,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn set_running(&mut self) {
        self.phase = Phase::Running;
        self.waiting.wake(Cause::Transport);
    }

    /// The next connection that the other side dialed, and who that is.
    pub(super) fn poll_incoming(&mut self, cx: &Context<'_>) -> Poll<(Key, PeerId)> {
        match self.incoming.pop_front() {
            Some(incoming) => Poll::Ready(incoming),
            None => self.wait_for_transport(cx),
        }
    }

    /// The next connection of somebody who dialed an address.
    pub(super) fn poll_stranger(&mut self, cx: &Context<'_>) -> Poll<Key> {
        match self.strangers.pop_front() {
            Some(key) => Poll::Ready(key),
            None => self.wait_for_transport(cx),
        }
    }

    /// What has become of the addresses at which we can be dialed. An error once the driver is gone.
    pub(super) fn poll_address(&mut self, cx: &Context<'_>) -> Poll<io::Result<AddressChange>> {
        match self.addresses.pop_front() {
            Some(change) => Poll::Ready(Ok(change)),
            None => self.wait(Cause::Transport, cx),
        }
    }

    /// Nobody asks for notices and incoming connections any more.
    pub(super) fn drop_transport(&mut self, now: Instant) {
        self.has_transport = false;
        self.notices.clear();
        self.waiting.wake(Cause::Transport);
        let incoming = std::mem::take(&mut self.incoming).into_iter();
        let incoming = incoming.map(|(key, _)| key);
        for key in incoming.chain(std::mem::take(&mut self.strangers)) {
            self.endpoint.release(now, key);
        }
    }

    /// Why a connection is closed, if it is.
    pub(super) fn closed(&self, key: Key) -> Option<io::Error> {
        match (self.phase, self.endpoint.status(key)) {
            (Phase::Over, _) => Some(Stopped.into()),
            (_, Status::Closed(reason)) => Some(reason.into()),
            (_, Status::Connecting | Status::Connected) => None,
        }
    }

    /// To be woken by `cause`, or told at once that nothing will happen any more.
    pub(super) fn wait<T>(&mut self, cause: Cause, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if self.phase == Phase::Over {
            return Poll::Ready(Err(Stopped.into()));
        }
        self.waiting.add(cause, cx.waker());
        Poll::Pending
    }

    /// To be woken when there is something for the transport.
    pub(super) fn wait_for_transport<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.waiting.add(Cause::Transport, cx.waker());
        Poll::Pending
    }

    /// Takes out what has happened.
    pub(super) fn dispatch(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Notice(_) if !self.has_transport => {}
                Event::Notice(notice) => {
                    if let Notice::NatMapping(_) = notice {
                        let is_other = |it: &_| !matches!(it, Notice::NatMapping(_));
                        self.notices.retain(is_other);
                    }
                    self.notices.push_back(notice);
                    self.waiting.wake(Cause::Transport);
                }
                Event::Incoming { key, .. } | Event::Stranger { key } if !self.has_transport => {
                    self.endpoint.release(now, key);
                }
                Event::Incoming { key, peer } => {
                    self.incoming.push_back((key, peer));
                    self.waiting.wake(Cause::Transport);
                }
                Event::Stranger { key } => {
                    self.strangers.push_back(key);
                    self.waiting.wake(Cause::Transport);
                }
                Event::Address(change) => {
                    self.addresses.push_back(change);
                    self.waiting.wake(Cause::Transport);
                }
                Event::Changed { key } => self.waiting.wake(Cause::Changed(key)),
                Event::Readable { key, channel } => {
                    self.waiting.wake(Cause::Readable(key, channel));
                }
                Event::Writable { key, channel } => {
                    self.waiting.wake(Cause::Writable(key, channel));
                }
            }
        }
    }
}

/// The driver is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the runtime of the connection was shut down")]
pub(super) struct Stopped;

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        Self::new(io::ErrorKind::NotConnected, stopped)
    }
}

impl From<Closed> for io::Error {
    fn from(reason: Closed) -> Self {
        let kind = match reason {
            Closed::Local => io::ErrorKind::NotConnected,
            Closed::Remote => io::ErrorKind::ConnectionReset,
            Closed::SetupTimeout | Closed::Silent => io::ErrorKind::TimedOut,
            Closed::Replaced => io::ErrorKind::ConnectionAborted,
            Closed::Protocol => io::ErrorKind::InvalidData,
        };
        Self::new(kind, reason)
    }
}
