//! The demo in which no application knows of the mesh: each on a machine of its own.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use tests::netns::told;
use tests::world::{bin_dir, examples};

fn demo(work: &tempfile::TempDir) -> Command {
    let mut command = Command::new(bin_dir().join("demo"));
    command.args(["--transparent", "--seconds", "10", "--json"]).arg("--bin-dir").arg(bin_dir());
    command.arg("--work-dir").arg(work.path()).arg("--manifests").arg(examples());
    command
}

#[test]
fn applications_that_know_of_no_mesh_call_each_other_by_mutual_tls() {
    let work = tempfile::tempdir().unwrap();
    let demo = demo(&work).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let namespaces = format!("outrigger-demo-{}", demo.id());
    let output = demo.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
    let claims = report["claims"].as_array().unwrap();
    // Whether every request is answered in time is for the demo itself to judge, on a machine that has nothing else to do.
    let claim =
        claims.iter().find(|claim| claim["claim"] == "every hop was mutual TLS between known identities");
    assert_eq!(claim.unwrap()["held"], true, "{report}");
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.contains(&namespaces), "{left}");
}

#[test]
fn without_rights_the_demo_says_what_it_needs() {
    let work = tempfile::tempdir().unwrap();
    let output = demo(&work).uid(crate::SERVICE).gid(crate::SERVICE).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("which needs root: run it as root, or leave it out"), "{}", told(&output));
}
