//! What a service manager is told, and the unit that comes with us.

use crate::started::{Started, sidecar};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use tests::world::{World, bin_dir};

#[test]
fn it_is_told_when_the_command_runs_that_all_is_well_and_when_the_end_begins() {
    let world = World::new();
    let path = world.dir().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let next = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = sidecar(&world, "job");
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    command.args(["--outbound-addr", "127.0.0.1:0", "--", "sh", "-c"]);
    command.arg("echo \"${NOTIFY_SOCKET-not mine}\"; while :; do sleep 0.1; done");
    let mut started = Started::command(command);
    let mut word = next();
    while word == "WATCHDOG=1" {
        word = next();
    }
    assert_eq!(word, "READY=1\nSTATUS=serving as demo/job");
    started.says("not mine");
    assert_eq!((next().as_str(), next().as_str()), ("WATCHDOG=1", "WATCHDOG=1"));
    started.signal(Signal::TERM);
    let mut word = next();
    while word == "WATCHDOG=1" {
        word = next();
    }
    assert_eq!(word, "STOPPING=1\nSTATUS=finishing what runs");
    assert_eq!(started.code(), Some(143));
}

/// The command lines of a unit, as words.
fn command_lines(unit: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(unit).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Exec"));
    let words = lines.filter_map(|line| line.split_once('=')).map(|(_, line)| {
        line.split_whitespace().map(|word| word.replace("$MAINPID", "1")).collect::<Vec<_>>()
    });
    words.collect()
}

#[test]
fn the_command_lines_of_the_unit_are_understood() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/systemd");
    let lines = command_lines(&docs.join("sidecar.service"));
    assert!(!lines.is_empty());
    for words in lines {
        assert_eq!(words[0], "/usr/local/bin/sidecar");
        // A user that is on no machine, so that it goes no further than that.
        let words = words[1..].iter().map(|word| match word.as_str() {
            "/etc/outrigger/sidecar.yaml" => docs.join("sidecar.yaml").display().to_string(),
            "outrigger" => "no-such-user-here".to_owned(),
            word => word.to_owned(),
        });
        let output = Command::new(bin_dir().join("sidecar")).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("--uid no-such-user-here: this machine has no such user"), "{said}");
    }
}
