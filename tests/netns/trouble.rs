//! What captured traffic does while something is broken: the control plane cut off, the sidecar dead, the rules gone.

use std::time::Duration;
use tests::netns::told;
use tests::site::{Machine, NAMESPACE, Site, Versions};
use tests::wait::{eventually, holds};
use tokio::time::Instant;

fn world() -> (Site, Machine, Machine) {
    let site = Site::new();
    site.service("orders", "80>8080/http");
    let mut orders = site.member("orders", "--inbound 8080/http");
    orders.origin("orders-a", 8080, "http");
    let caller = site.member("caller", "");
    caller.until_curl("--include http://orders.shop/", "x-instance: orders-a");
    (site, orders, caller)
}

/// The IPv4 virtual address of `orders`.
fn virtual_address(caller: &Machine) -> String {
    caller.says("getent", &["ahostsv4", "orders.shop"]).split_whitespace().next().unwrap().to_owned()
}

/// How long a call takes.
fn takes(caller: &Machine, url: &str) -> Duration {
    let started = Instant::now();
    caller.curl(url).unwrap_or_else(|said| panic!("{url}: {said}"));
    started.elapsed()
}

#[test]
fn traffic_goes_on_while_the_control_plane_is_cut_off() {
    let (site, _orders, caller) = world();
    let address = virtual_address(&caller);
    let mut far = site.machine("far", Versions::Both);
    let mut other = site.machine("other", Versions::Both);
    far.origin("far", 9000, "http");
    other.origin("other", 9000, "http");
    site.partition(true);
    // Silence, as from a cable that was pulled: nobody has been told that the control plane is away.
    let at_once = Duration::from_secs(1);
    for url in ["http://orders.shop/".to_owned(), format!("http://{address}/")] {
        let took = takes(&caller, &url);
        assert!(took < at_once, "{url}: {took:?}");
    }
    // The first to ask what is at a new address finds out, and the others need not.
    let first = takes(&caller, &format!("http://{}:9000/", far.v4));
    assert!(first < 3 * at_once, "{first:?}");
    for place in [format!("[{}]", far.v6), other.v4.clone(), format!("[{}]", other.v6)] {
        let took = takes(&caller, &format!("http://{place}:9000/"));
        assert!(took < at_once, "{place}: {took:?}");
    }
    site.partition(false);
    site.service("later", "80>8080/http");
    eventually("a new name is known again", || {
        caller.run("getent", &["hosts", "later.shop"]).status.success().then_some(()).ok_or(())
    });
}

#[test]
fn a_dead_sidecar_lets_nothing_through_and_is_back_within_a_second() {
    let (mut site, _orders, mut caller) = world();
    let address = virtual_address(&caller);
    let mut far = site.machine("far", Versions::Both);
    far.origin("far", 9000, "http");
    let outside = format!("http://{}:9000/", far.v4);
    caller.curl(&outside).unwrap();
    eventually("what the sidecar knows is on disk", || {
        let kept =
            std::fs::read(caller.dir().join("caller/configuration")).map_err(|error| error.to_string())?;
        let kept = String::from_utf8_lossy(&kept).into_owned();
        holds(kept.contains("outrigger.v1.Endpoint") && kept.contains("sa/orders"), kept)
    });
    caller.kill_sidecar();
    site.kill_control_plane();
    for url in [format!("http://{address}/"), outside.clone()] {
        let said = caller.curl(&url).unwrap_err();
        assert!(said.contains("exit status: 7"), "refused, not let past: {said}");
    }
    let started = Instant::now();
    caller.restart_sidecar();
    let took = started.elapsed();
    for url in ["http://orders.shop/".to_owned(), format!("http://{address}/"), outside] {
        let answer = caller.curl(&format!("--include {url}")).unwrap();
        assert!(answer.contains("x-instance:"), "{answer}");
    }
    assert!(took < Duration::from_secs(1), "ready after {took:?}");
}

#[test]
fn after_a_reboot_the_rules_are_installed_again_and_hold() {
    let (_site, orders, mut caller) = world();
    caller.kill_sidecar();
    caller.host.sh("nft", &["flush", "ruleset"]);
    orders.host.sh("nft", &["flush", "ruleset"]);
    caller.restart_sidecar();
    for machine in [&caller, &orders] {
        machine.host.intercepts("install --sidecar-uid 900");
    }
    let answer = caller.until_curl("--include http://orders/headers", "sa/caller");
    assert!(answer.contains("x-instance: orders-a"), "{answer}");
}

#[test]
fn a_virtual_address_whose_service_is_gone_is_refused_at_once_with_the_reason() {
    let (site, _orders, caller) = world();
    let gone = virtual_address(&caller);
    site.meshctl(&["delete", "service", "orders", "--namespace", NAMESPACE]);
    for never in [&gone, "240.240.255.254"] {
        let answer = caller.until_curl(&format!("--include http://{never}/"), "unknown_address");
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(
            answer.contains(&format!("{never} is a virtual address that belongs to no service")),
            "{answer}"
        );
        assert!(answer.contains("the service was deleted, or never existed"), "{answer}");
    }
    // A client that listens hears an end: `read` says 1 to that, and more than 128 when its own time is up.
    let script = format!("exec 3<>/dev/tcp/{gone}/80 && read -r -t 20 -u 3 line");
    let listened = caller.run("bash", &["-c", &script]);
    assert_eq!(listened.status.code(), Some(1), "{}", told(&listened));
    let labels = [("direction", "outbound"), ("reason", "unknown_address")];
    caller.counted("outrigger_refusals_total", &labels, 1.0);
    let said = format!("{gone} is a virtual address");
    eventually("the log says why", || holds(caller.log().contains(&said), caller.log()));
    // What it once was, it may be again.
    site.service("orders", "80>8080/http");
    caller.until_curl(&format!("--include http://{gone}/"), "x-instance: orders-a");
}
