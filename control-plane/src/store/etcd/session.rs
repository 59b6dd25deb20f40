//! What this process holds in etcd for as long as it lives: one lease, renewed while etcd can be reached, and under it its
//! place among the replicas and the offices it leads. When the process dies, or can't reach a quorum for as long as the
//! lease lasts, all of it is free for others.

use super::cluster::{Cluster, led};
use super::keys::Keys;
use super::wire::{
    KvClient, LeaseClient, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, RangeRequest,
    TxnRequest, end_of, first_read, is_absent, put, read,
};
use crate::store::{Leadership, Replica, StoreError};
use bytes::Bytes;
use prometheus::IntGauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

/// How long a lease lasts without renewal: an office of a replica that died is free after it.
const LASTS: Duration = Duration::from_secs(10);
/// Between renewals.
const BEAT: Duration = Duration::from_millis(2_500);
/// Between tries to get an office another replica holds, and after a failed try.
const LOOK: Duration = Duration::from_secs(1);

/// A lease as this process knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Lease {
    pub(in crate::store) id: i64,
    /// Until when etcd keeps it at least, by this process's clock.
    pub(in crate::store) until: Instant,
}

/// The process's lease and what is under it.
pub(super) struct Session {
    cluster: Arc<Cluster>,
    keys: Keys,
    name: Bytes,
    /// The lease while there is one.
    pub(super) lease: watch::Receiver<Option<Lease>>,
    is_leader: IntGauge,
}

impl Session {
    /// Makes one, and the task that keeps its lease.
    pub(super) fn new(
        cluster: Arc<Cluster>,
        keys: Keys,
        replica: &Replica,
        is_leader: IntGauge,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, lease) = watch::channel(None);
        let place = keys.replica(&replica.name);
        let word = serde_json::to_vec(replica).unwrap_or_default().into();
        let keeper = Keeper {
            cluster: Arc::clone(&cluster),
            place,
            word,
            lease: sender,
            is_leader: is_leader.clone(),
        };
        let name = replica.name.clone().into();
        (Self { cluster, keys, name, lease, is_leader }, keeper.run())
    }

    /// The replicas whose leases last.
    pub(super) async fn replicas(&self) -> Result<Vec<Replica>, StoreError> {
        let prefix = self.keys.replicas();
        let range = RangeRequest { range_end: end_of(&prefix), key: prefix, ..RangeRequest::default() };
        let found = self.cluster.ask(|channel| {
            let request = led(range.clone());
            async move { KvClient::new(channel).range(request).await }
        });
        let found = found.await?.into_inner().kvs;
        // A later version may say more than this one understands.
        Ok(found.iter().filter_map(|kv| serde_json::from_slice(&kv.value).ok()).collect())
    }

    /// Waits until this process has the office.
    pub(super) async fn lead(&self, office: &str) -> Leadership {
        let key = self.keys.office(office);
        let mut lease = self.lease.clone();
        loop {
            let held = lease.wait_for(Option::is_some).await.map(|held| *held);
            let Ok(held) = held else {
                // The process is ending.
                return std::future::pending().await;
            };
            if let Some(Lease { id, .. }) = held {
                match self.claim(&key, id).await {
                    Ok(true) => {
                        self.is_leader.set(1);
                        return Leadership::under(lease, id);
                    }
                    Ok(false) => {}
                    Err(error) => tracing::debug!(%error, office, "an office could not be asked for"),
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the office is ours. May be repeated.
    async fn claim(&self, key: &Bytes, lease: i64) -> Result<bool, StoreError> {
        let claim = TxnRequest {
            compare: vec![is_absent(key.clone())],
            success: vec![put(key.clone(), self.name.clone(), lease)],
            failure: vec![read(key.clone())],
        };
        let answer = self.cluster.ask(|channel| {
            let request = led(claim.clone());
            async move { KvClient::new(channel).txn(request).await }
        });
        let answer = answer.await?.into_inner();
        Ok(answer.succeeded || first_read(answer).is_some_and(|there| there.lease == lease))
    }

    /// Gives up the lease and all that is under it, so that nobody has to wait for its end.
    pub(super) async fn close(&self) {
        let Some(Lease { id, .. }) = *self.lease.borrow() else { return };
        let revoked = self.cluster.ask(|channel| {
            let request = led(LeaseRevokeRequest { id });
            async move { LeaseClient::new(channel).lease_revoke(request).await }
        });
        if let Err(error) = revoked.await {
            tracing::debug!(%error, "the lease in etcd could not be given up; it ends by itself");
        }
    }
}

struct Keeper {
    cluster: Arc<Cluster>,
    /// The key of the replica, and what it says there.
    place: Bytes,
    word: Bytes,
    lease: watch::Sender<Option<Lease>>,
    is_leader: IntGauge,
}

impl Keeper {
    async fn run(self) {
        loop {
            match self.begin().await {
                Ok(lease) => {
                    self.lease.send_replace(Some(lease));
                    self.renew(lease).await;
                    self.lease.send_replace(None);
                    self.is_leader.set(0);
                    tracing::warn!("the lease in etcd is lost; asking for another");
                }
                Err(error) => {
                    tracing::debug!(%error, "no lease in etcd yet");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// A new lease with the replica's place under it.
    async fn begin(&self) -> Result<Lease, StoreError> {
        let asked = Instant::now();
        let seconds = i64::try_from(LASTS.as_secs()).unwrap_or(i64::MAX);
        let granted = self.cluster.ask(|channel| {
            let request = led(LeaseGrantRequest { ttl: seconds });
            async move { LeaseClient::new(channel).lease_grant(request).await }
        });
        let granted = granted.await?.into_inner();
        let enter = TxnRequest {
            compare: vec![],
            success: vec![put(self.place.clone(), self.word.clone(), granted.id)],
            failure: vec![],
        };
        let entered = self.cluster.ask(|channel| {
            let request = led(enter.clone());
            async move { KvClient::new(channel).txn(request).await }
        });
        entered.await?;
        Ok(Lease { id: granted.id, until: asked + seconds_of(granted.ttl) })
    }

    /// Renews the lease until it is lost.
    async fn renew(&self, mut lease: Lease) {
        loop {
            tokio::time::sleep(BEAT).await;
            let asked = Instant::now();
            let beat = self.cluster.ask(|channel| {
                let request = led(futures_util::stream::iter([LeaseKeepAliveRequest { id: lease.id }]));
                async move {
                    let mut answers = LeaseClient::new(channel).lease_keep_alive(request).await?.into_inner();
                    let answer = answers.message().await?;
                    answer.ok_or_else(|| Status::unavailable("no answer to a lease's renewal"))
                }
            });
            match beat.await {
                Ok(answer) if answer.ttl <= 0 => return,
                Ok(answer) => {
                    lease.until = asked + seconds_of(answer.ttl);
                    self.lease.send_replace(Some(lease));
                }
                Err(error) => tracing::debug!(%error, "the lease in etcd could not be renewed"),
            }
            if Instant::now() >= lease.until {
                return;
            }
        }
    }
}

fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
