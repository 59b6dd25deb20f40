//! Promises about the mesh's own names.

use super::world::*;
use crate::dns::conversation::PIPELINE_MAX;
use crate::dns::serve::{CONNECTIONS_MAX, QUESTIONS_MAX};
use crate::telemetry::{DnsBound, DnsKind};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

const ORDERS: &str = "orders.shop.svc.mesh.internal.";

fn elsewhere() -> RData {
    RData::A(A::new(192, 0, 2, 1))
}

#[tokio::test]
async fn udp_and_tcp_answer_on_one_port() {
    let world = World::start(&[]).await;
    for question in [question(ORDERS, RecordType::A, None), question(ORDERS, RecordType::A, Some(4096))] {
        assert_eq!(short(&world.ask_udp(&question).await), "NoError aa; 5 100.64.0.1");
        assert_eq!(short(&world.ask_tcp(&question).await), "NoError aa; 5 100.64.0.1");
    }
    assert_eq!(world.metrics.answers(DnsKind::Mesh, "NOERROR"), 4);
    world.stop().await;
}

#[tokio::test]
async fn every_form_of_a_name_is_answered_in_the_askers_spelling() {
    let world = World::start(&[]).await;
    for name in [
        "orders.",
        "oRdErS.sHoP.",
        "orders.shop.svc.",
        "Orders.Shop.Svc.Mesh.Internal.",
        ORDERS,
        "localhost.",
    ] {
        let answer = world.ask(name, RecordType::A).await;
        assert!(short(&answer).starts_with("NoError aa; "), "{name}: {}", short(&answer));
        assert_eq!(answer.queries[0].name().to_string(), name);
        assert_eq!(answer.answers[0].name.to_string(), name);
    }
}

#[tokio::test]
async fn a_name_without_ipv6_has_no_data_of_that_kind_and_exists() {
    let world = World::start(&[]).await;
    let answer = world.ask(ORDERS, RecordType::AAAA).await;
    assert_eq!(short(&answer), "NoError aa");
    assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
    assert_eq!(short(&world.ask("cart.shop.", RecordType::AAAA).await), "NoError aa; 5 fd00::2");
}

#[tokio::test]
async fn ports_and_addresses_have_names() {
    let world = World::start(&[]).await;
    let srv = world.ask("_http._tcp.orders.shop.", RecordType::SRV).await;
    assert_eq!(short(&srv), format!("NoError aa; 5 0 100 80 {ORDERS}"));
    assert_eq!(srv.additionals[0].data, RData::A(A::new(100, 64, 0, 1)));
    let ptr = world.ask("1.0.64.100.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(short(&ptr), format!("NoError aa; 5 {ORDERS}"));
}

#[tokio::test]
async fn a_short_name_is_forwarded_only_if_the_mesh_has_no_such_service() {
    let origin = Origin::of(60, vec![elsewhere()]).await;
    let world = World::start(&[&origin]).await;
    assert_eq!(short(&world.ask("orders.shop.", RecordType::A).await), "NoError aa; 5 100.64.0.1");
    assert_eq!(short(&world.ask("orders.", RecordType::AAAA).await), "NoError aa");
    assert_eq!(origin.questions(), (0, 0), "the mesh's names do not leave it");
    assert_eq!(short(&world.ask("example.com.", RecordType::A).await), "NoError; 60 192.0.2.1");
    assert_eq!(short(&world.ask("9.0.64.100.in-addr.arpa.", RecordType::PTR).await), "NoError; 60 192.0.2.1");
    assert_eq!(world.metrics.answers(DnsKind::Forwarded, "NOERROR"), 2);
}

#[tokio::test]
async fn a_foreign_name_under_a_search_domain_does_not_exist_and_nobody_is_asked() {
    // Neither the mesh nor the upstream server ever answers, so an answer means that none was waited for.
    let origin = Origin::start(|_, _, _| std::future::ready(None)).await;
    let world = World::start(&[&origin]).await;
    world.directory.link.send_replace(Link::Silent);
    for search in ["shop.svc.mesh.internal.", "mesh.internal."] {
        let answer = world.ask(&format!("www.example.com.{search}"), RecordType::A).await;
        assert_eq!(short(&answer), "NXDomain aa");
        assert_eq!(answer.authorities[0].name.to_string(), "mesh.internal.", "so that it can be remembered");
    }
    assert_eq!((*world.directory.asked.borrow(), origin.questions()), (0, (0, 0)));
    world.directory.link.send_replace(Link::Up);
    assert_eq!(short(&world.ask("none.shop.svc.mesh.internal.", RecordType::A).await), "NXDomain aa");
    assert_eq!(short(&world.ask("shop.svc.mesh.internal.", RecordType::A).await), "NoError aa");
}

#[tokio::test]
async fn what_is_known_is_answered_while_the_control_plane_is_away() {
    let origin = Origin::of(60, vec![elsewhere()]).await;
    let world = World::start(&[&origin]).await;
    world.directory.link.send_replace(Link::Away);
    assert_eq!(short(&world.ask(ORDERS, RecordType::A).await), "NoError aa; 5 100.64.0.1");
    let unknown = world.ask("new.shop.svc.mesh.internal.", RecordType::A).await;
    assert_eq!(short(&unknown), "ServFail", "not a no, which would be remembered");
    assert_eq!(short(&world.ask("example.com.", RecordType::A).await), "NoError; 60 192.0.2.1");
}

#[tokio::test]
async fn a_foreign_name_does_not_wait_for_a_control_plane_that_hangs() {
    let origin = Origin::of(60, vec![elsewhere()]).await;
    let world = World::start(&[&origin]).await;
    world.directory.link.send_replace(Link::Silent);
    assert_eq!(short(&world.ask("example.com.", RecordType::A).await), "NoError; 60 192.0.2.1");
}

#[tokio::test]
async fn a_late_answer_of_the_mesh_beats_a_no_from_outside() {
    let origin = Origin::start(|question, _, _| {
        let mut answer = answering(&question, 60, &[]);
        answer.metadata.response_code = ResponseCode::NXDomain;
        std::future::ready(Some(answer))
    })
    .await;
    let world = World::start(&[&origin]).await;
    world.directory.link.send_replace(Link::Silent);
    let mut asked = origin.asked.clone();
    let link = world.directory.link.clone();
    let release = async move {
        asked.wait_for(|asked| asked.0 == 1).await.unwrap();
        link.send_replace(Link::Up);
    };
    let (answer, ()) = tokio::join!(world.ask("orders.shop.", RecordType::A), release);
    assert_eq!(short(&answer), "NoError aa; 5 100.64.0.1");
}

#[tokio::test]
async fn a_new_address_is_answered_at_once() {
    let world = World::start(&[]).await;
    let mut facts = world.directory.facts("shop/orders");
    facts.v4 = Some([100, 64, 0, 9].into());
    world.ask(ORDERS, RecordType::A).await;
    world.directory.put("shop/orders", facts);
    assert_eq!(short(&world.ask(ORDERS, RecordType::A).await), "NoError aa; 5 100.64.0.9");
}

#[tokio::test]
async fn one_question_more_than_can_be_answered_at_once_fails_at_once() {
    let world = World::start(&[]).await;
    world.directory.link.send_replace(Link::Silent);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let bytes = question(ORDERS, RecordType::A, None).to_vec().unwrap();
    for sent in 1..=QUESTIONS_MAX {
        client.send_to(&bytes, world.address).await.unwrap();
        // Not more at once than the socket's buffer holds.
        if sent % 64 == 0 {
            world.directory.asked(sent).await;
        }
    }
    assert_eq!(short(&world.ask(ORDERS, RecordType::A).await), "ServFail");
    assert_eq!(short(&world.ask_tcp(&question(ORDERS, RecordType::A, None)).await), "ServFail");
    assert_eq!(world.metrics.limits(DnsBound::Questions), 2);
    world.directory.link.send_replace(Link::Up);
    let mut buffer = [0; 512];
    for _ in 0..QUESTIONS_MAX / 2 {
        client.recv(&mut buffer).await.unwrap();
    }
    assert_eq!(short(&world.ask(ORDERS, RecordType::A).await), "NoError aa; 5 100.64.0.1");
}

#[tokio::test]
async fn a_slow_question_holds_up_no_other_on_its_connection() {
    // `perhaps` names wait for the mesh, which hangs; the name of an address does not.
    let world = World::start(&[]).await;
    world.directory.link.send_replace(Link::Silent);
    let mut stream = world.connect().await;
    let slow = question(ORDERS, RecordType::A, None);
    let fast = question("localhost.", RecordType::A, None);
    stream.write_all(&framed(&slow.to_vec().unwrap())).await.unwrap();
    assert_eq!(ask_on(&mut stream, &fast).await.metadata.id, fast.metadata.id);
    world.directory.link.send_replace(Link::Up);
    assert_eq!(read_frame(&mut stream).await.unwrap().metadata.id, slow.metadata.id);
}

#[tokio::test]
async fn more_questions_than_a_connection_may_have_open_are_all_answered_after_it_is_half_closed() {
    let world = World::start(&[]).await;
    world.directory.link.send_replace(Link::Silent);
    let mut stream = world.connect().await;
    let frame = framed(&question(ORDERS, RecordType::A, None).to_vec().unwrap());
    stream.write_all(&frame.repeat(PIPELINE_MAX * 2)).await.unwrap();
    stream.shutdown().await.unwrap();
    world.directory.asked(PIPELINE_MAX).await;
    assert_eq!(*world.directory.asked.borrow(), PIPELINE_MAX);
    world.directory.link.send_replace(Link::Up);
    for _ in 0..PIPELINE_MAX * 2 {
        assert_eq!(short(&read_frame(&mut stream).await.unwrap()), "NoError aa; 5 100.64.0.1");
    }
    assert!(read_frame(&mut stream).await.is_none(), "then it is closed");
}

#[tokio::test]
async fn a_question_may_come_byte_by_byte_but_not_too_long_and_not_too_late() {
    let world = World::start(&[]).await;
    let mut stream = world.connect().await;
    for byte in framed(&question(ORDERS, RecordType::A, None).to_vec().unwrap()) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(short(&read_frame(&mut stream).await.unwrap()), "NoError aa; 5 100.64.0.1");
    // Part of a question, then nothing.
    stream.write_all(&[0]).await.unwrap();
    later(Duration::from_secs(11)).await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "idle connections are closed");
    let mut stream = world.connect().await;
    stream.write_all(&4097_u16.to_be_bytes()).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "no question is that long");
}

#[tokio::test]
async fn one_connection_more_than_the_limit_waits_until_another_ends() {
    let world = World::start(&[]).await;
    let question = question(ORDERS, RecordType::A, None);
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = world.connect().await;
        ask_on(&mut stream, &question).await;
        streams.push(stream);
    }
    assert_eq!(world.metrics.limits(DnsBound::Connections), 1);
    let waiting = world.ask_tcp(&question);
    let (answer, ()) = tokio::join!(waiting, async { drop(streams.pop()) });
    assert_eq!(short(&answer), "NoError aa; 5 100.64.0.1");
}
