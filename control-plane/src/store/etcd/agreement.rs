//! What all replicas must have in common: the trust domain, an authority, and the secret of tokens. Keys never leave the
//! machines by themselves: what is kept in etcd is fingerprints, and a replica that has other keys is told which files to
//! copy from one that has them.

use super::EtcdStore;
use super::cluster::led;
use super::wire::{KvClient, TxnRequest, first_read, is_absent, put, read};
use crate::store::StoreError;
use serde::{Deserialize, Serialize};

/// What one replica has, as it is compared with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshRecord {
    /// The trust domain.
    pub trust_domain: String,
    /// The SHA-256 of each trusted root's certificate, in hex.
    pub roots: Vec<String>,
    /// The SHA-256 of the secret that signs tokens, in hex. The secret is random and of 32 bytes: its hash tells nothing.
    pub token_secret: String,
}

/// Why a replica can't serve this mesh.
#[derive(Debug, thiserror::Error)]
pub enum Disagreement {
    /// Another trust domain.
    #[error(
        "the mesh in etcd has the trust domain {theirs}, not {ours}: start with --trust-domain {theirs}, or with another --etcd-prefix"
    )]
    TrustDomain {
        /// The mesh's.
        theirs: String,
        /// This replica's.
        ours: String,
    },
    /// No root in common.
    #[error(
        "the mesh in etcd has another certificate authority: copy ca.key, ca.crt and join-token.key from the data directory of a replica into this one's, and start again (or begin another mesh with another --etcd-prefix)"
    )]
    Authority,
    /// Other tokens.
    #[error(
        "the mesh in etcd has another secret for tokens: copy join-token.key from the data directory of a replica into this one's, and start again"
    )]
    Tokens,
    /// etcd can't be read or written.
    #[error("what replicas must agree on could not be read from etcd: {0}")]
    Store(#[from] StoreError),
    /// It is there, and is no record.
    #[error("{key} in etcd is not what this version writes there: {detail}")]
    Unreadable {
        /// Where.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl MeshRecord {
    /// Whether replicas with these two serve one mesh.
    fn check(&self, theirs: &Self) -> Result<(), Disagreement> {
        if self.trust_domain != theirs.trust_domain {
            let (theirs, ours) = (theirs.trust_domain.clone(), self.trust_domain.clone());
            return Err(Disagreement::TrustDomain { theirs, ours });
        }
        // While a root is rotated some have both.
        if !self.roots.iter().any(|root| theirs.roots.contains(root)) {
            return Err(Disagreement::Authority);
        }
        if self.token_secret != theirs.token_secret {
            return Err(Disagreement::Tokens);
        }
        Ok(())
    }
}

impl EtcdStore {
    /// Whether a mesh is kept there already, by any replica.
    ///
    /// # Errors
    /// When etcd can't be read.
    pub async fn has_mesh(&self) -> Result<bool, StoreError> {
        let key = self.keys.mesh();
        let look = TxnRequest { compare: vec![], success: vec![read(key)], failure: vec![] };
        Ok(first_read(self.transact(look).await?).is_some())
    }

    /// Notes what this replica has, or compares it with what is noted.
    ///
    /// # Errors
    /// [`Disagreement`], with what to do about it.
    pub async fn agree(&self, ours: &MeshRecord) -> Result<(), Disagreement> {
        let key = self.keys.mesh();
        let json = serde_json::to_vec(ours).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let found = TxnRequest {
            compare: vec![is_absent(key.clone())],
            success: vec![put(key.clone(), json.clone().into(), 0)],
            failure: vec![read(key.clone())],
        };
        let Some(found) = first_read(self.transact(found).await?) else { return Ok(()) };
        let theirs: MeshRecord = serde_json::from_slice(&found.value).map_err(|error| {
            let key = String::from_utf8_lossy(&key).into_owned();
            Disagreement::Unreadable { key, detail: error.to_string() }
        })?;
        ours.check(&theirs)?;
        if *ours != theirs {
            // The newest word on roots: when an old one is gone everywhere, who has only that is refused.
            let renew =
                TxnRequest { compare: vec![], success: vec![put(key, json.into(), 0)], failure: vec![] };
            self.transact(renew).await?;
        }
        Ok(())
    }

    /// A transaction that may be made twice.
    async fn transact(&self, transaction: TxnRequest) -> Result<super::wire::TxnResponse, StoreError> {
        let answer = self.cluster.ask(|channel| {
            let request = led(transaction.clone());
            async move { KvClient::new(channel).txn(request).await }
        });
        Ok(answer.await?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_agree_on_the_domain_a_root_and_the_secret() {
        let record = |domain: &str, roots: &[&str], secret: &str| MeshRecord {
            trust_domain: domain.to_owned(),
            roots: roots.iter().map(|root| (*root).to_owned()).collect(),
            token_secret: secret.to_owned(),
        };
        let ours = record("mesh.internal", &["a", "b"], "s");
        ours.check(&ours).unwrap();
        ours.check(&record("mesh.internal", &["b", "c"], "s")).unwrap();
        let other = ours.check(&record("other.internal", &["a"], "s")).unwrap_err();
        assert!(matches!(other, Disagreement::TrustDomain { .. }), "{other}");
        let other = ours.check(&record("mesh.internal", &["c"], "s")).unwrap_err();
        assert!(matches!(other, Disagreement::Authority), "{other}");
        let other = ours.check(&record("mesh.internal", &["a"], "t")).unwrap_err();
        assert!(matches!(other, Disagreement::Tokens), "{other}");
    }
}
