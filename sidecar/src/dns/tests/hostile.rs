//! Promises about bytes that are no questions: they are answered small or not at all, and harm nobody.

use super::world::{Directory, question, short};
use crate::dial::Dial;
use crate::dns::Place;
use crate::dns::forward::Forwarder;
use crate::dns::reply::{PAYLOAD_MAX, Transport};
use crate::dns::respond::Responder;
use crate::dns::upstreams::{Source, Upstreams};
use crate::telemetry::{DnsKind, DnsMetrics};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::RecordType;
use mesh_names::MeshDomain;
use proptest::prelude::*;
use std::sync::Arc;
use tokio::runtime::Runtime;

fn responder() -> (Runtime, Responder<Directory>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let metrics = DnsMetrics::register(&prometheus::Registry::new()).unwrap();
    let upstreams = Upstreams::new(Source::Given(Vec::new()), Vec::new());
    let responder = Responder {
        names: Directory::new(),
        place: Place::new("shop".parse().unwrap(), MeshDomain::default()).unwrap(),
        forwarder: Arc::new(Forwarder::new(upstreams, Dial::default(), metrics.clone())),
        metrics,
    };
    (runtime, responder)
}

#[test]
fn questions_that_are_not_looked_into_are_refused_small() {
    let (runtime, responder) = responder();
    for (name, kind, expected) in [
        ("orders.shop.", RecordType::ANY, "NoError; 3600 RFC8482 "),
        ("www.example.com.", RecordType::ANY, "NoError; 3600 RFC8482 "),
        ("mesh.internal.", RecordType::AXFR, "Refused"),
        ("mesh.internal.", RecordType::IXFR, "Refused"),
    ] {
        let bytes = question(name, kind, Some(4096)).to_vec().unwrap();
        let answer = runtime.block_on(responder.answer(&bytes, Transport::Udp)).unwrap();
        assert_eq!(short(&Message::from_vec(&answer).unwrap()), expected, "{name} {kind}");
        assert!(answer.len() <= bytes.len() + 32, "{} bytes for {}", answer.len(), bytes.len());
    }
    assert_eq!(responder.metrics.answers(DnsKind::Refused, "REFUSED"), 2);
}

/// Anything at all, or a good question with some bytes changed.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "orders.shop.svc.mesh.internal.",
        "_http._tcp.orders.shop.",
        "example.com.shop.svc.mesh.internal.",
        "www.example.com.",
        "1.0.64.100.in-addr.arpa.",
    ]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let changed = (names, any::<u16>(), prop::option::of(any::<u16>()), changes).prop_map(
        |(name, kind, payload, changes)| {
            let mut bytes = question(name, RecordType::from(kind), payload).to_vec().unwrap();
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    );
    prop_oneof![prop::collection::vec(any::<u8>(), 0..600), changed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_answered_within_bounds_or_not_at_all(bytes in bytes()) {
        let (runtime, responder) = responder();
        let answer = runtime.block_on(responder.answer(&bytes, Transport::Udp));
        if let Some(answer) = answer {
            prop_assert!(bytes.len() >= 12 && bytes[2] & 0x80 == 0, "only questions are answered");
            prop_assert!(answer.len() <= usize::from(PAYLOAD_MAX));
            prop_assert!(answer[2] & 0x80 != 0 && answer[..2] == bytes[..2], "an answer to this question");
            let message = Message::from_vec(&answer).unwrap();
            let payload = message.edns.as_ref().map_or(512, |_| usize::from(PAYLOAD_MAX));
            prop_assert!(answer.len() <= payload, "no more than was said to fit");
        }
        let refused = responder.overloaded(&bytes, Transport::Udp);
        prop_assert!(refused.is_none_or(|refused| refused.len() <= 512));
    }
}
