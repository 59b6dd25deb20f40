//! Families that move per connection, and the guard that keeps the count of open ones right however one ends. Opening
//! a connection is rare enough for shared atomics.

use super::Direction;
use super::requests::counter;
use crate::detect::{Learned, Observed};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Which end of the sidecar a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards whoever asks.
    Downstream,
    /// Towards whoever answers.
    Upstream,
}

impl Side {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionProtocol {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Opaque bytes, upgraded connections and tunnels.
    Tcp,
}

impl ConnectionProtocol {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
        }
    }
}

/// Families that move per connection.
#[derive(Debug, Clone)]
pub struct ConnectionFamilies {
    opened: IntCounterVec,
    open: IntGaugeVec,
    pub(crate) tcp_connections: IntCounterVec,
    pub(crate) tcp_received: IntCounterVec,
    pub(crate) tcp_sent: IntCounterVec,
    handshakes: IntCounterVec,
    external_handshakes: IntCounterVec,
    plaintext: IntCounterVec,
    undeclared: IntCounterVec,
    sources: Arc<Mutex<HashSet<IpAddr>>>,
}

/// Sources of plaintext told apart; the rest are `other`. More would not fit on anybody's screen.
const SOURCES_MAX: usize = 100;

impl ConnectionFamilies {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = ["direction", "side", "protocol"];
        let open = Opts::new("outrigger_connections_open", "Connections open now.");
        let open = IntGaugeVec::new(open, &labels)?;
        registry.register(Box::new(open.clone()))?;
        let tcp = ["direction", "service", "peer"];
        Ok(Self {
            opened: counter(
                registry,
                "outrigger_connections_opened_total",
                "Connections opened; moves when their protocol is known.",
                &labels,
            )?,
            open,
            tcp_connections: counter(
                registry,
                "outrigger_tcp_connections_total",
                "Opaque connections, tunnels and upgraded connections carried; moves when both ends are connected.",
                &tcp,
            )?,
            tcp_received: counter(
                registry,
                "outrigger_tcp_received_bytes_total",
                "Bytes of opaque connections received from downstream.",
                &tcp,
            )?,
            tcp_sent: counter(
                registry,
                "outrigger_tcp_sent_bytes_total",
                "Bytes of opaque connections sent to downstream.",
                &tcp,
            )?,
            handshakes: counter(
                registry,
                "outrigger_handshakes_total",
                "Mutual-TLS handshakes by result: `ok`, `resumed`, or why not.",
                &["direction", "result"],
            )?,
            external_handshakes: counter(
                registry,
                "outrigger_external_handshakes_total",
                "TLS handshakes with places outside of the mesh by result: `ok`, or why not.",
                &["result"],
            )?,
            plaintext: counter(
                registry,
                "outrigger_inbound_plaintext_connections_total",
                "Captured connections in the clear, by the address they came from (the first hundred, then `other`) \
                 and whether they were `accepted` or `refused`.",
                &["source", "verdict"],
            )?,
            undeclared: counter(
                registry,
                "outrigger_undeclared_connections_total",
                "Connections to ports that declare no protocol, by what their first bytes showed: HTTP, whose server \
                 was `spared` a connection or given a `needless` one; or opaque bytes, `client_first` or \
                 `server_first`.",
                &["direction", "shown"],
            )?,
            sources: Arc::default(),
        })
    }

    /// Counts a handshake.
    pub(crate) fn handshake(&self, direction: Direction, result: &str) {
        self.handshakes.with_label_values(&[direction.as_str(), result]).inc();
    }

    /// Counts a handshake with a place outside of the mesh.
    pub(crate) fn external_handshake(&self, result: &str) {
        self.external_handshakes.with_label_values(&[result]).inc();
    }

    /// Counts a captured connection in the clear.
    pub(crate) fn plaintext(&self, source: IpAddr, verdict: &str) {
        let source = source.to_canonical();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told_apart =
            sources.contains(&source) || (sources.len() < SOURCES_MAX && sources.insert(source));
        drop(sources);
        let text = if is_told_apart { source.to_string() } else { "other".to_owned() };
        self.plaintext.with_label_values(&[text.as_str(), verdict]).inc();
    }

    /// What is learned of one destination, from nothing on; counted together with all others of this direction.
    pub(crate) fn learned(&self, direction: Direction) -> Learned {
        let counter = |it: Observed| self.undeclared.with_label_values(&[direction.as_str(), it.word()]);
        Learned::new(Observed::ALL.map(counter))
    }

    /// Counts a connection as opened, and as open until the guard is dropped.
    pub(crate) fn open(
        &self,
        direction: Direction,
        side: Side,
        protocol: ConnectionProtocol,
    ) -> OpenConnection {
        let labels = [direction.as_str(), side.as_str(), protocol.as_str()];
        self.opened.with_label_values(&labels).inc();
        let open = self.open.with_label_values(&labels);
        open.inc();
        OpenConnection(open)
    }
}

/// A connection counted as open.
#[derive(Debug)]
pub(crate) struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
