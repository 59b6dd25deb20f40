//! The command line of `sidecar intercept` as it is written: every flag with its default and its help. As for `sidecar
//! run`, each is also an environment variable and a key of the `--config` file. What the values mean together is
//! checked in [`super::wanted`].

use super::grammar::{Account, Cgroup, Instance, Interface, Mark, Net, Ports};
use clap::{Args, Subcommand, ValueEnum};
use mesh_names::Port;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What to do with the rules.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Captures the service's traffic: puts the rules into the kernel and checks them with real connections.
    ///
    /// All rules go in at once or not at all, into a table of their own (`outrigger`, or `outrigger_NAME` with --name).
    /// Installing again replaces them. Then probe connections are opened each way, as the captured user and from a
    /// temporary network namespace; if one does not arrive where it should, everything is as it was before. No sidecar
    /// need be running for this. While rules are installed and no sidecar runs, captured connections are refused, or
    /// not answered with --inbound-mode tproxy, unless --fail-open is given. Needs root, and `nft` or iptables-nft. Exit
    /// codes: 0 done, 1 failed and nothing changed, 2 wrong usage.
    Install(Box<InstallFlags>),

    /// Removes the rules of `install`; fine if there are none. Needs root.
    Uninstall(UninstallFlags),

    /// Prints exactly what `install` would hand to `nft -f -`, or to iptables-restore. Needs no rights.
    Print(Box<CaptureFlags>),

    /// Opens the probe connections of `install` again and says where each arrived; give it the flags of `install`.
    ///
    /// Changes nothing. Uses the running sidecar's listeners, or listens itself where nobody does. Needs root.
    Verify(Box<CaptureFlags>),

    /// Opens one probe connection, as the user it was started as.
    #[command(hide = true)]
    Probe(ProbeFlags),
}

/// The flags of `install`.
#[derive(Debug, Args)]
pub struct InstallFlags {
    /// What to capture.
    #[command(flatten)]
    pub capture: CaptureFlags,

    /// Stays, and has the rules installed only while the sidecar carries traffic
    ///
    /// The rules go in when the sidecar first answers as ready at 127.0.0.1 and --admin-port, are taken away when it is gone,
    /// hangs or takes no new connections, and are back when it is ready again. While they are away connections go where
    /// they are sent, in plain text and past every rule of the mesh; sidecars of a strict mesh refuse them. SIGTERM ends
    /// this and leaves the rules as they are; SIGHUP has it look for the rules anew. Tells systemd when it watches
    /// (Type=notify).
    #[arg(long, help_heading = "Process")]
    pub fail_open: bool,

    /// Leaves out the probe connections
    #[arg(long, help_heading = "Process")]
    pub no_verify: bool,
}

/// The flags of `uninstall`.
#[derive(Debug, Clone, Args)]
pub struct UninstallFlags {
    /// Whose rules, where several sidecars run on this machine; as given to `install`
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_INTERCEPT_NAME")]
    pub name: Option<Instance>,
}

/// What to capture. A list may be given by repeating its flag. Exclusions beat inclusions; without inclusions
/// everything is included.
#[derive(Debug, Clone, Args)]
pub struct CaptureFlags {
    /// YAML file with any of these flags as camelCase keys
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_INTERCEPT_CONFIG")]
    pub config: Option<PathBuf>,

    /// Tells the rules of several sidecars on this machine apart: each gets a table of its own
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_INTERCEPT_NAME")]
    pub name: Option<Instance>,

    /// The user the sidecar runs as: its connections are never captured. It must not be the service's user
    #[arg(long, value_name = "USER", help_heading = "The sidecar's own traffic")]
    pub sidecar_uid: Vec<Account>,

    /// The group the sidecar runs as, likewise
    #[arg(long, value_name = "GROUP", help_heading = "The sidecar's own traffic")]
    pub sidecar_gid: Vec<Account>,

    /// The firewall mark of the sidecar's sockets, likewise; the sidecar gives it to them with `sidecar run --mark`
    #[arg(long, value_name = "MARK", help_heading = "The sidecar's own traffic")]
    pub sidecar_mark: Vec<Mark>,

    /// Captures only what this user sends; with it or --include-cgroup, several services on this machine can each have
    /// a sidecar of their own
    #[arg(long, value_name = "USER", help_heading = "Whose traffic")]
    pub include_uid: Vec<Account>,

    /// Leaves alone what this user sends
    #[arg(long, value_name = "USER", help_heading = "Whose traffic")]
    pub exclude_uid: Vec<Account>,

    /// Captures only what this control group (version 2) and those below it send: a path below /sys/fs/cgroup, as
    /// shop.slice. It must exist, and outlive its services: one that was removed and made again is another to the
    /// kernel, so name a slice rather than a service
    #[arg(long, value_name = "PATH", help_heading = "Whose traffic")]
    pub include_cgroup: Vec<Cgroup>,

    /// Leaves alone what this control group sends
    #[arg(long, value_name = "PATH", help_heading = "Whose traffic")]
    pub exclude_cgroup: Vec<Cgroup>,

    /// Captures only connections that leave or enter by this network interface: eth0, or docker* for all that begin so.
    /// DNS queries are captured by any
    #[arg(long, value_name = "NAME", help_heading = "Whose traffic")]
    pub include_interface: Vec<Interface>,

    /// Leaves alone what leaves or enters by this network interface
    #[arg(long, value_name = "NAME", help_heading = "Whose traffic")]
    pub exclude_interface: Vec<Interface>,

    /// Leaves IPv6 alone
    #[arg(long, help_heading = "Whose traffic")]
    pub ipv4_only: bool,

    /// Whether TCP connections the service opens are captured. Those to 127.0.0.0/8, ::1 and fe80::/10 never are
    #[arg(long, value_name = "MODE", default_value = "redirect", help_heading = "Outbound")]
    pub outbound_mode: OutboundMode,

    /// The sidecar's port for them, on 127.0.0.1 and ::1
    #[arg(long, value_name = "PORT", default_value = "15001", help_heading = "Outbound")]
    pub outbound_port: Port,

    /// Captures only connections to this port, or ports as 8000-8999
    #[arg(long, value_name = "PORTS", help_heading = "Outbound")]
    pub include_outbound_port: Vec<Ports>,

    /// Leaves alone connections to this port; not DNS, which has --dns-mode
    #[arg(long, value_name = "PORTS", help_heading = "Outbound")]
    pub exclude_outbound_port: Vec<Ports>,

    /// Captures only connections to this address or network
    #[arg(long, value_name = "CIDR", help_heading = "Outbound")]
    pub include_outbound_cidr: Vec<Net>,

    /// Leaves alone connections, and DNS queries, to this address or network
    #[arg(long, value_name = "CIDR", help_heading = "Outbound")]
    pub exclude_outbound_cidr: Vec<Net>,

    /// Whether, and how, TCP connections that reach this machine from others are captured
    #[arg(long, value_name = "MODE", default_value = "redirect", help_heading = "Inbound")]
    pub inbound_mode: InboundMode,

    /// The sidecar's port for them, on every address. With tproxy it is also the mark of their packets and the number
    /// of the routing table for that mark
    #[arg(long, value_name = "PORT", default_value = "15006", help_heading = "Inbound")]
    pub inbound_port: Port,

    /// Captures only connections to this port of the service; by default to all but 22 (ssh) and the sidecar's own
    #[arg(long, value_name = "PORTS", help_heading = "Inbound")]
    pub include_inbound_port: Vec<Ports>,

    /// Leaves alone connections to this port
    #[arg(long, value_name = "PORTS", help_heading = "Inbound")]
    pub exclude_inbound_port: Vec<Ports>,

    /// Captures only connections from this address or network
    #[arg(long, value_name = "CIDR", help_heading = "Inbound")]
    pub include_inbound_cidr: Vec<Net>,

    /// Leaves alone connections from this address or network
    #[arg(long, value_name = "CIDR", help_heading = "Inbound")]
    pub exclude_inbound_cidr: Vec<Net>,

    /// The sidecar's port for other sidecars: never captured
    #[arg(long, value_name = "PORT", default_value = "15008", help_heading = "Inbound")]
    pub inbound_mtls_port: Port,

    /// The sidecar's metrics port: never captured
    #[arg(long, value_name = "PORT", default_value = "15020", help_heading = "Inbound")]
    pub metrics_port: Port,

    /// The sidecar's admin port: never captured
    #[arg(long, value_name = "PORT", default_value = "15000", help_heading = "Inbound")]
    pub admin_port: Port,

    /// Whether DNS queries (UDP and TCP, port 53, to any server, also on loopback) are captured
    #[arg(long, value_name = "MODE", default_value = "redirect", help_heading = "DNS")]
    pub dns_mode: DnsMode,

    /// The sidecar's port for them, on 127.0.0.1 and ::1
    #[arg(long, value_name = "PORT", default_value = "15053", help_heading = "DNS")]
    pub dns_port: Port,

    /// Which command changes the rules; auto takes nft where it is installed, else iptables-nft
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = "Process")]
    pub backend: BackendChoice,
}

/// What happens to outbound connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutboundMode {
    /// They go to --outbound-port
    Redirect,
    /// They are left alone
    Off,
}

/// What happens to inbound connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InboundMode {
    /// They go to --inbound-port; the service sees the sidecar's address
    Redirect,
    /// They go to --inbound-port by TPROXY, so that the service sees the client's address; needs `sidecar run
    /// --inbound-mode tproxy`
    Tproxy,
    /// They are left alone
    Off,
}

/// What happens to DNS queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DnsMode {
    /// They go to --dns-port
    Redirect,
    /// They are left alone
    Off,
}

/// Which command changes the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// nft, or iptables-nft where there is no nft
    Auto,
    /// nft
    Nft,
    /// iptables-nft: iptables-restore and ip6tables-restore
    Iptables,
}

/// One probe connection; positional, so that no variable of the environment changes it.
#[derive(Debug, Args)]
pub struct ProbeFlags {
    /// How.
    pub kind: ProbeKind,
    /// To where.
    pub to: SocketAddr,
    /// The mark of its socket; 0 for none.
    pub mark: u32,
}

/// What a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProbeKind {
    /// Opens a TCP connection and holds it until its standard input ends.
    Tcp,
    /// Asks a DNS question over UDP and waits for the answer.
    Dns,
}
