//! What is wrong with a manifest: which object, where, what, and how to mend it. Diagnostics are gathered, never thrown
//! one by one; whoever holds the text gives them their file and position.

use crate::path::FieldPath;
use std::fmt;
use std::sync::Arc;

/// What a diagnostic asks of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The manifest is refused.
    Error,
    /// The manifest is taken, and a part of it will not work or may not mean what it seems to.
    Warning,
}

/// The kind of problem, stable across releases: scripts may match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The text is not YAML.
    Syntax,
    /// The text, or one object, has more bytes than the limit.
    TooLarge,
    /// Mappings and lists are nested deeper than the limit.
    TooDeep,
    /// Aliases (`*name`) expand to more than the limit.
    TooManyAliases,
    /// One mapping has the same key twice.
    DuplicateKey,
    /// A document is not a mapping.
    NotAnObject,
    /// No kind we know has this `apiVersion`.
    UnknownApiVersion,
    /// No kind we know has this name.
    UnknownKind,
    /// The kind has no such field.
    UnknownField,
    /// A field that must be there is missing.
    MissingField,
    /// A field holds another type of value than it should.
    WrongType,
    /// A value is not one of those allowed there, or two values exclude each other.
    BadValue,
    /// A name breaks its grammar.
    BadName,
    /// A label or selector breaks its grammar.
    BadLabel,
    /// A port is not between 1 and 65535, or a port's name breaks its grammar.
    BadPort,
    /// A duration is not in the Gateway API's format.
    BadDuration,
    /// A regular expression does not compile.
    BadRegex,
    /// An address is not one.
    BadAddress,
    /// A number or a list is outside its bounds.
    OutOfRange,
    /// Two entries of a list that must differ are the same.
    DuplicateEntry,
    /// Two manifests describe the same object.
    DuplicateObject,
    /// A reference leads to nothing in a set that is said to be complete.
    MissingReference,
    /// Something of Kubernetes or the Gateway API that the mesh does not do.
    Unsupported,
    /// A text other YAML readers, kubectl among them, take for something else.
    Ambiguous,
}

impl Code {
    /// As scripts see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::TooLarge => "too-large",
            Self::TooDeep => "too-deep",
            Self::TooManyAliases => "too-many-aliases",
            Self::DuplicateKey => "duplicate-key",
            Self::NotAnObject => "not-an-object",
            Self::UnknownApiVersion => "unknown-api-version",
            Self::UnknownKind => "unknown-kind",
            Self::UnknownField => "unknown-field",
            Self::MissingField => "missing-field",
            Self::WrongType => "wrong-type",
            Self::BadValue => "bad-value",
            Self::BadName => "bad-name",
            Self::BadLabel => "bad-label",
            Self::BadPort => "bad-port",
            Self::BadDuration => "bad-duration",
            Self::BadRegex => "bad-regex",
            Self::BadAddress => "bad-address",
            Self::OutOfRange => "out-of-range",
            Self::DuplicateEntry => "duplicate-entry",
            Self::DuplicateObject => "duplicate-object",
            Self::MissingReference => "missing-reference",
            Self::Unsupported => "unsupported",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a text. Both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column in it.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The object a diagnostic is about, as far as it is known: it may have no valid name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The kind's name, for example `HTTPRoute`.
    pub kind: String,
    /// Its namespace, if one is given.
    pub namespace: Option<String>,
    /// Its name, if it has one.
    pub name: Option<String>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}"),
            (None, Some(name)) => write!(f, " {name}"),
            (Some(_) | None, None) => Ok(()),
        }
    }
}

/// One problem of one manifest. Its `Display` is one line:
/// `shop.yaml:12:9: HTTPRoute shop/orders: spec.rules[0].backendRefs[0].port: what is wrong; how to mend it`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the manifest is refused for it.
    pub severity: Severity,
    /// What kind of problem it is.
    pub code: Code,
    /// Which object has it, if the text got that far.
    pub subject: Option<Subject>,
    /// Which field; the root if it is the object as a whole.
    pub path: FieldPath,
    /// The file, if the object comes from one.
    pub file: Option<Arc<str>>,
    /// Where in that file.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Diagnostic {
    /// A problem for which the manifest is refused.
    pub fn error(code: Code, path: FieldPath, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            subject: None,
            path,
            file: None,
            position: None,
            message: message.into(),
            mend: None,
        }
    }

    /// A problem the manifest is taken with.
    pub fn warning(code: Code, path: FieldPath, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, path, message) }
    }

    /// This diagnostic with a way to mend it.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// This diagnostic with a place in a file.
    #[must_use]
    pub fn at(mut self, file: &Arc<str>, position: Option<Position>) -> Self {
        self.file = Some(Arc::clone(file));
        self.position = position;
        self
    }

    /// Whether the manifest is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether the value at its path could not be read at all, so that nothing more can be said of it.
    fn is_structural(&self) -> bool {
        let codes = [Code::UnknownField, Code::MissingField, Code::WrongType];
        self.is_error() && !self.path.is_root() && codes.contains(&self.code)
    }

    /// The message and the mend without file, object and path: what a Kubernetes status carries per field.
    pub fn sentence(&self) -> String {
        match &self.mend {
            Some(mend) => format!("{}; {mend}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            match self.position {
                Some(position) => write!(f, "{file}:{position}: ")?,
                None => write!(f, "{file}: ")?,
            }
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if let Some(subject) = &self.subject {
            write!(f, "{subject}: ")?;
        }
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.sentence())
    }
}

impl std::error::Error for Diagnostic {}

/// Gathers the diagnostics of one object while it is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: Vec<Diagnostic>,
}

impl Report {
    /// Adds one, unless it is the echo of a field already found to be missing, unknown or of a wrong type.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let echoes =
            |earlier: &Diagnostic| earlier.is_structural() && earlier.path.is_start_of(&diagnostic.path);
        if !self.found.iter().any(echoes) {
            self.found.push(diagnostic);
        }
    }

    /// What has been gathered so far.
    #[cfg(test)]
    pub(crate) fn found(&self) -> &[Diagnostic] {
        &self.found
    }

    /// Adds an error.
    pub(crate) fn error(
        &mut self,
        code: Code,
        path: FieldPath,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(Diagnostic::error(code, path, message).mend(mend));
    }

    /// Adds a warning.
    pub(crate) fn warning(
        &mut self,
        code: Code,
        path: FieldPath,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(Diagnostic::warning(code, path, message).mend(mend));
    }

    /// Whether anything gathered so far refuses the object.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// Everything gathered, each about `subject`.
    pub(crate) fn finish(self, subject: &Subject) -> Vec<Diagnostic> {
        let about = |diagnostic| Diagnostic { subject: Some(subject.clone()), ..diagnostic };
        self.found.into_iter().map(about).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_is_one_line_that_says_where_what_and_how_to_mend() {
        let path = FieldPath::parse("spec.rules[0].backendRefs[0].port");
        let diagnostic = Diagnostic {
            subject: Some(Subject {
                kind: "HTTPRoute".to_owned(),
                namespace: Some("shop".to_owned()),
                name: Some("orders".to_owned()),
            }),
            ..Diagnostic::error(Code::BadPort, path, "0 is not a port").mend("choose one from 1 to 65535")
        };
        let placed = diagnostic.at(&"shop.yaml".into(), Some(Position { line: 12, column: 9 }));
        assert_eq!(
            placed.to_string(),
            "shop.yaml:12:9: HTTPRoute shop/orders: spec.rules[0].backendRefs[0].port: 0 is not a port; \
             choose one from 1 to 65535"
        );
    }
}
