//! One condition of a match, compiled: path, header value, query parameter. Gateway API semantics: a prefix fits by
//! whole path elements, an expression must fit the whole text. Expressions are byte-wise (ASCII classes, as in RE2)
//! and linear in the text's length.

use mesh_protocol::service::{PathMatch, TextMatch};
use regex::bytes::{Regex, RegexBuilder};

/// Most memory one compiled expression may take; one that needs more is refused.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// A route that can't be compiled.
#[derive(Debug, thiserror::Error)]
#[error("route `{route}` rule {rule}: the regular expression `{pattern}` can't be used")]
pub struct RouteError {
    /// The route, `namespace/name`.
    pub route: String,
    /// The rule's place in that route, from 0.
    pub rule: u32,
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

/// A condition on the path.
#[derive(Debug)]
pub(super) enum PathCondition {
    /// Fits every path.
    Any,
    /// Exactly this.
    Exact(Box<str>),
    /// This or below; without a slash at the end.
    Prefix(Box<str>),
    /// The whole path.
    Regex(Regex),
}

/// A condition on a text.
#[derive(Debug)]
pub(super) enum TextCondition {
    /// Exactly this.
    Exact(Box<str>),
    /// The whole text.
    Regex(Regex),
}

/// Compiles an expression so that it must fit the whole text.
fn whole(pattern: &str) -> Result<Regex, (String, regex::Error)> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .unicode(false)
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|error| (pattern.to_owned(), error))
}

impl PathCondition {
    pub(super) fn compile(path: &PathMatch) -> Result<Self, (String, regex::Error)> {
        Ok(match path {
            PathMatch::Exact(path) => Self::Exact(path.as_str().into()),
            PathMatch::Prefix(prefix) => match prefix.trim_end_matches('/') {
                "" => Self::Any,
                prefix => Self::Prefix(prefix.into()),
            },
            PathMatch::Regex(pattern) => Self::Regex(whole(pattern)?),
        })
    }

    pub(super) fn fits(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => path == &**exact,
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }
}

impl TextCondition {
    pub(super) fn compile(text: &TextMatch) -> Result<Self, (String, regex::Error)> {
        Ok(match text {
            TextMatch::Exact(text) => Self::Exact(text.as_str().into()),
            TextMatch::Regex(pattern) => Self::Regex(whole(pattern)?),
        })
    }

    pub(super) fn fits(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_fits_by_whole_path_elements() {
        for (prefix, path, fits) in [
            ("/", "/", true),
            ("/", "/x", true),
            ("/abc", "/abc", true),
            ("/abc", "/abc/", true),
            ("/abc", "/abc/d", true),
            ("/abc", "/abcd", false),
            ("/abc/", "/abc", true),
            ("/abc/", "/abc/d", true),
            ("/abc", "/ab", false),
            ("/Abc", "/abc", false),
            ("/a/b", "/a/b/c", true),
            ("/a/b", "/a", false),
        ] {
            let condition = PathCondition::compile(&PathMatch::Prefix(prefix.into())).unwrap();
            assert_eq!(condition.fits(path), fits, "{prefix} {path}");
        }
    }

    #[test]
    fn an_expression_must_fit_the_whole_text() {
        let condition = PathCondition::compile(&PathMatch::Regex("/v[0-9]+|/w".into())).unwrap();
        for (path, fits) in [("/v12", true), ("/v12/x", false), ("/w", true), ("/x/w", false), ("/v", false)]
        {
            assert_eq!(condition.fits(path), fits, "{path}");
        }
        let any = TextCondition::compile(&TextMatch::Regex("caf.+".into())).unwrap();
        assert!(any.fits(b"caf\xe9"));
        assert!(PathCondition::compile(&PathMatch::Regex("(".into())).is_err());
        assert!(PathCondition::compile(&PathMatch::Regex("(a{1000}){1000}".into())).is_err());
    }

    proptest! {
        #[test]
        fn a_prefix_fits_itself_and_whatever_is_below(prefix in "(/[a-z]{1,3}){1,3}", rest in "[a-z/]{0,5}") {
            let condition = PathCondition::compile(&PathMatch::Prefix(prefix.clone())).unwrap();
            prop_assert!(condition.fits(&prefix));
            let below = format!("{prefix}/{rest}");
            prop_assert!(condition.fits(&below));
            let beside = format!("{prefix}x{rest}");
            prop_assert!(!condition.fits(&beside));
        }
    }
}
