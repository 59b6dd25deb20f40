//! `kubectl create token`: a token for a service account, minted by the certificate authority: to join the mesh or, if its
//! audience says so, to use the API. What enters is an `authentication.k8s.io/v1` TokenRequest; what leaves is the same with
//! its status.

use super::meta::timestamp;
use super::status::Failure;
use super::{Api, read};
use crate::ca::token::Audience;
use crate::store::Key;
use jiff::Timestamp;
use manifests::Kind;
use mesh_names::{Namespace, ServiceAccount};
use serde_json::{Value, json};
use std::time::Duration;

/// Makes tokens, and knows its own.
pub trait TokenAuthority: Send + Sync + 'static {
    /// A token for that service account, good for `audience`, for `lifetime` or the authority's default.
    ///
    /// # Errors
    /// When the lifetime is outside the authority's bounds, or signing fails.
    fn mint(
        &self,
        namespace: &Namespace,
        account: &ServiceAccount,
        audience: Audience,
        lifetime: Option<Duration>,
    ) -> Result<MintedToken, MintRefusal>;

    /// Whose token for the API this is.
    ///
    /// # Errors
    /// Why it is none, in a few words.
    fn bearer(&self, token: &str) -> Result<(Namespace, ServiceAccount), String>;
}

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct MintedToken {
    /// What its bearer presents.
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
    let audience = audience(&request)?;
    let token =
        api.tokens.mint(&owner, &subject, audience, seconds.map(Duration::from_secs)).map_err(|refusal| {
            match refusal {
                MintRefusal::Lifetime(why) => Failure::bad_request(format!("spec.expirationSeconds: {why}")),
                MintRefusal::Failed(why) => {
                    Failure::internal(format!("the token could not be signed: {why}"))
                }
            }
        })?;
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

/// To join, unless something else is asked for.
fn audience(request: &Value) -> Result<Audience, Failure> {
    let asked = request.pointer("/spec/audiences").and_then(Value::as_array);
    let mut asked = asked.into_iter().flatten();
    match (asked.next(), asked.next()) {
        (None, _) => Ok(Audience::Join),
        (Some(one), None) => {
            let known = Audience::ALL.into_iter().find(|audience| one.as_str() == Some(audience.as_str()));
            known.ok_or_else(|| {
                let names = Audience::ALL.map(Audience::as_str).join(" or ");
                Failure::bad_request(format!("spec.audiences: {one} is none of ours: choose {names}"))
            })
        }
        (Some(_), Some(_)) => {
            Err(Failure::bad_request("spec.audiences: a token is good for one thing: name one audience"))
        }
    }
}
