//! What goes wrong with a request, and how it is said: as a Kubernetes `Status` with code, reason, message and the
//! fields at fault. What enters is a [`Failure`] from any room of the API; what leaves is its JSON. The wording of the
//! standard reasons follows Kubernetes, since `kubectl` and people's scripts read it; what mends it comes after.

use crate::store::{Key, StoreError};
use http::StatusCode;
use manifests::Kind;
use manifests::diagnostic::{Code, Diagnostic};
use serde_json::{Value, json};

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(json!({"group": group, "kind": kind, "name": name}));
        self
    }

    fn with_causes(mut self, causes: Vec<Value>) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        if let Some(details) = details.as_object_mut() {
            details.insert("causes".into(), Value::from(causes));
        }
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        let message = "Unauthorized: present a client certificate of this control plane, or a bearer token; its data directory \
                       holds a kubeconfig with a certificate";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    pub(crate) fn unauthorized_because(why: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", format!("Unauthorized: {why}"))
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// No such URL: not an object that is missing, but a place that never exists.
    pub(crate) fn no_such_path(path: &str) -> Self {
        let message = format!(
            "the server could not find the requested resource ({path}): `kubectl api-resources` lists what there is"
        );
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(crate) fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, plural));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(group, plural, name)
    }

    pub(crate) fn no_namespace(name: &str) -> Self {
        let message = format!(
            "namespaces \"{name}\" not found: create it first with `kubectl create namespace {name}`"
        );
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about("", "namespaces", name)
    }

    pub(crate) fn terminating(key: &Key) -> Self {
        let message = format!(
            "{} \"{}\" is forbidden: unable to create new content in namespace {} because it is being terminated",
            qualified(key.kind.group(), key.kind.plural()),
            key.name,
            key.namespace
        );
        Self::forbidden(message).about(key.kind.group(), key.kind.plural(), &key.name)
    }

    pub(crate) fn already_exists(key: &Key) -> Self {
        let (group, plural) = (key.kind.group(), key.kind.plural());
        let message = format!("{} \"{}\" already exists", qualified(group, plural), key.name);
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(group, plural, &key.name)
    }

    pub(crate) fn conflict(key: &Key, why: &str) -> Self {
        let (group, plural) = (key.kind.group(), key.kind.plural());
        let what = qualified(group, plural);
        let message = format!("Operation cannot be fulfilled on {what} \"{}\": {why}", key.name);
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(group, plural, &key.name)
    }

    /// The write was based on an older state.
    pub(crate) fn stale(key: &Key) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(key, why)
    }

    /// Server-side apply met fields that others manage; each cause is (manager, field).
    pub(crate) fn apply_conflicts(key: &Key, conflicts: &[(String, String)]) -> Self {
        let lines: Vec<String> = conflicts
            .iter()
            .map(|(manager, field)| format!("conflict with \"{manager}\": {field}"))
            .collect();
        let noun = if lines.len() == 1 { "conflict" } else { "conflicts" };
        let message = format!("Apply failed with {} {noun}: {}", lines.len(), lines.join(", "));
        let causes = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with \"{manager}\""), "field": field})
            })
            .collect();
        Self::new(StatusCode::CONFLICT, "Conflict", message)
            .about(key.kind.group(), key.kind.plural(), &key.name)
            .with_causes(causes)
    }

    /// The object breaks its schema or rules.
    pub(crate) fn invalid(kind: Kind, name: &str, diagnostics: &[Diagnostic]) -> Self {
        let causes = diagnostics.iter().map(|d| (cause(d.code), d.path.to_string(), d.sentence())).collect();
        Self::invalid_fields(kind, name, causes)
    }

    /// One field of the object is wrong.
    pub(crate) fn invalid_field(kind: Kind, name: &str, field: &str, message: impl Into<String>) -> Self {
        Self::invalid_fields(kind, name, vec![("FieldValueInvalid", field.into(), message.into())])
    }

    fn invalid_fields(kind: Kind, name: &str, found: Vec<(&'static str, String, String)>) -> Self {
        let line = |(_, field, message): &(&str, String, String)| match field.as_str() {
            "" => message.clone(),
            field => format!("{field}: {message}"),
        };
        let lines: Vec<String> = found.iter().map(line).collect();
        let message = match lines.as_slice() {
            [one] => format!("{} \"{name}\" is invalid: {one}", qualified(kind.group(), kind.name())),
            many => format!(
                "{} \"{name}\" is invalid: [{}]",
                qualified(kind.group(), kind.name()),
                many.join(", ")
            ),
        };
        let causes = found
            .iter()
            .map(|(reason, field, message)| json!({"reason": reason, "message": message, "field": field}))
            .collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
            .about(kind.group(), kind.name(), name)
            .with_causes(causes)
    }

    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("the server does not allow {method} on {path}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(crate) fn unsupported_media(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(crate) fn not_acceptable(accept: &str) -> Self {
        let message = format!("none of `{accept}` can be served: accept `application/json`");
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(crate) fn too_many_watches(limit: usize) -> Self {
        let message = format!("this user has {limit} watches open, the most there may be: close some");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
            .with_details(json!({"retryAfterSeconds": 5}))
    }

    pub(crate) fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "Timeout", "the request's body did not arrive in time")
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The `Status` object.
    pub(crate) fn to_json(&self) -> Value {
        let mut status = json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if let (Some(status), Some(details)) = (status.as_object_mut(), &self.details) {
            status.insert("details".into(), details.clone());
        }
        status
    }

    /// One line for the log.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AlreadyExists { key } => Self::already_exists(&key),
            StoreError::Conflict { key, .. } => Self::stale(&key),
            StoreError::NotFound { key } => Self::not_found(key.kind.group(), key.kind.plural(), &key.name),
            StoreError::Compacted { .. } => {
                Self::expired(format!("too old resource version: {error}; list again and watch from there"))
            }
            StoreError::Full(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage", error.to_string())
            }
            StoreError::Unavailable(_) | StoreError::Unreachable(_) | StoreError::Closed => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

/// The `Status` of a deletion that is done.
pub(crate) fn deleted(key: &Key, uid: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success",
        "details": {"group": key.kind.group(), "kind": key.kind.plural(), "name": key.name, "uid": uid},
    })
}

fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// The causes Kubernetes has a name of its own for; every other is an invalid value.
const CAUSES: [(Code, &str); 5] = [
    (Code::MissingField, "FieldValueRequired"),
    (Code::WrongType, "FieldValueTypeInvalid"),
    (Code::DuplicateEntry, "FieldValueDuplicate"),
    (Code::Unsupported, "FieldValueNotSupported"),
    (Code::MissingReference, "FieldValueNotFound"),
];

fn cause(code: Code) -> &'static str {
    CAUSES.iter().find(|(known, _)| *known == code).map_or("FieldValueInvalid", |(_, name)| name)
}
