//! Whether an object may be stored. What enters is an object with its metadata in place; what leaves is the object and
//! the warnings to send along, or a 422 with every field at fault. The rules are those of `manifests`, the same that
//! `meshctl` applies before sending.

use super::extent::{NESTING_MAX, nesting};
use super::query::FieldValidation;
use super::status::Failure;
use manifests::diagnostic::{Code, Diagnostic};
use manifests::path::{FieldPath, Step};
use manifests::{Kind, Object};
use serde_json::Value;

/// Most warnings sent with one answer: they travel in headers.
const WARNINGS_MAX: usize = 16;

/// Checks an object; unless fields are validated strictly, fields the kind does not have are dropped from it.
pub(crate) fn check(kind: Kind, object: &mut Value, mode: FieldValidation) -> Result<Vec<String>, Failure> {
    if nesting(object) > NESTING_MAX {
        return Err(Failure::bad_request(format!("the object nests more than {NESTING_MAX} levels deep")));
    }
    let mut diagnostics = read(kind, object);
    let mut warnings = Vec::new();
    if mode != FieldValidation::Strict && diagnostics.iter().any(is_unknown_field) {
        for diagnostic in diagnostics.iter().filter(|diagnostic| is_unknown_field(diagnostic)) {
            remove(object, &diagnostic.path);
            if mode == FieldValidation::Warn {
                warnings.push(format!("unknown field \"{}\"", diagnostic.path));
            }
        }
        diagnostics = read(kind, object);
    }
    let (errors, others): (Vec<_>, Vec<_>) = diagnostics.into_iter().partition(Diagnostic::is_error);
    if errors.is_empty() {
        warnings.extend(others.iter().map(|warning| format!("{}: {}", warning.path, warning.sentence())));
        warnings.truncate(WARNINGS_MAX);
        return Ok(warnings);
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if let Some(large) = errors.iter().find(|error| error.code == Code::TooLarge) {
        return Err(Failure::too_large(large.sentence()));
    }
    Err(Failure::invalid(kind, name, &errors))
}

/// The record of who manages what is the server's own, and of no fixed form.
fn read(kind: Kind, object: &Value) -> Vec<Diagnostic> {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Object::read(kind, object).diagnostics
}

fn is_unknown_field(diagnostic: &Diagnostic) -> bool {
    diagnostic.code == Code::UnknownField
}

fn remove(object: &mut Value, path: &FieldPath) {
    let Some((Step::Field(last), above)) = path.steps().split_last() else { return };
    let parent = above.iter().try_fold(object, |place, step| match step {
        Step::Field(name) => place.get_mut(name),
        Step::Index(index) => place.get_mut(index),
    });
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        parent.remove(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"prots": [], "ports": [{"port": 80, "prot": 1}], "selector": {"app": "orders"}},
        })
    }

    #[test]
    fn unknown_fields_are_refused_by_path_dropped_or_warned_of() {
        let failure = check(Kind::Service, &mut service(), FieldValidation::Strict).unwrap_err();
        let status = failure.to_json();
        assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")));
        let fields: Vec<_> =
            status["details"]["causes"].as_array().unwrap().iter().map(|c| &c["field"]).collect();
        assert!(fields.contains(&&json!("spec.prots")), "{status}");
        assert!(fields.contains(&&json!("spec.ports[0].prot")), "{status}");
        for (mode, warnings) in [(FieldValidation::Ignore, 0), (FieldValidation::Warn, 2)] {
            let mut object = service();
            assert_eq!(check(Kind::Service, &mut object, mode).unwrap().len(), warnings);
            assert_eq!(object["spec"], json!({"ports": [{"port": 80}], "selector": {"app": "orders"}}));
        }
    }

    #[test]
    fn an_object_that_nests_too_deep_is_refused_wherever_it_does() {
        let nest = |levels: usize| (0..levels).fold(json!(1), |inside, _| json!({"f:a": inside}));
        for (levels, is_taken) in [(60, true), (61, false), (120, false)] {
            let mut object = service();
            object["metadata"]["managedFields"] = json!([{"fieldsV1": nest(levels)}]);
            let checked = check(Kind::Service, &mut object, FieldValidation::Ignore);
            assert_eq!(checked.is_ok(), is_taken, "{levels}");
        }
    }

    #[test]
    fn an_object_over_the_limit_is_too_large_rather_than_invalid() {
        let mut object =
            json!({"metadata": {"name": "a", "namespace": "b"}, "data": {"x": "y".repeat(1 << 20)}});
        let failure = check(Kind::ConfigMap, &mut object, FieldValidation::Strict).unwrap_err();
        assert_eq!(failure.code, http::StatusCode::PAYLOAD_TOO_LARGE);
    }
}
