//! Manifests from files, folders or standard input, ready to be sent.
//!
//! Enters: paths. Leaves: checked objects in the order in which they are applied, or every problem of every file. Never
//! here: requests.

use crate::failure::Failure;
use manifests::{Diagnostic, Kind, Manifest};
use serde_json::Value;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What a folder's files are called when they hold manifests.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// All objects of the files, what others refer to first.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) objects: Vec<Source>,
}

/// One object and where it was written.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// Empty for a kind without namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The object as written, with its namespace.
    pub(crate) value: Value,
    manifest: Manifest,
}

impl Source {
    fn of(manifest: Manifest, namespace: &str) -> Self {
        let kind = manifest.kind();
        let mut value = manifest.value.clone();
        let namespace = match (kind.is_namespaced(), manifest.namespace()) {
            (false, _) => String::new(),
            (true, Some(namespace)) => namespace.to_owned(),
            (true, None) => {
                if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("namespace".to_owned(), Value::from(namespace));
                }
                namespace.to_owned()
            }
        };
        Self { kind, namespace, name: manifest.name().to_owned(), value, manifest }
    }

    /// The diagnostic with this object's name, file, line and column.
    pub(crate) fn place(&self, diagnostic: Diagnostic) -> Diagnostic {
        self.manifest.place(diagnostic)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.manifest.file, self.manifest.subject())
    }
}

/// Reads all manifests; objects without a namespace are taken to be in `namespace`. Warnings go to standard error.
pub(crate) fn load(paths: &[PathBuf], namespace: &str) -> Result<Sources, Failure> {
    let files = read(paths)?;
    let set = manifests::load(files.iter().map(|(name, text)| (name.as_str(), text.as_str())))
        .map_err(|problems| Failure::Problems(problems.iter().map(ToString::to_string).collect()))?;
    for warning in &set.warnings {
        writeln!(io::stderr(), "{warning}")?;
    }
    let mut objects: Vec<Source> =
        set.manifests.into_iter().map(|manifest| Source::of(manifest, namespace)).collect();
    if objects.is_empty() {
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!("there are no objects in {}", names.join(", ")).into());
    }
    // Stable: objects of a kind stay in the order of the files.
    objects.sort_by_key(|source| Kind::ALL.iter().position(|kind| *kind == source.kind));
    Ok(Sources { objects })
}

/// The texts with the names by which problems call them.
fn read(paths: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
            files.push(("standard input".to_owned(), text));
            continue;
        }
        let mut found = Vec::new();
        if let Err(error) = gather(path, &mut found) {
            problems.push(error);
        }
        for path in found {
            match std::fs::read_to_string(&path) {
                Ok(text) => files.push((path.display().to_string(), text)),
                Err(error) => problems.push(format!("{}: {error}", path.display())),
            }
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(Failure::Problems(problems)) }
}

/// A file, or the manifests below a folder in the order of their names. Links to folders are not followed: they may lead
/// back.
fn gather(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let naming = |error: io::Error| format!("{}: {error}", path.display());
    if !std::fs::metadata(path).map_err(naming)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(naming)?.collect();
    let mut entries = entries.map_err(naming)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let before = found.len();
    for entry in entries {
        let entry_path = entry.path();
        let is_manifest = entry_path
            .extension()
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)));
        if entry.file_type().map_err(naming)?.is_dir() {
            // A folder without manifests deep below is nothing unusual.
            drop(gather(&entry_path, found));
        } else if is_manifest {
            found.push(entry_path);
        }
    }
    if found.len() == before {
        return Err(format!("{}: there is no .yaml, .yml or .json file in this folder", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("writable");
            std::fs::write(path, text).expect("writable");
        }
        folder
    }

    #[test]
    fn objects_come_in_the_order_of_dependence_whatever_the_files_are_called() {
        let service =
            "apiVersion: v1\nkind: Service\nmetadata: {name: orders}\nspec: {ports: [{port: 80}]}\n";
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
        let folder = folder(&[
            ("a.yaml", service),
            ("deep/b.yml", namespace),
            ("notes.txt", "not yaml: ["),
            ("empty/x.md", ""),
        ]);
        let set = load(&[folder.path().to_owned()], "shop").expect("valid");
        let names: Vec<(&str, &str)> =
            set.objects.iter().map(|source| (source.namespace.as_str(), source.name.as_str())).collect();
        assert_eq!(names, [("", "shop"), ("shop", "orders")]);
        let service = set.objects.last().expect("two objects");
        assert_eq!(service.value.pointer("/metadata/namespace").and_then(Value::as_str), Some("shop"));
    }

    #[test]
    fn problems_of_all_files_are_reported_together() {
        let folder = folder(&[("a.yaml", "kind: Nothing\n"), ("b.yaml", "- x\n")]);
        let problem = load(&[folder.path().to_owned()], "shop").expect_err("two bad files").to_string();
        assert!(problem.contains("a.yaml:1:1: ") && problem.contains("b.yaml:1:1: "), "{problem}");
    }

    #[test]
    fn a_path_or_folder_without_manifests_is_named() {
        let folder = folder(&[("notes.txt", "")]);
        let paths = [folder.path().to_owned(), "/nonexistent.yaml".into()];
        let problem = load(&paths, "shop").expect_err("nothing there").to_string();
        assert!(problem.contains("there is no .yaml, .yml or .json file"), "{problem}");
        assert!(problem.contains("/nonexistent.yaml: No such file"), "{problem}");
    }
}
