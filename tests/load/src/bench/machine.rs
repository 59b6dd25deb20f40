//! What the operating system knows of processes: the CPU time they used, the memory they hold, and where they may run.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::AddAssign;
use std::time::Duration;

/// Length of a clock tick in `/proc/PID/stat`: USER_HZ is 100 wherever Linux runs.
const TICK_MICROSECONDS: f64 = 10_000.0;
const MIB: f64 = 1024.0;

/// Memory of processes, in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident: also counts pages of the binary, which are shared with other processes that run it.
    pub resident: f64,
    /// Its anonymous part: heap and stacks.
    pub anonymous: f64,
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.anonymous += other.anonymous;
    }
}

/// CPU time that these processes have used so far, all threads, user and system, in microseconds.
pub fn cpu_microseconds(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| scheduled(*pid).or_else(|_| ticks(*pid))).sum()
}

/// From the scheduler's own account, in nanoseconds: exact for processes whose threads do not end.
fn scheduled(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let account = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = account.split_whitespace().next().context("an empty schedstat")?;
        total += nanoseconds.parse::<f64>()? / 1000.0;
    }
    Ok(total)
}

/// From utime and stime, on kernels without the scheduler's account.
fn ticks(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold blanks; utime and stime are the 12th and 13th fields after it.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<f64>().ok()).context("no time in stat");
    Ok((next()? + next()?) * TICK_MICROSECONDS)
}

/// Share of all CPU time that this machine is using, taken over `during`: what a benchmark shares it with, if nothing of
/// its own runs.
pub(super) fn busy_share(during: Duration) -> Result<f64> {
    // (idle, all): idle and waiting for I/O are the fourth and fifth of the line's fields.
    let read = || -> Result<(f64, f64)> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("an empty /proc/stat")?;
        let fields: Vec<f64> =
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        Ok((fields.iter().skip(3).take(2).sum(), fields.iter().take(8).sum()))
    };
    let (idle_before, all_before) = read()?;
    std::thread::sleep(during);
    let (idle, all) = read()?;
    Ok(1.0 - (idle - idle_before) / (all - all_before).max(1.0))
}

/// Memory that these processes hold now.
pub fn memory(pids: &[u32]) -> Result<Memory> {
    let mut total = Memory::default();
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("reading the memory of process {pid}"))?;
        let field = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("a field is missing")?;
            Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / MIB)
        };
        total += Memory { resident: field("Rss:")?, anonymous: field("Anonymous:")? };
    }
    Ok(total)
}

/// Where processes run: proxies on one CPU, load and origins on another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    proxies: Option<usize>,
    others: Option<usize>,
}

impl Places {
    /// The first two CPUs this process may use; on a machine with one, everything runs on it.
    pub(super) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("asking which CPUs may be used")?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let (first, second) = (cpus.next(), cpus.next());
        Ok(if second.is_some() {
            Self { proxies: first, others: second }
        } else {
            Self { proxies: None, others: None }
        })
    }

    /// Whether proxies have a CPU of their own.
    pub(super) fn are_apart(self) -> bool {
        self.proxies.is_some()
    }

    /// Starts something on the proxies' CPU: children inherit the affinity of the thread that starts them.
    pub(super) fn as_proxy<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        on_cpu(self.proxies, start)
    }

    /// Starts something on the CPU of load and origins.
    pub(super) fn as_other<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        on_cpu(self.others, start)
    }
}

fn on_cpu<T>(cpu: Option<usize>, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(cpu) = cpu else { return start() };
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("moving to CPU {cpu}"))?;
    let started = start();
    sched_setaffinity(None, &before).context("moving back to all CPUs")?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_time_and_memory_of_this_process() {
        let own = [std::process::id()];
        let before = cpu_microseconds(&own).unwrap();
        let mut sum: u64 = 0;
        while cpu_microseconds(&own).unwrap() < before + 10_000.0 || ticks(own[0]).unwrap() == 0.0 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        let memory = memory(&own).unwrap();
        assert!(memory.resident > memory.anonymous && memory.anonymous > 0.0, "{memory:?}, {sum}");
    }

    #[test]
    fn comes_back_from_the_cpu_it_was_sent_to() {
        let before = sched_getaffinity(None).unwrap();
        let places = Places::choose().unwrap();
        let during = places.as_proxy(|| Ok(sched_getaffinity(None)?.count())).unwrap();
        assert!(!places.are_apart() || during == 1);
        assert_eq!(sched_getaffinity(None).unwrap().count(), before.count());
    }
}
