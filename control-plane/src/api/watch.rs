//! Watches: a stream of JSON events, one per line. What enters is the store's watch; what leaves is what the client
//! selected, in the form it asked for, with bookmarks. The stream ends at the client's time limit, when the server
//! drains, or with an `ERROR` event when the client was too slow.

use super::query::Query;
use super::represent::{self, View};
use super::status::Failure;
use crate::store::{Event, Revision, StoreError, Stored, Watch};
use bytes::Bytes;
use futures_core::Stream;
use mesh_process::DrainSignal;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Most watches of one user: a GitOps tool needs about one per kind, a hundred people need a few each.
pub(crate) const WATCHES_PER_USER: usize = 512;
/// How long a watch lives when the client does not say: long, but not until somebody asks why it hangs.
const LIFE: Duration = Duration::from_secs(45 * 60);
/// Between bookmarks, as Kubernetes.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// Events are sent together up to this many bytes.
const FRAME_BYTES: usize = 32 * 1024;

/// Counts the watches of each user.
#[derive(Debug, Clone, Default)]
pub(crate) struct WatchCount(Arc<Mutex<HashMap<String, usize>>>);

/// One counted watch; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    user: String,
    count: WatchCount,
}

impl WatchCount {
    /// Counts one more watch of the user, or refuses.
    pub(crate) fn enter(&self, user: &str) -> Result<Counted, Failure> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = users.entry(user.to_owned()).or_default();
        if *open >= WATCHES_PER_USER {
            return Err(Failure::too_many_watches(WATCHES_PER_USER));
        }
        *open += 1;
        Ok(Counted { user: user.to_owned(), count: self.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut users = self.count.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = users.get_mut(&self.user) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                users.remove(&self.user);
            }
        }
    }
}

/// A watch on its way to a client.
pub(crate) struct Broadcast {
    watch: Watch,
    query: Query,
    namespace: Option<String>,
    view: View,
    /// What was there when the watch began, still to be told.
    initial: std::vec::IntoIter<Stored>,
    initial_end: Option<Revision>,
    is_first: bool,
    is_over: bool,
    end: Instant,
    bookmarks: Interval,
    drain: DrainSignal,
    _counted: Counted,
}

/// What a watch tells first.
pub(crate) struct Start {
    /// Objects told as `ADDED`.
    pub(crate) initial: Vec<Stored>,
    /// The revision at which they are all there is, if the client wants to be told.
    pub(crate) initial_end: Option<Revision>,
}

impl Broadcast {
    pub(crate) fn new(
        watch: Watch,
        query: Query,
        namespace: Option<String>,
        view: View,
        start: Start,
        drain: DrainSignal,
        counted: Counted,
    ) -> Self {
        let mut bookmarks = tokio::time::interval_at(Instant::now() + BOOKMARK_PERIOD, BOOKMARK_PERIOD);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            watch,
            namespace,
            view,
            initial: start.initial.into_iter(),
            initial_end: start.initial_end,
            is_first: true,
            is_over: false,
            end: Instant::now() + query.timeout.unwrap_or(LIFE),
            query,
            bookmarks,
            drain,
            _counted: counted,
        }
    }

    /// The events as frames of a body.
    pub(crate) fn frames(self) -> impl Stream<Item = Bytes> + Send {
        futures_util::stream::unfold(self, |mut broadcast| async {
            let frame = broadcast.frame().await?;
            Some((frame, broadcast))
        })
    }

    /// The next frame: as many events as there are now, up to a size.
    async fn frame(&mut self) -> Option<Bytes> {
        let mut frame = Vec::new();
        self.tell_initial(&mut frame);
        while frame.is_empty() {
            if self.is_over {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.end) => self.is_over = true,
                () = self.drain.draining() => self.is_over = true,
                _ = self.bookmarks.tick(), if self.query.bookmarks => {
                    let bookmark = self.view.bookmark(self.watch.progress(), None);
                    line(&mut frame, "BOOKMARK", &bookmark);
                }
                event = self.watch.next() => self.tell_result(&mut frame, event),
            }
        }
        while !self.is_over && frame.len() < FRAME_BYTES {
            match self.watch.try_next() {
                Ok(None) => break,
                Ok(Some(event)) => self.tell(&mut frame, event),
                Err(error) => self.tell_result(&mut frame, Err(error)),
            }
        }
        Some(frame.into())
    }

    fn tell_initial(&mut self, frame: &mut Vec<u8>) {
        while frame.len() < FRAME_BYTES {
            let Some(stored) = self.initial.next() else {
                if let Some(revision) = self.initial_end.take() {
                    let annotations = json!({"k8s.io/initial-events-end": "true"});
                    line(frame, "BOOKMARK", &self.view.bookmark(revision, Some(annotations)));
                }
                return;
            };
            self.tell_object(frame, "ADDED", &stored);
        }
    }

    fn tell_result(&mut self, frame: &mut Vec<u8>, event: Result<Event, StoreError>) {
        match event {
            Ok(event) => self.tell(frame, event),
            Err(error) => {
                line(frame, "ERROR", &Failure::from(error).to_json());
                self.is_over = true;
            }
        }
    }

    /// Tells a change as it looks through the selectors: an object that starts to match is added, one that no longer
    /// does is deleted.
    fn tell(&mut self, frame: &mut Vec<u8>, event: Event) {
        let (before, after) = match &event {
            Event::Put { stored, previous } => {
                (previous.as_ref().is_some_and(|previous| self.selects(previous)), self.selects(stored))
            }
            Event::Deleted { stored, .. } => (self.selects(stored), false),
        };
        let word = match (before, after) {
            (false, false) => return,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        self.tell_object(frame, word, event.stored());
    }

    fn tell_object(&mut self, frame: &mut Vec<u8>, word: &str, stored: &Stored) {
        let object = self.view.event(represent::object(stored), self.is_first);
        self.is_first = false;
        line(frame, word, &object);
    }

    fn selects(&self, stored: &Stored) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == stored.key.namespace)
            && self.query.selects(&stored.object)
    }
}

fn line(frame: &mut Vec<u8>, word: &str, object: &Value) {
    frame.extend_from_slice(json!({"type": word, "object": object}).to_string().as_bytes());
    frame.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_watches_and_no_more() {
        let count = WatchCount::default();
        let open: Vec<_> = (0..WATCHES_PER_USER).map(|_| count.enter("ann").unwrap()).collect();
        assert_eq!(count.enter("ann").unwrap_err().code, http::StatusCode::TOO_MANY_REQUESTS);
        assert!(count.enter("bob").is_ok(), "others are not affected");
        drop(open);
        assert!(count.enter("ann").is_ok());
    }
}
