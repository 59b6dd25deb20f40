//! What the schema of a kind allows, the type that holds the kind can read: every value is either read, or what is wrong
//! with it was told before, with its field.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use manifests::{Code, Kind, Object};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any value that a schema allows.
fn any_of(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return proptest::sample::select(choices.clone()).boxed();
    }
    for wrapper in ["allOf", "anyOf", "oneOf"] {
        if let Some(parts) = schema.get(wrapper).and_then(Value::as_array) {
            return proptest::strategy::Union::new(parts.iter().map(any_of)).boxed();
        }
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return prop_oneof![any::<i32>().prop_map(Value::from), any_text()].boxed();
    }
    match (schema.get("type").and_then(Value::as_str), schema.get("format").and_then(Value::as_str)) {
        (Some("object"), _) => any_object(schema),
        (Some("array"), _) => {
            vec(schema.get("items").map_or_else(any_text, any_of), 0..3).prop_map(Value::from).boxed()
        }
        (Some("boolean"), _) => any::<bool>().prop_map(Value::from).boxed(),
        (Some("integer"), Some("int64")) => any::<i64>().prop_map(Value::from).boxed(),
        (Some("integer"), _) => any::<i32>().prop_map(Value::from).boxed(),
        (Some("number"), _) => any::<f64>().prop_map(Value::from).boxed(),
        (Some("string"), Some("byte")) => {
            "([A-Za-z0-9+/]{4}){0,3}([A-Za-z0-9+/][AQgw]==)?".prop_map(Value::from).boxed()
        }
        (Some("string"), Some("date-time")) => (-3_000_000_000_i64..9_000_000_000)
            .prop_map(|second| json!(jiff::Timestamp::from_second(second).unwrap().to_string()))
            .boxed(),
        _ => any_text(),
    }
}

fn any_text() -> BoxedStrategy<Value> {
    "[ -~äπ]{0,8}".prop_map(Value::from).boxed()
}

fn any_object(schema: &Value) -> BoxedStrategy<Value> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let fields = btree_map("[a-z]{1,8}", others.map_or_else(any_text, any_of), 0..3);
        return fields.prop_map(|fields| Value::Object(fields.into_iter().collect())).boxed();
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let field = |(name, schema): (&String, &Value)| {
        let is_required = required.contains(&name.as_str());
        let name = name.clone();
        let given = any_of(schema).prop_map(move |value| Some((name.clone(), value)));
        if is_required { given.boxed() } else { prop_oneof![3 => Just(None), 2 => given].boxed() }
    };
    let fields: Vec<_> = properties.iter().map(field).collect();
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

#[test]
fn what_a_schema_allows_can_be_read() {
    for kind in Kind::ALL {
        let mut runner = proptest::test_runner::TestRunner::default();
        let outcome = runner.run(&any_of(kind.schema()), |mut value| {
            let fields = value.as_object_mut().unwrap();
            fields.insert("apiVersion".to_owned(), json!(kind.api_version()));
            fields.insert("kind".to_owned(), json!(kind.name()));
            let found = Object::read(kind, value).diagnostics;
            let wrong: Vec<_> = found
                .iter()
                .filter(|it| matches!(it.code, Code::WrongType | Code::UnknownField))
                .map(ToString::to_string)
                .collect();
            prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            Ok(())
        });
        assert!(outcome.is_ok(), "{kind}: {}", outcome.unwrap_err());
    }
}
