//! What the flags mean together, before anything outside the process is looked at. Enters: parsed flags. Leaves:
//! [`Wanted`], whose flags go together, or every problem at once.

use super::flags::{CaptureFlags, DnsMode, InboundMode, OutboundMode};
use super::grammar::{Net, Ports};

/// Flags that go together. Users and groups are still to be looked up.
#[derive(Debug, Clone)]
pub struct Wanted(CaptureFlags);

impl Wanted {
    /// Checks the flags against each other.
    ///
    /// # Errors
    /// One sentence for each problem.
    pub fn of_flags(flags: CaptureFlags) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        check_that_something_is_captured(&flags, &mut problems);
        check_own_traffic(&flags, &mut problems);
        check_own_ports(&flags, &mut problems);
        check_inbound(&flags, &mut problems);
        check_marks(&flags, &mut problems);
        check_effect(&flags, &mut problems);
        check_families(&flags, &mut problems);
        if problems.is_empty() { Ok(Self(flags)) } else { Err(problems) }
    }

    /// The flags.
    pub fn flags(&self) -> &CaptureFlags {
        &self.0
    }
}

/// The sidecar's listeners by the flags that name their ports.
pub(super) fn own_ports(flags: &CaptureFlags) -> [(&'static str, u16); 6] {
    [
        ("--admin-port", flags.admin_port.number()),
        ("--outbound-port", flags.outbound_port.number()),
        ("--inbound-port", flags.inbound_port.number()),
        ("--inbound-mtls-port", flags.inbound_mtls_port.number()),
        ("--metrics-port", flags.metrics_port.number()),
        ("--dns-port", flags.dns_port.number()),
    ]
}

fn check_that_something_is_captured(flags: &CaptureFlags, problems: &mut Vec<String>) {
    let modes = (flags.outbound_mode, flags.inbound_mode, flags.dns_mode);
    if modes == (OutboundMode::Off, InboundMode::Off, DnsMode::Off) {
        problems.push(
            "--outbound-mode, --inbound-mode and --dns-mode are all off: nothing would be captured"
                .to_owned(),
        );
    }
}

fn is_shared(flags: &CaptureFlags) -> bool {
    !flags.include_uid.is_empty() || !flags.include_cgroup.is_empty()
}

fn check_own_traffic(flags: &CaptureFlags, problems: &mut Vec<String>) {
    let sends = flags.outbound_mode != OutboundMode::Off || flags.dns_mode != DnsMode::Off;
    let own =
        !flags.sidecar_uid.is_empty() || !flags.sidecar_gid.is_empty() || !flags.sidecar_mark.is_empty();
    if sends && !own && !is_shared(flags) {
        problems.push(
            "nothing tells the sidecar's own connections from the service's, so they would come back to it for ever: \
             give --sidecar-uid USER, the user the sidecar runs as (or --sidecar-gid, --sidecar-mark), or name the \
             service's user by --include-uid"
                .to_owned(),
        );
    }
    for account in flags.include_uid.iter().filter(|account| flags.sidecar_uid.contains(account)) {
        problems.push(format!(
            "--include-uid {account} is also given as --sidecar-uid: the service and its sidecar need different users"
        ));
    }
}

fn check_own_ports(flags: &CaptureFlags, problems: &mut Vec<String>) {
    let ports = own_ports(flags);
    for (index, (flag, port)) in ports.iter().enumerate() {
        for (other, _) in ports.iter().skip(index + 1).filter(|(_, other)| other == port) {
            problems.push(format!("{flag} and {other} are both {port}; change one"));
        }
    }
}

fn check_inbound(flags: &CaptureFlags, problems: &mut Vec<String>) {
    if flags.inbound_mode == InboundMode::Off {
        return;
    }
    if is_shared(flags) && flags.include_inbound_port.is_empty() {
        problems.push(
            "with --include-uid or --include-cgroup other services share this machine, and connections from outside \
             have no owner: say which ports are this service's with --include-inbound-port PORT, or give \
             --inbound-mode off"
                .to_owned(),
        );
    }
    for ports in &flags.include_inbound_port {
        for (flag, port) in own_ports(flags).into_iter().filter(|(_, port)| ports.contains(*port)) {
            problems.push(format!(
                "--include-inbound-port {ports} holds {port}, the sidecar's own ({flag}), which is never captured"
            ));
        }
    }
}

/// With TPROXY, what has the port's number as its mark is led to this machine.
fn check_marks(flags: &CaptureFlags, problems: &mut Vec<String>) {
    let port = flags.inbound_port.number();
    for mark in flags.sidecar_mark.iter().filter(|mark| mark.number() == u32::from(port)) {
        if flags.inbound_mode == InboundMode::Tproxy {
            problems.push(format!(
                "--sidecar-mark {mark} is {port}, the --inbound-port, which with --inbound-mode tproxy marks what is led \
                 to this machine: everything the sidecar sends would be; give another mark"
            ));
        }
    }
}

fn check_effect(flags: &CaptureFlags, problems: &mut Vec<String>) {
    let outbound = [
        ("--include-outbound-port", flags.include_outbound_port.is_empty()),
        ("--exclude-outbound-port", flags.exclude_outbound_port.is_empty()),
        ("--include-outbound-cidr", flags.include_outbound_cidr.is_empty()),
    ];
    let inbound = [
        ("--include-inbound-port", flags.include_inbound_port.is_empty()),
        ("--exclude-inbound-port", flags.exclude_inbound_port.is_empty()),
        ("--include-inbound-cidr", flags.include_inbound_cidr.is_empty()),
        ("--exclude-inbound-cidr", flags.exclude_inbound_cidr.is_empty()),
    ];
    let idle = |flags: &[(&'static str, bool)], mode: &str, problems: &mut Vec<String>| {
        for (flag, _) in flags.iter().filter(|(_, absent)| !absent) {
            problems.push(format!("{flag} has no effect with {mode} off: leave one of them out"));
        }
    };
    if flags.outbound_mode == OutboundMode::Off {
        idle(&outbound, "--outbound-mode", problems);
    }
    if flags.inbound_mode == InboundMode::Off {
        idle(&inbound, "--inbound-mode", problems);
    }
    whole("--exclude-outbound-port", &flags.exclude_outbound_port, "--outbound-mode off", problems);
    whole("--exclude-inbound-port", &flags.exclude_inbound_port, "--inbound-mode off", problems);
}

fn whole(flag: &str, ports: &[Ports], instead: &str, problems: &mut Vec<String>) {
    if Ports::merged(ports.iter().copied()).iter().any(|ports| ports.first() <= 1 && ports.last() == u16::MAX)
    {
        problems.push(format!("{flag} holds every port: give {instead}"));
    }
}

fn check_families(flags: &CaptureFlags, problems: &mut Vec<String>) {
    let lists = [
        ("--include-outbound-cidr", &flags.include_outbound_cidr),
        ("--exclude-outbound-cidr", &flags.exclude_outbound_cidr),
        ("--include-inbound-cidr", &flags.include_inbound_cidr),
        ("--exclude-inbound-cidr", &flags.exclude_inbound_cidr),
    ];
    for (flag, nets) in lists.into_iter().filter(|_| flags.ipv4_only) {
        for net in nets.iter().filter(|net: &&Net| net.address().is_ipv6()) {
            problems.push(format!("{flag} {net} has no effect with --ipv4-only: leave one of them out"));
        }
    }
}
