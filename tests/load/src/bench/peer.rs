//! A pair that runs: where it is entered, which processes it is made of, and how it proves that its hop is mutual TLS.

use super::knock;
use super::pki::Pki;
use super::workload::Entry;
use crate::mesh::{Mesh, free_port};
use crate::running::Running;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use mesh_mtls::Alpn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long a pair may take until it answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to end: as long as a sidecar waits for its tasks.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two attempts: the resolution of the start-up time.
const PAUSE: Duration = Duration::from_millis(2);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// What stands between load and origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Nothing
    Direct,
    /// Two relays of bytes in mutual TLS: the least a pair can do
    Floor,
    /// Two Envoy processes
    Envoy,
    /// Two HAProxy processes
    Haproxy,
    /// Two nginx processes
    Nginx,
    /// Two sidecars of this build
    Outrigger,
}

impl Peer {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Direct, Self::Floor, Self::Envoy, Self::Haproxy, Self::Nginx, Self::Outrigger];

    /// As it is called on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Outrigger => "outrigger",
        }
    }
}

/// Where load enters: the address to connect to, and the authority to ask for there.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) addr: SocketAddr,
    pub(super) authority: String,
}

/// How a pair proves that its hop is mutual TLS, besides that its inbound proxy serves no plain text.
pub(super) enum Proof {
    /// There is no hop.
    None,
    /// The inbound proxy counts handshakes, or who asked; here.
    Counted(SocketAddr),
    /// The inbound proxy is asked with and without a certificate of these, in the protocol of its port for HTTP/1.1.
    Asked(Pki, Alpn),
}

/// A running pair. Dropping it ends it.
pub(super) struct Pair {
    pub(super) peer: Peer,
    pub(super) doors: BTreeMap<Entry, Door>,
    /// The two proxies; none for direct.
    pub(super) proxies: Vec<Running>,
    /// What else must run, and is not measured.
    pub(super) besides: Option<Mesh>,
    /// Address on which the inbound proxy takes mutual TLS.
    pub(super) inbound: Option<SocketAddr>,
    /// How it proves that it does.
    pub(super) proof: Proof,
    pub(super) binary: Option<PathBuf>,
    /// From the start of its processes to the first 200, in milliseconds.
    pub(super) start_ms: Option<f64>,
}

impl Pair {
    /// No proxies: the origins themselves.
    pub(super) fn direct(origins: &BTreeMap<Entry, SocketAddr>) -> Self {
        let door = |addr: &SocketAddr| Door { addr: *addr, authority: addr.to_string() };
        Self {
            peer: Peer::Direct,
            doors: origins.iter().map(|(entry, addr)| (*entry, door(addr))).collect(),
            proxies: Vec::new(),
            besides: None,
            inbound: None,
            proof: Proof::None,
            binary: None,
            start_ms: None,
        }
    }

    /// Asks both proxies to end, and waits until they have, though not for ever.
    pub(super) fn end(&mut self) -> Result<()> {
        for proxy in &mut self.proxies {
            if proxy.is_running() {
                proxy.terminate()?;
            }
        }
        let asked = Instant::now();
        while asked.elapsed() < ENDS_WITHIN && self.proxies.iter_mut().any(Running::is_running) {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.proxies.iter().map(Running::pid).collect()
    }

    pub(super) fn door(&self, entry: Entry) -> Result<&Door> {
        self.doors.get(&entry).with_context(|| format!("{} has no entry {}", self.peer.name(), entry.name()))
    }

    /// Waits for the first 200 and notes how long that took since `start`.
    pub(super) fn until_answering(mut self, start: Instant) -> Result<Self> {
        let door = self.door(Entry::H1)?.clone();
        loop {
            let answer = get(door.addr, "/", &door.authority);
            if answer.as_deref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                self.start_ms = Some(start.elapsed().as_secs_f64() * 1000.0);
                return Ok(self);
            }
            if let Some(dead) =
                self.proxies.iter_mut().find_map(|proxy| (!proxy.is_running()).then_some(proxy))
            {
                bail!("{} ended:\n{}", dead.name(), dead.end_of_log());
            }
            if start.elapsed() > ANSWERS_WITHIN {
                let logs: Vec<_> = self.proxies.iter().map(Running::end_of_log).collect();
                let more = self.besides.as_ref().map(|mesh| format!("more logs: {}", mesh.logs().display()));
                let (name, logs) = (self.peer.name(), logs.join("\n"));
                bail!("{name} does not answer; last: {answer:?}\n{logs}\n{}", more.unwrap_or_default());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Checks that the inbound proxy does not serve plaintext, and that it lets in or has let in nobody without a
    /// certificate.
    ///
    /// # Errors
    /// It serves plaintext, or no handshake was counted: what is measured would not be mutual TLS.
    pub(super) fn prove_mutual_tls(&self) -> Result<()> {
        let Some(inbound) = self.inbound else { return Ok(()) };
        let name = self.peer.name();
        // nginx says with a 400 that it wants TLS.
        if let Ok(answer) = get(inbound, "/", "origin")
            && answer.starts_with("HTTP/")
            && !answer.starts_with("HTTP/1.1 400")
        {
            bail!("{name}: the inbound port answers plaintext: {answer:.80}");
        }
        let telemetry = match &self.proof {
            Proof::None => return Ok(()),
            Proof::Asked(pki, alpn) => return knock::check(inbound, pki, *alpn).context(name),
            Proof::Counted(telemetry) => *telemetry,
        };
        let addr = telemetry.to_string();
        let proven = if self.peer == Peer::Envoy {
            let stats = get(telemetry, "/stats?filter=ssl.handshake", &addr)?;
            stats.lines().filter_map(|line| line.rsplit_once(": ")).any(|(_, count)| count != "0")
        } else {
            let samples = crate::scrape::scrape(&addr)?;
            let inbound = samples.with("outrigger_requests_total", &[("direction", "inbound")]);
            inbound
                .filter(|sample| sample.label("peer").starts_with("spiffe://"))
                .any(|sample| sample.value > 0.0)
        };
        if !proven {
            bail!("{name}: no mutual TLS was counted at {addr}");
        }
        Ok(())
    }
}

/// An address of loopback whose port was free a moment ago.
pub(super) fn free_addr() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

/// The answer to a GET, head and body as they came.
fn get(addr: SocketAddr, path: &str, authority: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, ATTEMPT)?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
