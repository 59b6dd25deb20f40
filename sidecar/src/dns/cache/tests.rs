//! Promises of the cache, told by a clock that stands still.

use super::*;
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, SOA};
use std::net::Ipv4Addr;

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn key(text: &str) -> Key {
    let wishes = Wishes { recursion: true, authentic: false, unchecked: false, dnssec: false };
    Key { name: name(text), kind: RecordType::A, wishes }
}

fn positive(ttls: &[u32]) -> Reply {
    let record = |ttl: &u32| Record::from_rdata(name("a.example."), *ttl, RData::A(A(Ipv4Addr::LOCALHOST)));
    Reply { answers: ttls.iter().map(record).collect(), ..Reply::bare(ResponseCode::NoError) }
}

fn negative(code: ResponseCode, ttl: u32, minimum: u32) -> Reply {
    let soa = SOA::new(name("ns.example."), name("who.example."), 1, 2, 3, 4, minimum);
    Reply {
        authorities: vec![Record::from_rdata(name("example."), ttl, RData::SOA(soa))],
        ..Reply::bare(code)
    }
}

fn kept(reply: Reply) -> (Cache, Instant) {
    let (mut cache, now) = (Cache::default(), Instant::now());
    cache.keep(key("a.example."), Arc::new(reply), 100, now);
    (cache, now)
}

/// What is found, with the TTL of its first record.
fn found(cache: &mut Cache, now: Instant) -> String {
    let ttl = |reply: Reply| reply.answers.iter().chain(&reply.authorities).map(|r| r.ttl).next();
    let told = |what: &str, reply| format!("{what} {}", ttl(reply).map_or("-".into(), |ttl| ttl.to_string()));
    match cache.find(&key("A.Example."), now) {
        Found::Fresh(reply) => told("fresh", reply),
        Found::Stale(reply) => told("stale", reply),
        Found::StaleOnly(reply) => told("stale only", reply),
        Found::Nothing => "nothing".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ages_and_holds_as_long_as_its_shortest_ttl() {
    let (mut cache, start) = kept(positive(&[300, 60]));
    assert_eq!(found(&mut cache, start), "fresh 300");
    assert_eq!(found(&mut cache, start + SECOND * 59), "fresh 241");
    assert_eq!(found(&mut cache, start + SECOND * 60), "stale 30");
    assert_eq!(found(&mut cache, start + SECOND * 60 + STALE_MAX), "nothing");
    assert_eq!(cache.len(), 0, "too stale an answer is forgotten when it is looked at");
}

#[tokio::test(start_paused = true)]
async fn lives_have_a_floor_and_a_ceiling() {
    for (reply, life) in [
        (positive(&[0]), Some(1)),
        (positive(&[2]), Some(2)),
        (positive(&[86_400]), Some(3600)),
        (negative(ResponseCode::NXDomain, 60, 30), Some(30)),
        (negative(ResponseCode::NoError, 20, 30), Some(20)),
        (negative(ResponseCode::NXDomain, 86_400, 86_400), Some(300)),
        (negative(ResponseCode::NXDomain, 0, 30), Some(1)),
        (Reply { answers: positive(&[60]).answers, ..negative(ResponseCode::NXDomain, 10, 10) }, Some(10)),
        // Without a SOA record nobody says how long a "no" holds.
        (Reply::bare(ResponseCode::NXDomain), None),
        (Reply::bare(ResponseCode::NoError), None),
        (Reply { code: ResponseCode::NXDomain, ..positive(&[60]) }, None),
    ] {
        assert_eq!(lifetime(&reply), life.map(Duration::from_secs), "{reply:?}");
    }
    let (mut cache, start) = kept(positive(&[86_400]));
    assert_eq!(found(&mut cache, start), "fresh 3600", "nobody is told more than we hold it ourselves");
}

#[tokio::test(start_paused = true)]
async fn when_no_server_answers_the_stale_answer_stays_for_a_while() {
    let (mut cache, start) = kept(positive(&[60]));
    let late = start + SECOND * 100;
    assert_eq!(found(&mut cache, late), "stale 30");
    cache.failed(key("a.example."), Arc::new(Reply::bare(ResponseCode::ServFail)), late);
    assert_eq!(found(&mut cache, late + SECOND * 29), "stale only 30");
    assert_eq!(found(&mut cache, late + SECOND * 30), "stale 30");
    cache.keep(key("a.example."), Arc::new(positive(&[60])), 100, late + SECOND * 31);
    assert_eq!(found(&mut cache, late + SECOND * 32), "fresh 59");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_a_second_and_never_stale() {
    let (mut cache, start) = (Cache::default(), Instant::now());
    let failure = Arc::new(Reply::bare(ResponseCode::ServFail));
    cache.failed(key("a.example."), failure.clone(), start);
    assert_eq!(found(&mut cache, start + SECOND / 2), "fresh -");
    assert_eq!(found(&mut cache, start + SECOND), "nothing");
    cache.failed(key("a.example."), failure.clone(), start);
    cache.failed(key("a.example."), failure, start + SECOND / 2);
    assert_eq!(found(&mut cache, start + SECOND * 5 / 4), "fresh -", "a second failure starts a second anew");
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_one_used_longest_ago_goes() {
    let (mut cache, now) = (Cache::default(), Instant::now());
    let number = |n: usize| key(&format!("n{n}.example."));
    let reply = Arc::new(positive(&[60]));
    for n in 0..ENTRIES_MAX {
        cache.keep(number(n), reply.clone(), 10, now);
    }
    assert!(matches!(cache.find(&number(0), now), Found::Fresh(_)));
    cache.keep(number(ENTRIES_MAX), reply.clone(), 10, now);
    assert_eq!(cache.len(), ENTRIES_MAX);
    assert!(matches!(cache.find(&number(0), now), Found::Fresh(_)), "it was just used");
    assert_eq!(cache.find(&number(1), now), Found::Nothing);
    for n in 0..40 {
        cache.keep(number(n), reply.clone(), 60_000, now);
    }
    assert!(cache.bytes <= BYTES_MAX, "{} bytes", cache.bytes);
    assert_eq!(cache.order.len(), cache.len());
}

#[test]
fn questions_that_want_different_things_are_kept_apart() {
    let signed = |key: Key| Key { wishes: Wishes { dnssec: true, ..key.wishes }, ..key };
    let (mut cache, now) = kept(positive(&[60]));
    assert_eq!(cache.find(&signed(key("a.example.")), now), Found::Nothing);
    assert_eq!(cache.find(&Key { kind: RecordType::AAAA, ..key("a.example.") }, now), Found::Nothing);
}
