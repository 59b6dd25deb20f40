//! Header compression: RFC 7541, where whatever can't be read ends the connection with COMPRESSION_ERROR (RFC 9113 §4.3).

use super::Fate::{Answered, Connection, Malformed};
use super::code::*;
use super::{Case, GET, Site};
use std::io;
use tests::frames::{Peer, flag, frame, kind};

/// A request whose block goes on so.
fn and(peer: &mut Peer, rest: &[u8]) -> io::Result<()> {
    peer.send(&frame(kind::HEADERS, flag::WHOLE, 1, &[GET, rest].concat()))
}

/// A request whose block is this.
fn all(peer: &mut Peer, block: &[u8]) -> io::Result<()> {
    peer.send(&frame(kind::HEADERS, flag::WHOLE, 1, block))
}

const UNREADABLE: super::Fate = Connection(&[COMPRESSION_ERROR]);

const COMPRESSION: &[Case] = &[
    Case(
        "hpack 2.3.2",
        "a field that was added to the table",
        3,
        |p| {
            all(p, b"\x82\x84\x86\x41\x03web")?;
            // The first of the dynamic table.
            p.send(&frame(kind::HEADERS, flag::WHOLE, 3, b"\x82\x84\x86\xbe"))
        },
        Answered,
    ),
    Case("hpack 2.3.3", "index 0", 0, |p| and(p, &[0x80]), UNREADABLE),
    Case("hpack 2.3.3", "an index beyond both tables", 0, |p| and(p, &[0xbe]), UNREADABLE),
    Case("hpack 2.3.3", "a name's index beyond both tables", 0, |p| and(p, b"\x7e\x01x"), UNREADABLE),
    Case("hpack 4.2", "a table that becomes smaller", 1, |p| all(p, &[&[0x20][..], GET].concat()), Answered),
    Case(
        "hpack 4.2",
        "a table larger than allowed",
        0,
        |p| {
            // 2^20 as 31 and the rest.
            all(p, &[&[0x3f, 0xe1, 0xff, 0x3f][..], GET].concat())
        },
        UNREADABLE,
    ),
    Case("hpack 4.2", "a change of the table's size behind a field", 0, |p| and(p, &[0x20]), UNREADABLE),
    Case(
        "hpack 5.1",
        "a number beyond all",
        0,
        |p| and(p, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        UNREADABLE,
    ),
    Case("hpack 5.1", "a number without an end", 0, |p| and(p, &[0xff, 0x80]), UNREADABLE),
    Case("hpack 5.2", "a string that is longer than the block", 0, |p| and(p, b"\x00\x01x\x09y"), UNREADABLE),
    Case(
        "hpack 5.2",
        "a string in Huffman's code",
        1,
        |p| and(p, b"\x00\x01x\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"),
        Answered,
    ),
    Case(
        "hpack 5.2",
        "a code with more padding than 7 bits",
        0,
        |p| and(p, b"\x00\x01x\x82\x07\xff"),
        UNREADABLE,
    ),
    Case("hpack 5.2", "a code padded with zeros", 0, |p| and(p, b"\x00\x01x\x81\x00"), UNREADABLE),
    Case(
        "hpack 5.2",
        "a code with the end of strings in it",
        0,
        |p| and(p, b"\x00\x01x\x84\xff\xff\xff\xff"),
        UNREADABLE,
    ),
    Case("hpack 6.2.3", "a field that is never to be indexed", 1, |p| and(p, b"\x10\x01x\x01y"), Answered),
    Case("hpack 2.3.3", "an empty block", 1, |p| all(p, &[]), Malformed),
];

#[test]
fn what_cannot_be_decompressed_ends_the_connection_as_rfc_7541_says() {
    Site::new().judge(COMPRESSION);
}

/// The table is one for all requests of a connection, those refused too.
#[test]
fn a_request_that_is_refused_leaves_the_compression_of_the_next_intact() {
    let site = Site::new();
    for (port, address) in &site.ports {
        let mut peer = Peer::open(address).unwrap();
        // Malformed, by a name in capitals, and yet it adds the authority to the table.
        let refused = frame(kind::HEADERS, flag::WHOLE, 1, b"\x82\x84\x86\x41\x03web\x00\x01X\x01y");
        peer.send(&refused).unwrap();
        peer.until_over(1).unwrap();
        peer.send(&frame(kind::HEADERS, flag::WHOLE, 3, b"\x82\x84\x86\xbe")).unwrap();
        let over = peer.until_over(3).unwrap();
        // An endpoint may end the connection for any error.
        let good = over.statuses == [200] && over.ended || peer.seen.closed;
        assert!(good, "{port}: {over:?}");
        let seen = site.recorder.take();
        assert!(seen.iter().all(|request| request.values("host").eq(["web"])), "{port}: {seen:?}");
    }
}
