//! What the flags mean together. Enters: parsed flags. Leaves: [`Settings`], or every problem at once. Nothing outside
//! the process is looked at here but where the home directory is.

use crate::bootstrap::flags::{InboundMode, RunFlags};
use crate::bootstrap::grammar::{ControlPlanes, DnsAddress, DnsServer, Inbound, Place, Upstream, User, Zone};
use crate::command::Command;
use crate::intercept::Mark;
use crate::worker::Capture;
use mesh_names::{Namespace, ServiceAccount, SpiffeId, Subdomain, TrustDomain};
use mesh_process::logging::Format;
use mesh_protocol::{Locality, Weight};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most workers: more threads than this carry no more traffic on any machine we know.
const WORKERS_MAX: usize = 256;
/// Where DNS is answered by default: what `sidecar intercept` redirects queries to.
const DNS_PORT: u16 = 15053;
/// Most DNS servers, as many as libc's resolvers ask.
const DNS_UPSTREAMS_MAX: usize = 3;

/// How this process runs; fixed for its life.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the control plane is.
    pub control_planes: ControlPlanes,
    /// File with the CA certificates to trust at first.
    pub trust_bundle: PathBuf,
    /// File with the join token.
    pub token_file: PathBuf,
    /// Who this workload is.
    pub identity: SpiffeId,
    /// Its name, when given.
    pub name: Option<Subdomain>,
    /// What Services select by.
    pub labels: BTreeMap<String, String>,
    /// Where it runs.
    pub locality: Locality,
    /// Its share of its services' requests, relative to the other instances'.
    pub weight: Weight,
    /// The address to announce, when given.
    pub address: Option<IpAddr>,
    /// The application's ports.
    pub inbound: Vec<Inbound>,
    /// Services bound to local addresses.
    pub upstreams: Vec<Upstream>,
    /// Where the application sends its requests.
    pub outbound_addr: SocketAddr,
    /// Where other sidecars send theirs.
    pub inbound_addr: SocketAddr,
    /// Views for operators.
    pub admin_addr: SocketAddr,
    /// Metrics.
    pub metrics_addr: SocketAddr,
    /// Whether connections that the kernel redirects are taken for what they were going to be.
    pub capture: Capture,
    /// Where captured plaintext arrives; none: it is not captured.
    pub plaintext_addr: Option<SocketAddr>,
    /// How the kernel brings it there.
    pub inbound_mode: InboundMode,
    /// The mark of every socket that is opened towards others.
    pub mark: Option<Mark>,
    /// Where DNS is answered.
    pub dns_addr: DnsAddress,
    /// DNS servers for names that are not the mesh's; none means those of the system.
    pub dns_upstreams: Vec<SocketAddr>,
    /// Where certificate and configuration are kept.
    pub state_dir: PathBuf,
    /// Threads that carry traffic.
    pub workers: NonZeroUsize,
    /// How long a drain may take.
    pub grace: Duration,
    /// How log lines look.
    pub log_format: Format,
    /// Which log lines are written.
    pub log_level: String,
    /// Whether each request is logged.
    pub access_log: AccessLog,
    /// Whether another process is here already.
    pub start: Start,
    /// The user to be once ports are bound.
    pub uid: Option<User>,
    /// How long the command waits for traffic to flow.
    pub ready_timeout: Duration,
    /// The job or service to be the parent of.
    pub command: Option<Command>,
    /// The user it runs as; none: the same as this process.
    pub command_uid: Option<User>,
}

/// Whether each request is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// One line for each request.
    On,
    /// None.
    Off,
}

/// Whether another process is here already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No: everything is bound anew.
    Afresh,
    /// Yes, perhaps: its sockets are taken over.
    TakeOver,
}

/// Everything about the flags that can't work, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    pub(super) fn new(problems: Vec<String>) -> Self {
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let start = if index == 0 { "" } else { "\n" };
            write!(f, "{start}sidecar: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What of the machine the defaults depend on. Read once in `main`.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Whether this process runs as root.
    pub root: bool,
    /// `$XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Cores this process may use.
    pub cores: NonZeroUsize,
}

impl Settings {
    /// Checks the flags against each other and fills in defaults.
    ///
    /// # Errors
    /// [`Problems`] with every one of them.
    pub fn of_flags(flags: RunFlags, around: &Surroundings) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let dns_addr = flags.dns_addr.unwrap_or(match flags.capture {
            true => DnsAddress::At(SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))),
            false => DnsAddress::Off,
        });
        check_addresses(&flags, dns_addr, &mut problems);
        check_mark(&flags, &mut problems);
        check_repetitions(&flags, &mut problems);
        let workers = flags.workers.unwrap_or(around.cores);
        if workers.get() > WORKERS_MAX {
            problems.push(format!("--workers {workers}: at most {WORKERS_MAX}"));
        }
        if let Some(address) =
            flags.address.filter(|address| address.is_unspecified() || address.is_multicast())
        {
            problems.push(format!(
                "--address {address}: other sidecars cannot reach it; give this machine's address"
            ));
        }
        if let Some(user) = flags.command_uid.as_ref().filter(|_| flags.command.is_empty()) {
            problems.push(format!("--command-uid {user}: there is no COMMAND; give one after `--`"));
        }
        if flags.takeover && !flags.command.is_empty() {
            problems.push(
                "--takeover: a COMMAND stays the child of the process that started it; end that process instead and start \
                this one without --takeover, or have sidecar and service started each by itself".to_owned(),
            );
        }
        let plaintext_addr = plaintext_addr(&flags);
        let account = format!("{}.{}", flags.namespace, flags.service_account);
        let state_dir = flags.state_dir.or_else(|| default_state_dir(&account, around));
        if state_dir.is_none() {
            problems.push(
                "--state-dir is missing, and so are $XDG_STATE_HOME and $HOME to choose one".to_owned(),
            );
        }
        match state_dir {
            Some(state_dir) if problems.is_empty() => Ok(Self {
                control_planes: ControlPlanes::new(flags.control_plane),
                trust_bundle: flags.trust_bundle,
                token_file: flags.token_file,
                identity: SpiffeId::new(flags.trust_domain, flags.namespace, flags.service_account),
                name: flags.name,
                labels: flags.label.into_iter().map(|label| (label.key, label.value)).collect(),
                locality: locality(flags.locality, flags.zone),
                weight: flags.weight,
                address: flags.address,
                inbound: flags.inbound,
                upstreams: flags.upstream,
                outbound_addr: flags.outbound_addr,
                inbound_addr: flags.inbound_addr,
                admin_addr: flags.admin_addr,
                metrics_addr: flags.metrics_addr,
                capture: if flags.capture { Capture::On } else { Capture::Off },
                plaintext_addr,
                inbound_mode: flags.inbound_mode,
                mark: flags.mark,
                dns_addr,
                dns_upstreams: flags.dns_upstream.into_iter().map(|DnsServer(address)| address).collect(),
                state_dir,
                workers,
                grace: flags.grace.0,
                log_format: flags.log_format,
                log_level: flags.log_level,
                access_log: if flags.access_log { AccessLog::On } else { AccessLog::Off },
                start: if flags.takeover { Start::TakeOver } else { Start::Afresh },
                uid: flags.uid,
                ready_timeout: flags.ready_timeout.0,
                command: Command::of_words(flags.command),
                command_uid: flags.command_uid,
            }),
            Some(_) | None => Err(Problems(problems)),
        }
    }

    /// The namespace of the workload.
    pub fn namespace(&self) -> &Namespace {
        &self.identity.namespace
    }

    /// The service account of the workload.
    pub fn service_account(&self) -> &ServiceAccount {
        &self.identity.service_account
    }

    /// The trust domain of the mesh.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.identity.trust_domain
    }
}

fn check_addresses(flags: &RunFlags, dns_addr: DnsAddress, problems: &mut Vec<String>) {
    if !flags.admin_addr.ip().is_loopback() {
        problems.push(format!(
            "--admin-addr {}: the admin views have no authentication, so they are served on loopback only; \
             use 127.0.0.1:{}",
            flags.admin_addr,
            flags.admin_addr.port()
        ));
    }
    let dns = match dns_addr {
        DnsAddress::At(address) => Some(("--dns-addr", address)),
        DnsAddress::Off => None,
    };
    if let Some((flag, address)) = dns.filter(|(_, address)| !address.ip().is_loopback()) {
        problems.push(format!(
            "{flag} {address}: DNS is answered for programs on this machine only, so that nobody uses it against \
             others; use 127.0.0.1:{}",
            address.port()
        ));
    }
    for DnsServer(server) in &flags.dns_upstream {
        if dns.is_some_and(|(_, address)| address == *server) {
            problems.push(format!("--dns-upstream {server} is --dns-addr: the sidecar would ask itself"));
        }
    }
    let upstreams = flags.upstream.iter().map(|upstream| ("--upstream", upstream.address));
    let listeners = [
        ("--outbound-addr", flags.outbound_addr),
        ("--inbound-addr", flags.inbound_addr),
        ("--admin-addr", flags.admin_addr),
        ("--metrics-addr", flags.metrics_addr),
    ];
    let all: Vec<_> = listeners
        .into_iter()
        .chain(dns)
        .chain(plaintext_addr(flags).map(|address| ("--plaintext-addr", address)))
        .chain(upstreams)
        .filter(|(_, address)| address.port() != 0)
        .collect();
    for (index, (flag, address)) in all.iter().enumerate() {
        for (other_flag, other) in all.iter().skip(index + 1) {
            if overlap(*address, *other) {
                problems
                    .push(format!("{flag} {address} and {other_flag} {other} are the same port; change one"));
            }
        }
    }
}

/// Where captured plaintext arrives, if it does.
fn plaintext_addr(flags: &RunFlags) -> Option<SocketAddr> {
    (flags.capture && flags.inbound_mode != InboundMode::Off).then_some(flags.plaintext_addr)
}

/// With TPROXY, the port is also the mark of packets that are led to this machine.
fn check_mark(flags: &RunFlags, problems: &mut Vec<String>) {
    let led = plaintext_addr(flags).filter(|_| flags.inbound_mode == InboundMode::Tproxy);
    if let Some((mark, port)) = flags.mark.zip(led.map(|address| address.port()))
        && mark.number() == u32::from(port)
    {
        problems.push(format!(
            "--mark {mark} is {port}, the port of --plaintext-addr, which with --inbound-mode tproxy marks what is led \
             to this machine: everything would be; give another mark"
        ));
    }
}

/// Whether two listeners would fight for one port.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (all || one.ip() == other.ip())
}

fn check_repetitions(flags: &RunFlags, problems: &mut Vec<String>) {
    let mut ports = BTreeSet::new();
    for inbound in &flags.inbound {
        if !ports.insert(inbound.port) {
            problems.push(format!("--inbound {}: the port is given twice", inbound.port));
        }
    }
    if let (Some(place), Some(zone)) = (&flags.locality, &flags.zone) {
        let zone = zone.as_str();
        problems
            .push(format!("--locality {place} and --zone {zone} both say where it runs; leave out --zone"));
    }
    let mut keys = BTreeSet::new();
    for label in &flags.label {
        if !keys.insert(&label.key) {
            problems.push(format!("--label {}: the label is given twice", label.key));
        }
    }
    let bounds = [
        ("--inbound", flags.inbound.len(), mesh_protocol::announcement::PORTS_MAX),
        ("--label", flags.label.len(), mesh_protocol::announcement::LABELS_MAX),
        ("--dns-upstream", flags.dns_upstream.len(), DNS_UPSTREAMS_MAX),
    ];
    for (flag, number, most) in bounds {
        if number > most {
            problems.push(format!("{flag} is given {number} times; at most {most}"));
        }
    }
}

/// What either flag says; both together were refused.
fn locality(place: Option<Place>, zone: Option<Zone>) -> Locality {
    let zone = zone.map(|zone| zone.as_str().to_owned());
    place.map_or_else(|| Locality { zone, ..Locality::default() }, Into::into)
}

fn default_state_dir(account: &str, around: &Surroundings) -> Option<PathBuf> {
    if around.root {
        return Some(Path::new("/var/lib/outrigger").join(account));
    }
    let absolute = |path: &&PathBuf| path.is_absolute();
    let state_home = around.state_home.as_ref().filter(absolute).cloned();
    let home = || around.home.as_ref().filter(absolute).map(|home| home.join(".local/state"));
    Some(state_home.or_else(home)?.join("outrigger").join(account))
}
