//! From YAML to JSON: what enters is one value as serde_yaml reads it, what leaves is the JSON the API would be sent, or
//! where it cannot be said in JSON. Merge keys (`<<`) are applied.

use crate::diagnostic::{Code, Diagnostic};
use crate::path::FieldPath;
use serde_json::{Map, Value};

/// Turns a value into JSON. What has no JSON becomes null and is reported.
pub(crate) fn to_json(mut value: serde_yaml::Value, problems: &mut Vec<Diagnostic>) -> Value {
    if let Err(error) = value.apply_merge() {
        let problem = Diagnostic::error(Code::BadValue, FieldPath::default(), error.to_string());
        problems.push(problem.mend("`<<` takes a mapping, or a list of mappings"));
    }
    convert(value, &FieldPath::default(), problems)
}

fn convert(value: serde_yaml::Value, path: &FieldPath, problems: &mut Vec<Diagnostic>) -> Value {
    match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Number(number) => convert_number(&number, path, problems),
        serde_yaml::Value::Sequence(items) => {
            let items = items.into_iter().enumerate();
            Value::Array(items.map(|(place, item)| convert(item, &path.index(place), problems)).collect())
        }
        serde_yaml::Value::Mapping(fields) => {
            let mut converted = Map::new();
            for (key, value) in fields {
                if let Some(key) = convert_key(key, path, problems) {
                    let value = convert(value, &path.field(&key), problems);
                    converted.insert(key, value);
                }
            }
            Value::Object(converted)
        }
        serde_yaml::Value::Tagged(tagged) => {
            let message = format!("the tag `{}` means nothing here", tagged.tag);
            let problem = Diagnostic::error(Code::BadValue, path.clone(), message);
            problems.push(problem.mend("take it away, or put the value in quotes"));
            convert(tagged.value, path, problems)
        }
    }
}

fn convert_number(number: &serde_yaml::Number, path: &FieldPath, problems: &mut Vec<Diagnostic>) -> Value {
    let converted = match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(number), _, _) => Some(Value::from(number)),
        (None, Some(number), _) => Some(Value::from(number)),
        (None, None, Some(number)) => serde_json::Number::from_f64(number).map(Value::Number),
        (None, None, None) => None,
    };
    converted.unwrap_or_else(|| {
        let problem = Diagnostic::error(Code::WrongType, path.clone(), format!("{number} is not a number"));
        problems.push(problem.mend("write a finite number, or put it in quotes"));
        Value::Null
    })
}

/// Kubernetes takes numbers and truth values as keys for their text.
fn convert_key(key: serde_yaml::Value, path: &FieldPath, problems: &mut Vec<Diagnostic>) -> Option<String> {
    match key {
        serde_yaml::Value::String(text) => Some(text),
        serde_yaml::Value::Number(number) => Some(number.to_string()),
        serde_yaml::Value::Bool(value) => Some(value.to_string()),
        serde_yaml::Value::Null
        | serde_yaml::Value::Sequence(_)
        | serde_yaml::Value::Mapping(_)
        | serde_yaml::Value::Tagged(_) => {
            let problem = Diagnostic::error(Code::WrongType, path.clone(), "a key must be a text");
            problems.push(problem.mend("put it in quotes"));
            None
        }
    }
}
