//! CPU and memory of the control plane's process.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// Length of a clock tick in `/proc/PID/stat`: USER_HZ is 100 wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

/// CPU time it has used so far, user and system.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold blanks; utime and stime are the 12th and 13th fields after it.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<u32>().ok()).context("no time in stat");
    Ok(TICK * (next()? + next()?))
}

/// Its resident memory in KiB.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
