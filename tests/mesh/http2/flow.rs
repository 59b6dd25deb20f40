//! Flow control and what a peer may have open: RFC 9113 §5.1.2, §5.2, §6.9.

use super::Fate::{Connection, GoesOn, Stream};
use super::code::*;
use super::{Case, GET, Site, post, serving};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use tests::frames::{Peer, flag, frame, kind};
use tests::recorder::Then;

/// A WINDOW_UPDATE (§6.9).
fn update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn initial_window(bytes: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&[0, 4], &bytes.to_be_bytes()[..]].concat())
}

const WINDOWS: &[Case] = &[
    Case(
        "6.9",
        "a window of three bytes' frame",
        0,
        |p| p.send(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1])),
        Connection(&[FRAME_SIZE_ERROR]),
    ),
    Case(
        "6.9",
        "nothing added to the connection's window",
        0,
        |p| p.send(&update(0, 0)),
        Connection(&[PROTOCOL_ERROR]),
    ),
    Case(
        "6.9",
        "nothing added to a stream's window",
        1,
        |p| p.send(&[post(1), update(1, 0)].concat()),
        Stream(&[PROTOCOL_ERROR]),
    ),
    Case("6.9", "the reserved bit", 0, |p| p.send(&update(0, 1 << 31 | 1)), GoesOn),
    Case(
        "6.9.1",
        "a connection's window beyond all",
        0,
        |p| p.send(&update(0, (1 << 31) - 1)),
        Connection(&[FLOW_CONTROL_ERROR]),
    ),
    Case(
        "6.9.1",
        "a stream's window beyond all",
        1,
        |p| p.send(&[post(1), update(1, (1 << 31) - 1)].concat()),
        Stream(&[FLOW_CONTROL_ERROR]),
    ),
    Case("6.9.1", "the largest window there is", 0, |p| p.send(&update(0, (1 << 31) - 1 - 65_535)), GoesOn),
    Case(
        "6.9.2",
        "a stream's window beyond all, by settings",
        0,
        |p| p.send(&[post(1), update(1, (1 << 31) - 1 - 65_535), initial_window(65_536)].concat()),
        Connection(&[FLOW_CONTROL_ERROR]),
    ),
];

#[test]
fn windows_are_counted_as_rfc_9113_says() {
    Site::new().judge(WINDOWS);
}

/// Reads until an answer to a new PING: what was to be sent before it has been.
fn settle(peer: &mut Peer, word: &[u8; 8]) {
    peer.send(&frame(kind::PING, 0, 0, word)).unwrap();
    peer.until(|seen| seen.pongs.contains(&word[..])).unwrap();
}

#[test]
fn an_answer_is_never_longer_than_its_window_whatever_becomes_of_that() {
    let site = Site::new();
    site.recorder.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", Then::Next);
    for (port, address) in &site.ports {
        let mut peer = Peer::open(address).unwrap();
        peer.send(&[initial_window(3), frame(kind::HEADERS, flag::WHOLE, 1, GET)].concat()).unwrap();
        peer.until(|seen| seen.stream(1).data >= 3).unwrap();
        settle(&mut peer, b"1st look");
        assert_eq!(peer.seen.stream(1).data, 3, "{port}: the window is 3");
        // Three bytes too many were sent now: the window is below zero (§6.9.2), and the update brings it back to that.
        peer.send(&[initial_window(0), update(1, 3)].concat()).unwrap();
        settle(&mut peer, b"2nd look");
        assert_eq!(peer.seen.stream(1).data, 3, "{port}: the window is 0");
        peer.send(&update(1, 5)).unwrap();
        peer.until(|seen| seen.stream(1).data >= 8).unwrap();
        settle(&mut peer, b"3rd look");
        assert_eq!(peer.seen.stream(1).data, 8, "{port}: the window was 5");
        peer.send(&initial_window(100)).unwrap();
        let over = peer.until_over(1).unwrap();
        assert_eq!((over.data, over.ended), (10, true), "{port}");
    }
}

#[test]
fn more_streams_than_are_allowed_are_refused_and_the_others_go_on() {
    let site = Site::new();
    for (port, address) in &site.ports {
        let mut peer = Peer::open(address).unwrap();
        let most = peer.offered.streams_max.unwrap_or_else(|| panic!("{port}: streams have no limit"));
        let all: Vec<u8> = (0..=most).flat_map(|n| post(2 * n + 1)).collect();
        peer.send(&all).unwrap();
        let beyond = peer.until_over(2 * most + 1).unwrap();
        assert_eq!(beyond.reset, Some(REFUSED_STREAM), "{port}: {most} are allowed: {:?}", peer.seen.goaway);
        peer.send(&frame(kind::DATA, flag::END_STREAM, 1, b"x")).unwrap();
        let first = peer.until_over(1).unwrap();
        assert_eq!((first.statuses.as_slice(), first.ended), (&[200][..], true), "{port}");
    }
}

/// Most that is sent to an application that reads nothing: more than all sockets and windows on the way take.
const SENT_MAX: usize = 128 << 20;

/// Answers requests without a body; of one with a body nothing is read but the head.
fn deaf(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if head.starts_with(b"POST") {
            loop {
                std::thread::park();
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

#[test]
fn who_sends_more_than_its_window_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || deaf(stream).ok());
        }
    });
    let (_world, ports) = serving(address);
    for (port, address) in &ports {
        let mut peer = Peer::open(address).unwrap();
        // The whole connection's window is larger than a stream's: what is overrun is the stream's.
        let mut writer = peer.writer().unwrap();
        let writing = std::thread::spawn(move || {
            let part = frame(kind::DATA, 0, 1, &[b'x'; 16_384]);
            writer.write_all(&post(1)).unwrap();
            let mut sent = 0;
            while sent < SENT_MAX && writer.write_all(&part).is_ok() {
                sent += part.len();
            }
        });
        let seen =
            peer.until(|seen| seen.goaway.is_some() || seen.stream(1).reset.is_some()).unwrap().clone();
        let told = seen.goaway.or(seen.stream(1).reset);
        assert_eq!(told, Some(FLOW_CONTROL_ERROR), "{port}: {seen:?}");
        // A stream's error ends the stream alone, and what is still sent on it is dropped: here it ends.
        peer.writer().unwrap().shutdown(Shutdown::Both).ok();
        writing.join().unwrap();
    }
}
