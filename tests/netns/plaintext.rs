//! Plain text from machines without a sidecar, at the port of an application that is in the mesh.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use tests::site::{Machine, SERVICE, Site, Versions};
use tests::wait::{eventually, holds};

const PLAINTEXT: &str = "outrigger_inbound_plaintext_connections_total";

/// The service `orders` with HTTP on 8080 and a line echo on 7000, and a machine outside of the mesh.
fn world() -> (Site, Machine, Machine) {
    let site = Site::new();
    site.service("orders", "80>8080/http 7000>7000");
    let mut orders = site.member("orders", "--inbound 8080/http --inbound 7000");
    orders.origin("orders-a", 8080, "http");
    orders.origin("orders-b", 7000, "tcp --tag");
    let stranger = site.machine("stranger", Versions::Both);
    (site, orders, stranger)
}

pub(crate) fn mesh_mode(site: &Site, mode: &str) {
    site.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshConfig\nmetadata: {{name: default}}\nspec:\n  mtls: {{mode: {mode}}}\n"
    ));
}

fn namespace_mode(site: &Site, mtls: &str) {
    site.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{name: all, namespace: shop}}\nspec:\n  \
         mtls: {mtls}\n"
    ));
}

pub(crate) fn until_refused(stranger: &Machine, url: &str) {
    eventually("plain text is refused", || match stranger.curl(url) {
        Ok(answer) => Err(answer),
        Err(said) => holds(said.contains("52") || said.contains("56") || said.contains("reset"), said),
    });
}

#[test]
fn plain_text_is_refused_by_default_and_the_operator_sees_from_whom() {
    let (_site, orders, stranger) = world();
    for address in [orders.v4.clone(), format!("[{}]", orders.v6)] {
        let said = stranger.curl(&format!("http://{address}:8080/")).unwrap_err();
        assert!(!said.contains("timed out"), "{said}");
    }
    for source in [&stranger.v4, &stranger.v6] {
        orders.counted(PLAINTEXT, &[("source", source), ("verdict", "refused")], 1.0);
    }
    orders.counted("outrigger_refusals_total", &[("direction", "inbound"), ("reason", "plaintext")], 2.0);
    eventually("the log says so", || {
        let log = orders.log();
        let says = |line: &str| {
            line.contains("plain text where mutual TLS is required")
                && line.contains(&format!("peer={}:", stranger.v4))
        };
        holds(log.lines().any(says), log)
    });
}

#[test]
fn probes_of_the_rules_are_no_callers() {
    let (_site, orders, stranger) = world();
    let said = orders.host.intercepts("verify --sidecar-uid 900");
    for version in ["IPv4", "IPv6"] {
        assert!(
            said.lines().any(|line| line.starts_with(&format!("inbound {version}: a connection"))),
            "{said}"
        );
    }
    stranger.curl(&format!("http://{}:8080/", orders.v4)).unwrap_err();
    orders.counted("outrigger_refusals_total", &[("reason", "plaintext")], 1.0);
    let samples = orders.metrics();
    assert_eq!(
        samples.sum("outrigger_refusals_total", &[("reason", "plaintext")]),
        1.0,
        "the stranger's alone"
    );
    assert_eq!(samples.sum(PLAINTEXT, &[]), 1.0, "the stranger's alone");
    assert_eq!(samples.sum(PLAINTEXT, &[("source", &stranger.v4)]), 1.0);
}

#[test]
fn a_permissive_mesh_lets_plain_text_in_and_counts_it_by_source() {
    let (site, orders, stranger) = world();
    mesh_mode(&site, "Permissive");
    let url = format!("http://{}:8080/headers", orders.v4);
    stranger.until_curl(&url, "{");
    orders.counted(PLAINTEXT, &[("source", &stranger.v4), ("verdict", "accepted")], 1.0);
    let forged = "--header x-forwarded-client-cert:URI=spiffe://mesh.internal/ns/shop/sa/admin";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = stranger.curl(&format!("{version} {forged} {url}")).unwrap();
        assert!(!answer.contains("client-cert"), "nobody vouches for a stranger: {answer}");
    }
    mesh_mode(&site, "Strict");
    until_refused(&stranger, &url);
}

#[test]
fn one_port_of_a_strict_namespace_may_be_an_exception() {
    let (site, orders, stranger) = world();
    namespace_mode(&site, "{mode: Strict, ports: [{port: 7000, mode: Permissive}]}");
    let mut conversation = Conversation::open(&stranger, &orders.v4, 7000);
    assert_eq!(conversation.say("hello"), "orders-b hello");
    until_refused(&stranger, &format!("http://{}:8080/", orders.v4));
}

#[test]
fn switching_modes_drops_no_established_connection() {
    let (site, orders, stranger) = world();
    let caller = site.member("caller", "");
    namespace_mode(&site, "{mode: Permissive}");
    let mut plain = Conversation::open(&stranger, &orders.v4, 7000);
    let mut mutual = Conversation::open(&caller, "orders.shop", 7000);
    assert_eq!(plain.say("one"), "orders-b one");
    assert_eq!(mutual.say("one"), "orders-b one");
    for mode in ["Strict", "Permissive", "Strict"] {
        namespace_mode(&site, &format!("{{mode: {mode}}}"));
        let url = format!("http://{}:8080/", orders.v4);
        match mode {
            "Strict" => until_refused(&stranger, &url),
            _ => drop(stranger.until_curl(&url, "orders-a")),
        }
        assert_eq!(plain.say(mode), format!("orders-b {mode}"));
        assert_eq!(mutual.say(mode), format!("orders-b {mode}"));
    }
}

/// A connection that stays open, held by a program that knows nothing of the mesh.
struct Conversation {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Conversation {
    /// Opens one and has a first line echoed, as often as it takes.
    fn open(from: &Machine, host: &str, port: u16) -> Self {
        eventually("a connection answers", || {
            let script = format!(
                "exec 3<>/dev/tcp/{host}/{port} || exit 1; while read -r line; do echo \"$line\" >&3 && read -r -t 10 -u 3 \
                 answer || exit 1; echo \"$answer\"; done"
            );
            let mut command = from.command(SERVICE, "bash");
            command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = from.host.inside(|| command.spawn()).unwrap();
            let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
            let mut conversation = Self { child, to, from };
            let answer = conversation.say("first");
            if answer.ends_with("first") { Ok(conversation) } else { Err(answer) }
        })
    }

    /// Says a line and returns the answer; nothing if there is none.
    fn say(&mut self, line: &str) -> String {
        // A program that has ended reads nothing; what it says then is nothing, too.
        drop(writeln!(self.to, "{line}"));
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
