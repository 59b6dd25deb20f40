//! `kubectl auth can-i [--list]` and `kubectl auth whoami`: what a user may do, and who they are, answered honestly.

use super::Api;
use super::authenticate::User;
use super::authorize::Asked;
use crate::store::StoreError;
use serde_json::{Value, json};

/// What anybody with a name may read.
const OPEN: [&str; 9] =
    ["/livez", "/readyz", "/healthz", "/version", "/api", "/api/*", "/apis", "/apis/*", "/openapi/*"];

/// Answers a SelfSubjectAccessReview.
pub(crate) async fn access(api: &Api, user: &User, review: &Value) -> Result<Value, StoreError> {
    let spec = review.get("spec").cloned().unwrap_or_else(|| json!({}));
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let is_allowed = if spec.get("nonResourceAttributes").is_some() {
        let (verb, path) = (text("/nonResourceAttributes/verb"), text("/nonResourceAttributes/path"));
        verb == "get" && OPEN.iter().any(|open| is_below(path, open)) || user.is_administrator()
    } else {
        let namespace = text("/resourceAttributes/namespace");
        let name = text("/resourceAttributes/name");
        let resource = text("/resourceAttributes/resource");
        let namespace = if resource == "namespaces" && namespace.is_empty() { name } else { namespace };
        let asked = Asked {
            verb: text("/resourceAttributes/verb"),
            group: text("/resourceAttributes/group"),
            resource,
            part: text("/resourceAttributes/subresource"),
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
        };
        api.rights(user, asked.namespace).await?.allow(&asked)
    };
    Ok(json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "metadata": {"creationTimestamp": null}, "spec": spec, "status": {"allowed": is_allowed},
    }))
}

fn is_below(path: &str, open: &str) -> bool {
    open.strip_suffix('*').map_or(path == open, |prefix| path.starts_with(prefix))
}

/// Answers a SelfSubjectRulesReview.
pub(crate) async fn rules(api: &Api, user: &User, review: &Value) -> Result<Value, StoreError> {
    let namespace = review.pointer("/spec/namespace").and_then(Value::as_str);
    let rights = api.rights(user, namespace.filter(|namespace| !namespace.is_empty())).await?;
    let reviews = json!({
        "verbs": ["create"], "apiGroups": ["authorization.k8s.io", "authentication.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"],
    });
    let mut resources = rights.rules();
    if let Some(rules) = resources.as_array_mut() {
        rules.push(reviews);
    }
    Ok(json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "metadata": {"creationTimestamp": null},
        "spec": review.get("spec").cloned().unwrap_or_else(|| json!({})),
        "status": {
            "resourceRules": resources, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": OPEN}],
            "incomplete": false,
        },
    }))
}

/// Answers a SelfSubjectReview.
pub(crate) fn subject(user: &User) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {"creationTimestamp": null},
        "status": {"userInfo": {"username": user.name, "groups": user.groups}},
    })
}
