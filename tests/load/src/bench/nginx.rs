//! nginx, of Debian's package or on the path: plaintext in, HTTP/1.1 on kept connections over TLS 1.3 between the two, as it
//! speaks HTTP/2 to no upstream but for gRPC, plaintext out. Certificates are of one authority, and the name is checked.
//! Bytes need its module `stream`; without it these workloads are left out.

use super::machine::Places;
use super::peer::{Door, Pair, Peer, Proof, free_addr};
use super::pki::{self, Identity, ORIGIN_NAME, Pki};
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

/// Where packages put the module `stream`.
const STREAM: [&str; 2] =
    ["/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so"];

/// The module, where bytes can be relayed.
pub(super) fn stream_module() -> Option<&'static str> {
    STREAM.into_iter().find(|path| Path::new(path).is_file())
}

/// Starts both proxies and waits for the first 200.
pub(super) fn start(
    binary: &Path,
    dir: &Path,
    places: Places,
    origins: &BTreeMap<Entry, SocketAddr>,
) -> Result<Pair> {
    let pki = pki::make(&dir.join("pki"))?;
    let stream = stream_module();
    let (mut doors, mut hops) = (BTreeMap::new(), BTreeMap::new());
    let (mut outbound, mut inbound) = (Sides::default(), Sides::default());
    for (entry, origin) in origins.iter().filter(|(entry, _)| entry.is_http() || stream.is_some()) {
        let (door, hop) = (free_addr()?, free_addr()?);
        doors.insert(*entry, Door { addr: door, authority: AUTHORITY.to_owned() });
        hops.insert(*entry, hop);
        outbound.add(*entry, door, hop, &Tls::ToInbound(&pki))?;
        inbound.add(*entry, hop, *origin, &Tls::FromOutbound(&pki))?;
    }
    let start = Instant::now();
    let mut proxies = Vec::new();
    for (name, sides) in [("nginx-outbound", outbound), ("nginx-inbound", inbound)] {
        let prefix = dir.join(name);
        fs::create_dir_all(&prefix)?;
        let file = prefix.join("nginx.conf");
        fs::write(&file, sides.config(stream))?;
        let mut command = Command::new(binary);
        command.arg("-p").arg(&prefix).arg("-e").arg("stderr").arg("-c").arg(file);
        proxies.push(places.as_proxy(|| Running::launch(name, command, &dir.join("logs")))?);
    }
    let pair = Pair {
        peer: Peer::Nginx,
        doors,
        proxies,
        besides: None,
        inbound: hops.get(&Entry::H1).copied(),
        proof: Proof::Asked(pki, Alpn::Http1),
        binary: Some(binary.to_path_buf()),
        start_ms: None,
    };
    pair.until_answering(start)
}

/// Which of the two connections is mutual TLS.
enum Tls<'a> {
    ToInbound(&'a Pki),
    FromOutbound(&'a Pki),
}

/// The servers of one process.
#[derive(Default)]
struct Sides {
    http: String,
    stream: String,
}

impl Sides {
    fn add(&mut self, entry: Entry, listen: SocketAddr, to: SocketAddr, tls: &Tls<'_>) -> Result<()> {
        let name = entry.name();
        let (speaks, pass) = match entry {
            Entry::Grpc => ("http2", "grpc"),
            Entry::H2 => ("http2", "proxy"),
            Entry::H1 | Entry::Tcp | Entry::Greeting | Entry::Bulk => ("", "proxy"),
        };
        // Between the two, HTTP/2 is for gRPC only.
        let (listens, accepts, scheme, connects) = match tls {
            Tls::ToInbound(pki) => (speaks, String::new(), "s", connecting(pass, pki)),
            Tls::FromOutbound(pki) => {
                let hop = if entry == Entry::Grpc { "ssl http2" } else { "ssl" };
                (hop, accepting(pki), "", String::new())
            }
        };
        if !entry.is_http() {
            let connects = if connects.is_empty() { connects } else { format!("proxy_ssl on; {connects}") };
            writeln!(
                self.stream,
                "server {{ listen {listen} {listens}; {accepts} proxy_half_close on; proxy_pass {to}; {connects} }}"
            )?;
            return Ok(());
        }
        writeln!(
            self.http,
            "upstream {name} {{ server {to}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 1h; }}"
        )?;
        let passes = match entry {
            Entry::Grpc => format!("grpc_pass grpc{scheme}://{name};"),
            Entry::H1 | Entry::H2 | Entry::Tcp | Entry::Greeting | Entry::Bulk => format!(
                "proxy_pass http{scheme}://{name}; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                 proxy_set_header Host $http_host;"
            ),
        };
        writeln!(
            self.http,
            "server {{ listen {listen} {listens}; {accepts} location / {{ {passes} {connects} }} }}"
        )?;
        Ok(())
    }

    /// One worker, which is the process itself: with a master beside it there would be another to measure.
    fn config(&self, stream: Option<&str>) -> String {
        let load = stream.map(|module| format!("load_module {module};\n")).unwrap_or_default();
        let bytes = stream.map(|_| format!("stream {{\n{}}}\n", self.stream)).unwrap_or_default();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String =
            temporary.iter().map(|what| format!("{what}_temp_path temporary-{what};\n")).collect();
        format!(
            "{load}daemon off;\nmaster_process off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr warn;\n\
             events {{ worker_connections 8192; }}\nhttp {{\naccess_log off;\nkeepalive_requests 1000000000;\n\
             keepalive_timeout 1h;\nhttp2_max_concurrent_streams 1000;\n{temporary}{}}}\n{bytes}",
            self.http
        )
    }
}

fn accepting(pki: &Pki) -> String {
    let Identity { certificate, key, .. } = &pki.inbound;
    format!(
        "ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; \
         ssl_verify_client on;",
        certificate.display(),
        key.display(),
        pki.authority.display()
    )
}

fn connecting(pass: &str, pki: &Pki) -> String {
    let Identity { certificate, key, .. } = &pki.outbound;
    format!(
        "{pass}_ssl_protocols TLSv1.3; {pass}_ssl_certificate {}; {pass}_ssl_certificate_key {}; \
         {pass}_ssl_trusted_certificate {}; {pass}_ssl_verify on; {pass}_ssl_name {ORIGIN_NAME}; \
         {pass}_ssl_server_name on;",
        certificate.display(),
        key.display(),
        pki.authority.display()
    )
}
