//! Kubernetes' protocol buffers, as far as `kubectl` sends them: its `create` commands write core objects and requests
//! in that form without asking. What enters is such a body; what leaves is the same object as JSON, for the rooms that
//! know only JSON. Answers are always JSON, which every client takes.
//!
//! The tables below are the field numbers of `generated.proto` in k8s.io/api and k8s.io/apimachinery, which never change.
//! Fields that are not in them are refused rather than lost. As in Go's JSON, a field with the zero value is left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    #[error("it does not begin with `k8s\\0`")]
    NoMagic,
    #[error("it is cut short or damaged")]
    Torn,
    #[error("{0} objects are not read in this form: send JSON")]
    UnknownKind(String),
    #[error("field {number} of {message} is not known here: send JSON")]
    UnknownField { message: &'static str, number: u64 },
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Holds {
    Text,
    Integer,
    Boolean,
    /// A list of texts.
    Texts,
    /// A map of texts to texts.
    TextMap,
    /// A map of texts to bytes, which JSON holds in base64.
    BytesMap,
    Message(&'static Message),
    Messages(&'static Message),
    /// `meta/v1.Time`.
    Time,
    /// `intstr.IntOrString`.
    NumberOrText,
    /// Of no interest: said by the server alone.
    Ignored,
}

/// A message: its name and its fields, by number and JSON name.
#[derive(Debug)]
struct Message {
    name: &'static str,
    fields: &'static [(u64, &'static str, Holds)],
}

const OWNER: Message = Message {
    name: "OwnerReference",
    fields: &[
        (1, "kind", Holds::Text),
        (3, "name", Holds::Text),
        (4, "uid", Holds::Text),
        (5, "apiVersion", Holds::Text),
        (6, "controller", Holds::Boolean),
        (7, "blockOwnerDeletion", Holds::Boolean),
    ],
};
const METADATA: Message = Message {
    name: "ObjectMeta",
    fields: &[
        (1, "name", Holds::Text),
        (2, "generateName", Holds::Text),
        (3, "namespace", Holds::Text),
        (4, "selfLink", Holds::Ignored),
        (5, "uid", Holds::Text),
        (6, "resourceVersion", Holds::Text),
        (7, "generation", Holds::Integer),
        (8, "creationTimestamp", Holds::Time),
        (9, "deletionTimestamp", Holds::Time),
        (10, "deletionGracePeriodSeconds", Holds::Integer),
        (11, "labels", Holds::TextMap),
        (12, "annotations", Holds::TextMap),
        (13, "ownerReferences", Holds::Messages(&OWNER)),
        (14, "finalizers", Holds::Texts),
        (17, "managedFields", Holds::Ignored),
    ],
};
const NAMESPACE: Message = Message {
    name: "Namespace",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (
            2,
            "spec",
            Holds::Message(&Message { name: "NamespaceSpec", fields: &[(1, "finalizers", Holds::Texts)] }),
        ),
        (3, "status", Holds::Ignored),
    ],
};
const CONFIG_MAP: Message = Message {
    name: "ConfigMap",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "data", Holds::TextMap),
        (3, "binaryData", Holds::BytesMap),
        (4, "immutable", Holds::Boolean),
    ],
};
const SECRET: Message = Message {
    name: "Secret",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "data", Holds::BytesMap),
        (3, "type", Holds::Text),
        (4, "stringData", Holds::TextMap),
        (5, "immutable", Holds::Boolean),
    ],
};
const SERVICE_PORT: Message = Message {
    name: "ServicePort",
    fields: &[
        (1, "name", Holds::Text),
        (2, "protocol", Holds::Text),
        (3, "port", Holds::Integer),
        (4, "targetPort", Holds::NumberOrText),
        (5, "nodePort", Holds::Integer),
        (6, "appProtocol", Holds::Text),
    ],
};
const SERVICE_SPEC: Message = Message {
    name: "ServiceSpec",
    fields: &[
        (1, "ports", Holds::Messages(&SERVICE_PORT)),
        (2, "selector", Holds::TextMap),
        (3, "clusterIP", Holds::Text),
        (4, "type", Holds::Text),
        (5, "externalIPs", Holds::Texts),
        (7, "sessionAffinity", Holds::Text),
        (8, "loadBalancerIP", Holds::Text),
        (9, "loadBalancerSourceRanges", Holds::Texts),
        (10, "externalName", Holds::Text),
        (11, "externalTrafficPolicy", Holds::Text),
        (12, "healthCheckNodePort", Holds::Integer),
        (13, "publishNotReadyAddresses", Holds::Boolean),
        (17, "ipFamilyPolicy", Holds::Text),
        (18, "clusterIPs", Holds::Texts),
        (19, "ipFamilies", Holds::Texts),
        (20, "allocateLoadBalancerNodePorts", Holds::Boolean),
        (21, "loadBalancerClass", Holds::Text),
        (22, "internalTrafficPolicy", Holds::Text),
        (23, "trafficDistribution", Holds::Text),
    ],
};
const SERVICE: Message = Message {
    name: "Service",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&SERVICE_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const TOKEN_SPEC: Message = Message {
    name: "TokenRequestSpec",
    fields: &[
        (1, "audiences", Holds::Texts),
        (3, "boundObjectRef", Holds::Message(&BOUND_OBJECT)),
        (4, "expirationSeconds", Holds::Integer),
    ],
};
const BOUND_OBJECT: Message = Message {
    name: "BoundObjectReference",
    fields: &[
        (1, "kind", Holds::Text),
        (2, "apiVersion", Holds::Text),
        (3, "name", Holds::Text),
        (4, "uid", Holds::Text),
    ],
};
const TOKEN_REQUEST: Message = Message {
    name: "TokenRequest",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&TOKEN_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const RESOURCE_ATTRIBUTES: Message = Message {
    name: "ResourceAttributes",
    fields: &[
        (1, "namespace", Holds::Text),
        (2, "verb", Holds::Text),
        (3, "group", Holds::Text),
        (4, "version", Holds::Text),
        (5, "resource", Holds::Text),
        (6, "subresource", Holds::Text),
        (7, "name", Holds::Text),
        (8, "fieldSelector", Holds::Ignored),
        (9, "labelSelector", Holds::Ignored),
    ],
};
const PATH_ATTRIBUTES: Message =
    Message { name: "NonResourceAttributes", fields: &[(1, "path", Holds::Text), (2, "verb", Holds::Text)] };
const ACCESS_SPEC: Message = Message {
    name: "SelfSubjectAccessReviewSpec",
    fields: &[
        (1, "resourceAttributes", Holds::Message(&RESOURCE_ATTRIBUTES)),
        (2, "nonResourceAttributes", Holds::Message(&PATH_ATTRIBUTES)),
    ],
};
const ACCESS_REVIEW: Message = Message {
    name: "SelfSubjectAccessReview",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&ACCESS_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const RULES_SPEC: Message =
    Message { name: "SelfSubjectRulesReviewSpec", fields: &[(1, "namespace", Holds::Text)] };
const RULES_REVIEW: Message = Message {
    name: "SelfSubjectRulesReview",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&RULES_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const SUBJECT_REVIEW: Message = Message {
    name: "SelfSubjectReview",
    fields: &[(1, "metadata", Holds::Message(&METADATA)), (2, "status", Holds::Ignored)],
};
const PRECONDITIONS: Message = Message {
    name: "Preconditions",
    fields: &[(1, "uid", Holds::Text), (2, "resourceVersion", Holds::Text)],
};
const DELETE_OPTIONS: Message = Message {
    name: "DeleteOptions",
    fields: &[
        (1, "gracePeriodSeconds", Holds::Integer),
        (2, "preconditions", Holds::Message(&PRECONDITIONS)),
        (3, "orphanDependents", Holds::Boolean),
        (4, "propagationPolicy", Holds::Text),
        (5, "dryRun", Holds::Texts),
        (6, "ignoreStoreReadErrorWithClusterBreakingPotential", Holds::Ignored),
    ],
};
const KINDS: [&Message; 9] = [
    &NAMESPACE,
    &CONFIG_MAP,
    &SECRET,
    &SERVICE,
    &TOKEN_REQUEST,
    &ACCESS_REVIEW,
    &RULES_REVIEW,
    &SUBJECT_REVIEW,
    &DELETE_OPTIONS,
];

/// The object in a body.
pub(crate) fn object(body: &[u8]) -> Result<Value, ProtobufError> {
    const TYPE: Message =
        Message { name: "TypeMeta", fields: &[(1, "apiVersion", Holds::Text), (2, "kind", Holds::Text)] };
    let mut envelope = Reader(body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?);
    let (mut object, mut content) = (Map::new(), &[][..]);
    while let Some((number, field)) = envelope.field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => object = read(&TYPE, bytes)?,
            (2, Field::Bytes(bytes)) => content = bytes,
            _ => {}
        }
    }
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let message = KINDS.iter().find(|message| message.name == kind);
    let message = message.ok_or_else(|| ProtobufError::UnknownKind(kind.to_owned()))?;
    object.append(&mut read(message, content)?);
    Ok(Value::Object(object))
}

/// A field as it is on the wire.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Torn)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtobufError::Torn)
    }

    fn field(&mut self) -> Result<Option<(u64, Field<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let field = match tag & 7 {
            0 => Field::Number(self.number()?),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| ProtobufError::Torn)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(ProtobufError::Torn)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            _ => return Err(ProtobufError::Torn),
        };
        Ok(Some((tag >> 3, field)))
    }
}

fn read(message: &'static Message, bytes: &[u8]) -> Result<Map<String, Value>, ProtobufError> {
    let (mut reader, mut object) = (Reader(bytes), Map::new());
    while let Some((number, field)) = reader.field()? {
        let known = message.fields.iter().find(|(known, _, _)| *known == number);
        let (_, name, holds) = known.ok_or(ProtobufError::UnknownField { message: message.name, number })?;
        add(&mut object, name, *holds, field)?;
    }
    Ok(object)
}

fn add(
    object: &mut Map<String, Value>,
    name: &str,
    holds: Holds,
    field: Field<'_>,
) -> Result<(), ProtobufError> {
    let value = match (holds, field) {
        (Holds::Ignored, _) => Value::Null,
        (Holds::Text, Field::Bytes(bytes)) => Value::from(text(bytes)?),
        (Holds::Integer, Field::Number(number)) => Value::from(number.cast_signed()),
        (Holds::Boolean, Field::Number(number)) => Value::from(number != 0),
        (Holds::Message(message), Field::Bytes(bytes)) => Value::Object(read(message, bytes)?),
        (Holds::Time, Field::Bytes(bytes)) => time(bytes)?,
        (Holds::NumberOrText, Field::Bytes(bytes)) => number_or_text(bytes)?,
        (Holds::Texts, Field::Bytes(bytes)) => return push(object, name, Value::from(text(bytes)?)),
        (Holds::Messages(message), Field::Bytes(bytes)) => {
            return push(object, name, Value::Object(read(message, bytes)?));
        }
        (Holds::TextMap, Field::Bytes(bytes)) => {
            let (key, value) = pair(bytes)?;
            return insert(object, name, key, Value::from(text(value)?));
        }
        (Holds::BytesMap, Field::Bytes(bytes)) => {
            let (key, value) = pair(bytes)?;
            return insert(object, name, key, Value::from(STANDARD.encode(value)));
        }
        _ => return Err(ProtobufError::Torn),
    };
    let is_zero = match &value {
        Value::Null => true,
        Value::Bool(is_true) => !is_true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty() && name != "metadata" && name != "spec",
        Value::Array(_) => false,
    };
    if !is_zero {
        object.insert(name.to_owned(), value);
    }
    Ok(())
}

fn push(object: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), ProtobufError> {
    let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut().ok_or(ProtobufError::Torn)?.push(value);
    Ok(())
}

fn insert(
    object: &mut Map<String, Value>,
    name: &str,
    key: String,
    value: Value,
) -> Result<(), ProtobufError> {
    let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    map.as_object_mut().ok_or(ProtobufError::Torn)?.insert(key, value);
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Torn)
}

fn pair(bytes: &[u8]) -> Result<(String, &[u8]), ProtobufError> {
    let (mut reader, mut key, mut value) = (Reader(bytes), String::new(), &[][..]);
    while let Some((number, field)) = reader.field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = text(bytes)?,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => return Err(ProtobufError::Torn),
        }
    }
    Ok((key, value))
}

fn numbers(bytes: &[u8]) -> Result<([u64; 3], &[u8]), ProtobufError> {
    let (mut reader, mut found, mut last) = (Reader(bytes), [0; 3], &[][..]);
    while let Some((number, field)) = reader.field()? {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        match (place.and_then(|place| found.get_mut(place)), field) {
            (Some(place), Field::Number(number)) => *place = number,
            (Some(_), Field::Bytes(bytes)) => last = bytes,
            (None, _) => return Err(ProtobufError::Torn),
        }
    }
    Ok((found, last))
}

fn time(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let ([seconds, ..], _) = numbers(bytes)?;
    match seconds.cast_signed() {
        // Go's zero time is not a time.
        i64::MIN..=0 => Ok(Value::Null),
        seconds => {
            let time = Timestamp::from_second(seconds).map_err(|_| ProtobufError::Torn)?;
            Ok(Value::from(super::meta::timestamp(time)))
        }
    }
}

fn number_or_text(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let ([is_text, number, _], content) = numbers(bytes)?;
    match is_text {
        0 if number == 0 => Ok(Value::Null),
        0 => Ok(Value::from(number.cast_signed())),
        _ => Ok(Value::from(text(content)?)),
    }
}

#[cfg(test)]
mod tests;
