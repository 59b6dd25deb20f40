//! How connections and streams end, and what the other side did not process.

use super::*;
use crate::error::ErrorCode;
use crate::hpack::Field;
use bytes::Bytes;

fn go_away(last: u32, code: u32) -> Vec<u8> {
    raw(7, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

#[test]
fn a_server_says_twice_that_it_goes_and_serves_what_came_in_between() {
    let (mut client, mut server) = pair(CONFIG);
    let first = client.open(get(), true).unwrap();
    meet(&mut client, &mut server);
    server.shut_down();
    // Under way while the server says so.
    let second = client.open(get(), true).unwrap();
    meet(&mut client, &mut server);
    assert!(!client.takes_requests() && matches!(client.open(get(), true), Err(Error::NotOpened)));
    assert!(!server.is_done());
    for _ in 0..2 {
        let (key, _) = server.accept().unwrap();
        server.respond(key, &ok(), true).unwrap();
        server.let_go(key);
    }
    meet(&mut client, &mut server);
    for key in [first, second] {
        assert!(matches!(now(|cx| client.poll_response(key, cx)), Poll::Ready(Ok(_))));
    }
    assert!(server.is_done() && client.is_done());
}

#[test]
fn what_comes_after_the_last_word_is_ignored_but_decoded() {
    let mut server = server();
    server.shut_down();
    let said = frames(&mut server);
    assert_eq!((said[0].kind, &said[0].payload[..4]), (Kind::GoAway, &[0x7f, 0xff, 0xff, 0xff][..]));
    give(&mut server, &headers(1, true, GET));
    give(&mut server, &raw(6, 1, 0, &said[1].payload));
    let said = frames(&mut server);
    assert_eq!((said[0].kind, &said[0].payload[..4]), (Kind::GoAway, &[0, 0, 0, 1][..]));
    // A field that enters the table, on a stream that is not served.
    give(&mut server, &headers(3, false, &[GET, &[0x40, 1, b'x', 1, b'y']].concat()));
    give(&mut server, &data(3, true, b"x"));
    assert_eq!((broken(&server), server.arrived.len()), (None, 1));
    assert_eq!(server.decoder.decode(&[0xbe], &mut |_: Field, _: usize| {}), Ok(()));
}

#[test]
fn a_client_knows_what_was_not_processed() {
    let mut client = client();
    give(&mut client, &raw(4, 0, 0, &[0, 3, 0, 0, 0, 3]));
    let keys: Vec<Key> = (0..4).map(|_| client.open(get(), true).unwrap()).collect();
    give(&mut client, &raw(3, 0, 3, &ErrorCode::REFUSED_STREAM.to_wire().to_be_bytes()));
    give(&mut client, &go_away(3, 0));
    let mut failed = keys.iter().map(|key| match now(|cx| client.poll_response(*key, cx)) {
        Poll::Pending => None,
        Poll::Ready(result) => Some(result.unwrap_err().is_unprocessed()),
    });
    assert_eq!(failed.next(), Some(None), "below the last one: it may still come");
    assert_eq!(failed.next(), Some(Some(true)), "refused");
    assert_eq!(failed.next(), Some(Some(true)), "above the last one");
    assert_eq!(failed.next(), Some(Some(true)), "never opened");
    drop(failed);
    give(&mut client, &raw(3, 0, 1, &ErrorCode::CANCEL.to_wire().to_be_bytes()));
    let Poll::Ready(Err(error)) = now(|cx| client.poll_response(keys[0], cx)) else { panic!() };
    assert!(!error.is_unprocessed() && matches!(error, Error::Reset(ErrorCode::CANCEL)));
    assert!(client.is_done());
}

#[test]
fn when_the_connection_ends_all_who_wait_are_told() {
    let mut client = client();
    give(&mut client, &raw(4, 0, 0, &[0, 3, 0, 0, 0, 1]));
    let (sent, waiting) = (client.open(get(), true).unwrap(), client.open(get(), true).unwrap());
    client.fail(Error::Closed);
    let Poll::Ready(Err(Error::Closed)) = now(|cx| client.poll_response(sent, cx)) else { panic!() };
    let Poll::Ready(Err(error)) = now(|cx| client.poll_response(waiting, cx)) else { panic!() };
    assert!(error.is_unprocessed());
    for key in [sent, waiting] {
        client.let_go(key);
    }
    client.open_waiting();
    assert!(client.is_done());
}

#[test]
fn data_that_came_before_a_reset_is_read_before_it_is_told() {
    let mut client = client();
    let key = client.open(get(), true).unwrap();
    give(&mut client, &[headers(1, false, &[0x88]), data(1, false, b"half"), raw(3, 0, 1, &[0; 4])].concat());
    assert!(matches!(now(|cx| client.poll_response(key, cx)), Poll::Ready(Ok(_))));
    let (data, end) = read(&mut client, key);
    assert_eq!(data, b"half");
    assert!(matches!(end, Some(Err(Error::Reset(ErrorCode::NO_ERROR)))), "even NO_ERROR: it is not all");
}

#[test]
fn a_whole_response_stays_whole_when_the_request_is_reset() {
    let mut client = client();
    let key = client.open(get(), false).unwrap();
    give(&mut client, &[headers(1, false, &[0x88]), data(1, true, b"all"), raw(3, 0, 1, &[0; 4])].concat());
    assert!(matches!(now(|cx| client.poll_response(key, cx)), Poll::Ready(Ok(_))));
    let (data, end) = read(&mut client, key);
    assert_eq!((&data[..], end.unwrap().is_ok()), (&b"all"[..], true));
    assert!(client.send_data(key, Bytes::from_static(b"x"), true).is_err());
}

#[test]
fn whoever_lets_go_of_a_stream_too_early_resets_it() {
    let (mut client, mut server) = pair(CONFIG);
    let key = client.open(get(), true).unwrap();
    meet(&mut client, &mut server);
    client.let_go(key);
    assert_eq!(resets(&frames(&mut client)), [(1, 8)]);
    assert_eq!(client.streams.kept(), 0);

    // Answered before the request's end: no error, but no more of it either, once the answer is through.
    let key = client.open(get(), false).unwrap();
    meet(&mut client, &mut server);
    while let Some((key, _)) = server.accept() {
        server.respond(key, &ok(), false).unwrap();
        server.send_data(key, Bytes::from(vec![0; 150_000]), true).unwrap();
        server.let_go(key);
    }
    let written = frames(&mut server);
    assert!(resets(&written).iter().all(|(stream, _)| *stream != 3), "the window is too small for all of it");
    for stream in [0, 3] {
        give(&mut server, &raw(8, 0, stream, &100_000_u32.to_be_bytes()));
    }
    let written = frames(&mut server);
    assert_eq!(resets(&written), [(3, 0)]);
    assert_eq!(written.last().unwrap().kind, Kind::Reset);
    client.let_go(key);
}

#[test]
fn a_message_that_is_through_leaves_nothing_behind() {
    let (mut client, mut server) = pair(CONFIG);
    for _ in 0..50 {
        let key = client.open(get(), false).unwrap();
        client.send_data(key, Bytes::from_static(b"question"), false).unwrap();
        client
            .send_trailers(key, [("a".parse().unwrap(), "b".parse().unwrap())].into_iter().collect())
            .unwrap();
        meet(&mut client, &mut server);
        let (there, _) = server.accept().unwrap();
        assert_eq!(read(&mut server, there).0, b"question");
        let Poll::Ready(Ok(Some(trailers))) = now(|cx| server.poll_trailers(there, cx)) else { panic!() };
        assert_eq!(trailers["a"], "b");
        server.respond(there, &ok(), false).unwrap();
        server.send_data(there, Bytes::from_static(b"answer"), true).unwrap();
        server.let_go(there);
        meet(&mut client, &mut server);
        assert!(matches!(now(|cx| client.poll_response(key, cx)), Poll::Ready(Ok(_))));
        assert_eq!(read(&mut client, key).0, b"answer");
        client.let_go(key);
        assert_eq!((client.streams.kept(), server.streams.kept()), (0, 0));
    }
    client.remove_opener();
    assert!(client.is_done() && broken(&server).is_none());
}

#[test]
fn a_ping_is_answered_with_what_it_said_and_ours_is_asked_once() {
    let mut server = server();
    give(&mut server, &raw(6, 0, 0, b"12345678"));
    let answer = frames(&mut server).pop().unwrap();
    assert_eq!((answer.kind, answer.flags, &answer.payload[..]), (Kind::Ping, 1, &b"12345678"[..]));
    server.ping();
    server.ping();
    let asked = frames(&mut server);
    assert_eq!(asked.len(), 1);
    give(&mut server, &raw(6, 1, 0, &asked[0].payload));
    server.ping();
    assert_eq!(frames(&mut server).len(), 1);
}
