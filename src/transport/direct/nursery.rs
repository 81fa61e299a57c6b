//! Gives webrtc-rs runtimes of its own, because a connection that fails in set-up leaves its tasks
//! and a socket behind, which only the end of their runtime ends. It knows how many set-ups a
//! runtime has seen, and nothing of connections.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use futures::channel::oneshot;
use tokio::{
    runtime::{Builder, EnterGuard, Handle},
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
pub(super) struct Room {
    runtime: Handle,
    /// Its end ends the runtime.
    _open: Arc<oneshot::Sender<()>>,
}

impl Room {
    /// Its runtime takes tasks in the order they were woken. On tokio's multi-thread kind a task
    /// that was woken last may come first, also with one thread, and where data overtakes the
    /// opening of its channel webrtc-rs hangs: in up to one set-up of seven, here in none of hundreds.
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel();
        thread::Builder::new()
            .name("pxp-webrtc".to_owned())
            .spawn(move || runtime.block_on(closed))?;
        Ok(Self {
            runtime: handle,
            _open: Arc::new(open),
        })
    }

    /// What is polled under this guard spawns here.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// Runs a set-up here. Dropping the future lets it run on.
    pub(super) async fn run<T: Send + 'static>(
        self,
        setup: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let task = self.spawn(setup);
        task.await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use super::*;

    #[test]
    fn the_33rd_set_up_has_another_room() {
        let nursery = Nursery::default();
        let first = nursery.room().unwrap();
        let is_first = |room: Room| Arc::ptr_eq(&room._open, &first._open);
        for _ in 1..32 {
            assert!(is_first(nursery.room().unwrap()));
        }
        assert!(!is_first(nursery.room().unwrap()));
    }

    #[tokio::test]
    async fn what_a_set_up_leaves_behind_ends_with_its_room() {
        let nursery = Nursery::default();
        let room = nursery.room().unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        let setup = async move {
            tokio::spawn(async move {
                let _held = held;
                future::pending::<()>().await;
            });
            Err::<(), _>(io::Error::other("fails"))
        };
        room.clone().run(setup).await.unwrap_err();
        drop((room, nursery));
        let ended = tokio::time::timeout(Duration::from_secs(5), dropped).await;
        ended.expect("the task to end").unwrap_err();
    }

    #[tokio::test]
    async fn the_last_to_leave_may_be_inside() {
        let room = Nursery::default().room().unwrap();
        let inside = room.clone();
        let (left, last) = oneshot::channel::<()>();
        room.spawn(async move {
            let _ = last.await;
            drop(inside);
        });
        let (held, dropped) = oneshot::channel::<()>();
        room.spawn(async move {
            let _held = held;
            future::pending::<()>().await;
        });
        drop(room);
        left.send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), dropped).await;
        ended.expect("the task to end").unwrap_err();
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let room = Nursery::default().room().unwrap();
        room.run::<()>(async { panic!("in the engine") })
            .await
            .unwrap_err();
    }
}
