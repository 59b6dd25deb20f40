//! Where callers and instances run decides who answers, as a TrafficPolicy says it; and requests of one source stay with
//! one instance where that is asked for.

use mesh_load::mesh::Beside;
use std::collections::{BTreeMap, BTreeSet};
use tests::http1::{Connection, get};
use tests::wait::{eventually, holds};
use tests::world::{NAMESPACE, World};

fn policy(world: &World, spec: &str) {
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: web, namespace: demo}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: web}}]\n{spec}"
    ));
}

/// How many of so many requests each instance answers.
fn spread(outbound: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut connection = Connection::open(outbound).unwrap();
    let mut seen = BTreeMap::new();
    for _ in 0..requests {
        let answer = connection.get("web", "/").unwrap();
        *seen.entry(answer.header("x-instance").to_owned()).or_default() += 1;
    }
    seen
}

fn until_only(outbound: &str, wanted: &[&str]) {
    let wanted: BTreeSet<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
    eventually(&format!("{wanted:?} answer, and nobody else"), || {
        let seen = spread(outbound, 40);
        holds(seen.keys().cloned().collect::<BTreeSet<_>>() == wanted, seen)
    });
}

/// A Service `web` with an instance in each of these places, named by them, and a client in `eu/a/1`.
fn placed(places: &[&str]) -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    for place in places {
        world.serve_with("web", &name(place), "http", &["http"], &[("--locality", place)]);
    }
    let outbound = world.client_with("shopper", &[], &[("--locality", "eu/a/1")]);
    let all: Vec<String> = places.iter().map(|place| name(place)).collect();
    until_only(&outbound, &all.iter().map(String::as_str).collect::<Vec<_>>());
    (world, outbound)
}

fn name(place: &str) -> String {
    place.replace('/', "-")
}

#[test]
fn the_nearest_answer_and_regions_take_over_in_the_order_that_is_given() {
    let (mut world, outbound) = placed(&["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "ap/a/1"]);
    policy(&world, "  locality:\n    mode: Failover\n    failover: [{from: eu, to: [ap]}]\n");
    for nearest in ["eu-a-1", "eu-a-2", "eu-b-1", "ap-a-1", "us-a-1"] {
        until_only(&outbound, &[nearest]);
        world.mesh.member(nearest).unwrap().terminate_sidecar().unwrap();
    }
}

#[test]
fn a_zone_that_is_healthy_enough_keeps_its_requests_and_else_gives_away_what_it_cannot_carry() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    for instance in ["near-a", "near-b", "far-a"] {
        let zone = if instance == "far-a" { "eu/b" } else { "eu/a" };
        world.serve_with("web", instance, "http", &["http"], &[("--locality", zone)]);
    }
    let outbound = world.client_with("shopper", &[], &[("--locality", "eu/a")]);
    policy(&world, "  loadBalancing: {policy: RoundRobin}\n  locality: {mode: PreferSameZone}\n");
    until_only(&outbound, &["near-a", "near-b"]);
    // Another whose application never listens: one of three is not healthy, which is less than 71.4 %.
    let port = mesh_load::mesh::free_port().unwrap();
    let beside = Beside {
        namespace: NAMESPACE,
        service_account: "web",
        labels: &[("app", "web")],
        inbound: Some(format!("main={port}/http")),
        flags: &[("--locality", "eu/a")],
        ..Beside::default()
    };
    world.mesh.join("near-c", &beside, None).unwrap();
    until_only(&outbound, &["far-a", "near-a", "near-b"]);
    policy(
        &world,
        "  loadBalancing: {policy: RoundRobin}\n  locality: {mode: PreferSameZone, overprovisioning: 150}\n",
    );
    until_only(&outbound, &["near-a", "near-b"]);
}

#[test]
fn what_may_not_leave_its_region_fails_there_and_says_why() {
    let (mut world, outbound) = placed(&["eu/a/1", "eu/b/1", "us/a/1"]);
    policy(&world, "  locality: {mode: SameRegionOnly}\n");
    until_only(&outbound, &["eu-a-1", "eu-b-1"]);
    policy(&world, "  locality: {mode: SameZoneOnly}\n");
    until_only(&outbound, &["eu-a-1"]);
    world.mesh.member("eu-a-1").unwrap().terminate_sidecar().unwrap();
    let refused = eventually("there is nobody in the zone", || {
        let refused = get(&outbound, "web", "/").unwrap();
        if refused.header("outrigger-reason") == "no_endpoints" {
            Ok(refused)
        } else {
            Err(format!("{refused:?}"))
        }
    });
    assert_eq!(
        (refused.status, refused.body.trim()),
        (
            503,
            "of the endpoints of the service demo/web in the zone a of eu, there is none; its TrafficPolicy demo/web keeps \
             requests from the 2 elsewhere"
        )
    );
    policy(&world, "  locality: {mode: SameRegionOnly}\n");
    until_only(&outbound, &["eu-b-1"]);
}

#[test]
fn requests_of_one_source_stay_with_one_instance() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    for instance in ["web-a", "web-b", "web-c"] {
        world.serve("web", instance, "http", &["http"]);
    }
    let mut outbound = Vec::new();
    for caller in ["caller-a", "caller-b"] {
        let beside = Beside { namespace: NAMESPACE, service_account: "caller", ..Beside::default() };
        world.mesh.join(caller, &beside, None).unwrap();
        outbound.push(world.mesh.member(caller).unwrap().sidecar_addr("outbound").unwrap().to_owned());
    }
    for outbound in &outbound {
        until_only(outbound, &["web-a", "web-b", "web-c"]);
    }
    let home = |outbound: &str| {
        eventually("all requests go to one instance, on whatever connection", || {
            let seen: BTreeSet<_> =
                (0..20).map(|_| get(outbound, "web", "/").unwrap().header("x-instance").to_owned()).collect();
            if seen.len() == 1 { Ok(seen.into_iter().next().unwrap()) } else { Err(format!("{seen:?}")) }
        })
    };
    policy(&world, "  loadBalancing: {policy: Maglev, hashOn: [{type: SourceIdentity}]}\n");
    assert_eq!(home(&outbound[0]), home(&outbound[1]), "both are one caller");
    policy(
        &world,
        "  loadBalancing: {policy: RingHash, hashOn: [{type: Header, name: x-user}, {type: SourceAddress}]}\n",
    );
    let first = home(&outbound[0]);
    assert_eq!(home(&outbound[0]), first);
    home(&outbound[1]);
}
