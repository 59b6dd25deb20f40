//! Watches: every change after a revision, in order, without gap or repetition. A watch of the embedded store is a place
//! in the shared history and no queue of its own: a slow reader costs nothing and, once the history has moved past its
//! place, is told to list again.

use super::image::Image;
use super::{Event, Revision, StoreError};
use futures_util::future::BoxFuture;
use manifests::Kind;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// How many events one look at the history takes out at most.
const BATCH: usize = 256;

/// Where a watch's events come from; one implementation per store.
pub trait Feed: Send {
    /// The next events, at least one, waiting for them if need be. May be dropped and called again without loss.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the reader was too slow, [`StoreError::Closed`] when the store is.
    fn next(&mut self) -> BoxFuture<'_, Result<VecDeque<Event>, StoreError>>;

    /// The revision up to which everything that concerns this watch has been handed out by `next`.
    fn progress(&self) -> Revision;

    /// The next events if there are some now; empty if there are none.
    ///
    /// # Errors
    /// As for [`Feed::next`].
    fn ready(&mut self) -> Result<VecDeque<Event>, StoreError>;
}

/// A running watch.
pub struct Watch {
    feed: Box<dyn Feed>,
    pending: VecDeque<Event>,
    delivered: Revision,
}

impl Watch {
    /// A watch fed by `feed`, which starts after `from`.
    pub fn new(feed: Box<dyn Feed>, from: Revision) -> Self {
        Self { feed, pending: VecDeque::new(), delivered: from }
    }

    /// The next change, waiting for it.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when this reader was too slow and must list again; [`StoreError::Closed`] at the end.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.delivered = event.revision();
                return Ok(event);
            }
            self.pending = self.feed.next().await?;
        }
    }

    /// The next change if there is one now.
    ///
    /// # Errors
    /// As for [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<Event>, StoreError> {
        if self.pending.is_empty() {
            self.pending = self.feed.ready()?;
        }
        let event = self.pending.pop_front();
        if let Some(event) = &event {
            self.delivered = event.revision();
        }
        Ok(event)
    }

    /// The revision up to which every change that concerns this watch has been returned: where to resume.
    pub fn progress(&self) -> Revision {
        if self.pending.is_empty() { self.delivered.max(self.feed.progress()) } else { self.delivered }
    }
}

/// A place in the embedded store's history.
pub(super) struct Place {
    images: watch::Receiver<Arc<Image>>,
    kind: Option<Kind>,
    seen: Revision,
}

impl Place {
    pub(super) fn new(images: watch::Receiver<Arc<Image>>, kind: Option<Kind>, from: Revision) -> Self {
        Self { images, kind, seen: from }
    }
}

impl Feed for Place {
    fn next(&mut self) -> BoxFuture<'_, Result<VecDeque<Event>, StoreError>> {
        Box::pin(async move {
            loop {
                let events = self.ready()?;
                if !events.is_empty() {
                    return Ok(events);
                }
                self.images.changed().await.map_err(|_closed| StoreError::Closed)?;
            }
        })
    }

    fn progress(&self) -> Revision {
        self.seen
    }

    fn ready(&mut self) -> Result<VecDeque<Event>, StoreError> {
        let image = self.images.borrow_and_update().clone();
        let mut events = VecDeque::new();
        for event in image.after(self.seen)? {
            self.seen = event.revision();
            if self.kind.is_none_or(|kind| kind == event.stored().key.kind) {
                events.push_back(event.clone());
                if events.len() == BATCH {
                    break;
                }
            }
        }
        Ok(events)
    }
}
