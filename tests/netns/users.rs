//! A sidecar that gives up root, and a command that is yet another user.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Child, ChildStdout, Command, Stdio};
use tests::world::{NAMESPACE, World};

const SIDECAR: u32 = 64123;
const COMMAND: u32 = 64124;

struct Job {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Others can read what is in it.
    dir: tempfile::TempDir,
}

impl Job {
    fn start(world: &World, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (ca, token, state) =
            (dir.path().join("ca.crt"), dir.path().join("token"), dir.path().join("state/job"));
        std::fs::copy(world.mesh.trust_bundle(), &ca).unwrap();
        std::fs::write(&token, world.mesh.token(NAMESPACE, "job").unwrap()).unwrap();
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        chown(&token, Some(SIDECAR), Some(SIDECAR)).unwrap();
        // As an earlier run as root would have left it.
        std::fs::create_dir_all(&state).unwrap();
        std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(state.join("name"), "job-1\n").unwrap();
        std::fs::set_permissions(state.join("name"), PermissionsExt::from_mode(0o600)).unwrap();
        let mut command: Command = world.mesh.program("sidecar");
        command.args(["run", "--control-plane", &world.mesh.discovery().unwrap()]);
        command.arg("--trust-bundle").arg(&ca).arg("--token-file").arg(&token).arg("--state-dir").arg(&state);
        command.args(["--namespace", NAMESPACE, "--service-account", "job", "--workers", "1"]);
        for listener in ["outbound", "inbound", "admin", "metrics"] {
            command.args([&format!("--{listener}-addr"), "127.0.0.1:0"]);
        }
        command.args(["--uid", &format!("{SIDECAR}:{SIDECAR}")]);
        command.args(["--command-uid", &format!("{COMMAND}:{COMMAND}"), "--", "sh", "-c", script]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, dir }
    }

    fn says(&mut self, expected: &str) {
        assert_eq!(self.lines.next().map(Result::unwrap).as_deref(), Some(expected));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Ended before, usually.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn root_is_given_up_for_good_by_every_thread_and_the_command_is_another_user() {
    let world = World::new();
    let script = "echo $(id -u) $(id -g) $(id -G); grep -E '^(CapEff|CapPrm)' /proc/self/status | tr -d '\\t' | \
                  xargs echo; trap 'echo hup' HUP; trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done";
    let mut job = Job::start(&world, script);
    job.says(&format!("{COMMAND} {COMMAND} {COMMAND}"));
    job.says("CapPrm:0000000000000000 CapEff:0000000000000000");
    job.says("up");
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", job.child.id())).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(value("Uid:"), [SIDECAR.to_string().as_str(); 4]);
        assert_eq!(value("Gid:"), [SIDECAR.to_string().as_str(); 4]);
        assert_eq!(value("Groups:"), [""; 0]);
        for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(value(capabilities), ["0000000000000000"], "{capabilities}");
        }
        assert_eq!(value("NoNewPrivs:"), ["1"]);
        threads += 1;
    }
    assert!(threads >= 2, "{threads}");
    let state = job.dir.path().join("state/job");
    for path in [state.clone(), state.join("name"), state.join("lock")] {
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), SIDECAR, "{}", path.display());
    }
    job.signal(Signal::HUP);
    job.says("hup");
    job.signal(Signal::TERM);
    assert_eq!(job.child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_command_of_another_user_does_not_outlive_a_sidecar_that_dies() {
    let world = World::new();
    let mut job = Job::start(&world, "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.1; done");
    job.says("up");
    job.child.kill().unwrap();
    job.says("told");
}
