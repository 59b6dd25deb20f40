//! Connections, and the frames that rule them: RFC 9113 §3, §4, §6.5 to §6.10.

use super::Fate::{Answered, Connection, GoesOn, Stream};
use super::code::*;
use super::{Case, GET, PROBE, Site, ended_with, get, post};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::frames::{PREFACE, Peer, flag, frame, kind};

/// A setting (§6.5.1).
fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// As many bytes as the other side takes in a frame, and one more.
fn too_long(peer: &Peer) -> Vec<u8> {
    vec![0; usize::try_from(peer.offered.frame_bytes_max).unwrap() + 1]
}

const FRAMES: &[Case] = &[
    Case("3.4", "a connection as it should be", 1, |p| p.send(&get(1)), Answered),
    Case(
        "3.4",
        "requests before the other side's SETTINGS are acknowledged",
        1,
        |p| p.send(&get(1)),
        Answered,
    ),
    Case("4.1", "a frame of a type that nobody knows", 0, |p| p.send(&frame(0x2a, 0xff, 0, b"what")), GoesOn),
    Case("4.1", "the same on a stream that is idle", 0, |p| p.send(&frame(0x2a, 0xff, 7, b"what")), GoesOn),
    Case("4.1", "flags that nobody knows", 0, |p| p.send(&frame(kind::PING, 0xfe, 0, b"flagging")), GoesOn),
    Case(
        "4.1",
        "the reserved bit",
        1,
        |p| p.send(&frame(kind::HEADERS, flag::WHOLE, 1 | 1 << 31, GET)),
        Answered,
    ),
    Case(
        "4.1",
        "the reserved bit of no stream",
        0,
        |p| p.send(&frame(kind::PING, 0, 1 << 31, b"reserved")),
        GoesOn,
    ),
    Case(
        "4.2",
        "DATA longer than a frame may be",
        1,
        |p| p.send(&[post(1), frame(kind::DATA, flag::END_STREAM, 1, &too_long(p))].concat()),
        Stream(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "4.2",
        "HEADERS longer than a frame may be",
        0,
        |p| p.send(&frame(kind::HEADERS, flag::WHOLE, 1, &too_long(p))),
        Connection(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "4.2",
        "a PING longer than a frame may be",
        0,
        |p| p.send(&frame(kind::PING, 0, 0, &too_long(p))),
        Connection(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "4.3",
        "a block that ends within a field",
        0,
        |p| p.send(&frame(kind::HEADERS, flag::WHOLE, 1, b"\x82\x84\x86\x01\x7fweb")),
        Connection(&[COMPRESSION_ERROR]),
    ),
    Case(
        "4.3",
        "another frame within a block",
        0,
        |p| {
            p.send(
                &[frame(kind::HEADERS, flag::END_STREAM, 1, GET), frame(kind::PRIORITY, 0, 1, &[0; 5])]
                    .concat(),
            )
        },
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "4.3",
        "another stream's HEADERS within a block",
        0,
        |p| p.send(&[frame(kind::HEADERS, flag::END_STREAM, 1, GET), get(3)].concat()),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "5.5",
        "an unknown frame within a block",
        0,
        |p| p.send(&[frame(kind::HEADERS, flag::END_STREAM, 1, GET), frame(0x2a, 0, 1, b"")].concat()),
        Connection(&[PROTOCOL_ERROR]),
    ),
];

#[test]
fn frames_are_taken_as_rfc_9113_says() {
    Site::new().judge(FRAMES);
}

const CONTROL: &[Case] = &[
    Case(
        "6.5",
        "SETTINGS on a stream",
        0,
        |p| p.send(&frame(kind::SETTINGS, 0, 1, &[])),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.5",
        "an acknowledgement with settings",
        0,
        |p| p.send(&frame(kind::SETTINGS, flag::ACK, 0, &[0, 1, 0, 0, 0, 0])),
        Connection(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "6.5",
        "half a setting",
        0,
        |p| p.send(&frame(kind::SETTINGS, 0, 0, &[0, 1, 0])),
        Connection(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "6.5.2",
        "ENABLE_PUSH that is neither",
        0,
        |p| p.send(&setting(2, 2)),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.5.2",
        "a window beyond all",
        0,
        |p| p.send(&setting(4, 1 << 31)),
        Connection(&[FLOW_CONTROL_ERROR]),
    ),
    Case("6.5.2", "frames too small", 0, |p| p.send(&setting(5, 16_383)), Connection(&[PROTOCOL_ERROR])),
    Case("6.5.2", "frames too large", 0, |p| p.send(&setting(5, 1 << 24)), Connection(&[PROTOCOL_ERROR])),
    Case("6.5.2", "a setting that nobody knows", 0, |p| p.send(&setting(0x2a2a, 1)), GoesOn),
    Case(
        "6.5.3",
        "settings are acknowledged, each",
        0,
        |p| {
            p.send(&[setting(4, 1 << 20), setting(3, 7), setting(4, 1 << 16)].concat())?;
            // The first were empty.
            let seen = p.until(|seen| seen.settings_acks >= 4)?;
            assert!(!seen.closed, "{seen:?}");
            Ok(())
        },
        GoesOn,
    ),
    Case(
        "6.6",
        "a push from a client",
        0,
        |p| {
            p.send(
                &[post(1), frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[&[0, 0, 0, 2], GET].concat())]
                    .concat(),
            )
        },
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.7",
        "a PING is answered with what it said",
        0,
        |p| {
            p.send(&frame(kind::PING, 0, 0, b"echo me!"))?;
            let seen = p.until(|seen| !seen.pongs.is_empty())?;
            assert!(seen.pongs.contains(&b"echo me!"[..]), "{seen:?}");
            Ok(())
        },
        GoesOn,
    ),
    Case(
        "6.7",
        "an answer to no PING is not answered",
        0,
        |p| {
            p.send(
                &[frame(kind::PING, flag::ACK, 0, b"not sent"), frame(kind::PING, 0, 0, b"after it")]
                    .concat(),
            )?;
            let seen = p.until(|seen| seen.pongs.contains(&b"after it"[..]))?;
            assert!(!seen.pongs.contains(&b"not sent"[..]), "{seen:?}");
            Ok(())
        },
        GoesOn,
    ),
    Case(
        "6.7",
        "a PING on a stream",
        0,
        |p| p.send(&frame(kind::PING, 0, 1, b"a stream")),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.7",
        "a PING of seven bytes",
        0,
        |p| p.send(&frame(kind::PING, 0, 0, b"seven b")),
        Connection(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "6.8",
        "GOAWAY on a stream",
        0,
        |p| p.send(&frame(kind::GOAWAY, 0, 1, &[0; 8])),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.10",
        "CONTINUATION on no stream",
        0,
        |p| {
            p.send(
                &[
                    frame(kind::HEADERS, flag::END_STREAM, 1, GET),
                    frame(kind::CONTINUATION, flag::END_HEADERS, 0, &[]),
                ]
                .concat(),
            )
        },
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.10",
        "CONTINUATION after the block's end",
        0,
        |p| p.send(&[get(1), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[])].concat()),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.10",
        "CONTINUATION on another stream",
        0,
        |p| {
            p.send(
                &[
                    frame(kind::HEADERS, flag::END_STREAM, 1, GET),
                    frame(kind::CONTINUATION, flag::END_HEADERS, 3, &[]),
                ]
                .concat(),
            )
        },
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.10",
        "CONTINUATION after DATA",
        0,
        |p| {
            p.send(
                &[
                    post(1),
                    frame(kind::DATA, 0, 1, b"x"),
                    frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]),
                ]
                .concat(),
            )
        },
        Connection(&[PROTOCOL_ERROR]),
    ),
];

#[test]
fn what_rules_a_connection_is_obeyed_or_refused_as_rfc_9113_says() {
    Site::new().judge(CONTROL);
}

#[test]
fn a_peer_that_says_goaway_still_gets_its_answers() {
    let site = Site::new();
    for (port, address) in &site.ports {
        let mut peer = Peer::open(address).unwrap();
        let goaway = frame(kind::GOAWAY, 0, 0, &[0; 8]);
        // The body comes after it has said that it opens no more streams.
        peer.send(&[post(1), goaway, frame(kind::DATA, flag::END_STREAM, 1, b"late")].concat()).unwrap();
        let over = peer.until_over(1).unwrap();
        assert_eq!((over.statuses.as_slice(), over.ended), (&[200][..], true), "{port}");
        let seen = site.recorder.take();
        assert_eq!(seen.len(), 1, "{port}");
        assert_eq!(seen[0].body, b"late", "{port}");
    }
}

#[test]
fn what_is_no_preface_opens_no_connection() {
    let site = Site::new();
    for (port, address) in &site.ports {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // It may be reset, which is an end too; a timeout is none.
        let ended = stream.read_to_end(&mut answer);
        let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "{port}: still open after {answer:?}");
        assert!(site.recorder.take().is_empty(), "{port}: seen by the application");
    }
}

/// RFC 9113 §3.4.
#[test]
fn what_begins_with_anything_but_settings_is_ended_and_no_application_sees_it() {
    let site = Site::new();
    let first: [(&str, Vec<u8>); 4] = [
        ("a request", get(1)),
        ("PING", frame(kind::PING, 0, 0, PROBE)),
        ("an acknowledgement of SETTINGS", frame(kind::SETTINGS, flag::ACK, 0, &[])),
        ("a frame of an unknown kind", frame(0x42, 0, 0, b"what")),
    ];
    for (port, address) in &site.ports {
        for (what, first) in &first {
            let ended = Peer::open_with(address, &[PREFACE, first].concat()).and_then(|mut peer| {
                peer.until(|_| false)?;
                Ok(ended_with(&peer.seen, &[PROTOCOL_ERROR]))
            });
            let ended = ended.unwrap_or_else(|error| Err(error.to_string()));
            assert_eq!(ended, Ok(()), "{port}: {what}");
            assert!(site.recorder.take().is_empty(), "{port}: {what}: seen by the application");
        }
    }
}
