//! What continuous integration runs: every check in order, each to its end, and one table of what came of them. A check
//! that cannot run because a tool is missing is skipped by name, never silently; `netns`, which shows that capture works,
//! fails instead in continuous integration.

mod interop;
mod netns;
mod tally;
mod tools;

use crate::cargo::{self, repository};
use crate::{codegen, fuzz, tidy};
use anyhow::{Result, bail};
use clap::Args;
use netns::Lack;
use std::time::SystemTime;
use tally::{Selection, Tally};

/// The flags of `test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave out the checks whose names begin with this; they count as skipped; may be repeated
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
    /// Run only the checks whose names begin with this; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// First install what the chosen checks lack, with apt-get, as root; no service is started
    #[arg(long)]
    install: bool,
}

impl Options {
    fn skips(&self, name: &str) -> bool {
        self.skip.iter().any(|skipped| name.starts_with(skipped))
    }

    fn chooses(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only))
    }

    /// What it means that the check `netns` lacks something.
    fn lack(&self) -> Lack {
        Lack::of(std::env::var("CI").ok().as_deref(), self.install)
    }
}

/// One check: its name, and how it is run.
struct Check {
    name: &'static str,
    run: fn(&Options) -> Result<Tally>,
}

/// The check that takes minutes.
const FUZZ: &str = "fuzz";
/// For each target.
const FUZZ_SECONDS: u32 = 60;

const CHECKS: [Check; 18] = [
    Check { name: "format", run: |_| one(cargo::cargo()?.args(["fmt", "--all", "--check"])) },
    Check { name: "tidy", run: |_| tidy::report(&tidy::check(&repository()?)?).map(|()| Tally::passed(1)) },
    Check { name: "lints", run: |_| lints() },
    Check { name: "unit", run: |_| unit() },
    Check { name: "documentation", run: |_| documentation() },
    Check { name: "end-to-end", run: |_| end_to_end() },
    Check { name: netns::NAME, run: |options| netns::run(options.lack()) },
    Check { name: "interop::curl", run: |_| interop::with_tool("curl") },
    Check { name: "interop::kubectl", run: |_| interop::with_tool("kubectl") },
    Check { name: "interop::kubectl_versions", run: |_| interop::kubectl_versions() },
    Check { name: "interop::kube", run: |_| interop::with_tool("kube") },
    Check { name: "interop::grpcio", run: |_| interop::with_python("grpcio") },
    Check { name: "interop::kubernetes_client", run: |_| interop::with_python("kubernetes_client") },
    Check { name: "interop::etcd", run: |_| interop::etcd() },
    Check { name: "interop::clock", run: |_| interop::with_tool("clock") },
    Check { name: "interop::prometheus", run: |_| interop::with_tool("prometheus") },
    Check { name: "generated", run: |_| generated() },
    Check { name: FUZZ, run: fuzzed },
];

/// Runs the checks and sums up.
///
/// # Errors
/// One of them failed.
#[allow(clippy::print_stdout, reason = "the summary is this command's output")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let is_known = |name: &&String| CHECKS.iter().any(|check| check.name.starts_with(name.as_str()));
    if let Some(unknown) = options.skip.iter().chain(&options.only).find(|name| !is_known(name)) {
        let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        bail!("`{unknown}`: there is no such check; there are {}", names.join(", "));
    }
    let chosen: Vec<&Check> = CHECKS.iter().filter(|check| options.chooses(check.name)).collect();
    if options.install {
        let names: Vec<_> =
            chosen.iter().map(|check| check.name).filter(|name| !options.skips(name)).collect();
        tools::install(&names)?;
    }
    let mut rows = Vec::new();
    let mut total = Tally::default();
    for check in chosen {
        println!("== {}", check.name);
        let start = SystemTime::now();
        let (tally, note) = if options.skips(check.name) {
            (Tally::skipped(1), "skipped by --skip".to_owned())
        } else {
            match (check.run)(options) {
                Ok(tally) => {
                    let note = tally.note.clone();
                    (tally, note)
                }
                Err(error) => {
                    println!("{error:#}");
                    (Tally::failed(1), format!("{error:#}").lines().next().unwrap_or_default().to_owned())
                }
            }
        };
        total.add(&tally);
        let seconds = start.elapsed().unwrap_or_default().as_secs();
        rows.push(format!(
            "{:<26} {:>7} {:>7} {:>7} {:>6}s  {note}",
            check.name, tally.passed, tally.failed, tally.skipped, seconds
        ));
    }
    println!("\n{:<26} {:>7} {:>7} {:>7} {:>7}", "check", "passed", "failed", "skipped", "time");
    for row in rows {
        println!("{}", row.trim_end());
    }
    println!("\n{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    match total.failed {
        0 => Ok(()),
        failed => bail!("{failed} failed"),
    }
}

/// A check that passes or fails as a whole.
fn one(command: &mut std::process::Command) -> Result<Tally> {
    cargo::run(command)?;
    Ok(Tally::passed(1))
}

fn lints() -> Result<Tally> {
    one(cargo::cargo()?.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Tests beside the code, but for those that need programs we did not write.
fn unit() -> Result<Tally> {
    let selection = Selection {
        nextest: "not package(tests) and not test(/^store::etcd::tests::/)",
        cargo: &["--workspace", "--exclude", "tests", "--", "--skip", "store::etcd::tests::"],
    };
    tally::run_tests(selection, &[])
}

/// Examples in the documentation, and that its links lead somewhere.
fn documentation() -> Result<Tally> {
    let mut build = cargo::cargo()?;
    build.args(["doc", "--workspace", "--lib", "--no-deps", "--document-private-items", "--quiet"]);
    // Contributors read the documentation with private items, so links to those are fine.
    build.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    let mut tally = one(&mut build)?;
    tally.add(&tally::run_doc_tests()?);
    Ok(tally)
}

/// The real binaries, built once.
fn end_to_end() -> Result<Tally> {
    tally::build_binaries()?;
    let selection = Selection {
        nextest: "package(tests) and not binary(interop) and not binary(netns)",
        cargo: &["--package", "tests", "--lib", "--test", "mesh", "--test", "binaries"],
    };
    tally::run_tests(selection, &[])
}

/// Each target of the fuzzer for a minute: in continuous integration, and for whoever names the check.
fn fuzzed(options: &Options) -> Result<Tally> {
    let is_named = options.only.iter().any(|only| FUZZ.starts_with(only.as_str()));
    if options.lack() == Lack::Skips && !is_named {
        return Ok(Tally::skipped(1).because("it takes minutes: cargo xtask test --only fuzz"));
    }
    let outcomes = fuzz::fuzz_each(&[], FUZZ_SECONDS)?;
    let count = |ok| outcomes.iter().filter(|outcome| outcome.is_ok() == ok).map(|_| 1).sum();
    Ok(Tally { passed: count(true), failed: count(false), ..Tally::default() })
}

/// That generated files are what their .proto files make.
fn generated() -> Result<Tally> {
    if !codegen::can_build()? {
        return Ok(Tally::skipped(1).because("the generator's crates cannot be fetched: no network"));
    }
    codegen::run(&codegen::Options { check: true })?;
    Ok(Tally::passed(1))
}
