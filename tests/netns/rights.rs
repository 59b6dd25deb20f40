//! The one right of root's that a sidecar needs for the mark on its sockets and for TPROXY: refused without it, kept when
//! root is given up, and never handed on.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use tests::netns::told;
use tests::world::{NAMESPACE, World};

const USER: u32 = 64125;
/// CAP_NET_ADMIN as `/proc` writes it.
const NET_ADMIN: &str = "0000000000001000";
const NOTHING: &str = "0000000000000000";
const AS_USER: &str = "--reuid 64125 --regid 64125 --clear-groups";
/// As a service manager gives it.
const GIVEN: &str = "--inh-caps +net_admin --ambient-caps +net_admin";

/// `setpriv HOW sidecar run FLAGS`, with all that it needs to be ready.
fn sidecar(world: &World, dir: &tempfile::TempDir, how: &str, flags: &[&str]) -> Command {
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (ca, token, state) = (dir.path().join("ca.crt"), dir.path().join("token"), dir.path().join("state"));
    let program = dir.path().join("sidecar");
    std::fs::copy(world.mesh.trust_bundle(), &ca).unwrap();
    std::fs::copy(tests::netns::sidecar(), &program).unwrap();
    std::fs::write(&token, world.mesh.token(NAMESPACE, "job").unwrap()).unwrap();
    std::fs::create_dir_all(&state).unwrap();
    for path in [&token, &state] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(how.split_whitespace()).arg(program).arg("run");
    command.args(["--control-plane", &world.mesh.discovery().unwrap()]);
    command.arg("--trust-bundle").arg(&ca).arg("--token-file").arg(&token).arg("--state-dir").arg(&state);
    command.args(["--namespace", NAMESPACE, "--service-account", "job", "--workers", "1"]);
    for listener in ["outbound", "inbound", "plaintext", "admin", "metrics"] {
        command.args([&format!("--{listener}-addr"), "127.0.0.1:0"]);
    }
    command.args(["--dns-addr", "off"]).args(flags).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Asked, so that it ends its command, too.
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

/// What these lines of a process's status say.
fn rights(status: &str) -> Vec<&str> {
    let value = |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
    ["CapPrm:", "CapEff:", "CapAmb:"].map(value).to_vec()
}

/// Starts a sidecar with a command that shows its own status; every thread of the sidecar must have the one right, and
/// the command none.
fn keeps_the_right_to_itself(how: &str, flags: &[&str]) {
    let (world, dir) = (World::new(), tempfile::tempdir().unwrap());
    let script = ["--", "sh", "-c", "cat /proc/self/status; echo up; exec sleep 60"];
    let mut command = sidecar(&world, &dir, how, &[flags, &script].concat());
    let mut running = Running(command.spawn().unwrap());
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let of_command = lines.take_while(|line| line != "up").collect::<Vec<_>>().join("\n");
    assert_eq!(rights(&of_command), [NOTHING; 3], "{of_command}");
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", running.0.id())).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert_eq!(rights(&status), [NET_ADMIN, NET_ADMIN, NOTHING], "{status}");
        assert!(status.contains(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}")), "{status}");
        threads += 1;
    }
    assert!(threads >= 2, "{threads}");
}

#[test]
fn without_the_right_the_sidecar_ends_at_once_and_says_how_to_give_it() {
    let (world, dir) = (World::new(), tempfile::tempdir().unwrap());
    for (flags, named) in [
        (&["--mark", "0x539"][..], "--mark 0x539"),
        (&["--capture", "--inbound-mode", "tproxy"], "--inbound-mode tproxy"),
        (
            &["--capture", "--inbound-mode", "tproxy", "--mark", "1337"],
            "--mark 0x539 and --inbound-mode tproxy",
        ),
    ] {
        let command = sidecar(&world, &dir, AS_USER, flags);
        // One that starts all the same would run for ever.
        let mut bounded = Command::new("timeout");
        bounded.arg("20").arg(command.get_program()).args(command.get_args());
        let output = bounded.current_dir("/").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let program = dir.path().join("sidecar");
        let expected = format!(
            "sidecar: {named}: this takes the right CAP_NET_ADMIN, which this process has not: start it as root, where \
             --uid USER keeps that one right; or give it with `setcap cap_net_admin+ep {}`, or in its systemd unit with \
             `AmbientCapabilities=CAP_NET_ADMIN`. Rules that know the sidecar by its user (`sidecar intercept \
             --sidecar-uid`) and redirect need no right\n",
            program.display()
        );
        assert_eq!(told(&output), expected);
    }
}

#[test]
fn root_is_given_up_but_for_the_one_right() {
    let user = format!("{USER}:{USER}");
    keeps_the_right_to_itself("", &["--uid", &user, "--mark", "0x539"]);
    keeps_the_right_to_itself("", &["--uid", &user, "--capture", "--inbound-mode", "tproxy"]);
}

#[test]
fn a_service_manager_may_give_the_right_for_the_sidecar_alone() {
    let how = format!("{AS_USER} {GIVEN}");
    keeps_the_right_to_itself(&how, &["--capture", "--inbound-mode", "tproxy", "--mark", "0x539"]);
}

#[test]
fn a_file_may_have_the_right() {
    let (world, dir) = (World::new(), tempfile::tempdir().unwrap());
    let mut command = sidecar(&world, &dir, AS_USER, &["--mark", "0x539"]);
    let given = Command::new("setcap").arg("cap_net_admin+ep").arg(dir.path().join("sidecar")).status();
    assert!(given.unwrap().success());
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("sidecar ready: "), "{line}");
}
