//! Kubernetes' protocol buffers, as far as `kubectl` sends them: its `create` commands write core objects and requests
//! in that form without asking. What enters is such a body; what leaves is the same object as JSON, for the rooms that
//! know only JSON. Answers are always JSON, which every client takes.
//!
//! Fields that are not in the tables of `messages` are refused rather than lost. As in Go's JSON, a field with the zero value is left out.

mod messages;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use messages::{Holds, KINDS, Message};
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
