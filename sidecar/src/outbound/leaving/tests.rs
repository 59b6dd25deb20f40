//! Captured connections to addresses nobody knows.

use crate::detect::client_hello;
use crate::outbound::world::{Then, World, server};
use crate::snapshot::{AddressState, Registered};
use mesh_names::Port;
use mesh_protocol::external::{
    ExternalPort, ExternalProtocol, ExternalService, ExternalTrust, Originate, Resolution,
};
use mesh_protocol::mesh::EgressPolicy;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// An ExternalService at `target`, called by the port of `dialled`.
fn external(dialled: SocketAddr, protocol: ExternalProtocol, target: SocketAddr) -> ExternalService {
    let port = ExternalPort {
        port: Port::new(dialled.port()).unwrap(),
        protocol,
        target_port: Port::new(target.port()).unwrap(),
        originate: None,
        invalid: None,
    };
    let resolution = Resolution::Addresses(vec![target.ip()]);
    ExternalService { name: "shop/db".parse().unwrap(), ports: vec![port], resolution }
}

const POLICIES: [EgressPolicy; 2] = [EgressPolicy::Allow, EgressPolicy::RegisteredOnly];

#[tokio::test]
async fn tls_goes_where_its_server_name_is_registered_untouched() {
    let promise = async {
        for (policy, pattern) in POLICIES.into_iter().zip(["db.example.com", "*.example.com"]) {
            let (dialled, place) = (server("dialled ").await, server("place ").await);
            let mut world = World::new(policy);
            world.register(pattern, external(dialled, ExternalProtocol::Tls, place));
            let hello = client_hello(Some("DB.example.com"), 40);
            let answer = world.answer(dialled, &hello).await;
            assert_eq!(answer, format!("place {}", String::from_utf8_lossy(&hello)));
            assert_eq!(world.count("outrigger_tcp_connections_total", "shop/db"), 1.0);
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn tls_of_other_names_follows_the_egress_policy() {
    let promise = async {
        for name in [Some("other.example.org"), None] {
            let dialled = server("dialled ").await;
            let hello = client_hello(name, 4096);
            let world = World::new(EgressPolicy::Allow);
            assert!(world.answer(dialled, &hello).await.starts_with("dialled \u{16}"), "{name:?}");
            let mut world = World::new(EgressPolicy::RegisteredOnly);
            world.register("db.example.com", external(dialled, ExternalProtocol::Tls, dialled));
            assert_eq!(world.answer(dialled, &hello).await, "", "{name:?}");
            assert_eq!(world.count("outrigger_refusals_total", "egress_refused"), 1.0, "{name:?}");
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn tls_that_would_be_added_twice_is_refused() {
    let promise = async {
        let (dialled, place) = (server("dialled ").await, server("place ").await);
        let mut world = World::new(EgressPolicy::Allow);
        let mut service = external(dialled, ExternalProtocol::Http, place);
        service.ports[0].originate = Some(Originate { sni: None, trust: ExternalTrust::System });
        world.register("db.example.com", service);
        assert_eq!(world.answer(dialled, &client_hello(Some("db.example.com"), 4096)).await, "");
        assert_eq!(world.count("outrigger_refusals_total", "invalid_backend"), 1.0);
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_at_once_where_egress_is_allowed() {
    let promise = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 welcome").await.unwrap();
        });
        let world = World::new(EgressPolicy::Allow);
        let mut client = world.dial(dialled).await;
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 welcome");
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn http_goes_where_its_host_is_registered_and_other_hosts_follow_the_egress_policy() {
    let promise = async {
        let dialled = server("dialled ").await;
        let request =
            |host| format!("GET /x HTTP/1.1\r\nX-ODD:  y\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        for policy in POLICIES {
            let mut world = World::new(policy);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = listener.local_addr().unwrap();
            world.register("*.example.com", external(dialled, ExternalProtocol::Http, origin));
            tokio::task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut heard = Vec::new();
                while !heard.ends_with(b"\r\n\r\n") {
                    heard.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplace").await.unwrap();
                assert!(String::from_utf8(heard).unwrap().contains("api.example.com"));
                std::future::pending::<()>().await;
            });
            let answer = world.talk(dialled, request("api.example.com").as_bytes(), Then::Wait).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("place"), "{answer}");
            assert_eq!(world.count("outrigger_requests_total", "shop/db"), 1.0);
            let other = request("other.example.org");
            let then = if policy == EgressPolicy::Allow { Then::End } else { Then::Wait };
            let answer = world.talk(dialled, other.as_bytes(), then).await;
            match policy {
                EgressPolicy::Allow => {
                    assert_eq!(answer, format!("dialled {other}"), "left alone, to the byte")
                }
                EgressPolicy::RegisteredOnly => {
                    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
                    assert!(answer.contains("outrigger-reason: egress_refused"), "{answer}");
                    assert!(
                        answer.contains(&format!("`other.example.org` at {dialled} is no place")),
                        "{answer}"
                    );
                    assert_eq!(world.count("outrigger_requests_total", "egress_refused"), 1.0);
                }
            }
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_place_known_by_its_address_is_called_as_its_port_says() {
    let promise = async {
        let place = server("place ").await;
        let dialled: SocketAddr = ([127, 0, 0, 1], 1).into();
        let mut world = World::new(EgressPolicy::RegisteredOnly);
        let service = external(dialled, ExternalProtocol::Tcp, place);
        let registered = Registered { endpoints: vec![], external_services: vec![Arc::new(service)] };
        world.is_at(dialled.ip(), AddressState::Registered(Arc::new(registered)));
        assert_eq!(world.answer(dialled, b"hello").await, "place hello");
        assert_eq!(world.count("outrigger_tcp_connections_total", "shop/db"), 1.0);
        let other: SocketAddr = ([127, 0, 0, 1], 2).into();
        assert_eq!(world.answer(other, b"hello").await, "", "another port of it is another place");
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test(start_paused = true)]
async fn that_a_host_is_nobodys_is_kept_while_it_is_used() {
    let promise = async {
        let dialled = server("dialled ").await;
        let mut world = World::new(EgressPolicy::Allow);
        world.register("db.example.com", external(dialled, ExternalProtocol::Http, dialled));
        tokio::time::sleep(Duration::from_secs(7)).await;
        let request = b"GET / HTTP/1.1\r\nHost: other.example.org\r\n\r\n";
        assert!(world.answer(dialled, request).await.starts_with("dialled GET"));
        let answer = world.snapshot.external("other.example.org", &"shop".parse().unwrap()).unwrap();
        assert_eq!(answer.last_used.second(), 7);
    };
    LocalSet::new().run_until(promise).await;
}
