//! The query of a request: what enters is the text after `?`; what leaves is typed, or a 400 that names the parameter.
//! Parameters that are not known are ignored, as Kubernetes does.

use super::delete::Propagation;
use super::selector::{FieldSelector, LabelSelector};
use super::status::Failure;
use crate::store::{Document, Revision};
use std::time::Duration;

/// What to do about fields the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    Warn,
    /// Refuse the object. The default here: a field that does nothing is a mistake somebody will search for.
    Strict,
}

/// Whether a write happens or is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Real,
    Dry,
}

/// Who is said to manage the fields of a write, and whether it may take fields over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldManager {
    pub(crate) name: Option<String>,
    pub(crate) force: bool,
}

/// Everything a query may say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    pub(crate) watch: bool,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) revision: Option<Revision>,
    /// Whether a list is to be as of `revision`, or may be newer.
    pub(crate) is_exact: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) resume: Option<String>,
    pub(crate) bookmarks: bool,
    pub(crate) initial_events: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) run: Run,
    /// What becomes of what a deleted object owns.
    pub(crate) propagation: Option<Propagation>,
    pub(crate) validation: FieldValidation,
    pub(crate) manager: FieldManager,
    /// How much of an object a Table's rows carry: `None`, `Metadata` (the default) or `Object`.
    pub(crate) include: Include,
}

/// How much of an object a Table's rows carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Query {
    /// Whether the selectors select an object. It is read only if there are any.
    pub(crate) fn selects(&self, object: &Document) -> bool {
        if self.labels.is_empty() && self.fields.is_empty() {
            return true;
        }
        let object = object.read();
        self.labels.matches(&object) && self.fields.matches(&object)
    }
}

impl Default for Query {
    fn default() -> Self {
        Self {
            watch: false,
            labels: LabelSelector::default(),
            fields: FieldSelector::default(),
            revision: None,
            is_exact: false,
            limit: None,
            resume: None,
            bookmarks: false,
            initial_events: false,
            timeout: None,
            run: Run::Real,
            propagation: None,
            validation: FieldValidation::Strict,
            manager: FieldManager { name: None, force: false },
            include: Include::Metadata,
        }
    }
}

impl Query {
    /// Reads the text after `?`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut query = Self::default();
        for (name, value) in pairs(text) {
            let wrong = |why: &str| Failure::bad_request(format!("query parameter {name}={value}: {why}"));
            let number = || value.parse::<u64>().map_err(|_| wrong("must be a whole number, zero or more"));
            match name.as_str() {
                "watch" => query.watch = flag(&value),
                "labelSelector" => query.labels = LabelSelector::parse(&value).map_err(|why| wrong(&why))?,
                "fieldSelector" => query.fields = FieldSelector::parse(&value).map_err(|why| wrong(&why))?,
                "resourceVersion" if value.is_empty() => {}
                "resourceVersion" => query.revision = Some(Revision(number()?)),
                "resourceVersionMatch" => match value.as_str() {
                    "Exact" => query.is_exact = true,
                    "NotOlderThan" | "" => query.is_exact = false,
                    _ => return Err(wrong("must be `Exact` or `NotOlderThan`")),
                },
                "limit" => query.limit = usize::try_from(number()?).ok().filter(|limit| *limit > 0),
                "continue" => query.resume = Some(value).filter(|token| !token.is_empty()),
                "allowWatchBookmarks" => query.bookmarks = flag(&value),
                "sendInitialEvents" => query.initial_events = flag(&value),
                "timeoutSeconds" => {
                    query.timeout = Some(Duration::from_secs(number()?)).filter(|time| !time.is_zero());
                }
                "dryRun" => match value.as_str() {
                    "" => {}
                    "All" => query.run = Run::Dry,
                    _ => return Err(wrong("must be `All`")),
                },
                "propagationPolicy" if value.is_empty() => {}
                "propagationPolicy" => {
                    let known = Propagation::parse(&value);
                    query.propagation =
                        Some(known.ok_or_else(|| wrong("must be `Background`, `Foreground` or `Orphan`"))?);
                }
                "fieldValidation" => match value.as_str() {
                    "Ignore" => query.validation = FieldValidation::Ignore,
                    "Warn" => query.validation = FieldValidation::Warn,
                    "Strict" | "" => query.validation = FieldValidation::Strict,
                    _ => return Err(wrong("must be `Ignore`, `Warn` or `Strict`")),
                },
                "fieldManager" if value.len() > 128 => return Err(wrong("must have at most 128 characters")),
                "fieldManager" => query.manager.name = Some(value).filter(|name| !name.is_empty()),
                "force" => query.manager.force = flag(&value),
                "includeObject" => match value.as_str() {
                    "None" => query.include = Include::Nothing,
                    "Metadata" | "" => query.include = Include::Metadata,
                    "Object" => query.include = Include::Object,
                    _ => return Err(wrong("must be `None`, `Metadata` or `Object`")),
                },
                _ => {}
            }
        }
        if query.is_exact && query.revision.is_none_or(|revision| revision.0 == 0) {
            return Err(Failure::bad_request(
                "query parameter resourceVersionMatch=Exact: name a resourceVersion",
            ));
        }
        if query.is_exact && query.watch {
            return Err(Failure::bad_request(
                "query parameter resourceVersionMatch=Exact: a watch has no such start",
            ));
        }
        Ok(query)
    }
}

fn flag(value: &str) -> bool {
    matches!(value, "" | "1" | "true" | "True" | "t")
}

/// Names and values, decoded.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// Percent-decoding of a form's text (`+` is a space). What is not an escape stays; bytes that are not UTF-8 become
/// U+FFFD and so match nothing.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = match byte {
            b'%' => {
                let mut ahead = rest.clone();
                let digit = |b: Option<u8>| char::from(b?).to_digit(16).and_then(|d| u8::try_from(d).ok());
                digit(ahead.next()).zip(digit(ahead.next())).map(|(high, low)| (high * 16 + low, ahead))
            }
            _ => None,
        };
        match (escaped, byte) {
            (Some((decoded, ahead)), _) => {
                bytes.push(decoded);
                rest = ahead;
            }
            (None, b'+') => bytes.push(b' '),
            (None, other) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_typed() {
        let query = Query::parse(
            "watch=true&resourceVersion=12&limit=500&labelSelector=a%3Db%2Cc%21%3Dd&timeoutSeconds=30&dryRun=All\
             &fieldValidation=Warn&fieldManager=kubectl-client-side-apply&unknown=1&fieldSelector=metadata.name%3dx",
        )
        .unwrap();
        assert!(query.watch);
        assert_eq!(query.revision, Some(Revision(12)));
        assert_eq!((query.limit, query.timeout), (Some(500), Some(Duration::from_secs(30))));
        assert_eq!((query.run, query.validation), (Run::Dry, FieldValidation::Warn));
        assert_eq!(query.manager.name.as_deref(), Some("kubectl-client-side-apply"));
        assert_eq!(query.labels, LabelSelector::parse("a=b,c!=d").unwrap());
        assert_eq!(query.fields, FieldSelector::parse("metadata.name=x").unwrap());
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for text in [
            "resourceVersion=x",
            "limit=-1",
            "dryRun=Some",
            "propagationPolicy=foreground",
            "fieldValidation=no",
            "labelSelector=%3D",
        ] {
            let failure = Query::parse(text).unwrap_err();
            let name = text.split('=').next().unwrap();
            assert!(failure.message().contains(name), "{}", failure.message());
        }
    }

    #[test]
    fn a_torn_escape_stays_as_it_is() {
        for (text, decoded) in
            [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("a%2Fb+c", "a/b c"), ("%e2%82%ac", "€")]
        {
            assert_eq!(decode(text), decoded);
        }
    }
}
