//! Mistakes found before anything starts.

use std::process::{Command, Output};
use tests::world::{World, bin_dir};

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(bin_dir().join(program)).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_shows_every_flag_of_the_contract() {
    for (program, command, flags) in [
        (
            "control-plane",
            "serve",
            &["--data-dir", "--api-addr", "--discovery-addr", "--metrics-addr", "--store", "--trust-domain"]
                [..],
        ),
        (
            "sidecar",
            "run",
            &[
                "--control-plane",
                "--trust-bundle",
                "--token-file",
                "--namespace",
                "--service-account",
                "--label",
                "--address",
                "--zone",
                "--locality",
                "--inbound",
                "--upstream",
                "--outbound-addr",
                "--inbound-addr",
                "--admin-addr",
                "--metrics-addr",
                "--state-dir",
                "--workers",
                "--config",
                "--uid",
                "--takeover",
                "--mark",
                "--inbound-mode",
                "--ready-timeout",
                "--command-uid",
                "COMMAND",
            ],
        ),
    ] {
        let output = run(program, &[command, "--help"]);
        assert!(output.status.success());
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        for flag in flags {
            assert!(help.contains(flag), "{program} {command} --help does not name {flag}:\n{help}");
        }
    }
}

#[test]
fn wrong_usage_ends_with_2_and_names_all_mistakes() {
    let output = run("sidecar", &["run"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = stderr(&output);
    for part in ["--control-plane", "--trust-bundle", "--namespace", "--service-account"] {
        assert!(said.contains(part), "{part} is missing from:\n{said}");
    }
    let output = run("sidecar", &["run", "--inbound", "http"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--inbound") && stderr(&output).contains("`http`"),
        "{}",
        stderr(&output)
    );
    assert_eq!(run("control-plane", &["serve"]).status.code(), Some(2));
    assert_eq!(run("meshctl", &["frobnicate"]).status.code(), Some(2));
}

#[test]
fn what_cannot_start_says_why_in_one_line_and_ends_with_1() {
    let world = World::new();
    let dir = world.dir();
    let ca = dir.join("control-plane/ca.crt");
    let taken = world.mesh.control_plane_metrics().unwrap().to_owned();
    let token = dir.join("no-such-token");
    let broken = dir.join("broken.crt");
    std::fs::write(&broken, "not a certificate").unwrap();
    let valid = dir.join("token");
    std::fs::write(&valid, world.mesh.token("demo", "web").unwrap()).unwrap();
    let attempt = |ca: &std::path::Path, token: &std::path::Path, metrics: &str| {
        let state = dir.join("state");
        run(
            "sidecar",
            &[
                "run",
                "--control-plane",
                "https://127.0.0.1:1",
                "--trust-bundle",
                ca.to_str().unwrap(),
                "--token-file",
                token.to_str().unwrap(),
                "--namespace",
                "demo",
                "--service-account",
                "web",
                "--state-dir",
                state.to_str().unwrap(),
                "--outbound-addr",
                "127.0.0.1:0",
                "--inbound-addr",
                "127.0.0.1:0",
                "--admin-addr",
                "127.0.0.1:0",
                "--metrics-addr",
                metrics,
            ],
        )
    };
    for (output, part) in [
        (attempt(&ca, &token, "127.0.0.1:0"), "no-such-token"),
        (attempt(&broken, &valid, "127.0.0.1:0"), "broken.crt"),
        (attempt(&ca, &valid, &taken), "--metrics-addr"),
    ] {
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(part), "{part} is missing from: {said}");
        assert_eq!(said.trim().lines().count(), 1, "one line: {said}");
    }
    let output = run("control-plane", &["serve", "--data-dir", dir.join("control-plane").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("control-plane"), "the data directory is in use: {}", stderr(&output));
}

#[test]
fn private_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let mut seen = 0;
    let mut folders = vec![world.dir().join("control-plane"), world.dir().join("web-a/state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let public = entry.path().extension().is_some_and(|extension| extension == "crt");
            assert!(public || mode == 0o600, "{} has mode {mode:o}", entry.path().display());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} files");
}
