//! Peers that make work for nothing, at their limits and one beyond.

use super::*;
use crate::error::ErrorCode;
use crate::head::Truncated;

const REFUSED: u32 = 7;

/// Gives frames until the connection breaks; returns how many it took.
fn until_broken(server: &mut Engine, mut frame: impl FnMut(u32) -> Vec<u8>, most: u32) -> u32 {
    for number in 0..most {
        give(server, &frame(number));
        if server.failure().is_some() {
            return number;
        }
    }
    most
}

#[test]
fn streams_that_are_opened_only_to_be_reset_end_the_connection() {
    let mut server = server();
    let frame = |n: u32| [headers(2 * n + 1, true, GET), raw(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
    assert_eq!(until_broken(&mut server, frame, 1_000), 100);
    assert_eq!(broken(&server), Some(Violation::RapidReset));
    assert_eq!(server.streams.kept(), 0, "none of them was kept");
}

#[test]
fn a_client_that_gives_up_now_and_then_among_answers_is_no_attack() {
    let mut server = server();
    for n in 0..500 {
        give(&mut server, &[headers(4 * n + 1, true, GET), raw(3, 0, 4 * n + 1, &[0, 0, 0, 8])].concat());
        give(&mut server, &headers(4 * n + 3, true, GET));
        let (key, _) = server.accept().unwrap();
        server.respond(key, &ok(), true).unwrap();
        server.let_go(key);
        frames(&mut server);
    }
    assert_eq!(broken(&server), None);
}

#[test]
fn one_stream_more_than_allowed_is_refused_unprocessed() {
    let mut server = server();
    let most = CONFIG.streams_max;
    for n in 0..=most {
        give(&mut server, &headers(2 * n + 1, true, GET));
    }
    assert_eq!(resets(&frames(&mut server)), [(2 * most + 1, REFUSED)]);
    let keys: Vec<Key> = std::iter::from_fn(|| server.accept().map(|(key, _)| key)).collect();
    assert_eq!(keys.len(), most as usize);
    // Whoever resets what is still worked on gets as many again, and no more until the work has stopped.
    for n in 0..most {
        give(&mut server, &raw(3, 0, 2 * n + 1, &[0, 0, 0, 8]));
    }
    for n in most + 1..=2 * most + 1 {
        give(&mut server, &headers(2 * n + 1, true, GET));
    }
    assert_eq!(resets(&frames(&mut server)), [(4 * most + 3, REFUSED)]);
    for key in keys {
        server.let_go(key);
    }
    give(&mut server, &raw(3, 0, 2 * most + 3, &[0, 0, 0, 8]));
    give(&mut server, &headers(4 * most + 5, true, GET));
    assert_eq!(resets(&frames(&mut server)), []);
}

#[test]
fn a_header_block_that_goes_on_and_on_ends_the_connection() {
    let mut server = server();
    give(&mut server, &raw(1, 0, 1, GET));
    assert_eq!(until_broken(&mut server, |_| raw(9, 0, 1, &[]), 1_000), 63, "in frames");
    assert_eq!(broken(&server), Some(Violation::EndlessBlock));
    let mut server = super::server();
    give(&mut server, &raw(1, 0, 1, GET));
    assert_eq!(until_broken(&mut server, |_| raw(9, 0, 1, &[0; 16_000]), 1_000), 2, "in bytes");
}

#[test]
fn a_head_that_is_too_large_arrives_marked_and_a_response_is_refused() {
    let field = |bytes: usize| {
        let mut field = vec![0, 1, b'x', 0x7f];
        let rest = bytes - 127;
        field.extend([(rest % 128) as u8 | 0x80, (rest / 128) as u8]);
        field.extend(vec![b'a'; bytes]);
        field
    };
    for (bytes, is_truncated) in [(16_000, false), (16_330, true)] {
        let mut server = server();
        let block = [GET, &field(bytes)].concat();
        let (first, rest) = block.split_at(10_000);
        give(&mut server, &[raw(1, 1, 1, first), raw(9, 4, 1, rest)].concat());
        let (_, request) = server.accept().unwrap();
        assert_eq!(request.extensions().get::<Truncated>().is_some(), is_truncated);
        assert_eq!(request.headers().contains_key("x"), !is_truncated);
        let mut client = client();
        let key = client.open(get(), true).unwrap();
        let block = [&[0x88], &field(bytes + 100)[..]].concat();
        let (first, rest) = block.split_at(10_000);
        give(&mut client, &[raw(1, 1, 1, first), raw(9, 4, 1, rest)].concat());
        let Poll::Ready(response) = now(|cx| client.poll_response(key, cx)) else { panic!() };
        assert_eq!(response.is_err(), is_truncated);
    }
}

#[test]
fn frames_of_nothing_end_the_connection() {
    let mut server = server();
    give(&mut server, &headers(1, false, GET));
    assert_eq!(until_broken(&mut server, |_| data(1, false, &[]), 1_000), 100);
    assert_eq!(broken(&server), Some(Violation::EmptyFrames));
}

#[test]
fn answers_that_nobody_reads_end_the_connection() {
    for (frame, bytes) in [(raw(6, 0, 0, &[0; 8]), 17), (raw(4, 0, 0, &[]), 9)] {
        let mut server = server();
        assert_eq!(until_broken(&mut server, |_| frame.clone(), 1_000_000), 64 * 1024 / bytes);
        assert_eq!(broken(&server), Some(Violation::Unread));
        // Whoever reads them may ask on.
        let mut server = super::server();
        for _ in 0..100_000 {
            give(&mut server, &frame);
            taken(&mut server);
        }
        assert_eq!(broken(&server), None);
    }
}

#[test]
fn a_peer_that_reads_nothing_can_neither_ask_nor_be_asked_for_ever() {
    let long: http::HeaderValue = "x".repeat(10_000).parse().unwrap();
    let mut server = server();
    let mut answer = ok();
    answer.headers_mut().insert("long", long.clone());
    let mut answered = 0;
    while server.failure().is_none() {
        give(&mut server, &headers(2 * answered + 1, true, GET));
        let Some((key, _)) = server.accept() else { break };
        server.respond(key, &answer, true).unwrap();
        server.let_go(key);
        answered += 1;
    }
    assert_eq!(broken(&server), Some(Violation::Unread));
    assert_eq!(answered, 838, "8 MiB of them");
    let mut client = client();
    let mut request = get();
    request.headers_mut().insert("long", long);
    let mut asked = 0;
    while let Ok(key) = client.open(request.clone(), true) {
        client.let_go(key);
        asked += 1;
    }
    assert_eq!(broken(&client), Some(Violation::Unread));
    assert!((800..=838).contains(&asked), "{asked}: each with its reset");
}

#[test]
fn streams_that_break_the_protocol_again_and_again_end_the_connection() {
    let mut server = server();
    let frame = |n: u32| [headers(2 * n + 1, false, GET), raw(8, 0, 2 * n + 1, &[0; 4])].concat();
    assert_eq!(until_broken(&mut server, frame, 1_000), 100);
    assert!(matches!(broken(&server), Some(Violation::Violations | Violation::RapidReset)));
    let mut server = super::server();
    assert_eq!(until_broken(&mut server, |n| headers(2 * n + 1, true, &[0x82]), 1_000), 100);
    assert_eq!(broken(&server), Some(Violation::Violations));
}

#[test]
fn interim_responses_without_end_reset_the_stream() {
    let mut client = client();
    let key = client.open(get(), true).unwrap();
    for _ in 0..=32 {
        give(&mut client, &headers(1, false, &[0x08, 3, b'1', b'0', b'2']));
    }
    for _ in 0..32 {
        assert!(matches!(now(|cx| client.poll_response(key, cx)), Poll::Ready(Ok(_))));
    }
    let Poll::Ready(Err(Error::Stream(Violation::EndlessInterim))) = now(|cx| client.poll_response(key, cx))
    else {
        panic!()
    };
    assert_eq!(resets(&frames(&mut client)), [(1, ErrorCode::ENHANCE_YOUR_CALM.to_wire())]);
}

#[test]
fn what_is_under_way_on_many_streams_that_were_reset_is_ignored() {
    let config = Config { streams_max: 3_000, ..CONFIG };
    let mut server = Engine::new(Role::Server, config);
    give(&mut server, &[&PREFACE[..], &raw(4, 0, 0, &[])].concat());
    for n in 0..2_000 {
        give(&mut server, &headers(2 * n + 1, false, GET));
        let (key, _) = server.accept().unwrap();
        server.let_go(key);
    }
    for n in 0..2_000 {
        give(&mut server, &data(2 * n + 1, true, b"late"));
    }
    assert_eq!(broken(&server), None);
}
