//! Version 2, as JSON and as the protocol buffers message that Go clients ask for first (`openapi.v2.Document`; source:
//! gnostic's `openapiv2/OpenAPIv2.proto`): the definitions, without what this version has no words for.

use super::described;
use prost::Message;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The JSON document.
pub(crate) fn json_document() -> Value {
    let definitions: Map<String, Value> =
        described().map(|kind| (kind.schema_name(), definition(kind.schema))).collect();
    json!({
        "swagger": "2.0", "info": {"title": TITLE, "version": env!("CARGO_PKG_VERSION")},
        "paths": {}, "definitions": definitions,
    })
}

/// The protocol buffers document. Made once.
pub(crate) fn protobuf_document() -> Vec<u8> {
    static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let definitions = described().map(|kind| NamedSchema {
            name: kind.schema_name(),
            value: Some(message(&definition(kind.schema))),
        });
        let info = About { title: TITLE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let document = Document {
            swagger: "2.0".to_owned(),
            info: Some(info),
            paths: Some(Paths {}),
            definitions: Some(Properties { additional_properties: definitions.collect() }),
        };
        document.encode_to_vec()
    });
    DOCUMENT.clone()
}

const TITLE: &str = "Outrigger";

/// A schema without the words that came with version 3.
fn definition(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let kept =
        fields.iter().filter(|(word, _)| !["oneOf", "anyOf", "not", "nullable"].contains(&word.as_str()));
    let translated = kept.map(|(word, value)| {
        let value = match word.as_str() {
            "items" | "additionalProperties" => definition(value),
            "properties" => match value.as_object() {
                Some(fields) => fields.iter().map(|(name, it)| (name.clone(), definition(it))).collect(),
                None => value.clone(),
            },
            _ => value.clone(),
        };
        (word.clone(), value)
    });
    Value::Object(translated.collect())
}

/// A definition as a message.
fn message(schema: &Value) -> Schema {
    let text = |word: &str| schema.get(word).and_then(Value::as_str).unwrap_or_default().to_owned();
    let texts = |word: &str| -> Vec<String> {
        let all = schema.get(word).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let kind = text("type");
    let extensions = schema.as_object().into_iter().flatten().filter(|(word, _)| word.starts_with("x-"));
    Schema {
        format: text("format"),
        description: text("description"),
        required: texts("required"),
        enumeration: schema.get("enum").and_then(Value::as_array).into_iter().flatten().map(any).collect(),
        additional_properties: schema.get("additionalProperties").map(|it| {
            Box::new(AdditionalProperties {
                schema: it.is_object().then(|| message(it)),
                boolean: it.as_bool(),
            })
        }),
        kind: (!kind.is_empty()).then(|| TypeItem { value: vec![kind] }),
        items: schema.get("items").map(|it| ItemsItem { schema: vec![message(it)] }),
        properties: schema.get("properties").and_then(Value::as_object).map(|fields| Properties {
            additional_properties: fields
                .iter()
                .map(|(name, it)| NamedSchema { name: name.clone(), value: Some(message(it)) })
                .collect(),
        }),
        vendor_extension: extensions
            .map(|(name, value)| NamedAny { name: name.clone(), value: Some(any(value)) })
            .collect(),
    }
}

/// Any value, as YAML; JSON is YAML.
fn any(value: &Value) -> Any {
    Any { yaml: value.to_string() }
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<About>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "9")]
    definitions: Option<Properties>,
}

#[derive(Clone, PartialEq, Message)]
struct About {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Paths {}

/// Of a schema, and the definitions of the document: one form under two names.
#[derive(Clone, PartialEq, Message)]
struct Properties {
    #[prost(message, repeated, tag = "1")]
    additional_properties: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, repeated, tag = "20")]
    enumeration: Vec<Any>,
    #[prost(message, optional, boxed, tag = "21")]
    additional_properties: Option<Box<AdditionalProperties>>,
    #[prost(message, optional, tag = "22")]
    kind: Option<TypeItem>,
    #[prost(message, optional, tag = "23")]
    items: Option<ItemsItem>,
    #[prost(message, optional, tag = "25")]
    properties: Option<Properties>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct AdditionalProperties {
    #[prost(message, optional, tag = "1")]
    schema: Option<Schema>,
    #[prost(bool, optional, tag = "2")]
    boolean: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeItem {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ItemsItem {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_field_is_described_in_both_forms() {
        let document = json_document();
        let message = Document::decode(protobuf_document().as_slice()).unwrap();
        let definitions = message.definitions.unwrap().additional_properties;
        for kind in described() {
            let name = kind.schema_name();
            assert!(document["definitions"][&name]["properties"].is_object(), "{}", kind.name);
            let found = definitions.iter().find(|it| it.name == name).unwrap().value.clone().unwrap();
            assert_eq!(
                found.description,
                kind.schema["description"].as_str().unwrap_or_default(),
                "{}",
                kind.name
            );
            let fields = found.properties.unwrap().additional_properties;
            let expected: Vec<&String> = kind.schema["properties"].as_object().unwrap().keys().collect();
            assert_eq!(fields.iter().map(|it| &it.name).collect::<Vec<_>>(), expected, "{}", kind.name);
            let says_what_it_is =
                found.vendor_extension.iter().any(|it| it.name == "x-kubernetes-group-version-kind");
            assert!(says_what_it_is, "{}", kind.name);
        }
    }

    #[test]
    fn version_2_has_no_words_of_version_3() {
        let schema = json!({"properties": {"a": {"oneOf": [{}], "type": "string", "nullable": true}}});
        assert_eq!(definition(&schema), json!({"properties": {"a": {"type": "string"}}}));
    }
}
