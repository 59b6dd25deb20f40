//! Supervised tasks: each has a name, a panic is noticed, and shutdown waits for all of them.
//!
//! Enters: futures with a name. Leaves: the names of those still running when the grace time is over. Never here: what
//! ends a task; that is the drain signal or its handle.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

/// The tasks of a process. Clones add to the same set.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    board: Arc<Board>,
}

#[derive(Debug)]
struct Board {
    /// Who runs, by a number that is never used twice. Held for one insertion or removal, never over an await.
    running: Mutex<Roll>,
    panicked: watch::Sender<Option<&'static str>>,
}

#[derive(Debug, Default)]
struct Roll {
    next: u64,
    tasks: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    /// Missing for the moment between the start of the task and its handle.
    handle: Option<AbortHandle>,
}

impl Board {
    fn running(&self) -> MutexGuard<'_, Roll> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task off the board however it ends: done, aborted or panicking.
struct Presence {
    number: u64,
    name: &'static str,
    board: Arc<Board>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.board.running().tasks.remove(&self.number);
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
            self.board.panicked.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert(self.name);
                is_first
            });
        }
    }
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        let board = Board { running: Mutex::default(), panicked: watch::Sender::new(None) };
        Self { tracker: TaskTracker::new(), board: Arc::new(board) }
    }

    /// Starts a task on the current runtime. Dropping the handle leaves it running.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let presence = self.presence(name);
        let number = presence.number;
        // Boxed without its type: the runtime's part of a task exists once, not for each kind, and a future of many KiB is
        // not moved through it.
        let future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(future);
        let task = self.tracker.spawn(async move {
            let _presence = presence;
            future.await;
        });
        self.enrol(number, task.abort_handle())
    }

    /// Starts a task that stays on this thread: on a `LocalRuntime` or inside a `LocalSet`.
    ///
    /// # Panics
    /// When called elsewhere, as `tokio::task::spawn_local` does.
    pub fn spawn_local(&self, name: &'static str, future: impl Future<Output = ()> + 'static) -> AbortHandle {
        let presence = self.presence(name);
        let number = presence.number;
        let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(future);
        let task = self.tracker.spawn_local(async move {
            let _presence = presence;
            future.await;
        });
        self.enrol(number, task.abort_handle())
    }

    /// The names of the tasks that run now, oldest first.
    pub fn running(&self) -> Vec<&'static str> {
        self.board.running().tasks.values().map(|entry| entry.name).collect()
    }

    /// Waits until a task panics and returns its name. A process that cannot do without any of its tasks stops then.
    ///
    /// # Cancel safety
    /// Safe: the first name is remembered.
    pub async fn panicked(&self) -> &'static str {
        let mut receiver = self.board.panicked.subscribe();
        let name = receiver.wait_for(Option::is_some).await.ok().and_then(|name| *name);
        match name {
            Some(name) => name,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Waits until every task has ended, at most `grace` from now. Returns the names of those that still run: they
    /// are left running, and end with the runtime.
    pub async fn join(self, grace: Duration) -> Vec<&'static str> {
        self.tracker.close();
        match tokio::time::timeout(grace, self.tracker.wait()).await {
            Ok(()) => Vec::new(),
            Err(_elapsed) => self.running(),
        }
    }

    /// Stops every task of the set where it waits. For tasks without an end of their own; [`join`](Self::join) afterwards
    /// to know that they are gone.
    pub fn abort(&self) {
        let handles: Vec<AbortHandle> =
            self.board.running().tasks.values().filter_map(|entry| entry.handle.clone()).collect();
        handles.iter().for_each(AbortHandle::abort);
    }

    fn enrol(&self, number: u64, handle: AbortHandle) -> AbortHandle {
        // The task may have ended already, on another thread.
        if let Some(entry) = self.board.running().tasks.get_mut(&number) {
            entry.handle = Some(handle.clone());
        }
        handle
    }

    fn presence(&self, name: &'static str) -> Presence {
        let mut running = self.board.running();
        let number = running.next;
        running.next += 1;
        running.tasks.insert(number, Entry { name, handle: None });
        drop(running);
        Presence { number, name, board: Arc::clone(&self.board) }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn join_waits_for_tasks_that_end_in_time() {
        let tasks = Tasks::new();
        tasks.spawn("short", tokio::time::sleep(GRACE / 2));
        assert_eq!(tasks.join(GRACE).await, Vec::<&str>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn join_names_the_tasks_that_outlive_the_grace_time() {
        let tasks = Tasks::new();
        tasks.spawn("short", async {});
        tasks.spawn("stuck", std::future::pending());
        assert_eq!(tasks.join(GRACE).await, ["stuck"]);
    }

    #[tokio::test]
    async fn an_aborted_task_is_off_the_board() {
        let tasks = Tasks::new();
        let handle = tasks.spawn("aborted", std::future::pending());
        handle.abort();
        assert!(tasks.clone().join(GRACE).await.is_empty());
        assert!(tasks.running().is_empty());
    }

    #[tokio::test]
    async fn aborting_ends_all_tasks_of_the_set() {
        let tasks = Tasks::new();
        tasks.spawn("endless", std::future::pending());
        tasks.spawn("endless too", std::future::pending());
        tasks.abort();
        assert!(tasks.join(GRACE).await.is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_reported_by_name_and_counts_as_ended() {
        let tasks = Tasks::new();
        tasks.spawn("faulty", async { panic!("on purpose") });
        assert_eq!(tasks.panicked().await, "faulty");
        assert!(tasks.join(GRACE).await.is_empty());
    }
}
