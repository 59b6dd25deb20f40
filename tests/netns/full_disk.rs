//! A control plane whose disk is full: a small file system of its own, in a mount namespace of its own.

use http::{Method, StatusCode};
use mesh_load::running::Running;
use serde_json::{Value, json};
use std::process::Command;
use tests::api::Api;
use tests::wait::eventually;
use tests::world::bin_dir;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x".repeat(200_000)}})
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

#[test]
fn writes_are_refused_reads_go_on_and_with_room_all_is_well_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=8m none \"$1\" && shift && exec \"$@\"").arg("sh").arg(&data);
    command.arg(bin_dir().join("control-plane")).arg("serve").arg("--data-dir").arg(&data);
    for listener in ["api", "discovery", "metrics"] {
        command.args([format!("--{listener}-addr"), "127.0.0.1:0".to_owned()]);
    }
    let control_plane = Running::start("control-plane", command, dir.path()).unwrap();
    // Its files as it sees them.
    let inside = format!("/proc/{}/root{}", control_plane.pid(), data.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut api = runtime.block_on(Api::connect(format!("{inside}/kubeconfig").as_ref())).unwrap();
    let mut call = |method: Method, path: &str, body: &Value| -> (StatusCode, Value) {
        runtime.block_on(api.exchange(method, path, "application/json", body)).unwrap()
    };

    let mut made = 0;
    let refused = loop {
        let (code, answer) = call(Method::POST, MAPS, &map(&format!("m{made}")));
        match code {
            StatusCode::CREATED => made += 1,
            _ => break (code, answer),
        }
        assert!(made < 1_000, "the disk has 8 MiB");
    };
    assert_eq!(refused.0, StatusCode::INSUFFICIENT_STORAGE, "{}", refused.1);
    assert_eq!((&refused.1["kind"], &refused.1["reason"]), (&json!("Status"), &json!("InsufficientStorage")));
    let message = refused.1["message"].as_str().unwrap();
    assert!(
        message.contains("no space left for the store: free some on the disk that holds it"),
        "{message}"
    );
    let (code, list) = call(Method::GET, MAPS, &json!({}));
    assert_eq!((code, list["items"].as_array().unwrap().len()), (StatusCode::OK, made), "{made}");

    let pid = control_plane.pid().to_string();
    run(Command::new("nsenter")
        .args(["--target", &pid, "--mount", "mount", "-o", "remount,size=32m"])
        .arg(&data));
    eventually("it writes again", || match call(Method::POST, MAPS, &map("later")) {
        (StatusCode::CREATED, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let (_, list) = call(Method::GET, MAPS, &json!({}));
    assert_eq!(list["items"].as_array().unwrap().len(), made + 1, "and has lost nothing");
}
