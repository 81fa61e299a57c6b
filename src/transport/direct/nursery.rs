//! Gives webrtc-rs runtimes of its own, because a connection that fails in set-up leaves its tasks
//! and a socket behind, which only the end of their runtime ends. It knows how many set-ups a
//! runtime has seen, and nothing of connections.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    runtime::{Builder, EnterGuard, Runtime},
    task::JoinHandle,
};

/// How many set-ups share a runtime. Those that fail leave some 80 kB, 6 tasks and a socket each
/// until the last connection of their runtime ends; each runtime costs a thread.
pub(super) const SETUPS: usize = 32;

/// Hands out the room for each set-up.
#[derive(Clone, Default)]
pub(super) struct Nursery(Arc<Mutex<Option<Current>>>);

struct Current {
    room: Room,
    /// At most [`SETUPS`].
    setups: usize,
}

impl Nursery {
    /// The room for one set-up.
    pub(super) fn room(&self) -> io::Result<Room> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *current {
            Some(current) if current.setups < SETUPS => {
                current.setups += 1;
                Ok(current.room.clone())
            }
            full => {
                let room = Room::new()?;
                *full = Some(Current {
                    room: room.clone(),
                    setups: 1,
                });
                Ok(room)
            }
        }
    }
}

/// A runtime that ends, with all that still runs on it, when nobody holds the room any more.
#[derive(Clone)]
pub(super) struct Room(Arc<Owned>);

impl Room {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("pxp-webrtc")
            .enable_all()
            .build()?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    /// What is polled under this guard spawns here.
    pub(super) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.0.as_ref().map(Runtime::enter)
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        self.0.0.as_ref().map(|runtime| runtime.spawn(task))
    }

    /// Runs a set-up here. Dropping the future lets it run on.
    pub(super) async fn run<T: Send + 'static>(
        self,
        setup: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        match self.spawn(setup) {
            Some(task) => task
                .await
                .unwrap_or_else(|panic| Err(io::Error::other(panic))),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").finish_non_exhaustive()
    }
}

/// `None` in its drop only.
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its threads, which panics on a thread of a runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
