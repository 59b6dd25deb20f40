//! The process: what is wired to what, in which order it starts, and in which order it stops.
//!
//! ```text
//! start   check and bind ─> operators' views ─> configuration from disk ─> workers
//!         ─> certificate (disk or control plane) ─> follow the control plane, renew the certificate ─> ready line
//!         [─> start the command]
//! stop    not ready ─> leave the mesh ─> workers drain within the grace time ─> stop following ─> end
//! ```
//! From the ready line on it is [`life`] that decides what comes next.
//!
//! Everything but the workers runs on one single-threaded runtime, this thread's, so that it can never delay traffic.

mod life;
mod ready_line;
mod watchdog;

use crate::admin::{self, Look};
use crate::application::Application;
use crate::bootstrap::{self, DnsAddress, Settings, Start, State};
use crate::command::SpawnError;
use crate::control_plane::Reach;
use crate::deadline;
use crate::demand::{self, Demand, Demands};
use crate::dial::Dial;
use crate::dns;
use crate::health::{Lookout, Ward};
use crate::identity::authority::Authority;
use crate::identity::renewal::Renewal;
use crate::preflight::{Preflight, PreflightErrors};
use crate::register::{Registrar, RegistrarEnds, Registration, announced_ports, registrar};
use crate::resolve::{self, SystemDns};
use crate::snapshot::Snapshot;
use crate::takeover::{Kept, Offer};
use crate::telemetry::{
    ApplicationMetrics, DataFamilies, DiscoveryMetrics, DnsMetrics, EndpointHealthMetrics, IdentityMetrics,
    ResolveMetrics, register_limits,
};
use crate::worker::{self, Mailboxes, Source, StartError, WorkerConfig};
use crate::xds::follower::{Follower, Parts};
use crate::xds::session::Own;
use life::{Life, STOP_WAIT, late};
use mesh_mtls::Identity;
use mesh_names::{MeshDomain, Port, WorkloadName};
use mesh_process::logging::LevelHandle;
use mesh_process::{
    Condition, Drain, Readiness, Stop, Supervisor, Tasks, exposition, register_process_metrics, signals,
};
use prometheus::Registry;
use ready_line::{Addresses, Bound, Place};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Where the application listens. What comes for it goes there.
const APPLICATION: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// From the moment another process has taken over to the last answer of ours that is no traffic: the longest that a DNS
/// question may take, and a little.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// From a configuration to the ready line: the control plane's word that the workload is registered is waited for this
/// long, so that whoever waits for the line can send traffic to it. Serving has begun before.
const REGISTERED_WAIT: Duration = Duration::from_secs(5);

/// Why the process ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Something is wrong that could be seen before anything was started.
    #[error(transparent)]
    Preflight(#[from] PreflightErrors),
    /// The operating system refuses something every process needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A metric is registered twice.
    #[error("cannot start: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A worker can't be started.
    #[error("cannot start: {0}")]
    Worker(#[from] StartError),
    /// No certificate can be had.
    #[error("{0}")]
    Certificate(String),
    /// The command can't be started.
    #[error(transparent)]
    Command(#[from] SpawnError),
    /// Traffic could not flow in time, so that the command was not started.
    #[error(
        "the command {command} was not started: {} is still missing after {waited:?}; is the control plane at \
         {control_plane} running and reachable? The log says what was tried; --ready-timeout says how long to wait",
        missing.join(", ")
    )]
    NotReady {
        /// The command.
        command: String,
        /// The conditions that don't hold.
        missing: Vec<&'static str>,
        /// How long they were waited for.
        waited: Duration,
        /// Who could make them hold.
        control_plane: String,
    },
}

impl AppError {
    /// What the process should end with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command(error) => error.exit_code(),
            Self::Preflight(_)
            | Self::System(_)
            | Self::Metrics(_)
            | Self::Worker(_)
            | Self::Certificate(_)
            | Self::NotReady { .. } => 1,
        }
    }
}

/// Runs the sidecar until it is told to stop, or its command has ended. Returns the exit code: 0, or the command's.
///
/// # Errors
/// [`AppError`]: the process should end with failure and this text.
pub fn run(settings: Settings, level: LevelHandle, supervisor: Supervisor) -> Result<u8, AppError> {
    let preflight = Preflight::check(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Writing the configuration to disk is all that blocks; its thread need not stay.
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .build()?;
    runtime.block_on(App::start(settings, level, preflight, supervisor)?.run())
}

struct App {
    settings: Settings,
    workload: WorkloadName,
    identity: Identity,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    registry: Registry,
    readiness: Readiness,
    certified: Condition,
    serving: Condition,
    /// What signals and `/drain` start; the workers' own drain comes after leaving.
    shutdown: Drain,
    workers_drain: Drain,
    outbound_drain: Drain,
    handed_over: Drain,
    /// The signal that started the end.
    asked: Arc<OnceLock<Stop>>,
    mailboxes: Arc<OnceLock<Mailboxes>>,
    registrar: Registrar,
    follower: FollowerParts,
    level: LevelHandle,
    supervisor: Arc<Supervisor>,
    preflight: Preflight,
    tasks: Tasks,
    stop: CancellationToken,
}

/// What only the follower gets.
struct FollowerParts {
    snapshots: watch::Sender<Arc<Snapshot>>,
    demand: Demand,
    demands: Demands,
    registrar: RegistrarEnds,
    metrics: DiscoveryMetrics,
    configured: Condition,
}

impl App {
    fn start(
        settings: Settings,
        level: LevelHandle,
        preflight: Preflight,
        supervisor: Supervisor,
    ) -> Result<Self, AppError> {
        let registry = Registry::new();
        register_process_metrics(&registry, "sidecar", env!("CARGO_PKG_VERSION"))?;
        let readiness = Readiness::new();
        let (sender, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let (demand, demands) = demand::channel();
        let (registrar, ends) = registrar();
        let follower = FollowerParts {
            snapshots: sender,
            demand,
            demands,
            registrar: ends,
            metrics: DiscoveryMetrics::register(&registry)?,
            configured: readiness.condition("configuration"),
        };
        Ok(Self {
            workload: WorkloadName::new(settings.namespace().clone(), preflight.name.clone()),
            identity: Identity::new(preflight.trust_bundle.clone()),
            settings,
            snapshots,
            registry,
            certified: readiness.condition("certificate"),
            serving: readiness.condition("workers"),
            readiness,
            shutdown: Drain::new(),
            workers_drain: Drain::new(),
            outbound_drain: Drain::new(),
            handed_over: Drain::new(),
            asked: Arc::default(),
            mailboxes: Arc::default(),
            registrar,
            follower,
            level,
            supervisor: Arc::new(supervisor),
            preflight,
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
        })
    }

    async fn run(mut self) -> Result<u8, AppError> {
        let signals = signals()?;
        self.asked = signals.first();
        let shutdown = self.shutdown.clone();
        let govern = async {
            signals.govern(&shutdown).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = govern => Ok(0),
            result = self.serve() => result,
        }
    }

    /// The sockets for a process that may take over; none if none can.
    fn kept(&self) -> Option<Kept> {
        match (&self.settings.command, self.preflight.kept()) {
            (Some(_), _) => None,
            (None, Ok(kept)) => Some(kept),
            (None, Err(error)) => {
                tracing::warn!(%error, "no other process will be able to take over");
                None
            }
        }
    }

    async fn serve(mut self) -> Result<u8, AppError> {
        let (front, retired) = (Tasks::new(), self.stop.child_token());
        let ports_of_application = self.settings.inbound.iter().map(|inbound| inbound.port.number());
        let application_metrics = ApplicationMetrics::register(&self.registry)?;
        let dial = Dial::new(self.settings.mark);
        let application =
            Application::new(APPLICATION, ports_of_application, dial, application_metrics.clone());
        let kept = self.kept();
        let life = Life {
            command: self.settings.command.clone(),
            ready_timeout: self.settings.ready_timeout,
            control_plane: self.settings.control_planes.to_string(),
            grace: self.settings.grace,
            asked: self.asked,
            readiness: self.readiness.clone(),
            serving: self.serving,
            registrar: self.registrar,
            shutdown: self.shutdown.clone(),
            inbound_drain: self.workers_drain.clone(),
            outbound_drain: self.outbound_drain.clone(),
            handed_over: self.handed_over.clone(),
            before: self.preflight.before.take(),
            retired: retired.clone(),
            supervisor: self.supervisor.clone(),
            status: format!("serving as {}", self.workload),
            started: Instant::now(),
        };
        let admin = TcpListener::from_std(self.preflight.admin)?;
        let metrics = TcpListener::from_std(self.preflight.metrics)?;
        let addresses = Addresses {
            admin: admin.local_addr()?,
            metrics: metrics.local_addr()?,
            dns: self.preflight.dns.first().map(dns::Sockets::address),
            listeners: Bound::of(&self.preflight.listeners),
        };
        let effective = Settings {
            outbound_addr: addresses.listeners.outbound,
            inbound_addr: addresses.listeners.inbound,
            plaintext_addr: addresses.listeners.plaintext,
            dns_addr: addresses.dns.map_or(DnsAddress::Off, DnsAddress::At),
            admin_addr: addresses.admin,
            metrics_addr: addresses.metrics,
            ..self.settings.clone()
        };
        let look = Look {
            settings: Arc::new(effective),
            workload: self.workload.clone(),
            snapshots: self.snapshots.clone(),
            identity: self.identity.clone(),
            discovery: self.follower.metrics.clone(),
            readiness: self.readiness.clone(),
            level: self.level,
            shutdown: self.shutdown.clone(),
        };
        let metrics_views = admin::metrics(&self.readiness, self.registry.clone(), self.mailboxes.clone());
        let views = {
            let retired = retired.clone();
            async move {
                tokio::join!(
                    exposition::serve_until(admin, admin::admin(&look), &retired),
                    exposition::serve_until(metrics, metrics_views, &retired),
                );
            }
        };
        // Where another process still answers, this one does when it is ready.
        let mut views = Some(views);
        if life.before.is_none() {
            views.take().map(|views| front.spawn("views", views));
        }
        let reach = || Reach::new(self.settings.control_planes.clone(), self.settings.trust_domain(), dial);
        let inbound_port = Port::new(self.preflight.listeners.inbound.port());
        let inbound_port =
            inbound_port.ok_or_else(|| io::Error::other("the inbound listener has no port"))?;
        let FollowerParts { snapshots, demand, demands, registrar: ends, metrics, configured } =
            self.follower;
        let families = DataFamilies::register(&self.registry)?;
        register_limits(&self.registry, self.snapshots.clone())?;
        let started = Instant::now();
        let dns = match self.preflight.dns.is_empty() {
            true => None,
            false => {
                let names = dns::Told::new(self.snapshots.clone(), demand.clone(), started);
                let place = dns::Place::new(self.settings.namespace().clone(), MeshDomain::default());
                let source = dns::Source::of_flags(self.settings.dns_upstreams.clone());
                let metrics = DnsMetrics::register(&self.registry)?;
                let place = place.map_err(io::Error::other)?;
                Some(dns::Server::new(self.preflight.dns, names, place, source, dial, metrics)?)
            }
        };
        let (unwell_told, unwell) = watch::channel(Arc::default());
        let lookout = Lookout {
            snapshots: self.snapshots.clone(),
            dial,
            unwell: unwell_told,
            metrics: EndpointHealthMetrics::register(&self.registry)?,
        };
        let follower = Follower::new(Parts {
            own: Own { trust_domain: self.settings.trust_domain().clone(), workload: self.workload.clone() },
            reach: Arc::new(reach()),
            identity: self.identity.clone(),
            pinned: self.settings.upstreams.iter().map(|upstream| upstream.service.clone()).collect(),
            registration: Registration::new(self.preflight.name, &self.settings, inbound_port),
            registrar: ends,
            demands,
            unwell,
            snapshots,
            started,
            cache: self.preflight.state.path("configuration"),
            metrics,
            configured,
            handed_over: self.handed_over.signal(),
            stop: self.stop.clone(),
        });
        let from_disk = self.snapshots.borrow().received;
        let look_up = SystemDns::new(&self.settings.dns_upstreams, dial);
        let (names, resolver) =
            resolve::resolver(look_up, ResolveMetrics::register(&self.registry)?, started);

        let authority =
            Authority::new(reach(), self.settings.token_file.clone(), self.settings.identity.clone());
        let renewal = Renewal {
            signer: authority,
            identity: self.identity.clone(),
            store: self.preflight.store,
            metrics: IdentityMetrics::register(&self.registry)?,
            clock: SystemTime::now,
        };
        let shutdown = self.shutdown.signal();
        let svid = self.preflight.svid;
        let mut certificate = Box::pin(async move {
            match svid {
                Some(svid) => renewal.resume(svid),
                None => renewal.first().await.map_err(|error| AppError::Certificate(error.for_people()))?,
            }
            Ok::<_, AppError>(renewal)
        });
        // Without a configuration nothing is sent yet, so that workers can hold what comes, and say so in the end. With
        // one it waits in the backlogs, and not for ever.
        let hold = if from_disk { deadline::FIRST_CONFIGURATION } else { Duration::ZERO };
        let certified = tokio::select! {
            biased;
            renewal = &mut certificate => Some(renewal?),
            () = shutdown.draining() => return Ok(life.exit_code(None)),
            () = late(life.deadline()) => return Err(life.not_ready()),
            () = tokio::time::sleep(hold) => None,
        };

        let config = WorkerConfig {
            namespace: self.settings.namespace().clone(),
            source: Source::new(&self.workload, &self.settings.identity, self.settings.locality.clone()),
            mesh_domain: MeshDomain::default(),
            trust_domain: self.settings.trust_domain().clone(),
            ports: announced_ports(&self.settings),
            application: APPLICATION,
            identity: self.identity.clone(),
            snapshots: self.snapshots.clone(),
            demand,
            names,
            dial,
            drain: self.workers_drain.signal(),
            outbound_drain: self.outbound_drain.signal(),
            handed_over: self.handed_over.signal(),
            families,
            access_log: match self.settings.access_log {
                bootstrap::AccessLog::On => worker::AccessLog::On,
                bootstrap::AccessLog::Off => worker::AccessLog::Off,
            },
        };
        let workers = worker::spawn(config, self.preflight.listeners)?;
        // Set once, here.
        drop(self.mailboxes.set(workers.mailboxes()));
        life.serving.set(true);
        if let Some(silence) = self.supervisor.watchdog() {
            let beats = watchdog::run(self.supervisor, silence, workers.mailboxes(), retired.clone());
            self.tasks.spawn("watchdog", beats);
        }

        self.tasks.spawn("names", resolver.run(self.stop.clone()));
        if let Some(dns) = dns {
            // Not the drain's: an application that drains still looks up names.
            front.spawn("dns", dns.run(retired.clone()));
        }

        let place = if self.settings.command.is_some() { Place::Error } else { Place::Output };
        let ready = async {
            let renewal = match certified {
                Some(renewal) => renewal,
                None => certificate.await?,
            };
            self.certified.set(true);
            self.tasks.spawn("renewal", {
                let retired = retired.clone();
                async move {
                    tokio::select! {
                        () = renewal.run() => {}
                        () = retired.cancelled() => {}
                    }
                }
            });
            let start = if life.before.is_some() { Start::TakeOver } else { Start::Afresh };
            application.follow(start, life.registrar.clone(), &self.tasks, self.stop.clone()).await;
            let ward = Ward {
                snapshots: self.snapshots.clone(),
                application: APPLICATION,
                dial,
                registrar: life.registrar.clone(),
                metrics: application_metrics,
            };
            self.tasks.spawn("health", ward.run(retired.clone()));
            self.tasks.spawn("health-of-others", lookout.run(self.stop.clone()));
            self.tasks.spawn("follower", follower.run());
            life.readiness.ready().await;
            // Whoever restarts one instance after the other goes on when this one says that it is ready: by then callers must
            // know that it is back. With a configuration from disk a control plane that is away is not waited for.
            let registered = async {
                match from_disk && life.before.is_none() {
                    true => life.registrar.registered_or_alone().await,
                    false => life.registrar.registered().await,
                }
            };
            // Not being registered in time is no failure: callers have the lease's word, not ours.
            tokio::time::timeout(REGISTERED_WAIT, registered).await.ok();
            views.map(|views| front.spawn("views", views));
            let offer = kept.and_then(|kept| offer(&self.preflight.state, kept));
            if let Some(before) = &life.before {
                before.serving().await;
            }
            addresses.announce(&self.workload, place);
            Ok(offer)
        };
        let lived = life.live(ready, workers, self.preflight.launcher).await;
        retired.cancel();
        let is_handed_over = self.handed_over.signal().is_draining();
        let mut running = front.join(if is_handed_over { LAST_ANSWERS } else { STOP_WAIT }).await;
        self.stop.cancel();
        running.extend(self.tasks.join(STOP_WAIT).await);
        if !running.is_empty() {
            tracing::warn!(?running, "ended while tasks were still running");
        }
        drop(self.preflight.state);
        lived.map(|end| life.exit_code(end))
    }
}

/// Lets another process take over, if that can be.
fn offer(state: &State, kept: Kept) -> Option<Offer> {
    Offer::open(state, kept)
        .inspect_err(|error| tracing::warn!(%error, "no other process will be able to take over"))
        .ok()
}
