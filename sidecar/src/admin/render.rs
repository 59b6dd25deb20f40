//! The admin views' JSON, from what they look at. Pure but for the clock on the wall.

use super::{attempts, limits};
use crate::admin::Look;
use crate::bootstrap::{AccessLog, InboundMode, Settings};
use crate::snapshot::{AddressState, ServiceState, Snapshot};
use mesh_balance::Policy;
use mesh_mtls::Identity;
use mesh_protocol::endpoint::{Endpoint, EndpointHealth, Transport};
use mesh_protocol::mesh::EgressPolicy;
use mesh_protocol::mtls::MtlsMode;
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Settings in force, revision, services held.
pub(super) fn config(look: &Look) -> Value {
    let snapshot = look.snapshots.borrow().clone();
    let services = snapshot.services.iter().map(|(name, state)| (name.to_string(), summary(state)));
    let workload = snapshot.workload.as_ref().map(|workload| {
        let ports = workload.ports.iter().map(|port| {
            let services: Vec<_> = port.services.iter().map(ToString::to_string).collect();
            json!({
                "port": port.port.number(),
                "name": port.name,
                "protocol": port.app_protocol.as_str(),
                "services": services,
            })
        });
        let mtls = &workload.mtls;
        let exceptions = mtls.exceptions.iter().map(|(port, mode)| (port.to_string(), word(*mode)));
        json!({
            "name": workload.name.to_string(),
            "ports": ports.collect::<Vec<_>>(),
            "mtls": {
                "mode": word(mtls.mode),
                "exceptions": exceptions.collect::<std::collections::BTreeMap<_, _>>(),
            },
        })
    });
    let egress = snapshot.mesh.as_ref().map(|mesh| match mesh.egress {
        EgressPolicy::Allow => "Allow",
        EgressPolicy::RegisteredOnly => "RegisteredOnly",
    });
    let virtual_networks =
        snapshot.mesh.iter().flat_map(|mesh| mesh.virtual_networks.iter().map(ToString::to_string));
    let addresses = snapshot.addresses.iter().map(|(address, view)| {
        let state = match &view.state {
            AddressState::Service(service) => format!("service {service}"),
            AddressState::Registered(there) => format!(
                "{} endpoints, {} external services",
                there.endpoints.len(),
                there.external_services.len()
            ),
            AddressState::Unknown => "unknown".to_owned(),
        };
        (address.to_string(), state)
    });
    json!({
        "workload": look.workload.to_string(),
        "settings": settings(&look.settings),
        "connected": look.discovery.is_connected(),
        "received": snapshot.received,
        "revision": snapshot.revision,
        "confirmedWorkload": workload,
        "inboundLimits": limits::inbound(&snapshot.limits),
        "egress": egress,
        "virtualNetworks": virtual_networks.collect::<Vec<_>>(),
        "addresses": addresses.collect::<std::collections::BTreeMap<_, _>>(),
        "services": services.collect::<std::collections::BTreeMap<_, _>>(),
    })
}

fn word(mode: MtlsMode) -> &'static str {
    match mode {
        MtlsMode::Strict => "Strict",
        MtlsMode::Permissive => "Permissive",
    }
}

fn settings(settings: &Settings) -> Value {
    let inbound = settings.inbound.iter().map(|inbound| {
        json!({ "port": inbound.port.number(), "name": inbound.name, "protocol": inbound.protocol.as_str() })
    });
    let upstreams = settings.upstreams.iter().map(|upstream| {
        json!({
            "service": upstream.service.to_string(),
            "port": upstream.port.number(),
            "address": upstream.address.to_string(),
        })
    });
    json!({
        "controlPlane": settings.control_planes.to_string(),
        "trustBundle": settings.trust_bundle.display().to_string(),
        "tokenFile": settings.token_file.display().to_string(),
        "identity": settings.identity.to_string(),
        "labels": settings.labels,
        "region": settings.locality.region,
        "zone": settings.locality.zone,
        "subzone": settings.locality.subzone,
        "weight": settings.weight.number(),
        "address": settings.address.map(|address| address.to_string()),
        "inbound": inbound.collect::<Vec<_>>(),
        "upstreams": upstreams.collect::<Vec<_>>(),
        "outboundAddr": settings.outbound_addr.to_string(),
        "inboundAddr": settings.inbound_addr.to_string(),
        "adminAddr": settings.admin_addr.to_string(),
        "metricsAddr": settings.metrics_addr.to_string(),
        "plaintextAddr": settings.plaintext_addr.map(|address| address.to_string()),
        "inboundMode": mode(settings.inbound_mode),
        "mark": settings.mark.map(|mark| mark.to_string()),
        "dnsAddr": settings.dns_addr.to_string(),
        "dnsUpstreams": settings.dns_upstreams.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "stateDir": settings.state_dir.display().to_string(),
        "workers": settings.workers.get(),
        "graceSeconds": settings.grace.as_secs_f64(),
        "logFormat": settings.log_format.to_string(),
        "accessLog": settings.access_log == AccessLog::On,
    })
}

fn mode(mode: InboundMode) -> &'static str {
    match mode {
        InboundMode::Redirect => "redirect",
        InboundMode::Tproxy => "tproxy",
        InboundMode::Off => "off",
    }
}

fn summary(state: &ServiceState) -> Value {
    match state {
        ServiceState::Missing(sentence) => json!({ "missing": &**sentence }),
        ServiceState::Known(view) => {
            let ports = view.service.ports.iter().map(|port| {
                let policy = port.policy.as_ref();
                let settings = policy.map(|policy| policy.settings).unwrap_or_default();
                json!({
                    "port": port.port.number(),
                    "protocol": port.app_protocol.as_str(),
                    "trafficPolicy": policy.map(|policy| &*policy.name),
                    "loadBalancing": balancing(&settings.policy),
                    "circuitBreaker": policy.map(|policy| limits::circuit_breaker(policy)),
                    "faultRules": policy.map_or(0, |policy| limits::fault_rules(policy)),
                    "attempts": attempts::of_port(port),
                    "rules": attempts::of_rules(port),
                })
            });
            let ready = view.endpoints.iter().filter(|endpoint| endpoint.health == EndpointHealth::Ready);
            json!({
                "ports": ports.collect::<Vec<_>>(),
                "endpointsKnown": view.endpoints_known,
                "endpoints": view.endpoints.len(),
                "ready": ready.count(),
            })
        }
    }
}

fn balancing(policy: &Policy) -> &'static str {
    match policy {
        Policy::PeakEwma => "PeakEwma",
        Policy::LeastRequest(_) => "LeastRequest",
        Policy::RoundRobin => "RoundRobin",
        Policy::Random => "Random",
        Policy::RingHash(..) => "RingHash",
        Policy::Maglev(..) => "Maglev",
    }
}

/// Each service's endpoints.
pub(super) fn endpoints(snapshot: &Snapshot) -> Value {
    let mut all: Vec<_> = snapshot.services.iter().collect();
    all.sort_by_key(|(name, _)| *name);
    let services = all.into_iter().map(|(name, state)| (name.to_string(), service(state)));
    Value::Object(services.collect::<Map<_, _>>())
}

/// One service's endpoints.
pub(super) fn service(state: &ServiceState) -> Value {
    match state {
        ServiceState::Missing(sentence) => json!({ "missing": &**sentence }),
        ServiceState::Known(view) if !view.endpoints_known => json!({ "known": false }),
        ServiceState::Known(view) => Value::Array(view.endpoints.iter().map(|e| endpoint(e)).collect()),
    }
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let (inbound_port, identity) = match &endpoint.transport {
        Transport::MutualTls { inbound_port, identity } => {
            (Some(inbound_port.number()), Some(identity.to_string()))
        }
        Transport::Plaintext => (None, None),
    };
    let health = match endpoint.health {
        EndpointHealth::Ready => "ready",
        EndpointHealth::NotReady => "not ready",
        EndpointHealth::Draining => "draining",
    };
    let ports = endpoint.ports.iter().map(
        |port| json!({ "servicePort": port.service_port.number(), "targetPort": port.target_port.number() }),
    );
    json!({
        "name": endpoint.name.as_str(),
        "address": endpoint.address.to_string(),
        "inboundPort": inbound_port,
        "identity": identity,
        "region": endpoint.locality.region,
        "zone": endpoint.locality.zone,
        "subzone": endpoint.locality.subzone,
        "weight": endpoint.weight.number(),
        "health": health,
        "ports": ports.collect::<Vec<_>>(),
    })
}

/// The certificate and the trust bundle in force.
pub(super) fn certificates(identity: &Identity) -> Value {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let svid = identity.svid().map(|svid| {
        let left = svid.not_after().duration_since(SystemTime::now()).unwrap_or_default();
        json!({
            "identity": svid.spiffe_id().to_string(),
            "notBefore": seconds(svid.not_before()),
            "notAfter": seconds(svid.not_after()),
            "expiresInSeconds": left.as_secs(),
            "chain": svid.chain_pem(),
        })
    });
    let bundle = identity.trust_bundle();
    json!({
        "certificate": svid,
        "trustBundle": { "certificates": bundle.certificates().len(), "pem": bundle.to_pem() },
    })
}
