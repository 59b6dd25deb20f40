//! A pair that runs: where it is entered, which processes it is made of, and how it proves that its hop is mutual TLS.

use super::workload::Entry;
use crate::mesh::Mesh;
use crate::running::Running;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long a pair may take until it answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
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
    /// Two Envoy processes
    Envoy,
    /// Two sidecars of this build
    Outrigger,
}

impl Peer {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Envoy, Self::Outrigger];

    /// As it is called on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Envoy => "envoy",
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
    /// Where its telemetry is.
    pub(super) telemetry: Option<SocketAddr>,
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
            telemetry: None,
            binary: None,
            start_ms: None,
        }
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

    /// Checks that the inbound proxy does not serve plaintext, and that it has shaken hands with the outbound proxy.
    ///
    /// # Errors
    /// It serves plaintext, or no handshake was counted: what is measured would not be mutual TLS.
    pub(super) fn prove_mutual_tls(&self) -> Result<()> {
        let (Some(inbound), Some(telemetry)) = (self.inbound, self.telemetry) else { return Ok(()) };
        if let Ok(answer) = get(inbound, "/", "origin")
            && answer.starts_with("HTTP/")
        {
            bail!("{}: the inbound port answers plaintext: {answer:.80}", self.peer.name());
        }
        let addr = telemetry.to_string();
        let proven = match self.peer {
            Peer::Direct => true,
            Peer::Envoy => {
                let stats = get(telemetry, "/stats?filter=ssl.handshake", &addr)?;
                stats.lines().filter_map(|line| line.rsplit_once(": ")).any(|(_, count)| count != "0")
            }
            Peer::Outrigger => {
                let samples = crate::scrape::scrape(&addr)?;
                let inbound = samples.with("outrigger_requests_total", &[("direction", "inbound")]);
                inbound
                    .filter(|sample| sample.label("peer").starts_with("spiffe://"))
                    .any(|sample| sample.value > 0.0)
            }
        };
        if !proven {
            bail!("{}: no mutual TLS was counted at {addr}", self.peer.name());
        }
        Ok(())
    }
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
