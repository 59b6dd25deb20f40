//! A settings file as a flat list of keys and values with their lines.
//!
//! Enters: YAML text. Leaves: entries in the order of the file, values as text just as a flag would give them. Never
//! here: which keys exist and what their values mean.

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_yaml::Value;
use std::fmt;

/// One key of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// As a flag would give them; empty for `key: []`.
    pub(super) values: Vec<String>,
    pub(super) is_list: bool,
    /// Counted from 1.
    pub(super) line: usize,
}

/// The entries, or what is wrong as `line: …`.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let pairs = match serde_yaml::Deserializer::from_str(text).deserialize_any(Pairs) {
        Ok(pairs) => pairs,
        Err(error) => {
            let line = error.location().map_or(1, |location| location.line());
            return Err(format!("{line}: {error}"));
        }
    };
    let mut entries: Vec<Entry> = Vec::new();
    for (key, value) in pairs {
        let line = line_of(text, &key);
        if entries.iter().any(|entry| entry.key == key) {
            return Err(format!("{line}: `{key}` is given twice"));
        }
        let Some((values, is_list)) = values(&value) else {
            return Err(format!("{line}: `{key}` must be a value, a list of values, or a map of texts"));
        };
        entries.push(Entry { key, values, is_list, line });
    }
    Ok(entries)
}

/// A map `{app: orders}` stands for the list `[app=orders]`, as labels are usually written.
fn values(value: &Value) -> Option<(Vec<String>, bool)> {
    match value {
        Value::Sequence(items) => Some((items.iter().map(scalar).collect::<Option<_>>()?, true)),
        Value::Mapping(map) => {
            let pair = |(key, value)| Some(format!("{}={}", scalar(key)?, scalar(value)?));
            Some((map.iter().map(pair).collect::<Option<_>>()?, true))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {
            Some((vec![scalar(value)?], false))
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

/// The line on which a top-level key stands; 1 when the file is written in flow style.
fn line_of(text: &str, key: &str) -> usize {
    let begins = |line: &str| {
        let line = line.trim_start_matches(['"', '\'']);
        let rest = line.strip_prefix(key).map(|rest| rest.trim_start_matches(['"', '\'']).trim_start());
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    text.lines().position(begins).map_or(1, |index| index + 1)
}

/// Keeps the order of the file and sees a key given twice, which `Value` does not.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings as `key: value`")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
