//! `scale`: how one control plane does with many sidecars. Each simulated sidecar has its own connection, TLS and gRPC stream, and
//! announces a workload; many live in this process, which shares the machine with the control plane.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`mesh`] | the objects: services with endpoints, and one that every sidecar calls |
//! | [`api`] | writes through the HTTPS API, as kubectl does |
//! | [`link`] | a certificate, and connections with it |
//! | [`swarm`] | the simulated sidecars |
//! | [`arrivals`] | when a change came to each of them |
//! | [`round`] | one number of sidecars: what is measured, in order |

mod arrivals;
mod link;
mod mesh;
mod round;
mod swarm;

use anyhow::{Context, Result};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is simulated.
#[derive(Debug, Parser)]
#[command(name = "scale", about = "Many simulated sidecars against one control plane", version)]
struct Options {
    /// Numbers of sidecars, a round each
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    sidecars: Vec<usize>,
    /// Services in the mesh, beside the one that all call
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Endpoints of each
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// Services that each sidecar calls
    #[arg(long, default_value_t = 10)]
    called: usize,
    /// Changes of each sort, one after the other
    #[arg(long, default_value_t = 20)]
    changes: usize,
    /// Members of an etcd cluster to keep the mesh in, as `--etcd-endpoints` of the control plane; else the embedded store does
    #[arg(long)]
    etcd: Option<String>,
    /// Where the programs are; else where this one is
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is this program's output")]
fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is this program's output")]
fn run(options: &Options) -> Result<()> {
    let program = std::env::current_exe().context("asking where this program is")?;
    let beside = program.parent().context("this program lies in a folder")?.to_path_buf();
    let bin_dir = options.bin_dir.clone().unwrap_or(beside);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut figures = Vec::new();
    for sidecars in &options.sidecars {
        eprintln!("{sidecars} sidecars, {} services of {} endpoints", options.services, options.endpoints);
        figures.push(runtime.block_on(round::run(options, *sidecars, &bin_dir))?);
    }
    println!("{}", round::table(&figures));
    Ok(())
}
