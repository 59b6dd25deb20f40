//! The one task that follows the store: it keeps the typed objects, has `translate` compile what a change touches,
//! publishes snapshots for the streams, and hands what follows for other objects to the controllers. What enters is the
//! store's watch and the trust bundle; what leaves is [`Feed`].
//!
//! A lone change is published at once. In a storm, what arrives while a snapshot is made and for a moment after it is
//! published together.

mod compile;
mod view;

use crate::controller::{work::Work, writer};
use crate::snapshot::Snapshot;
use crate::store::{Revision, Store, StoreError};
use mesh_names::TrustDomain;
use mesh_process::Tasks;
use mesh_protocol::trust_bundle::TrustBundle;
use prometheus::IntGauge;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use view::View;

/// Least time between two publications: what a storm is cut into. A reader can't use more, and each wakes every stream.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(10);
/// Most events compiled into one snapshot, so that a storm can't keep everyone waiting.
const BATCH: usize = 4_096;
/// From a failed read of the store to the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What streams follow. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The newest snapshot; nothing until all of the store has been read once. Changes when a resource does.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The store revision that the newest snapshot reflects, also when it changed no resource.
    pub reflected: watch::Receiver<Revision>,
    /// That of them at which a resource last changed.
    pub changed: watch::Receiver<Revision>,
}

/// Starts the task, and the controllers that write what follows from its results. `bundle` is what sidecars are told
/// to trust, live.
pub fn spawn(
    tasks: &Tasks,
    store: Arc<dyn Store>,
    trust_domain: TrustDomain,
    bundle: watch::Receiver<TrustBundle>,
    snapshot_revision: IntGauge,
) -> Feed {
    let (snapshots, snapshots_out) = watch::channel(None);
    let (reflected, reflected_out) = watch::channel(Revision::default());
    let (changed, changed_out) = watch::channel(Revision::default());
    let work = Arc::new(Work::default());
    let (mut first, writes) = (snapshots_out.clone(), writer::run(Arc::clone(&store), Arc::clone(&work)));
    tasks.spawn("controllers", async move {
        // At a start every object may be derived anew, mostly as it is stored: sidecars wait for the snapshot first.
        if first.wait_for(Option::is_some).await.is_ok() {
            writes.await;
        }
    });
    let follower = Follower {
        store,
        trust_domain,
        bundle,
        work,
        snapshots,
        reflected,
        changed,
        revision: snapshot_revision,
    };
    tasks.spawn("index", follower.run());
    Feed { snapshots: snapshots_out, reflected: reflected_out, changed: changed_out }
}

struct Follower {
    store: Arc<dyn Store>,
    trust_domain: TrustDomain,
    bundle: watch::Receiver<TrustBundle>,
    work: Arc<Work>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    reflected: watch::Sender<Revision>,
    changed: watch::Sender<Revision>,
    revision: IntGauge,
}

impl Follower {
    async fn run(mut self) {
        loop {
            match self.follow().await {
                Ok(()) | Err(StoreError::Closed) => return,
                Err(error @ StoreError::Compacted { .. }) => {
                    tracing::info!(%error, "the index fell behind the store; reading all of it");
                }
                Err(error) => {
                    tracing::warn!(%error, "the store could not be read; serving what is known and trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Reads all of the store, then every change; returns only when that is not possible any more.
    async fn follow(&mut self) -> Result<(), StoreError> {
        let list = self.store.list(None, None).await?;
        let mut view = View::new(self.trust_domain.clone());
        view.set_bundle(&self.bundle.borrow_and_update());
        let mut dirty = view.read(&list.items);
        view.compile(std::mem::take(&mut dirty), &self.work, Instant::now());
        self.publish(&mut view, list.revision);
        let mut watch = self.store.watch(None, list.revision).await?;
        let mut published = Instant::now();
        let mut has_issuer = true;
        loop {
            tokio::select! {
                event = watch.next() => view.apply(&event?, &mut dirty),
                changed = self.bundle.changed(), if has_issuer => match changed {
                    Ok(()) => view.set_bundle(&self.bundle.borrow_and_update()),
                    // The last one stays in force.
                    Err(_) => has_issuer = false,
                },
            }
            // A lone change finds this moment long past.
            tokio::time::sleep_until(published + PUBLISH_INTERVAL).await;
            let mut taken = 0;
            while taken < BATCH
                && let Some(event) = watch.try_next()?
            {
                view.apply(&event, &mut dirty);
                taken += 1;
            }
            view.compile(std::mem::take(&mut dirty), &self.work, Instant::now());
            self.publish(&mut view, watch.progress());
            published = Instant::now();
        }
    }

    fn publish(&self, view: &mut View, revision: Revision) {
        let next = view.snapshot(revision);
        let is_news = self.snapshots.send_if_modified(|current| {
            let is_news = current.as_ref().is_none_or(|current| next.changed_since(current).next().is_some());
            *current = Some(next);
            is_news
        });
        if is_news {
            self.changed.send_replace(revision);
        }
        self.revision.set(i64::try_from(revision.0).unwrap_or(i64::MAX));
        // After the snapshot: whoever waits for a revision finds it there.
        self.reflected.send_if_modified(|current| std::mem::replace(current, revision) != revision);
    }
}

/// The dirty keys of a batch.
type DirtySet = BTreeSet<crate::translate::Dirty>;

#[cfg(test)]
mod tests;
