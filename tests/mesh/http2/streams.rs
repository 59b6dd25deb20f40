//! Streams and the frames that belong to them: RFC 9113 §5.1, §6.1 to §6.4.

use super::Fate::{Answered, Connection, GoesOn, Stream};
use super::code::*;
use super::{Case, GET, Site, get, post};
use tests::frames::{flag, frame, kind};

const STREAMS: &[Case] = &[
    Case(
        "5.1",
        "DATA on an idle stream",
        0,
        |p| p.send(&frame(kind::DATA, flag::END_STREAM, 1, b"x")),
        Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
    ),
    Case(
        "5.1",
        "RST_STREAM on an idle stream",
        0,
        |p| p.send(&frame(kind::RST_STREAM, 0, 1, &CANCEL.to_be_bytes())),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "5.1",
        "WINDOW_UPDATE on an idle stream",
        0,
        |p| p.send(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9])),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "5.1",
        "CONTINUATION on an idle stream",
        0,
        |p| p.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, GET)),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "5.1",
        "PRIORITY on an idle stream",
        0,
        |p| p.send(&frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        GoesOn,
    ),
    Case(
        "5.1",
        "DATA after the request's end",
        1,
        |p| p.send(&[get(1), frame(kind::DATA, flag::END_STREAM, 1, b"x")].concat()),
        Stream(&[STREAM_CLOSED]),
    ),
    Case(
        "5.1",
        "HEADERS after the request's end",
        1,
        |p| p.send(&[get(1), get(1)].concat()),
        Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
    ),
    Case(
        "5.1",
        "WINDOW_UPDATE, PRIORITY and RST_STREAM once a stream is over",
        0,
        |p| {
            p.send(&get(1))?;
            p.until_over(1)?;
            let rest = [
                frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]),
                frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]),
                frame(kind::RST_STREAM, 0, 1, &CANCEL.to_be_bytes()),
            ];
            p.send(&rest.concat())
        },
        GoesOn,
    ),
    Case(
        "5.1",
        "HEADERS once a stream is over",
        0,
        |p| {
            p.send(&get(1))?;
            p.until_over(1)?;
            p.send(&get(1))
        },
        Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
    ),
    Case(
        "5.1",
        "DATA on a stream that was given up",
        1,
        |p| {
            p.send(&[post(1), frame(kind::RST_STREAM, 0, 1, &CANCEL.to_be_bytes())].concat())?;
            p.send(&frame(kind::DATA, 0, 1, b"x"))
        },
        // A stream error for one that is known to be closed; it may have been forgotten, and then it is the connection's.
        Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
    ),
    Case("5.1.1", "a stream with an even number", 0, |p| p.send(&get(2)), Connection(&[PROTOCOL_ERROR])),
    Case(
        "5.1.1",
        "a stream with a number below the last",
        0,
        |p| p.send(&[get(5), get(3)].concat()),
        Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
    ),
    Case(
        "5.1.1",
        "streams whose numbers leave some out",
        99,
        |p| p.send(&[get(7), get(99)].concat()),
        Answered,
    ),
    Case(
        "5.3",
        "priority in HEADERS",
        1,
        |p| {
            p.send(&frame(
                kind::HEADERS,
                flag::WHOLE | flag::PRIORITY,
                1,
                &[&[0x80, 0, 0, 0, 200], GET].concat(),
            ))
        },
        Answered,
    ),
    Case(
        "6.1",
        "DATA on no stream",
        0,
        |p| p.send(&frame(kind::DATA, 0, 0, b"x")),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.1",
        "padded DATA",
        1,
        |p| {
            p.send(
                &[post(1), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"\x03body\0\0\0")].concat(),
            )
        },
        Answered,
    ),
    Case(
        "6.1",
        "DATA that is all padding",
        1,
        |p| p.send(&[post(1), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"\x03\0\0\0")].concat()),
        Answered,
    ),
    Case(
        "6.1",
        "more padding than DATA",
        0,
        |p| p.send(&[post(1), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"\x04\0\0\0")].concat()),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.1",
        "padded DATA without a length",
        0,
        |p| p.send(&[post(1), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"")].concat()),
        Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
    ),
    Case("6.2", "HEADERS on no stream", 0, |p| p.send(&get(0)), Connection(&[PROTOCOL_ERROR])),
    Case(
        "6.2",
        "padded HEADERS",
        1,
        |p| p.send(&frame(kind::HEADERS, flag::WHOLE | flag::PADDED, 1, &[&[2], GET, &[0, 0]].concat())),
        Answered,
    ),
    Case(
        "6.2",
        "more padding than HEADERS",
        0,
        |p| p.send(&frame(kind::HEADERS, flag::WHOLE | flag::PADDED, 1, &[&[200], GET].concat())),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.2",
        "a block in four frames",
        1,
        |p| {
            let part = |kind, flags, bytes| frame(kind, flags, 1, bytes);
            p.send(
                &[
                    part(kind::HEADERS, flag::END_STREAM, &GET[..2]),
                    part(kind::CONTINUATION, 0, &GET[2..5]),
                    part(kind::CONTINUATION, 0, &[]),
                    part(kind::CONTINUATION, flag::END_HEADERS, &GET[5..]),
                ]
                .concat(),
            )
        },
        Answered,
    ),
    Case(
        "6.3",
        "PRIORITY on no stream",
        0,
        |p| p.send(&frame(kind::PRIORITY, 0, 0, &[0; 5])),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.3",
        "PRIORITY of four bytes",
        1,
        |p| p.send(&[post(1), frame(kind::PRIORITY, 0, 1, &[0; 4])].concat()),
        Stream(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "6.4",
        "RST_STREAM on no stream",
        0,
        |p| p.send(&frame(kind::RST_STREAM, 0, 0, &[0, 0, 0, 8])),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.4",
        "RST_STREAM of three bytes",
        0,
        |p| p.send(&[post(1), frame(kind::RST_STREAM, 0, 1, &[0, 0, 8])].concat()),
        Connection(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "6.4",
        "a stream that is given up",
        0,
        |p| p.send(&[post(1), frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat()),
        GoesOn,
    ),
    Case(
        "6.4",
        "a stream given up for an error that nobody knows",
        0,
        |p| p.send(&[post(1), frame(kind::RST_STREAM, 0, 1, &[9, 9, 9, 9])].concat()),
        GoesOn,
    ),
];

#[test]
fn streams_live_and_end_as_rfc_9113_says() {
    Site::new().judge(STREAMS);
}
