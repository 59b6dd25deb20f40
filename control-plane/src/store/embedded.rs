//! The default store: one file, one writer thread, everything in memory for reads. Writers hand their change to the
//! thread and wait; the thread takes all that wait, decides them one after the other, and makes them durable with one
//! fsync (group commit), so throughput grows with the number of writers while each is acknowledged only when on disk.
//!
//! The writer thread is the only owner of the file and the only one that replaces the image. When a commit fails, its
//! writes are refused and the file is opened again before the next one, since only reading it back tells what became
//! durable; reads go on from the image meanwhile.

use super::disk::{self, Backing, Disk};
use super::image::{Change, Image};
use super::watch::Place;
use super::{
    Document, Expect, Key, Leadership, List, OpenError, Replica, Revision, Store, StoreError, Stored, Watch,
};
use futures_util::future::BoxFuture;
use manifests::Kind;
use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Writes that may wait for the writer thread; one more waits in its caller.
const QUEUE: usize = 1024;
/// Bytes of JSON in one commit: bounds the memory and the time of one fsync.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A store in one file. See the module.
pub struct EmbeddedStore {
    /// `None` only while dropping.
    writes: Option<mpsc::Sender<Write>>,
    images: watch::Receiver<Arc<Image>>,
    writer: Option<JoinHandle<()>>,
}

struct Write {
    key: Key,
    change: Change,
    expect: Expect,
    reply: oneshot::Sender<Result<Stored, StoreError>>,
}

struct Metrics {
    commits: IntCounter,
    seconds: Histogram,
}

impl Metrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        // From a fast local disk's fsync to one that makes people wait.
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
        let metrics = Self {
            commits: IntCounter::new(
                "outrigger_control_store_commits_total",
                "Commits to the store's file; one commit makes many writes durable",
            )?,
            seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "outrigger_control_store_commit_seconds",
                    "Time a commit to the store's file took, with its fsync",
                )
                .buckets(buckets),
            )?,
        };
        registry.register(Box::new(metrics.commits.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }
}

impl EmbeddedStore {
    /// Opens the file, creating it if it is not there, and reads it into memory. Blocks.
    ///
    /// # Errors
    /// When the file is in use, damaged, of a newer format, or cannot be opened.
    pub fn open(path: &Path, registry: &Registry) -> Result<Self, OpenError> {
        Self::with_backing(path, disk::file(path.to_owned()), registry)
    }

    fn with_backing(path: &Path, backing: Backing, registry: &Registry) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let metrics = Metrics::register(registry).map_err(OpenError::Metrics)?;
        let (writes, queue) = mpsc::channel(QUEUE);
        let (opened, wait) = std::sync::mpsc::sync_channel(1);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let path = path.to_owned();
                move || match Disk::open(&path, &backing) {
                    Err(error) => drop(opened.send(Err(error))),
                    Ok((disk, image)) => {
                        let (images, receiver) = watch::channel(Arc::new(image));
                        if opened.send(Ok(receiver)).is_ok() {
                            Writer { path, backing, disk: Some(disk), images, metrics }.run(queue);
                        }
                    }
                }
            })
            .map_err(io)?;
        // A writer that ends without an answer panicked inside the database: the file made it.
        let images = wait.recv().map_err(|_ended| OpenError::Damaged {
            path: path.to_owned(),
            detail: "reading it failed unexpectedly".into(),
        })??;
        Ok(Self { writes: Some(writes), images, writer: Some(writer) })
    }

    fn image(&self) -> Arc<Image> {
        self.images.borrow().clone()
    }

    async fn write(&self, key: Key, change: Change, expect: Expect) -> Result<Stored, StoreError> {
        // A write that cannot succeed is refused without waiting for the disk; the writer decides again.
        self.image().decide(key.clone(), change.clone(), expect)?;
        let (reply, wait) = oneshot::channel();
        let writes = self.writes.as_ref().ok_or(StoreError::Closed)?;
        let write = Write { key, change, expect, reply };
        writes.send(write).await.map_err(|_closed| StoreError::Closed)?;
        wait.await.map_err(|_closed| StoreError::Closed)?
    }
}

impl Drop for EmbeddedStore {
    /// Waits for the writes under way and releases the file.
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

impl Store for EmbeddedStore {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        let found = self.image().get(key).cloned();
        Box::pin(async { Ok(found) })
    }

    fn list<'a>(
        &'a self,
        kind: Option<Kind>,
        namespace: Option<&'a str>,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        let list = self.image().list(kind, namespace);
        Box::pin(async { Ok(list) })
    }

    fn list_at<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
        at: Revision,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        let list = self.image().list_at(kind, namespace, at);
        Box::pin(async { list })
    }

    fn put(&self, key: Key, object: Value, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>> {
        Box::pin(self.write(key, Change::Put(Document::of(&object)), expect))
    }

    fn delete(&self, key: Key, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>> {
        Box::pin(self.write(key, Change::Delete, expect))
    }

    fn watch(&self, kind: Option<Kind>, from: Revision) -> BoxFuture<'_, Result<Watch, StoreError>> {
        let started = self.image().reaches(from);
        let place = Place::new(self.images.clone(), kind, from);
        Box::pin(async move { started.map(|()| Watch::new(Box::new(place), from)) })
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let revision = self.image().revision();
        Box::pin(async move { Ok(revision) })
    }

    fn replica(&self) -> &str {
        ""
    }

    fn replicas(&self) -> BoxFuture<'_, Result<Vec<Replica>, StoreError>> {
        Box::pin(async { Ok(vec![Replica { name: String::new(), discovery: String::new() }]) })
    }

    fn lead(&self, _office: &'static str) -> BoxFuture<'_, Leadership> {
        Box::pin(async { Leadership::alone() })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The writer thread's own state.
struct Writer {
    path: PathBuf,
    backing: Backing,
    /// `None` after a failed commit, until the file is open again.
    disk: Option<Disk>,
    images: watch::Sender<Arc<Image>>,
    metrics: Metrics,
}

impl Writer {
    /// Commits batches until every sender is gone.
    fn run(mut self, mut queue: mpsc::Receiver<Write>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.change.len();
            let mut batch = vec![first];
            while bytes < BATCH_BYTES && batch.len() < QUEUE {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.change.len();
                batch.push(next);
            }
            self.commit(batch);
        }
    }

    fn commit(&mut self, batch: Vec<Write>) {
        if let Err(error) = self.reopen() {
            return refuse(batch.into_iter().map(|write| write.reply), &error);
        }
        let mut image = Image::clone(&self.images.borrow());
        let (mut events, mut replies) = (Vec::new(), Vec::new());
        for Write { key, change, expect, reply } in batch {
            match image.decide(key, change, expect) {
                Err(error) => answer(reply, Err(error)),
                Ok(event) => {
                    image.apply(event.clone());
                    replies.push(reply);
                    events.push(event);
                }
            }
        }
        if events.is_empty() {
            return;
        }
        let timer = self.metrics.seconds.start_timer();
        let committed =
            self.disk.as_ref().map_or(Err(redb::Error::DatabaseClosed), |disk| disk.commit(&events));
        timer.observe_duration();
        match committed {
            Ok(()) => {
                self.metrics.commits.inc();
                self.images.send_replace(Arc::new(image));
                for (event, reply) in events.into_iter().zip(replies) {
                    answer(reply, Ok(event.stored().clone()));
                }
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the store could not write");
                self.disk = None;
                refuse(replies, &disk::write_error(error));
            }
        }
    }

    /// After a failed commit: opens the file again and, should the failed writes be on disk after all, takes them over
    /// (watches list again, since how they came about is not in the history).
    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.disk.is_some() {
            return Ok(());
        }
        let (disk, image) = Disk::open(&self.path, &self.backing).map_err(|error| match error {
            OpenError::Io { source, .. } => disk::write_error(redb::Error::Io(source)),
            other @ (OpenError::Locked(_)
            | OpenError::Damaged { .. }
            | OpenError::Format { .. }
            | OpenError::Metrics(_)
            | OpenError::Unreachable(_)) => StoreError::Unavailable(other.to_string()),
        })?;
        if image.revision() != self.images.borrow().revision() {
            self.images.send_replace(Arc::new(image));
        }
        self.disk = Some(disk);
        Ok(())
    }
}

fn refuse(
    replies: impl IntoIterator<Item = oneshot::Sender<Result<Stored, StoreError>>>,
    error: &StoreError,
) {
    for reply in replies {
        answer(reply, Err(error.clone()));
    }
}

/// A caller that no longer waits needs no answer.
fn answer(reply: oneshot::Sender<Result<Stored, StoreError>>, result: Result<Stored, StoreError>) {
    drop(reply.send(result));
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
