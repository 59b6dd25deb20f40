//! Fields and types: what enters is a value and the schema of its kind; what leaves is every unknown field, wrong type,
//! missing field and unknown choice in it, and the value mended so that it can be read in spite of them. That is how the
//! rules about values are still applied to the rest of a manifest that has a typing error.

use crate::diagnostic::{Code, Report};
use crate::nearest::nearest;
use crate::path::FieldPath;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde_json::{Map, Value};

/// Reports everything in `value` that `schema` does not know, and replaces it by the nearest thing that can be read.
pub(crate) fn check(schema: &Value, value: &mut Value, path: &FieldPath, report: &mut Report) {
    let schema = inner(schema);
    if let Some(choices) = choices(schema) {
        return check_choice(&choices, value, path, report);
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        if !(value.is_string() || value.is_i64()) {
            wrong_type("a whole number or a text", schema, value, path, report);
        }
        return;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => check_object(schema, value, path, report),
        Some("array") => check_list(schema, value, path, report),
        Some("string") => check_text(schema, value, path, report),
        Some("boolean") if !value.is_boolean() => wrong_type("true or false", schema, value, path, report),
        Some("number") if !value.is_number() => wrong_type("a number", schema, value, path, report),
        Some("integer") => check_integer(schema, value, path, report),
        Some(_) | None => {}
    }
}

fn check_object(schema: &Value, value: &mut Value, path: &FieldPath, report: &mut Report) {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    let Some(fields) = value.as_object_mut() else {
        return wrong_type("a mapping", schema, value, path, report);
    };
    // Kubernetes: null means not given.
    fields.retain(|_, value| !value.is_null());
    let mut unknown = Vec::new();
    for (name, value) in fields.iter_mut() {
        match (properties.get(name), others) {
            (Some(schema), _) | (None, Some(schema)) => check(schema, value, &path.field(name), report),
            // A schema that names no field at all takes any.
            (None, None) if properties.is_empty() => {}
            (None, None) => unknown.push(name.clone()),
        }
    }
    for name in unknown {
        fields.remove(&name);
        let known = properties.keys().map(String::as_str).filter(|known| !fields.contains_key(*known));
        let mend = match nearest(&name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", listed(properties.keys())),
        };
        report.error(Code::UnknownField, path.field(&name), "there is no such field", mend);
    }
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        let Some(schema) = properties.get(name).map(inner) else { continue };
        // A list that is not given is an empty one.
        if fields.contains_key(name) || schema.get("type").and_then(Value::as_str) == Some("array") {
            continue;
        }
        fields.insert(name.to_owned(), filler(schema));
        let what = schema.get("type").and_then(Value::as_str).map_or("a value", described);
        report.error(Code::MissingField, path.field(name), "it is required", format!("add it: {what}"));
    }
}

fn check_list(schema: &Value, value: &mut Value, path: &FieldPath, report: &mut Report) {
    let Some(items) = value.as_array_mut() else {
        return wrong_type("a list", schema, value, path, report);
    };
    if let Some(schema) = schema.get("items") {
        for (place, item) in items.iter_mut().enumerate() {
            check(schema, item, &path.index(place), report);
        }
    }
}

fn check_text(schema: &Value, value: &mut Value, path: &FieldPath, report: &mut Report) {
    let Some(text) = value.as_str() else { return wrong_type("a text", schema, value, path, report) };
    let (message, mend, filler) = match schema.get("format").and_then(Value::as_str) {
        Some("byte") if !is_base64(text) => (
            "it is not base64",
            "encode it, or put it into `stringData` of a Secret or `data` of a ConfigMap",
            "",
        ),
        Some("date-time") if text.parse::<jiff::Timestamp>().is_err() => {
            ("it is not a time", "write it as in `2026-01-31T12:00:00Z`", "1970-01-01T00:00:00Z")
        }
        Some(_) | None => return,
    };
    *value = Value::from(filler);
    report.error(Code::WrongType, path.clone(), message, mend);
}

/// RFC 4648 §4, with its padding, as the type takes it.
fn is_base64(text: &str) -> bool {
    let text: StrDeserializer<'_, ValueError> = text.into_deserializer();
    ByteString::deserialize(text).is_ok()
}

fn check_integer(schema: &Value, value: &mut Value, path: &FieldPath, report: &mut Report) {
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    match value.as_i64() {
        Some(number) if (least..=most).contains(&number) => {}
        Some(number) => {
            *value = filler(schema);
            let message = format!("{number} is out of bounds");
            report.error(
                Code::WrongType,
                path.clone(),
                message,
                format!("choose one from {least} to {most}"),
            );
        }
        None => wrong_type("a whole number", schema, value, path, report),
    }
}

fn check_choice(choices: &[&Value], value: &mut Value, path: &FieldPath, report: &mut Report) {
    if choices.contains(&&*value) {
        return;
    }
    let texts: Vec<&str> = choices.iter().filter_map(|choice| choice.as_str()).collect();
    let all = choices.iter().map(|choice| plain(choice)).collect::<Vec<_>>();
    let near = value.as_str().and_then(|text| nearest(text, texts));
    let mend = match near {
        Some(near) => format!("did you mean `{near}`? Allowed: {}", all.join(", ")),
        None => format!("allowed: {}", all.join(", ")),
    };
    let message = format!("{} is not one of the values allowed here", shown(value));
    *value = choices.first().map_or(Value::Null, |first| (*first).clone());
    report.error(Code::BadValue, path.clone(), message, mend);
}

fn wrong_type(expected: &str, schema: &Value, value: &mut Value, path: &FieldPath, report: &mut Report) {
    let message = format!("it must be {expected}, and is {}", shown(value));
    let mend = match (expected, &*value) {
        ("a text", Value::Bool(_) | Value::Number(_)) => "put it in quotes".to_owned(),
        ("a whole number", Value::String(text)) if text.parse::<i64>().is_ok() => {
            "take the quotes away".to_owned()
        }
        ("true or false", Value::String(text)) if ["true", "false"].contains(&text.as_str()) => {
            "take the quotes away".to_owned()
        }
        ("true or false", Value::String(text))
            if ["yes", "no", "on", "off"].contains(&text.to_lowercase().as_str()) =>
        {
            "write true or false: YAML 1.2 takes yes, no, on and off for texts".to_owned()
        }
        ("a list", _) => "begin each of its entries with `- `".to_owned(),
        ("a mapping", Value::Array(_)) => "write it as `key: value`".to_owned(),
        _ => format!("write {expected}"),
    };
    *value = filler(schema);
    report.error(Code::WrongType, path.clone(), message, mend);
}

/// The schema under wrappers that only say "or null" or add a description.
fn inner(schema: &Value) -> &Value {
    for wrapper in ["allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(parts)) = schema.get(wrapper) {
            let mut solid = parts.iter().filter(|part| !is_null_schema(part));
            if let (Some(only), None) = (solid.next(), solid.next()) {
                return inner(only);
            }
        }
    }
    schema
}

fn is_null_schema(schema: &Value) -> bool {
    schema.get("enum").is_some_and(|choices| *choices == serde_json::json!([null]))
        || schema.get("type").is_some_and(|kind| kind == "null")
}

/// The closed set of values a schema allows, if it has one.
fn choices(schema: &Value) -> Option<Vec<&Value>> {
    let is_listed = |schema: &Value| schema.get("enum").is_some() || schema.get("const").is_some();
    if is_listed(schema) {
        let many = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        return Some(many.chain(schema.get("const")).filter(|value| !value.is_null()).collect());
    }
    let parts = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(key)?.as_array())?;
    let solid: Vec<&Value> = parts.iter().filter(|part| !is_null_schema(part)).collect();
    solid
        .iter()
        .all(|part| is_listed(part))
        .then(|| solid.into_iter().filter_map(choices).flatten().collect())
}

/// A value that can be read in the place of one that cannot.
fn filler(schema: &Value) -> Value {
    let schema = inner(schema);
    if let Some(first) = choices(schema).and_then(|choices| choices.first().copied()) {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") if schema.get("format").is_some_and(|format| format == "date-time") => {
            Value::from("1970-01-01T00:00:00Z")
        }
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let fill = |name: &str| {
                let schema = schema.get("properties")?.get(name)?;
                Some((name.to_owned(), filler(schema)))
            };
            Value::Object(required.filter_map(Value::as_str).filter_map(fill).collect())
        }
        Some("array") => Value::Array(Vec::new()),
        Some("boolean") => Value::Bool(false),
        Some("integer" | "number") => Value::from(0),
        Some(_) | None => Value::String(String::new()),
    }
}

fn described(kind: &str) -> &'static str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "a text",
    }
}

/// A value as part of a sentence, cut short.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(value) => format!("the truth value {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(text) => format!("the text \"{}\"", cut(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const NAMES_MAX: usize = 12;
    let names: Vec<&str> = names.map(String::as_str).collect();
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX { format!("{shown}, …") } else { shown }
}
