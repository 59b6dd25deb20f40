//! The command line as it is written: every flag with its default and its help. Each flag is also an environment
//! variable and a key of the `--config` file; that, and their precedence, is `mesh_process::settings`. What the values
//! mean together is checked in [`mod@super::settings`].

use crate::bootstrap::grammar::{
    ControlPlane, DnsAddress, DnsServer, Grace, Inbound, LabelPair, Place, ReadyTimeout, Upstream, User, Zone,
};
use crate::intercept::{self, Mark};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mesh_names::{Namespace, ServiceAccount, Subdomain, TrustDomain};
use mesh_process::logging::{Format, checked_level};
use mesh_protocol::Weight;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "sidecar",
    version,
    about = "Runs beside a service and carries its traffic: mutual TLS, balancing, retries, metrics",
    propagate_version = true
)]
pub(super) struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Carries the traffic of the service beside it until it is told to stop, or until COMMAND has ended.
    ///
    /// Every flag can also stand in the environment (--trust-bundle is OUTRIGGER_TRUST_BUNDLE) and in the file given by
    /// --config (trustBundle). A flag beats the environment, the environment beats the file. SIGTERM or SIGINT drains:
    /// the workload leaves its Services first, then running requests finish within --grace. A second signal stops at
    /// once. Exit codes: 0 done, 1 failed, 2 wrong usage.
    ///
    /// With COMMAND this process is its parent: it starts it once traffic can flow, and ends with its exit code (128 and
    /// the number if a signal ended it, 127 if there is no such program, 126 if it cannot be run). Standard streams are
    /// the command's, so the ready line goes to standard error. SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed to it at
    /// once; SIGTERM and SIGINT when the workload has left its Services and its running requests are done, or a quarter
    /// of --grace is over. Its own calls are carried until it ends; what is left when --grace is over is killed. Where
    /// COMMAND starts processes, signals go to all of them.
    Run(Box<RunFlags>),

    /// Captures the traffic of the service beside it by rules in the kernel, so that it joins the mesh without knowing.
    ///
    /// Every flag can also stand in the environment (--outbound-port is OUTRIGGER_OUTBOUND_PORT) and in the file given
    /// by --config (outboundPort); --name and --config are OUTRIGGER_INTERCEPT_NAME and OUTRIGGER_INTERCEPT_CONFIG.
    #[command(subcommand)]
    Intercept(intercept::Verb),

    /// Waits for the word to start a command as another user; what `run --command-uid` starts
    #[command(hide = true)]
    Launch(LaunchFlags),
}

/// The flags of `sidecar launch`.
#[derive(Debug, Args)]
pub(super) struct LaunchFlags {
    /// The user to become
    #[arg(long)]
    pub(super) user_id: u32,

    /// Its group
    #[arg(long)]
    pub(super) group_id: u32,

    /// A group to be in besides; may be repeated
    #[arg(long)]
    pub(super) further_group_id: Vec<u32>,

    /// Become the user and the command at once, instead of waiting for the word
    #[arg(long)]
    pub(super) at_once: bool,

    /// What to start
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// Whether, and how, captured plain text arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InboundMode {
    /// Redirected; the application sees this process's address
    Redirect,
    /// By TPROXY; the application sees the client's address
    Tproxy,
    /// Not at all: nobody listens on --plaintext-addr
    Off,
}

/// The flags of `sidecar run`.
#[derive(Debug, Args)]
pub struct RunFlags {
    /// YAML file with any of these flags as camelCase keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The control plane's discovery address. Of several control planes, each, comma-separated or repeated: one is used at
    /// a time, and another when it is lost
    #[arg(
        long,
        value_name = "https://HOST:PORT",
        value_delimiter = ',',
        required = true,
        help_heading = "Mesh"
    )]
    pub control_plane: Vec<ControlPlane>,

    /// CA certificates under which the control plane must prove who it is; `ca.crt` in its data directory
    #[arg(long, value_name = "FILE", help_heading = "Mesh")]
    pub trust_bundle: PathBuf,

    /// Join token from `meshctl token create`; read whenever a first certificate is needed
    #[arg(long, value_name = "FILE", help_heading = "Mesh")]
    pub token_file: PathBuf,

    /// The trust domain of the mesh
    #[arg(long, value_name = "NAME", default_value_t, help_heading = "Mesh")]
    pub trust_domain: TrustDomain,

    /// The namespace of the workload
    #[arg(long, value_name = "NAME", help_heading = "Workload")]
    pub namespace: Namespace,

    /// The service account of the workload: what it is, as far as authorization goes
    #[arg(long, value_name = "NAME", help_heading = "Workload")]
    pub service_account: ServiceAccount,

    /// The workload's name; by default the service account and a random suffix, kept in the state directory
    #[arg(long, value_name = "NAME", help_heading = "Workload")]
    pub name: Option<Subdomain>,

    /// A label that Services select by; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Workload")]
    pub label: Vec<LabelPair>,

    /// Where it runs, from the widest to the narrowest, as eu-west, eu-west/eu-west-1a or eu-west/eu-west-1a/rack-7
    #[arg(long, value_name = "REGION[/ZONE[/SUBZONE]]", help_heading = "Workload")]
    pub locality: Option<Place>,

    /// The zone it runs in, where there is one region or none that has a name; else --locality says it
    #[arg(long, value_name = "ZONE", help_heading = "Workload")]
    pub zone: Option<Zone>,

    /// Its share of its services' requests, relative to the other instances', 1 to 65535
    #[arg(long, value_name = "NUMBER", default_value = "1", help_heading = "Workload")]
    pub weight: Weight,

    /// The address other sidecars reach this one at; by default the one used to reach the control plane
    #[arg(long, value_name = "IP", help_heading = "Workload")]
    pub address: Option<IpAddr>,

    /// A port of the application, what it speaks (http, h2c, grpc, tcp or detect, the default), and a name by which a
    /// Service's targetPort may call it; may be repeated. Until each has accepted a connection, on 127.0.0.1, the workload
    /// is announced as not ready
    #[arg(long, value_name = "[NAME=]PORT[/PROTOCOL]", help_heading = "Workload")]
    pub inbound: Vec<Inbound>,

    /// Binds one service to one local address, for programs that know no proxy; may be repeated
    #[arg(long, value_name = "SERVICE.NAMESPACE:PORT=ADDR:PORT", help_heading = "Workload")]
    pub upstream: Vec<Upstream>,

    /// Where the application sends its requests
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:15001", help_heading = "Addresses")]
    pub outbound_addr: SocketAddr,

    /// Where other sidecars send theirs, by mutual TLS; 0.0.0.0 stands for every address of IPv6 too
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:15008", help_heading = "Addresses")]
    pub inbound_addr: SocketAddr,

    /// Views for operators on this machine; loopback only
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:15000", help_heading = "Addresses")]
    pub admin_addr: SocketAddr,

    /// Metrics for Prometheus
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:15020", help_heading = "Addresses")]
    pub metrics_addr: SocketAddr,

    /// Takes connections that the kernel redirects here by the rules of `sidecar intercept install`, to where they were
    /// going: the application's own through --outbound-addr, plain text for it through --plaintext-addr, its DNS queries
    /// through --dns-addr. Each also on the same port of IPv6
    #[arg(long, help_heading = "Capture")]
    pub capture: bool,

    /// Where captured plain text for the application arrives; used with --capture
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:15006", help_heading = "Capture")]
    pub plaintext_addr: SocketAddr,

    /// Whether, and how, plain text arrives there; as given to `sidecar intercept install`, used with --capture. tproxy
    /// needs the right CAP_NET_ADMIN, which --uid keeps, and an application that listens on the addresses that are called
    #[arg(long, value_name = "MODE", default_value = "redirect", help_heading = "Capture")]
    pub inbound_mode: InboundMode,

    /// The firewall mark (SO_MARK) of every socket this process opens towards others, by which rules know it: that of
    /// `sidecar intercept install --sidecar-mark`, as 1337 or 0x539. Needs the right CAP_NET_ADMIN, which --uid keeps
    #[arg(long, value_name = "MARK", help_heading = "Capture")]
    pub mark: Option<Mark>,

    /// Where the names of the mesh are answered, and all others forwarded, over UDP and TCP; loopback only, or off. By
    /// default 127.0.0.1:15053 with --capture, and off without
    #[arg(long, value_name = "ADDR:PORT|off", help_heading = "Capture")]
    pub dns_addr: Option<DnsAddress>,

    /// A DNS server for the names that are not the mesh's; may be repeated; by default those of /etc/resolv.conf
    #[arg(long, value_name = "ADDR[:PORT]", help_heading = "Capture")]
    pub dns_upstream: Vec<DnsServer>,

    /// Where certificate and last good configuration are kept; by default /var/lib/outrigger/NAMESPACE.ACCOUNT for root,
    /// else outrigger/NAMESPACE.ACCOUNT under $XDG_STATE_HOME or ~/.local/state
    #[arg(long, value_name = "DIR", help_heading = "Process")]
    pub state_dir: Option<PathBuf>,

    /// Threads that carry traffic; by default one for each core this process may use
    #[arg(long, value_name = "NUMBER", help_heading = "Process")]
    pub workers: Option<NonZeroUsize>,

    /// How long running requests may take to finish after SIGTERM, as 30s, 500ms or 2m
    #[arg(long, value_name = "DURATION", default_value_t, help_heading = "Process")]
    pub grace: Grace,

    /// Takes the listening sockets over from the sidecar that runs on the same --state-dir, which then finishes what it
    /// has and ends: no connection is refused or reset. If none runs, this is a start like any other; if this one fails
    /// before it serves, the other goes on. Not with COMMAND, which would lose its parent
    #[arg(long, help_heading = "Process")]
    pub takeover: bool,

    /// The user to be, by name or number, once ports are bound and the state directory is this user's; only for root,
    /// which is given up for good, with all other groups. The token and the trust bundle are read as this user
    #[arg(long, value_name = "USER[:GROUP]", help_heading = "Process")]
    pub uid: Option<User>,

    /// How log lines on standard error look: text or json
    #[arg(long, value_name = "FORMAT", default_value_t, help_heading = "Process")]
    pub log_format: Format,

    /// Log level: error, warn, info, debug or trace, or per module as `info,sidecar::pool=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = checked_level, help_heading = "Process")]
    pub log_level: String,

    /// Logs one line for each request
    #[arg(long, help_heading = "Process")]
    pub access_log: bool,

    /// How long to wait until traffic can flow, before COMMAND is given up and never started; as 30s, 500ms or 2m
    #[arg(long, value_name = "DURATION", default_value_t, help_heading = "Command")]
    pub ready_timeout: ReadyTimeout,

    /// The user that COMMAND runs as, with the further groups that user is in, when started as root: another than --uid
    /// where traffic is captured by user
    #[arg(long, value_name = "USER[:GROUP]", help_heading = "Command")]
    pub command_uid: Option<User>,

    /// A job or service to start once traffic can flow, with its arguments
    #[arg(last = true, value_name = "COMMAND", help_heading = "Command")]
    pub command: Vec<OsString>,
}
