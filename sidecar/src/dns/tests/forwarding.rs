//! Promises about everybody else's names.

use super::world::*;
use crate::dns::reply::Transport;
use crate::telemetry::{DnsCacheResult, DnsKind};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, NULL, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const NAME: &str = "www.example.com.";

fn address(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn many(count: u16) -> Vec<RData> {
    (0..count).map(|n| n.to_be_bytes()).map(|[high, low]| RData::A(A::new(192, 0, high, low))).collect()
}

fn refusing(question: &Message, code: ResponseCode) -> Message {
    let mut answer = answering(question, 0, &[]);
    answer.metadata.response_code = code;
    answer
}

#[tokio::test]
async fn records_of_every_type_pass_unchanged() {
    let unknown = RData::Unknown { code: RecordType::Unknown(65_280), rdata: NULL::with(vec![0, 1, 2, 255]) };
    let text = RData::TXT(TXT::new(vec!["a b".into(), String::new()]));
    let origin = Origin::start(move |question, _, _| {
        let data = if question.queries[0].query_type() == RecordType::TXT { &text } else { &unknown };
        ready(Some(answering(&question, 60, std::slice::from_ref(data))))
    })
    .await;
    let world = World::start(&[&origin]).await;
    let text = world.ask(NAME, RecordType::TXT).await;
    assert_eq!(text.answers[0].data, RData::TXT(TXT::new(vec!["a b".into(), String::new()])));
    for _ in 0..2 {
        let unknown = world.ask(NAME, RecordType::Unknown(65_280)).await;
        let RData::Unknown { code, rdata } = &unknown.answers[0].data else { panic!("{unknown}") };
        assert_eq!((*code, rdata.anything.as_slice()), (RecordType::Unknown(65_280), &[0, 1, 2, 255][..]));
        let bits = unknown.metadata;
        assert!(!bits.authoritative && bits.recursion_available && bits.recursion_desired);
    }
    assert_eq!(origin.questions(), (2, 0), "the second time from the cache");
}

#[tokio::test]
async fn an_answer_is_asked_for_once_and_ages() {
    let origin = Origin::of(60, vec![address(1)]).await;
    let world = World::start(&[&origin]).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 60 192.0.2.1");
    later(Duration::from_secs(20)).await;
    let other_case = world.ask("WWW.Example.com.", RecordType::A).await;
    assert!(short(&other_case).starts_with("NoError; 40 ") || short(&other_case).starts_with("NoError; 39 "));
    assert_eq!(other_case.answers[0].name.to_string(), "WWW.Example.com.");
    assert_eq!(origin.questions(), (1, 0));
    later(Duration::from_secs(41)).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 60 192.0.2.1");
    assert_eq!(origin.questions(), (2, 0));
}

#[tokio::test]
async fn a_no_is_kept_as_long_as_its_zone_says() {
    let origin = Origin::start(|question, _, _| {
        let mut answer = refusing(&question, ResponseCode::NXDomain);
        if question.queries[0].name().to_string() == NAME {
            let name = |text| Name::from_ascii(text).unwrap();
            let soa = SOA::new(name("ns.example.com."), name("who.example.com."), 1, 2, 3, 4, 30);
            answer.add_authority(Record::from_rdata(name("example.com."), 900, RData::SOA(soa)));
        }
        ready(Some(answer))
    })
    .await;
    let world = World::start(&[&origin]).await;
    for _ in 0..2 {
        let answer = world.ask(NAME, RecordType::A).await;
        assert_eq!(short(&answer), "NXDomain");
        assert_eq!(answer.authorities.len(), 1);
    }
    assert_eq!(origin.questions().0, 1);
    for _ in 0..2 {
        assert_eq!(short(&world.ask("no.soa.example.", RecordType::A).await), "NXDomain");
    }
    assert_eq!(origin.questions().0, 3, "without a SOA record nobody says how long it holds");
    later(Duration::from_secs(31)).await;
    world.ask(NAME, RecordType::A).await;
    assert_eq!(origin.questions().0, 4);
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let origin = Origin::start(|question, _, number| {
        ready((number > 1).then(|| answering(&question, 60, &[address(1)])))
    })
    .await;
    let world = World::start(&[&origin]).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 60 192.0.2.1");
    assert_eq!(origin.questions(), (2, 0));
}

#[tokio::test]
async fn what_is_too_long_for_udp_is_fetched_by_tcp_and_given_out_by_tcp() {
    let data = many(300);
    let origin = Origin::start(move |question, transport, _| {
        let mut answer = answering(&question, 60, if transport == Transport::Tcp { &data } else { &[] });
        answer.metadata.truncation = transport == Transport::Udp;
        ready(Some(answer))
    })
    .await;
    let world = World::start(&[&origin]).await;
    for (payload, most) in [(None, 512), (Some(1232), 1232), (Some(4096), 1232)] {
        let cut = world.ask_udp(&question(NAME, RecordType::A, payload)).await;
        assert!(cut.metadata.truncation && !cut.answers.is_empty(), "{}", short(&cut));
        assert!(cut.to_vec().unwrap().len() <= most);
    }
    let whole = world.ask_tcp(&question(NAME, RecordType::A, None)).await;
    assert!(!whole.metadata.truncation && whole.answers.len() == 300);
    assert_eq!(origin.questions(), (1, 1), "fetched once");
}

#[tokio::test]
async fn an_answer_over_tcp_to_another_question_is_none() {
    let origin = Origin::start(move |mut question, transport, _| {
        if transport == Transport::Tcp {
            question.queries[0].set_name(Name::from_ascii("www.elsewhere.com.").unwrap());
        }
        let mut answer = answering(&question, 60, &[address(66)]);
        answer.metadata.truncation = transport == Transport::Udp;
        ready(Some(answer))
    })
    .await;
    let world = World::start(&[&origin]).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "ServFail");
}

#[tokio::test]
async fn when_the_upstream_is_gone_what_was_known_is_given_out() {
    let origin = Origin::of(60, vec![address(1)]).await;
    let world = World::start(&[&origin]).await;
    world.ask(NAME, RecordType::A).await;
    drop(origin);
    later(Duration::from_secs(61)).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 30 192.0.2.1");
    assert_eq!(world.metrics.cached(DnsCacheResult::Stale), 1);
}

#[tokio::test]
async fn a_server_that_fails_gets_its_answer_back_stale_and_a_rest() {
    let is_ill = Arc::new(AtomicBool::new(false));
    let ill = is_ill.clone();
    let origin = Origin::start(move |question, _, _| {
        ready(Some(if ill.load(Ordering::Relaxed) {
            refusing(&question, ResponseCode::ServFail)
        } else {
            answering(&question, 60, &[address(1)])
        }))
    })
    .await;
    let world = World::start(&[&origin]).await;
    world.ask(NAME, RecordType::A).await;
    is_ill.store(true, Ordering::Relaxed);
    later(Duration::from_secs(61)).await;
    for _ in 0..3 {
        assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 30 192.0.2.1");
    }
    assert_eq!(origin.questions().0, 2, "asked once for all three");
    is_ill.store(false, Ordering::Relaxed);
    later(Duration::from_secs(31)).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 60 192.0.2.1");
}

#[tokio::test]
async fn equal_questions_are_asked_once() {
    let gate = Arc::new(Notify::new());
    let open = gate.clone();
    let origin = Origin::start(move |question, _, _| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Some(answering(&question, 60, &[address(1)]))
        }
    })
    .await;
    let world = World::start(&[&origin]).await;
    let askers = futures_util::future::join_all((0..10).map(|_| world.ask(NAME, RecordType::A)));
    let release = async {
        until("nine questions join the first", || world.metrics.cached(DnsCacheResult::Joined) == 9).await;
        until("the first is asked", || origin.questions().0 > 0).await;
        open.notify_one();
    };
    let (answers, ()) = tokio::join!(askers, release);
    assert!(answers.iter().all(|answer| short(answer) == "NoError; 60 192.0.2.1"));
    assert_eq!(world.metrics.cached(DnsCacheResult::Miss), 1);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_refuses_or_is_silent() {
    let silent = Origin::start(|_, _, _| ready(None)).await;
    let refusing =
        Origin::start(|question, _, _| ready(Some(refusing(&question, ResponseCode::Refused)))).await;
    let good = Origin::of(60, vec![address(3)]).await;
    let world = World::start(&[&refusing, &silent, &good]).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 60 192.0.2.3");
    assert_eq!(short(&world.ask("other.example.com.", RecordType::A).await), "NoError; 60 192.0.2.3");
    assert_eq!(refusing.questions().0, 1, "the one that answered is asked first now");
}

#[tokio::test]
async fn a_refusal_of_all_servers_is_handed_on() {
    let origin =
        Origin::start(|question, _, _| ready(Some(refusing(&question, ResponseCode::Refused)))).await;
    let world = World::start(&[&origin]).await;
    for _ in 0..2 {
        assert_eq!(short(&world.ask(NAME, RecordType::A).await), "Refused");
    }
    assert_eq!(origin.questions().0, 1, "remembered for a second");
    assert_eq!(world.metrics.answers(DnsKind::Forwarded, "REFUSED"), 2);
}

#[tokio::test]
async fn a_server_from_before_edns_is_asked_without() {
    let origin = Origin::start(|question, _, _| {
        ready(Some(match question.edns {
            Some(_) => refusing(&question, ResponseCode::FormErr),
            None => answering(&question, 60, &[address(1)]),
        }))
    })
    .await;
    let world = World::start(&[&origin]).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "NoError; 60 192.0.2.1");
}

#[tokio::test]
async fn without_a_server_foreign_names_fail_and_the_meshs_do_not() {
    let world = World::start(&[]).await;
    assert_eq!(short(&world.ask(NAME, RecordType::A).await), "ServFail");
    assert_eq!(short(&world.ask("orders.", RecordType::A).await), "NoError aa; 5 100.64.0.1");
}
