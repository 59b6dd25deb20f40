//! Probe connections that show whether the rules do what they should, each way: outbound as a captured user, the
//! sidecar's own, DNS, and inbound from a temporary network namespace. Enters: what is to be captured, and its rules.
//! Leaves: one [`Finding`] for each probe. Needs no running sidecar: where nobody listens, we do. Nothing leaves this
//! machine if it can be helped: probes go to its own addresses where the rules capture those.

mod arrival;
mod choice;
mod count;
mod machine;
mod sender;
mod stranger;

pub(super) use sender::probe;
pub(crate) use stranger::is_probe;

use super::capture::{Capture, InboundWay};
use super::failure::InterceptError;
use super::fate::{Fate, Reach};
use super::flags::ProbeKind;
use super::programs::Program;
use super::ruleset::{Families, Family, Protocol, Ruleset};
use crate::listen::Taking;
use crate::listen::sockets;
use arrival::Arrival;
use choice::{Target, Who};
use count::Count;
use machine::Machine;
use sender::Probe;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use stranger::Stranger;

/// Where DNS is asked.
const DNS: u16 = 53;

/// What one probe showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What was probed: `outbound IPv4`.
    pub what: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It arrived where it should; with how.
    Arrived(String),
    /// It did not; with what happened instead and what to do.
    Failed(String),
    /// There was no way to probe; with why.
    NotProbed(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Arrived(how) => write!(f, "{}: {how}", self.what),
            Outcome::Failed(why) => write!(f, "{}: {why}", self.what),
            Outcome::NotProbed(why) => write!(f, "{}: not probed: {why}", self.what),
        }
    }
}

/// Opens every probe connection.
///
/// # Errors
/// The machine can't be probed at all: a process can't be started, or a port can't be listened on.
pub(crate) fn verify(capture: &Capture, ruleset: &Ruleset) -> Result<Vec<Finding>, InterceptError> {
    let families: &[Family] = match capture.families {
        Families::Both if machine::has_ipv6() => &[Family::V4, Family::V6],
        Families::Both | Families::Ipv4 => &[Family::V4],
    };
    // First of all: on a machine that has no network yet, its address is the only one that can be captured.
    let stranger = Program::find("ip")
        .ok_or_else(|| "it needs the command `ip`: install iproute2".to_owned())
        .and_then(|ip| {
            let refused = |error| format!("no network namespace can be made to connect from ({error})");
            Stranger::appear(ip, families).map_err(refused)
        });
    let machine = Machine::look();
    let mut findings = Vec::new();
    for family in families {
        let addresses = choice::addresses(capture, &machine.addresses(), *family);
        let targets: Vec<Target> = addresses.iter().filter_map(|address| machine.target(*address)).collect();
        let probes = Probes { capture, ruleset, family: *family, targets };
        findings.extend(probes.outbound()?);
        findings.extend(probes.own()?);
        findings.extend(probes.dns()?);
    }
    match stranger {
        Ok(stranger) => findings.extend(inbound(capture, ruleset, families, &stranger)?),
        Err(why) if capture.inbound.is_some() => findings.push(not_probed("inbound".to_owned(), &why)),
        Err(_) => {}
    }
    Ok(findings)
}

/// The probes that this machine sends, by one version of IP.
struct Probes<'a> {
    capture: &'a Capture,
    ruleset: &'a Ruleset,
    family: Family,
    targets: Vec<Target>,
}

impl Probes<'_> {
    fn outbound(&self) -> Result<Option<Finding>, InterceptError> {
        let Some(outbound) = &self.capture.outbound else { return Ok(None) };
        let ports = choice::outbound_ports(self.capture);
        self.tcp("outbound", &ports, outbound.port).map(Some)
    }

    fn dns(&self) -> Result<Vec<Finding>, InterceptError> {
        let Some(dns) = &self.capture.dns else { return Ok(Vec::new()) };
        Ok(vec![self.query(dns.port)?, self.tcp("DNS over TCP", &[DNS], dns.port)?])
    }

    fn tcp(&self, what: &str, ports: &[u16], port: u16) -> Result<Finding, InterceptError> {
        let what = format!("{what} {}", version(self.family));
        let Some((who, to, _)) = self.choose(Protocol::Tcp, ports, port) else {
            return Ok(not_probed(what, NO_TARGET));
        };
        let here = SocketAddr::new(loopback(self.family), port);
        let arrival = Arrival::at(here, Taking::Own).map_err(InterceptError::Probing)?;
        let mut probe = Probe::start(&who, ProbeKind::Tcp, to).map_err(InterceptError::Probing)?;
        let arrived = probe.outcome().and_then(|client| arrival.check(client, to));
        let sent = format!("a connection of {} to {to}", who.known_by);
        Ok(Finding { what, outcome: judge(arrived, &sent, here, &self.hint(&arrival, port)) })
    }

    fn query(&self, port: u16) -> Result<Finding, InterceptError> {
        let what = format!("DNS over UDP {}", version(self.family));
        let Some((who, to, _)) = self.choose(Protocol::Udp, &[DNS], port) else {
            return Ok(not_probed(what, NO_TARGET));
        };
        let here = SocketAddr::new(loopback(self.family), port);
        let ours = arrival::queries(here).map_err(InterceptError::Probing)?;
        let mut probe = Probe::start(&who, ProbeKind::Dns, to).map_err(InterceptError::Probing)?;
        if let Some(socket) = &ours {
            let mut query = [0; 512];
            if let Ok((length, client)) = socket.recv_from(&mut query) {
                let query = query.get(..length).unwrap_or_default();
                if let Some(answer) = sender::is_query(query).then(|| sender::answer(query)).flatten() {
                    // Lost, it is one that did not arrive.
                    drop(socket.send_to(&answer, client));
                }
            }
        }
        let sent = format!("a query of {} to {to}", who.known_by);
        Ok(Finding { what, outcome: judge(probe.outcome().map(drop), &sent, here, "") })
    }

    /// That the sidecar's own connection to a captured address is not: it must reach a listener of ours there.
    fn own(&self) -> Result<Vec<Finding>, InterceptError> {
        let Some(outbound) = &self.capture.outbound else { return Ok(Vec::new()) };
        let mut findings = Vec::new();
        for who in choice::own(self.capture) {
            let what = format!("the sidecar's own {}", version(self.family));
            let Some(target) = self.targets.iter().find(|target| target.reach == Reach::Here) else {
                findings.push(not_probed(what, "this machine has no address but loopback"));
                continue;
            };
            let any = SocketAddr::new(target.address, 0);
            let listener = arrival::listen(any, Taking::Own).map_err(InterceptError::Probing)?;
            let to = listener.local_addr().map_err(InterceptError::Probing)?;
            let captured = self.choose(Protocol::Tcp, &[to.port()], outbound.port).is_some();
            let own = choice::outbound_fate(self.ruleset, target, Protocol::Tcp, to.port(), &who);
            if !captured || own != Fate::Left {
                findings.push(not_probed(
                    what,
                    "the rules name addresses or ports that can't be listened on here",
                ));
                continue;
            }
            let mut probe = Probe::start(&who, ProbeKind::Tcp, to).map_err(InterceptError::Probing)?;
            let outcome = match probe.outcome() {
                Ok(client) if arrival::came_from(&listener, client) => {
                    Outcome::Arrived(format!("a connection of {} to {to} was left alone", who.known_by))
                }
                Ok(_) => Outcome::Failed(format!(
                    "a connection of {} to {to} was captured, so the sidecar would call itself for ever: other rules \
                     than these must do that; look for them with `nft list ruleset`",
                    who.known_by
                )),
                Err(why) => {
                    Outcome::Failed(format!("a connection of {} to {to} failed: {why}", who.known_by))
                }
            };
            findings.push(Finding { what, outcome });
        }
        Ok(findings)
    }

    fn choose(&self, protocol: Protocol, ports: &[u16], arrival: u16) -> Option<(Who, SocketAddr, Reach)> {
        choice::outbound(self.capture, self.ruleset, &self.targets, protocol, ports, arrival)
    }

    /// A sidecar that listens on IPv4 only, where IPv6 is captured too.
    fn hint(&self, arrival: &Arrival, port: u16) -> String {
        let on_v4 = || {
            sockets::all().iter().any(|socket| {
                socket.state == sockets::State::Listening
                    && socket.local.port() == port
                    && socket.local.is_ipv4()
            })
        };
        match arrival {
            Arrival::Ours(..) if self.family == Family::V6 && on_v4() => format!(
                "a sidecar listens on 127.0.0.1:{port}, but nobody on [::1]:{port}, where IPv6 is captured to: let it \
                 listen there too, or give --ipv4-only"
            ),
            Arrival::Ours(..) | Arrival::Theirs(..) => String::new(),
        }
    }
}

/// From a temporary network namespace.
fn inbound(
    capture: &Capture,
    ruleset: &Ruleset,
    families: &[Family],
    stranger: &Stranger,
) -> Result<Vec<Finding>, InterceptError> {
    let Some(inbound) = &capture.inbound else { return Ok(Vec::new()) };
    let what = |family: Family| format!("inbound {}", version(family));
    let taking = match inbound.way {
        InboundWay::Redirect => Taking::Own,
        InboundWay::Tproxy(_) => Taking::Any,
    };
    let mut findings = Vec::new();
    for family in families {
        let [here, there] = stranger::addresses(*family);
        let all = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let listener = SocketAddr::new(all, inbound.port);
        let arrival = Arrival::at(listener, taking).map_err(InterceptError::Probing)?;
        let (to, count) = match target(capture, ruleset, &arrival, [here, there]) {
            Ok(chosen) => chosen,
            Err(why) => {
                findings.push(not_probed(what(*family), &why));
                continue;
            }
        };
        let started = Probe::start_in(stranger.ip().path(), stranger.name(), to);
        let mut probe = started.map_err(InterceptError::Probing)?;
        let arrived = probe.outcome().and_then(|client| match count {
            Some(count) => count.has_grown(),
            None => arrival.check(client, to),
        });
        let sent = format!("a connection from another network namespace to {to}");
        let hint = format!("a firewall of this machine must let port {} in", inbound.port);
        findings.push(Finding { what: what(*family), outcome: judge(arrived, &sent, listener, &hint) });
    }
    Ok(findings)
}

/// Where the stranger connects to. Watched from outside, a connection by TPROXY looks like one to the service itself: then
/// it goes where no service is, or else the running sidecar must have counted it.
///
/// # Errors
/// In words: there is no such place, or no such sidecar.
fn target(
    capture: &Capture,
    ruleset: &Ruleset,
    arrival: &Arrival,
    [here, there]: [IpAddr; 2],
) -> Result<(SocketAddr, Option<Count>), String> {
    let choose = |is_free: fn(u16) -> bool| {
        choice::inbound(capture, ruleset, there, here, stranger::INTERFACE, is_free)
    };
    let is_theirs = matches!(arrival, Arrival::Theirs(_, Taking::Any));
    if is_theirs && let Some(to) = choose(|port| !machine::is_listened_on(port)) {
        return Ok((to, None));
    }
    let to = choose(|_| true).ok_or("no captured port can be reached from a namespace made for it")?;
    let count = is_theirs.then(|| Count::before(capture.metrics_port, there)).transpose()?;
    Ok((to, count))
}

const NO_TARGET: &str = "no captured address can be reached from here yet";

fn judge(arrived: Result<(), String>, sent: &str, here: SocketAddr, hint: &str) -> Outcome {
    match arrived {
        Ok(()) if hint.starts_with("a sidecar listens") => Outcome::Failed(hint.to_owned()),
        Ok(()) => Outcome::Arrived(format!("{sent} came to {here}")),
        Err(why) if hint.is_empty() => Outcome::Failed(format!("{sent} did not come to {here}: {why}")),
        Err(why) => Outcome::Failed(format!("{sent} did not come to {here}: {why}; {hint}")),
    }
}

fn not_probed(what: String, why: &str) -> Finding {
    Finding { what, outcome: Outcome::NotProbed(why.to_owned()) }
}

fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}
