//! Captured connections to virtual addresses.

use crate::deadline::FIRST_CONFIGURATION;
use crate::outbound::world::{Then, World};
use crate::snapshot::AddressState;
use mesh_protocol::mesh::EgressPolicy;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n";

fn virtual_address() -> SocketAddr {
    "240.240.0.9:80".parse().unwrap()
}

#[tokio::test]
async fn a_virtual_address_without_a_service_is_refused_and_not_dialled() {
    let promise = async {
        for policy in [EgressPolicy::Allow, EgressPolicy::RegisteredOnly] {
            let mut world = World::new(policy);
            world.is_at(virtual_address().ip(), AddressState::Unknown);
            let answer = world.talk(virtual_address(), REQUEST, Then::Wait).await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
            assert!(answer.contains("outrigger-reason: unknown_address"), "{answer}");
            let sentence =
                "240.240.0.9 is a virtual address that belongs to no service: the service was deleted";
            assert!(answer.contains(sentence), "{answer}");
            assert_eq!(world.answer(virtual_address(), b"\x16\x03\x01 no HTTP").await, "");
            assert_eq!(world.count("outrigger_refusals_total", "unknown_address"), 2.0);
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_service_that_has_come_to_an_address_wins_over_what_was_said_of_it_before() {
    let promise = async {
        let mut world = World::new(EgressPolicy::Allow);
        world.is_at(virtual_address().ip(), AddressState::Unknown);
        let orders = "shop/orders".parse().unwrap();
        world.snapshot.owners = Arc::new([(virtual_address().ip(), orders)].into());
        let missing = crate::snapshot::ServiceState::Missing("no service `shop/orders`".into());
        world.snapshot.services.insert("shop/orders".parse().unwrap(), missing);
        world.publish();
        let answer = world.talk(virtual_address(), REQUEST, Then::Wait).await;
        assert!(answer.contains("outrigger-reason: unknown_host"), "the service was asked: {answer}");
        assert!(answer.contains("no service `shop/orders`"), "{answer}");
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test(start_paused = true)]
async fn a_virtual_address_of_which_nothing_was_said_is_never_taken_for_a_place_outside() {
    let promise = async {
        for is_heard in [true, false] {
            let world = World::new(EgressPolicy::Allow);
            world.control_plane_is_heard(is_heard);
            let answer = world.talk(virtual_address(), REQUEST, Then::Wait).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            assert!(answer.contains("outrigger-reason: discovery_timeout"), "{answer}");
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_the_first_configuration_has_its_whole_time_after_it() {
    let promise = async {
        let mut world = World::new(EgressPolicy::Allow);
        world.control_plane_is_heard(true);
        world.snapshot.received = false;
        world.publish();
        let mut client = world.dial(virtual_address()).await;
        client.write_all(REQUEST).await.unwrap();
        let moment = Duration::from_millis(500);
        tokio::time::sleep(FIRST_CONFIGURATION - moment).await;
        world.snapshot.received = true;
        world.publish();
        tokio::time::sleep(2 * moment).await;
        world.is_at(virtual_address().ip(), AddressState::Unknown);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("outrigger-reason: unknown_address"), "{answer}");
    };
    LocalSet::new().run_until(promise).await;
}
