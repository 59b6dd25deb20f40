//! DNS labels and the names that are one label.

use crate::NameError;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

/// One DNS label in lower case: 1 to 63 of `a-z 0-9 -`, first and last alphanumeric (RFC 1123 §2.1). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

/// One or more labels joined by dots, at most 253 characters: the name of an object that is not also a DNS label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subdomain(Arc<str>);

/// A namespace: the first half of every name in the mesh, and part of every identity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Label);

/// A service account: what a workload is, as far as authorization goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccount(Label);

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subdomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Namespace {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl ServiceAccount {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The rule `text` breaks as a label, if any.
pub(crate) fn broken_rule(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (None, _) | (_, None) => return Some("it is empty"),
        (Some(b'-'), _) | (_, Some(b'-')) => return Some("it must start and end with a letter or digit"),
        _ => {}
    }
    if bytes.len() > LABEL_MAX {
        return Some("it has more than 63 characters");
    }
    if bytes.iter().any(u8::is_ascii_uppercase) {
        return Some("it must be in lower case");
    }
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    (!bytes.iter().all(allowed)).then_some("only lower-case letters, digits and `-` may stand in it")
}

fn parse_label(text: &str, what: &'static str) -> Result<Label, NameError> {
    match broken_rule(text) {
        None => Ok(Label(text.into())),
        Some(rule) => Err(NameError::new(text, what, rule)),
    }
}

impl FromStr for Label {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_label(text, "a DNS label")
    }
}

impl FromStr for Namespace {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_label(text, "a namespace").map(Self)
    }
}

impl FromStr for ServiceAccount {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_label(text, "a service account").map(Self)
    }
}

impl FromStr for Subdomain {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let rule = if text.len() > SUBDOMAIN_MAX {
            Some("it has more than 253 characters")
        } else {
            text.split('.').find_map(broken_rule)
        };
        match rule {
            None => Ok(Self(text.into())),
            Some(rule) => Err(NameError::new(text, "an object name", rule)),
        }
    }
}

impl From<Label> for Subdomain {
    fn from(label: Label) -> Self {
        Self(label.0)
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}
as_text!(Label, Subdomain, Namespace, ServiceAccount);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_broken_rule_of_a_label_is_named() {
        for (text, rule) in [
            ("", "it is empty"),
            ("-a", "it must start and end with a letter or digit"),
            ("a-", "it must start and end with a letter or digit"),
            ("Shop", "it must be in lower case"),
            ("a_b", "only lower-case letters, digits and `-` may stand in it"),
            ("a.b", "only lower-case letters, digits and `-` may stand in it"),
            ("é", "only lower-case letters, digits and `-` may stand in it"),
            (&"a".repeat(64), "it has more than 63 characters"),
        ] {
            assert_eq!(text.parse::<Label>().unwrap_err().rule, rule, "{text:?}");
        }
        assert!("a".repeat(63).parse::<Label>().is_ok());
    }

    #[test]
    fn an_error_reads_as_one_sentence() {
        assert_eq!(
            "Shop".parse::<Namespace>().unwrap_err().to_string(),
            "`Shop` is not a namespace: it must be in lower case"
        );
    }

    proptest! {
        #[test]
        fn a_label_displays_as_it_was_written(text in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            prop_assert_eq!(text.parse::<Label>().unwrap().to_string(), text);
        }

        #[test]
        fn any_text_is_judged_without_panic(text in ".*") {
            if let Ok(name) = text.parse::<Subdomain>() { prop_assert_eq!(name.to_string(), text); }
        }
    }
}
