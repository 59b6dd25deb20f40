//! The floor: two of our own `relay`s, which carry bytes through mutual TLS as the mesh makes it and look at none.

use super::machine::Places;
use super::peer::{Door, Pair, Peer, Proof, free_addr};
use super::pki::{self, CLIENT, ORIGIN};
use super::workload::Entry;
use crate::running::Running;
use anyhow::Result;
use mesh_mtls::Alpn;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tokio::time::Instant;

/// Starts both and waits for the first 200.
pub(super) fn start(
    binary: &Path,
    dir: &Path,
    places: Places,
    origins: &BTreeMap<Entry, SocketAddr>,
) -> Result<Pair> {
    let pki = pki::make(&dir.join("pki"))?;
    let (mut doors, mut hops) = (BTreeMap::new(), BTreeMap::new());
    let (mut outbound, mut inbound) = (Command::new(binary), Command::new(binary));
    outbound.args(["outbound", "--expect", ORIGIN]);
    inbound.args(["inbound", "--expect", CLIENT]);
    for (command, own) in [(&mut outbound, &pki.outbound), (&mut inbound, &pki.inbound)] {
        command.arg("--certificate").arg(&own.certificate).arg("--key").arg(&own.key);
        command.arg("--authority").arg(&pki.authority);
    }
    for (entry, origin) in origins {
        let (door, hop) = (free_addr()?, free_addr()?);
        // It looks at nothing, so that the origin is asked by its own name.
        doors.insert(*entry, Door { addr: door, authority: origin.to_string() });
        hops.insert(*entry, hop);
        outbound.arg("--way").arg(format!("{door}={hop}"));
        inbound.arg("--way").arg(format!("{hop}={origin}"));
    }
    let start = Instant::now();
    let mut proxies = Vec::new();
    for (name, command) in [("floor-outbound", outbound), ("floor-inbound", inbound)] {
        proxies.push(places.as_proxy(|| Running::launch(name, command, &dir.join("logs")))?);
    }
    let pair = Pair {
        peer: Peer::Floor,
        doors,
        proxies,
        besides: None,
        inbound: hops.get(&Entry::H1).copied(),
        proof: Proof::Asked(pki, Alpn::Tcp),
        binary: Some(binary.to_path_buf()),
        start_ms: None,
    };
    pair.until_answering(start)
}
