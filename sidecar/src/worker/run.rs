//! A worker's thread: builds the runtime, opens the listeners, follows snapshots and the mailbox, and ends in order.
//!
//! ```text
//! running ──drain──> inbound stops accepting, its connections are asked to finish
//!                    └─ none left, and the outbound drain has begun ──> outbound stops accepting
//!                                     └─ none left, or forced ──> the thread ends
//! ──outbound drain──> outbound connections are asked to finish
//! ```
//! When another process has taken over, all stop accepting at once.
//!
//! Outbound goes on while inbound requests are being served, because serving them is what the application may need it
//! for, and as long as a command that this process has started runs.

use super::{Command, Worker, WorkerConfig, housekeeping};
use crate::listen::{Capture, Listeners, Upstream, WorkerListeners};
use crate::retry::exhausted::Exhausted;
use crate::{inbound, outbound};
use mesh_balance::HashKey;
use mesh_mtls::{Acceptor, Alpn, Connector, OutwardConnector};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// What workers share: set once, then only read.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: WorkerConfig,
    pub(crate) own: OwnAddresses,
    pub(crate) upstreams: Vec<Upstream>,
    /// Shared so that a session made by one worker is resumed by all.
    pub(crate) connector: Connector,
    /// For places outside of the mesh.
    pub(crate) outward: OutwardConnector,
    pub(crate) acceptor: Acceptor,
    /// Mixed into what limits tell clients apart by.
    pub(crate) secret: HashKey,
    /// Calls of the application that were in vain.
    pub(crate) exhausted: Exhausted,
}

/// Where this sidecar itself listens: no request may be sent there.
#[derive(Debug)]
pub(crate) struct OwnAddresses(Vec<SocketAddr>);

impl Shared {
    pub(super) fn new(config: WorkerConfig, own: OwnAddresses, upstreams: Vec<Upstream>) -> Self {
        let connector = Connector::new(config.identity.clone());
        let acceptor = Acceptor::new(config.identity.clone(), &[Alpn::H2, Alpn::Http1, Alpn::Tcp]);
        let outward = OutwardConnector::new(|error| {
            tracing::warn!(%error, "CA certificates of an ExternalService: the last good ones stay in force");
        });
        // The standard library's seed is the system's randomness.
        let secret = HashKey::new(RandomState::new().hash_one(()));
        let exhausted = Exhausted::new(Instant::now());
        Self { config, own, upstreams, connector, outward, acceptor, secret, exhausted }
    }
}

impl OwnAddresses {
    pub(super) fn of(listeners: &Listeners) -> Self {
        // The inbound port is where peers of the same machine, and this workload itself, are rightly sent.
        let upstreams = listeners.upstreams.iter().map(|upstream| upstream.address);
        let own = std::iter::once(listeners.outbound).chain(listeners.plaintext).chain(upstreams);
        Self(own.collect())
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether a connection to `address` would come back to us.
    pub(crate) fn contain(&self, address: SocketAddr) -> bool {
        let same_ip =
            |own: IpAddr| own == address.ip() || (own.is_unspecified() && address.ip().is_loopback());
        self.0.iter().any(|own| own.port() == address.port() && same_ip(own.ip()))
    }
}

/// A worker's ends of what joins it with the rest of the process.
pub(super) struct Ends {
    pub(super) commands: mpsc::Receiver<Command>,
    /// Told when, in the drain, the last connection of a peer has ended.
    pub(super) inbound_done: oneshot::Sender<()>,
}

/// The thread's whole life.
pub(super) fn thread(
    shared: &Arc<Shared>,
    listeners: WorkerListeners,
    ends: Ends,
    started: &SyncSender<io::Result<()>>,
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever started us waits for this answer; if it is gone, nobody wants it.
            started.send(Err(error)).ok();
            return;
        }
    };
    runtime.block_on(async {
        let worker = Rc::new(Worker::new(shared.clone()));
        match open(listeners) {
            Ok(listeners) => {
                started.send(Ok(())).ok();
                serve(&worker, listeners, ends).await;
            }
            Err(error) => {
                started.send(Err(error)).ok();
            }
        }
    });
}

struct Open {
    outbound: Vec<TcpListener>,
    inbound: Vec<TcpListener>,
    plaintext: Vec<TcpListener>,
    capture: Capture,
    upstreams: BTreeMap<usize, Vec<TcpListener>>,
}

fn open(listeners: WorkerListeners) -> io::Result<Open> {
    let all = |sockets: Vec<std::net::TcpListener>| {
        sockets.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()
    };
    Ok(Open {
        outbound: all(listeners.outbound)?,
        inbound: all(listeners.inbound)?,
        plaintext: all(listeners.plaintext)?,
        capture: listeners.capture,
        upstreams: listeners
            .upstreams
            .into_iter()
            .map(|(place, sockets)| Ok((place, all(sockets)?)))
            .collect::<io::Result<_>>()?,
    })
}

async fn serve(worker: &Rc<Worker>, mut listeners: Open, ends: Ends) {
    let Ends { mut commands, inbound_done: tell_inbound_done } = ends;
    let (all_inbound_done, inbound_done) = watch::channel(false);
    let tasks = &worker.tasks;
    tasks.spawn_local("snapshots", follow_snapshots(worker.clone()));
    tasks.spawn_local("names", follow_names(worker.clone()));
    tasks.spawn_local("housekeeping", housekeeping::run(worker.clone()));
    tasks.spawn_local("judging", housekeeping::judge(worker.clone()));
    for listener in listeners.inbound {
        tasks.spawn_local("inbound", inbound::listen(worker.clone(), listener));
    }
    for listener in listeners.plaintext {
        tasks.spawn_local("plaintext", inbound::plaintext::listen(worker.clone(), listener));
    }
    for listener in listeners.outbound {
        let entry = worker.entries.proxy();
        let future =
            outbound::listen(worker.clone(), listener, entry, listeners.capture, inbound_done.clone());
        tasks.spawn_local("outbound", future);
    }
    for (place, entry) in worker.entries.upstreams().iter().enumerate() {
        for listener in listeners.upstreams.remove(&place).unwrap_or_default() {
            let (entry, worker_) = (entry.clone(), worker.clone());
            let future = outbound::listen(worker_, listener, entry, Capture::Off, inbound_done.clone());
            tasks.spawn_local("upstream", future);
        }
    }
    let drain = &worker.shared.config.drain;
    let finished = async {
        drain.draining().await;
        let config = &worker.shared.config;
        if config.handed_over.is_draining() {
            all_inbound_done.send_replace(true);
        }
        worker.inbound.empty().await;
        // Nobody need listen.
        tell_inbound_done.send(()).ok();
        if !config.handed_over.is_draining() {
            config.outbound_drain.draining().await;
        }
        all_inbound_done.send_replace(true);
        worker.outbound.empty().await;
    };
    let commands = async {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Flush(answer) => {
                    worker.clusters.count_ejected(worker);
                    worker.recorder.flush();
                    // A scrape that gave up does not care.
                    answer.send(()).ok();
                }
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = finished => {}
        () = drain.forced() => {}
        () = commands => {}
    }
    worker.recorder.flush();
}

async fn follow_snapshots(worker: Rc<Worker>) {
    let mut snapshots = worker.shared.config.snapshots.clone();
    snapshots.mark_changed();
    while snapshots.changed().await.is_ok() {
        let snapshot = snapshots.borrow_and_update().clone();
        worker.current.publish(snapshot);
    }
}

async fn follow_names(worker: Rc<Worker>) {
    let mut names = worker.shared.config.names.resolved();
    names.mark_changed();
    while names.changed().await.is_ok() {
        let resolved = names.borrow_and_update().clone();
        worker.current.resolved(resolved);
    }
}
