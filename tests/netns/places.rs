//! Machines that are unlike most: with IPv6 alone, with small packets, with two services; and one that calls itself.

use mesh_load::running::Running;
use std::time::Duration;
use tests::netns::sidecar;
use tests::site::{Machine, SIDECAR, Site, Versions};
use tokio::time::Instant;

fn orders(site: &Site) -> Machine {
    site.service("orders", "80>8080/http");
    let mut orders = site.member("orders", "--inbound 8080/http");
    orders.origin("orders-a", 8080, "http");
    orders
}

#[test]
fn machines_with_ipv6_alone_call_each_other() {
    let site = Site::new();
    site.service("orders", "80>8080/http");
    let mut machines = ["orders", "caller"].map(|name| site.machine(name, Versions::Ipv6Only));
    for machine in &mut machines {
        site.join(machine, if machine.dir().ends_with("orders") { "--inbound 8080/http" } else { "" });
        machine.host.intercepts("install --sidecar-uid 900");
    }
    let [mut orders, caller] = machines;
    orders.origin("orders-a", 8080, "http");
    let answer = caller.until_curl("--include http://orders.shop/headers", "sa/caller");
    assert!(answer.contains("x-instance: orders-a"), "{answer}");
}

#[test]
fn large_bodies_pass_both_ways_where_packets_are_small() {
    let site = Site::new();
    let orders = orders(&site);
    let caller = site.member("caller", "");
    for machine in [&orders, &caller] {
        machine.host.sh("ip", &["link", "set", "eth0", "mtu", "1280"]);
    }
    caller.until_curl("--include http://orders.shop/", "x-instance: orders-a");
    let body = caller.dir().join("body");
    std::fs::write(&body, vec![b'x'; 5_000_000]).unwrap();
    for version in ["-4", "-6"] {
        let size = caller.curl(&format!(
            "{version} --output /dev/null --write-out %{{size_download}} http://orders/bytes/5000000"
        ));
        assert_eq!(size.unwrap(), "5000000");
        let echo = format!(
            "{version} --data-binary @{} --output /dev/null --write-out %{{size_download}} http://orders/echo",
            body.display()
        );
        assert_eq!(caller.curl(&echo).unwrap(), "5000000");
    }
}

#[test]
fn a_machine_may_call_its_own_service_and_its_sidecar_never_calls_itself() {
    let site = Site::new();
    let orders = orders(&site);
    for url in ["http://orders.shop/headers".to_owned(), format!("http://{}:8080/headers", orders.v4)] {
        let answer = orders.until_curl(&url, "sa/orders");
        assert!(answer.contains("URI=spiffe"), "{answer}");
    }
    for port in [15001, 15006, 15008, 15053] {
        let started = Instant::now();
        let said = orders.curl(&format!("--max-time 5 http://{}:{port}/", orders.v4));
        assert!(
            said.as_ref().is_err()
                || said.as_ref().is_ok_and(|answer| answer.contains("outrigger") || answer.len() < 500),
            "{port}: {said:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(4), "{port}: {said:?}");
    }
    let opened = orders.metrics().sum("outrigger_tcp_connections_total", &[]);
    assert!(opened < 20.0, "{opened} connections: it goes round in circles");
}

#[test]
fn rules_that_forget_the_sidecar_make_no_endless_circle() {
    let site = Site::new();
    let mut far = site.machine("far", Versions::Both);
    far.origin("far", 9000, "http");
    let mut caller = site.machine("caller", Versions::Both);
    site.join(&mut caller, "");
    caller.host.intercepts("install --sidecar-uid 901 --no-verify");
    let said = caller.curl(&format!("http://{}:9000/", far.v4)).unwrap();
    assert!(
        said.contains("run it as the user that `sidecar intercept install --sidecar-uid` was given"),
        "{said}"
    );
    caller.counted(
        "outrigger_refusals_total",
        &[("direction", "outbound"), ("reason", "loop_detected")],
        1.0,
    );
    let opened = caller.metrics().sum("outrigger_tcp_connections_total", &[]);
    assert!(opened < 20.0, "{opened} connections went round");
    // Put right, it works.
    caller.host.intercepts("install --sidecar-uid 900");
    caller.until_curl(&format!("--include http://{}:9000/", far.v4), "x-instance: far");
}

#[test]
fn two_services_of_one_machine_have_a_sidecar_each() {
    let site = Site::new();
    let orders = orders(&site);
    let two = site.machine("two", Versions::Both);
    let ports = "--outbound-addr 127.0.0.1:16001 --plaintext-addr 0.0.0.0:16006 --inbound-addr 0.0.0.0:16008 --dns-addr \
                 127.0.0.1:16053 --admin-addr 127.0.0.1:16000 --metrics-addr 127.0.0.1:16020";
    let mut running = Vec::new();
    for (account, flags) in [("web", ""), ("api", ports)] {
        let mut command = two.command(SIDECAR, sidecar());
        command.arg("run").args(site.sidecar_arguments(&two, account, flags));
        running.push(two.host.inside(|| Running::start(account, command, &site.logs())).unwrap());
    }
    two.host.intercepts("install --name web --include-uid 1001 --include-inbound-port 8080");
    two.host.intercepts(
        "install --name api --include-uid 1002 --include-inbound-port 9000 --outbound-port 16001 --inbound-port 16006 \
         --inbound-mtls-port 16008 --dns-port 16053 --admin-port 16000 --metrics-port 16020",
    );
    two.until_curl("http://orders.shop/headers", "sa/web");
    let mut api = two.command(1002, "curl");
    api.args(["--silent", "--show-error", "--max-time", "15", "http://orders.shop/headers"]);
    let answer = two.host.run(api);
    assert!(String::from_utf8_lossy(&answer.stdout).contains("sa/api"), "{answer:?}");
    drop(orders);
}
