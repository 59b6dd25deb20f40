//! Coverage-guided fuzzing of everything that reads what others send: the targets of `tests/fuzz`, on libFuzzer.
//!
//! The layout is cargo-fuzz's, which is not needed: what it adds to a build without sanitizers are flags that the stable
//! compiler takes too, and they are given here. Nothing of ours is unsafe, so that there is little for a sanitizer to
//! find; what fails are assertions, overflows and bounds, which are on in these builds.

use crate::cargo::{self, repository, target_dir};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;

const MANIFEST: &str = "tests/fuzz/Cargo.toml";

/// What is fuzzed, and folders of seeds beside the target's own.
const TARGETS: [(&str, &[&str]); 8] = [
    ("protocol_detection", &[]),
    ("request_normalisation", &[]),
    ("header_path", &[]),
    ("route_match", &[]),
    ("manifests", &["manifests/examples", "manifests/testdata/invalid"]),
    ("mesh_protocol", &[]),
    ("discovery_session", &[]),
    ("dns_message", &[]),
];

/// Coverage that libFuzzer reads: a counter for each edge, what is compared with what, and where each is in the program.
const COVERAGE: [&str; 7] = [
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Longest input; what a room reads is bounded, and short inputs are tried more often.
const INPUT_BYTES_MAX: u32 = 4096;
/// From an input's start to its end; a room that takes longer hangs.
const INPUT_SECONDS_MAX: u32 = 10;
/// Most memory of a target; one that takes more has no bound.
const MEMORY_MIB_MAX: u32 = 2048;

/// The flags of `fuzz`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these targets
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Seconds for each; as many run at once as there are CPUs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Run one target on this file and nothing else: what a failure left behind
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// What came of a target.
pub(crate) struct Outcome {
    target: &'static str,
    inputs: u64,
    failure: Option<String>,
}

impl Outcome {
    /// Whether it held.
    pub(crate) fn is_ok(&self) -> bool {
        self.failure.is_none()
    }
}

/// libFuzzer is C++, and built with the targets.
fn need_compiler() -> Result<()> {
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    match compiler.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => bail!("there is no C++ compiler, which libFuzzer needs: apt-get install g++"),
    }
}

/// Builds the targets and runs each for a while.
///
/// # Errors
/// There is no such target, it cannot be built, or it failed: with the input, and how to run it again.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(input) = &options.input {
        let chosen = chosen(&options.targets)?;
        let [(target, _)] = chosen.as_slice() else { bail!("--input needs the one TARGET it is for") };
        need_compiler()?;
        let program = build(&target_dir()?.join("fuzz"))?.join(target);
        return cargo::run(Command::new(program).arg(input));
    }
    let outcomes = fuzz_each(&options.targets, options.seconds)?;
    let failed: Vec<_> = outcomes.iter().filter(|it| !it.is_ok()).map(|it| it.target).collect();
    if !failed.is_empty() {
        bail!("{} failed", failed.join(", "));
    }
    Ok(())
}

/// Builds these targets, all if none is named, runs each for so many seconds and says what came of it.
///
/// # Errors
/// There is no such target, or it cannot be built.
#[allow(clippy::print_stdout, reason = "the outcomes are what is asked for")]
pub(crate) fn fuzz_each(targets: &[String], seconds: u32) -> Result<Vec<Outcome>> {
    let chosen = chosen(targets)?;
    need_compiler()?;
    let folder = target_dir()?.join("fuzz");
    let outcomes = run_all(&chosen, &build(&folder)?, &folder, seconds)?;
    for Outcome { target, inputs, failure } in &outcomes {
        println!("{target:<24} {inputs:>12} inputs  {}", failure.as_deref().unwrap_or("ok"));
    }
    Ok(outcomes)
}

type Target = (&'static str, &'static [&'static str]);

fn chosen(names: &[String]) -> Result<Vec<Target>> {
    if let Some(unknown) = names.iter().find(|name| !TARGETS.iter().any(|(target, _)| target == name)) {
        let all: Vec<_> = TARGETS.iter().map(|(target, _)| *target).collect();
        bail!("`{unknown}`: there is no such target; there are {}", all.join(", "));
    }
    let is_chosen = |(target, _): &Target| names.is_empty() || names.iter().any(|name| name == target);
    Ok(TARGETS.into_iter().filter(is_chosen).collect())
}

/// Builds all targets; returns where they lie.
fn build(folder: &Path) -> Result<PathBuf> {
    let host = host()?;
    let mut build = cargo::cargo()?;
    build.args(["build", "--release", "--locked", "--manifest-path", MANIFEST, "--bins"]);
    // With a target, build scripts and macros are built without instrumentation.
    build.args(["--target", &host]).env("CARGO_TARGET_DIR", folder).env("RUSTFLAGS", COVERAGE.join(" "));
    cargo::run(&mut build)?;
    Ok(folder.join(host).join("release"))
}

/// The platform that is built for by default, as `rustc` names it.
fn host() -> Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc.arg("-vV").output().context("starting rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}

/// Runs targets, as many at once as there are CPUs.
fn run_all(chosen: &[Target], programs: &Path, folder: &Path, seconds: u32) -> Result<Vec<Outcome>> {
    let queue: Mutex<VecDeque<Target>> = Mutex::new(chosen.iter().copied().collect());
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    thread::scope(|scope| {
        let work = || -> Result<Vec<Outcome>> {
            let mut outcomes = Vec::new();
            while let Some(target) = next() {
                outcomes.push(fuzz(target, programs, folder, seconds)?);
            }
            Ok(outcomes)
        };
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in running {
            let outcomes = worker.join().map_err(|_| anyhow::anyhow!("a thread that fuzzed panicked"))?;
            all.extend(outcomes?);
        }
        Ok(all)
    })
}

/// Ends with whoever started it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn fuzz((target, more_seeds): Target, programs: &Path, folder: &Path, seconds: u32) -> Result<Outcome> {
    let (corpus, failures) = (folder.join("corpus").join(target), folder.join("failures").join(target));
    for dir in [&corpus, &failures] {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let log = folder.join(format!("{target}.log"));
    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let repository = repository()?;
    let own = repository.join("tests/fuzz/seeds").join(target);
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg(&corpus)
        .args(Some(own).filter(|dir| dir.is_dir()))
        .args(more_seeds.iter().map(|dir| repository.join(dir)));
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut running = Running(command.spawn().with_context(|| format!("starting {target}"))?);
    let status = running.0.wait().with_context(|| format!("waiting for {target}"))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let failure = (!status.success()).then(|| told(target, &said, &log));
    Ok(Outcome { target, inputs: inputs(&said), failure })
}

/// How many inputs libFuzzer says it ran.
fn inputs(said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// What failed, and how to see it again.
fn told(target: &str, said: &str, log: &Path) -> String {
    let why = said.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"));
    let input = said.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path));
    let mut text = format!("FAILED: {}; all of it: {}", why.unwrap_or("without a word"), log.display());
    if let Some(input) = input {
        text.push_str(&format!("\n  again: cargo xtask fuzz {target} --input {}", input.trim()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_crate_is_run_and_has_seeds() {
        let repository = repository().unwrap();
        let manifest = fs::read_to_string(repository.join(MANIFEST)).unwrap();
        let built: Vec<_> = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
            .collect();
        assert_eq!(built, TARGETS.map(|(target, _)| target));
        for (target, more) in TARGETS {
            let own = repository.join("tests/fuzz/seeds").join(target);
            assert!(own.is_dir() || !more.is_empty(), "{target} has no seeds");
            assert!(more.iter().all(|dir| repository.join(dir).is_dir()), "{target}: {more:?}");
        }
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        let said = "thread '<unnamed>' panicked at src/a.rs:1:2:\nwhat\nTest unit written to /x/crash-1\n\
                    stat::number_of_executed_units: 17\n";
        let text = told("manifests", said, Path::new("/x/log"));
        assert!(text.contains("panicked at src/a.rs:1:2"), "{text}");
        assert!(text.ends_with("again: cargo xtask fuzz manifests --input /x/crash-1"), "{text}");
        assert_eq!(inputs(said), 17);
    }

    #[test]
    fn an_unknown_target_is_refused_with_those_there_are() {
        let error = chosen(&["dns".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`dns`") && error.contains("dns_message"), "{error}");
        assert_eq!(chosen(&[]).unwrap().len(), TARGETS.len());
    }
}
