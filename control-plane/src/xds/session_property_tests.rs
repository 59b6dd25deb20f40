//! Whatever is asked and whatever happens, a client that follows the protocol ends with what it subscribed to.

use super::tests::{ENDPOINT, Stream};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a client would hold after reading responses.
#[derive(Default)]
struct Client(BTreeMap<String, Vec<u8>>);

impl Client {
    fn read(&mut self, response: &DeltaDiscoveryResponse) {
        for resource in &response.resources {
            self.0.insert(resource.name.clone(), resource.resource.as_ref().unwrap().value.clone());
        }
        for name in &response.removed_resources {
            self.0.remove(name);
        }
    }
}

fn is_covered(subscribed: &BTreeSet<String>, held: &str) -> bool {
    held.rsplit_once('/').is_some_and(|(service, _)| subscribed.contains(&format!("{service}/*")))
}

proptest! {
    #[test]
    fn whatever_happens_a_client_ends_with_exactly_what_it_subscribed_to(
        steps in proptest::collection::vec((0u8..7, 0u8..3, 0u8..4, 0u8..4), 1..80),
    ) {
        let mut stream = Stream::with(&[]);
        let mut client = Client::default();
        let mut subscribed = BTreeSet::new();
        let mut waiting = Vec::new();
        for (action, service, member, value) in steps {
            let name = format!("shop/s{service}/e{member}");
            let collection = format!("shop/s{service}/*");
            match action {
                0 | 1 => stream.put(ResourceType::Endpoint, &name, vec![value]),
                2 => stream.remove(ResourceType::Endpoint, &name),
                3 => { stream.subscribe(ENDPOINT, &[&collection]); subscribed.insert(collection); }
                4 => {
                    stream.ask(DeltaDiscoveryRequest {
                        type_url: ENDPOINT.into(),
                        resource_names_unsubscribe: vec![collection.clone()],
                        ..Default::default()
                    });
                    client.0.retain(|held, _| !held.starts_with(collection.trim_end_matches('*')));
                    subscribed.remove(&collection);
                }
                5 => if let Some(response) = stream.session.response() {
                    waiting.push(response);
                },
                _ => if let Some(response) = waiting.pop() {
                    stream.acknowledge(&response);
                    client.read(&response);
                    // A client ignores what it has unsubscribed from meanwhile.
                    client.0.retain(|held, _| is_covered(&subscribed, held));
                },
            }
        }
        while let Some(response) = waiting.pop().or_else(|| stream.session.response()) {
            stream.acknowledge(&response);
            client.read(&response);
        }
        client.0.retain(|held, _| is_covered(&subscribed, held));
        let expected: BTreeMap<String, Vec<u8>> = stream
            .world
            .with_prefix(ResourceType::Endpoint, "")
            .filter(|(name, _)| is_covered(&subscribed, name))
            .map(|(name, encoded)| (name.to_string(), encoded.bytes.to_vec()))
            .collect();
        prop_assert_eq!(client.0, expected);
        prop_assert!(stream.session.is_settled());
    }
}
