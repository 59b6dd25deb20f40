//! HAProxy, of Debian's package or on the path: plaintext in, HTTP/2 over TLS 1.3 with certificates of one authority and a
//! name check between the two, plaintext out. It has no check for a SPIFFE ID that its configuration could ask for.

use super::machine::Places;
use super::peer::{Door, Pair, Peer, Proof, free_addr};
use super::pki::{self, ORIGIN_NAME};
use super::workload::Entry;
use crate::running::Running;
use anyhow::Result;
use mesh_mtls::Alpn;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tokio::time::Instant;

const AUTHORITY: &str = "origin.bench:80";

/// Nothing is logged or checked for health, connections are kept and shared: as one would for speed.
const DEFAULTS: &str = "global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  http-reuse always
  option http-no-delay
";

/// Starts both proxies and waits for the first 200.
pub(super) fn start(
    binary: &Path,
    dir: &Path,
    places: Places,
    origins: &BTreeMap<Entry, SocketAddr>,
) -> Result<Pair> {
    let pki = pki::make(&dir.join("pki"))?;
    let authority = pki.authority.display();
    let (mut doors, mut hops) = (BTreeMap::new(), BTreeMap::new());
    let (mut outbound, mut inbound) = (DEFAULTS.to_owned(), DEFAULTS.to_owned());
    for (entry, origin) in origins {
        let (door, hop) = (free_addr()?, free_addr()?);
        doors.insert(*entry, Door { addr: door, authority: AUTHORITY.to_owned() });
        hops.insert(*entry, hop);
        let name = entry.name();
        let (mode, alpn) = if entry.is_http() { ("http", "alpn h2") } else { ("tcp", "") };
        let clear = if matches!(entry, Entry::H2 | Entry::Grpc) { "proto h2" } else { "" };
        let own = pki.outbound.bundle.display();
        write!(
            outbound,
            "listen {name}\n  mode {mode}\n  bind {door} {clear}\n  server it {hop} ssl crt {own} ca-file {authority} \
             verify required verifyhost {ORIGIN_NAME} sni str({ORIGIN_NAME}) {alpn}\n"
        )?;
        let own = pki.inbound.bundle.display();
        write!(
            inbound,
            "listen {name}\n  mode {mode}\n  bind {hop} ssl crt {own} ca-file {authority} verify required {alpn}\n  \
             server it {origin} {clear}\n"
        )?;
    }
    let start = Instant::now();
    let mut proxies = Vec::new();
    for (name, config) in [("haproxy-outbound", outbound), ("haproxy-inbound", inbound)] {
        let file = dir.join(format!("{name}.cfg"));
        fs::write(&file, config)?;
        let mut command = Command::new(binary);
        // In the foreground, as one process.
        command.arg("-db").arg("-f").arg(file);
        proxies.push(places.as_proxy(|| Running::launch(name, command, &dir.join("logs")))?);
    }
    let pair = Pair {
        peer: Peer::Haproxy,
        doors,
        proxies,
        besides: None,
        inbound: hops.get(&Entry::H1).copied(),
        proof: Proof::Asked(pki, Alpn::H2),
        binary: Some(binary.to_path_buf()),
        start_ms: None,
    };
    pair.until_answering(start)
}
