//! What a peer may not do, by the sections of RFC 9113, and what it may though it looks odd.

use super::*;
use crate::hpack::{HpackError, Malformed};

/// Frames after a hello, and the violation that ends the connection.
fn connection_errors() -> Vec<(&'static str, Vec<Vec<u8>>, Violation)> {
    let open = || headers(1, false, GET);
    let done = || headers(1, true, GET);
    vec![
        ("4.2: too large", vec![raw(0, 0, 1, &[0; 16_385])], Violation::FrameTooLarge),
        ("4.3: not HPACK", vec![headers(1, true, &[0xff])], Violation::Hpack(HpackError::Truncated)),
        ("5.1: idle, DATA", vec![data(1, false, b"x")], Violation::IdleStream),
        ("5.1: idle, RST_STREAM", vec![raw(3, 0, 1, &[0; 4])], Violation::IdleStream),
        ("5.1: idle, WINDOW_UPDATE", vec![raw(8, 0, 1, &[0, 0, 0, 1])], Violation::IdleStream),
        ("5.1.1: even", vec![headers(2, true, GET)], Violation::StreamId),
        ("5.1.1: smaller", vec![headers(5, true, GET), headers(3, true, GET)], Violation::ClosedStream),
        ("6.1: stream 0", vec![data(0, false, b"x")], Violation::StreamZero),
        ("6.1: padding", vec![open(), raw(0, 8, 1, &[2, 0])], Violation::Padding),
        ("6.1: padded and empty", vec![open(), raw(0, 8, 1, &[])], Violation::FrameSize),
        ("6.2: stream 0", vec![headers(0, true, GET)], Violation::StreamZero),
        ("6.2: padding", vec![raw(1, 0xd, 1, &[9, 0x82])], Violation::Padding),
        ("6.2: priority cut", vec![raw(1, 0x25, 1, &[0; 4])], Violation::FrameSize),
        ("6.3: stream 0", vec![raw(2, 0, 0, &[0; 5])], Violation::StreamZero),
        ("6.3: size", vec![raw(2, 0, 1, &[0; 4])], Violation::FrameSize),
        ("6.4: stream 0", vec![raw(3, 0, 0, &[0; 4])], Violation::StreamZero),
        ("6.4: size", vec![open(), raw(3, 0, 1, &[0; 3])], Violation::FrameSize),
        ("6.5: ACK with a payload", vec![raw(4, 1, 0, &[0; 6])], Violation::FrameSize),
        ("6.5: on a stream", vec![raw(4, 0, 1, &[])], Violation::NotStreamZero),
        ("6.5: size", vec![raw(4, 0, 0, &[0; 5])], Violation::FrameSize),
        ("6.5.2: push", vec![raw(4, 0, 0, &[0, 2, 0, 0, 0, 2])], Violation::Setting),
        ("6.5.2: window", vec![raw(4, 0, 0, &[0, 4, 0x80, 0, 0, 0])], Violation::WindowOverflow),
        ("6.5.2: small frames", vec![raw(4, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])], Violation::Setting),
        ("6.5.2: large frames", vec![raw(4, 0, 0, &[0, 5, 1, 0, 0, 0])], Violation::Setting),
        ("6.6: push", vec![open(), raw(5, 4, 1, &[0, 0, 0, 2])], Violation::Push),
        ("6.7: on a stream", vec![raw(6, 0, 1, &[0; 8])], Violation::NotStreamZero),
        ("6.7: size", vec![raw(6, 0, 0, &[0; 7])], Violation::FrameSize),
        ("6.8: on a stream", vec![raw(7, 0, 1, &[0; 8])], Violation::NotStreamZero),
        ("6.8: size", vec![raw(7, 0, 0, &[0; 7])], Violation::FrameSize),
        ("6.9: by 0", vec![raw(8, 0, 0, &[0; 4])], Violation::WindowUnchanged),
        ("6.9: size", vec![raw(8, 0, 0, &[0; 3])], Violation::FrameSize),
        ("6.9.1: overflow", vec![raw(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], Violation::WindowOverflow),
        (
            "6.9.2: overflow by a setting",
            vec![open(), raw(8, 0, 1, &[0x7f, 0xff, 0, 0]), raw(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])],
            Violation::WindowOverflow,
        ),
        ("6.10: stray", vec![raw(9, 4, 1, GET)], Violation::StrayContinuation),
        ("6.10: something between", vec![raw(1, 1, 1, &[]), raw(6, 0, 0, &[0; 8])], Violation::Continuation),
        ("6.10: DATA between", vec![raw(1, 1, 1, &[]), data(1, false, &[0; 9_000])], Violation::Continuation),
        ("6.10: another stream", vec![raw(1, 1, 1, &[]), raw(9, 4, 3, GET)], Violation::Continuation),
        ("6.10: unknown between", vec![raw(1, 1, 1, &[]), raw(99, 0, 0, &[])], Violation::Continuation),
        (
            "5.1: closed, DATA",
            vec![done(), raw(3, 0, 1, &[0; 4]), data(1, true, b"x")],
            Violation::ClosedStream,
        ),
        (
            "5.1: closed, HEADERS",
            vec![done(), raw(3, 0, 1, &[0; 4]), headers(1, true, GET)],
            Violation::ClosedStream,
        ),
    ]
}

#[test]
fn what_breaks_a_connection_is_told_by_its_name_and_code() {
    for (section, sent, violation) in connection_errors() {
        let mut server = server();
        for frame in sent {
            give(&mut server, &frame);
            while let Some((key, _)) = server.accept() {
                assert_eq!(server.streams.get(key).unwrap().handles, 1);
            }
        }
        assert_eq!(broken(&server), Some(violation), "{section}");
        let last = frames(&mut server).pop().unwrap();
        assert_eq!(last.kind, Kind::GoAway, "{section}");
        assert_eq!(last.payload[4..8], violation.code().to_wire().to_be_bytes(), "{section}");
        assert_eq!(String::from_utf8_lossy(&last.payload[8..]), violation.to_string());
        assert!(server.is_done());
    }
}

#[test]
fn what_breaks_a_stream_leaves_the_connection() {
    let literal = |name: &str, value: &str| {
        let mut field = vec![0, name.len() as u8];
        field.extend(name.bytes());
        field.push(value.len() as u8);
        field.extend(value.bytes());
        field
    };
    let with = |name: &str, value: &str| headers(1, false, &[GET, &literal(name, value)].concat());
    let malformed = Violation::Malformed;
    let cases = [
        ("8.2.1: upper case", vec![with("X-Y", "1")], malformed(Malformed::FieldName)),
        ("8.2.1: white space", vec![with("x", " 1")], malformed(Malformed::FieldValue)),
        ("8.2.2: connection", vec![with("connection", "close")], malformed(Malformed::OfTheConnection)),
        ("8.2.2: te", vec![with("te", "gzip")], malformed(Malformed::Te)),
        ("8.3: unknown", vec![with(":x", "1")], malformed(Malformed::UnknownPseudo)),
        (
            "8.3: late",
            vec![headers(1, true, &[&literal("x", "1"), GET].concat())],
            malformed(Malformed::LatePseudo),
        ),
        (
            "8.3: twice",
            vec![headers(1, true, &[&[0x82], GET].concat())],
            malformed(Malformed::RepeatedPseudo),
        ),
        (
            "8.3: of a response",
            vec![headers(1, true, &[&[0x88], GET].concat())],
            malformed(Malformed::UnknownPseudo),
        ),
        ("8.3.1: no path", vec![headers(1, true, &[0x82, 0x86])], malformed(Malformed::MissingPseudo)),
        ("8.3.1: no scheme", vec![headers(1, true, &[0x82, 0x84])], malformed(Malformed::MissingPseudo)),
        ("8.3.1: no method", vec![headers(1, true, &[0x86, 0x84])], malformed(Malformed::MissingPseudo)),
        (
            "8.3.1: * for GET",
            vec![headers(1, true, &[0x82, 0x86, 0x04, 0x01, b'*'])],
            malformed(Malformed::Path),
        ),
        (
            "8.5: CONNECT with a path",
            vec![headers(1, true, &[&literal(":method", "CONNECT")[..], &[0x84]].concat())],
            malformed(Malformed::UnknownPseudo),
        ),
        (
            "8.1.1: length, at once",
            vec![headers(1, true, &[GET, &literal("content-length", "1")].concat())],
            malformed(Malformed::BodyLength),
        ),
        (
            "8.1.1: too much",
            vec![with("content-length", "1"), data(1, false, b"ab")],
            malformed(Malformed::BodyLength),
        ),
        (
            "8.1.1: too little",
            vec![with("content-length", "2"), data(1, true, b"a")],
            malformed(Malformed::BodyLength),
        ),
        ("8.1.1: no number", vec![with("content-length", "+2")], malformed(Malformed::ContentLength)),
        (
            "8.1: trailers that go on",
            vec![headers(1, false, GET), headers(1, false, &literal("x", "1"))],
            malformed(Malformed::SecondHead),
        ),
        (
            "8.1: pseudo in trailers",
            vec![headers(1, false, GET), headers(1, true, &[0x82])],
            malformed(Malformed::PseudoInTrailers),
        ),
        (
            "5.1: half-closed, DATA",
            vec![headers(1, true, GET), data(1, false, b"x")],
            Violation::ClosedStream,
        ),
        (
            "5.1: half-closed, HEADERS",
            vec![headers(1, true, GET), headers(1, true, GET)],
            Violation::ClosedStream,
        ),
        ("6.9: by 0", vec![headers(1, false, GET), raw(8, 0, 1, &[0; 4])], Violation::WindowUnchanged),
        (
            "6.9.1: overflow",
            vec![headers(1, false, GET), raw(8, 0, 1, &[0x7f, 0xff, 0xff, 0xff])],
            Violation::WindowOverflow,
        ),
    ];
    for (section, sent, violation) in cases {
        let mut server = server();
        let mut key = None;
        for frame in sent {
            give(&mut server, &frame);
            key = server.accept().map(|(key, _)| key).or(key);
        }
        assert_eq!(broken(&server), None, "{section}");
        assert_eq!(resets(&frames(&mut server)), [(1, violation.code().to_wire())], "{section}");
        if let Some(key) = key {
            let Poll::Ready(Error::Stream(told)) = now(|cx| server.poll_reset(key, cx)) else {
                panic!("{section}")
            };
            assert_eq!(told, violation, "{section}");
            server.stop_reading(key);
            server.let_go(key);
        }
        assert_eq!(server.streams.kept(), 0, "{section}");
        // Another request goes through, and what is late for the first is ignored.
        give(&mut server, &data(1, true, b"late"));
        give(&mut server, &headers(3, true, GET));
        assert!(server.accept().is_some() && broken(&server).is_none(), "{section}");
    }
}

#[test]
fn what_only_looks_odd_is_taken() {
    for (section, sent) in [
        ("4.1: unknown type", raw(0xaa, 0xff, 7, b"whatever")),
        ("4.1: reserved bit", raw(6, 0, 0x8000_0000, &[0; 8])),
        ("5.3.2: priority, of nothing", raw(2, 0, 99, &[0; 5])),
        ("6.5.2: unknown setting", raw(4, 0, 0, &[0xff, 0xff, 1, 2, 3, 4])),
        ("6.5: stray ACK", raw(4, 1, 0, &[])),
        ("6.7: stray ACK", raw(6, 1, 0, &[1; 8])),
        ("6.8: a client's GOAWAY", raw(7, 0, 0, &[0; 8])),
    ] {
        let mut server = server();
        give(&mut server, &sent);
        give(&mut server, &headers(1, true, GET));
        assert!(server.accept().is_some() && broken(&server).is_none(), "{section}");
    }
}

#[test]
fn padding_and_priority_are_no_part_of_a_message() {
    let mut server = server();
    let block = [&[3, 0, 0, 0, 0, 16][..], GET, &[0; 3]].concat();
    give(&mut server, &raw(1, 0x2c, 1, &block));
    give(&mut server, &raw(0, 9, 1, &[&[2][..], b"body", &[0; 2]].concat()));
    let (key, request) = server.accept().unwrap();
    assert_eq!(request.uri(), "http://a/");
    assert_eq!(read(&mut server, key).0, b"body");
}

#[test]
fn a_connection_that_does_not_begin_as_it_should_is_refused_at_its_first_wrong_byte() {
    for (said, violation) in [
        (&b"GET / HTTP/1.1\r\n"[..], Violation::Preface),
        (b"PRI * HTTP/2.0\r\n\r\nSX", Violation::Preface),
        (&[&PREFACE[..], &raw(6, 0, 0, &[0; 8])].concat(), Violation::SettingsFirst),
        (&[&PREFACE[..], &raw(4, 1, 0, &[])].concat(), Violation::SettingsFirst),
    ] {
        let mut server = Engine::new(Role::Server, CONFIG);
        give(&mut server, said);
        assert_eq!(broken(&server), Some(violation));
    }
    let mut server = Engine::new(Role::Server, CONFIG);
    let mut input = BytesMut::new();
    for byte in [&PREFACE[..], &raw(4, 0, 0, &[]), &headers(1, true, GET)].concat() {
        input.extend_from_slice(&[byte]);
        server.receive(&mut input);
    }
    assert!(server.accept().is_some(), "byte by byte it is understood too");
}

#[test]
fn a_server_is_held_to_what_servers_may_do() {
    for (section, sent, violation) in [
        ("6.5.2: push", raw(4, 0, 0, &[0, 2, 0, 0, 0, 1]), Violation::Setting),
        ("8.4: push", raw(5, 4, 1, &[0, 0, 0, 2, 0x82]), Violation::Push),
        ("5.1: idle", headers(1, true, &[0x88]), Violation::IdleStream),
        ("5.1: a server's stream", headers(2, true, &[0x88]), Violation::IdleStream),
    ] {
        let mut client = client();
        give(&mut client, &sent);
        assert_eq!(broken(&client), Some(violation), "{section}");
    }
    let malformed = Violation::Malformed;
    for (section, sent, violation) in [
        ("8.1: DATA first", vec![data(1, true, b"x")], Violation::DataFirst),
        ("8.3.2: no status", vec![headers(1, true, &[])], malformed(Malformed::MissingPseudo)),
        ("8.3.2: of a request", vec![headers(1, true, &[0x88, 0x84])], malformed(Malformed::UnknownPseudo)),
        (
            "8.1: interim that ends",
            vec![headers(1, true, &[0x08, 3, b'1', b'0', b'0'])],
            malformed(Malformed::Status),
        ),
        ("8.6: 101", vec![headers(1, false, &[0x08, 3, b'1', b'0', b'1'])], malformed(Malformed::Status)),
    ] {
        let mut client = client();
        let key = client.open(get(), true).unwrap();
        for frame in sent {
            give(&mut client, &frame);
        }
        let Poll::Ready(Err(Error::Stream(told))) = now(|cx| client.poll_response(key, cx)) else {
            panic!("{section}")
        };
        assert_eq!(told, violation, "{section}");
        assert_eq!(resets(&frames(&mut client)), [(1, violation.code().to_wire())], "{section}");
    }
}

#[test]
fn interim_responses_are_sent_before_the_response_and_not_after() {
    let (mut client, mut server) = pair(CONFIG);
    let key = client.open(get(), true).unwrap();
    meet(&mut client, &mut server);
    let (asked, _) = server.accept().unwrap();
    let response = |status: u16| Response::builder().status(status).body(()).unwrap();
    server.respond_before(asked, &response(103));
    server.respond(asked, &response(204), true).unwrap();
    server.respond_before(asked, &response(102));
    meet(&mut client, &mut server);
    for status in [103, 204] {
        let Poll::Ready(Ok(head)) = now(|cx| client.poll_response(key, cx)) else { panic!() };
        assert_eq!(head.status().as_u16(), status);
    }
    assert!(client.is_end_stream(key));
}

#[test]
fn interim_responses_come_first_and_a_head_response_need_not_have_its_body() {
    let mut client = client();
    let head = Request::head("http://a/").body(()).unwrap();
    let key = client.open(head, true).unwrap();
    for status in [b'3', b'2'] {
        give(&mut client, &headers(1, false, &[0x08, 3, b'1', b'0', status]));
    }
    for status in [103, 102] {
        let Poll::Ready(Ok(interim)) = now(|cx| client.poll_response(key, cx)) else { panic!() };
        assert_eq!(interim.status().as_u16(), status);
    }
    assert!(now(|cx| client.poll_response(key, cx)).is_pending());
    give(&mut client, &headers(1, true, &[0x88, 0x0f, 13, 2, b'1', b'7']));
    let Poll::Ready(Ok(response)) = now(|cx| client.poll_response(key, cx)) else { panic!() };
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-length"]),
        (200, &"17".parse().unwrap())
    );
    assert!(client.is_end_stream(key));
}
