//! Runs test binaries, shows what they print, and counts. `cargo nextest` is used when it is installed, because it runs
//! each test in a process of its own and shows the output of failed ones only; else `cargo test`.

use crate::cargo;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// What came of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Said in the table; why something was skipped.
    pub(super) note: String,
}

impl Tally {
    pub(super) fn passed(passed: u64) -> Self {
        Self { passed, ..Self::default() }
    }

    pub(super) fn failed(failed: u64) -> Self {
        Self { failed, ..Self::default() }
    }

    pub(super) fn skipped(skipped: u64) -> Self {
        Self { skipped, ..Self::default() }
    }

    pub(super) fn because(mut self, note: &str) -> Self {
        note.clone_into(&mut self.note);
        self
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        if self.note.is_empty() {
            self.note.clone_from(&other.note);
        }
    }
}

/// Which tests to run, in the words of each runner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection<'a> {
    /// A filter over the whole workspace: nextest then builds the same set of crates for every check, so that nothing is
    /// built twice because some check needs a feature of a dependency that another does not.
    pub(super) nextest: &'a str,
    /// The arguments that come nearest to it.
    pub(super) cargo: &'a [&'a str],
}

/// Builds every binary, with the dependencies' features that the tests are built with.
pub(super) fn build_binaries() -> Result<()> {
    cargo::run(cargo::cargo()?.args(["build", "--workspace", "--bins", "--tests"]))
}

/// Runs the selected tests with these environment variables.
pub(super) fn run_tests(selection: Selection<'_>, environment: &[(&str, OsString)]) -> Result<Tally> {
    let mut command = cargo::cargo()?;
    let runner = if has_nextest()? { Runner::Nextest } else { Runner::Cargo };
    if runner == Runner::Nextest {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass", "-E"]);
        command.arg(selection.nextest);
    } else {
        command.args(["test", "--no-fail-fast"]).args(selection.cargo);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    shown_and_counted(command, runner)
}

/// Runs the examples in the documentation.
pub(super) fn run_doc_tests() -> Result<Tally> {
    let mut command = cargo::cargo()?;
    command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    shown_and_counted(command, Runner::Cargo)
}

fn has_nextest() -> Result<bool> {
    let mut command = cargo::cargo()?;
    let found = command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(found.context("starting cargo")?.success())
}

/// Runs `command`, passes its output on, and counts the tests it reports. A command that fails without reporting a
/// failed test (it did not compile) counts as one failure.
fn shown_and_counted(mut command: Command, runner: Runner) -> Result<Tally> {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting cargo")?;
    let stderr = child.stderr.take().context("a pipe was asked for")?;
    let stdout = child.stdout.take().context("a pipe was asked for")?;
    let from_stderr = std::thread::spawn(move || relay(stderr, runner));
    let mut tally = relay(stdout, runner);
    if let Ok(other) = from_stderr.join() {
        tally.add(&other);
    }
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

#[allow(clippy::print_stdout, reason = "what tests print is passed on")]
fn relay(output: impl Read, runner: Runner) -> Tally {
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.add(&counted(&line, runner));
    }
    tally
}

/// Whose summary counts: nextest shows `cargo test`'s of each failed test, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    Cargo,
    Nextest,
}

/// What a summary line reports: of `cargo test` (`test result: ok. 3 passed; 0 failed; 1 ignored; …`) or of nextest
/// (`Summary [ 0.1s] 4 tests run: 3 passed, 1 failed, 2 skipped`). What nextest calls skipped are tests that were not
/// asked for; they are not counted.
fn counted(line: &str, runner: Runner) -> Tally {
    let text = line.trim_start();
    let before = |what: &str| -> u64 {
        let words: Vec<&str> =
            text.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
        let place = words.iter().position(|word| *word == what);
        place
            .and_then(|place| words.get(place.checked_sub(1)?))
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    };
    match runner {
        Runner::Cargo if text.starts_with("test result: ") => Tally {
            passed: before("passed"),
            failed: before("failed"),
            skipped: before("ignored"),
            ..Tally::default()
        },
        Runner::Nextest if text.starts_with("Summary [") => {
            // A test that passed only when it was run again is not lost among those that passed.
            let note = match before("flaky") {
                0 => String::new(),
                flaky => format!("{flaky} FLAKY: passed only when run again"),
            };
            let failed = before("failed") + before("timed");
            Tally { passed: before("passed"), failed, note, ..Tally::default() }
        }
        Runner::Cargo | Runner::Nextest => Tally::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally { passed, failed, skipped, ..Tally::default() }
    }

    #[test]
    fn reads_the_summaries_of_both_test_runners() {
        let cargo = "test result: FAILED. 16 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counted(cargo, Runner::Cargo), tally(16, 2, 1));
        let nextest =
            "     Summary [   0.113s] 18 tests run: 15 passed (1 slow), 2 failed, 1 timed out, 4 skipped";
        assert_eq!(counted(nextest, Runner::Nextest), tally(15, 3, 0));
        assert_eq!(counted(cargo, Runner::Nextest), tally(0, 0, 0));
        let flaky = "     Summary [  75.035s] 81 tests run: 81 passed (1 slow, 2 flaky), 0 skipped";
        let expected = Tally { note: "2 FLAKY: passed only when run again".to_owned(), ..tally(81, 0, 0) };
        assert_eq!(counted(flaky, Runner::Nextest), expected);
    }

    #[test]
    fn a_command_that_fails_without_a_test_counts_as_one_failure() {
        assert_eq!(shown_and_counted(Command::new("false"), Runner::Cargo).unwrap(), tally(0, 1, 0));
        assert_eq!(shown_and_counted(Command::new("true"), Runner::Cargo).unwrap(), tally(0, 0, 0));
    }
}
