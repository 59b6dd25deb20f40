//! Whom to trust: as sidecars are told it over discovery, and followed as its file changes.

use super::Authority;
use mesh_mtls::Identity;
use mesh_protocol::trust_bundle::TrustBundle;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// From a look at the file to the next.
const LOOK: Duration = Duration::from_secs(1);

/// Whom to trust in this authority's trust domain.
pub fn trust_bundle(authority: &Authority) -> TrustBundle {
    TrustBundle {
        trust_domain: authority.trust_domain().clone(),
        certificates: authority.trust_bundle().iter().map(|der| der.clone().into()).collect(),
    }
}

/// Looks at `ca.crt` in `data_dir` for ever. Roots that are added or taken away are trusted by our listeners and told to
/// every sidecar at once. A file that can't be used changes nothing, and is complained about once.
pub async fn keep_current(
    authority: Arc<Authority>,
    data_dir: PathBuf,
    identity: Identity,
    told: watch::Sender<TrustBundle>,
) {
    let mut is_bad = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let (reading, place) = (Arc::clone(&authority), data_dir.clone());
        let read = tokio::task::spawn_blocking(move || reading.reread_roots(&place, SystemTime::now())).await;
        match read {
            Ok(Ok(is_news)) => {
                is_bad = false;
                if is_news {
                    announce(&authority, &identity, &told);
                }
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut is_bad, true) {
                    tracing::error!(%error, "the trusted roots stay as they were");
                }
            }
            // The process is ending.
            Err(_ended) => return,
        }
    }
}

fn announce(authority: &Authority, identity: &Identity, told: &watch::Sender<TrustBundle>) {
    match mesh_mtls::TrustBundle::from_der(authority.trust_bundle().iter().cloned()) {
        Ok(bundle) => {
            identity.set_trust_bundle(bundle);
            tracing::info!(roots = authority.trust_bundle().len(), "the trusted roots have changed");
            told.send_replace(trust_bundle(authority));
        }
        Err(error) => tracing::error!(%error, "the new roots can't be used to verify anybody"),
    }
}
