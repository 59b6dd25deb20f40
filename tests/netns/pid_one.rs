//! `sidecar run -- COMMAND` as the first process of a container: what is orphaned becomes its child, and signals and exit
//! codes are all that whoever runs the container has.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use tests::wait::eventually;
use tests::world::{NAMESPACE, World};

/// A sidecar that is process 1.
struct Container {
    /// unshare, which ends as the sidecar does.
    unshare: Child,
    lines: Lines<BufReader<ChildStdout>>,
    sidecar: Pid,
}

impl Container {
    fn start(world: &World, script: &str) -> Self {
        let dir = world.dir().join("job");
        std::fs::create_dir_all(&dir).unwrap();
        let token = dir.join("token");
        std::fs::write(&token, world.mesh.token(NAMESPACE, "job").unwrap()).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.arg(world.mesh.program("sidecar").get_program()).arg("run");
        command.args(["--control-plane", &world.mesh.discovery().unwrap()]);
        command.arg("--trust-bundle").arg(world.mesh.trust_bundle()).arg("--token-file").arg(token);
        command.arg("--state-dir").arg(dir.join("state"));
        command.args([
            "--namespace",
            NAMESPACE,
            "--service-account",
            "job",
            "--workers",
            "1",
            "--grace",
            "10s",
        ]);
        for listener in ["outbound", "inbound", "admin", "metrics"] {
            command.args([&format!("--{listener}-addr"), "127.0.0.1:0"]);
        }
        command.args(["--", "sh", "-c", script]);
        let mut unshare = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(unshare.stdout.take().unwrap()).lines();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let sidecar = eventually("unshare has a child", || {
            let children = std::fs::read_to_string(&children).map_err(|error| error.to_string())?;
            children
                .split_whitespace()
                .next()
                .and_then(|pid| Pid::from_raw(pid.parse().ok()?))
                .ok_or(children)
        });
        Self { unshare, lines, sidecar }
    }

    fn says(&mut self, expected: &str) {
        assert_eq!(self.lines.next().map(Result::unwrap).as_deref(), Some(expected));
    }

    fn code(&mut self) -> Option<i32> {
        self.unshare.wait().unwrap().code()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Ended before, usually; and with it whatever is in there.
        self.unshare.kill().ok();
        self.unshare.wait().ok();
    }
}

#[test]
fn orphans_that_end_are_taken_in() {
    let world = World::new();
    // Each subshell leaves a child behind, which becomes process 1's, and ends when it is told to, all at once.
    let script = "mkfifo go && exec 9<>go && for i in 1 2 3 4 5; do (sh -c 'read line <&9' &); done; \
                  parents=$(cat /proc/[0-9]*/stat | awk '$4 == 1 && $1 != '$$' {print $1}' | wc -l); \
                  echo orphans $parents parent $PPID; for i in 1 2 3 4 5; do echo >&9; done; \
                  n=0; while [ $n -lt 100 ] && [ $(cat /proc/[0-9]*/stat 2>/dev/null | awk '$4 == 1 && $1 != '$$' {print $1}' | wc -l) != 0 ]; \
                  do n=$((n+1)); sleep 0.1; done; [ $n -lt 100 ] && echo none left; exit 3";
    let script = format!("cd {} && {script}", world.dir().display());
    let mut container = Container::start(&world, &script);
    container.says("orphans 5 parent 1");
    container.says("none left");
    assert_eq!(container.code(), Some(3));
}

#[test]
fn sigterm_reaches_the_command_and_its_exit_code_comes_back() {
    let world = World::new();
    let script = "trap 'echo told; exit 7' TERM; echo process $PPID; while :; do sleep 0.1; done";
    let mut container = Container::start(&world, script);
    container.says("process 1");
    kill_process(container.sidecar, Signal::TERM).unwrap();
    container.says("told");
    assert_eq!(container.code(), Some(7));
}

#[test]
fn a_command_that_a_signal_ended_is_128_and_the_signal() {
    let world = World::new();
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let mut container = Container::start(&world, &format!("echo up; kill -{signal} $$"));
        container.says("up");
        assert_eq!(container.code(), Some(code), "{signal}");
    }
    // By the one it was passed on.
    let mut container = Container::start(&world, "echo up; exec sleep 1000");
    container.says("up");
    kill_process(container.sidecar, Signal::TERM).unwrap();
    assert_eq!(container.code(), Some(143));
}
