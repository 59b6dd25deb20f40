//! HTTP/2 as its specification has it, judged frame by frame at both ports where a sidecar speaks it: towards the
//! application that calls, and inside of mutual TLS towards other sidecars. What is judged is behaviour alone: whose
//! fault a thing is, which error is told, and whether connection and application are spared.
//!

mod connection;
mod flow;
mod headers;
mod messages;
mod streams;

use std::io;
use std::net::SocketAddr;
use tests::door;
use tests::frames::{Peer, Seen, Stream, flag, frame, kind, literal};
use tests::recorder::Recorder;
use tests::world::World;

/// Errors (RFC 9113 §7).
mod code {
    pub(super) const PROTOCOL_ERROR: u32 = 1;
    pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(super) const STREAM_CLOSED: u32 = 5;
    pub(super) const FRAME_SIZE_ERROR: u32 = 6;
    pub(super) const REFUSED_STREAM: u32 = 7;
    pub(super) const CANCEL: u32 = 8;
    pub(super) const COMPRESSION_ERROR: u32 = 9;
}

/// `GET http://web/`: three fields of the static table, and the authority as a literal.
const GET: &[u8] = b"\x82\x84\x86\x01\x03web";
/// `POST http://web/`.
const POST: &[u8] = b"\x83\x84\x86\x01\x03web";

/// The stream that is asked last, to see whether the connection is still good.
const LAST: u32 = 1001;
const PROBE: &[u8; 8] = b"alive?!?";
/// `GET http://web/probe`.
const PROBING: &[u8] = b"\x82\x86\x01\x03web\x04\x06/probe";

/// What must become of what a peer does, on the stream that is judged.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The connection goes on as if nothing had happened.
    GoesOn,
    /// The request is answered 200, and the connection goes on.
    Answered,
    /// The connection ends with one of these errors (§5.4.1).
    Connection(&'static [u32]),
    /// The stream is reset with one of these errors and the connection goes on; or the connection ends with one of them,
    /// as an endpoint may treat any error (§5.4.2).
    Stream(&'static [u32]),
    /// The request is malformed (§8.1.1): the application never sees it. Its stream is reset with PROTOCOL_ERROR, it is
    /// answered 400 or 431, or the connection ends with PROTOCOL_ERROR.
    Malformed,
    /// The request is refused with an error of 400 or more, or as malformed; the application never sees it.
    NoTunnel,
}

/// What a peer does on a connection that is open, up to the point where it is judged.
type Deed = fn(&mut Peer) -> io::Result<()>;

/// One row: the section of RFC 9113 (or `hpack` and that of RFC 7541), what a peer does, the stream to judge, and its fate.
struct Case(&'static str, &'static str, u32, Deed, Fate);

/// Both ports, and an application that writes down what it sees.
struct Site {
    _world: World,
    ports: [(&'static str, String); 2],
    recorder: Recorder,
}

impl Site {
    fn new() -> Self {
        let (recorder, address) = Recorder::start();
        let (world, ports) = serving(address);
        recorder.take();
        Self { _world: world, ports, recorder }
    }

    /// Judges each case at each port; panics with all that are not as they should be.
    fn judge(&self, cases: &[Case]) {
        let mut problems = Vec::new();
        for (port, address) in &self.ports {
            for Case(section, what, stream, deed, fate) in cases {
                let judged = Peer::open(address).and_then(|mut peer| {
                    // A connection that ends meanwhile is for the judge to see.
                    deed(&mut peer).ok();
                    judge(&mut peer, *stream, *fate)
                });
                let judged = judged.unwrap_or_else(|error| Err(error.to_string()));
                let mut known = self.recorder.take();
                known.retain(|request| request.line != "GET /probe HTTP/1.1");
                let judged = match (judged, fate) {
                    (Ok(()), Fate::Malformed | Fate::NoTunnel) if !known.is_empty() => {
                        Err(format!("the application sees it: {known:?}"))
                    }
                    (judged, _) => judged,
                };
                if let Err(problem) = judged {
                    problems.push(format!("{port}: §{section} {what}: {fate:?} was due; {problem}"));
                }
            }
        }
        assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
    }
}

/// A mesh in which the application at `port` is the service `web`, and its two ports.
fn serving(application: SocketAddr) -> (World, [(&'static str, String); 2]) {
    let (mut world, outbound) = World::in_front_of(application, "/");
    let inbound = door::to_inbound(&mut world, "web-a", "web", application.port(), "shopper");
    let ports = [("outbound", outbound), ("inbound", inbound.to_string())];
    (world, ports)
}

/// A peer whose deed is done: is its fate the due one? The outer error is that nothing more came.
fn judge(peer: &mut Peer, stream: u32, fate: Fate) -> io::Result<Result<(), String>> {
    let verdict = match fate {
        Fate::GoesOn => still_good(peer)?,
        Fate::Answered => {
            let over = peer.until_over(stream)?;
            match over.statuses.last() {
                Some(200) if over.ended => still_good(peer)?,
                _ => Err(format!("the answer is {over:?}, seen: {:?}", peer.seen)),
            }
        }
        Fate::Connection(codes) => {
            peer.send(&frame(kind::PING, 0, 0, PROBE)).ok();
            let seen = peer.until(|seen| seen.pongs.contains(&PROBE[..]))?;
            ended_with(seen, codes)
        }
        Fate::Stream(codes) => {
            let over = peer.until_over(stream)?;
            match over.reset {
                Some(code) if codes.contains(&code) => still_good(peer)?,
                _ if peer.seen.closed => ended_with(&peer.seen, codes),
                _ => Err(format!("what came is {over:?}")),
            }
        }
        Fate::Malformed => {
            let over = peer.until_over(stream)?;
            match over {
                Stream { reset: Some(code::PROTOCOL_ERROR), .. } => still_good(peer)?,
                Stream { reset: None, .. } if matches!(over.statuses.last(), Some(400 | 431)) => {
                    still_good(peer)?
                }
                _ if peer.seen.closed => ended_with(&peer.seen, &[code::PROTOCOL_ERROR]),
                _ => Err(format!("what came is {over:?}")),
            }
        }
        Fate::NoTunnel => {
            let over = peer.until_over(stream)?;
            match over.statuses.as_slice() {
                [status] if *status >= 400 => still_good(peer)?,
                [] if over.reset == Some(code::PROTOCOL_ERROR) => still_good(peer)?,
                _ => Err(format!("what came is {over:?}")),
            }
        }
    };
    Ok(verdict)
}

/// Whether the connection answers a PING and a request.
fn still_good(peer: &mut Peer) -> io::Result<Result<(), String>> {
    let asked = peer
        .send(&frame(kind::PING, 0, 0, PROBE))
        .and_then(|()| peer.send(&frame(kind::HEADERS, flag::WHOLE, LAST, PROBING)));
    peer.until(|seen| seen.pongs.contains(&PROBE[..]))?;
    let over = peer.until_over(LAST)?;
    Ok(match over.statuses.as_slice() {
        [200] if over.ended => Ok(()),
        _ => Err(format!("the connection is no good any more: {asked:?}, {:?}", peer.seen)),
    })
}

fn ended_with(seen: &Seen, codes: &[u32]) -> Result<(), String> {
    match seen.goaway {
        Some(code) if seen.closed && codes.contains(&code) => Ok(()),
        _ => Err(format!("closed: {}, GOAWAY: {:?}, {:?}", seen.closed, seen.goaway, seen.streams)),
    }
}

/// A block of literal fields.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes())).collect()
}

/// A whole request: `GET` with these fields behind.
fn get_with(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, 1, &[GET, &block(fields)].concat())
}

/// A request on this stream whose body is still to come.
fn post(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, POST)
}

/// A whole request on this stream.
fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, stream, GET)
}
