//! The API people and tools use: HTTPS with Kubernetes' conventions, so that `kubectl` and GitOps tools work unchanged.
//!
//! What enters is a request over a connection whose client proved who it is; what leaves is an answer in Kubernetes'
//! forms, or a `Status` that says what is wrong and how to mend it. Desired state goes to [`crate::store`]; nothing here
//! knows what a manifest does to traffic.
//!
//! ```text
//! serve ─> handle: authenticate ─> authorize ─> query, body ─> read | virtual_kind | write | delete | token | review | backup | discovery
//!                                                        │      └─> meta, patch, defaults, validate, fields: pure
//!                                                 represent         └─> store <─ namespaces, garbage (tasks)
//! ```

mod accept;
mod answer;
mod authenticate;
mod authorize;
mod backup;
pub(crate) mod birth;
mod body;
mod defaults;
mod delete;
mod discovery;
mod duplicates;
mod extent;
mod fields;
mod garbage;
mod handle;
mod meta;
mod namespaces;
mod openapi;
mod patch;
mod path;
mod protobuf;
mod query;
mod read;
mod represent;
mod review;
mod selector;
mod serve;
mod sidecars;
mod status;
mod token;
mod validate;
mod virtual_kind;
mod watch;
mod write;

#[cfg(test)]
mod tests;

pub use token::{MintRefusal, MintedToken, TokenAuthority};
pub use virtual_kind::proxies::{ProxyDirectory, ProxyListing};

use crate::store::{Expect, Key, Store, StoreError};
use manifests::{Kind, PERMANENT_NAMESPACES};
use mesh_process::DrainSignal;
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::RwLock;
use watch::WatchCount;

/// What the API works with.
pub struct ApiParts {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Who makes tokens and knows them.
    pub tokens: Arc<dyn TokenAuthority>,
    /// Who knows the connected sidecars.
    pub proxies: Arc<dyn ProxyDirectory>,
    /// When it drains, watches end and connections finish what they are doing.
    pub drain: DrainSignal,
    /// What `/readyz` answers, besides that the store can be read.
    pub is_ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The API server. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer(Arc<Api>);

/// Why the API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The store cannot be read or written.
    #[error("the namespaces `default` and `outrigger-system` could not be created")]
    Store(#[from] StoreError),
    /// The metrics are registered already.
    #[error("the API's metrics could not be registered")]
    Metrics(#[from] prometheus::Error),
}

/// What every request sees.
pub(crate) struct Api {
    store: Arc<dyn Store>,
    tokens: Arc<dyn TokenAuthority>,
    proxies: Arc<dyn ProxyDirectory>,
    drain: DrainSignal,
    is_ready: Arc<dyn Fn() -> bool + Send + Sync>,
    watches: WatchCount,
    requests: IntCounterVec,
    /// Read while an object is created in a namespace, written while a namespace starts to terminate: what is created
    /// after the mark is refused, what was created before is found and deleted. Held over one write to the store.
    namespaces: RwLock<()>,
}

impl ApiServer {
    /// Prepares the API: creates the namespaces the mesh needs.
    ///
    /// # Errors
    /// When the store cannot be written, or the metrics are registered already.
    pub async fn new(parts: ApiParts, registry: &Registry) -> Result<Self, ApiError> {
        let ApiParts { store, tokens, proxies, drain, is_ready } = parts;
        let requests = IntCounterVec::new(
            Opts::new(
                "outrigger_control_api_requests_total",
                "Requests the API answered; watches count when they start",
            ),
            &["verb", "kind", "code"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        let api = Api {
            store,
            tokens,
            proxies,
            drain,
            is_ready,
            watches: WatchCount::default(),
            requests,
            namespaces: RwLock::new(()),
        };
        for name in PERMANENT_NAMESPACES {
            let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            if meta::create(Kind::Namespace, &mut object, &birth::birth()).is_err() {
                continue;
            }
            match api.store.put(Key::new(Kind::Namespace, "", name), object, Expect::Absent).await {
                Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(Arc::new(api)))
    }
}
