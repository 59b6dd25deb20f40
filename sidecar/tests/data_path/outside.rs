//! Places outside of the mesh, by the host a request at the proxy port names.

use crate::mesh::{Ca, Plan, Sidecar, port, routed};
use crate::origin::{ask, eventually, full, get, http_echo, https_echo, listen};
use http::{Request, Version};
use mesh_mtls::{Alpn, ApiAcceptor};
use mesh_names::AppProtocol;
use mesh_protocol::external::{
    ExternalHost, ExternalPort, ExternalProtocol, ExternalService, ExternalTrust, Originate, Resolution,
};
use sidecar::demand::Wish;
use sidecar::resolve::Answer;
use sidecar::snapshot::{ExternalHosts, ServiceState, ServiceView, Snapshot, compile};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An ExternalService with port 80, which is `target` at 127.0.0.1.
fn external(name: &str, protocol: ExternalProtocol, target: SocketAddr) -> ExternalService {
    let port = ExternalPort {
        port: port(80),
        protocol,
        target_port: port(target.port()),
        originate: None,
        invalid: None,
    };
    let resolution = Resolution::Addresses(vec![target.ip()]);
    ExternalService { name: name.parse().unwrap(), ports: vec![port], resolution }
}

/// A snapshot that knows these hosts, and that nothing else is at any of `asked`.
fn knowing(known: &[(&str, &ExternalService)], asked: &[&str]) -> Snapshot {
    let mut hosts = ExternalHosts::default();
    for pattern in asked.iter().flat_map(|host| mesh_names::HostPattern::candidates(host)) {
        hosts.set(&pattern, None);
    }
    for (host, service) in known {
        let host = host.parse().unwrap();
        hosts.set(&host, Some(&ExternalHost { host: host.clone(), services: vec![(*service).clone()] }));
    }
    Snapshot { hosts: Arc::new(hosts), received: true, ..Snapshot::default() }
}

fn client() -> Sidecar {
    Plan::new("web").start(&Ca::new())
}

#[tokio::test]
async fn a_registered_host_is_asked_for_and_reached_and_counted_by_its_name() {
    let mut client = client();
    client.demands.heard(true);
    let outbound = client.outbound;
    let asked = tokio::spawn(async move { get(outbound, "API.example.com", "/x").await });
    assert_eq!(client.demands.next().await, Some(Wish::Host("api.example.com".into())));
    let service = external("shop/api", ExternalProtocol::Http, http_echo("outside").await);
    client.publish_snapshot(knowing(&[("api.example.com", &service)], &["api.example.com"]));
    let got = asked.await.unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    assert!(got.text.starts_with("outside GET /x HTTP/1.1 host=API.example.com"), "{got:?}");
    let labels = [("direction", "outbound"), ("service", "shop/api"), ("status", "200")];
    assert_eq!(client.metric("outrigger_requests_total", &labels).await, 1.0);
}

#[tokio::test]
async fn a_host_nobody_names_is_refused_as_unknown_and_nobody_waits_for_a_control_plane_that_is_away() {
    let client = client();
    let got = get(client.outbound, "www.example.com", "/").await;
    assert_eq!((got.status, got.reason()), (502, "unknown_host"), "{got:?}");
    client.demands.heard(true);
    client.publish_snapshot(knowing(&[], &["www.example.com"]));
    let got = eventually(client.outbound, "www.example.com", |got| got.reason() == "unknown_host").await;
    assert!(got.text.contains("`www.example.com` is no name of this mesh"), "{got:?}");
    let nonsense = get(client.outbound, "under_score.example.com", "/").await;
    assert_eq!(nonsense.reason(), "unknown_host", "what can be no host is not asked for");
}

#[tokio::test]
async fn a_service_of_the_mesh_wins_over_a_place_outside() {
    let client = client();
    client.demands.heard(true);
    let service = external("shop/example", ExternalProtocol::Http, http_echo("outside").await);
    let name: mesh_names::ServiceName = "com/example".parse().unwrap();
    let mut snapshot = knowing(&[("example.com", &service)], &["example.com"]);
    snapshot.services.insert(name.clone(), ServiceState::Missing("no such service".into()));
    client.publish_snapshot(snapshot.clone());
    let got = eventually(client.outbound, "example.com", |got| got.status == 200).await;
    assert!(got.text.starts_with("outside "), "{got:?}");
    let inside = http_echo("inside").await;
    let view = ServiceView {
        service: Arc::new(compile(&routed("com/example", 80, AppProtocol::Http, vec![], vec![])).unwrap()),
        endpoints: Arc::new([Arc::new(crate::mesh::endpoint(
            "com/example",
            80,
            inside,
            mesh_protocol::endpoint::Transport::Plaintext,
        ))]),
        endpoints_known: true,
        last_used: Arc::default(),
    };
    snapshot.services.insert(name, ServiceState::Known(Arc::new(view)));
    client.publish_snapshot(snapshot);
    let got = eventually(client.outbound, "example.com", |got| got.text.starts_with("inside ")).await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn hosts_below_a_domain_share_its_addresses_and_a_dead_one_is_passed_over() {
    let client = client();
    let origin = http_echo("outside").await;
    let mut service = external("shop/all", ExternalProtocol::Detect, origin);
    // Nobody listens at the first.
    service.resolution = Resolution::Addresses(vec!["127.0.0.77".parse().unwrap(), origin.ip()]);
    client.publish_snapshot(knowing(&[("*.example.com", &service)], &["a.example.com", "b.c.example.com"]));
    eventually(client.outbound, "a.example.com", |got| got.status == 200).await;
    for host in ["a.example.com", "b.c.example.com"] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for _ in 0..10 {
                let request = Request::post(format!("http://{host}/x")).body(full("body")).unwrap();
                let got = ask(client.outbound, version, request).await;
                assert_eq!(got.status, 200, "{got:?}");
                assert!(got.text.contains(&format!("{version:?} host={host}")), "{got:?}");
            }
        }
    }
    let retries = client.metric("outrigger_retries_total", &[("service", "shop/all")]).await;
    assert!(retries >= 1.0, "the dead address was tried");
}

#[tokio::test]
async fn what_a_place_has_not_got_is_said() {
    let client = client();
    let mut service = external("shop/api", ExternalProtocol::Http, http_echo("outside").await);
    let mut broken = service.clone();
    broken.ports[0].invalid = Some("the ConfigMap `ca` is not there".into());
    service.ports[0].port = port(8080);
    let known = [("api.example.com", &service), ("broken.example.com", &broken)];
    client.publish_snapshot(knowing(&known, &["api.example.com", "broken.example.com"]));
    let only = eventually(client.outbound, "api.example.com", |got| got.status == 200).await;
    assert!(only.text.starts_with("outside "), "its only port: {only:?}");
    let got = get(client.outbound, "api.example.com:81", "/").await;
    assert_eq!((got.status, got.reason()), (502, "unknown_port"));
    assert_eq!(got.text.trim_end(), "the ExternalService shop/api has no port 81; it has 8080");
    let got = get(client.outbound, "broken.example.com", "/").await;
    assert_eq!((got.status, got.reason()), (500, "invalid_backend"));
    assert_eq!(got.text.trim_end(), "the ConfigMap `ca` is not there");
}

#[tokio::test]
async fn connect_opens_a_tunnel_to_a_registered_host() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
    });
    let client = client();
    let service = external("shop/db", ExternalProtocol::Tls, address);
    client.publish_snapshot(knowing(&[("db.example.com", &service)], &["db.example.com"]));
    let mut answer = String::new();
    let mut stream;
    loop {
        stream = TcpStream::connect(client.outbound).await.unwrap();
        stream
            .write_all(b"CONNECT db.example.com:80 HTTP/1.1\r\nHost: db.example.com:80\r\n\r\n")
            .await
            .unwrap();
        answer.clear();
        while !answer.ends_with("\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap().into());
        }
        if !answer.contains("unknown_host") {
            break;
        }
    }
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream.write_all(b"PING").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"PING");
    let labels = [("direction", "outbound"), ("service", "shop/db")];
    assert_eq!(client.metric("outrigger_tcp_connections_total", &labels).await, 1.0);
}

#[tokio::test]
async fn a_place_without_addresses_is_where_dns_says_or_its_name_is_said_to_be_unknown() {
    let origin = http_echo("outside").await;
    let addresses = || Answer::Addresses(vec![origin.ip()], Duration::from_secs(60));
    let plan =
        Plan::new("web").knowing("api.example.com", addresses()).knowing("lb.example.net", addresses());
    let plan = plan.knowing("silent.example.com", Answer::Failed("no server answers".into()));
    let client = plan.start(&Ca::new());
    let mut all = external("shop/all", ExternalProtocol::Http, origin);
    all.resolution = Resolution::Host;
    let mut one = external("shop/one", ExternalProtocol::Http, origin);
    one.resolution = Resolution::Name("lb.example.net".parse().unwrap());
    let asked = ["api.example.com", "none.example.com", "silent.example.com", "one.example.org"];
    client.publish_snapshot(knowing(&[("*.example.com", &all), ("one.example.org", &one)], &asked));
    for host in ["one.example.org", "api.example.com"] {
        let got = eventually(client.outbound, host, |got| got.status == 200).await;
        assert!(got.text.contains(&format!("host={host}")), "{got:?}");
    }
    let got = get(client.outbound, "none.example.com", "/").await;
    assert_eq!((got.status, got.reason()), (502, "name_not_resolved"));
    assert_eq!(got.text.trim_end(), "DNS knows no address of `none.example.com`");
    let got = get(client.outbound, "silent.example.com", "/").await;
    assert_eq!(
        got.text.trim_end(),
        "the address of `silent.example.com` cannot be looked up: no server answers"
    );
    let lookups = |result| client.metric("outrigger_external_name_lookups_total", result);
    assert_eq!(lookups(&[("result", "ok")]).await, 2.0);
    assert!(lookups(&[("result", "failed")]).await >= 1.0);
}

const HOST: &str = "api.example.com";

fn adding_tls(mut service: ExternalService, sni: Option<&str>, trust: ExternalTrust) -> ExternalService {
    let sni = sni.map(|sni| sni.parse().unwrap());
    service.ports[0].originate = Some(Originate { sni, trust });
    service
}

fn given(ca: &Ca) -> ExternalTrust {
    ExternalTrust::Certificates(vec![ca.certificate().into()])
}

#[tokio::test]
async fn tls_is_added_and_the_place_chooses_the_http() {
    let ca = Ca::new();
    let client = client();
    for (protocols, version) in
        [(&[Alpn::H2, Alpn::Http1][..], Version::HTTP_2), (&[Alpn::Http1][..], Version::HTTP_11)]
    {
        let place = ApiAcceptor::new(ca.identity_with("x", &[HOST]), protocols);
        let origin = https_echo("secret", place).await;
        for protocol in [ExternalProtocol::Http, ExternalProtocol::Detect] {
            let service = adding_tls(external("shop/api", protocol, origin), None, given(&ca));
            client.publish_snapshot(knowing(&[(HOST, &service)], &[HOST]));
            let expected = format!("secret GET /x {version:?} host={HOST}");
            eventually(client.outbound, HOST, |got| got.text.starts_with(&expected)).await;
        }
        let request = Request::post(format!("http://{HOST}/x")).body(full("body")).unwrap();
        let got = ask(client.outbound, Version::HTTP_2, request).await;
        assert!(got.status == 200 && got.text.ends_with("body"), "{got:?}");
    }
    assert!(client.metric("outrigger_external_handshakes_total", &[("result", "ok")]).await >= 2.0);
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_has_its_own_reason_and_words() {
    let (ca, other) = (Ca::new(), Ca::new());
    let client = client();
    let place = ApiAcceptor::new(ca.identity_with("x", &["lb.example.net"]), &[Alpn::Http1]);
    let service = external("shop/api", ExternalProtocol::Http, https_echo("secret", place).await);
    let file = tempfile::tempdir().unwrap().path().join("ca.crt");
    for (sni, trust, reason, words) in [
        (
            None,
            given(&ca),
            "upstream_certificate",
            "the certificate of `api.example.com` is not for that name",
        ),
        (
            Some("lb.example.net"),
            given(&other),
            "upstream_certificate",
            "is not issued by the CA certificates in",
        ),
        (
            Some("lb.example.net"),
            ExternalTrust::System,
            "upstream_certificate",
            "an authority this machine trusts",
        ),
        (None, ExternalTrust::File(file), "invalid_backend", "cannot be verified: "),
    ] {
        let service = adding_tls(service.clone(), sni, trust);
        client.publish_snapshot(knowing(&[(HOST, &service)], &[HOST]));
        let got = eventually(client.outbound, HOST, |got| got.text.contains(words)).await;
        assert_eq!(got.reason(), reason, "{got:?}");
    }
    let service = adding_tls(service, Some("lb.example.net"), given(&ca));
    client.publish_snapshot(knowing(&[(HOST, &service)], &[HOST]));
    eventually(client.outbound, HOST, |got| got.status == 200).await;
}

#[tokio::test]
async fn a_burst_of_first_requests_makes_one_connection_to_a_place_that_speaks_http2() {
    let ca = Ca::new();
    let client = client();
    let place = ApiAcceptor::new(ca.identity_with("x", &[HOST]), &[Alpn::H2]);
    let service = external("shop/api", ExternalProtocol::Http, https_echo("secret", place).await);
    let service = adding_tls(service, None, given(&ca));
    client.publish_snapshot(knowing(&[(HOST, &service)], &[HOST]));
    let outbound = client.outbound;
    let burst = (0..40).map(|_| tokio::spawn(async move { get(outbound, HOST, "/x").await }));
    let burst: Vec<_> = burst.collect();
    for one in burst {
        // Those that came before the snapshot are refused.
        let got = one.await.unwrap();
        assert!(got.status == 200 || got.reason() == "unknown_host", "{got:?}");
    }
    eventually(client.outbound, HOST, |got| got.status == 200).await;
    assert_eq!(client.metric("outrigger_external_handshakes_total", &[]).await, 1.0);
}
