//! Python's grpcio on both ends: unary and streams in each direction, trailers, errors, deadlines.
//!
//! The library comes from `OUTRIGGER_TEST_PYTHON`, an interpreter of a virtual environment that `cargo xtask test` makes.

use mesh_load::mesh::Beside;
use mesh_load::running::Running;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::world::{NAMESPACE, World};

/// An interpreter that has the packages, about to run a script of this folder.
pub(crate) fn python(script: &str) -> Command {
    let interpreter = std::env::var_os("OUTRIGGER_TEST_PYTHON").map(PathBuf::from).unwrap_or_else(|| {
        panic!(
            "set OUTRIGGER_TEST_PYTHON to a Python that has grpcio and kubernetes, or skip this check by name"
        )
    });
    let mut command = Command::new(interpreter);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(script))
        .env("PYTHONUNBUFFERED", "1");
    command
}

#[test]
fn grpcio_calls_grpcio_through_two_sidecars() {
    let mut world = World::new();
    world.service("chat", 50051, Some("grpc"), "main");
    let server = Running::start("chat-a", python("grpc_server.py"), &world.mesh.logs()).unwrap();
    let port = server.ready("addr").unwrap().rsplit_once(':').unwrap().1.to_owned();
    let beside = Beside {
        namespace: NAMESPACE,
        service_account: "chat",
        labels: &[("app", "chat")],
        inbound: Some(format!("main={port}/grpc")),
        ..Beside::default()
    };
    world.mesh.join("chat-a", &beside, Some(server)).unwrap();
    let outbound = world.client("caller", &[]);
    // The server does not take GET; that it was asked at all says that the way is there.
    let answer = world.until_answers(&outbound, "chat:50051", "/", 502);
    assert_eq!(answer.reason(), "app_closed", "{answer:?}");
    let output = python("grpc_client.py").arg(&outbound).arg("chat.demo:50051").output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
