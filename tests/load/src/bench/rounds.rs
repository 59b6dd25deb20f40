//! The whole run: origins once, fresh pairs in each round, each workload at each pressure against each pair in turn.

use super::machine::{self, Memory, Places, memory};
use super::measure::{Measurement, Pressure, Times, measure, memory_with_idle_connections};
use super::peer::{Pair, Peer};
use super::programs::{self, Programs};
use super::tables;
use super::workload::{Entry, Workload};
use super::{envoy, floor, haproxy, nginx, outrigger};
use crate::running::Running;
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const FULL_TIMES: Times = Times { warmup: 1.0, rate: 5.0, full: 4.0, bulk_bytes: 2 << 30 };
const QUICK_TIMES: Times = Times { warmup: 0.5, rate: 2.0, full: 1.5, bulk_bytes: 512 << 20 };

/// How long the machine is watched before anything starts, and from which share on it counts as busy.
const BUSY_DURING: Duration = Duration::from_secs(1);
const BUSY_SHARE: f64 = 0.1;

/// The command line of `bench`.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Measures a sidecar pair side by side with other proxies and with none",
    version
)]
pub struct Options {
    /// Rounds; figures are medians over them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// One round with short measurements: says whether it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Only this peer; may be repeated
    #[arg(long = "peer", value_enum)]
    peers: Vec<Peer>,
    /// Only this workload; may be repeated
    #[arg(long = "workload", value_enum)]
    workloads: Vec<Workload>,
    /// Requests per second of the open-loop measurements
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    /// The sidecar that is measured; without it the one beside this program
    #[arg(long)]
    sidecar: Option<PathBuf>,
    /// Folder for configurations, logs and report.json
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// What a pair holds and takes, besides requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Footprint {
    /// The round it was taken in.
    pub round: u32,
    /// The pair.
    pub peer: Peer,
    /// After the first answer.
    pub idle: Memory,
    /// With 1,000 connections open.
    pub with_connections: Memory,
    /// After all workloads.
    pub after_load: Memory,
    /// From start to first 200, in milliseconds.
    pub start_ms: f64,
    /// Size of the binary, in MiB.
    pub binary_mib: f64,
}

/// Everything measured: `report.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// Requests per second of the open-loop measurements.
    pub rate: f64,
    /// Whether proxies had a CPU of their own.
    pub pinned: bool,
    /// Share of the machine's CPU time that others took before the first round, 0 to 1.
    pub busy: f64,
    /// Peers left out, and why.
    pub skipped: Vec<String>,
    /// All measurements.
    pub measurements: Vec<Measurement>,
    /// Memory and start-up.
    pub footprints: Vec<Footprint>,
}

impl Results {
    /// Whether others took so much of the machine that the figures mean little.
    pub fn is_busy(&self) -> bool {
        self.busy > BUSY_SHARE
    }
}

/// What a run needs at hand.
struct Bench {
    bin_dir: PathBuf,
    sidecar: PathBuf,
    out: PathBuf,
    places: Places,
    origins: BTreeMap<Entry, SocketAddr>,
    programs: Programs,
    peers: Vec<Peer>,
    workloads: Vec<Workload>,
    rate: f64,
    times: Times,
}

/// Measures, prints tables, and writes `report.json`.
///
/// # Errors
/// A pair does not start, its hop is not mutual TLS, or an answer was wrong.
#[allow(clippy::print_stdout, reason = "the tables are this program's output")]
pub fn run(options: Options) -> Result<()> {
    let out = std::path::absolute(&options.out)?;
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let program = std::env::current_exe().context("asking where this program is")?;
    let bin_dir = program.parent().context("this program lies in a folder")?.to_path_buf();
    let places = Places::choose()?;
    let busy = machine::busy_share(BUSY_DURING)?;
    let mut results = Results { rate: options.rate, pinned: places.are_apart(), busy, ..Results::default() };
    if results.is_busy() {
        println!(
            "this machine is {:.0} % busy with something else: figures, and ratios at a fixed rate, will be off",
            busy * 100.0
        );
    }
    let mut peers = if options.peers.is_empty() { Peer::ALL.to_vec() } else { options.peers.clone() };
    let workloads =
        if options.workloads.is_empty() { Workload::ALL.to_vec() } else { options.workloads.clone() };
    let programs = programs::find(&mut peers, &bin_dir, &out);
    for left_out in &programs.left_out {
        println!("left out: {left_out}");
    }
    results.skipped.clone_from(&programs.left_out);
    // Kept to the end of the run.
    let (_running, origins) = start_origins(&bin_dir, &out, places)?;
    let times = if options.quick { QUICK_TIMES } else { FULL_TIMES };
    let sidecar = match options.sidecar {
        Some(sidecar) => std::path::absolute(sidecar)?,
        None => bin_dir.join("sidecar"),
    };
    let rate = options.rate;
    let bench = Bench { bin_dir, sidecar, out, places, origins, programs, peers, workloads, rate, times };
    let rounds = if options.quick { 1 } else { options.rounds };
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        bench.round(round, &mut results)?;
        let report = bench.out.join("report.json");
        fs::write(&report, serde_json::to_vec_pretty(&results)?)?;
    }
    let shown = tables::render(&results);
    fs::write(bench.out.join("report.md"), &shown)?;
    println!("{shown}");
    println!("All figures: {}; these tables: report.md beside it", bench.out.join("report.json").display());
    let wrong: Vec<_> = results.measurements.iter().filter(|measured| !measured.wrong.is_empty()).collect();
    if !wrong.is_empty() {
        let lines = wrong.iter().map(|measured| {
            let (peer, workload) = (measured.peer.name(), measured.workload.name());
            format!("{peer} {workload} {:?}: {}", measured.pressure, measured.wrong.join("; "))
        });
        bail!("answers were wrong:\n{}", lines.collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

fn start_origins(
    bin_dir: &Path,
    out: &Path,
    places: Places,
) -> Result<(Vec<Running>, BTreeMap<Entry, SocketAddr>)> {
    let (mut running, mut addrs) = (Vec::new(), BTreeMap::new());
    for entry in Entry::ALL {
        let mut command = Command::new(bin_dir.join("origin"));
        command.args(entry.origin()).args(["--name", "origin"]);
        let name = format!("origin-{}", entry.name());
        let origin = places.as_other(|| Running::start(&name, command, &out.join("logs")))?;
        addrs.insert(entry, origin.ready("addr")?.parse()?);
        running.push(origin);
    }
    Ok((running, addrs))
}

impl Bench {
    fn round(&self, round: u32, results: &mut Results) -> Result<()> {
        let mut pairs = Vec::new();
        for peer in &self.peers {
            pairs.push(self.start(*peer, round)?);
        }
        let mut footprints = Vec::new();
        let load = self.bin_dir.join("load");
        for pair in pairs.iter().filter(|pair| !pair.proxies.is_empty()) {
            let idle = memory(&pair.pids())?;
            let with_connections = memory_with_idle_connections(&load, self.places, pair)?;
            let binary = pair.binary.as_deref().context("a proxy has a binary")?;
            footprints.push(Footprint {
                round,
                peer: pair.peer,
                idle,
                with_connections,
                after_load: Memory::default(),
                start_ms: pair.start_ms.unwrap_or_default(),
                binary_mib: fs::metadata(binary)?.len() as f64 / (1024.0 * 1024.0),
            });
        }
        for workload in &self.workloads {
            let pressures = match workload {
                Workload::TcpBulk => vec![Pressure::Bytes(self.times.bulk_bytes)],
                Workload::H1Get
                | Workload::H1Post10k
                | Workload::H2Get
                | Workload::GrpcUnary
                | Workload::TcpEcho1k => vec![Pressure::Rate(self.rate), Pressure::Full],
                // A handshake each: what counts is when the first byte comes, not how many there can be.
                Workload::TcpGreeting => vec![Pressure::Rate(self.rate / 10.0)],
            };
            for pressure in pressures {
                // Some can't carry everything.
                for pair in pairs.iter().filter(|pair| pair.doors.contains_key(&workload.entry())) {
                    let measured = measure(&load, self.places, pair, *workload, pressure, self.times, round)?;
                    tell(&measured);
                    results.measurements.push(measured);
                }
            }
        }
        for footprint in &mut footprints {
            if let Some(pair) = pairs.iter().find(|pair| pair.peer == footprint.peer) {
                footprint.after_load = memory(&pair.pids())?;
            }
        }
        results.footprints.append(&mut footprints);
        pairs.iter_mut().try_for_each(Pair::end)
    }

    fn start(&self, peer: Peer, round: u32) -> Result<Pair> {
        let dir = self.out.join(format!("{}-{round}", peer.name()));
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
        }
        fs::create_dir_all(&dir)?;
        let program = || self.programs.found.get(&peer).with_context(|| format!("no {}", peer.name()));
        let pair = match peer {
            Peer::Direct => return Ok(Pair::direct(&self.origins)),
            Peer::Outrigger => {
                outrigger::start(&self.bin_dir, &self.sidecar, &dir, self.places, &self.origins)?
            }
            Peer::Floor => floor::start(program()?, &dir, self.places, &self.origins)?,
            Peer::Envoy => envoy::start(program()?, &dir, self.places, &self.origins)?,
            Peer::Haproxy => haproxy::start(program()?, &dir, self.places, &self.origins)?,
            Peer::Nginx => nginx::start(program()?, &dir, self.places, &self.origins)?,
        };
        pair.prove_mutual_tls()?;
        Ok(pair)
    }
}

#[allow(clippy::print_stdout, reason = "progress of a run that takes minutes")]
fn tell(measured: &Measurement) {
    let cpu = measured.cpu.map(|cpu| format!("{cpu:.1}")).unwrap_or_else(|| "–".to_owned());
    let unit = if measured.workload == Workload::TcpBulk { "s/GiB" } else { "µs/request" };
    let pressure = match measured.pressure {
        Pressure::Rate(rate) => format!("{rate}/s"),
        Pressure::Full => "full".to_owned(),
        Pressure::Bytes(_) => "bulk".to_owned(),
    };
    println!(
        "  {:<12} {pressure:<7} {:<10} CPU {cpu:>6} {unit:<11} {:>12.0}/s  p50 {:>7.0} p99 {:>7.0} µs{}",
        measured.workload.name(),
        measured.peer.name(),
        measured.throughput,
        measured.latency_us.p50,
        measured.latency_us.p99,
        if measured.wrong.is_empty() { "" } else { "  WRONG ANSWERS" },
    );
}
