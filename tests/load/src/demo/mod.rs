//! The demo: a whole mesh on one machine, real traffic through it, a canary shifted and an instance killed while it
//! runs. What enters is where the binaries and manifests are; what leaves is a [`report::Report`] that says what held.
//!
//! ```text
//! load ─▶ visitor's sidecar ═▶ front's sidecar ─▶ front ─▶ front's sidecar ═▶ greeter's sidecar ─▶ greeter v1 | v2
//!                                                                         ═▶ echo's sidecar ─▶ echo (one line, TCP)
//! ```
//!
//! Nothing here is staged: counts come from the load generator and from the sidecars' own metrics.

pub mod observe;
pub mod report;
mod script;

use crate::machines;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

pub use script::run;

/// What the demo is told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How long traffic runs, in seconds; the canary shifts at two fifths, an instance is killed at seven tenths
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=3600))]
    pub seconds: u64,
    /// Print a machine-readable report on stdout and everything else on stderr
    #[arg(long)]
    pub json: bool,
    /// Give each application a machine of its own, a network namespace, and let its sidecar capture what it sends: no
    /// application knows of the mesh. Needs root and nftables
    #[arg(long)]
    pub transparent: bool,
    /// The namespace this process was started in to make the others from
    #[arg(long, hide = true, requires = "transparent")]
    pub switch: Option<String>,
    /// Where control-plane, meshctl, sidecar, origin and load are
    #[arg(long, value_name = "DIR")]
    pub bin_dir: PathBuf,
    /// Where the manifests to apply are: DIR/hello, DIR/canary, DIR/tcp-echo
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// Where state and logs go; a folder of its own for each run is made in it
    #[arg(long, value_name = "DIR")]
    pub work_dir: PathBuf,
}

/// Runs the demo and prints its report.
///
/// # Errors
/// The mesh could not be started; what ran but did not hold is in the report.
pub fn main(options: &Options) -> Result<bool> {
    if options.transparent && options.switch.is_none() {
        machines::check()?;
        let program = std::env::current_exe().context("finding this program")?;
        return machines::run_in_a_switch(&program, &std::env::args().skip(1).collect::<Vec<_>>());
    }
    let report = run(options)?;
    report.print(options.json)?;
    Ok(report.held())
}
