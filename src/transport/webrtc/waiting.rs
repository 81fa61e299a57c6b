//! Who waits for what. It knows tasks, and nothing of what they are about.

use std::{
    collections::{HashMap, hash_map::Entry},
    task::Waker,
};

use super::endpoint::{ChannelId, Key};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    /// Something is for the transport.
    Transport,
    /// The state of a connection has changed.
    Changed(Key),
    Readable(Key, ChannelId),
    Writable(Key, ChannelId),
}

/// The most tasks that wait for one thing. A stream is read by one and written to by one; others may be left of tasks
/// that had it before.
const MAX_TASKS: usize = 4;

/// The tasks to be woken.
#[derive(Default)]
pub(super) struct Waiting {
    /// No entry is empty, and each goes by [`Self::wake`] or [`Self::forget`].
    tasks: HashMap<Cause, Vec<Waker>>,
    /// To be woken now.
    due: Vec<Waker>,
}

impl Waiting {
    pub(super) fn add(&mut self, cause: Cause, waker: &Waker) {
        let tasks = self.tasks.entry(cause).or_default();
        if tasks.iter().any(|task| task.will_wake(waker)) {
            return;
        }
        if tasks.len() >= MAX_TASKS {
            // Those who still wait come back.
            self.due.append(tasks);
        }
        tasks.push(waker.clone());
    }

    pub(super) fn wake(&mut self, cause: Cause) {
        if let Entry::Occupied(entry) = self.tasks.entry(cause) {
            self.due.append(&mut entry.remove());
        }
    }

    pub(super) fn wake_all(&mut self) {
        self.due
            .extend(self.tasks.drain().flat_map(|(_, tasks)| tasks));
    }

    /// Nobody waits for this any more.
    pub(super) fn forget(&mut self, cause: Cause) {
        self.tasks.remove(&cause);
    }

    /// The tasks to be woken, which may be done only when no lock is held.
    pub(super) fn take_due(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.due)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tasks(count: usize) -> Vec<Arc<Task>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    fn add(waiting: &mut Waiting, tasks: &[Arc<Task>]) {
        for task in tasks {
            waiting.add(Cause::Transport, &task.clone().into());
        }
    }

    fn woken(waiting: &mut Waiting, tasks: &[Arc<Task>]) -> Vec<usize> {
        waiting.take_due().into_iter().for_each(Waker::wake);
        let count = |task: &Arc<Task>| task.0.load(Ordering::Relaxed);
        tasks.iter().map(count).collect()
    }

    #[test]
    fn all_who_wait_are_woken_once() {
        let (mut waiting, tasks) = (Waiting::default(), tasks(3));
        add(&mut waiting, &tasks);
        add(&mut waiting, &tasks);
        assert_eq!(woken(&mut waiting, &tasks), [0, 0, 0]);
        waiting.wake(Cause::Transport);
        assert_eq!(woken(&mut waiting, &tasks), [1, 1, 1]);
        waiting.wake(Cause::Transport);
        assert_eq!(woken(&mut waiting, &tasks), [1, 1, 1]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn of_five_who_wait_the_first_four_are_woken_early() {
        for (count, early) in [(3, 0), (4, 0), (5, 4)] {
            let (mut waiting, tasks) = (Waiting::default(), tasks(count));
            add(&mut waiting, &tasks);
            let woken_early = woken(&mut waiting, &tasks).iter().sum::<usize>();
            assert_eq!(woken_early, early);
            waiting.wake(Cause::Transport);
            assert_eq!(woken(&mut waiting, &tasks), vec![1; count]);
            assert!(waiting.is_empty());
        }
    }

    #[test]
    fn who_is_forgotten_is_not_woken() {
        let (mut waiting, tasks) = (Waiting::default(), tasks(1));
        add(&mut waiting, &tasks);
        waiting.forget(Cause::Transport);
        waiting.wake(Cause::Transport);
        assert_eq!(woken(&mut waiting, &tasks), [0]);
        assert!(waiting.is_empty());
    }
}
