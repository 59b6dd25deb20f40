//! What a client hears for what it asks, as conversations.

use super::super::subscriptions::{COLLECTION_BYTES, RESPONSE_BYTES};
use super::*;

const SERVICE: &str = "type.googleapis.com/outrigger.v1.Service";
pub(super) const ENDPOINT: &str = "type.googleapis.com/outrigger.v1.Endpoint";
const WORKLOAD: &str = "type.googleapis.com/outrigger.v1.Workload";
const BUNDLE: &str = "type.googleapis.com/outrigger.v1.TrustBundle";

/// A session, the world it serves, and a client that acknowledges on demand.
pub(super) struct Stream {
    pub(super) session: Session,
    pub(super) world: Snapshot,
    revision: u64,
}

impl Stream {
    pub(super) fn with(resources: &[(ResourceType, &str, &str)]) -> Self {
        let mut world = Snapshot::default();
        for (kind, name, bytes) in resources {
            world.put(*kind, (*name).into(), bytes.as_bytes().to_vec());
        }
        let world = world.at(Revision(1));
        let peer = "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap();
        Self { session: Session::new(peer, Arc::new(world.clone())), world, revision: 1 }
    }

    pub(super) fn put(&mut self, kind: ResourceType, name: &str, bytes: impl Into<Vec<u8>>) {
        self.world.put(kind, name.into(), bytes.into());
        self.publish();
    }

    pub(super) fn remove(&mut self, kind: ResourceType, name: &str) {
        self.world.remove(kind, name);
        self.publish();
    }

    fn publish(&mut self) {
        self.revision += 1;
        self.world = self.world.clone().at(Revision(self.revision));
        self.session.publish(Arc::new(self.world.clone()));
    }

    pub(super) fn ask(&mut self, request: DeltaDiscoveryRequest) -> Requested {
        self.session.request(request)
    }

    pub(super) fn subscribe(&mut self, url: &str, names: &[&str]) {
        self.ask(subscribing(url, names));
    }

    fn hear(&mut self) -> DeltaDiscoveryResponse {
        self.session.response().expect("there is something to say")
    }

    pub(super) fn acknowledge(&mut self, response: &DeltaDiscoveryResponse) {
        self.ask(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        });
    }

    /// The next response, acknowledged, in short: `+name` for a resource, `-name` for a removal, `!name` for an error.
    fn exchange(&mut self) -> Vec<String> {
        let response = self.hear();
        self.acknowledge(&response);
        told(&response)
    }

    fn is_silent(&mut self) -> bool {
        self.session.response().is_none()
    }
}

fn subscribing(url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn told(response: &DeltaDiscoveryResponse) -> Vec<String> {
    let resources = response.resources.iter().map(|r| format!("+{}", r.name));
    let removed = response.removed_resources.iter().map(|name| format!("-{name}"));
    let errors = response
        .resource_errors
        .iter()
        .map(|e| format!("!{}", e.resource_name.as_ref().map(|n| n.name.as_str()).unwrap_or_default()));
    resources.chain(removed).chain(errors).collect()
}

fn sentence(response: &DeltaDiscoveryResponse) -> (i32, &str) {
    let status = response.resource_errors[0].error_detail.as_ref().unwrap();
    (status.code, &status.message)
}

fn shop() -> Stream {
    Stream::with(&[
        (ResourceType::TrustBundle, "mesh.internal", "ca"),
        (ResourceType::Workload, "shop/orders-1", "w"),
        (ResourceType::Service, "shop/orders", "s1"),
        (ResourceType::Service, "shop/web", "s2"),
        (ResourceType::Endpoint, "shop/orders/a", "e1"),
        (ResourceType::Endpoint, "shop/orders/b", "e2"),
    ])
}

#[test]
fn a_subscribed_resource_is_sent_once_and_again_when_it_changes() {
    let mut stream = shop();
    stream.subscribe(SERVICE, &["shop/orders"]);
    let response = stream.hear();
    assert_eq!(told(&response), ["+shop/orders"]);
    assert_eq!(response.resources[0].resource.as_ref().unwrap().value, b"s1");
    assert_eq!(response.system_version_info, "1");
    stream.acknowledge(&response);
    stream.put(ResourceType::Service, "shop/web", "other");
    assert!(stream.is_silent(), "what is not subscribed to is not sent");
    stream.put(ResourceType::Service, "shop/orders", "s1");
    assert!(stream.is_silent(), "what is equal is not sent");
    stream.put(ResourceType::Service, "shop/orders", "s1b");
    assert_eq!(stream.exchange(), ["+shop/orders"]);
    assert!(stream.is_silent());
}

#[test]
fn an_address_is_told_as_soon_as_something_is_there_and_only_to_who_asked() {
    const ADDRESS: &str = "type.googleapis.com/outrigger.v1.Address";
    let mut stream = Stream::with(&[(ResourceType::Address, "240.240.0.9", "orders")]);
    stream.subscribe(ADDRESS, &["240.240.0.9", "10.0.0.1"]);
    let response = stream.hear();
    assert_eq!(told(&response), ["+240.240.0.9", "-10.0.0.1", "!10.0.0.1"]);
    assert_eq!(sentence(&response), (5, "nothing in the mesh has the address 10.0.0.1"));
    stream.acknowledge(&response);
    stream.put(ResourceType::Address, "10.0.0.2", "another");
    assert!(stream.is_silent(), "nobody asked for that one");
    stream.put(ResourceType::Address, "10.0.0.1", "an endpoint");
    assert_eq!(stream.exchange(), ["+10.0.0.1"]);
    stream.remove(ResourceType::Address, "240.240.0.9");
    assert_eq!(stream.exchange(), ["-240.240.0.9", "!240.240.0.9"]);
    stream.subscribe(ADDRESS, &["::ffff:10.0.0.1"]);
    let message =
        "`::ffff:10.0.0.1` is not the name of an address: it must be an IP address as RFC 5952 writes it";
    assert_eq!(sentence(&stream.hear()), (3, message));
}

#[test]
fn one_response_is_in_flight_and_the_next_brings_the_newest_state_only() {
    let mut stream = shop();
    stream.subscribe(SERVICE, &["shop/orders"]);
    let first = stream.hear();
    for n in 0..5 {
        stream.put(ResourceType::Service, "shop/orders", format!("v{n}"));
        assert!(stream.is_silent(), "nothing is sent before the ACK");
    }
    stream.acknowledge(&first);
    let next = stream.hear();
    assert_eq!(next.resources.len(), 1);
    assert_eq!(next.resources[0].resource.as_ref().unwrap().value, b"v4");
    stream.acknowledge(&next);
    assert!(stream.is_silent());
    assert_eq!(stream.session.applied(), Revision(6));
}

#[test]
fn types_go_out_in_the_order_in_which_a_sidecar_needs_them() {
    let mut stream = shop();
    stream.session.set_workload("shop/orders-1".parse().unwrap());
    stream.subscribe(ENDPOINT, &["shop/orders/*"]);
    stream.subscribe(SERVICE, &["shop/orders"]);
    stream.subscribe(WORKLOAD, &["shop/orders-1"]);
    stream.subscribe(BUNDLE, &["mesh.internal"]);
    let order: Vec<_> = std::iter::from_fn(|| stream.session.response()).map(|r| r.type_url).collect();
    assert_eq!(order, [BUNDLE, WORKLOAD, SERVICE, ENDPOINT]);
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest_names_and_pushed_when_it_appears() {
    let mut stream = shop();
    stream.subscribe(SERVICE, &["shop/ordrs"]);
    let response = stream.hear();
    assert_eq!(told(&response), ["-shop/ordrs", "!shop/ordrs"]);
    assert_eq!(sentence(&response), (5, "no service `ordrs` in namespace `shop`; nearest: orders"));
    stream.acknowledge(&response);
    stream.put(ResourceType::Service, "shop/other", "x");
    assert!(stream.is_silent(), "the absence is told once");
    stream.put(ResourceType::Service, "shop/ordrs", "here");
    assert_eq!(stream.exchange(), ["+shop/ordrs"]);
    stream.remove(ResourceType::Service, "shop/ordrs");
    assert_eq!(stream.exchange(), ["-shop/ordrs", "!shop/ordrs"]);
}

#[test]
fn a_collection_brings_all_members_then_only_differences() {
    let mut stream = shop();
    stream.subscribe(ENDPOINT, &["shop/orders/*"]);
    assert_eq!(stream.exchange(), ["+shop/orders/a", "+shop/orders/b"]);
    stream.put(ResourceType::Endpoint, "shop/orders/c", "e3");
    assert_eq!(stream.exchange(), ["+shop/orders/c"]);
    stream.put(ResourceType::Endpoint, "shop/web/a", "e4");
    assert!(stream.is_silent(), "another collection is another matter");
    stream.remove(ResourceType::Endpoint, "shop/orders/a");
    assert_eq!(stream.exchange(), ["-shop/orders/a"]);
}

#[test]
fn an_empty_collection_is_reported_as_removed_first_and_whenever_it_empties() {
    let mut stream = shop();
    stream.subscribe(ENDPOINT, &["shop/web/*"]);
    assert_eq!(stream.exchange(), ["-shop/web/*"]);
    stream.put(ResourceType::Endpoint, "shop/web/a", "e");
    assert_eq!(stream.exchange(), ["+shop/web/a"]);
    stream.remove(ResourceType::Endpoint, "shop/web/a");
    assert_eq!(stream.exchange(), ["-shop/web/a", "-shop/web/*"]);
    assert!(stream.is_silent());
}

#[test]
fn a_refused_version_is_not_sent_again_until_it_changes() {
    let mut stream = shop();
    stream.subscribe(SERVICE, &["shop/orders"]);
    let response = stream.hear();
    let requested = stream.ask(DeltaDiscoveryRequest {
        type_url: SERVICE.into(),
        response_nonce: response.nonce.clone(),
        error_detail: Some(Status { code: 3, message: "field `ports`: no".into(), details: vec![] }),
        ..Default::default()
    });
    let nack = requested.nack.expect("the refusal is reported");
    assert_eq!(
        (nack.resources, nack.message.as_str()),
        (vec!["shop/orders".to_owned()], "field `ports`: no")
    );
    stream.put(ResourceType::Service, "shop/web", "other");
    assert!(stream.is_silent());
    assert_eq!(stream.session.applied(), Revision(0), "a refused state is not applied");
    stream.put(ResourceType::Service, "shop/orders", "mended");
    assert_eq!(stream.exchange(), ["+shop/orders"]);
    assert_eq!(stream.session.nacks().count(), 0);
    assert_eq!(stream.session.applied(), Revision(3));
}

#[test]
fn a_stale_nonce_acknowledges_nothing_but_its_subscriptions_count() {
    let mut stream = shop();
    stream.subscribe(SERVICE, &["shop/orders"]);
    let response = stream.hear();
    let mut stale = subscribing(SERVICE, &["shop/web"]);
    stale.response_nonce = "999".into();
    stale.error_detail = Some(Status::default());
    assert!(stream.ask(stale).nack.is_none());
    assert!(stream.is_silent(), "the first response is still in flight");
    stream.acknowledge(&response);
    assert_eq!(stream.exchange(), ["+shop/web"]);
}

#[test]
fn a_resumed_stream_hears_only_what_differs() {
    let mut stream = shop();
    let version = |kind, name: &str, s: &Stream| {
        s.world.get(kind, name).map(|e| e.version.to_string()).unwrap_or_default()
    };
    let mut request = subscribing(SERVICE, &["shop/orders", "shop/web", "shop/gone"]);
    request.initial_resource_versions = [
        ("shop/orders".to_owned(), version(ResourceType::Service, "shop/orders", &stream)),
        ("shop/web".to_owned(), "older".to_owned()),
        ("shop/gone".to_owned(), "older".to_owned()),
        ("shop/never-asked".to_owned(), "older".to_owned()),
    ]
    .into();
    stream.ask(request);
    assert_eq!(stream.exchange(), ["+shop/web", "-shop/gone", "!shop/gone"]);

    let mut request = subscribing(ENDPOINT, &["shop/orders/*"]);
    request.initial_resource_versions = [
        ("shop/orders/a".to_owned(), version(ResourceType::Endpoint, "shop/orders/a", &stream)),
        ("shop/orders/b".to_owned(), "older".to_owned()),
        ("shop/orders/z".to_owned(), "older".to_owned()),
    ]
    .into();
    stream.ask(request);
    assert_eq!(stream.exchange(), ["+shop/orders/b", "-shop/orders/z"]);
    assert!(stream.is_silent());
}

#[test]
fn a_resumed_stream_that_misses_nothing_is_told_so() {
    let mut stream = shop();
    let held = stream.world.get(ResourceType::Service, "shop/orders").unwrap().version.to_string();
    let mut request = subscribing(SERVICE, &["shop/orders"]);
    request.initial_resource_versions = [("shop/orders".to_owned(), held)].into();
    stream.ask(request);
    let response = stream.hear();
    assert!(told(&response).is_empty());
    assert_eq!(response.system_version_info, "1");
}

#[test]
fn subscribing_again_sends_again() {
    let mut stream = shop();
    stream.subscribe(SERVICE, &["shop/orders"]);
    stream.exchange();
    stream.subscribe(SERVICE, &["shop/orders"]);
    assert_eq!(stream.exchange(), ["+shop/orders"]);
    stream.subscribe(ENDPOINT, &["shop/orders/*"]);
    stream.exchange();
    stream.subscribe(ENDPOINT, &["shop/orders/*"]);
    assert_eq!(stream.exchange(), ["+shop/orders/a", "+shop/orders/b"]);
    stream.subscribe(SERVICE, &["shop/none"]);
    stream.exchange();
    stream.subscribe(SERVICE, &["shop/none"]);
    assert_eq!(stream.exchange(), ["-shop/none", "!shop/none"]);
}

#[test]
fn what_is_unsubscribed_is_not_sent_any_more() {
    let mut stream = shop();
    stream.subscribe(SERVICE, &["shop/orders"]);
    stream.exchange();
    stream.subscribe(ENDPOINT, &["shop/orders/*"]);
    stream.exchange();
    for (url, name) in [(SERVICE, "shop/orders"), (ENDPOINT, "shop/orders/*")] {
        stream.ask(DeltaDiscoveryRequest {
            type_url: url.into(),
            resource_names_unsubscribe: vec![name.into()],
            ..Default::default()
        });
    }
    stream.put(ResourceType::Service, "shop/orders", "new");
    stream.put(ResourceType::Endpoint, "shop/orders/a", "new");
    assert!(stream.is_silent());
    assert_eq!(stream.session.subscriptions(), 0);
}

#[test]
fn an_unknown_type_is_answered_and_the_stream_lives_on() {
    let mut stream = shop();
    let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    let reply = stream.ask(subscribing(cluster, &["x"])).reply.expect("an answer");
    assert_eq!(reply.type_url, cluster);
    assert!(sentence(&reply).1.starts_with(&format!("`{cluster}` is not served here; these are: ")));
    let ack =
        DeltaDiscoveryRequest { type_url: cluster.into(), response_nonce: reply.nonce, ..Default::default() };
    assert!(stream.ask(ack).reply.is_none(), "an ACK is not answered: no endless exchange");
    stream.subscribe(SERVICE, &["shop/orders"]);
    assert_eq!(stream.exchange(), ["+shop/orders"]);
}

#[test]
fn only_the_own_workload_may_be_had() {
    let mut stream = shop();
    stream.subscribe(WORKLOAD, &["shop/orders-1"]);
    assert_eq!(sentence(&stream.hear()).0, 7, "not before it is announced");
    let mut stream = shop();
    stream.session.set_workload("shop/orders-1".parse().unwrap());
    stream.subscribe(WORKLOAD, &["shop/web-1"]);
    let response = stream.hear();
    stream.acknowledge(&response);
    let expected = "`spiffe://mesh.internal/ns/shop/sa/orders` runs workload `shop/orders-1` and may not have `shop/web-1`";
    assert_eq!(sentence(&response), (7, expected));
    stream.subscribe(WORKLOAD, &["shop/orders-1"]);
    assert_eq!(stream.exchange(), ["+shop/orders-1"]);
}

#[test]
fn the_own_workload_is_awaited_in_silence_until_it_is_stored_or_refused() {
    let mut stream = Stream::with(&[]);
    let name: WorkloadName = "shop/orders-1".parse().unwrap();
    stream.session.set_workload(name);
    stream.subscribe(WORKLOAD, &["shop/orders-1"]);
    assert!(stream.is_silent());
    stream.session.refuse_workload("shop/orders-1", "held by another".into());
    let response = stream.hear();
    stream.acknowledge(&response);
    assert_eq!(sentence(&response), (9, "held by another"));
    stream.put(ResourceType::Workload, "shop/orders-1", "w");
    assert_eq!(stream.exchange(), ["+shop/orders-1"]);
}

#[test]
fn a_workload_refused_at_first_is_sent_once_it_is_registered() {
    let mut stream = shop();
    stream.session.refuse_workload("shop/orders-1", "held by another".into());
    stream.subscribe(WORKLOAD, &["shop/orders-1"]);
    let response = stream.hear();
    stream.acknowledge(&response);
    assert_eq!(sentence(&response), (9, "held by another"));
    stream.session.refuse_workload("shop/orders-1", "held by another".into());
    assert!(stream.is_silent(), "the same refusal is told once");
    stream.session.set_workload("shop/orders-1".parse().unwrap());
    assert_eq!(stream.exchange(), ["+shop/orders-1"]);
}

#[test]
fn an_announcement_is_acknowledged_with_the_next_response_or_alone() {
    let mut stream = shop();
    stream.session.acknowledge_announcement(1);
    assert_eq!(stream.hear().announced, 1);
    assert!(stream.is_silent());
    stream.subscribe(SERVICE, &["shop/orders"]);
    stream.session.acknowledge_announcement(2);
    let response = stream.hear();
    assert_eq!((response.announced, response.resources.len()), (2, 1));
    stream.session.acknowledge_announcement(3);
    assert_eq!(stream.hear().announced, 3, "even while a response is in flight");
}

#[test]
fn names_that_cannot_be_are_refused_each_with_its_rule() {
    let mut stream = shop();
    for (url, name, rule) in [
        (SERVICE, "orders", "`orders` is not a service name: it must have the form `namespace/name`"),
        (SERVICE, "*", "there is no wildcard here: subscribe to the names that are needed"),
        (
            ENDPOINT,
            "shop/orders",
            "`shop/orders` is not an endpoint's name: it must have the form `namespace/service/*`",
        ),
        (
            BUNDLE,
            "A",
            "`A` is not a trust domain: only lower-case letters, digits, `.`, `-` and `_` may stand in it",
        ),
    ] {
        stream.subscribe(url, &[name]);
        let response = stream.hear();
        assert_eq!(sentence(&response), (3, rule));
        stream.acknowledge(&response);
    }
    assert_eq!(stream.session.subscriptions(), 0);
}

#[test]
fn subscriptions_are_bounded() {
    let mut stream = shop();
    let names: Vec<String> = (0..=SUBSCRIPTIONS_MAX).map(|n| format!("shop/s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stream.subscribe(SERVICE, &names);
    assert_eq!(stream.session.subscriptions(), SUBSCRIPTIONS_MAX);
    let response = stream.hear();
    assert_eq!(sentence(&response), (8, "a stream may subscribe to at most 30000 names"));
    stream.acknowledge(&response);
    stream.subscribe(SERVICE, &["shop/s0"]);
    while let Some(response) = stream.session.response() {
        assert!(response.resource_errors.iter().all(|e| e.error_detail.as_ref().unwrap().code != 8));
        stream.acknowledge(&response);
    }
}

#[test]
fn responses_are_split_but_a_collection_comes_whole() {
    let mut stream = Stream::with(&[]);
    for n in 0..30 {
        stream.put(ResourceType::Service, &format!("shop/s{n}"), vec![n; 100_000]);
        stream.put(ResourceType::Endpoint, &format!("shop/web/e{n}"), vec![n; 100_000]);
        stream.put(ResourceType::Endpoint, &format!("shop/big/e{n}"), vec![n; 200_000]);
    }
    let names: Vec<String> = (0..30).map(|n| format!("shop/s{n}")).collect();
    stream.subscribe(SERVICE, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let sizes: Vec<usize> = std::iter::from_fn(|| {
        let response = stream.session.response()?;
        stream.acknowledge(&response);
        Some(response.resources.iter().map(|r| r.resource.as_ref().unwrap().value.len()).sum())
    })
    .collect();
    assert_eq!(sizes, [1_000_000, 1_000_000, 1_000_000]);
    assert!(sizes.iter().all(|size| *size < RESPONSE_BYTES));
    stream.subscribe(ENDPOINT, &["shop/web/*"]);
    assert_eq!(stream.exchange().len(), 30, "three megabytes in one response");
    stream.subscribe(ENDPOINT, &["shop/big/*"]);
    assert_eq!(stream.exchange().len(), COLLECTION_BYTES / 200_200, "as much as one message may carry");
    let mut rest = 0;
    while let Some(response) = stream.session.response() {
        rest += response.resources.len();
        stream.acknowledge(&response);
    }
    assert_eq!(rest, 30 - COLLECTION_BYTES / 200_200);
}
