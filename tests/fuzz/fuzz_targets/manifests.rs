//! A file of manifests is loaded, checked and complained about, at places that are in it.

#![no_main]

use manifests::{Completeness, Diagnostic, check, load, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    parse(text).ok();
    // YAML knows more ends of lines than one.
    let lines =
        text.chars().filter(|end| matches!(end, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')).count()
            + 1;
    let is_there = |found: &Diagnostic| found.position.is_none_or(|at| at.line >= 1 && at.line <= lines + 1);
    match load([("any.yaml", text)]) {
        Ok(set) => {
            let found = check(&set, Completeness::Complete);
            let mut all = found.iter().chain(&set.warnings);
            assert!(all.all(|found| is_there(found) && !found.to_string().is_empty()));
        }
        Err(found) => {
            assert!(found.iter().any(Diagnostic::is_error), "what is not loaded is wrong somewhere");
            assert!(found.iter().all(is_there), "{found:?}");
        }
    }
});
