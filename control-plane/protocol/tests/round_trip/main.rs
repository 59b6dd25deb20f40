//! What one side encodes, the other decodes to the same value; what nobody encoded is refused without a panic.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attempts;
mod workload_port;

use attempts::{hedging, retry, timeouts};
use mesh_names::{AppProtocol, Label, Network, Port, ServiceName, SpiffeId, Subdomain, WorkloadName};
use mesh_protocol::Weight;
use mesh_protocol::address::Address;
use mesh_protocol::announcement::{AnnouncedState, Announcement, LABELS_MAX};
use mesh_protocol::endpoint::{Endpoint, EndpointHealth, EndpointPort, Transport};
use mesh_protocol::external::{
    ExternalHost, ExternalPort, ExternalProtocol, ExternalService, ExternalTrust, Originate, Resolution,
};
use mesh_protocol::mesh::{EgressPolicy, Mesh, VIRTUAL_NETWORKS_MAX};
use mesh_protocol::mtls::{InboundMtls, MtlsMode};
use mesh_protocol::policy::{
    Algorithm, Comparison, HashSource, LoadBalancing, LocalityMode, LocalityRules, OutlierDetection,
    RegionFailover, Session, SlowStart, TrafficPolicy,
};
use mesh_protocol::service::{
    Backend, PathMatch, RouteMatch, RouteRule, Service, ServicePort, TextMatch, ValueMatch,
};
use mesh_protocol::trust_bundle::TrustBundle;
use mesh_protocol::workload::Workload;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};
use workload_port::{health_check, workload_port};

const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";

fn service_name() -> impl Strategy<Value = ServiceName> {
    (LABEL, LABEL)
        .prop_map(|(ns, name)| ServiceName::new(ns.parse().unwrap(), name.parse::<Label>().unwrap()))
}

fn subdomain() -> impl Strategy<Value = Subdomain> {
    LABEL.prop_map(|text| text.parse().unwrap())
}

fn port() -> impl Strategy<Value = Port> {
    (1u16..).prop_map(|number| Port::new(number).unwrap())
}

fn app_protocol() -> impl Strategy<Value = AppProtocol> {
    use AppProtocol::*;
    proptest::sample::select(vec![Detect, Http, H2c, Grpc, Tcp])
}

fn whole_millis() -> impl Strategy<Value = Option<Duration>> {
    of((1u64..1_000_000).prop_map(Duration::from_millis))
}

fn value_match() -> impl Strategy<Value = ValueMatch> {
    let value = prop_oneof![".*".prop_map(TextMatch::Exact), ".*".prop_map(TextMatch::Regex)];
    ("[a-z-]{1,12}", value).prop_map(|(name, value)| ValueMatch { name, value })
}

fn route_match(rules: usize) -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        "/.*".prop_map(PathMatch::Exact),
        "/.*".prop_map(PathMatch::Prefix),
        ".*".prop_map(PathMatch::Regex)
    ];
    (0..rules, path, of("[A-Z]{1,8}"), vec(value_match(), 0..3), vec(value_match(), 0..3)).prop_map(
        |(rule, path, method, headers, query_params)| RouteMatch {
            rule,
            path,
            method,
            headers,
            query_params,
        },
    )
}

fn rule() -> impl Strategy<Value = RouteRule> {
    let backend = (service_name(), port(), 0u32..1_000_001, of("[a-z ]{1,20}"))
        .prop_map(|(service, port, weight, invalid)| Backend { service, port, weight, invalid });
    (LABEL, 0u32..16, vec(backend, 0..4), timeouts(), of(retry()), of(hedging())).prop_map(
        |(route, index, backends, timeouts, retry, hedging)| RouteRule {
            route,
            index,
            backends,
            timeouts,
            retry,
            hedging,
        },
    )
}

fn number() -> impl Strategy<Value = Option<NonZeroU32>> {
    any::<u32>().prop_map(NonZeroU32::new)
}

fn outliers() -> impl Strategy<Value = OutlierDetection> {
    let comparison = || {
        of((number(), number(), number()).prop_map(|(threshold, peers, requests)| Comparison {
            threshold,
            peers,
            requests,
        }))
    };
    let excess = of((0u64..1_000_000).prop_map(Duration::from_millis));
    let times = (whole_millis(), whole_millis(), whole_millis());
    let counts = (of(any::<u32>()), of(any::<u32>()), of(any::<u32>()));
    (counts, comparison(), comparison(), comparison(), excess, times).prop_map(
        |(counts, success_rate, failure_share, latency, latency_excess, times)| {
            let ((failures, gateway_failures, ejected_share), (shortest, longest, interval)) =
                (counts, times);
            OutlierDetection {
                failures,
                gateway_failures,
                success_rate,
                failure_share,
                latency,
                latency_excess,
                shortest,
                longest,
                ejected_share,
                interval,
            }
        },
    )
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    let algorithm = prop_oneof![
        Just(Algorithm::PeakEwma),
        number().prop_map(|choices| Algorithm::LeastRequest { choices }),
        Just(Algorithm::RoundRobin),
        Just(Algorithm::Random),
        (number(), number()).prop_map(|(least, most)| Algorithm::RingHash { least, most }),
        number().prop_map(|table_size| Algorithm::Maglev { table_size }),
    ];
    let session = (0u64..1_000_000, "/[a-z]{0,8}")
        .prop_map(|(ttl, path)| Session { ttl: Duration::from_secs(ttl), path });
    let source = prop_oneof![
        LABEL.prop_map(HashSource::Header),
        LABEL.prop_map(HashSource::QueryParameter),
        (LABEL, of(session)).prop_map(|(name, session)| HashSource::Cookie { name, session }),
        Just(HashSource::Identity),
        Just(HashSource::Address),
    ];
    let load_balancing = (algorithm, vec(source, 0..3), number())
        .prop_map(|(algorithm, hash_on, load_bound)| LoadBalancing { algorithm, hash_on, load_bound });
    let window = (1u64..1_000_000).prop_map(Duration::from_millis);
    let slow_start = (window, number(), number()).prop_map(|(window, aggression, minimum)| SlowStart {
        window,
        aggression,
        minimum,
    });
    let failover = (LABEL, vec(LABEL, 0..3)).prop_map(|(from, to)| RegionFailover { from, to });
    let mode = prop_oneof![
        Just(LocalityMode::PreferSameZone),
        vec(failover, 0..3).prop_map(LocalityMode::Failover),
        Just(LocalityMode::SameZoneOnly),
        Just(LocalityMode::SameRegionOnly),
    ];
    let locality = (mode, number(), number()).prop_map(|(mode, overprovisioning, transfer_cost)| {
        LocalityRules { mode, overprovisioning, transfer_cost }
    });
    let spread = (of(load_balancing), of(locality), of(slow_start), number(), of(outliers()));
    let attempts = (timeouts(), of(retry()), of(hedging()), whole_millis(), of(health_check()).boxed());
    (LABEL, spread, attempts).prop_map(
        |(
            name,
            (load_balancing, locality, slow_start, panic_threshold, outlier_detection),
            (timeouts, retry, hedging, connect_timeout, health_check),
        )| {
            TrafficPolicy {
                name,
                load_balancing,
                locality,
                slow_start,
                panic_threshold,
                outlier_detection,
                circuit_breaker: None,
                fault_rules: vec![],
                timeouts,
                retry,
                hedging,
                connect_timeout,
                health_check,
            }
        },
    )
}

fn service_port() -> impl Strategy<Value = ServicePort> {
    vec(rule(), 1..4).prop_flat_map(|rules| {
        let matches = vec(route_match(rules.len()), 0..4);
        // Boxed: its tree of values would not fit a test's stack.
        (port(), LABEL, app_protocol(), Just(rules), matches, of(policy()).boxed()).prop_map(
            |(port, name, app_protocol, rules, matches, policy)| ServicePort {
                port,
                name,
                app_protocol,
                rules,
                matches,
                policy,
            },
        )
    })
}

fn network() -> impl Strategy<Value = Network> {
    (any::<std::net::IpAddr>(), 0_u8..=128)
        .prop_map(|(address, prefix)| Network::of(address, prefix).or(Network::of(address, 32)).unwrap())
}

fn mesh() -> impl Strategy<Value = Mesh> {
    let egress = proptest::sample::select(vec![EgressPolicy::Allow, EgressPolicy::RegisteredOnly]);
    (egress, vec(network(), 0..=VIRTUAL_NETWORKS_MAX))
        .prop_map(|(egress, virtual_networks)| Mesh { egress, virtual_networks })
}

fn external_service() -> impl Strategy<Value = ExternalService> {
    use ExternalProtocol::*;
    let trust = prop_oneof![
        Just(ExternalTrust::System),
        vec(vec(any::<u8>(), 1..8), 1..3)
            .prop_map(|it| ExternalTrust::Certificates(it.into_iter().map(Into::into).collect())),
        LABEL.prop_map(|name| ExternalTrust::File(format!("/etc/{name}").into())),
    ];
    let originate = (of(subdomain()), trust).prop_map(|(sni, trust)| Originate { sni, trust });
    let protocol = proptest::sample::select(vec![Detect, Http, H2c, Grpc, Tls, Tcp]);
    let port = (port(), protocol, port(), of(originate), of("[a-z ]{1,20}")).prop_map(
        |(port, protocol, target_port, originate, invalid)| ExternalPort {
            port,
            protocol,
            target_port,
            originate,
            invalid,
        },
    );
    let resolution = prop_oneof![
        Just(Resolution::Host),
        subdomain().prop_map(Resolution::Name),
        vec(any::<std::net::IpAddr>(), 1..3).prop_map(Resolution::Addresses),
    ];
    (LABEL, LABEL, vec(port, 0..3), resolution).prop_map(|(namespace, name, ports, resolution)| {
        ExternalService { name: format!("{namespace}/{name}").parse().unwrap(), ports, resolution }
    })
}

fn weight() -> impl Strategy<Value = Weight> {
    (1u32..=65_535).prop_map(|number| number.try_into().unwrap())
}

fn locality() -> impl Strategy<Value = mesh_protocol::Locality> {
    (of(LABEL), of(LABEL), of(LABEL)).prop_map(|(region, zone, subzone)| mesh_protocol::Locality {
        region,
        zone,
        subzone,
    })
}

fn mtls_mode() -> impl Strategy<Value = MtlsMode> {
    proptest::sample::select(vec![MtlsMode::Strict, MtlsMode::Permissive])
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let identity = (LABEL, LABEL).prop_map(|(ns, sa)| {
        SpiffeId::new("mesh.internal".parse().unwrap(), ns.parse().unwrap(), sa.parse().unwrap())
    });
    let transport = prop_oneof![
        Just(Transport::Plaintext),
        (port(), identity)
            .prop_map(|(inbound_port, identity)| Transport::MutualTls { inbound_port, identity })
    ];
    let ports = vec((port(), port()), 0..4).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(service_port, target_port)| EndpointPort { service_port, target_port })
            .collect()
    });
    use EndpointHealth::*;
    let health = proptest::sample::select(vec![Ready, NotReady, Draining]);
    (service_name(), subdomain(), any::<std::net::IpAddr>(), ports, transport, locality(), weight(), health)
        .prop_map(|(service, name, address, ports, transport, locality, weight, health)| Endpoint {
            service,
            name,
            address,
            ports,
            transport,
            locality,
            weight,
            health,
        })
}

proptest! {
    #[test]
    fn a_service_survives_the_wire(
        name in service_name(), ports in vec(service_port(), 0..3),
        virtual_addresses in vec(any::<std::net::IpAddr>(), 0..3),
    ) {
        let service = Service { name, ports, virtual_addresses };
        prop_assert_eq!(Service::decode(&service.encode()).unwrap(), service);
    }

    #[test]
    fn the_mesh_survives_the_wire(mesh in mesh()) {
        prop_assert_eq!(Mesh::decode(&mesh.encode()).unwrap(), mesh);
    }

    #[test]
    fn an_endpoint_survives_the_wire(endpoint in endpoint()) {
        prop_assert_eq!(Endpoint::decode(&endpoint.encode()).unwrap(), endpoint);
    }

    #[test]
    fn an_address_survives_the_wire(
        address in any::<std::net::IpAddr>(), service in of(service_name()), endpoints in vec(endpoint(), 0..4),
        external_services in vec(external_service(), 0..3),
    ) {
        let address = address.to_canonical();
        let endpoints = endpoints.into_iter().map(|endpoint| Endpoint { address, ..endpoint }).collect();
        let address = Address { address, service, endpoints, external_services };
        prop_assert_eq!(Address::decode(&address.encode()).unwrap(), address);
    }

    #[test]
    fn an_external_host_survives_the_wire(
        label in LABEL, is_wildcard in any::<bool>(), services in vec(external_service(), 1..3),
    ) {
        let host = format!("{}{label}.example.com", if is_wildcard { "*." } else { "" }).parse().unwrap();
        let host = ExternalHost { host, services };
        prop_assert_eq!(ExternalHost::decode(&host.encode()).unwrap(), host);
    }

    #[test]
    fn a_workload_survives_the_wire(
        namespace in LABEL, name in subdomain(), account in LABEL, ports in vec(workload_port(true), 0..4),
        mode in mtls_mode(), exceptions in btree_map(port(), mtls_mode(), 0..4),
    ) {
        let name = WorkloadName::new(namespace.parse().unwrap(), name);
        let mtls = InboundMtls { mode, exceptions };
        let workload = Workload { name, service_account: account.parse().unwrap(), ports, mtls, limits: vec![] };
        prop_assert_eq!(Workload::decode(&workload.encode()).unwrap(), workload);
    }

    #[test]
    fn an_announcement_survives_the_wire(
        name in subdomain(), labels in btree_map(LABEL, LABEL, 0..LABELS_MAX), address in any::<std::net::IpAddr>(),
        inbound_port in port(), ports in vec(workload_port(false), 0..4), locality in locality(), sequence in any::<u64>(), weight in weight(),
        reason in "[a-z ]{0,20}", expires in any::<u32>(),
    ) {
        let state = AnnouncedState::Leaving;
        let certificate_expires = (expires > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(expires.into()));
        let announcement = Announcement {
            sequence, name, labels, address, inbound_port, ports, locality, weight, state, reason, certificate_expires,
        };
        prop_assert_eq!(Announcement::of_wire(announcement.to_wire()).unwrap(), announcement);
    }

    #[test]
    fn arbitrary_bytes_are_judged_without_panic(bytes in vec(any::<u8>(), 0..256)) {
        drop(Service::decode(&bytes));
        drop(Endpoint::decode(&bytes));
        drop(Address::decode(&bytes));
        drop(Workload::decode(&bytes));
        drop(Mesh::decode(&bytes));
        drop(ExternalHost::decode(&bytes));
        drop(TrustBundle::decode(&bytes));
    }
}

#[test]
fn a_match_of_a_rule_that_is_not_there_is_refused() {
    let service = Service {
        name: "shop/orders".parse().unwrap(),
        ports: vec![ServicePort {
            port: Port::new(80).unwrap(),
            name: String::new(),
            app_protocol: AppProtocol::Http,
            rules: Vec::new(),
            matches: vec![RouteMatch {
                rule: 0,
                path: PathMatch::Prefix("/".into()),
                method: None,
                headers: Vec::new(),
                query_params: Vec::new(),
            }],
            policy: None,
        }],
        virtual_addresses: Vec::new(),
    };
    let error = Service::decode(&service.encode()).unwrap_err();
    assert_eq!(error.to_string(), "field `matches.rule`: there is no such rule");
}

#[test]
fn a_policy_of_a_newer_version_is_refused_and_not_taken_for_another() {
    let error = |load_balancing: mesh_protocol::wire::v1::LoadBalancing| {
        let policy = mesh_protocol::wire::v1::TrafficPolicy {
            load_balancing: Some(load_balancing),
            ..Default::default()
        };
        let port =
            mesh_protocol::wire::v1::ServicePort { port: 80, policy: Some(policy), ..Default::default() };
        let service = mesh_protocol::wire::v1::Service {
            namespace: "shop".into(),
            name: "orders".into(),
            ports: vec![port],
            ..Default::default()
        };
        Service::decode(&prost::Message::encode_to_vec(&service)).unwrap_err().to_string()
    };
    let unknown = mesh_protocol::wire::v1::LoadBalancing { policy: 99, ..Default::default() };
    assert_eq!(error(unknown), "field `policy.load_balancing.policy`: this version knows no such policy");
    let hash_on = vec![Default::default()];
    let unknown = mesh_protocol::wire::v1::LoadBalancing { hash_on, ..Default::default() };
    assert_eq!(error(unknown), "field `policy.load_balancing.hash_on`: this version knows no such source");
}

#[test]
fn a_trust_bundle_without_certificates_is_refused() {
    let bundle = TrustBundle { trust_domain: "mesh.internal".parse().unwrap(), certificates: Vec::new() };
    assert!(TrustBundle::decode(&bundle.encode()).is_err());
}

#[test]
fn an_endpoint_behind_a_sidecar_needs_an_identity() {
    let message = mesh_protocol::wire::v1::Endpoint {
        service: "shop/orders".into(),
        name: "orders-1".into(),
        address: "10.0.0.1".into(),
        inbound_port: 15008,
        ..Default::default()
    };
    let error = Endpoint::decode(&prost::Message::encode_to_vec(&message)).unwrap_err();
    assert!(error.to_string().starts_with("field `identity`"), "{error}");
}

#[test]
fn an_endpoint_of_another_address_is_refused() {
    let there = mesh_protocol::wire::v1::Endpoint {
        service: "shop/orders".into(),
        name: "orders-1".into(),
        address: "10.0.0.2".into(),
        ..Default::default()
    };
    let message = mesh_protocol::wire::v1::Address {
        address: "10.0.0.1".into(),
        endpoints: vec![there],
        ..Default::default()
    };
    let error = Address::decode(&prost::Message::encode_to_vec(&message)).unwrap_err();
    assert_eq!(error.to_string(), "field `endpoints.address`: it is not the address that was asked for");
}

#[test]
fn a_policy_nobody_knows_and_networks_that_are_none_or_too_many_are_refused() {
    let error = |mesh: mesh_protocol::wire::v1::Mesh| {
        Mesh::decode(&prost::Message::encode_to_vec(&mesh)).unwrap_err().to_string()
    };
    let unknown = mesh_protocol::wire::v1::Mesh { egress: 9, ..Default::default() };
    assert_eq!(error(unknown), "field `egress`: this version knows no such policy");
    let said = |text: &str, count| mesh_protocol::wire::v1::Mesh {
        virtual_networks: vec![text.to_owned(); count],
        ..Default::default()
    };
    let wrong =
        "field `virtual_networks`: `10.0.0.1/8` is not a network: it must begin with its lowest address";
    assert_eq!(error(said("10.0.0.1/8", 1)), wrong);
    let all =
        Mesh::decode(&prost::Message::encode_to_vec(&said("10.0.0.0/8", VIRTUAL_NETWORKS_MAX))).unwrap();
    assert_eq!(all.virtual_networks.len(), VIRTUAL_NETWORKS_MAX);
    let many = said("10.0.0.0/8", VIRTUAL_NETWORKS_MAX + 1);
    assert_eq!(error(many), "field `virtual_networks`: they are more than 16");
}

#[test]
fn a_workload_without_a_word_on_plain_text_is_strict_and_an_unknown_mode_is_refused() {
    let mut message = mesh_protocol::wire::v1::Workload {
        namespace: "shop".into(),
        name: "orders-1".into(),
        service_account: "orders".into(),
        ..Default::default()
    };
    let decode = |message: &mesh_protocol::wire::v1::Workload| {
        Workload::decode(&prost::Message::encode_to_vec(message))
    };
    let port = Port::new(8080).unwrap();
    assert_eq!(decode(&message).unwrap().mtls.mode_of(port), MtlsMode::Strict);
    message.mtls = Some(mesh_protocol::wire::v1::InboundMtls { mode: 7, exceptions: vec![] });
    assert_eq!(
        decode(&message).unwrap_err().to_string(),
        "field `mtls.mode`: this version knows no such mode"
    );
}
