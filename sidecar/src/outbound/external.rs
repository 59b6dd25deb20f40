//! A port of a place outside of the mesh, from what its ExternalService says: where it is, what is spoken there, how
//! connections to it are secured. And whether an unregistered place may be called at all. Pure but for the look-up of
//! the worker's part.

use super::bound::{Beyond, BoundPort};
use super::foreign::Foreign;
use crate::cluster::{At, Outside};
use crate::connect::{Outward, Security};
use crate::refusal::{Reason, Refusal};
use crate::snapshot::{LastUsed, Pinned};
use crate::worker::Worker;
use mesh_mtls::Anchors;
use mesh_names::{AppProtocol, Port};
use mesh_protocol::external::{
    ExternalPort, ExternalProtocol, ExternalService, ExternalTrust, Originate, Resolution,
};
use mesh_protocol::mesh::EgressPolicy;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// What connections to places that are not registered are counted as; no service has a name without a namespace.
const OUTSIDE: &str = "outside";

/// The port of a host that gives none.
const HTTP_PORT: u16 = 80;

/// The port that a request or connection to a registered host means.
///
/// # Errors
/// `unknown_port`, or what egress says of a connection to another port; `invalid_backend`.
pub(super) fn of_host(
    worker: &Worker,
    pinned: &Pinned,
    foreign: &Foreign,
    port: Option<Port>,
    service: &Arc<ExternalService>,
    last_used: &Arc<LastUsed>,
) -> Result<Rc<BoundPort>, Refusal> {
    let name = &service.name;
    let Some(there) = choose_port(service, port) else {
        if let Some(dialled) = foreign.dialled() {
            may_leave(pinned, foreign.host().map(|host| &**host), dialled)?;
            return unregistered(worker, dialled);
        }
        let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
        let ports = ports.join(", ");
        let sentence = match port {
            Some(port) => format!("the ExternalService {name} has no port {port}; it has {ports}"),
            None => format!("the ExternalService {name} has no port 80: give one of its ports, {ports}"),
        };
        return Err(Refusal::because(Reason::UnknownPort, sentence));
    };
    let host = foreign.host().cloned().unwrap_or_else(|| "".into());
    let at = match &service.resolution {
        Resolution::Addresses(addresses) => At::Addresses(addresses.as_slice().into()),
        Resolution::Name(name) => At::Name(name.to_string().into()),
        Resolution::Host => At::Name(host.clone()),
    };
    bound(worker, service, there, at, &host, last_used)
}

/// The port of an ExternalService that was found by the address an application dialled. The application chose the
/// address, so that no other is tried.
///
/// # Errors
/// `invalid_backend`.
pub(super) fn of_address(
    worker: &Worker,
    dialled: SocketAddr,
    service: &Arc<ExternalService>,
    there: &ExternalPort,
    last_used: &Arc<LastUsed>,
) -> Result<Rc<BoundPort>, Refusal> {
    let address = dialled.ip().to_canonical();
    bound(worker, service, there, At::Addresses([address].into()), &address.to_string(), last_used)
}

/// A place that is not registered, at the address the application dialled.
///
/// # Errors
/// `connect_failed` for port 0.
pub(super) fn unregistered(worker: &Worker, dialled: SocketAddr) -> Result<Rc<BoundPort>, Refusal> {
    let port = Port::new(dialled.port()).ok_or(Reason::ConnectFailed)?;
    let at = At::Addresses([dialled.ip()].into());
    let outside = Outside { name: OUTSIDE.into(), at, port, security: Security::Plaintext };
    let protocol = AppProtocol::Detect;
    let beyond = Beyond { service: None, protocol, host: dialled.to_string(), last_used: Arc::default() };
    Ok(Rc::new(BoundPort::outside(worker, outside, beyond)))
}

/// Whether a place that is not registered may be called.
///
/// # Errors
/// `egress_refused`.
pub(super) fn may_leave(pinned: &Pinned, host: Option<&str>, dialled: SocketAddr) -> Result<(), Refusal> {
    match pinned.snapshot.mesh.as_ref().map(|mesh| mesh.egress) {
        // A control plane that says nothing of egress knows no other policy.
        Some(EgressPolicy::Allow) | None => Ok(()),
        Some(EgressPolicy::RegisteredOnly) => {
            let place = match host {
                Some(host) => format!("`{host}` at {dialled}"),
                None => dialled.to_string(),
            };
            let sentence = format!(
                "{place} is no place the mesh knows, and only registered ones may be called: register it with an \
                 ExternalService, or set `egress.policy: Allow` in the MeshConfig `default`"
            );
            Err(Refusal::because(Reason::EgressRefused, sentence))
        }
    }
}

fn bound(
    worker: &Worker,
    service: &Arc<ExternalService>,
    there: &ExternalPort,
    at: At,
    host: &str,
    last_used: &Arc<LastUsed>,
) -> Result<Rc<BoundPort>, Refusal> {
    let name = &service.name;
    if let Some(sentence) = &there.invalid {
        return Err(Refusal::because(Reason::InvalidBackend, sentence.clone()));
    }
    let security = there.originate.as_ref().map_or(Security::Plaintext, |originate| outward(originate, host));
    let outside = Outside { name: name.to_string().into(), at, port: there.target_port, security };
    let beyond = Beyond {
        service: Some(service.clone()),
        protocol: app_protocol(there.protocol),
        host: host.parse::<Ipv6Addr>().map_or_else(|_| host.to_owned(), |address| format!("[{address}]")),
        last_used: last_used.clone(),
    };
    Ok(Rc::new(BoundPort::outside(worker, outside, beyond)))
}

/// TLS as the ExternalService wants it added for `host`.
fn outward(originate: &Originate, host: &str) -> Security {
    let name = originate.sni.as_ref().map_or_else(|| host.into(), |sni| sni.as_str().into());
    let anchors = match &originate.trust {
        ExternalTrust::System => Anchors::System,
        ExternalTrust::File(path) => Anchors::File(path.clone()),
        ExternalTrust::Certificates(given) => {
            Anchors::Certificates(given.iter().map(|certificate| certificate.to_vec()).collect())
        }
    };
    Security::Tls(Arc::new(Outward { name, anchors }))
}

/// The port asked for; without one 80, or the only one there is.
fn choose_port(service: &ExternalService, port: Option<Port>) -> Option<&ExternalPort> {
    let wanted = port.or_else(|| Port::new(HTTP_PORT));
    let only = || service.ports.first().filter(|_| port.is_none() && service.ports.len() == 1);
    wanted.and_then(|wanted| service.port(wanted)).or_else(only)
}

fn app_protocol(protocol: ExternalProtocol) -> AppProtocol {
    match protocol {
        ExternalProtocol::Detect => AppProtocol::Detect,
        ExternalProtocol::Http => AppProtocol::Http,
        ExternalProtocol::H2c => AppProtocol::H2c,
        ExternalProtocol::Grpc => AppProtocol::Grpc,
        ExternalProtocol::Tls | ExternalProtocol::Tcp => AppProtocol::Tcp,
    }
}
