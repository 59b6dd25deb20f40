//! `kubectl auth can-i [--list]` and `kubectl auth whoami`: what a user may do, and who they are, answered honestly.

use super::authenticate::{ADMINISTRATORS, User};
use serde_json::{Value, json};

/// Answers a SelfSubjectAccessReview.
pub(crate) fn access(user: &User, review: &Value) -> Value {
    let is_allowed = user.is_administrator();
    let reason = match is_allowed {
        true => format!("the user is in the group {ADMINISTRATORS}"),
        false => format!("only members of the group {ADMINISTRATORS} have rights"),
    };
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "metadata": {"creationTimestamp": null}, "spec": review.get("spec").cloned().unwrap_or_else(|| json!({})),
        "status": {"allowed": is_allowed, "reason": reason},
    })
}

/// Answers a SelfSubjectRulesReview.
pub(crate) fn rules(user: &User) -> Value {
    let open = json!({"verbs": ["get"], "nonResourceURLs": ["/livez", "/readyz", "/version", "/api", "/apis", "/openapi"]});
    let (resources, paths) = match user.is_administrator() {
        true => (
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
            json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]),
        ),
        false => (json!([]), json!([open])),
    };
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "metadata": {"creationTimestamp": null},
        "spec": {}, "status": {"resourceRules": resources, "nonResourceRules": paths, "incomplete": false},
    })
}

/// Answers a SelfSubjectReview.
pub(crate) fn subject(user: &User) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {"creationTimestamp": null},
        "status": {"userInfo": {"username": user.name, "groups": user.groups}},
    })
}
