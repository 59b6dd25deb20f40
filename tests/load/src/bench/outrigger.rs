//! Outrigger itself: a control plane, and two sidecars of one worker each.

use super::machine::Places;
use super::peer::{Door, Pair, Peer, Proof};
use super::workload::Entry;
use crate::mesh::Mesh;
use crate::running::Running;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tokio::time::Instant;

const NAMESPACE: &str = "bench";

/// Starts a control plane, then both sidecars, which are this program, and waits for the first 200. Start-up time is the sidecars': from the
/// start of both, with tokens in their hands, to the first answer.
pub(super) fn start(
    bin_dir: &Path,
    program: &Path,
    dir: &Path,
    places: Places,
    origins: &BTreeMap<Entry, SocketAddr>,
) -> Result<Pair> {
    let mesh = places.as_other(|| Mesh::start(bin_dir, dir))?;
    let manifest = dir.join("bench.yaml");
    fs::write(&manifest, manifests()?)?;
    mesh.apply(&manifest)?;
    let inbound = sidecar(program, &mesh, dir, "origin", |command| {
        command.args(["--label", "app=origin"]);
        for (entry, addr) in origins {
            command.arg("--inbound").arg(format!(
                "{}={}/{}",
                entry.name(),
                addr.port(),
                entry.app_protocol()
            ));
        }
    })?;
    let outbound = sidecar(program, &mesh, dir, "client", |command| {
        for entry in [Entry::Tcp, Entry::Greeting, Entry::Bulk] {
            command.arg("--upstream").arg(format!("{}=127.0.0.1:0", upstream(entry)));
        }
    })?;
    let logs = mesh.logs();
    let start = Instant::now();
    let (outbound, inbound) = std::thread::scope(|scope| {
        let inbound = scope.spawn(|| places.as_proxy(|| Running::start("origin-sidecar", inbound, &logs)));
        let outbound = places.as_proxy(|| Running::start("client-sidecar", outbound, &logs));
        let inbound = inbound.join().map_err(|_| anyhow::anyhow!("starting the inbound sidecar panicked"));
        anyhow::Ok((outbound?, inbound??))
    })?;
    let outbound_addr: SocketAddr = outbound.ready("outbound")?.parse()?;
    let mut doors = BTreeMap::new();
    for entry in Entry::ALL {
        let addr = match entry {
            Entry::H1 | Entry::H2 | Entry::Grpc => outbound_addr,
            Entry::Tcp | Entry::Greeting | Entry::Bulk => {
                outbound.ready(&format!("upstream.{}", upstream(entry)))?.parse()?
            }
        };
        doors.insert(entry, Door { addr, authority: format!("origin.{NAMESPACE}:{}", port(entry)) });
    }
    let pair = Pair {
        peer: Peer::Outrigger,
        doors,
        inbound: Some(inbound.ready("inbound")?.parse().context("the inbound address")?),
        proof: Proof::Counted(inbound.ready("metrics")?.parse().context("the metrics address")?),
        proxies: vec![outbound, inbound],
        besides: Some(mesh),
        binary: Some(program.to_path_buf()),
        start_ms: None,
    };
    pair.until_answering(start)
}

/// The Service's port that leads to an entry.
fn port(entry: Entry) -> u16 {
    match entry {
        Entry::H1 => 80,
        Entry::H2 => 81,
        Entry::Grpc => 82,
        Entry::Tcp => 83,
        Entry::Bulk => 84,
        Entry::Greeting => 85,
    }
}

fn upstream(entry: Entry) -> String {
    format!("origin.{NAMESPACE}:{}", port(entry))
}

fn manifests() -> Result<String> {
    let mut yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n---\napiVersion: v1\nkind: Service\nmetadata:\n  \
         name: origin\n  namespace: {NAMESPACE}\nspec:\n  selector:\n    app: origin\n  ports:\n"
    );
    for entry in Entry::ALL {
        let name = entry.name();
        let declared = match entry.app_protocol() {
            "detect" => String::new(),
            protocol => format!(", appProtocol: {protocol}"),
        };
        writeln!(yaml, "    - {{name: {name}, port: {}, targetPort: {name}{declared}}}", port(entry))?;
    }
    Ok(yaml)
}

/// A sidecar's command line, with a fresh token.
fn sidecar(
    program: &Path,
    mesh: &Mesh,
    dir: &Path,
    account: &str,
    add: impl FnOnce(&mut Command),
) -> Result<Command> {
    let state = dir.join(account);
    fs::create_dir_all(&state)?;
    let token = state.join("token");
    fs::write(&token, mesh.token(NAMESPACE, account)?)?;
    let mut command = Command::new(program);
    command.args(["run", "--workers", "1", "--address", "127.0.0.1", "--name", account]);
    command.args(["--namespace", NAMESPACE, "--service-account", account]);
    command.arg("--control-plane").arg(mesh.discovery()?);
    command.arg("--trust-bundle").arg(mesh.trust_bundle());
    command.arg("--token-file").arg(token).arg("--state-dir").arg(state.join("state"));
    for listener in ["outbound", "inbound", "admin", "metrics"] {
        command.arg(format!("--{listener}-addr")).arg("127.0.0.1:0");
    }
    add(&mut command);
    Ok(command)
}
