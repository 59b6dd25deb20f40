//! The data path's threads: one per core, each with a single-threaded runtime of its own, its own sockets, connections,
//! pools and counters, so that a request meets no lock. What enters is a [`WorkerConfig`] and bound [`Listeners`]; what
//! leaves is a [`Workers`] handle. Work reaches a worker through its sockets, the snapshot channel, the drain signal
//! and a small mailbox; nothing else is shared.
//!
//! ```text
//! bind ──> Listeners ──┐
//! WorkerConfig ────────┴─ spawn ──> Workers ── flush() before a scrape, join() at the end
//! ```

mod closing;
mod housekeeping;
mod run;
mod source;
mod state;

pub(crate) use closing::Closing;
pub use source::Source;
pub(crate) use state::{Patience, Worker};

use crate::demand::Demand;
use crate::dial::Dial;
use crate::resolve::Names;
use crate::snapshot::Snapshot;
use crate::telemetry::{DataFamilies, Direction};
use http::header::{CONNECTION, HeaderValue};
use http::{Response, StatusCode};
use mesh_mtls::Identity;
use mesh_names::{MeshDomain, Namespace, TrustDomain};
use mesh_process::DrainSignal;
use mesh_protocol::workload::WorkloadPort;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use crate::listen::bind_or_inherit;
pub use crate::listen::{Addresses, BindError, Capture, Listeners, Taking, Upstream, bind};

/// Commands waiting for a worker. Only scrapes send any.
const MAILBOX_MAX: usize = 16;

/// From the moment a flush is asked for to the moment a scrape goes on without it: a worker that needs longer is stuck,
/// and the numbers of the others should still be seen.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// Whether every request leaves a record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLog {
    /// No: the default, since it costs more than all the rest of a request's telemetry.
    #[default]
    Off,
    /// One record per request, at level info, target `access`.
    On,
}

/// Everything the data path needs. The listeners are bound before and apart, see [`bind`].
#[derive(Debug)]
pub struct WorkerConfig {
    /// The workload's namespace: what short host names are relative to.
    pub namespace: Namespace,
    /// What all that this sidecar sends has in common.
    pub source: Source,
    /// The suffix of mesh names.
    pub mesh_domain: MeshDomain,
    /// Under whose authority peers are.
    pub trust_domain: TrustDomain,
    /// The application's ports, as announced; [`WorkloadPort::services`] may be empty, the snapshot's are used.
    pub ports: Vec<WorkloadPort>,
    /// Where the application listens: the loopback address, usually.
    pub application: IpAddr,
    /// Our certificate and whom to trust, swapped live.
    pub identity: Identity,
    /// What the control plane says.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// How to ask it for more.
    pub demand: Demand,
    /// Where places outside of the mesh are.
    pub names: Names,
    /// How sockets towards others are opened.
    pub dial: Dial,
    /// When to stop taking connections from peers and finish theirs; forced: when to stop at once.
    pub drain: DrainSignal,
    /// When the application is done calling others, so that its connections are finished too.
    pub outbound_drain: DrainSignal,
    /// When another process accepts on our sockets, before both drains begin: nothing is accepted here any more. Requests
    /// are finished as in any drain, but HTTP/1 connections are closed with care, since this is no end that a client
    /// should notice: with the answer to one more request, or once they are quiet.
    pub handed_over: DrainSignal,
    /// Where to count.
    pub families: DataFamilies,
    /// Whether to log requests.
    pub access_log: AccessLog,
}

impl WorkerConfig {
    /// When connections are closed that came this way.
    pub(crate) fn closing(&self, direction: Direction) -> Closing<'_> {
        let drain = match direction {
            Direction::Inbound => &self.drain,
            Direction::Outbound => &self.outbound_drain,
        };
        Closing::new(drain, &self.handed_over)
    }

    /// Says on an HTTP/1 answer that it is the last on its connection, if the next request is another process's or nobody's.
    pub(crate) fn say_last<B>(&self, direction: Direction, response: &mut Response<B>) {
        let upgrades = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let is_last = self.handed_over.is_draining() || self.closing(direction).has_begun();
        if is_last && !upgrades {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// A worker that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("worker {worker} could not be started")]
pub struct StartError {
    /// Which, from 0.
    pub worker: usize,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    mailboxes: Mailboxes,
    inbound_done: Vec<oneshot::Receiver<()>>,
    ended: Vec<oneshot::Receiver<()>>,
}

/// The workers' mailboxes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mailboxes(Arc<[mpsc::Sender<Command>]>);

/// What a worker can be asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// Add the local sums to the metric families, then answer.
    Flush(oneshot::Sender<()>),
}

/// Starts one worker per set of listeners.
///
/// # Errors
/// [`StartError`] when a thread or its runtime can't be had; those already started end by themselves.
pub fn spawn(config: WorkerConfig, listeners: Listeners) -> Result<Workers, StartError> {
    let own = run::OwnAddresses::of(&listeners);
    let shared = Arc::new(run::Shared::new(config, own, listeners.upstreams));
    let mut threads = Vec::new();
    let mut mailboxes = Vec::new();
    let mut inbound_done = Vec::new();
    let mut ended = Vec::new();
    for (worker, listeners) in listeners.workers.into_iter().enumerate() {
        let (mailbox, commands) = mpsc::channel(MAILBOX_MAX);
        let (quiet, is_quiet) = oneshot::channel();
        let (end, has_ended) = oneshot::channel();
        let shared = shared.clone();
        let (started, has_started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
            let ends = run::Ends { commands, inbound_done: quiet };
            run::thread(&shared, listeners, ends, &started);
            drop(end);
        });
        threads.push(thread.map_err(|source| StartError { worker, source })?);
        if let Ok(Err(source)) = has_started.recv() {
            return Err(StartError { worker, source });
        }
        mailboxes.push(mailbox);
        inbound_done.push(is_quiet);
        ended.push(has_ended);
    }
    Ok(Workers { threads, mailboxes: Mailboxes(mailboxes.into()), inbound_done, ended })
}

/// A worker without listeners, for tests of what it does with one connection.
#[cfg(test)]
pub(crate) fn alone(config: WorkerConfig) -> Worker {
    Worker::new(Arc::new(run::Shared::new(config, run::OwnAddresses::none(), Vec::new())))
}

impl Mailboxes {
    /// Has every worker add its sums to the metric families; returns when all have, or after a second, and then `false`.
    pub async fn flush(&self) -> bool {
        let mut answers = Vec::with_capacity(self.0.len());
        for mailbox in self.0.iter() {
            let (answer, answered) = oneshot::channel();
            if mailbox.try_send(Command::Flush(answer)).is_ok() {
                answers.push(answered);
            }
        }
        let all = async {
            for answered in answers {
                // A worker that ended has nothing more to add.
                answered.await.ok();
            }
        };
        let in_time = tokio::time::timeout(FLUSH_WAIT, all).await.is_ok();
        if !in_time {
            tracing::warn!("a worker did not hand over its metrics in time; the scrape may lag");
        }
        in_time
    }
}

impl Workers {
    /// The workers' mailboxes, for the metrics endpoint.
    pub fn mailboxes(&self) -> Mailboxes {
        self.mailboxes.clone()
    }

    /// Waits until no worker has a connection from a peer any more, after the drain has begun.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn inbound_done(&mut self) {
        while let Some(worker) = self.inbound_done.last_mut() {
            // An error is a worker that ended, which has none.
            worker.await.ok();
            self.inbound_done.pop();
        }
    }

    /// Waits until every worker has ended: after a drain, when its last connection is done, or when forced. Returns
    /// how many of them panicked.
    pub async fn join(self) -> usize {
        for ended in self.ended {
            // An error is the sender dropped, which is what is waited for.
            ended.await.ok();
        }
        // The threads are past their last await: joining does not block.
        self.threads.into_iter().filter_map(|thread| thread.join().err()).count()
    }
}
