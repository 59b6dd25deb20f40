//! What a path or a text must look like: exactly this, this or below, or a regular expression. Regular expressions are
//! compiled once to prove that they can be, and kept as text: the sidecar compiles its own.

/// Most bytes of a pattern (Gateway API: `maxLength` of a path is 1024, of a header value 4096).
const PATH_BYTES_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 4096;
/// Most bytes of a compiled regular expression: the sidecar's bound.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// A condition on a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// Exactly this path.
    Exact(String),
    /// This path or below it, by whole path elements, without a slash at the end. `/` fits everything.
    Prefix(String),
    /// The whole path fits this regular expression.
    Regex(String),
}

/// A condition on the value of a header or query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextPattern {
    /// Exactly this.
    Exact(String),
    /// The whole text fits this regular expression.
    Regex(String),
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A path must begin with `/`.
    #[error("a path must begin with `/`")]
    Relative,
    /// A path has a part that never reaches a server as it is.
    #[error("a path to match may not contain {0:?}: requests are matched after their path is made plain")]
    NotPlain(&'static str),
    /// It is too long.
    #[error("it has {0} bytes, more than {1}")]
    TooLong(usize, usize),
    /// It may not be empty.
    #[error("it is empty")]
    Empty,
    /// The regular expression does not compile; what the compiler says.
    #[error("the regular expression does not compile: {0}")]
    Regex(String),
}

impl PathPattern {
    /// The path that must be met exactly.
    ///
    /// # Errors
    /// [`PatternError`] with the rule it breaks.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        plain_path(text).map(|()| Self::Exact(text.to_owned()))
    }

    /// The path that must be met, or gone below. A slash at the end means nothing and is dropped.
    ///
    /// # Errors
    /// [`PatternError`] with the rule it breaks.
    pub fn prefix(text: &str) -> Result<Self, PatternError> {
        plain_path(text)?;
        let trimmed = text.trim_end_matches('/');
        Ok(Self::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.to_owned()))
    }

    /// The regular expression the whole path must fit.
    ///
    /// # Errors
    /// [`PatternError`] if it is too long or does not compile.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        compiles(text, PATH_BYTES_MAX).map(|()| Self::Regex(text.to_owned()))
    }
}

impl Default for PathPattern {
    fn default() -> Self {
        Self::Prefix("/".to_owned())
    }
}

impl TextPattern {
    /// The text that must be met exactly.
    ///
    /// # Errors
    /// [`PatternError`] if it is empty or too long.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        bounded(text, TEXT_BYTES_MAX).map(|()| Self::Exact(text.to_owned()))
    }

    /// The regular expression the whole text must fit.
    ///
    /// # Errors
    /// [`PatternError`] if it is empty, too long, or does not compile.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        compiles(text, TEXT_BYTES_MAX).map(|()| Self::Regex(text.to_owned()))
    }
}

fn bounded(text: &str, most: usize) -> Result<(), PatternError> {
    match text.len() {
        0 => Err(PatternError::Empty),
        length if length > most => Err(PatternError::TooLong(length, most)),
        _ => Ok(()),
    }
}

/// Gateway API: an exact or prefix path is absolute and has no part that normalisation would change.
fn plain_path(text: &str) -> Result<(), PatternError> {
    bounded(text, PATH_BYTES_MAX)?;
    if !text.starts_with('/') {
        return Err(PatternError::Relative);
    }
    for part in ["//", "/./", "/../", "%2f", "%2F", "#", "?"] {
        if text.contains(part) {
            return Err(PatternError::NotPlain(part));
        }
    }
    for part in ["/..", "/."] {
        if text.ends_with(part) {
            return Err(PatternError::NotPlain(part));
        }
    }
    Ok(())
}

fn compiles(text: &str, most: usize) -> Result<(), PatternError> {
    bounded(text, most)?;
    // As the sidecar will compile it; alone first, so that `a)|(b` is not made whole by the group around it.
    let build =
        |text: &str| regex::bytes::RegexBuilder::new(text).unicode(false).size_limit(REGEX_SIZE_MAX).build();
    match build(text).and_then(|_| build(&format!("^(?:{text})$"))) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            Err(PatternError::Regex(reason.trim_start_matches("error: ").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_of_a_prefix_means_nothing() {
        assert_eq!(PathPattern::prefix("/shop/").unwrap(), PathPattern::Prefix("/shop".to_owned()));
        assert_eq!(PathPattern::prefix("/").unwrap(), PathPattern::default());
    }

    #[test]
    fn a_path_no_plain_request_can_have_is_refused() {
        for text in
            ["", "shop", "/a//b", "/a/./b", "/a/../b", "/a%2fb", "/a%2Fb", "/a/..", "/a/.", "/a#b", "/a?b"]
        {
            assert!(PathPattern::exact(text).is_err(), "{text}");
            assert!(PathPattern::prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_regular_expression_that_does_not_compile_is_refused() {
        assert!(PathPattern::regex("/shop/(a|b)").is_ok());
        for text in ["/shop/(a|b", "[", "a{2,1}", ")(", "a)|(b", "(?=a)", "(a{1000}){1000}", ""] {
            assert!(PathPattern::regex(text).is_err(), "{text}");
            assert!(TextPattern::regex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_bounded() {
        let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
        assert!(PathPattern::exact(&path(1024)).is_ok());
        assert_eq!(PathPattern::exact(&path(1025)), Err(PatternError::TooLong(1025, 1024)));
        assert!(TextPattern::exact(&"a".repeat(4096)).is_ok());
        assert_eq!(TextPattern::exact(&"a".repeat(4097)), Err(PatternError::TooLong(4097, 4096)));
    }
}
