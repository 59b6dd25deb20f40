//! Rules on Rust files written by people.

use super::Finding;
use super::text::code;
use super::tree::Tree;

/// Longest file.
const LONGEST_LINES: usize = 500;
/// Constructors and types of channels without a bound.
const UNBOUNDED: [&str; 3] = ["unbounded_channel", "UnboundedSender", "UnboundedReceiver"];
/// The same by their paths: the standard library's channel has no bound unless it says so.
const UNBOUNDED_PATHS: [&str; 3] = ["mpsc::channel()", "mpsc::unbounded", "channel::unbounded"];
/// Notes that promise work, written so that this file does not hold them.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.sources() {
        findings.extend(length(path, text));
        findings.extend(module_doc(path, text));
        let code = code(text);
        findings.extend(forbidden_words(path, &code));
        findings.extend(sleeping_tests(path, text, &code));
    }
    for (path, text) in tree.texts() {
        findings.extend(notes(path, text));
    }
    findings
}

fn length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > LONGEST_LINES).then(|| {
        let message =
            format!("{lines} lines, at most {LONGEST_LINES}: move one purpose into a file of its own");
        Finding::new(path, LONGEST_LINES + 1, message)
    })
}

fn module_doc(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    (!first.starts_with("//!")).then(|| {
        Finding::new(path, 1, "no module documentation: say first what this file is for, with `//!`")
    })
}

fn forbidden_words(path: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        if words(line).any(|word| word == "unsafe") {
            findings.push(Finding::new(
                path,
                number,
                "unsafe code: find the safe way, or a crate that offers it",
            ));
        }
        let by_path = UNBOUNDED_PATHS.into_iter().find(|path| line.contains(path));
        if let Some(what) = by_path.or_else(|| words(line).find(|word| UNBOUNDED.contains(word))) {
            let message =
                format!("`{what}` has no bound: use a bounded channel, or `watch` for a latest value");
            findings.push(Finding::new(path, number, message));
        }
    }
    findings
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

/// A test that sleeps is slow when the machine is fast and wrong when it is slow. Free to sleep are `eventually`, which
/// waits for a claim in `tests/src`, and tests whose clock is paused.
fn sleeping_tests(path: &str, text: &str, code: &str) -> Vec<Finding> {
    // Programs that measure keep time themselves.
    let measures = ["tests/load/", "tests/scale/"].iter().any(|folder| path.starts_with(folder));
    let whole_file = path.starts_with("tests/") && !measures || path.ends_with("/tests.rs");
    let mut in_tests = whole_file;
    let mut only_in_tests = false;
    let mut clock_is_paused = false;
    let mut function = "";
    let mut findings = Vec::new();
    for (number, (line, code)) in (1..).zip(text.lines().zip(code.lines())) {
        let trimmed = code.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            only_in_tests = true;
        } else if !trimmed.starts_with("#[") {
            // A single item for tests, such as a constructor, does not begin the tests; a module does.
            in_tests |= only_in_tests && trimmed.starts_with("mod ") && trimmed.ends_with('{');
            only_in_tests = false;
        }
        if trimmed.starts_with("#[tokio::test") || trimmed.starts_with("#[test]") {
            clock_is_paused = line.contains("start_paused = true");
        }
        if let Some((_, after)) = code.split_once("fn ") {
            function = words(after).next().unwrap_or_default();
        }
        let sleeps = words(code).any(|word| word == "sleep") && code.contains("sleep(");
        let may_sleep = clock_is_paused || function == "eventually" && path.starts_with("tests/src/");
        if in_tests && sleeps && !may_sleep {
            let message = "a test that sleeps: wait for the event, or use `eventually` with a deadline";
            findings.push(Finding::new(path, number, message));
        }
    }
    findings
}

fn notes(path: &str, text: &str) -> Vec<Finding> {
    let noted = |line: &str| NOTES.iter().find(|note| words(line).any(|word| word == **note)).copied();
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| {
            let note = noted(line)?;
            Some(Finding::new(path, number, format!("{note}: do it now, or leave it out")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_of_five_hundred_lines_passes_and_one_more_does_not() {
        let lines = |count: usize| format!("//! A.\n{}", "fn a() {}\n".repeat(count - 1));
        assert!(messages("a/src/b.rs", &lines(500)).is_empty());
        assert!(messages("a/src/b.rs", &lines(501))[0].starts_with("a/src/b.rs:501: 501 lines"));
        assert!(messages("a/src/generated/b.rs", &lines(501)).is_empty());
    }

    #[test]
    fn a_file_without_module_documentation_is_found() {
        assert!(messages("a/src/b.rs", "use a;\n")[0].contains("a/src/b.rs:1: no module documentation"));
        assert!(messages("a/src/b.rs", "//! What.\n").is_empty());
    }

    #[test]
    fn unsafe_code_is_found_but_not_the_word_in_prose() {
        assert_eq!(messages("a.rs", "//! A.\nunsafe { a() }\n").len(), 1);
        assert!(messages("a.rs", "//! Never unsafe.\nlet unsafe_code = \"unsafe\";\n").is_empty());
    }

    #[test]
    fn every_unbounded_channel_is_found() {
        for what in UNBOUNDED.into_iter().chain(UNBOUNDED_PATHS) {
            assert_eq!(messages("a.rs", &format!("//! A.\nlet a = {what};\n")).len(), 1, "{what}");
        }
        assert!(messages("a.rs", "//! A.\nlet a = mpsc::channel(8);\n").is_empty());
    }

    #[test]
    fn a_sleeping_test_is_found_and_waiting_is_not() {
        let sleeping = "//! A.\n#[cfg(test)]\nmod tests {\n#[test]\nfn a() { std::thread::sleep(b); }\n}\n";
        assert!(messages("a/src/b.rs", sleeping)[0].starts_with("a/src/b.rs:5: a test that sleeps"));
        assert_eq!(messages("tests/mesh/a.rs", "//! A.\nfn a() { sleep(b).await; }\n").len(), 1);
        assert!(messages("a/src/b.rs", "//! A.\nfn a() { sleep(b); }\n").is_empty());
        assert!(
            messages("tests/src/wait.rs", "//! A.\npub fn eventually() {\n    sleep(b);\n}\n").is_empty()
        );
        let paused = "//! A.\n#[cfg(test)]\nmod tests {\n#[tokio::test(start_paused = true)]\nfn a() { sleep(b); }\n}\n";
        assert!(messages("a/src/b.rs", paused).is_empty());
    }

    #[test]
    fn notes_to_self_are_found_in_any_file() {
        for note in NOTES {
            assert_eq!(
                messages("a.md", &format!("# A\n{note}: b\n")),
                [format!("a.md:2: {note}: do it now, or leave it out")]
            );
        }
    }
}
