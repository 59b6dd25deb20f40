//! Where everything really listens, and the line that says so to whoever waits for this process.

use crate::worker::{self, Listeners};
use mesh_names::WorkloadName;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Where the line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Where everything really listens.
pub(super) struct Addresses {
    pub(super) admin: SocketAddr,
    pub(super) metrics: SocketAddr,
    pub(super) dns: Option<SocketAddr>,
    pub(super) listeners: Bound,
}

pub(super) struct Bound {
    pub(super) outbound: SocketAddr,
    pub(super) inbound: SocketAddr,
    pub(super) plaintext: Option<SocketAddr>,
    pub(super) upstreams: Vec<worker::Upstream>,
}

impl Bound {
    pub(super) fn of(listeners: &Listeners) -> Self {
        Self {
            outbound: listeners.outbound,
            inbound: listeners.inbound,
            plaintext: listeners.plaintext,
            upstreams: listeners.upstreams.clone(),
        }
    }
}

impl Addresses {
    /// The ready line: the one thing this program prints on standard output, and on standard error if standard output is
    /// a command's.
    pub(super) fn announce(&self, workload: &WorkloadName, place: Place) {
        let Bound { outbound, inbound, plaintext, upstreams } = &self.listeners;
        let mut line = format!(
            "sidecar ready: workload={workload} outbound={outbound} inbound={inbound} admin={} metrics={}",
            self.admin, self.metrics
        );
        if let Some(plaintext) = plaintext {
            line.push_str(&format!(" plaintext={plaintext}"));
        }
        if let Some(dns) = self.dns {
            line.push_str(&format!(" dns={dns}"));
        }
        for upstream in upstreams {
            let service = &upstream.service;
            let (name, namespace, port) = (&service.name, &service.namespace, upstream.port);
            line.push_str(&format!(" upstream.{name}.{namespace}:{port}={}", upstream.address));
        }
        line.push('\n');
        let mut place: Box<dyn Write> = match place {
            Place::Output => Box::new(io::stdout()),
            Place::Error => Box::new(io::stderr()),
        };
        // Whoever started us may have closed it; traffic does not depend on it.
        drop(place.write_all(line.as_bytes()).and_then(|()| place.flush()));
        tracing::info!(%workload, "ready");
    }
}
