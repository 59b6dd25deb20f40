//! The example unit makes the rules survive a reboot: what it starts, with the settings beside it, installs them, and
//! installs them again when the kernel has forgotten them.

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::netns::{Host, sidecar, told};

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/systemd")
}

/// A line of the unit as this machine can run it.
fn command(unit: &str, key: &str, settings: &Path) -> Command {
    let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap();
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/sidecar"));
    let mut command = Command::new(sidecar());
    command.args(
        words.map(
            |word| {
                if word == "/etc/outrigger/intercept.yaml" { settings.to_str().unwrap() } else { word }
            },
        ),
    );
    command
}

#[test]
fn the_example_unit_installs_the_rules_at_every_boot() {
    let host = Host::new();
    let unit = std::fs::read_to_string(documents().join("outrigger-intercept.service")).unwrap();
    let settings = std::fs::read_to_string(documents().join("intercept.yaml")).unwrap();
    // This machine has no such user.
    let settings = settings.replace("[outrigger]", "[900]");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings).unwrap();
    let runs = |key: &str| {
        let output = host.run(command(&unit, key, file.path()));
        assert!(output.status.success(), "{key}: {}", told(&output));
    };
    runs("ExecStart");
    let rules = host.rules();
    assert!(rules.contains("meta skuid 900 return") && rules.contains("tcp dport 8080 goto"), "{rules}");
    host.sh("nft", &["flush", "ruleset"]);
    runs("ExecStart");
    assert_eq!(host.rules(), rules);
    runs("ExecReload");
    assert_eq!(host.rules(), rules);
    runs("ExecStop");
    assert_eq!(host.rules(), "");
}
