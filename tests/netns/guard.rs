//! `install --fail-open`: the rules are there while the sidecar carries traffic, and only then. Without it: `trouble.rs`.

use crate::SIDECAR;
use mesh_load::running::Running;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use tests::netns::{Host, sidecar};
use tests::site::{Machine, Site, Versions};
use tests::wait::{eventually, holds};

const TABLE: &str = "table inet outrigger ";

/// A mesh with the service `orders`, a machine `caller` whose sidecar is yet to be started, and `far`, outside of it.
struct Places {
    caller: Machine,
    far: Machine,
    orders: Machine,
    site: Site,
}

impl Places {
    fn new() -> Self {
        let site = Site::new();
        site.service("orders", "80>8080/http");
        let mut orders = site.member("orders", "--inbound 8080/http");
        orders.origin("orders-a", 8080, "http");
        let mut far = site.machine("far", Versions::Both);
        far.origin("far", 9000, "http");
        let caller = site.machine("caller", Versions::Both);
        Self { caller, far, orders, site }
    }

    /// A place that needs no mesh.
    fn outside(&self) -> String {
        format!("--include http://{}:9000/", self.far.v4)
    }

    /// The mesh by name, which none but a sidecar resolves.
    fn until_in_the_mesh(&self) {
        self.caller.until_curl("--include http://orders.shop/", "x-instance: orders-a");
    }
}

/// Starts a guard.
fn guard(machine: &Machine, name: &str, flags: &str) -> Running {
    let mut command = Command::new(sidecar());
    command.args(["intercept", "install", "--fail-open"]).args(flags.split_whitespace());
    machine.host.inside(|| Running::launch(name, command, &machine.dir().join("logs"))).unwrap()
}

fn log(machine: &Machine, guard: &Running) -> String {
    std::fs::read_to_string(machine.dir().join("logs").join(format!("{}.log", guard.name()))).unwrap()
}

/// Waits until the guard has installed its rules, and probed them, this many times.
fn until_installed(machine: &Machine, guard: &Running, times: usize) {
    eventually(&format!("the rules are installed {times} times"), || {
        let log = log(machine, guard);
        holds(log.matches("the rules are installed").count() == times, log)
    });
}

fn until_captured(machine: &Machine, table: &str) {
    eventually(&format!("{table}is there"), || {
        let rules = machine.host.rules();
        holds(rules.contains(table), rules)
    });
}

fn until_let_go(machine: &Machine, table: &str) {
    eventually(&format!("{table}is away"), || {
        let rules = machine.host.rules();
        holds(!rules.contains(table), rules)
    });
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_sidecar_that_is_killed_is_passed_by_and_one_that_is_back_captures_again() {
    let mut places = Places::new();
    let outside = places.outside();
    let guard = guard(&places.caller, "guard", "--sidecar-uid 900");
    eventually("the guard waits for a sidecar", || {
        let log = log(&places.caller, &guard);
        holds(log.contains("the sidecar is gone"), log)
    });
    assert_eq!(places.caller.host.rules(), "");
    places.caller.curl(&outside).unwrap();

    places.site.join(&mut places.caller, "");
    until_installed(&places.caller, &guard, 1);
    assert!(places.caller.host.rules().contains(TABLE), "{}", places.caller.host.rules());
    places.until_in_the_mesh();
    let direct = format!("http://{}:8080/", places.orders.v4);
    places.caller.until_curl(&format!("--include {direct}"), "x-instance: orders-a");

    for times in [2, 3] {
        places.caller.kill_sidecar();
        until_let_go(&places.caller, TABLE);
        assert!(places.caller.curl(&outside).unwrap().contains("x-instance: far"));
        // Past the mesh is in plain text, which a strict mesh refuses.
        let said = places.caller.curl(&direct).unwrap_err();
        assert!(!said.contains("exit status: 7") && !said.contains("timed out"), "{said}");
        places.caller.restart_sidecar();
        until_installed(&places.caller, &guard, times);
        places.until_in_the_mesh();
    }
    let log = log(&places.caller, &guard);
    assert_eq!(log.matches("the rules are taken away").count(), 2, "each change is logged once: {log}");
    assert_eq!(log.matches("installed: table inet outrigger").count(), 1, "{log}");
}

/// What `nft monitor` tells of a machine's tables.
struct Monitor {
    child: Child,
    lines: Receiver<String>,
}

impl Monitor {
    fn start(host: &Host) -> Self {
        let mut command = Command::new("nft");
        command.args(["monitor", "tables"]).stdout(Stdio::piped());
        let mut child = host.inside(|| command.spawn()).unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(1024);
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line).map_err(drop))
        });
        let monitor = Self { child, lines };
        // It tells nothing of what was before it listened.
        eventually("nft monitor has begun", || {
            host.sh("nft", &["add table inet begun; delete table inet begun"]);
            holds(monitor.lines.try_iter().any(|line| line.contains("begun")), ())
        });
        monitor
    }

    /// All there was until now.
    fn until_now(self, host: &Host) -> Vec<String> {
        host.sh("nft", &["add table inet now; delete table inet now"]);
        let mut told = Vec::new();
        while !told.iter().any(|line: &String| line.contains("delete table inet now")) {
            told.push(
                self.lines.recv_timeout(Duration::from_secs(30)).expect("nft monitor tells of every table"),
            );
        }
        told
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_takeover_opens_no_gap() {
    let mut places = Places::new();
    let guard = guard(&places.caller, "guard", "--sidecar-uid 900");
    places.site.join(&mut places.caller, "");
    until_installed(&places.caller, &guard, 1);
    places.until_in_the_mesh();
    for _ in 0..3 {
        let monitor = Monitor::start(&places.caller.host);
        let mut old = places.caller.take_over_sidecar("");
        assert!(old.wait().unwrap().success(), "{}", old.end_of_log());
        places.until_in_the_mesh();
        let told = monitor.until_now(&places.caller.host);
        assert!(!told.iter().any(|line| line.contains("outrigger")), "the rules were touched: {told:?}");
    }
    assert!(!log(&places.caller, &guard).contains("taken away"), "{}", log(&places.caller, &guard));
    // It watches the one that is there now.
    places.caller.kill_sidecar();
    until_let_go(&places.caller, TABLE);
}

#[test]
fn a_sidecar_that_hangs_is_passed_by_whatever_made_the_rules() {
    let mut places = Places::new();
    let outside = places.outside();
    places.site.join(&mut places.caller, "");
    let guard = guard(&places.caller, "guard", "--sidecar-uid 900 --backend iptables");
    let jump = |machine: &Machine| machine.host.sh("iptables-nft-save", &[]).contains("outrigger-");
    until_installed(&places.caller, &guard, 1);
    assert!(jump(&places.caller));
    places.until_in_the_mesh();
    let pid = places.caller.sidecar().pid();
    signal(pid, Signal::STOP);
    eventually("let go", || holds(!jump(&places.caller), ()));
    assert!(places.caller.curl(&outside).unwrap().contains("x-instance: far"));
    signal(pid, Signal::CONT);
    eventually("captured again", || holds(jump(&places.caller), ()));
    places.until_in_the_mesh();
}

#[test]
fn a_sidecar_that_drains_is_passed_by_before_its_end() {
    let mut places = Places::new();
    let outside = places.outside();
    places.site.join(&mut places.caller, "--grace 25s");
    let guard = guard(&places.caller, "guard", "--sidecar-uid 900");
    until_installed(&places.caller, &guard, 1);
    // A connection that lasts.
    places.far.origin("silent", 9001, "tcp");
    let hold = format!(
        "exec 3<>/dev/tcp/{}/9001 && echo hello >&3 && read -r line <&3 && echo held && sleep 60",
        places.far.v4
    );
    let mut command = places.caller.command(tests::site::SERVICE, "bash");
    command.args(["-c", &hold]).stdout(Stdio::piped());
    let mut held = places.caller.host.inside(|| command.spawn()).unwrap();
    let mut line = String::new();
    BufReader::new(held.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    signal(places.caller.sidecar().pid(), Signal::TERM);
    until_let_go(&places.caller, TABLE);
    assert!(places.caller.curl(&outside).unwrap().contains("x-instance: far"));
    let is_running = places.caller.sidecar().is_running();
    drop(held.kill());
    drop(held.wait());
    assert!(is_running, "it was to have a connection to finish");
}

#[test]
fn a_guard_that_is_asked_to_end_leaves_the_rules_and_the_next_one_goes_on() {
    let mut places = Places::new();
    let outside = places.outside();
    places.site.join(&mut places.caller, "");
    let mut first = guard(&places.caller, "guard", "--sidecar-uid 900");
    until_installed(&places.caller, &first, 1);
    let rules = places.caller.host.rules();
    first.terminate().unwrap();
    assert!(first.wait().unwrap().success(), "{}", first.end_of_log());
    assert_eq!(places.caller.host.rules(), rules);
    places.caller.kill_sidecar();
    let said = places.caller.curl(&outside).unwrap_err();
    assert!(said.contains("exit status: 7"), "nobody takes them away any more: {said}");
    // Rules of a dead sidecar are not left to be.
    let _second = guard(&places.caller, "guard-2", "--sidecar-uid 900");
    until_let_go(&places.caller, TABLE);
    assert!(places.caller.curl(&outside).unwrap().contains("x-instance: far"));
}

#[test]
fn rules_that_another_program_flushed_are_put_back_when_the_guard_is_told() {
    let mut places = Places::new();
    places.site.join(&mut places.caller, "");
    let guard = guard(&places.caller, "guard", "--sidecar-uid 900");
    until_installed(&places.caller, &guard, 1);
    places.caller.host.sh("nft", &["flush", "ruleset"]);
    signal(guard.pid(), Signal::HUP);
    until_captured(&places.caller, TABLE);
}

#[test]
fn two_guards_each_watch_their_own_sidecar() {
    let mut places = Places::new();
    let ports = "--outbound-addr 127.0.0.1:16001 --plaintext-addr 0.0.0.0:16006 --inbound-addr 0.0.0.0:16008 --dns-addr \
                 127.0.0.1:16053 --admin-addr 127.0.0.1:16000 --metrics-addr 127.0.0.1:16020";
    places.site.join(&mut places.caller, "");
    let arguments = places.site.sidecar_arguments(&places.caller, "api", ports);
    let mut command = places.caller.command(SIDECAR, sidecar());
    command.arg("run").args(arguments);
    let logs = places.site.logs();
    let mut api = places.caller.host.inside(|| Running::start("api", command, &logs)).unwrap();
    let guards = [
        guard(&places.caller, "web", "--name web --include-uid 1001 --include-inbound-port 8080"),
        guard(
            &places.caller,
            "api",
            "--name api --include-uid 1002 --include-inbound-port 9000 --outbound-port 16001 --inbound-port 16006 \
             --inbound-mtls-port 16008 --dns-port 16053 --admin-port 16000 --metrics-port 16020",
        ),
    ];
    for guard in &guards {
        until_installed(&places.caller, guard, 1);
    }
    until_captured(&places.caller, "table inet outrigger_api ");
    api.kill();
    until_let_go(&places.caller, "table inet outrigger_api ");
    assert!(
        places.caller.host.rules().contains("table inet outrigger_web "),
        "{}",
        places.caller.host.rules()
    );
    places.until_in_the_mesh();
}

#[test]
fn the_example_unit_s_command_tells_systemd_when_it_watches_and_how_it_is() {
    let mut places = Places::new();
    let documents = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/systemd");
    let unit = std::fs::read_to_string(documents.join("outrigger-intercept-guard.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/sidecar ")).unwrap();
    let settings = std::fs::read_to_string(documents.join("intercept.yaml")).unwrap();
    let file = places.caller.dir().join("intercept.yaml");
    // This machine has no such user.
    std::fs::write(&file, settings.replace("[outrigger]", "[900]")).unwrap();
    let path = places.caller.dir().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = Command::new(sidecar());
    command.args(line.replace("/etc/outrigger/intercept.yaml", file.to_str().unwrap()).split(' '));
    command.env("NOTIFY_SOCKET", &path);
    let logs = places.caller.dir().join("logs");
    let mut guard = places.caller.host.inside(|| Running::launch("guard", command, &logs)).unwrap();
    assert_eq!(told(), "READY=1\nSTATUS=not captured: the sidecar is gone");
    places.site.join(&mut places.caller, "");
    assert_eq!(told(), "STATUS=captured: the sidecar carries the traffic");
    places.caller.kill_sidecar();
    assert_eq!(told(), "STATUS=not captured: the sidecar is gone");
    guard.terminate().unwrap();
    assert!(guard.wait().unwrap().success(), "{}", guard.end_of_log());
    assert!(told().starts_with("STOPPING=1"));
}

#[test]
fn a_sidecar_that_hangs_under_the_first_probes_is_not_the_guard_s_end() {
    let mut places = Places::new();
    places.site.join(&mut places.caller, "");
    let mut guard = guard(&places.caller, "guard", "--sidecar-uid 900");
    until_captured(&places.caller, TABLE);
    signal(places.caller.sidecar().pid(), Signal::STOP);
    until_let_go(&places.caller, TABLE);
    signal(places.caller.sidecar().pid(), Signal::CONT);
    until_captured(&places.caller, TABLE);
    places.until_in_the_mesh();
    assert!(guard.is_running(), "{}", guard.end_of_log());
}

#[test]
fn rules_that_can_t_work_are_the_command_s_failure_and_nothing_stays() {
    let mut places = Places::new();
    places.site.join(&mut places.caller, "");
    let astray = "table inet astray { chain output { type nat hook output priority -101; tcp dport 80 redirect to :9; }; }";
    places.caller.host.sh("nft", &[astray]);
    let said = places.caller.host.refuses("install --fail-open --sidecar-uid 900 --include-outbound-port 80");
    assert!(said.contains("outbound IPv4: a connection of user 65534 to "), "{said}");
    assert!(!places.caller.host.rules().contains("outrigger"), "{}", places.caller.host.rules());
}
