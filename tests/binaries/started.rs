//! A sidecar under a test's own flags, and one that runs with a command.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tests::world::{NAMESPACE, World};

/// `sidecar run` with all it needs, for the account and Service `name`, before the `--`.
pub(crate) fn sidecar(world: &World, name: &str) -> Command {
    let dir = world.dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let token = dir.join("token");
    std::fs::write(&token, world.mesh.token(NAMESPACE, name).unwrap()).unwrap();
    let mut command = world.mesh.program("sidecar");
    command.args(["run", "--control-plane", &world.mesh.discovery().unwrap()]);
    command.arg("--trust-bundle").arg(world.mesh.trust_bundle()).arg("--token-file").arg(token);
    command.arg("--state-dir").arg(dir.join("state"));
    command.args(["--namespace", NAMESPACE, "--service-account", name, "--name", name]);
    command.args(["--label", &format!("app={name}"), "--address", "127.0.0.1", "--workers", "1"]);
    for listener in ["inbound", "admin", "metrics"] {
        command.args([&format!("--{listener}-addr"), "127.0.0.1:0"]);
    }
    command.stdin(Stdio::null());
    command
}

/// One that runs, with what it prints line by line.
pub(crate) struct Started {
    pub(crate) child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Started {
    pub(crate) fn script(world: &World, name: &str, outbound: &str, script: &str) -> Self {
        let mut command = sidecar(world, name);
        command.args(["--grace", "10s", "--outbound-addr", outbound, "--", "sh", "-c", script]);
        Self::command(command)
    }

    pub(crate) fn command(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn says(&mut self, expected: &str) {
        let line = self.lines.next().map(Result::unwrap);
        assert_eq!(line.as_deref(), Some(expected));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Ended before, usually.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
