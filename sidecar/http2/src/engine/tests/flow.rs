//! Flow control: what may be sent is sent, no more, in turns; what was taken is announced.

use super::*;
use crate::error::ErrorCode;
use bytes::Bytes;

fn credit(stream: u32, by: u32) -> Vec<u8> {
    raw(8, 0, stream, &by.to_be_bytes())
}

fn accepted(server: &mut Engine, stream: u32) -> Key {
    give(server, &headers(stream, true, GET));
    let (key, _) = server.accept().unwrap();
    server.respond(key, &ok(), false).unwrap();
    key
}

fn sent(frames: &[Written], stream: u32) -> usize {
    let data = frames.iter().filter(|frame| frame.kind == Kind::Data && frame.stream == stream);
    data.map(|frame| frame.payload.len()).sum()
}

#[test]
fn no_more_is_sent_than_either_window_allows() {
    let mut server = server();
    let (one, three) = (accepted(&mut server, 1), accepted(&mut server, 3));
    server.send_data(one, Bytes::from(vec![1; 100_000]), true).unwrap();
    server.send_data(three, Bytes::from(vec![3; 10]), true).unwrap();
    let first = frames(&mut server);
    assert_eq!(
        sent(&first, 1) + sent(&first, 3),
        65_535,
        "the connection's window is used up, both have sent"
    );
    assert_eq!(sent(&first, 3), 10);
    give(&mut server, &credit(0, 100_000));
    let second = frames(&mut server);
    assert_eq!(sent(&first, 1) + sent(&second, 1), 65_535, "now the stream's is");
    give(&mut server, &credit(1, 100_000));
    let third = frames(&mut server);
    assert_eq!(sent(&third, 1), 100_000 - 65_535);
    assert_eq!(third.last().unwrap().flags, 1, "the last frame says so");
}

#[test]
fn a_window_that_the_other_side_takes_back_is_negative_until_it_is_made_up() {
    let mut server = server();
    let key = accepted(&mut server, 1);
    server.send_data(key, Bytes::from(vec![0; 60_000]), false).unwrap();
    frames(&mut server);
    // From 65,535 to 10,000: 60,000 are gone, so 50,000 less than nothing is left.
    give(&mut server, &raw(4, 0, 0, &[0, 4, 0, 0, 0x27, 0x10]));
    server.send_data(key, Bytes::from(vec![0; 1_000]), false).unwrap();
    assert_eq!(sent(&frames(&mut server), 1), 0);
    give(&mut server, &credit(1, 50_000));
    assert_eq!(sent(&frames(&mut server), 1), 0);
    give(&mut server, &credit(1, 1));
    assert_eq!(sent(&frames(&mut server), 1), 1);
}

#[test]
fn streams_take_turns() {
    let mut server = server();
    give(&mut server, &credit(0, 1 << 20));
    let keys: Vec<Key> = [1, 3, 5].into_iter().map(|id| accepted(&mut server, id)).collect();
    for key in keys {
        server.send_data(key, Bytes::from(vec![0; 50_000]), true).unwrap();
    }
    let order: Vec<u32> =
        frames(&mut server).iter().filter(|f| f.kind == Kind::Data).map(|f| f.stream).collect();
    assert_eq!(order, [1, 3, 5, 1, 3, 5, 1, 3, 5, 1, 3, 5]);
}

#[test]
fn a_writer_waits_for_room_and_is_woken_by_either_window() {
    let mut server = server();
    let key = accepted(&mut server, 1);
    assert_eq!(
        now(|cx| server.poll_room(key, cx)).map(Result::unwrap),
        Poll::Ready(CONFIG.send_buffer.min(65_535))
    );
    server.send_data(key, Bytes::from(vec![0; 65_535]), false).unwrap();
    frames(&mut server);
    assert!(now(|cx| server.poll_room(key, cx)).is_pending());
    give(&mut server, &credit(1, 5));
    assert!(now(|cx| server.poll_room(key, cx)).is_pending(), "the connection's is still used up");
    give(&mut server, &credit(0, 3));
    assert_eq!(now(|cx| server.poll_room(key, cx)).map(Result::unwrap), Poll::Ready(3));
}

#[test]
fn what_is_queued_is_bounded_by_what_the_connection_may_send() {
    let mut server = server();
    let (one, three) = (accepted(&mut server, 1), accepted(&mut server, 3));
    server.send_data(one, Bytes::from(vec![0; 60_000]), false).unwrap();
    assert_eq!(now(|cx| server.poll_room(three, cx)).map(Result::unwrap), Poll::Ready(5_535));
    // A stream that is given up gives up what it had queued.
    server.send_reset(one, ErrorCode::CANCEL);
    assert_eq!(now(|cx| server.poll_room(three, cx)).map(Result::unwrap), Poll::Ready(64 * 1024 - 1));
}

#[test]
fn what_is_taken_is_announced_in_portions_and_more_than_the_window_is_refused() {
    let mut server = server();
    give(&mut server, &headers(1, false, GET));
    let (key, _) = server.accept().unwrap();
    for _ in 0..5 {
        give(&mut server, &data(1, false, &[0; 10_000]));
    }
    assert_eq!(read(&mut server, key).0.len(), 50_000);
    let updates: Vec<(u32, Vec<u8>)> =
        frames(&mut server).into_iter().map(|f| (f.stream, f.payload)).collect();
    assert_eq!(
        updates,
        [(1, 50_000_u32.to_be_bytes().to_vec())],
        "half of the stream's window, not of the connection's"
    );
    for _ in 0..10 {
        give(&mut server, &data(1, false, &[0; 10_000]));
    }
    assert_eq!(broken(&server), None);
    give(&mut server, &data(1, false, &[0; 1]));
    assert_eq!(resets(&frames(&mut server)), [(1, 3)]);
    // What nobody takes any more is given back to the connection.
    server.stop_reading(key);
    server.let_go(key);
    let update = frames(&mut server).pop().unwrap();
    assert_eq!(
        (update.kind, update.stream, update.payload),
        (Kind::WindowUpdate, 0, 150_001_u32.to_be_bytes().to_vec())
    );
}

#[test]
fn more_than_the_connections_window_ends_the_connection() {
    let mut server = server();
    for stream in [1, 3, 5] {
        give(&mut server, &headers(stream, false, GET));
        for _ in 0..7 {
            give(&mut server, &data(stream, false, &[0; 10_000]));
        }
    }
    assert_eq!(broken(&server), Some(Violation::BeyondWindow));
}

#[test]
fn requests_wait_for_a_place_in_order_and_their_bodies_with_them() {
    let mut client = client();
    give(&mut client, &raw(4, 0, 0, &[0, 3, 0, 0, 0, 1]));
    let first = client.open(get(), true).unwrap();
    let second = client.open(get(), false).unwrap();
    client.send_data(second, Bytes::from_static(b"body"), true).unwrap();
    let third = client.open(get(), true).unwrap();
    let given_up = client.open(get(), true).unwrap();
    let heads = |frames: Vec<Written>| {
        frames.into_iter().filter(|f| f.kind == Kind::Headers).map(|f| f.stream).collect::<Vec<_>>()
    };
    assert_eq!(heads(frames(&mut client)), [1]);
    client.let_go(given_up);
    give(&mut client, &headers(1, true, &[0x88]));
    let written = frames(&mut client);
    assert_eq!((written[0].kind, written[0].stream, written[0].flags), (Kind::Headers, 3, 4));
    assert_eq!((written[1].kind, &written[1].payload[..], written[1].flags), (Kind::Data, &b"body"[..], 1));
    give(&mut client, &headers(3, true, &[0x88]));
    assert_eq!(heads(frames(&mut client)), [5]);
    for key in [first, second] {
        assert!(now(|cx| client.poll_response(key, cx)).is_ready());
    }
    assert!(now(|cx| client.poll_response(third, cx)).is_pending());
}
