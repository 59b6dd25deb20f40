//! One measurement: `load` runs against a pair, and the proxies' CPU time is read at both ends of the measured time.

use super::machine::{Memory, Places, cpu_microseconds, memory};
use super::peer::{Door, Pair, Peer};
use super::workload::{Entry, Workload};
use crate::generator::report::{Latency, Report};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// How hard load presses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pressure {
    /// Open loop at this many requests per second.
    Rate(f64),
    /// Closed loop: each connection asks again as soon as it is answered.
    Full,
    /// So many bytes through one connection.
    Bytes(u64),
}

/// What came of one measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// The round it was taken in.
    pub round: u32,
    /// The pair.
    pub peer: Peer,
    /// What was sent.
    pub workload: Workload,
    /// How hard.
    pub pressure: Pressure,
    /// Requests answered in the measured time; for bulk, GiB.
    pub amount: f64,
    /// CPU of both proxies per request, in microseconds; for bulk, in seconds per GiB. None for direct.
    pub cpu: Option<f64>,
    /// Requests per second; for bulk, bytes per second.
    pub throughput: f64,
    /// Latency in microseconds.
    pub latency_us: Latency,
    /// What went wrong, if anything did.
    pub wrong: Vec<String>,
}

/// How long each phase takes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Times {
    /// Seconds of load before measuring.
    pub warmup: f64,
    /// Measured seconds at the fixed rate.
    pub rate: f64,
    /// Measured seconds at full load.
    pub full: f64,
    /// Bytes of a bulk transfer.
    pub bulk_bytes: u64,
}

/// A line that `load --marks` prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Mark { mark: String, answered: u64 },
    Report(Box<Report>),
}

/// A running `load`. Dropping it kills it.
struct Load {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Load {
    fn start(program: &Path, places: Places, door: &Door, flags: &[String]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(flags);
        command.args(["--marks", "--target", &door.authority, "--via", &door.addr.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = places.as_other(|| command.spawn().context("starting load"))?;
        let stdout = child.stdout.take().context("a pipe was asked for")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    fn next(&mut self) -> Result<Told> {
        let line = self.lines.next().context("load ended without a report")??;
        serde_json::from_str(&line).with_context(|| format!("load said: {line}"))
    }

    /// Waits for a mark; the answers so far.
    fn until(&mut self, awaited: &str) -> Result<u64> {
        loop {
            match self.next()? {
                Told::Mark { mark, answered } if mark == awaited => return Ok(answered),
                Told::Mark { .. } => {}
                Told::Report(report) => bail!("load ended before {awaited}: {:?}", report.failure_examples),
            }
        }
    }

    fn report(&mut self) -> Result<Report> {
        loop {
            if let Told::Report(report) = self.next()? {
                return Ok(*report);
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has ended by itself, or it is of no use any more.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Measures one workload at one pressure.
pub(super) fn measure(
    program: &Path,
    places: Places,
    pair: &Pair,
    workload: Workload,
    pressure: Pressure,
    times: Times,
    round: u32,
) -> Result<Measurement> {
    let mut flags: Vec<String> = workload.load().iter().map(ToString::to_string).collect();
    flags.extend(match pressure {
        Pressure::Rate(rate) => vec![
            format!("--rate={rate}"),
            format!("--warmup={}", times.warmup),
            format!("--duration={}", times.rate),
        ],
        Pressure::Full => vec![format!("--warmup={}", times.warmup), format!("--duration={}", times.full)],
        Pressure::Bytes(bytes) => vec![format!("--bytes={bytes}")],
    });
    let pids = pair.pids();
    let idle_cpu = cpu_microseconds(&pids)?;
    let mut load = Load::start(program, places, pair.door(workload.entry())?, &flags)?;
    let (cpu_before, answered_before) = match pressure {
        Pressure::Bytes(_) => (idle_cpu, 0),
        Pressure::Rate(_) | Pressure::Full => {
            let answered = load.until("measuring")?;
            (cpu_microseconds(&pids)?, answered)
        }
    };
    let answered = load.until("measured")?;
    let cpu_microseconds = cpu_microseconds(&pids)? - cpu_before;
    let report = load.report()?;
    let wrong = match report.is_clean() {
        true => Vec::new(),
        false => report.failure_examples.clone(),
    };
    let (amount, cpu, throughput) = match pressure {
        Pressure::Bytes(bytes) => {
            let gib = bytes as f64 / GIB;
            (gib, cpu_microseconds / 1e6 / gib, bytes as f64 / (report.latency_us.max / 1e6).max(1e-9))
        }
        Pressure::Rate(_) | Pressure::Full => {
            let requests = answered.saturating_sub(answered_before) as f64;
            (requests, cpu_microseconds / requests.max(1.0), report.requests_per_second)
        }
    };
    Ok(Measurement {
        round,
        peer: pair.peer,
        workload,
        pressure,
        amount,
        cpu: (!pids.is_empty()).then_some(cpu),
        throughput,
        latency_us: report.latency_us,
        wrong,
    })
}

/// From the last answer on a connection to calling it idle: longer than any of these proxies takes to notice.
const IDLE: Duration = Duration::from_secs(12);

/// Memory of a pair while 1,000 connections that have each carried a request stay open.
pub(super) fn memory_with_idle_connections(program: &Path, places: Places, pair: &Pair) -> Result<Memory> {
    let flags =
        ["http1", "--connections=1000", "--rate=1000", "--duration=1.5", "--hold=600"].map(str::to_owned);
    let mut load = Load::start(program, places, pair.door(Entry::H1)?, &flags)?;
    load.until("holding")?;
    std::thread::sleep(IDLE);
    let held = memory(&pair.pids());
    drop(load);
    held
}
