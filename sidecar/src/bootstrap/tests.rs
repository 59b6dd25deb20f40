//! Promises of the command line: precedence, defaults, and the exact text of what is wrong.

use super::*;
use crate::worker::Capture;
use std::net::SocketAddr;
use std::path::Path;

const REQUIRED: [&str; 10] = [
    "--control-plane",
    "https://127.0.0.1:15012",
    "--trust-bundle",
    "ca.crt",
    "--token-file",
    "token",
    "--namespace",
    "shop",
    "--service-account",
    "orders",
];

fn around() -> Surroundings {
    Surroundings {
        root: false,
        state_home: None,
        home: Some("/home/ada".into()),
        cores: NonZeroUsize::new(3).unwrap(),
    }
}

fn settings(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings,
) -> Result<Settings, UsageError> {
    match order(arguments, around)? {
        Order::Run(settings) => Ok(*settings),
        order @ (Order::Intercept(_) | Order::Launch(_)) => panic!("{order:?}"),
    }
}

fn run(flags: &[&str]) -> Result<Settings, String> {
    let arguments = ["sidecar", "run"].iter().chain(flags).map(OsString::from);
    settings(arguments, &around()).map_err(|error| error.to_string())
}

fn with(flags: &[&str]) -> Result<Settings, String> {
    run(&[&REQUIRED, flags].concat())
}

#[test]
fn defaults_are_those_of_the_design() {
    let settings = with(&[]).unwrap();
    assert_eq!(settings.outbound_addr.to_string(), "127.0.0.1:15001");
    assert_eq!(settings.inbound_addr.to_string(), "0.0.0.0:15008");
    assert_eq!(settings.admin_addr.to_string(), "127.0.0.1:15000");
    assert_eq!(settings.metrics_addr.to_string(), "0.0.0.0:15020");
    assert_eq!((settings.plaintext_addr, settings.dns_addr.to_string().as_str()), (None, "off"));
    let captured = with(&["--capture"]).unwrap();
    assert_eq!(captured.plaintext_addr.unwrap().to_string(), "0.0.0.0:15006");
    assert_eq!(captured.dns_addr.to_string(), "127.0.0.1:15053");
    assert!(settings.dns_upstreams.is_empty());
    assert_eq!(settings.workers.get(), 3);
    assert_eq!(settings.grace.as_secs(), 30);
    assert_eq!(settings.identity.to_string(), "spiffe://mesh.internal/ns/shop/sa/orders");
    assert_eq!(settings.state_dir, Path::new("/home/ada/.local/state/outrigger/shop.orders"));
}

#[test]
fn the_state_directory_follows_user_and_surroundings() {
    let choose = |around: Surroundings| {
        let arguments = ["sidecar", "run"].iter().chain(&REQUIRED).map(OsString::from);
        settings(arguments, &around).map(|settings| settings.state_dir).map_err(|error| error.to_string())
    };
    let root = Surroundings { root: true, ..around() };
    assert_eq!(choose(root).unwrap(), Path::new("/var/lib/outrigger/shop.orders"));
    let xdg = Surroundings { state_home: Some("/state".into()), ..around() };
    assert_eq!(choose(xdg).unwrap(), Path::new("/state/outrigger/shop.orders"));
    let none = Surroundings { home: None, ..around() };
    assert_eq!(
        choose(none).unwrap_err(),
        "sidecar: --state-dir is missing, and so are $XDG_STATE_HOME and $HOME to choose one"
    );
}

#[test]
fn a_flag_beats_the_file_and_the_file_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sidecar.yaml");
    let yaml = "controlPlane: https://mesh:1\ntrustBundle: ca.crt\ntokenFile: token\nnamespace: shop\n\
                serviceAccount: orders\nlabel: {app: orders}\ninbound: [8080/http, 9000/grpc]\n\
                upstream: ['cart.shop:80=127.0.0.1:0']\nworkers: 2\ngrace: 5s\n";
    std::fs::write(&path, yaml).unwrap();
    let settings = run(&["--config", path.to_str().unwrap(), "--grace", "1s"]).unwrap();
    assert_eq!(settings.grace.as_secs(), 1);
    assert_eq!(settings.workers.get(), 2);
    assert_eq!(settings.labels.get("app").map(String::as_str), Some("orders"));
    assert_eq!(settings.inbound.len(), 2);
    assert_eq!(settings.upstreams.len(), 1);
    assert_eq!(settings.admin_addr.port(), 15000);
}

#[test]
fn everything_that_does_not_go_together_is_told_at_once() {
    let problems = with(&[
        "--admin-addr",
        "0.0.0.0:15000",
        "--metrics-addr",
        "127.0.0.1:15001",
        "--inbound",
        "80",
        "--inbound",
        "80/tcp",
        "--label",
        "app=a",
        "--label",
        "app=b",
        "--address",
        "0.0.0.0",
        "--workers",
        "1000",
    ])
    .unwrap_err();
    let expected = "\
sidecar: --admin-addr 0.0.0.0:15000: the admin views have no authentication, so they are served on loopback only; use 127.0.0.1:15000
sidecar: --outbound-addr 127.0.0.1:15001 and --metrics-addr 127.0.0.1:15001 are the same port; change one
sidecar: --inbound 80: the port is given twice
sidecar: --label app: the label is given twice
sidecar: --workers 1000: at most 256
sidecar: --address 0.0.0.0: other sidecars cannot reach it; give this machine's address";
    assert_eq!(problems, expected);
}

#[test]
fn dns_stays_on_this_machine_and_never_asks_itself() {
    let settings =
        with(&["--dns-addr", "off", "--dns-upstream", "192.0.2.1", "--dns-upstream", "[::1]:54"]).unwrap();
    assert_eq!(settings.dns_addr, DnsAddress::Off);
    assert_eq!(
        settings.dns_upstreams.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.1:53", "[::1]:54"]
    );
    assert_eq!(
        with(&["--dns-addr", "0.0.0.0:53"]).unwrap_err(),
        "sidecar: --dns-addr 0.0.0.0:53: DNS is answered for programs on this machine only, so that nobody uses it \
         against others; use 127.0.0.1:53"
    );
    assert_eq!(
        with(&["--dns-addr", "127.0.0.1:53", "--dns-upstream", "127.0.0.1"]).unwrap_err(),
        "sidecar: --dns-upstream 127.0.0.1:53 is --dns-addr: the sidecar would ask itself"
    );
    assert_eq!(
        with(&["--dns-addr", "127.0.0.1:15001"]).unwrap_err(),
        "sidecar: --outbound-addr 127.0.0.1:15001 and --dns-addr 127.0.0.1:15001 are the same port; change one"
    );
    let four = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
        .map(|server| ["--dns-upstream", server])
        .concat();
    assert_eq!(with(&four).unwrap_err(), "sidecar: --dns-upstream is given 4 times; at most 3");
}

#[test]
fn captured_plain_text_comes_in_the_way_that_is_said_and_not_without_capture() {
    let plaintext = |flags: &[&str]| with(flags).map(|it| (it.capture, it.inbound_mode, it.plaintext_addr));
    let at = |port| Some(SocketAddr::from(([0, 0, 0, 0], port)));
    assert_eq!(plaintext(&["--capture"]).unwrap(), (Capture::On, InboundMode::Redirect, at(15006)));
    let tproxy = ["--capture", "--inbound-mode", "tproxy", "--plaintext-addr", "0.0.0.0:16006"];
    assert_eq!(plaintext(&tproxy).unwrap(), (Capture::On, InboundMode::Tproxy, at(16006)));
    let off = ["--capture", "--inbound-mode", "off", "--metrics-addr", "0.0.0.0:15006"];
    assert_eq!(plaintext(&off).unwrap(), (Capture::On, InboundMode::Off, None));
    assert_eq!(plaintext(&["--inbound-mode", "tproxy"]).unwrap(), (Capture::Off, InboundMode::Tproxy, None));
}

#[test]
fn a_mark_is_a_number_and_not_that_of_what_is_led_to_this_machine() {
    let mark = |flags: &[&str]| with(flags).map(|settings| settings.mark.map(|mark| mark.to_string()));
    assert_eq!(mark(&[]).unwrap(), None);
    assert_eq!(mark(&["--mark", "1337"]).unwrap().as_deref(), Some("0x539"));
    assert!(mark(&["--mark", "0"]).unwrap_err().contains("a mark is a number from 1 to 4294967295"));
    let same = ["--mark", "15006", "--capture", "--inbound-mode"];
    assert_eq!(
        mark(&[&same[..], &["tproxy"]].concat()).unwrap_err(),
        "sidecar: --mark 0x3a9e is 15006, the port of --plaintext-addr, which with --inbound-mode tproxy marks what is \
         led to this machine: everything would be; give another mark"
    );
    mark(&[&same[..], &["redirect"]].concat()).unwrap();
}

#[test]
fn a_command_is_what_stands_after_two_hyphens() {
    assert_eq!(with(&[]).unwrap().command, None);
    let settings = with(&["--ready-timeout", "5s", "--", "job", "--grace", "x"]).unwrap();
    assert_eq!(settings.command.unwrap().to_string(), "`job`");
    assert_eq!((settings.ready_timeout.as_secs(), settings.grace.as_secs()), (5, 30));
    assert_eq!(
        with(&["--takeover", "--", "job"]).unwrap_err(),
        "sidecar: --takeover: a COMMAND stays the child of the process that started it; end that process instead and start \
        this one without --takeover, or have sidecar and service started each by itself"
    );
    assert_eq!(
        with(&["--command-uid", "web:www"]).unwrap_err(),
        "sidecar: --command-uid web:www: there is no COMMAND; give one after `--`"
    );
}

#[test]
fn every_missing_flag_is_named_at_once() {
    let error = run(&[]).unwrap_err();
    for flag in ["--control-plane", "--trust-bundle", "--token-file", "--namespace", "--service-account"] {
        assert!(error.contains(flag), "{flag} in {error}");
    }
}

#[test]
fn a_wrong_value_is_told_with_its_flag_and_its_grammar() {
    let error = with(&["--upstream", "orders:80=127.0.0.1:1"]).unwrap_err();
    assert!(
        error.starts_with(
            "error: invalid value 'orders:80=127.0.0.1:1' for \
             '--upstream <SERVICE.NAMESPACE:PORT=ADDR:PORT>': it must have the form"
        ),
        "{error}"
    );
}

#[test]
fn help_shows_every_default() {
    let help = run(&["--help"]).unwrap_err();
    for text in [
        "127.0.0.1:15001",
        "0.0.0.0:15008",
        "127.0.0.1:15000",
        "0.0.0.0:15020",
        "0.0.0.0:15006",
        "30s",
        "mesh.internal",
    ] {
        assert!(help.contains(&format!("[default: {text}]")), "{text} in\n{help}");
    }
    assert!(help.contains("[env: OUTRIGGER_TRUST_BUNDLE="), "{help}");
}
