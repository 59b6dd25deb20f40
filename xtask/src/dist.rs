//! The programs as they are shipped, in `target/dist`. The sidecar is compiled twice: the second time the compiler knows, from
//! a run of the benchmark, how often every piece of it is executed, so that what a request needs lies together and all
//! that it does not need lies elsewhere.
//!
//! ```text
//! sidecar that counts ─▶ benchmark: counts ─▶ llvm-profdata: profile ─▶ sidecar, by its profile ─▶ target/dist
//! ```
//! Nothing else differs from a plain release build. A sidecar at a few thousand requests per second is woken for each message and finds the processor's caches cold: what a
//! message costs then is mostly fetching code, line by line.

use crate::cargo::{self, repository, target_dir};
use anyhow::{Context, Result, bail};
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that are shipped as `cargo build --release` makes them: what they do is done once for each change.
const PLAIN: [&str; 2] = ["control-plane", "meshctl"];
/// What a training run needs beside a sidecar.
const TRAINERS: [&str; 5] = ["control-plane", "meshctl", "bench", "load", "origin"];
/// Between two flags in cargo's variable.
const SEPARATOR: &str = "\x1f";
/// Puts the pieces of a function that were never executed apart from the rest of it.
const SPLIT: &str = "-Cllvm-args=-enable-split-machine-functions";

/// Builds, trains, builds again; what is up to date is kept.
///
/// # Errors
/// `llvm-profdata` is missing, a build fails, or the training run does.
#[allow(clippy::print_stdout, reason = "what was made is told at the end")]
pub(crate) fn run() -> Result<()> {
    let made = make()?;
    println!("made: {}", made.display());
    Ok(())
}

/// The folder with the programs, made if need be.
///
/// # Errors
/// As for [`run`].
pub(crate) fn make() -> Result<PathBuf> {
    let tools = Tools::find()?;
    let dist = target_dir()?.join("dist");
    cargo::release_binaries(TRAINERS)?;
    let release = target_dir()?.join("release");
    let raw = dist.join("counts");
    let counting = tools.sidecar(&dist.join("counting"), &[flag("-Cprofile-generate=", &raw)])?;
    let profile = profile(&tools, &release, &counting, &dist)?;
    let sidecar = tools.sidecar(&dist.join("build"), &[flag("-Cprofile-use=", &profile), SPLIT.into()])?;
    copy(&sidecar, &dist.join("sidecar"))?;
    for program in PLAIN {
        copy(&release.join(program), &dist.join(program))?;
    }
    Ok(dist)
}

/// What this sidecar executes, recorded once for each binary: the name says of which.
fn profile(tools: &Tools, release: &Path, counting: &Path, dist: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(counting).with_context(|| format!("reading {}", counting.display()))?);
    let profile = dist.join(format!("{:016x}.profdata", hasher.finish()));
    if profile.exists() {
        return Ok(profile);
    }
    for stale in ["counts", "build"].map(|name| dist.join(name)).iter().filter(|dir| dir.exists()) {
        fs::remove_dir_all(stale).with_context(|| format!("removing {}", stale.display()))?;
    }
    let mut bench = Command::new(release.join("bench"));
    bench.args(["--quick", "--peer", "outrigger", "--sidecar"]).arg(counting);
    bench.arg("--out").arg(dist.join("training")).current_dir(repository()?);
    cargo::run(&mut bench)?;
    let mut merge = Command::new(&tools.profdata);
    cargo::run(merge.args(["merge", "--output"]).arg(&profile).arg(dist.join("counts")))?;
    Ok(profile)
}

/// A compiler's flag with a path.
fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

/// The copy replaces what is there, even while that is running.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("putting {} in place", to.display()))
}

/// What of the toolchain is needed besides cargo.
struct Tools {
    /// The machine's own target, named so that build scripts and macros are compiled as ever.
    host: String,
    profdata: PathBuf,
}

impl Tools {
    fn find() -> Result<Self> {
        let version = told_by_rustc(&["-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc does not say which machine it is for")?.to_owned();
        let libraries = PathBuf::from(told_by_rustc(&["--print", "target-libdir"])?.trim());
        let profdata = libraries.with_file_name("bin").join("llvm-profdata");
        if !profdata.exists() {
            bail!(
                "{} is missing, which reads what a training run has counted: `rustup component add llvm-tools`",
                profdata.display()
            );
        }
        Ok(Self { host, profdata })
    }

    /// A sidecar compiled with these flags, in a folder of its own.
    fn sidecar(&self, dir: &Path, flags: &[OsString]) -> Result<PathBuf> {
        let mut all = inherited();
        for flag in flags {
            if !all.is_empty() {
                all.push(SEPARATOR);
            }
            all.push(flag);
        }
        let mut build = cargo::cargo()?;
        build.args([
            "build",
            "--release",
            "--package",
            "sidecar",
            "--bin",
            "sidecar",
            "--target",
            &self.host,
        ]);
        build.env("CARGO_TARGET_DIR", dir).env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", all);
        cargo::run(&mut build)?;
        Ok(dir.join(&self.host).join("release/sidecar"))
    }
}

/// Flags that are set from outside.
fn inherited() -> OsString {
    if let Some(encoded) = std::env::var_os("CARGO_ENCODED_RUSTFLAGS") {
        return encoded;
    }
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.split_whitespace().collect::<Vec<_>>().join(SEPARATOR).into()
}

fn told_by_rustc(arguments: &[&str]) -> Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let answer = rustc.args(arguments).output().context("starting rustc")?;
    if !answer.status.success() {
        bail!("rustc {} failed ({})", arguments.join(" "), answer.status);
    }
    String::from_utf8(answer.stdout).context("what rustc says is no text")
}
