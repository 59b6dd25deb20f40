//! `apiVersion` and `kind`: what enters is a JSON object, what leaves is its kind, or what was probably meant.

use crate::diagnostic::{Code, Diagnostic};
use crate::kind::Kind;
use crate::nearest::nearest;
use crate::path::FieldPath;
use serde_json::Value;

/// The kind an object says it is of.
///
/// # Errors
/// What is missing or unknown, with the nearest that is known.
pub fn kind_of(object: &Value) -> Result<Kind, Vec<Diagnostic>> {
    if !object.is_object() {
        let problem = Diagnostic::error(Code::NotAnObject, FieldPath::default(), "this is not an object");
        return Err(vec![problem.mend("an object is a mapping that begins with `apiVersion:` and `kind:`")]);
    }
    match (text(object, "apiVersion"), text(object, "kind")) {
        (Ok(api_version), Ok(kind)) => {
            Kind::from_api_version_kind(api_version, kind).ok_or_else(|| vec![unknown(api_version, kind)])
        }
        (api_version, kind) => {
            Err([api_version.err(), kind.err()].into_iter().flatten().map(|problem| *problem).collect())
        }
    }
}

fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str, Box<Diagnostic>> {
    let (code, message, mend) = match object.get(field) {
        Some(Value::String(text)) if !text.is_empty() => return Ok(text),
        None | Some(Value::Null | Value::String(_)) => {
            let example = if field == "kind" { "kind: Service" } else { "apiVersion: v1" };
            (Code::MissingField, "it is required", format!("add it, as in `{example}`"))
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            (Code::WrongType, "it must be a text", "put it in quotes".to_owned())
        }
    };
    Err(Box::new(Diagnostic::error(code, FieldPath::of(field), message).mend(mend)))
}

fn unknown(api_version: &str, kind: &str) -> Diagnostic {
    if let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) {
        let message = format!("the mesh does not know `{kind}` in `{api_version}`");
        let problem = Diagnostic::error(Code::UnknownApiVersion, FieldPath::of("apiVersion"), message);
        return problem.mend(format!("write `apiVersion: {}`", known.api_version()));
    }
    let all: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    let mend = match nearest(kind, all.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it knows {}", all.join(", ")),
    };
    Diagnostic::error(
        Code::UnknownKind,
        FieldPath::of("kind"),
        format!("the mesh does not know the kind `{kind}`"),
    )
    .mend(mend)
}
