//! The engine without a socket: bytes in, bytes out, and what holders of streams see.

mod conformance;
mod flow;
mod going_away;
mod hostile;
mod properties;

use super::{Engine, Key, Role};
use crate::config::Config;
use crate::error::{Error, Violation};
use crate::frame::{self, HEADER_BYTES, Header, Kind, PREFACE};
use bytes::BytesMut;
use http::{Request, Response};
use std::task::{Context, Poll, Waker};

pub(super) const CONFIG: Config = Config {
    streams_max: 10,
    first_streams: 100,
    stream_window: 100_000,
    connection_window: 200_000,
    send_buffer: 64 * 1024,
    head_bytes: 16 * 1024,
    keeps_buffers: true,
};

/// A frame as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// Takes all that an engine wants to write.
pub(super) fn taken(engine: &mut Engine) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        engine.transmit();
        let waiting = engine.output().waiting().to_vec();
        if waiting.is_empty() {
            return bytes;
        }
        engine.output().wrote(waiting.len());
        bytes.extend(waiting);
    }
}

/// The same as frames.
pub(super) fn frames(engine: &mut Engine) -> Vec<Written> {
    let bytes = taken(engine);
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(&bytes);
    let mut frames = Vec::new();
    while let Some(header) = Header::parse(rest) {
        let (kind, flags, stream) = (header.kind, header.flags, header.stream);
        let payload = rest[HEADER_BYTES..HEADER_BYTES + header.length].to_vec();
        frames.push(Written { kind, flags, stream, payload });
        rest = &rest[HEADER_BYTES + header.length..];
    }
    assert!(rest.is_empty());
    frames
}

/// Gives bytes to an engine, all at once.
pub(super) fn give(engine: &mut Engine, bytes: &[u8]) {
    engine.receive(&mut BytesMut::from(bytes));
}

/// A frame of any kind.
pub(super) fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::header(&mut bytes, payload.len(), kind, flags, stream);
    bytes.extend_from_slice(payload);
    bytes
}

/// A server to whom a client has said hello.
pub(super) fn server() -> Engine {
    let mut server = Engine::new(Role::Server, CONFIG);
    give(&mut server, &[&PREFACE[..], &raw(4, 0, 0, &[])].concat());
    frames(&mut server);
    assert!(server.has_begun());
    server
}

/// A client to whom a server has said hello.
pub(super) fn client() -> Engine {
    let mut client = Engine::new(Role::Client, CONFIG);
    client.add_opener();
    give(&mut client, &raw(4, 0, 0, &[]));
    frames(&mut client);
    client
}

/// A client and a server that have met.
pub(super) fn pair(config: Config) -> (Engine, Engine) {
    let mut client = Engine::new(Role::Client, config);
    client.add_opener();
    let mut server = Engine::new(Role::Server, config);
    meet(&mut client, &mut server);
    (client, server)
}

/// Carries bytes both ways until neither has more to say.
pub(super) fn meet(client: &mut Engine, server: &mut Engine) {
    loop {
        let (up, down) = (taken(client), taken(server));
        if up.is_empty() && down.is_empty() {
            return;
        }
        give(server, &up);
        give(client, &down);
    }
}

/// `:method: GET, :scheme: http, :path: /, :authority: a`.
pub(super) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];

/// HEADERS with this block, which ends there.
pub(super) fn headers(stream: u32, ends: bool, block: &[u8]) -> Vec<u8> {
    raw(1, if ends { 5 } else { 4 }, stream, block)
}

pub(super) fn data(stream: u32, ends: bool, payload: &[u8]) -> Vec<u8> {
    raw(0, u8::from(ends), stream, payload)
}

/// How the connection broke, if it did.
pub(super) fn broken(engine: &Engine) -> Option<Violation> {
    match engine.failure() {
        Some(Error::Connection(violation)) => Some(*violation),
        _ => None,
    }
}

/// The codes of the resets among frames, by stream.
pub(super) fn resets(frames: &[Written]) -> Vec<(u32, u32)> {
    let resets = frames.iter().filter(|frame| frame.kind == Kind::Reset);
    resets.map(|frame| (frame.stream, u32::from_be_bytes(frame.payload[..4].try_into().unwrap()))).collect()
}

pub(super) fn get() -> Request<()> {
    Request::get("http://a/").body(()).unwrap()
}

pub(super) fn ok() -> Response<()> {
    Response::new(())
}

/// Polls once, with nobody to wake.
pub(super) fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

/// All data that is there; how it ended, if it has.
pub(super) fn read(engine: &mut Engine, key: Key) -> (Vec<u8>, Option<Result<(), Error>>) {
    let mut bytes = Vec::new();
    loop {
        match now(|cx| engine.poll_data(key, cx)) {
            Poll::Pending => return (bytes, None),
            Poll::Ready(None) => return (bytes, Some(Ok(()))),
            Poll::Ready(Some(Err(error))) => return (bytes, Some(Err(error))),
            Poll::Ready(Some(Ok(chunk))) => {
                engine.release(key, chunk.len());
                bytes.extend(chunk);
            }
        }
    }
}
