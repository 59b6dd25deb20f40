//! What this control plane has to go on from: the authority, the secret of tokens, the store.
//!
//! Enters: the locked data directory, and the settings. Leaves: its contents, made on the first start, and the store, which
//! is a file in it or an etcd cluster. Never here: what they are used for.

use super::AppError;
use crate::bootstrap::{DataDirectory, Settings, StoreKind};
use crate::ca::{Authority, Tokens, authority, token};
use crate::store::{Disagreement, EmbeddedStore, EtcdStore, MeshRecord, Replica, Store};
use mesh_process::Tasks;
use prometheus::Registry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// What is kept, open. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) authority: Arc<Authority>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) store: Arc<dyn Store>,
}

impl Kept {
    /// Opens everything. Blocks. `discovery` is where sidecars reach this process; the store's own tasks are of `tasks`.
    pub(crate) async fn open(
        directory: &DataDirectory,
        settings: &Settings,
        families: &Registry,
        discovery: SocketAddr,
        tasks: &Tasks,
    ) -> Result<Self, AppError> {
        match settings.store {
            StoreKind::Embedded => {
                let (authority, tokens) = keys(directory.path(), settings)?;
                let store = Arc::new(EmbeddedStore::open(&directory.store(), families)?);
                Ok(Self { authority, tokens, store })
            }
            StoreKind::Etcd => {
                let discovery = settings.replica_addr.unwrap_or_else(|| reachable(settings, discovery));
                let name = directory.replica_name().map_err(AppError::ReplicaName)?;
                let replica = Replica { name, discovery: discovery.to_string() };
                let store = EtcdStore::open(&settings.etcd(), &replica, tasks, families).await?;
                let has_mesh = store.has_mesh().await.map_err(Disagreement::Store)?;
                // Keys of its own would be another mesh's: none are made.
                let lacks = |file: &str| has_mesh && !directory.path().join(file).exists();
                if lacks(authority::KEY_FILE) {
                    return Err(Disagreement::Authority.into());
                }
                if lacks(token::SECRET_FILE) {
                    return Err(Disagreement::Tokens.into());
                }
                let (authority, tokens) = keys(directory.path(), settings)?;
                let ours = MeshRecord {
                    trust_domain: settings.trust_domain.to_string(),
                    roots: authority.fingerprints(),
                    token_secret: tokens.fingerprint().to_owned(),
                };
                store.agree(&ours).await?;
                tracing::info!(
                    replica = replica.name,
                    reached_at = replica.discovery,
                    "this control plane shares its store"
                );
                let store = Arc::new(store);
                tasks.spawn("etcd compaction", Arc::clone(&store).compact());
                Ok(Self { authority, tokens, store })
            }
        }
    }
}

fn keys(directory: &Path, settings: &Settings) -> Result<(Arc<Authority>, Arc<Tokens>), AppError> {
    let authority = Authority::open(directory, &settings.trust_domain, SystemTime::now())?;
    let tokens = Tokens::open(directory, &settings.trust_domain)?;
    Ok((Arc::new(authority), Arc::new(tokens)))
}

/// Where others reach a listener: on all addresses means the one this machine has on the way to etcd.
fn reachable(settings: &Settings, listener: SocketAddr) -> SocketAddr {
    if !listener.ip().is_unspecified() {
        return listener;
    }
    let here = settings.etcd_endpoints.iter().find_map(|endpoint| {
        let unspecified: IpAddr =
            if listener.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Nothing is sent: connecting a datagram socket only asks the kernel for the way.
        let socket = UdpSocket::bind((unspecified, 0)).ok()?;
        socket.connect(endpoint.place()).ok()?;
        Some(socket.local_addr().ok()?.ip().to_canonical())
    });
    SocketAddr::new(here.unwrap_or(listener.ip()), listener.port())
}
