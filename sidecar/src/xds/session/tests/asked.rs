//! What traffic asks for beside services: addresses and hosts; and what holds for every sidecar.

use super::*;
use mesh_protocol::address::Address;
use mesh_protocol::external::{ExternalHost, ExternalService, Resolution};
use mesh_protocol::mesh::{EgressPolicy, Mesh};

fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_are_asked_for_answered_forgotten_and_offered_again() {
    let mut session = open(&[]);
    let both = Wants { addresses: [at("10.0.0.1"), at("240.240.0.9")].into(), ..Wants::default() };
    let (requests, _) = session.want(both);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].type_url, ResourceType::Address.type_url());
    assert_eq!(requests[0].resource_names_subscribe, ["10.0.0.1", "240.240.0.9"]);

    let known = Address {
        address: at("240.240.0.9"),
        service: Some(name("shop/orders")),
        endpoints: vec![],
        external_services: vec![],
    };
    let known = resource(ResourceType::Address, "240.240.0.9", "a1", known.encode());
    let unknown = error("10.0.0.1", NOT_FOUND, "nothing");
    let type_url = ResourceType::Address.type_url().into();
    let got = session.receive(wire::DeltaDiscoveryResponse { type_url, resources: vec![known], ..unknown });
    assert_eq!(got.changed.addresses, [at("10.0.0.1"), at("240.240.0.9")].into());
    assert_eq!(session.held().service_at(at("240.240.0.9")), Some(&name("shop/orders")));
    assert!(matches!(session.held().addresses.get(&at("10.0.0.1")), Some(None)));

    let (requests, changed) =
        session.want(Wants { addresses: [at("240.240.0.9")].into(), ..Wants::default() });
    assert_eq!(requests[0].resource_names_unsubscribe, ["10.0.0.1"]);
    assert_eq!(changed.addresses, [at("10.0.0.1")].into());
    session.close();
    let again = session.open(node(), &announcement());
    let of_type = again.iter().find(|it| it.type_url == ResourceType::Address.type_url()).unwrap();
    assert_eq!(of_type.initial_resource_versions.get("240.240.0.9").map(String::as_str), Some("a1"));

    let gone = removed(ResourceType::Address, &["240.240.0.9"]);
    assert_eq!(session.receive(gone).changed.addresses, [at("240.240.0.9")].into());
    assert_eq!(session.held().service_at(at("240.240.0.9")), None);
}

#[test]
fn what_holds_for_the_mesh_is_asked_for_first_kept_and_offered_again() {
    let mut session = open(&[]);
    let mesh = Mesh { egress: EgressPolicy::RegisteredOnly, virtual_networks: vec![] };
    let resources = vec![resource(ResourceType::Mesh, "default", "m1", mesh.encode())];
    assert!(session.receive(response(ResourceType::Mesh, "n1", resources)).changed.mesh);
    let gone = session.receive(removed(ResourceType::Mesh, &["default"]));
    assert!(gone.changed.is_empty(), "the last good one stays");
    session.close();
    let again = session.open(node(), &announcement());
    let of_type = again.iter().find(|it| it.type_url == ResourceType::Mesh.type_url()).unwrap();
    assert_eq!(of_type.resource_names_subscribe, ["default"]);
    assert_eq!(of_type.initial_resource_versions.get("default").map(String::as_str), Some("m1"));
    assert_eq!(session.held().mesh.as_ref().map(|held| &*held.value), Some(&mesh));
}

#[test]
fn hosts_and_the_domains_above_them_are_asked_for_and_answered() {
    let mut session = open(&[]);
    let pattern = |text: &str| text.parse::<HostPattern>().unwrap();
    let hosts: BTreeSet<_> = HostPattern::candidates("api.example.com").collect();
    let (requests, _) = session.want(Wants { hosts, ..Wants::default() });
    assert_eq!(requests[0].resource_names_subscribe, ["*.com", "*.example.com", "api.example.com"]);
    let payments = ExternalService {
        name: "shop/payments".parse().unwrap(),
        ports: vec![],
        resolution: Resolution::Host,
    };
    let known = ExternalHost { host: pattern("*.example.com"), services: vec![payments] };
    let known = resource(ResourceType::ExternalHost, "*.example.com", "x1", known.encode());
    let got = session.receive(wire::DeltaDiscoveryResponse {
        type_url: ResourceType::ExternalHost.type_url().into(),
        resources: vec![known],
        ..error("*.com", NOT_FOUND, "none")
    });
    assert_eq!(got.changed.hosts, [pattern("*.com"), pattern("*.example.com")].into());
    assert!(session.held().hosts[&pattern("*.example.com")].is_some());
    assert!(session.held().hosts[&pattern("*.com")].is_none());
    let (_, changed) = session.want(Wants::default());
    assert_eq!(changed.hosts.len(), 2);
    assert!(session.held().hosts.is_empty());
}

#[test]
fn trouble_of_the_control_plane_makes_no_address_and_no_host_unknown() {
    let mut session = open(&[]);
    let addresses = [at("10.0.0.1")].into();
    let hosts = HostPattern::candidates("db.internal").collect();
    session.want(Wants { addresses, hosts, ..Wants::default() });
    for (kind, name) in [(ResourceType::Address, "10.0.0.1"), (ResourceType::ExternalHost, "db.internal")] {
        let refused = error(name, 8, "too many names");
        let type_url = kind.type_url().into();
        let got = session.receive(wire::DeltaDiscoveryResponse { type_url, ..refused });
        assert!(got.changed.is_empty(), "{name} is still asked for");
    }
}
