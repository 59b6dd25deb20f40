//! Files of YAML to a set of checked manifests: documents are told apart, `kind: List` is opened, every problem of every
//! file is gathered and given its line and column. Either all manifests are good, or nothing leaves but diagnostics.

use crate::diagnostic::{Code, Diagnostic, Position, Subject};
use crate::envelope;
use crate::kind::Kind;
use crate::locate::{self, Outline};
use crate::object::{Object, Reading};
use crate::path::FieldPath;
use crate::yaml;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most bytes of one file.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most errors reported of one file; the rest is counted.
const ERRORS_MAX: usize = 100;

/// A checked object, and where it was written.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The object as written, for the API.
    pub value: Value,
    /// The object as read.
    pub object: Object,
    /// The file it is from.
    pub file: Arc<str>,
    outline: Option<Arc<Outline>>,
    /// Where in the document it stands: the root, or an entry of a List.
    root: FieldPath,
}

/// Manifests that are good one by one.
#[derive(Debug, Clone, Default)]
pub struct ManifestSet {
    /// The manifests, in the order of the files.
    pub manifests: Vec<Manifest>,
    /// What may not mean what it seems to.
    pub warnings: Vec<Diagnostic>,
}

impl Manifest {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.object.kind()
    }

    /// Its namespace as written, if there is one.
    pub fn namespace(&self) -> Option<&str> {
        self.value.pointer("/metadata/namespace").and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.metadata().name
    }

    /// What diagnostics call it.
    pub fn subject(&self) -> Subject {
        crate::object::subject(self.kind(), &self.value)
    }

    /// Where a field of it stands in the file: its key, or the nearest place on the way to it.
    pub fn locate(&self, path: &FieldPath) -> Option<Position> {
        Some(self.outline.as_ref()?.locate(&self.root.join(path)))
    }

    /// A diagnostic about this object, found elsewhere, with its file and position.
    pub fn place(&self, diagnostic: Diagnostic) -> Diagnostic {
        let position = self.locate(&diagnostic.path);
        Diagnostic { subject: Some(self.subject()), ..diagnostic }.at(&self.file, position)
    }
}

/// Reads files of YAML, each given by its name and text.
///
/// # Errors
/// Everything that is wrong in any of them, warnings included, in the order of the files and lines.
pub fn load<N: AsRef<str>, T: AsRef<str>>(
    files: impl IntoIterator<Item = (N, T)>,
) -> Result<ManifestSet, Vec<Diagnostic>> {
    let (mut manifests, mut diagnostics) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let mut file = File { name: name.as_ref().into(), manifests: Vec::new(), diagnostics: Vec::new() };
        file.read(text.as_ref());
        manifests.extend(file.manifests);
        diagnostics.extend(in_order(file.diagnostics));
    }
    diagnostics.extend(duplicates(&manifests));
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    Ok(ManifestSet { manifests, warnings: diagnostics })
}

/// Reads one value of YAML, of which JSON is a part, as the API takes it in the body of a request. Nothing is known of
/// its kind yet.
///
/// # Errors
/// What is wrong with it as a text, each with its position.
pub fn parse(text: &str) -> Result<Value, Vec<Diagnostic>> {
    let name: Arc<str> = "body".into();
    let mut file = File { name, manifests: Vec::new(), diagnostics: Vec::new() };
    let mut documents = file.documents(text);
    documents.retain(|(value, _)| !value.is_null());
    if documents.len() > 1 {
        let message = format!("there are {} documents, and one is expected", documents.len());
        let problem = Diagnostic::error(Code::BadValue, FieldPath::default(), message);
        file.diagnostics.push(problem.mend("send them one by one"));
    }
    let without_file = |problem| Diagnostic { file: None, ..problem };
    match documents.pop() {
        _ if !file.diagnostics.is_empty() => Err(file.diagnostics.into_iter().map(without_file).collect()),
        document => Ok(document.map(|(value, _)| value).unwrap_or_default()),
    }
}

/// By line; what has no position keeps its place before the rest. Past the bound, one line says how many more.
fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|diagnostic| diagnostic.position);
    if diagnostics.len() > ERRORS_MAX {
        let more = diagnostics.split_off(ERRORS_MAX);
        let is_error = more.iter().any(Diagnostic::is_error);
        let message = format!("{} more problems are not shown", more.len());
        let last = if is_error { Diagnostic::error } else { Diagnostic::warning };
        let file = more.into_iter().find_map(|diagnostic| diagnostic.file);
        diagnostics.push(Diagnostic { file, ..last(Code::OutOfRange, FieldPath::default(), message) });
    }
    diagnostics
}

fn duplicates(manifests: &[Manifest]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<_, &Manifest> = BTreeMap::new();
    let mut found = Vec::new();
    for manifest in manifests {
        let metadata = manifest.object.metadata();
        let key = (manifest.kind(), metadata.namespace.clone(), metadata.name.clone());
        if let Some(earlier) = first.get(&key) {
            let root = FieldPath::default();
            let place = match earlier.locate(&root) {
                Some(position) => format!("{}:{position}", earlier.file),
                None => earlier.file.to_string(),
            };
            let message = format!("this object is described already, at {place}");
            let problem = Diagnostic::error(Code::DuplicateObject, FieldPath::default(), message);
            found.push(manifest.place(problem.mend("keep one of them, or rename it")));
        } else {
            first.insert(key, manifest);
        }
    }
    found
}

/// A file that is being read.
struct File {
    name: Arc<str>,
    manifests: Vec<Manifest>,
    diagnostics: Vec<Diagnostic>,
}

impl File {
    fn read(&mut self, text: &str) {
        for (value, outline) in self.documents(text) {
            self.document(value, outline);
        }
    }

    /// The values of a text as JSON, each with its positions, up to the first error of syntax.
    fn documents(&mut self, text: &str) -> Vec<(Value, Option<Arc<Outline>>)> {
        if text.len() > FILE_BYTES_MAX {
            let message = format!("the file has {} bytes, more than {FILE_BYTES_MAX}", text.len());
            let problem = Diagnostic::error(Code::TooLarge, FieldPath::default(), message);
            self.diagnostics.push(problem.mend("split it").at(&self.name, None));
            return Vec::new();
        }
        let outlines = locate::outlines(text);
        let has_duplicates = outlines.problems.iter().any(|problem| problem.code == Code::DuplicateKey);
        for problem in outlines.problems {
            let position = problem.position;
            self.diagnostics.push(problem.at(&self.name, position));
        }
        if !outlines.is_bounded {
            return Vec::new();
        }
        let outlines: Vec<Arc<Outline>> = outlines.documents.into_iter().map(Arc::new).collect();
        let mut read = Vec::new();
        for (place, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
            let outline = outlines.get(place).cloned();
            match serde_yaml::Value::deserialize(document) {
                Ok(value) => {
                    let mut problems = Vec::new();
                    let value = yaml::to_json(value, &mut problems);
                    self.place(problems, outline.as_ref(), &FieldPath::default());
                    read.push((value, outline));
                }
                // Found already, with both positions.
                Err(error) if has_duplicates && error.to_string().contains("duplicate entry") => {}
                Err(error) => {
                    self.syntax(&error);
                    // After an error of syntax serde_yaml would give it again and again.
                    break;
                }
            }
        }
        read
    }

    fn syntax(&mut self, error: &serde_yaml::Error) {
        let position =
            error.location().map(|location| Position { line: location.line(), column: location.column() });
        let message = without_position(&error.to_string());
        let mend = match message.as_str() {
            message if message.contains("cannot start any token") => {
                "indent with spaces, not tabs, and put texts with special characters in quotes"
            }
            message if message.contains("mapping values are not allowed") => {
                "look for wrong indentation, or a text with `: ` in it that needs quotes"
            }
            message if message.contains("did not find expected key") => {
                "align this line with the keys above it"
            }
            message if message.contains("unknown anchor") => "define it before it is used, as in `&name`",
            message if message.contains("quoted scalar") => "close the quotes",
            message if message.contains("expected ',' or") => "close the bracket",
            _ => "look at this line and the one above it",
        };
        let problem = Diagnostic::error(Code::Syntax, FieldPath::default(), message).mend(mend);
        self.diagnostics.push(problem.at(&self.name, position));
    }

    fn document(&mut self, value: Value, outline: Option<Arc<Outline>>) {
        for (position, text) in outline.iter().flat_map(|outline| outline.ambiguous()) {
            let message = format!("`{text}` is a text here, and not for readers of YAML 1.1 such as kubectl");
            let problem = Diagnostic::warning(Code::Ambiguous, FieldPath::default(), message);
            self.diagnostics.push(problem.mend("put it in quotes").at(&self.name, Some(position)));
        }
        let root = FieldPath::default();
        match &value {
            // Comments, or nothing between two `---`.
            Value::Null => {}
            value if is_list(value) => self.list(value, outline.as_ref()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.object(value, outline, root);
            }
        }
    }

    fn list(&mut self, value: &Value, outline: Option<&Arc<Outline>>) {
        let path = FieldPath::of("items");
        match value.get("items") {
            Some(Value::Array(items)) => {
                for (place, item) in items.iter().enumerate() {
                    self.object(item.clone(), outline.cloned(), path.index(place));
                }
            }
            Some(_) | None => {
                let problem = Diagnostic::error(Code::WrongType, path, "a List needs a list of objects here");
                self.place(vec![problem.mend("begin each object with `- `")], outline, &FieldPath::default());
            }
        }
    }

    fn object(&mut self, value: Value, outline: Option<Arc<Outline>>, root: FieldPath) {
        let kind = match envelope::kind_of(&value) {
            Ok(kind) => kind,
            Err(problems) => return self.place(problems, outline.as_ref(), &root),
        };
        let Reading { object, diagnostics } = Object::read(kind, value.clone());
        self.place(diagnostics, outline.as_ref(), &root);
        if let Some(object) = object {
            self.manifests.push(Manifest { value, object, file: Arc::clone(&self.name), outline, root });
        }
    }

    fn place(&mut self, problems: Vec<Diagnostic>, outline: Option<&Arc<Outline>>, root: &FieldPath) {
        for problem in problems {
            let position = outline.map(|outline| outline.locate(&root.join(&problem.path)));
            self.diagnostics.push(problem.at(&self.name, position));
        }
    }
}

/// serde_yaml says the position within its sentence, as in `found character at line 4 column 1, while scanning`.
fn without_position(text: &str) -> String {
    let mut kept = String::new();
    for part in text.split(" at line ") {
        let place = part.trim_start_matches(|c: char| c.is_ascii_digit());
        match place.strip_prefix(" column ") {
            Some(rest) if place.len() < part.len() => {
                kept += rest.trim_start_matches(|c: char| c.is_ascii_digit())
            }
            Some(_) | None if kept.is_empty() => kept += part,
            Some(_) | None => {
                kept += " at line ";
                kept += part;
            }
        }
    }
    kept
}

fn is_list(value: &Value) -> bool {
    value.get("kind") == Some(&Value::from("List")) && value.get("apiVersion") == Some(&Value::from("v1"))
}
