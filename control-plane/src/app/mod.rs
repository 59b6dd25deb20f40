//! The control plane as a whole: what is started, in which order, and how it stops.
//!
//! ```text
//! data directory ─> listeners ─> authority, tokens, store ─> index + controllers ─> discovery, API ─> ready
//!       ours alone    all or none      all or none             until the first snapshot
//!
//! SIGTERM ─> nothing new is accepted, watches and streams end ─> requests under way finish ─> the store is closed
//! ```
//!
//! Enters: settings. Leaves: an exit, or why it could not start or go on. Never here: any rule of the mesh. Whatever can
//! fail because of the machine or the data directory fails before anything is served.

mod discovery;
mod error;
mod kept;
mod listeners;
mod tokens;

pub use error::AppError;
pub use listeners::{Addresses, ListenError};

use crate::api::{ApiParts, ApiServer};
use crate::bootstrap::{DataDirectory, Settings};
use crate::ca::{self, ServingNames};
use crate::listen::{HandshakeMetrics, incoming};
use crate::replicas::Everywhere;
use crate::store::{CONTROLLERS, as_leader};
use crate::xds::{Directory, DiscoveryMetrics, register_fleet};
use crate::{events, index, registry};
use discovery::Discovery;
use kept::Kept;
use listeners::Listeners;
use mesh_mtls::{Alpn, ApiAcceptor, Identity};
use mesh_process::exposition::{self, Views};
use mesh_process::{Drain, Readiness, Signals, Tasks, register_process_metrics, signals};
use prometheus::Registry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// From SIGTERM until connections that still do something are cut. Requests to the API take milliseconds; sidecars that
/// lose their stream go on with what they know.
const GRACE: Duration = Duration::from_secs(10);

/// What a control plane that is ready says of itself.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where it listens.
    pub addresses: Addresses,
    /// The administrator's way in.
    pub kubeconfig: PathBuf,
}

/// A control plane that could start.
pub struct App {
    settings: Settings,
    listeners: Listeners,
    kept: Kept,
    ready: Ready,
    names: ServingNames,
    identity: Identity,
    families: Registry,
    signals: Signals,
    /// The store's own tasks: the last to end.
    keeping: Tasks,
    /// Held for its lock, too.
    directory: DataDirectory,
}

impl App {
    /// Does everything that can fail because of the machine, the settings, the data directory or etcd. Blocks, and nothing
    /// is served yet.
    ///
    /// # Errors
    /// [`AppError`]: why it cannot start.
    pub async fn open(settings: Settings) -> Result<Self, AppError> {
        let mut signals = signals().map_err(AppError::Signals)?;
        let directory = DataDirectory::open(&settings.data_dir)?;
        let listeners = Listeners::bind(&settings)?;
        let families = Registry::new();
        register_process_metrics(&families, "control-plane", env!("CARGO_PKG_VERSION"))?;
        let addresses = listeners.addresses().map_err(AppError::Socket)?;
        let keeping = Tasks::new();
        let kept = tokio::select! {
            kept = Kept::open(&directory, &settings, &families, addresses.discovery, &keeping) => kept?,
            stop = signals.next() => return Err(AppError::Stopped(stop)),
        };
        let mut names = ServingNames::of_listeners(&[addresses.api, addresses.discovery]);
        settings.server_name.iter().for_each(|name| names.add(name));
        let now = SystemTime::now();
        let identity = kept.authority.serving_identity(&names, now)?;
        let kubeconfig = ca::admin::write_kubeconfig(&kept.authority, directory.path(), addresses.api, now)?;
        let ready = Ready { addresses, kubeconfig };
        Ok(Self { settings, listeners, kept, ready, names, identity, families, signals, keeping, directory })
    }

    /// Serves until a signal. `announce` is called once, when everything works.
    ///
    /// # Errors
    /// [`AppError`]: a part could not start, or broke.
    pub async fn run(self, announce: impl FnOnce(&Ready)) -> Result<(), AppError> {
        let Self { settings, listeners, kept, ready, names, identity, families, signals, keeping, directory } =
            self;
        let (drain, readiness) = (Drain::new(), Readiness::new());
        let configuration = readiness.condition("configuration");
        // Tasks without an end of their own, and those that end when nothing is to be served any more.
        let (standing, serving) = (Tasks::new(), Tasks::new());
        let renewal = ca::serving::keep_renewed(Arc::clone(&kept.authority), names, identity.clone());
        standing.spawn("renew certificate", renewal);
        let (told, trust_bundle) = watch::channel(ca::bundle::trust_bundle(&kept.authority));
        let data_dir = directory.path().to_owned();
        let current = ca::bundle::keep_current(Arc::clone(&kept.authority), data_dir, identity.clone(), told);
        standing.spawn("trusted roots", current);
        let discovery_metrics = DiscoveryMetrics::register(&families)?;
        let revision = discovery_metrics.snapshot_revision.clone();
        let store = || Arc::clone(&kept.store);
        let feed = index::spawn(&standing, store(), settings.trust_domain.clone(), trust_bundle, revision);
        let workloads = registry::Registry::default();
        let events = store();
        let events = move || events::recorder::run(Arc::clone(&events));
        standing.spawn("events", as_leader(store(), CONTROLLERS, events));
        standing.spawn("registry", registry::keeper::run(workloads.clone(), store()));
        let (orphans, shared) = (workloads.clone(), store());
        let orphans = move || registry::orphans::run(orphans.clone(), Arc::clone(&shared));
        standing.spawn("orphans", as_leader(store(), CONTROLLERS, orphans));

        let directory = Directory::new(feed.clone());
        register_fleet(&families, directory.clone())?;
        let trust_domain = settings.trust_domain;
        let proxies = Arc::new(Everywhere::new(directory.clone(), store(), identity.clone(), &trust_domain));
        let mut snapshots = feed.snapshots.clone();
        let sidecars = Discovery {
            feed,
            workloads,
            directory,
            metrics: discovery_metrics,
            trust_domain,
            drain: drain.signal(),
        };
        let acceptor = ApiAcceptor::new(identity.clone(), &[Alpn::H2]);
        let handshakes = HandshakeMetrics::register(&families)?;
        let incoming = |name, listener, acceptor| {
            incoming(name, listener, acceptor, handshakes.clone(), &serving, drain.signal())
        };
        let listener = (listeners.discovery, acceptor, handshakes.clone());
        sidecars.spawn(&kept, &families, listener, &serving)?;
        let is_ready = {
            let readiness = readiness.clone();
            move || readiness.is_ready()
        };
        let parts = ApiParts {
            store: store(),
            tokens: Arc::clone(&kept.tokens) as Arc<_>,
            proxies,
            drain: drain.signal(),
            is_ready: Arc::new(is_ready),
        };
        let api = ApiServer::new(parts, &families).await?;
        let acceptor = ApiAcceptor::new(identity, &[Alpn::H2, Alpn::Http1]);
        let connections = incoming("api", listeners.api, acceptor);
        let tasks = serving.clone();
        serving.spawn("api", async move { api.serve(connections, &tasks).await });

        let views = Views::new().health(&readiness).metrics(families, || std::future::ready(()));
        let work = async {
            if snapshots.wait_for(Option::is_some).await.is_ok() {
                configuration.set(true);
                announce(&ready);
            }
            drain.signal().draining().await;
            stop(&standing, &serving, &drain).await;
            let (closing, signal) = (store(), drain.signal());
            tokio::select! {
                () = closing.close() => {}
                () = signal.forced() => {}
            }
        };
        tokio::select! {
            () = work => Ok(()),
            name = standing.panicked() => Err(AppError::Broken(name)),
            name = keeping.panicked() => Err(AppError::Broken(name)),
            () = exposition::serve(listeners.metrics, views) => Ok(()),
            () = async { signals.govern(&drain).await; std::future::pending().await } => Ok(()),
        }
    }
}

/// Ends the tasks in order; at once when forced.
async fn stop(standing: &Tasks, serving: &Tasks, drain: &Drain) {
    // First, so that the end of the streams is not taken for the end of their workloads: another start finds them as
    // they were.
    standing.abort();
    let signal = drain.signal();
    tokio::select! {
        stuck = serving.clone().join(GRACE) => {
            if !stuck.is_empty() {
                tracing::warn!(tasks = stuck.join(", "), "cut off after the grace time");
            }
        }
        () = signal.forced() => {}
    }
    standing.clone().join(GRACE).await;
}
