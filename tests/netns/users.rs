//! A sidecar that gives up root, and a command that is yet another user.

use mesh_load::running::Running;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Child, ChildStdout, Command, Stdio};
use tests::world::{NAMESPACE, World};

const SIDECAR: u32 = 64123;
const COMMAND: u32 = 64124;

/// What a sidecar that becomes [`SIDECAR`] needs, and can read then.
struct Prepared {
    /// Others can read what is in it.
    dir: tempfile::TempDir,
    arguments: Vec<OsString>,
}

impl Prepared {
    fn new(world: &World, account: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (ca, token) = (dir.path().join("ca.crt"), dir.path().join("token"));
        std::fs::copy(world.mesh.trust_bundle(), &ca).unwrap();
        std::fs::write(&token, world.mesh.token(NAMESPACE, account).unwrap()).unwrap();
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        chown(&token, Some(SIDECAR), Some(SIDECAR)).unwrap();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut push = |flag: &str, value: &OsStr| arguments.extend([flag.into(), value.to_owned()]);
        push("--control-plane", world.mesh.discovery().unwrap().as_ref());
        push("--trust-bundle", ca.as_ref());
        push("--token-file", token.as_ref());
        push("--state-dir", dir.path().join("state").join(account).as_ref());
        push("--namespace", NAMESPACE.as_ref());
        push("--service-account", account.as_ref());
        push("--address", "127.0.0.1".as_ref());
        push("--workers", "1".as_ref());
        push("--uid", format!("{SIDECAR}:{SIDECAR}").as_ref());
        for listener in ["outbound", "inbound", "admin", "metrics"] {
            push(&format!("--{listener}-addr"), "127.0.0.1:0".as_ref());
        }
        Self { dir, arguments }
    }

    fn command(&self, world: &World) -> Command {
        let mut command: Command = world.mesh.program("sidecar");
        command.arg("run").args(&self.arguments);
        command
    }

    fn start(&self, world: &World, name: &str, more: &[&str]) -> Running {
        let mut command = self.command(world);
        command.args(more);
        Running::start(name, command, &world.mesh.logs()).unwrap()
    }
}

struct Job {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    prepared: Prepared,
}

impl Job {
    fn start(world: &World, script: &str) -> Self {
        let prepared = Prepared::new(world, "job");
        let state = prepared.dir.path().join("state/job");
        // As an earlier run as root would have left it.
        std::fs::create_dir_all(&state).unwrap();
        std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(state.join("name"), "job-1\n").unwrap();
        std::fs::set_permissions(state.join("name"), PermissionsExt::from_mode(0o600)).unwrap();
        let mut command = prepared.command(world);
        command.args(["--command-uid", &format!("{COMMAND}:{COMMAND}"), "--", "sh", "-c", script]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, prepared }
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
    let state = job.prepared.dir.path().join("state/job");
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

/// The user a process is by now.
fn uid_of(pid: u32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

#[test]
fn a_takeover_between_processes_that_gave_up_root_refuses_and_resets_no_connection() {
    let world = World::new();
    world.service("web", 80, Some("http"), "main");
    let origin = world.origin("web-a", &["http", "--delay-ms", "2"]);
    let port = origin.ready("addr").unwrap().rsplit_once(':').unwrap().1.to_owned();
    let (web, shopper) = (Prepared::new(&world, "web"), Prepared::new(&world, "shopper"));
    let serves = ["--label", "app=web", "--inbound", &format!("main={port}/http")];
    let mut sidecars =
        [(&web, web.start(&world, "web", &serves)), (&shopper, shopper.start(&world, "shopper", &[]))];
    let outbound = sidecars[1].1.ready("outbound").unwrap().to_owned();
    world.until_answers(&outbound, "web.demo", "/", 200);
    let target = ["http1", "--target", "web.demo:80", "--via", &outbound, "--duration", "8"];
    let post = ["--path", "/echo", "--post-bytes", "300", "--connections", "4", "--rate", "80"];
    let loads = [&[][..], &["--header", "connection:close"]]
        .map(|more| world.start_load(&[&target[..], &post, more].concat()));
    for round in 0..3 {
        for (number, (prepared, running)) in sidecars.iter_mut().enumerate() {
            let (name, more) = [("web", &serves[..]), ("shopper", &[][..])][number];
            let name = format!("{name}-{round}");
            let new = prepared.start(&world, &name, &[more, &["--takeover"]].concat());
            let mut old = std::mem::replace(running, new);
            let status = old.wait().unwrap();
            assert!(status.success(), "before {name}: {status}\n{}", old.end_of_log());
            assert_eq!(uid_of(running.pid()), SIDECAR);
            for listener in ["outbound", "inbound", "admin", "metrics"] {
                assert_eq!(running.ready(listener).unwrap(), old.ready(listener).unwrap(), "{listener}");
            }
        }
    }
    for load in loads {
        let output = load.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(report["failed_total"], 0, "{report}");
        assert!(report["instances"]["web-a"].as_u64().unwrap() > 100, "{report}");
    }
}
