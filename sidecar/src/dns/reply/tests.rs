//! Promises of what answers look like: which records, which bits, and how long they may be.

use super::*;
use crate::dns::meaning::Meaning;
use crate::dns::names::NamedPort;
use crate::dns::question::Wishes;
use mesh_names::MeshDomain;
use proptest::prelude::*;

fn place() -> Place {
    Place::new("shop".parse().unwrap(), MeshDomain::default()).unwrap()
}

fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Question {
    Question {
        id: 7,
        query: Query::query(Name::from_ascii(name).unwrap(), kind),
        wishes: Wishes { recursion: true, authentic: false, unchecked: false, dnssec: false },
        edns: edns.map(Payload),
    }
}

fn v4_only() -> ServiceFacts {
    let port = |name: &str, number| NamedPort {
        name: (!name.is_empty()).then(|| name.parse().unwrap()),
        port: mesh_names::Port::new(number).unwrap(),
    };
    ServiceFacts {
        v4: Some(Ipv4Addr::new(100, 64, 0, 1)),
        v6: None,
        ports: vec![port("http", 80), port("", 9000)],
    }
}

/// The reply to a question about a service with `facts`, in short.
fn says(name: &str, kind: RecordType, facts: &ServiceFacts) -> String {
    let question = question(name, kind, None);
    let (Meaning::Surely(asked) | Meaning::Perhaps(asked)) = place().meaning(question.query.name()) else {
        panic!("{name} is no service's");
    };
    let reply = Reply::of_service(&question.query, &asked, facts, &place());
    assert!(reply.authoritative);
    let all = [&reply.answers, &reply.authorities, &reply.additionals];
    let texts = all.into_iter().flatten().map(|record| format!("; {} {}", record.name, record.data));
    assert!(all.into_iter().flatten().all(|record| record.ttl == MESH_TTL));
    format!("{:?}{}", reply.code, texts.collect::<String>())
}

#[test]
fn a_service_has_addresses_ports_and_nothing_else() {
    const SOA: &str = "mesh.internal. hostmaster.mesh.internal. 1 5 5 5 5";
    let v4 = v4_only();
    let both = ServiceFacts { v6: Some("fd00::1".parse().unwrap()), ..v4.clone() };
    let none = ServiceFacts::default();
    let full = "orders.shop.svc.mesh.internal.";
    let port = |name: &str| format!("_{name}._tcp.orders.shop.svc.mesh.internal.");
    for (name, kind, facts, expected) in [
        (full, RecordType::A, &v4, format!("NoError; {full} 100.64.0.1")),
        (full, RecordType::AAAA, &both, format!("NoError; {full} fd00::1")),
        // Not NXDOMAIN: an asker for both kinds of address would give up on both.
        (full, RecordType::AAAA, &v4, format!("NoError; mesh.internal. {SOA}")),
        (full, RecordType::A, &none, format!("NoError; mesh.internal. {SOA}")),
        (full, RecordType::HTTPS, &both, format!("NoError; mesh.internal. {SOA}")),
        (full, RecordType::SRV, &both, format!("NoError; mesh.internal. {SOA}")),
        ("Orders.shop.", RecordType::A, &v4, "NoError; Orders.shop. 100.64.0.1".into()),
        ("orders.shop.", RecordType::AAAA, &v4, format!("NoError; orders.shop. {SOA}")),
        (
            &port("http"),
            RecordType::SRV,
            &both,
            format!("NoError; {} 0 100 80 {full}; {full} 100.64.0.1; {full} fd00::1", port("http")),
        ),
        (
            &port("9000"),
            RecordType::SRV,
            &v4,
            format!("NoError; {} 0 100 9000 {full}; {full} 100.64.0.1", port("9000")),
        ),
        (
            "_http._tcp.orders.",
            RecordType::SRV,
            &v4,
            format!("NoError; _http._tcp.orders. 0 100 80 {full}; {full} 100.64.0.1"),
        ),
        (&port("http"), RecordType::A, &v4, format!("NoError; mesh.internal. {SOA}")),
        (&port("grpc"), RecordType::SRV, &v4, format!("NXDomain; mesh.internal. {SOA}")),
        ("_grpc._tcp.orders.", RecordType::SRV, &v4, format!("NXDomain; orders. {SOA}")),
        (
            "_tcp.orders.shop.svc.mesh.internal.",
            RecordType::SRV,
            &v4,
            format!("NoError; mesh.internal. {SOA}"),
        ),
    ] {
        assert_eq!(says(name, kind, facts), expected, "{name} {kind}");
    }
}

#[test]
fn apex_localhost_owner_and_any_are_answered_small() {
    let ask = |name: &str, kind| question(name, kind, None).query;
    let short = |reply: Reply| {
        let records = reply.answers.iter().map(|record| format!(" {}", record.data));
        format!(
            "{:?}{}{}",
            reply.code,
            records.collect::<String>(),
            if reply.authoritative { " aa" } else { "" }
        )
    };
    let place = place();
    let orders = "shop/orders".parse().unwrap();
    let reverse = "1.0.64.100.in-addr.arpa.";
    for (reply, expected) in [
        (
            Reply::of_apex(&ask("mesh.internal.", RecordType::SOA), &place),
            "NoError mesh.internal. hostmaster.mesh.internal. 1 5 5 5 5 aa",
        ),
        (Reply::of_apex(&ask("mesh.internal.", RecordType::A), &place), "NoError aa"),
        (Reply::of_localhost(&ask("localhost.", RecordType::A), &place), "NoError 127.0.0.1 aa"),
        (Reply::of_localhost(&ask("localhost.", RecordType::AAAA), &place), "NoError ::1 aa"),
        (Reply::of_localhost(&ask("localhost.", RecordType::TXT), &place), "NoError aa"),
        (
            Reply::of_owner(&ask(reverse, RecordType::PTR), &orders, &place),
            "NoError orders.shop.svc.mesh.internal. aa",
        ),
        (Reply::of_owner(&ask(reverse, RecordType::A), &orders, &place), "NoError aa"),
        (Reply::of_refusal(&ask("a.b.", RecordType::ANY), Refusal::Any), "NoError RFC8482 "),
        (Reply::of_refusal(&ask("a.b.", RecordType::AXFR), Refusal::Unsupported), "Refused"),
    ] {
        assert_eq!(short(reply), expected);
    }
}

/// A reply with `count` addresses and `extra` additional records.
fn long(name: &Name, count: usize, extra: usize) -> Reply {
    let record = |name: &Name| Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::LOCALHOST)));
    Reply {
        authoritative: false,
        authentic: true,
        answers: vec![record(name); count],
        additionals: vec![record(&Name::from_ascii("else.where.example.").unwrap()); extra],
        ..Reply::bare(ResponseCode::NoError)
    }
}

fn encoded(edns: Option<u16>, count: usize, extra: usize, transport: Transport) -> Message {
    let question = question("wWw.Example.com.", RecordType::A, edns);
    let reply = long(&Name::from_ascii("www.example.com.").unwrap(), count, extra);
    Message::from_vec(&encode(&question, reply, transport).unwrap()).unwrap()
}

#[test]
fn an_answer_mirrors_the_question_and_claims_nothing_that_was_not_asked() {
    let message = encoded(None, 1, 0, Transport::Udp);
    let bits = message.metadata;
    assert!(bits.recursion_desired && bits.recursion_available && !bits.authoritative && !bits.truncation);
    assert!(!bits.authentic_data, "nobody asked whether it was validated");
    assert_eq!((message.metadata.id, message.edns), (7, None), "no OPT without one in the question");
    assert_eq!(message.queries[0].name().to_string(), "wWw.Example.com.");
    assert_eq!(message.answers[0].name.to_string(), "wWw.Example.com.");
    let edns = encoded(Some(4096), 1, 0, Transport::Udp).edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version()), (PAYLOAD_MAX, 0));
}

#[test]
fn what_is_too_long_is_cut_where_it_hurts_least() {
    // 33 bytes of header and question, 16 for each answer: 29 answers are 497 bytes, 30 are 513.
    let whole = encoded(None, 29, 0, Transport::Udp);
    assert!(!whole.metadata.truncation && whole.answers.len() == 29);
    let without_additionals = encoded(None, 29, 5, Transport::Udp);
    assert!(!without_additionals.metadata.truncation && without_additionals.additionals.is_empty());
    let cut = encoded(None, 30, 5, Transport::Udp);
    assert!(cut.metadata.truncation && cut.answers.len() == 29, "{} answers", cut.answers.len());
    assert!(!encoded(Some(4096), 70, 0, Transport::Udp).metadata.truncation);
    assert!(encoded(Some(4096), 80, 0, Transport::Udp).metadata.truncation, "never more than 1232 over UDP");
    let tcp = encoded(None, 1000, 0, Transport::Tcp);
    assert!(!tcp.metadata.truncation && tcp.answers.len() == 1000);
    assert!(encoded(None, 5000, 0, Transport::Tcp).metadata.truncation, "no message is longer than 65535");
}

#[test]
fn another_edns_version_is_told_the_one_we_know() {
    let question = question("a.b.", RecordType::A, Some(1232));
    let reply = Reply::of_refusal(&question.query, Refusal::EdnsVersion);
    let message = Message::from_vec(&encode(&question, reply, Transport::Udp).unwrap()).unwrap();
    // The library reads the code from both its halves, 16, which TSIG uses too.
    assert_eq!(u16::from(message.metadata.response_code), 16);
    assert_eq!(message.edns.unwrap().version(), 0);
}

#[test]
fn a_header_alone_keeps_number_and_operation() {
    let header = [0xab, 0xcd, 0x29, 0x20, 0, 2, 0, 1, 0, 0, 0, 0];
    let bytes = header_only(header, ResponseCode::NotImp);
    assert_eq!(bytes, [0xab, 0xcd, 0xa9, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]);
}

proptest! {
    #[test]
    fn no_answer_is_longer_than_the_asker_takes(
        edns in prop::option::of(512_u16..5000),
        count in 0_usize..400,
        extra in 0_usize..100,
    ) {
        let question = question("www.example.com.", RecordType::A, edns);
        let bytes = encode(&question, long(question.query.name(), count, extra), Transport::Udp).unwrap();
        prop_assert!(bytes.len() <= usize::from(edns.unwrap_or(512).min(PAYLOAD_MAX)));
        let message = Message::from_vec(&bytes).unwrap();
        prop_assert_eq!(message.metadata.truncation, message.answers.len() < count);
    }
}
