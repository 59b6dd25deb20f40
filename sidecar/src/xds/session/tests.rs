//! The session's promises, as tables of what goes in and what must come out.

mod asked;

use super::*;
use mesh_names::{AppProtocol, Port};
use mesh_protocol::announcement::AnnouncedState;
use mesh_protocol::endpoint::{Endpoint, EndpointHealth, EndpointPort, Transport};
use mesh_protocol::service::{Backend, PathMatch, RouteMatch, RouteRule, Service, ServicePort};
use mesh_protocol::wire::Any;
use mesh_protocol::workload::Workload;

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn names(texts: &[&str]) -> BTreeSet<ServiceName> {
    texts.iter().map(|text| name(text)).collect()
}

fn wants(texts: &[&str]) -> Wants {
    Wants { services: names(texts), ..Wants::default() }
}

fn service(text: &str, backends: &[&str]) -> Service {
    let backend =
        |service: &&str| Backend { service: name(service), port: port(80), weight: 1, invalid: None };
    let rule = RouteRule {
        route: "shop/route".into(),
        index: 0,
        backends: backends.iter().map(backend).collect(),
        timeouts: Default::default(),
        retry: None,
        hedging: None,
    };
    let all = RouteMatch {
        rule: 0,
        path: PathMatch::Prefix("/".into()),
        method: None,
        headers: vec![],
        query_params: vec![],
    };
    let (rules, matches) = if backends.is_empty() { (vec![], vec![]) } else { (vec![rule], vec![all]) };
    let port = ServicePort {
        port: port(80),
        name: String::new(),
        app_protocol: AppProtocol::Http,
        rules,
        matches,
        policy: None,
    };
    Service { name: name(text), ports: vec![port], virtual_addresses: vec![] }
}

fn endpoint(service: &str, member: &str) -> Endpoint {
    Endpoint {
        service: name(service),
        name: member.parse().unwrap(),
        address: "127.0.0.1".parse().unwrap(),
        ports: vec![EndpointPort { service_port: port(80), target_port: port(8080) }],
        transport: Transport::Plaintext,
        locality: Default::default(),
        weight: Default::default(),
        health: EndpointHealth::Ready,
    }
}

fn resource(kind: ResourceType, name: &str, version: &str, bytes: Vec<u8>) -> wire::Resource {
    wire::Resource {
        version: version.into(),
        resource: Some(Any { type_url: kind.type_url().into(), value: bytes }),
        name: name.into(),
        aliases: vec![],
    }
}

fn of_service(text: &str, version: &str) -> wire::Resource {
    resource(ResourceType::Service, text, version, service(text, &[]).encode())
}

fn of_endpoint(text: &str, member: &str, version: &str) -> wire::Resource {
    let endpoint = endpoint(text, member);
    resource(ResourceType::Endpoint, &endpoint.resource_name(), version, endpoint.encode())
}

fn response(kind: ResourceType, nonce: &str, resources: Vec<wire::Resource>) -> wire::DeltaDiscoveryResponse {
    wire::DeltaDiscoveryResponse {
        system_version_info: "7".into(),
        type_url: kind.type_url().into(),
        nonce: nonce.into(),
        resources,
        ..Default::default()
    }
}

fn removed(kind: ResourceType, names: &[&str]) -> wire::DeltaDiscoveryResponse {
    let removed_resources = names.iter().map(ToString::to_string).collect();
    wire::DeltaDiscoveryResponse { removed_resources, ..response(kind, "n", vec![]) }
}

fn error(name: &str, code: i32, sentence: &str) -> wire::DeltaDiscoveryResponse {
    let error = wire::ResourceError {
        resource_name: Some(wire::ResourceName { name: name.into() }),
        error_detail: Some(wire::Status { code, message: sentence.into(), details: vec![] }),
    };
    wire::DeltaDiscoveryResponse {
        resource_errors: vec![error],
        ..response(ResourceType::Service, "n", vec![])
    }
}

fn own() -> Own {
    Own { trust_domain: TrustDomain::default(), workload: "shop/front-1".parse().unwrap() }
}

fn announcement() -> Announcement {
    Announcement {
        sequence: 1,
        name: "front-1".parse().unwrap(),
        labels: BTreeMap::new(),
        address: "127.0.0.1".parse().unwrap(),
        inbound_port: port(15008),
        ports: vec![],
        locality: Default::default(),
        weight: Default::default(),
        state: AnnouncedState::Ready,
        reason: String::new(),
        certificate_expires: None,
    }
}

fn node() -> wire::Node {
    wire::Node { id: "shop/front-1".into(), ..Default::default() }
}

/// A session on an open stream that wants these services.
fn open(wanted: &[&str]) -> Session {
    let mut session = Session::new(own(), Held::default());
    session.want(wants(wanted));
    session.open(node(), &announcement());
    session
}

fn members(session: &Session, service: &str) -> Vec<String> {
    let collection = session.held().endpoints.get(&name(service));
    collection.map(|c| c.members.keys().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn a_stream_opens_with_the_announcement_and_what_every_sidecar_needs() {
    let mut session = Session::new(own(), Held::default());
    let requests = session.open(node(), &announcement());
    let types: Vec<_> = requests.iter().map(|r| ResourceType::of_url(&r.type_url).unwrap()).collect();
    let needed = [ResourceType::TrustBundle, ResourceType::Mesh, ResourceType::Workload];
    assert_eq!(types, needed, "no wildcard for services");
    assert_eq!(requests[0].announcement.as_ref().unwrap().sequence, 1);
    assert_eq!(requests[0].node.as_ref().unwrap().id, "shop/front-1");
    assert_eq!(requests[0].resource_names_subscribe, ["mesh.internal"]);
    assert_eq!(requests[2].resource_names_subscribe, ["shop/front-1"]);
    assert!(requests[1].node.is_none() && requests[1].announcement.is_none());
}

#[test]
fn a_wanted_service_is_subscribed_with_its_endpoints() {
    let mut session = open(&[]);
    let (requests, _) = session.want(wants(&["shop/orders"]));
    assert_eq!(requests[0].resource_names_subscribe, ["shop/orders"]);
    assert_eq!(requests[1].resource_names_subscribe, ["shop/orders/*"]);
    let (requests, _) = session.want(wants(&["shop/cart"]));
    assert_eq!(requests[0].resource_names_subscribe, ["shop/cart"]);
    assert_eq!(requests[0].resource_names_unsubscribe, ["shop/orders"]);
    assert_eq!(requests[1].resource_names_unsubscribe, ["shop/orders/*"]);
    assert!(session.want(wants(&["shop/cart"])).0.is_empty(), "nothing changed, nothing is said");
}

#[test]
fn a_good_response_is_acknowledged() {
    let mut session = open(&["shop/orders"]);
    let got = session.receive(response(ResourceType::Service, "n1", vec![of_service("shop/orders", "v1")]));
    let reply = got.reply.unwrap();
    assert_eq!(reply.response_nonce, "n1");
    assert_eq!(reply.type_url, ResourceType::Service.type_url());
    assert_eq!(reply.error_detail, None);
    assert_eq!(got.changed.services, names(&["shop/orders"]));
    assert_eq!(session.held().revision, "7");
}

#[test]
fn a_refusal_names_resource_and_field_and_the_rest_is_applied() {
    let mut session = open(&["shop/orders", "shop/cart"]);
    session.receive(response(ResourceType::Service, "n1", vec![of_service("shop/orders", "v1")]));
    let mut bad = mesh_protocol::wire::v1::Service {
        namespace: "shop".into(),
        name: "orders".into(),
        virtual_addresses: vec![],
        ports: vec![Default::default()],
    };
    bad.ports[0].port = 70_000;
    let bytes = prost::Message::encode_to_vec(&bad);
    let resources =
        vec![resource(ResourceType::Service, "shop/orders", "v2", bytes), of_service("shop/cart", "v1")];
    let got = session.receive(response(ResourceType::Service, "n2", resources));
    let reply = got.reply.unwrap();
    assert_eq!(reply.response_nonce, "n2");
    assert_eq!(
        reply.error_detail.unwrap().message,
        "service `shop/orders`: field `ports.port`: `70000` is not a port: it must be between 1 and 65535"
    );
    assert_eq!(
        &*session.held().services[&name("shop/orders")].resource.version,
        "v1",
        "the last good one stays"
    );
    assert!(session.held().services.contains_key(&name("shop/cart")));
    assert_eq!(got.changed.services, names(&["shop/cart"]));
}

#[test]
fn what_can_not_be_used_is_refused() {
    let kind = ResourceType::Service;
    let good = service("shop/orders", &[]).encode();
    let cart = service("shop/cart", &[]).encode();
    let other = wire::Resource {
        resource: Some(Any { type_url: "x".into(), value: good }),
        ..of_service("shop/orders", "v")
    };
    let cases = [
        (resource(kind, "shop/orders", "v", vec![0xff]), "service `shop/orders`: not a valid message"),
        (resource(kind, "shop/orders", "v", cart), "service `shop/orders`: it says that it is `shop/cart`"),
        (other, "service `shop/orders`: it carries no message of its type"),
        (
            wire::Resource { resource: None, ..of_service("shop/orders", "v") },
            "service `shop/orders`: it carries no message of its type",
        ),
    ];
    for (resource, says) in cases {
        let mut session = open(&["shop/orders"]);
        let got = session.receive(response(kind, "n", vec![resource]));
        let message = got.reply.unwrap().error_detail.unwrap().message;
        assert!(message.starts_with(says), "{message}");
        assert!(session.held().services.is_empty());
    }
}

#[test]
fn an_unknown_type_is_refused() {
    let mut session = open(&[]);
    let unknown = wire::DeltaDiscoveryResponse {
        type_url: "type.googleapis.com/x.Y".into(),
        nonce: "n".into(),
        ..Default::default()
    };
    let status = session.receive(unknown).reply.unwrap().error_detail.unwrap();
    assert_eq!(status.message, "type `type.googleapis.com/x.Y`: this sidecar knows no such resource type");
}

#[test]
fn a_new_stream_resumes_from_the_versions_held() {
    let mut session = open(&["shop/orders"]);
    session.receive(response(ResourceType::Service, "n1", vec![of_service("shop/orders", "s1")]));
    let endpoints = vec![of_endpoint("shop/orders", "a", "e1"), of_endpoint("shop/orders", "b", "e2")];
    session.receive(response(ResourceType::Endpoint, "n2", endpoints));
    session.close();
    let requests = session.open(node(), &announcement());
    let versions = |kind: ResourceType| {
        let request = requests.iter().find(|r| r.type_url == kind.type_url()).unwrap();
        let mut versions: Vec<_> = request.initial_resource_versions.clone().into_iter().collect();
        versions.sort();
        versions
    };
    assert_eq!(versions(ResourceType::Service), [("shop/orders".to_owned(), "s1".to_owned())]);
    assert_eq!(
        versions(ResourceType::Endpoint),
        [("shop/orders/a".to_owned(), "e1".to_owned()), ("shop/orders/b".to_owned(), "e2".to_owned())]
    );
    let got = session.receive(removed(ResourceType::Endpoint, &["shop/orders/a"]));
    assert_eq!(members(&session, "shop/orders"), ["b"], "only the difference is told");
    assert_eq!(got.changed.services, names(&["shop/orders"]));
}

#[test]
fn what_is_held_without_a_version_is_fetched_whole() {
    let mut held = Held::default();
    for member in ["a", "b"] {
        let endpoint = endpoint("shop/orders", member);
        held.import(ResourceType::Endpoint, &endpoint.resource_name(), "", &endpoint.encode());
    }
    let mut session = Session::new(own(), held);
    session.want(wants(&["shop/orders"]));
    let requests = session.open(node(), &announcement());
    assert!(requests.iter().all(|request| request.initial_resource_versions.is_empty()));
    assert_eq!(members(&session, "shop/orders"), ["a", "b"], "served until the answer comes");
    session.receive(response(ResourceType::Endpoint, "n", vec![of_endpoint("shop/orders", "b", "e")]));
    assert_eq!(members(&session, "shop/orders"), ["b"], "the first answer is complete");
    session.receive(response(ResourceType::Endpoint, "n", vec![of_endpoint("shop/orders", "c", "e")]));
    assert_eq!(members(&session, "shop/orders"), ["b", "c"], "later answers are differences");
}

#[test]
fn a_collection_is_known_once_it_was_answered() {
    let mut session = open(&["shop/orders"]);
    assert!(!session.held().endpoints.contains_key(&name("shop/orders")));
    session.receive(removed(ResourceType::Endpoint, &["shop/orders/*"]));
    let collection = &session.held().endpoints[&name("shop/orders")];
    assert!(collection.known && collection.members.is_empty());
    session.receive(response(ResourceType::Endpoint, "n", vec![of_endpoint("shop/orders", "a", "1")]));
    assert_eq!(members(&session, "shop/orders"), ["a"]);
    session.receive(removed(ResourceType::Endpoint, &["shop/orders/a"]));
    let collection = &session.held().endpoints[&name("shop/orders")];
    assert!(collection.known && collection.members.is_empty());
}

#[test]
fn a_missing_service_keeps_the_control_planes_sentence() {
    let mut session = open(&["shop/ordrs"]);
    let sentence = "no service `ordrs` in namespace `shop`; nearest: orders";
    let got = session.receive(error("shop/ordrs", 5, sentence));
    assert_eq!(&*session.held().missing[&name("shop/ordrs")], sentence);
    assert_eq!(got.changed.services, names(&["shop/ordrs"]));
    session.receive(removed(ResourceType::Service, &["shop/ordrs"]));
    assert_eq!(&*session.held().missing[&name("shop/ordrs")], sentence, "a bare removal says less");
    session.receive(response(ResourceType::Service, "n", vec![of_service("shop/ordrs", "v1")]));
    assert!(session.held().missing.is_empty(), "it exists now");
}

#[test]
fn a_removed_service_is_missing() {
    let mut session = open(&["shop/orders"]);
    session.receive(response(ResourceType::Service, "n", vec![of_service("shop/orders", "v1")]));
    session.receive(removed(ResourceType::Service, &["shop/orders"]));
    assert!(session.held().services.is_empty());
    assert_eq!(&*session.held().missing[&name("shop/orders")], "no service `orders` in namespace `shop`");
}

#[test]
fn a_passing_trouble_of_the_control_plane_takes_nothing_away() {
    let mut session = open(&["shop/orders"]);
    session.receive(response(ResourceType::Service, "n", vec![of_service("shop/orders", "v1")]));
    session.receive(error("shop/orders", 14, "compiling"));
    assert!(session.held().services.contains_key(&name("shop/orders")));
    assert!(session.held().missing.is_empty());
}

#[test]
fn the_own_workload_and_the_trust_bundle_outlive_their_removal() {
    let mut session = open(&[]);
    let workload = Workload {
        limits: vec![],
        name: "shop/front-1".parse().unwrap(),
        service_account: "front".parse().unwrap(),
        ports: vec![],
        mtls: Default::default(),
    };
    let kind = ResourceType::Workload;
    session.receive(response(kind, "n", vec![resource(kind, "shop/front-1", "v", workload.encode())]));
    let got = session.receive(removed(kind, &["shop/front-1"]));
    assert!(got.changed.is_empty());
    assert!(session.held().workload.is_some());
}

#[test]
fn an_empty_trust_bundle_is_refused() {
    let mut session = open(&[]);
    let kind = ResourceType::TrustBundle;
    let empty =
        mesh_protocol::wire::v1::TrustBundle { trust_domain: "mesh.internal".into(), certificates: vec![] };
    let bytes = prost::Message::encode_to_vec(&empty);
    let got = session.receive(response(kind, "n", vec![resource(kind, "mesh.internal", "v", bytes)]));
    assert!(got.reply.unwrap().error_detail.unwrap().message.contains("at least one certificate"));
    assert!(session.held().trust_bundle.is_none());
}

#[test]
fn a_bundle_that_is_no_certificate_is_refused() {
    let mut session = open(&[]);
    let kind = ResourceType::TrustBundle;
    let bundle = mesh_protocol::trust_bundle::TrustBundle {
        trust_domain: TrustDomain::default(),
        certificates: vec![bytes::Bytes::from_static(b"not a certificate")],
    };
    let got =
        session.receive(response(kind, "n", vec![resource(kind, "mesh.internal", "v", bundle.encode())]));
    let message = got.reply.unwrap().error_detail.unwrap().message;
    assert!(message.starts_with("trust_bundle `mesh.internal`: field `certificates`: "), "{message}");
    assert!(session.held().trust_bundle.is_none());
}

#[test]
fn what_was_not_asked_for_is_left_alone() {
    let mut session = open(&["shop/orders"]);
    let got = session.receive(response(ResourceType::Service, "n", vec![of_service("shop/cart", "v1")]));
    assert!(got.changed.is_empty() && got.reply.unwrap().error_detail.is_none());
    assert!(session.held().services.is_empty());
}

#[test]
fn a_service_not_wanted_any_more_is_forgotten() {
    let mut session = open(&["shop/orders"]);
    session.receive(response(ResourceType::Service, "n", vec![of_service("shop/orders", "v1")]));
    session.receive(response(ResourceType::Endpoint, "n", vec![of_endpoint("shop/orders", "a", "1")]));
    let (_, changed) = session.want(Wants::default());
    assert_eq!(changed.services, names(&["shop/orders"]));
    assert!(session.held().services.is_empty() && session.held().endpoints.is_empty());
}

#[test]
fn an_announcement_in_force_is_told_and_needs_no_ack() {
    let mut session = open(&[]);
    let got = session.receive(wire::DeltaDiscoveryResponse { announced: 3, ..Default::default() });
    assert_eq!(got.announced, Some(3));
    assert!(got.reply.is_none() && got.changed.is_empty() && got.rejected.is_empty());
}

#[test]
fn backends_of_routes_are_wanted_too() {
    let mut session = open(&["shop/orders"]);
    let orders = service("shop/orders", &["shop/orders-v1", "shop/orders-v2"]);
    let resources = vec![resource(ResourceType::Service, "shop/orders", "v", orders.encode())];
    session.receive(response(ResourceType::Service, "n", resources));
    let wanted = crate::xds::wanted::Wanted::new([name("shop/orders")]);
    assert_eq!(wanted.services(session.held()), names(&["shop/orders", "shop/orders-v1", "shop/orders-v2"]));
}

#[test]
fn many_refusals_make_one_bounded_sentence() {
    let wanted: Vec<String> = (0..20).map(|number| format!("shop/s{number}")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let mut session = open(&wanted);
    let bad = wanted.iter().map(|name| resource(ResourceType::Service, name, "v", vec![0xff])).collect();
    let message = session
        .receive(response(ResourceType::Service, "n", bad))
        .reply
        .unwrap()
        .error_detail
        .unwrap()
        .message;
    assert!(message.ends_with("; and 12 more"), "{message}");
}
