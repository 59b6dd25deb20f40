//! The command line as users meet it: the real binary, its exit codes and its exact words.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

const CERTIFICATE: &str = "--trust-bundle";

fn sidecar(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
    command.env_clear().env("HOME", directory).arg("run");
    command
}

/// A complete command line whose files do not exist yet.
fn complete(directory: &Path) -> Command {
    let mut command = sidecar(directory);
    command.args([
        "--control-plane",
        "https://127.0.0.1:1",
        "--namespace",
        "shop",
        "--service-account",
        "orders",
    ]);
    command.arg(CERTIFICATE).arg(directory.join("ca.crt"));
    command.arg("--token-file").arg(directory.join("token"));
    command.arg("--state-dir").arg(directory.join("state"));
    for flag in ["--outbound-addr", "--inbound-addr", "--admin-addr", "--metrics-addr"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let output = sidecar(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let output = complete(directory.path()).args(["--grace", "soon"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        told(&output).contains("it must be a whole number with a unit: 30s, 500ms or 2m"),
        "{}",
        told(&output)
    );
    let output = complete(directory.path()).args(["--log-level", "loud=very"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("`loud=very` is not a log level"), "{}", told(&output));
}

#[test]
fn help_is_exit_code_0() {
    let output = Command::new(env!("CARGO_BIN_EXE_sidecar")).args(["run", "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("--control-plane <https://HOST:PORT>"));
}

#[test]
fn everything_wrong_with_the_machine_is_told_at_once_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    std::fs::write(directory.path().join("ca.crt"), "not a certificate").unwrap();
    let output = complete(directory.path()).args(["--metrics-addr", &taken]).output().unwrap();
    // A flag given twice is wrong usage, so the taken port goes into the environment instead.
    assert_eq!(output.status.code(), Some(2));
    let mut command = sidecar(directory.path());
    command.args([
        "--control-plane",
        "https://127.0.0.1:1",
        "--namespace",
        "shop",
        "--service-account",
        "orders",
    ]);
    command.arg(CERTIFICATE).arg(directory.path().join("ca.crt"));
    command.arg("--token-file").arg(directory.path().join("token"));
    command.args([
        "--outbound-addr",
        "127.0.0.1:0",
        "--inbound-addr",
        "127.0.0.1:0",
        "--admin-addr",
        "127.0.0.1:0",
    ]);
    let output = command.env("OUTRIGGER_METRICS_ADDR", &taken).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "sidecar: --trust-bundle: {at}/ca.crt is not a trust bundle: there is no certificate in it; it must hold the \
         mesh's CA certificates in PEM (the control plane writes them to DATA-DIR/ca.crt)\n\
         sidecar: --token-file {at}/token: it cannot be read: No such file or directory (os error 2); make a token \
         with `meshctl token create` and let this user read it\n\
         sidecar: cannot listen on {taken} (--metrics-addr): another process has this port: stop it, or choose \
         another port with this flag\n"
    );
    assert_eq!(told(&output).replace("/private/", "/"), expected);
    assert!(output.stdout.is_empty());
}

/// With an empty environment.
fn intercept(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
    command.env_clear().arg("intercept").args(arguments);
    command
}

#[test]
fn the_rules_are_printed_without_any_rights() {
    let output =
        intercept(&["print", "--sidecar-uid", "900", "--name", "web", "--backend", "nft"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let rules = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(rules.starts_with("add table inet outrigger_web\ndelete table inet outrigger_web\n"), "{rules}");
    assert!(rules.contains("meta skuid 900 return"), "{rules}");
}

#[test]
fn wrong_flags_of_intercept_are_told_at_once_with_exit_code_2_and_unknown_users_with_1() {
    let output = intercept(&["install", "--metrics-port", "15001"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        told(&output),
        "sidecar: nothing tells the sidecar's own connections from the service's, so they would come back to it for \
         ever: give --sidecar-uid USER, the user the sidecar runs as (or --sidecar-gid, --sidecar-mark), or name the \
         service's user by --include-uid\n\
         sidecar: --outbound-port and --metrics-port are both 15001; change one\n"
    );
    let output = intercept(&["install", "--sidecar-uid", "no-such-user-here"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        told(&output),
        "sidecar: --sidecar-uid no-such-user-here: this machine has no such user; make one with `useradd --system \
         --no-create-home no-such-user-here`, or give another name or a number\n"
    );
}

#[test]
fn the_help_of_intercept_shows_every_default() {
    let output = intercept(&["install", "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for text in ["15000", "15001", "15006", "15008", "15020", "15053", "redirect", "auto"] {
        assert!(help.contains(&format!("[default: {text}]")), "{text} in\n{help}");
    }
    let verbs = intercept(&["--help"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&verbs.stdout).contains("\n  probe"), "the hidden verb is shown");
}
