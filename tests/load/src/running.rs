//! Programs started as child processes: they announce themselves by one ready line on stdout
//! (`NAME ready: key=value key=value`), log to a file, and never outlive the value that holds them.

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program may take from its start to its ready line. The slowest, a control plane on a cold disk, needs
/// well under a second.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How much of a log an error quotes.
const QUOTED_LINES: usize = 15;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    ready: BTreeMap<String, String>,
    log: PathBuf,
}

impl Running {
    /// Starts `command` and waits for its ready line. Its stderr, and what follows on stdout, go to `log_dir/NAME.log`.
    ///
    /// # Errors
    /// The program can't be started, ends or stays silent: with the end of its log.
    pub fn start(name: &str, mut command: Command, log_dir: &Path) -> Result<Self> {
        fs::create_dir_all(log_dir).with_context(|| format!("creating {}", log_dir.display()))?;
        let log = log_dir.join(format!("{name}.log"));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("starting {program}"))?;
        let stdout = child.stdout.take().ok_or_else(|| anyhow!("{program} has no stdout"))?;
        let (lines, ready) = mpsc::sync_channel(1);
        std::thread::spawn(move || relay(BufReader::new(stdout), file, &lines));
        let mut running = Self { name: name.to_owned(), child, ready: BTreeMap::new(), log };
        match ready.recv_timeout(READY_WITHIN) {
            Ok(line) => running.ready = fields(&line),
            Err(_) => bail!("{name} ({program}) did not become ready:\n{}", running.end_of_log()),
        }
        Ok(running)
    }

    /// Starts a program that has no ready line, and returns at once. All it prints goes to `log_dir/NAME.log`.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn launch(name: &str, mut command: Command, log_dir: &Path) -> Result<Self> {
        fs::create_dir_all(log_dir).with_context(|| format!("creating {}", log_dir.display()))?;
        let log = log_dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {program}"))?;
        Ok(Self { name: name.to_owned(), child, ready: BTreeMap::new(), log })
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of `key` in the ready line.
    ///
    /// # Errors
    /// There is no such key.
    pub fn ready(&self, key: &str) -> Result<&str> {
        let value = self.ready.get(key).map(String::as_str);
        value.ok_or_else(|| anyhow!("{}'s ready line has no `{key}`: {:?}", self.name, self.ready))
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of its log, for error messages.
    pub fn end_of_log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(QUOTED_LINES)..).unwrap_or_default().join("\n")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// It has no valid process number, or the signal can't be sent.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Has it stand still (SIGSTOP), as a machine does that is suspended: its connections stay, and nothing answers.
    ///
    /// # Errors
    /// As for [`Running::terminate`].
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Has it go on (SIGCONT).
    ///
    /// # Errors
    /// As for [`Running::terminate`].
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| anyhow!("{} has no process number", self.name))?;
        kill_process(pid, signal).with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The operating system can't tell.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().with_context(|| format!("waiting for {}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills a process at once (SIGKILL), for those who hold its number only.
///
/// # Errors
/// There is no such process.
pub fn kill(pid: u32) -> Result<()> {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let target = target.with_context(|| format!("{pid} is no process number"))?;
    kill_process(target, Signal::KILL).with_context(|| format!("killing process {pid}"))
}

/// Sends the ready line to `ready`, everything else to `log`.
fn relay(stdout: impl BufRead, mut log: File, ready: &mpsc::SyncSender<String>) {
    let mut is_ready = false;
    for line in stdout.lines().map_while(Result::ok) {
        if !is_ready && line.contains(" ready: ") {
            is_ready = true;
            let _nobody_waits = ready.send(line);
        } else if writeln!(log, "{line}").is_err() {
            return;
        }
    }
}

/// The `key=value` fields of a ready line.
fn fields(line: &str) -> BTreeMap<String, String> {
    let words = line.split_whitespace();
    words.filter_map(|word| word.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_ready_line_is_read_and_the_rest_is_logged() {
        let dir = std::env::temp_dir().join(format!("running-{}", std::process::id()));
        let mut running = Running::start(
            "probe",
            shell("echo first; echo 'probe ready: addr=127.0.0.1:1 x=y=z'; exec sleep 60"),
            &dir,
        )
        .unwrap();
        assert_eq!(running.ready("addr").unwrap(), "127.0.0.1:1");
        assert_eq!(running.ready("x").unwrap(), "y=z");
        assert!(running.ready("port").is_err());
        assert!(running.is_running());
        running.terminate().unwrap();
        assert!(!running.wait().unwrap().success());
        assert_eq!(running.end_of_log(), "first");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_its_log() {
        let dir = std::env::temp_dir().join(format!("running-early-{}", std::process::id()));
        let error = Running::start("probe", shell("echo 'port 80 is taken' >&2; exit 1"), &dir).unwrap_err();
        assert!(error.to_string().contains("port 80 is taken"), "{error}");
        fs::remove_dir_all(dir).unwrap();
    }
}
