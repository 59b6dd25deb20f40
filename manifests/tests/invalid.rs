//! What users read when a manifest is wrong: every file of `testdata/invalid/` is loaded and checked as a complete set,
//! and what is found must be, line by line, what stands beside it in a `.txt`. To take on a changed message delete the
//! `.txt`: the test writes it anew and fails once, so that someone reads it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use manifests::{Completeness, Diagnostic, check, load};
use std::path::{Path, PathBuf};

fn found(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let diagnostics = match load([(name, text.as_str())]) {
        Err(diagnostics) => diagnostics,
        Ok(set) => {
            let between = check(&set, Completeness::Complete);
            set.warnings.into_iter().chain(between).collect()
        }
    };
    diagnostics.iter().map(line).collect()
}

fn line(diagnostic: &Diagnostic) -> String {
    format!("[{}] {diagnostic}\n", diagnostic.code)
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/invalid");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn every_invalid_manifest_is_told_apart_with_its_exact_message() {
    let mut wrong = Vec::new();
    for path in cases() {
        let (found, golden) = (found(&path), path.with_extension("txt"));
        match std::fs::read_to_string(&golden) {
            Ok(expected) if expected == found => {}
            Ok(expected) => wrong.push(format!("{}:\nexpected\n{expected}found\n{found}", path.display())),
            Err(_) => {
                std::fs::write(&golden, &found).unwrap();
                wrong.push(format!("{} was not there and is written: read it\n{found}", golden.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_says_where_and_how_to_mend() {
    for path in cases() {
        for line in found(&path).lines() {
            let (_, rest) = line.split_once("] ").unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let position =
                rest.strip_prefix(&format!("{name}:")).unwrap_or_else(|| panic!("no file: {line}"));
            assert!(position.starts_with(|c: char| c.is_ascii_digit()), "no position: {line}");
            assert!(line.contains("; "), "no way to mend: {line}");
        }
    }
}
