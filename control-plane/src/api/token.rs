//! `kubectl create token`: a join token for a service account, minted by the certificate authority. What enters is an
//! `authentication.k8s.io/v1` TokenRequest; what leaves is the same with its status.

use super::meta::timestamp;
use super::status::Failure;
use super::{Api, read};
use crate::store::Key;
use jiff::Timestamp;
use manifests::Kind;
use mesh_names::{Namespace, ServiceAccount};
use serde_json::{Value, json};
use std::time::Duration;

/// Mints join tokens.
pub trait TokenMinter: Send + Sync + 'static {
    /// A token with which a sidecar joins as that service account, for `lifetime` or the minter's default.
    ///
    /// # Errors
    /// When the lifetime is outside the minter's bounds, or signing fails.
    fn mint(
        &self,
        namespace: &Namespace,
        account: &ServiceAccount,
        lifetime: Option<Duration>,
    ) -> Result<MintedToken, MintRefusal>;
}

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct MintedToken {
    /// What the sidecar presents.
    pub text: String,
    /// Until when.
    pub expires: Timestamp,
}

impl std::fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MintedToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Why no token is minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintRefusal {
    /// The lifetime asked for is not allowed; the sentence says what is.
    #[error("{0}")]
    Lifetime(String),
    /// Signing failed.
    #[error("{0}")]
    Failed(String),
}

/// Answers a TokenRequest.
pub(crate) async fn create(
    api: &Api,
    namespace: &str,
    account: &str,
    mut request: Value,
) -> Result<Value, Failure> {
    let wrong = |error: mesh_names::NameError| Failure::bad_request(error.to_string());
    let (owner, subject): (Namespace, ServiceAccount) =
        (namespace.parse().map_err(wrong)?, account.parse().map_err(wrong)?);
    match read::get(api, &Key::new(Kind::Namespace, "", namespace)).await {
        Ok(_) => {}
        Err(failure) if failure.code == http::StatusCode::NOT_FOUND => {
            return Err(Failure::no_namespace(namespace));
        }
        Err(failure) => return Err(failure),
    }
    let seconds = match request.pointer("/spec/expirationSeconds") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_u64().filter(|seconds| *seconds > 0).ok_or_else(|| {
            Failure::bad_request("spec.expirationSeconds: must be a whole number above zero")
        })?),
    };
    let token =
        api.minter.mint(&owner, &subject, seconds.map(Duration::from_secs)).map_err(
            |refusal| match refusal {
                MintRefusal::Lifetime(why) => Failure::bad_request(format!("spec.expirationSeconds: {why}")),
                MintRefusal::Failed(why) => {
                    Failure::internal(format!("the token could not be signed: {why}"))
                }
            },
        )?;
    if !request.is_object() {
        request = json!({});
    }
    if let Some(fields) = request.as_object_mut() {
        fields.insert("apiVersion".into(), "authentication.k8s.io/v1".into());
        fields.insert("kind".into(), "TokenRequest".into());
        fields.insert(
            "metadata".into(),
            json!({"name": account, "namespace": namespace, "creationTimestamp": null}),
        );
        fields.insert(
            "status".into(),
            json!({"token": token.text, "expirationTimestamp": timestamp(token.expires)}),
        );
    }
    Ok(request)
}
