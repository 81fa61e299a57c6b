//! The port between behaviour and transport. The caller's streams go down and what went wrong with
//! them comes up ([`streams`]); commands to the signaled transport go down and its notices come up
//! ([`signaling`]). It knows nothing of what a connection is for.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

pub use self::streams::Duplex;
pub(crate) use self::streams::{Pending, Ticket, is_stream};
use self::{signaling::Signaling, streams::Streams};
use crate::error::StreamError;

mod signaling;
mod streams;

/// Makes the two ends of a new port.
pub(crate) fn ports() -> (BehaviourPort, TransportPort) {
    let shared = Shared::default();
    (BehaviourPort(shared.clone()), TransportPort(shared))
}

/// The behaviour's end. When it is dropped, what still waits is dropped too.
pub(crate) struct BehaviourPort(Shared);

impl BehaviourPort {
    /// Whether somebody should listen for webrtc-direct: there is a transport that can, and the
    /// application has not asked it to so far.
    pub(crate) fn wants_listener(&self) -> bool {
        let state = self.0.lock();
        cfg!(feature = "webrtc") && !state.transport_gone && !state.listening
    }
}

impl Drop for BehaviourPort {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.streams.forget_failures();
        state.signaling = None;
        let waiting = state.streams.take_waiting();
        drop(state);
        drop(waiting);
    }
}

impl fmt::Debug for BehaviourPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BehaviourPort").finish_non_exhaustive()
    }
}

/// The transport's end. When it is dropped, what still waits is dropped too.
pub(crate) struct TransportPort(Shared);

#[cfg(feature = "webrtc")]
impl TransportPort {
    /// Notes that the application itself listens for webrtc-direct.
    pub(crate) fn set_listening(&self) {
        self.0.lock().listening = true;
    }
}

impl Drop for TransportPort {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.transport_gone = true;
        state.waker = None;
        state.signaling = None;
        let waiting = state.streams.take_waiting();
        drop(state);
        drop(waiting);
    }
}

impl fmt::Debug for TransportPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TransportPort").finish_non_exhaustive()
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// No invariant spans more than one statement under this lock, so what a panic of the caller's
    /// code leaves behind is still valid.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, StreamError> {
        let state = self.lock();
        match state.transport_gone {
            true => Err(StreamError::NoTransport),
            false => Ok(state),
        }
    }
}

#[derive(Default)]
struct State {
    streams: Streams,
    /// `None` unless the transport is set up by signals and both ends are there.
    signaling: Option<Signaling>,
    /// Wakes the transport, for streams and commands.
    waker: Option<Waker>,
    listening: bool,
    transport_gone: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "webrtc")]
    #[test]
    fn a_listener_is_wanted_until_the_application_has_one() {
        let (behaviour, transport) = ports();
        assert!(behaviour.wants_listener());
        transport.set_listening();
        assert!(!behaviour.wants_listener());
    }

    #[test]
    fn a_poisoned_lock_is_used_on() {
        let (behaviour, _transport) = ports();
        let shared = behaviour.0.clone();
        let thread = std::thread::spawn(move || {
            let _guard = shared.lock();
            panic!("poison");
        });
        assert!(thread.join().is_err());
        let stream = futures::io::Cursor::new(Vec::new());
        behaviour.connect(stream).unwrap();
    }
}
