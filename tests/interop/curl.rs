//! curl, as a user would use it: as an HTTP proxy, with HTTP/2, without a certificate.

use std::process::{Command, Output};
use tests::recorder::{Recorder, Then};
use tests::world::World;

fn curl(args: &[&str]) -> Output {
    let output =
        Command::new("curl").args(["--silent", "--show-error", "--max-time", "10"]).args(args).output();
    output.unwrap_or_else(|error| {
        panic!("curl can't be started ({error}): install it, or skip interop::curl by name")
    })
}

fn web() -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    (world, outbound)
}

#[test]
fn curl_uses_the_sidecar_as_its_http_proxy() {
    let (_world, outbound) = web();
    let output = curl(&["--proxy", &format!("http://{outbound}"), "--include", "http://web.demo/"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("x-instance: web-a"), "{output:?}");
    let tunnel = curl(&["--proxytunnel", "--proxy", &format!("http://{outbound}"), "http://web.demo/"]);
    assert!(String::from_utf8_lossy(&tunnel.stdout).starts_with("web-a"), "{tunnel:?}");
}

#[test]
fn curl_speaks_http2_with_prior_knowledge() {
    let (_world, outbound) = web();
    let output = curl(&[
        "--http2-prior-knowledge",
        "--header",
        "Host: web.demo",
        "--write-out",
        "%{http_version} %{http_code}",
        "--output",
        "/dev/null",
        &format!("http://{outbound}/"),
    ]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 200", "{output:?}");
}

#[test]
fn curl_is_shown_early_hints_over_either_http() {
    let (recorder, address) = Recorder::start();
    let (_world, outbound) = World::in_front_of(address, "/");
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 4\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast";
    recorder.answers(format!("{hint}{last}").as_bytes(), Then::Next);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let output = curl(&[version, "--include", "--header", "Host: web", &format!("http://{outbound}/")]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (first, answer) = said.split_once("\r\n\r\n").unwrap();
        assert!(first.contains(" 103 ") && first.ends_with("\r\nlink: </x>"), "{said}");
        assert!(answer.contains(" 200 ") && answer.ends_with("\r\n\r\nlast"), "{said}");
    }
}

#[test]
fn curl_without_a_certificate_is_refused_on_the_inbound_port() {
    let (mut world, _outbound) = web();
    let inbound = world.mesh.member("web-a").unwrap().sidecar_addr("inbound").unwrap().to_owned();
    let output = curl(&["--insecure", &format!("https://{inbound}/")]);
    assert!(!output.status.success(), "{output:?}");
    world.counted(
        "web-a",
        "outrigger_refusals_total",
        &[("direction", "inbound"), ("reason", "no_certificate")],
        1.0,
    );
    let output = curl(&[&format!("http://{inbound}/")]);
    assert!(!output.status.success(), "{output:?}");
    world.counted(
        "web-a",
        "outrigger_refusals_total",
        &[("direction", "inbound"), ("reason", "plaintext")],
        1.0,
    );
}
