//! What a service sends comes to its sidecar, which learns where it was going; what is exempt does not.

use crate::{OTHER, SERVICE, SIDECAR};
use std::process::Command;
use tests::netns::{Host, Server, client_script, line_of, sidecar};

/// A machine with a listening sidecar, and another that answers on some ports.
fn world() -> (Host, Host, Vec<Server>) {
    let (app, far) = Host::pair();
    let mut servers = vec![app.serve("sidecar", "127.0.0.1:15001"), app.serve("sidecar", "[::1]:15001")];
    for port in [80, 8080, 9000] {
        servers.push(far.serve("far", &format!("10.77.0.2:{port}")));
        servers.push(far.serve("far", &format!("[fd77:0::2]:{port}")));
    }
    (app, far, servers)
}

#[test]
fn a_captured_connection_comes_to_the_sidecar_which_learns_its_destination() {
    let (app, _far, _servers) = world();
    app.intercepts("install --sidecar-uid 900");
    assert_eq!(app.asks(SERVICE, "10.77.0.2:8080").unwrap(), "sidecar 10.77.0.2:8080 10.77.0.1");
    assert_eq!(app.asks(SERVICE, "[fd77::2]:8080").unwrap(), "sidecar [fd77::2]:8080 fd77::1");
    assert_eq!(app.asks(0, "10.77.0.2:9000").unwrap(), "sidecar 10.77.0.2:9000 10.77.0.1");
}

#[test]
fn the_sidecar_s_own_connections_are_left_alone() {
    let (app, _far, _servers) = world();
    app.intercepts("install --sidecar-uid 900");
    assert_eq!(app.asks(SIDECAR, "10.77.0.2:8080").unwrap(), "far - 10.77.0.1");
    assert_eq!(app.asks(SIDECAR, "[fd77::2]:8080").unwrap(), "far - fd77::1");
    app.intercepts("install --sidecar-gid 1002");
    assert_eq!(app.asks(OTHER, "10.77.0.2:8080").unwrap(), "far - 10.77.0.1");
    assert_eq!(app.asks(SIDECAR, "10.77.0.2:8080").unwrap(), "sidecar 10.77.0.2:8080 10.77.0.1");
}

#[test]
fn loopback_is_left_alone_and_the_machine_s_own_address_is_not() {
    let (app, _far, _servers) = world();
    let _local = [app.serve("local", "127.0.0.1:8080"), app.serve("local", "[::1]:8080")];
    app.intercepts("install --sidecar-uid 900");
    assert_eq!(app.asks(SERVICE, "127.0.0.1:8080").unwrap(), "local - 127.0.0.1");
    assert_eq!(app.asks(SERVICE, "[::1]:8080").unwrap(), "local - ::1");
    assert_eq!(app.asks(SERVICE, "10.77.0.1:8080").unwrap(), "sidecar 10.77.0.1:8080 10.77.0.1");
}

#[test]
fn what_is_excluded_is_left_alone() {
    for exclusion in [
        "--exclude-outbound-port 8000-8099",
        "--exclude-outbound-cidr 10.77.0.0/16 --exclude-outbound-cidr fd77::/16",
        "--exclude-uid 1001",
        "--exclude-interface eth*",
    ] {
        let (app, _far, _servers) = world();
        app.intercepts(&format!("install --sidecar-uid 900 {exclusion}"));
        assert_eq!(app.asks(SERVICE, "10.77.0.2:8080").unwrap(), "far - 10.77.0.1", "{exclusion}");
        assert_eq!(app.asks(SERVICE, "[fd77::2]:8080").unwrap(), "far - fd77::1", "{exclusion}");
    }
}

#[test]
fn only_what_is_included_is_captured() {
    for (inclusion, captured, left) in [
        ("--include-outbound-port 80 --include-outbound-port 9000-9001", "10.77.0.2:9000", "10.77.0.2:8080"),
        ("--include-outbound-cidr 10.77.0.0/24", "10.77.0.2:8080", "[fd77::2]:8080"),
        ("--ipv4-only", "10.77.0.2:8080", "[fd77::2]:8080"),
        ("--include-interface eth1", "10.77.1.2:8080", "10.77.0.2:8080"),
    ] {
        let (app, far, _servers) = world();
        app.join(&far, 1);
        let _more = far.serve("far", "10.77.1.2:8080");
        app.intercepts(&format!("install --sidecar-uid 900 {inclusion}"));
        let answer = app.asks(SERVICE, captured).unwrap();
        assert!(answer.starts_with(&format!("sidecar {captured}")), "{inclusion}: {answer}");
        let answer = app.asks(SERVICE, left).unwrap();
        assert!(answer.starts_with("far -"), "{inclusion}: {answer}");
    }
}

#[test]
fn only_the_included_user_is_captured() {
    let (app, _far, _servers) = world();
    app.intercepts("install --include-uid 1001 --inbound-mode off");
    assert_eq!(app.asks(SERVICE, "10.77.0.2:8080").unwrap(), "sidecar 10.77.0.2:8080 10.77.0.1");
    assert_eq!(app.asks(OTHER, "10.77.0.2:8080").unwrap(), "far - 10.77.0.1");
    assert_eq!(app.asks(0, "10.77.0.2:8080").unwrap(), "far - 10.77.0.1");
}

#[test]
fn only_the_included_control_group_is_captured() {
    let (app, _far, _servers) = world();
    // The unified hierarchy where every machine with systemd has it, whatever this one has there.
    let group = format!("outrigger-test-{}.slice", std::process::id());
    let client = client_script("tcp", "10.77.0.2:8080");
    let script = format!(
        "mount -t cgroup2 none /sys/fs/cgroup && mkdir /sys/fs/cgroup/{group} && \
         {sidecar} intercept install --include-cgroup {group} --inbound-mode off && bash -c '{client}' && \
         (echo $BASHPID > /sys/fs/cgroup/{group}/cgroup.procs && exec bash -c '{client}'); \
         rmdir /sys/fs/cgroup/{group}",
        sidecar = sidecar().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", &script]);
    let printed = line_of(&app.run(command)).unwrap();
    assert!(printed.contains(&format!("a connection of control group {group}")), "{printed}");
    let answers: Vec<_> = printed.lines().rev().take(2).collect();
    assert_eq!(answers, ["sidecar 10.77.0.2:8080 10.77.0.1", "far - 10.77.0.1"]);
}

#[test]
fn without_a_sidecar_captured_connections_are_refused() {
    let (app, far) = Host::pair();
    let _far = far.serve("far", "10.77.0.2:8080");
    app.intercepts("install --sidecar-uid 900");
    let refused = app.asks(SERVICE, "10.77.0.2:8080").unwrap_err();
    assert!(refused.contains("Connection refused"), "{refused}");
    app.intercepts("uninstall");
    assert_eq!(app.asks(SERVICE, "10.77.0.2:8080").unwrap(), "far - 10.77.0.1");
}
