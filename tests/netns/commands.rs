//! A command that its sidecar starts as another user, on a machine where that user's traffic is captured.

use mesh_load::running::Running;
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::netns::sidecar;
use tests::site::{Machine, Site, Versions};
use tests::wait::eventually;

/// A line more in a copy of one of the machine's lists.
fn with_line(machine: &Machine, file: &str, line: &str) -> String {
    let copy = machine.dir().join(Path::new(file).file_name().unwrap());
    fs::write(&copy, format!("{}{line}\n", fs::read_to_string(file).unwrap())).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// `sidecar run FLAGS -- sh -c SCRIPT` as root, where users and groups are those of the lists.
fn job(site: &Site, machine: &Machine, flags: &str, script: &str) -> Command {
    let passwd = with_line(machine, "/etc/passwd", "webapp:x:1001:2001::/:/bin/sh");
    let group =
        with_line(machine, "/etc/group", "webapp:x:2001:\nspool:x:2002:webapp\ncert:x:2003:other,webapp");
    let mut command = machine.command(0, "sh");
    let mount = "mount --bind \"$1\" /etc/passwd && mount --bind \"$2\" /etc/group && shift 2 && exec \"$@\"";
    command.args(["-c", mount, "sh", &passwd, &group]).arg(sidecar()).arg("run");
    command.args(site.sidecar_arguments(machine, "job", flags));
    command.args(["--", "sh", "-c", script]);
    command
}

/// As `login` has it: the first one, and those that list the user.
fn groups(first: u32) -> String {
    let mut groups = [first, 2002, 2003];
    groups.sort_unstable();
    groups.map(|group| group.to_string()).join(" ")
}

#[test]
fn a_command_s_calls_are_captured_and_carried_and_it_is_its_user_with_all_its_groups() {
    let site = Site::new();
    site.service("orders", "80>8080/http");
    let mut orders = site.member("orders", "--inbound 8080/http");
    orders.origin("orders-a", 8080, "http");
    let machine = site.machine("job", Versions::Both);
    machine.host.intercepts("install --include-uid 1001 --sidecar-uid 900 --inbound-mode off");
    // From its first instruction on: nothing is waited for.
    let script = "echo user $(id -u) group $(id -g) groups $(id -G | tr ' ' '\\n' | sort -n | xargs); \
                  curl --silent --show-error --include --max-time 15 http://orders/ http://orders.shop/";
    for (user, group) in [("webapp", 2001), ("1001:44", 44)] {
        let command = job(&site, &machine, &format!("--uid 900:900 --command-uid {user}"), script);
        let output = machine.host.run(command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}{log}", output.status);
        let first = format!("user 1001 group {group} groups {}\n", groups(group));
        assert!(said.starts_with(&first), "{first}: {said}");
        assert_eq!(said.matches("x-instance: orders-a").count(), 2, "{said}{log}");
    }
    let peer = [("direction", "inbound"), ("peer", "spiffe://mesh.internal/ns/shop/sa/job")];
    orders.counted("outrigger_requests_total", &peer, 4.0);
}

#[test]
fn the_sidecar_of_a_command_captures_none_of_its_own_calls_and_nobody_else_s() {
    let site = Site::new();
    site.service("orders", "80>8080/http");
    let mut orders = site.member("orders", "--inbound 8080/http");
    orders.origin("orders-a", 8080, "http");
    let machine = site.machine("job", Versions::Both);
    machine.host.intercepts("install --include-uid 1001 --sidecar-uid 900 --inbound-mode off");
    let command = job(
        &site,
        &machine,
        "--uid 900:900 --command-uid webapp",
        "echo job ready: up=1; while :; do sleep 0.1; done",
    );
    let running = machine.host.inside(|| Running::start("job", command, &site.logs())).unwrap();
    assert_eq!(running.ready("up").unwrap(), "1");
    // The user of the command is captured whoever starts it, and others are not.
    let url = format!("http://{}:8080/", orders.v4);
    let answer =
        eventually("the endpoint answers by its address", || machine.curl(&format!("--include {url}")));
    assert!(answer.contains("x-instance: orders-a"), "{answer}");
    let mut other = machine.command(1002, "curl");
    other.args(["--silent", "--show-error", "--max-time", "5", &url]);
    let output = machine.host.run(other);
    assert!(!output.status.success(), "it is plain text, and refused");
    let samples = machine.metrics();
    assert!(samples.sum("outrigger_requests_total", &[("reason", "loop_detected")]).abs() < 0.1);
}
