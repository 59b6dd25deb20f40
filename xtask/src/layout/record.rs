//! Which functions a sidecar executes, as valgrind saw them: one that starts and idles, then the pair of the benchmark
//! under all its workloads. Binaries enter; names of functions leave.

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How long a sidecar is watched while it idles: long enough for all that it does by the clock of seconds.
const IDLE: Duration = Duration::from_secs(15);
/// How often a sidecar is asked whether it is ready.
const PROBE: Duration = Duration::from_millis(100);
/// Lets the system choose.
const ANY_PORT: &str = "127.0.0.1:0";
/// Callgrind writes what it saw so often, counted in basic blocks: the benchmark kills its sidecars, and what was not
/// written by then is lost. Some tens of times in a run.
const BLOCKS_PER_DUMP: u32 = 50_000_000;

/// Names of the functions that were executed.
#[derive(Debug)]
pub(super) struct Recording {
    /// By a sidecar that starts and idles.
    pub(super) idle: BTreeSet<String>,
    /// By sidecars that carry traffic, with their start.
    pub(super) carrying: BTreeSet<String>,
}

/// Fails early where there is no valgrind.
///
/// # Errors
/// It can't be started.
pub(super) fn require_valgrind() -> Result<()> {
    for program in ["valgrind", "callgrind_control"] {
        let outcome = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        outcome.with_context(|| {
            format!(
                "{program} can't be started: recording needs valgrind; on Debian: `apt-get install valgrind`"
            )
        })?;
    }
    Ok(())
}

/// Records `sidecar` with the other binaries in `bin`; all that is written goes to `work`.
///
/// # Errors
/// A program can't be started or fails, or valgrind wrote nothing.
pub(super) fn record(bin: &Path, sidecar: &Path, work: &Path) -> Result<Recording> {
    let idle = idle(bin, sidecar, &fresh(work, "idle")?)?;
    let carrying = carrying(bin, sidecar, &fresh(work, "carrying")?)?;
    Ok(Recording { idle, carrying })
}

fn fresh(work: &Path, name: &str) -> Result<PathBuf> {
    let dir = work.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

fn valgrind(out: &str) -> [String; 5] {
    [
        "-q".to_owned(),
        "--tool=callgrind".to_owned(),
        "--demangle=no".to_owned(),
        "--compress-strings=no".to_owned(),
        format!("--callgrind-out-file={out}"),
    ]
}

/// A sidecar that joins a mesh, becomes ready, is scraped once, and idles.
fn idle(bin: &Path, sidecar: &Path, dir: &Path) -> Result<BTreeSet<String>> {
    let state = dir.join("control-plane");
    let mut command = Command::new(bin.join("control-plane"));
    command.arg("serve").arg("--data-dir").arg(&state);
    for listener in ["api", "discovery", "metrics"] {
        command.args([&format!("--{listener}-addr"), ANY_PORT]);
    }
    let mut control_plane = Process::launch(&mut command, &dir.join("control-plane.log"))?;
    let discovery = control_plane.ready("discovery")?;
    let token = dir.join("token");
    let mut meshctl = Command::new(bin.join("meshctl"));
    meshctl.arg("--kubeconfig").arg(state.join("kubeconfig")).args([
        "token",
        "create",
        "--namespace",
        "default",
    ]);
    meshctl.args(["--service-account", "idle"]).stdout(File::create(&token)?);
    cargo::run(&mut meshctl)?;

    let out = dir.join("callgrind");
    let mut command = Command::new("valgrind");
    command.args(valgrind(&out.to_string_lossy())).arg(sidecar).args(["run", "--workers", "1"]);
    command.args(["--namespace", "default", "--service-account", "idle", "--inbound", "8080/http"]);
    command.arg("--control-plane").arg(format!("https://{discovery}"));
    command.arg("--trust-bundle").arg(state.join("ca.crt")).arg("--token-file").arg(&token);
    command.arg("--state-dir").arg(dir.join("state"));
    command.args(["--inbound-addr", ANY_PORT, "--outbound-addr", ANY_PORT]);
    let (admin, metrics) = (free_addr()?, free_addr()?);
    command.args(["--admin-addr", &admin, "--metrics-addr", &metrics]);
    let mut sidecar = Process::launch(&mut command, &dir.join("sidecar.log"))?;
    // As a probe does it: from the start on, and so before it is ready, too.
    while !get(&admin, "/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        sidecar.require_running()?;
        std::thread::sleep(PROBE);
    }
    get(&metrics, "/metrics")?;
    std::thread::sleep(IDLE);
    // Before its end, since what ends it is not what idles.
    let mut dump = Command::new("callgrind_control");
    cargo::run(dump.args(["--dump", &sidecar.child.id().to_string()]).stdout(Stdio::null()))?;
    executed(dir)
}

/// An address that was free a moment ago.
fn free_addr() -> Result<String> {
    let listener = TcpListener::bind(ANY_PORT).context("looking for a free port")?;
    Ok(listener.local_addr()?.to_string())
}

/// What is answered to a request for this path.
fn get(addr: &str, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: sidecar\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).with_context(|| format!("reading {path} of {addr}"))?;
    Ok(answer)
}

/// The benchmark, with a `sidecar` that runs the real one in valgrind.
fn carrying(bin: &Path, sidecar: &Path, dir: &Path) -> Result<BTreeSet<String>> {
    let flags = valgrind(&format!("{}/callgrind.%p", dir.display())).join("' '");
    let script = format!(
        "#!/bin/sh\nexec valgrind '{flags}' --dump-every-bb={BLOCKS_PER_DUMP} '{}' \"$@\"\n",
        sidecar.display()
    );
    let wrapper = dir.join("sidecar");
    fs::write(&wrapper, script).with_context(|| format!("writing {}", wrapper.display()))?;
    executable(&wrapper)?;
    let mut bench = Command::new(bin.join("bench"));
    bench.args(["--quick", "--rate", "50", "--peer", "outrigger", "--sidecar"]).arg(&wrapper);
    bench.arg("--out").arg(dir.join("out"));
    cargo::run(bench.stdout(Stdio::null()))?;
    executed(dir)
}

fn executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("marking {}", file.display()))
}

/// The sidecar's functions in all that callgrind wrote into a folder.
fn executed(dir: &Path) -> Result<BTreeSet<String>> {
    let mut functions = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("callgrind") {
            let path = entry.path();
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            functions.extend(functions_of(&String::from_utf8_lossy(&text), "/sidecar").map(str::to_owned));
        }
    }
    if functions.is_empty() {
        bail!("valgrind wrote of no function of the sidecar into {}: see the logs there", dir.display());
    }
    Ok(functions)
}

/// The functions of one object in what callgrind wrote: `ob=` names the object of the `fn=` lines that follow.
fn functions_of<'a>(text: &'a str, object: &'a str) -> impl Iterator<Item = &'a str> {
    let mut is_ours = false;
    text.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("ob=") {
            is_ours = name.ends_with(object);
        }
        // `'2` marks a recursion.
        let name = line.strip_prefix("fn=").filter(|_| is_ours)?;
        Some(name.rsplit_once('\'').map_or(name, |(name, _)| name))
    })
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says on stderr goes to `log`.
    fn launch(command: &mut Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().with_context(|| format!("starting {program}"))?;
        let stdout = child.stdout.take().with_context(|| format!("{program} has no stdout"))?;
        Ok(Self { child, stdout: BufReader::new(stdout), log: log.to_owned() })
    }

    /// Waits for its ready line, `NAME ready: KEY=VALUE …`, and returns the value of a key.
    fn ready(&mut self, key: &str) -> Result<String> {
        for line in self.stdout.by_ref().lines() {
            let line = line?;
            if line.contains(" ready: ") {
                let mut fields = line.split_whitespace().filter_map(|word| word.split_once('='));
                let value = fields.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned());
                return value.with_context(|| format!("no `{key}` in the ready line `{line}`"));
            }
        }
        bail!("it ended before it was ready: see {}", self.log.display())
    }

    /// Fails if it has ended.
    fn require_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended before it was ready ({status}): see {}", self.log.display()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_object_executed_itself_is_read() {
        let text = "ob=/usr/lib/libc.so.6\nfn=malloc\n1 2\nob=/x/layout/sidecar\nfn=first\n3 1\ncob=/usr/lib/libc.so.6\n\
                    cfn=free\ncalls=1 0\nfn=again'2\nfn=0x00001234\nob=/usr/lib/ld.so\nfn=_dl_start\n";
        assert_eq!(functions_of(text, "/sidecar").collect::<Vec<_>>(), ["first", "again", "0x00001234"]);
    }
}
