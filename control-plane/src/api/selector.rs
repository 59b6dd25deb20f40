//! Label and field selectors: what enters is the text of a query; what leaves answers whether an object matches. Pure.

use serde_json::Value;

/// Selects objects by label. Empty selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    label: String,
    must: Must,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Must {
    Exist,
    NotExist,
    In(Vec<String>),
    NotIn(Vec<String>),
    Exceed(i64),
    StayBelow(i64),
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`; says why it cannot.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        split_outside_parentheses(text)
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Requirement::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether every object is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the object's labels meet every requirement.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.0.iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.label)).and_then(Value::as_str);
            requirement.must.holds(value)
        })
    }
}

impl Requirement {
    fn parse(text: &str) -> Result<Self, String> {
        let (label, must) = if let Some(label) = text.strip_prefix('!') {
            (label, Must::NotExist)
        } else if let Some((label, value)) = text.split_once("!=") {
            (label, Must::NotIn(vec![value.trim().into()]))
        } else if let Some((label, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            (label, Must::In(vec![value.trim().into()]))
        } else if let Some((label, set)) = set(text, " notin") {
            (label, Must::NotIn(set))
        } else if let Some((label, set)) = set(text, " in") {
            (label, Must::In(set))
        } else if let Some((label, value)) = text.split_once('>') {
            (label, Must::Exceed(number(value)?))
        } else if let Some((label, value)) = text.split_once('<') {
            (label, Must::StayBelow(number(value)?))
        } else {
            (text, Must::Exist)
        };
        let label = label.trim();
        let is_label = !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
        if !is_label {
            return Err(format!("`{text}` does not start with a label's name"));
        }
        if let Must::In(values) | Must::NotIn(values) = &must
            && let Some(wrong) = values.iter().find(|value| !is_label_value(value))
        {
            return Err(format!("`{wrong}` in `{text}` can be no label's value"));
        }
        Ok(Self { label: label.into(), must })
    }
}

/// At most 63 letters, digits, `-`, `_` and `.`; no label has another value.
fn is_label_value(text: &str) -> bool {
    text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl Must {
    /// As in Kubernetes, a label that is not there satisfies `!=` and `notin`.
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Exist => value.is_some(),
            Self::NotExist => value.is_none(),
            Self::In(set) => value.is_some_and(|value| set.iter().any(|member| member == value)),
            Self::NotIn(set) => value.is_none_or(|value| set.iter().all(|member| member != value)),
            Self::Exceed(bound) => number().is_some_and(|value| value > *bound),
            Self::StayBelow(bound) => number().is_some_and(|value| value < *bound),
        }
    }
}

fn set<'a>(text: &'a str, operator: &str) -> Option<(&'a str, Vec<String>)> {
    let (label, rest) = text.split_once(operator)?;
    let members = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some((label, members.split(',').map(|member| member.trim().to_owned()).collect()))
}

fn number(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("`{}` is not a whole number", text.trim()))
}

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// Selects objects by some of their fields. Empty selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FieldSelector(Vec<(String, Equality, String)>);

/// By name and namespace; Secrets and events by `type`; events by what they are about, as `kubectl describe` asks.
const SELECTING: [&str; 5] = ["metadata.name", "metadata.namespace", "type", "reason", "involvedObject."];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Equality {
    Is,
    IsNot,
}

impl FieldSelector {
    /// Reads `metadata.name=x,metadata.namespace!=y`; says why it cannot.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let term = |text: &str| {
            let (field, equality, value) = if let Some((field, value)) = text.split_once("!=") {
                (field, Equality::IsNot, value)
            } else if let Some((field, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
                (field, Equality::Is, value)
            } else {
                return Err(format!("`{text}` has no `=` or `!=`"));
            };
            let field = field.trim();
            if !SELECTING
                .iter()
                .any(|known| *known == field || (known.ends_with('.') && field.starts_with(known)))
            {
                return Err(format!(
                    "`{field}` does not select: use `metadata.name` or `metadata.namespace`"
                ));
            }
            let field = format!("/{}", field.replace('.', "/"));
            Ok((field, equality, value.trim().to_owned()))
        };
        text.split(',').filter(|part| !part.trim().is_empty()).map(term).collect::<Result<_, _>>().map(Self)
    }

    /// Whether every object is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the object's fields are as required.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equality, value)| {
            let found = object.pointer(field).and_then(Value::as_str).unwrap_or_default();
            (found == value) == (*equality == Equality::Is)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors_select_as_in_kubernetes() {
        let object =
            json!({"metadata": {"labels": {"app": "web", "tier": "front", "weight": "5", "x.io/y": ""}}});
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier=front", true),
            ("app=api", false),
            ("app!=api", true),
            ("other!=api", true),
            ("app in (api, web)", true),
            ("app in (api),tier=front", false),
            ("app notin (api)", true),
            ("other notin (api)", true),
            ("app", true),
            ("other", false),
            ("!other", true),
            ("!app", false),
            ("weight>4", true),
            ("weight<5", false),
            ("app>1", false),
            ("x.io/y=", true),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
        assert!(LabelSelector::parse("a=b").unwrap().matches(&json!({"metadata": {"labels": {"a": "b"}}})));
        assert!(!LabelSelector::parse("a=b").unwrap().matches(&json!({})));
    }

    #[test]
    fn torn_selectors_are_refused() {
        for text in ["=a", "a b", "a in b", "x>y", "!", "a in (b"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
        for text in ["metadata.name", "spec.nodeName=x", "=x"] {
            assert!(FieldSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_select_by_name_and_namespace() {
        let object = json!({"metadata": {"name": "a", "namespace": "shop"}});
        for (text, expected) in [
            ("metadata.name=a", true),
            ("metadata.name=b", false),
            ("metadata.name!=b", true),
            ("metadata.name=a,metadata.namespace==shop", true),
            ("metadata.namespace=x", false),
            ("involvedObject.uid=u", false),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
    }
}
