//! Names near one that does not exist, for the sentence that says so.

use super::Snapshot;
use mesh_names::ServiceName;
use mesh_protocol::resource::ResourceType;

/// Most names offered; more is noise.
pub const NEAREST_MAX: usize = 3;
/// Most names looked at in one namespace, and again in all of them; the rest is not offered. Bounds what a stream of
/// unknown names can cost.
const SCAN_MAX: usize = 2_000;

/// Services whose names are near `asked`, nearest first, at most [`NEAREST_MAX`]: those of its own namespace before
/// others. As a caller in that namespace would write them: `orders`, `orders.billing`.
pub fn nearest_services(snapshot: &Snapshot, asked: &ServiceName) -> Vec<String> {
    let (namespace, name) = (asked.namespace.as_str(), asked.name.as_str());
    // A third of the letters may be wrong, and always two: `ordrs`, `oders`, `order`.
    let tolerance = (name.len() / 3).max(2);
    let mut near = Vec::new();
    let own = format!("{namespace}/");
    for (resource, _) in snapshot.with_prefix(ResourceType::Service, &own).take(SCAN_MAX) {
        let candidate = resource.get(own.len()..).unwrap_or_default();
        if let Some(distance) = distance(name, candidate, tolerance) {
            near.push((false, distance, candidate.to_owned()));
        }
    }
    for (resource, _) in snapshot.with_prefix(ResourceType::Service, "").take(SCAN_MAX) {
        let Some((space, candidate)) = resource.split_once('/') else { continue };
        // Elsewhere only what is nearly the same name is worth a thought.
        if space != namespace
            && let Some(distance) = distance(name, candidate, 1)
        {
            near.push((true, distance, format!("{candidate}.{space}")));
        }
    }
    near.sort();
    near.into_iter().take(NEAREST_MAX).map(|(_, _, text)| text).collect()
}

/// The edit distance, if it is within the tolerance and leaves something in common.
fn distance(asked: &str, candidate: &str, tolerance: usize) -> Option<usize> {
    if asked.len().abs_diff(candidate.len()) > tolerance {
        return None;
    }
    let distance = strsim::levenshtein(asked, candidate);
    (distance <= tolerance && distance < asked.len()).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(services: &[&str], asked: &str) -> Vec<String> {
        let mut snapshot = Snapshot::default();
        for name in services {
            snapshot.put(ResourceType::Service, (*name).into(), vec![]);
        }
        nearest_services(&snapshot, &asked.parse().unwrap())
    }

    #[test]
    fn the_own_namespace_comes_first_then_the_distance() {
        let services = ["billing/orders", "billing/other", "shop/order", "shop/orders", "shop/web"];
        assert_eq!(nearest(&services, "shop/ordrs"), ["orders", "order", "orders.billing"]);
        assert_eq!(nearest(&services, "empty/orders"), ["orders.billing", "orders.shop", "order.shop"]);
    }

    #[test]
    fn nothing_near_is_offered_when_nothing_is_near() {
        assert!(nearest(&["shop/orders"], "shop/payments").is_empty());
        assert!(nearest(&["shop/ab"], "shop/xy").is_empty());
    }

    #[test]
    fn at_most_three_are_offered() {
        assert_eq!(nearest(&["a/web1", "a/web2", "a/web3", "a/web4"], "a/web").len(), NEAREST_MAX);
    }
}
