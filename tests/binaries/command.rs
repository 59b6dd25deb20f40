//! `sidecar run … -- COMMAND`: the sidecar as parent of a job or service.

use crate::started::{Started, sidecar};
use rustix::process::Signal;
use std::process::Output;
use tests::wait::{eventually, holds};
use tests::world::{World, bin_dir};

/// Runs `sidecar run … -- sh -c SCRIPT` to its end.
fn job(world: &World, name: &str, script: &str) -> Output {
    let mut command = sidecar(world, name);
    command.args(["--outbound-addr", "127.0.0.1:0", "--", "sh", "-c", script]);
    command.output().unwrap()
}

fn free_address() -> String {
    format!("127.0.0.1:{}", mesh_load::mesh::free_port().unwrap())
}

#[test]
fn the_exit_code_is_the_commands_and_so_is_standard_output() {
    let world = World::new();
    for (script, code) in [
        ("echo done", 0),
        ("echo done; exit 7", 7),
        ("echo done; kill -KILL $$", 137),
        ("echo done; kill $$", 143),
    ] {
        let output = job(&world, "job", script);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{script}: {said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "{script}");
        assert!(said.contains("sidecar ready: workload=demo/job "), "{said}");
    }
}

#[test]
fn a_command_that_cannot_be_started_is_named_with_the_exit_code_of_shells() {
    let world = World::new();
    let plain = world.dir().join("plain.txt");
    std::fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap();
    for (name, code, why) in
        [("no-such-program", 127, "there is no such program"), (plain, 126, "this user may not run it")]
    {
        let mut command = sidecar(&world, "job");
        let output = command.args(["--outbound-addr", "127.0.0.1:0", "--", name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with(&format!("sidecar: cannot start the command `{name}`: {why}")), "{said}");
    }
}

#[test]
fn without_a_mesh_the_command_is_not_started_and_what_is_missing_is_said() {
    let mut world = World::new();
    let mut command = sidecar(&world, "job");
    world.mesh.kill_control_plane();
    command.args(["--outbound-addr", "127.0.0.1:0", "--ready-timeout", "300ms", "--", "echo", "started"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("sidecar: the command `echo` was not started: certificate, configuration"),
        "{said}"
    );
    assert!(last.contains("300ms") && last.contains("--ready-timeout"), "{said}");
}

#[test]
fn the_commands_calls_are_carried_from_its_first_instruction_on_and_after_sigterm_until_its_end() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = free_address();
    let load = bin_dir().join("load");
    let call = format!(
        "{} http1 --target web.demo:80 --via {outbound} --rate 50 --duration 0.5 >/dev/null",
        load.display()
    );
    // A shell runs its trap once the program it waits for has ended, and that is told to end as well.
    let script = format!(
        "trap '{call} && echo called again; exit 3' TERM; {call} && echo called; while :; do sleep 0.1; done"
    );
    let mut started = Started::script(&world, "job", &outbound, &script);
    started.says("called");
    started.signal(Signal::TERM);
    started.says("called again");
    assert_eq!(started.code(), Some(3));
}

#[test]
fn signals_are_passed_on() {
    let world = World::new();
    let script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; trap 'echo usr2' USR2; trap 'echo quit' QUIT; \
                  trap 'echo int; exit 4' INT; echo up; while :; do sleep 0.1; done";
    let mut started = Started::script(&world, "job", "127.0.0.1:0", script);
    started.says("up");
    for (signal, word) in [
        (Signal::HUP, "hup"),
        (Signal::USR1, "usr1"),
        (Signal::USR2, "usr2"),
        (Signal::QUIT, "quit"),
        (Signal::INT, "int"),
    ] {
        started.signal(signal);
        started.says(word);
    }
    assert_eq!(started.code(), Some(4));
}

#[test]
fn a_second_signal_kills_what_will_not_end() {
    let world = World::new();
    let mut started = Started::script(
        &world,
        "job",
        "127.0.0.1:0",
        "trap 'echo not yet' TERM; echo up; while :; do sleep 0.1; done",
    );
    started.says("up");
    started.signal(Signal::TERM);
    started.says("not yet");
    started.signal(Signal::TERM);
    assert_eq!(started.code(), Some(137));
}

#[test]
fn a_service_that_drops_its_requests_on_sigterm_fails_none() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http", "--delay-ms", "5"]);
    let address = free_address();
    let mut command = sidecar(&world, "web");
    let (_, port) = address.rsplit_once(':').unwrap();
    command.args(["--inbound", &format!("main={port}/http"), "--outbound-addr", "127.0.0.1:0", "--"]);
    // Killed by the signal, in the middle of whatever it does.
    let origin = format!(
        "{} http --name web-b --listen {address} --delay-ms 5 & trap \"kill -KILL $!; exit 0\" TERM; wait",
        bin_dir().join("origin").display()
    );
    let mut started = Started::command({
        command.args(["sh", "-c", &origin]);
        command
    });
    started.says(&format!("origin ready: addr={address}"));
    let outbound = world.client("shopper", &[]);
    let target = ["http1", "--target", "web.demo:80", "--via", &outbound, "--rate", "100"];
    eventually("both instances answer", || {
        let report = world.load(&[&target[..], &["--duration", "0.3"]].concat());
        holds(report["instances"].as_object().is_some_and(|seen| seen.len() == 2), report)
    });
    let post = ["--path", "/echo", "--post-bytes", "500", "--connections", "8", "--duration", "3"];
    let load = world.start_load(&[&target[..], &post].concat());
    world.counted("shopper", "outrigger_requests_total", &[("direction", "outbound")], 130.0);
    started.signal(Signal::TERM);
    assert_eq!(started.code(), Some(0));
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
    assert!(report["instances"]["web-b"].as_u64().unwrap() > 0, "{report}");
}
