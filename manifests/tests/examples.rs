//! The examples are what users copy: each story loads without an error or a warning, and says what its comments say.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use manifests::external_service::ExternalProtocol;
use manifests::traffic_policy::{Asks, FaultAnswer, HashOn, LocalityMode, RateLimitKey, RateUnit, Target};
use manifests::{Completeness, ManifestSet, Object, check, load};
use std::path::Path;

fn example(paths: &[&str]) -> ManifestSet {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files = Vec::new();
    for path in paths.iter().map(|path| root.join(path)) {
        let mut found: Vec<_> = match path.is_dir() {
            true => std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect(),
            false => vec![path],
        };
        found.sort();
        files.extend(
            found
                .into_iter()
                .map(|file| (file.display().to_string(), std::fs::read_to_string(file).unwrap())),
        );
    }
    load(files).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

fn clean(paths: &[&str]) -> ManifestSet {
    let set = example(paths);
    assert_eq!(set.warnings, []);
    assert_eq!(check(&set, Completeness::Complete), []);
    set
}

#[test]
fn hello_is_complete() {
    assert_eq!(clean(&["hello"]).manifests.len(), 3);
}

#[test]
fn tcp_echo_is_complete_with_the_namespace() {
    assert_eq!(clean(&["hello/namespace.yaml", "tcp-echo"]).manifests.len(), 2);
}

#[test]
fn egress_is_complete_and_says_what_its_comments_say() {
    let set = clean(&["hello/namespace.yaml", "egress"]);
    let external = |name: &str| {
        let found = set.manifests.iter().find_map(|manifest| {
            let Object::ExternalService(service) = &manifest.object else { return None };
            (service.name.name.as_str() == name).then(|| service.clone())
        });
        found.unwrap()
    };
    let payments = external("payments");
    assert_eq!(payments.ports[0].target_port.number(), 443);
    assert!(payments.ports[0].originate.as_ref().is_some_and(|it| it.sni.is_none() && it.ca.is_none()));
    assert_eq!(external("packages").ports[0].protocol, ExternalProtocol::Tls);
    assert_eq!(external("database").ports[0].protocol, ExternalProtocol::Tcp);
}

#[test]
fn balancing_is_complete_and_says_what_its_comments_say() {
    let set = clean(&["hello/namespace.yaml", "balancing"]);
    let policy = |name: &str| {
        let found = set.manifests.iter().find_map(|manifest| {
            let Object::TrafficPolicy(policy) = &manifest.object else { return None };
            (policy.name.as_str() == name).then(|| policy.clone())
        });
        found.unwrap()
    };
    let cache = policy("cache").rules;
    let balancing = cache.load_balancing.unwrap();
    let hash_on = [HashOn::Header("x-user".to_owned()), HashOn::QueryParameter("user".to_owned())];
    assert_eq!((balancing.hash_on.as_slice(), balancing.bounded_load.unwrap().get()), (&hash_on[..], 125));
    assert_eq!(cache.outlier_detection.unwrap().consecutive_failures, Some(3));
    let admin = policy("cache-admin");
    assert!(matches!(&admin.targets[0], Target::Service { section: Some(port), .. } if port == "admin"));
    assert_eq!(admin.rules.slow_start.unwrap().window.as_secs(), 30);
}

#[test]
fn limits_are_complete_and_say_what_their_comments_say() {
    let set = clean(&["hello/namespace.yaml", "limits"]);
    let found = set.manifests.iter().find_map(|manifest| {
        if let Object::TrafficPolicy(policy) = &manifest.object { Some(policy.rules.clone()) } else { None }
    });
    let rules = found.unwrap();
    let breaker = rules.circuit_breaker.unwrap();
    assert_eq!(
        (breaker.requests.unwrap().get(), breaker.pending, breaker.retries),
        (100, Some(50), Some(10))
    );
    let concurrency = rules.concurrency.unwrap();
    assert!(concurrency.adaptive.is_some() && concurrency.requests.unwrap().get() == 200);
    let [search, write] = &rules.rate_limits[..] else { panic!("{:?}", rules.rate_limits) };
    assert_eq!((search.key.as_ref(), search.burst.unwrap().get()), (Some(&RateLimitKey::ClientIdentity), 20));
    assert_eq!((write.key.as_ref(), write.unit, write.matches.len()), (None, RateUnit::Minute, 2));
    let set = clean(&["hello/namespace.yaml", "fault-injection"]);
    let found = set.manifests.iter().find_map(|manifest| {
        if let Object::TrafficPolicy(policy) = &manifest.object { Some(policy.clone()) } else { None }
    });
    let policy = found.unwrap();
    let [slow, broken] = &policy.rules.fault_rules[..] else { panic!("{policy:?}") };
    assert_eq!((slow.delay.unwrap().0.as_secs(), slow.abort), (2, None));
    assert_eq!((broken.delay, broken.abort), (None, Some((FaultAnswer::Http(503), 50))));
}

#[test]
fn attempts_are_complete_and_say_what_their_comments_say() {
    let set = clean(&["hello/namespace.yaml", "attempts"]);
    let policy = |name: &str| {
        let found = set.manifests.iter().find_map(|manifest| {
            let Object::TrafficPolicy(policy) = &manifest.object else { return None };
            (policy.name.as_str() == name).then(|| policy.clone())
        });
        found.unwrap()
    };
    let catalog = policy("catalog").rules;
    assert_eq!(catalog.hedging.unwrap().percentile.unwrap().get(), 90);
    assert_eq!(catalog.timeouts.unwrap().connect.unwrap().as_millis(), 500);
    let retry = policy("orders").rules.retry.unwrap();
    assert_eq!((retry.attempts, retry.statuses.as_slice()), (Some(2), &[503][..]));
    assert_eq!((retry.budget.percent, retry.methods.len()), (Some(10), 0));
    let reports = policy("reports");
    assert!(matches!(&reports.targets[0], Target::Route { section: Some(rule), .. } if rule == "reports"));
    assert_eq!(reports.rules.timeouts.unwrap().request.unwrap().as_secs(), 300);
}

#[test]
fn locality_is_complete_and_says_what_its_comments_say() {
    let set = clean(&["hello/namespace.yaml", "locality"]);
    let locality = |name: &str| {
        let found = set.manifests.iter().find_map(|manifest| {
            let Object::TrafficPolicy(policy) = &manifest.object else { return None };
            (policy.name.as_str() == name).then(|| policy.rules.locality.clone())
        });
        found.flatten().unwrap()
    };
    let orders = locality("orders");
    let order: Vec<_> = orders.failover.iter().map(|it| (it.from.as_str(), it.to.join(" "))).collect();
    assert_eq!(orders.mode, LocalityMode::Failover);
    assert_eq!(order, [("eu-west", "eu-central us-east".to_owned()), ("us-east", "us-west".to_owned())]);
    assert_eq!(orders.transfer_cost.unwrap().get(), 300);
    assert_eq!(locality("people").mode, LocalityMode::SameRegionOnly);
}

#[test]
fn health_is_complete_and_says_what_its_comments_say() {
    let set = clean(&["hello/namespace.yaml", "health"]);
    let checks = set.manifests.iter().filter_map(|manifest| {
        let Object::TrafficPolicy(policy) = &manifest.object else { return None };
        policy.rules.health_check.clone().map(|check| check.asks)
    });
    let http = Asks::Http { path: "/healthz".to_owned(), host: None, statuses: vec![200] };
    let grpc = Asks::Grpc { service: "shop.v1.Orders".to_owned() };
    assert_eq!(checks.collect::<Vec<_>>(), [http, grpc]);
}

#[test]
fn canary_shifts_by_weight_and_retries_twice() {
    for (file, weights) in [("canary/route-90-10.yaml", [90, 10]), ("canary/route-50-50.yaml", [50, 50])] {
        let set = clean(&["hello/namespace.yaml", "canary/services.yaml", file]);
        let Some(Object::HttpRoute(route)) = set.manifests.last().map(|manifest| &manifest.object) else {
            panic!("the route is the last object of {file}");
        };
        let rule = &route.rules[0];
        let found: Vec<_> = rule.backends.iter().map(|backend| backend.weight).collect();
        assert_eq!(found, weights);
        let retry = rule.retry.as_ref().unwrap();
        assert_eq!((retry.codes.as_slice(), retry.attempts), ([503].as_slice(), 2));
    }
}

/// Stories someone adds are held to the same: every file is good, alone and without a word of warning.
#[test]
fn every_file_of_every_story_is_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let stories: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(stories.len() >= 3, "{stories:?}");
    for file in stories.iter().flat_map(|story| std::fs::read_dir(story).unwrap()) {
        let set = example(&[file.unwrap().path().to_str().unwrap()]);
        assert_eq!(set.warnings, []);
    }
}
