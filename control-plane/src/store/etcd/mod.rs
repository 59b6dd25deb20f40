//! The store for several control planes: an etcd cluster, which any of them may write, and of which each keeps a mirror in
//! memory. A write is a transaction of etcd, acknowledged when a quorum has it on disk. A read asks a quorum for the
//! revision of the last write, waits until the mirror has come there, and is answered from it: so it sees every write
//! acknowledged before, by whichever replica, and costs etcd one small question that concurrent readers share. Watches
//! are places in the mirror's history, as with the embedded store, and go on while etcd is away.
//!
//! ```text
//! put/delete ──> write (pure) ──> cluster ──txn──> etcd ──watch──> mirror ──> image + history ──> watches
//! get/list   ──> latest ────────> cluster ──get──> etcd               └─ wait for that revision ──> reply
//! lead       ──> session: one lease a process ──> etcd
//! ```
//!
//! | room | what it does |
//! | --- | --- |
//! | [`cluster`] | the members as one thing to call |
//! | `endpoint` | a connection to one of them |
//! | `keys`, `wire`, `write` | etcd's keys, messages and transactions: pure |
//! | `mirror` | the image in memory |
//! | `latest` | the revision of the last write |
//! | `metrics` | what is counted |
//! | `session` | what this process holds for as long as it lives: its place among the replicas, and offices |
//! | `agreement` | what all replicas must have in common |

mod agreement;
mod cluster;
mod endpoint;
mod keys;
mod latest;
mod metrics;
mod mirror;
mod session;
mod wire;
mod write;

pub use agreement::{Disagreement, MeshRecord};
pub use cluster::EtcdOptions;
pub use endpoint::{EtcdEndpoint, EtcdTls};
pub(super) use session::Lease;

use super::image::Image;
use super::watch::Place;
use super::{
    Document, Expect, Key, Leadership, List, OpenError, Replica, Revision, Store, StoreError, Stored, Watch,
};
use cluster::{Cluster, led};
use futures_util::future::BoxFuture;
use keys::Keys;
use latest::Latest;
use manifests::Kind;
use mesh_process::Tasks;
use metrics::Metrics;
use prometheus::Registry;
use serde_json::Value;
use session::Session;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::{CompactionRequest, KvClient, number};
use write::Step;

/// From the start until a quorum of etcd must have been read.
const OPENING: Duration = Duration::from_secs(30);
/// From a failed try to the next.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long a read waits for the mirror.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far back etcd's own history is kept, as Kubernetes does: a mirror that was cut off for longer reads all anew.
const COMPACTION: Duration = Duration::from_secs(5 * 60);

/// A store in etcd. See the module.
pub struct EtcdStore {
    cluster: Arc<Cluster>,
    keys: Keys,
    images: watch::Receiver<Arc<Image>>,
    latest: Latest,
    session: Session,
    name: String,
}

impl EtcdStore {
    /// Reads all of etcd into memory, and starts to follow it and to be known there as `replica`. The tasks end with
    /// `tasks`.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] when no quorum answers in half a minute.
    pub async fn open(
        options: &EtcdOptions,
        replica: &Replica,
        tasks: &Tasks,
        families: &Registry,
    ) -> Result<Self, OpenError> {
        let metrics = Metrics::register(families).map_err(OpenError::Metrics)?;
        let cluster = Arc::new(Cluster::new(options, metrics.clone()));
        let keys = Keys::new(&options.prefix);
        let deadline = Instant::now() + OPENING;
        let image = loop {
            match mirror::load(&cluster, &keys).await {
                Ok(image) => break image,
                Err(error) if Instant::now() >= deadline => {
                    return Err(OpenError::Unreachable(error.to_string()));
                }
                Err(error) => {
                    tracing::warn!(%error, "etcd cannot be read yet; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        };
        let (sender, images) = watch::channel(Arc::new(image));
        tasks.spawn(
            "etcd mirror",
            mirror::keep(Arc::clone(&cluster), keys.clone(), sender, metrics.is_following.clone()),
        );
        let (latest, asking) = Latest::new(Arc::clone(&cluster), keys.objects());
        tasks.spawn("etcd reads", asking);
        let (session, living) = Session::new(Arc::clone(&cluster), keys.clone(), replica, metrics.is_leader);
        tasks.spawn("etcd lease", living);
        let store = Self { cluster, keys, images, latest, session, name: replica.name.clone() };
        Ok(store)
    }

    /// Has etcd forget its history up to a few minutes ago, every few minutes, until the process ends. One replica should.
    pub async fn compact(self: Arc<Self>) {
        let mut then = self.images.borrow().revision();
        loop {
            tokio::time::sleep(COMPACTION).await;
            let compacted = self.compact_to(then).await;
            if let Err(error) = compacted {
                tracing::warn!(%error, "etcd's history could not be compacted");
            }
            then = self.images.borrow().revision();
        }
    }

    async fn compact_to(&self, revision: Revision) -> Result<(), StoreError> {
        if revision == Revision::default() {
            return Ok(());
        }
        let compacted = self.cluster.ask(|channel| {
            let request = led(CompactionRequest { revision: number(revision) });
            // Another replica, or somebody, may have been there before.
            async move {
                match KvClient::new(channel).compact(request).await {
                    Err(status) if status.message().contains("has been compacted") => Ok(()),
                    answer => answer.map(drop),
                }
            }
        });
        compacted.await
    }

    /// The mirror, when it has every write that was acknowledged before.
    async fn image(&self) -> Result<Arc<Image>, StoreError> {
        let latest = self.latest.revision().await?;
        mirror::caught_up(&self.images, latest, PATIENCE).await
    }

    async fn write(&self, key: Key, step: Step, expect: Expect) -> Result<Stored, StoreError> {
        let transaction = write::transaction(&self.keys, &key, &step, expect);
        let answer = self.cluster.change(|channel| {
            let request = led(transaction.clone());
            let mut client = KvClient::new(channel).max_decoding_message_size(cluster::ANSWER_MAX);
            async move { client.txn(request).await }
        });
        write::outcome(key, step, expect, answer.await?.into_inner())
    }
}

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(async move { Ok(self.image().await?.get(key).cloned()) })
    }

    fn list<'a>(
        &'a self,
        kind: Option<Kind>,
        namespace: Option<&'a str>,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move { Ok(self.image().await?.list(kind, namespace)) })
    }

    fn list_at<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
        at: Revision,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move { self.image().await?.list_at(kind, namespace, at) })
    }

    fn put(&self, key: Key, object: Value, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>> {
        Box::pin(async move { self.write(key, Step::Put(Document::of(&object)), expect).await })
    }

    fn delete(&self, key: Key, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>> {
        Box::pin(self.write(key, Step::Delete, expect))
    }

    fn watch(&self, kind: Option<Kind>, from: Revision) -> BoxFuture<'_, Result<Watch, StoreError>> {
        Box::pin(async move {
            let behind = self.images.borrow().revision() < from;
            // Another replica may have told the client of a write this one has not heard of yet.
            let image = if behind { self.image().await? } else { Arc::clone(&self.images.borrow()) };
            image.reaches(from)?;
            Ok(Watch::new(Box::new(Place::new(self.images.clone(), kind, from)), from))
        })
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move { Ok(self.image().await?.revision()) })
    }

    fn replica(&self) -> &str {
        &self.name
    }

    fn replicas(&self) -> BoxFuture<'_, Result<Vec<Replica>, StoreError>> {
        Box::pin(self.session.replicas())
    }

    fn lead(&self, office: &'static str) -> BoxFuture<'_, Leadership> {
        Box::pin(self.session.lead(office))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.session.close())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
