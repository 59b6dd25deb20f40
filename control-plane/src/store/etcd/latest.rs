//! Which write was the last, by the word of a quorum: what makes a read on one replica see every write that was
//! acknowledged on any of them. One question answers all who ask while another is under way, so that many readers cost
//! etcd no more than a few.

use super::cluster::{Cluster, led};
use super::wire::{KvClient, RangeRequest, revision};
use crate::store::{Revision, StoreError};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Readers that wait for the next question; one more waits in its caller.
const WAITING: usize = 4096;

/// Asks for the revision of the last write. Cheap to clone.
#[derive(Clone)]
pub(super) struct Latest {
    readers: mpsc::Sender<Reader>,
}

type Reader = oneshot::Sender<Result<Revision, StoreError>>;

impl Latest {
    /// Makes one, and the task that asks.
    pub(super) fn new(cluster: Arc<Cluster>, key: Bytes) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (readers, waiting) = mpsc::channel(WAITING);
        (Self { readers }, serve(cluster, key, waiting))
    }

    /// The revision of a write after which there was none when this was called.
    ///
    /// # Errors
    /// When no quorum of etcd can be asked.
    pub(super) async fn revision(&self) -> Result<Revision, StoreError> {
        let (reader, answer) = oneshot::channel();
        self.readers.send(reader).await.map_err(|_closed| StoreError::Closed)?;
        answer.await.map_err(|_closed| StoreError::Closed)?
    }
}

async fn serve(cluster: Arc<Cluster>, key: Bytes, mut waiting: mpsc::Receiver<Reader>) {
    while let Some(first) = waiting.recv().await {
        let mut readers = vec![first];
        while let Ok(next) = waiting.try_recv() {
            readers.push(next);
        }
        let answer = ask(&cluster, &key).await;
        for reader in readers {
            // Who no longer waits needs no answer.
            drop(reader.send(answer.clone()));
        }
    }
}

async fn ask(cluster: &Cluster, key: &Bytes) -> Result<Revision, StoreError> {
    let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let found = cluster.ask(|channel| {
        let request = led(range.clone());
        async move { KvClient::new(channel).range(request).await }
    });
    let last = found.await?.into_inner().kvs.into_iter().next();
    Ok(last.map_or(Revision::default(), |last| revision(last.mod_revision)))
}
