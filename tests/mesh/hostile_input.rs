//! What clients send to break things is refused, or means the same to everybody behind: no request inside another, no
//! field that hides one, no flood that others feel.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use tests::http1::{Connection, get};
use tests::recorder::{Recorded, Recorder, Then};
use tests::world::World;

/// What must become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The application never sees any of it, and the client is told 400.
    Refused,
    /// The application sees one request with this body.
    Body(&'static str),
}

use Fate::{Body, Refused};

/// A body, or the end of one, that is a request by itself if anybody counts wrong.
macro_rules! smuggled {
    () => {
        "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n"
    };
}

/// After `POST / HTTP/1.1`, Host and `Connection: close`: field lines, the empty line, and what follows. Where both a length
/// and chunks are given, readers disagree on what counts (RFC 9112 §6.3).
const FRAMING: &[(&str, &str, Fate)] = &[
    ("length", "Content-Length: 3\r\n\r\nabc", Body("abc")),
    ("chunks", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Body("abc")),
    ("chunks in capitals", "Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Body("abc")),
    ("an extension", "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", Body("abc")),
    ("the length twice, alike", "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", Body("abc")),
    ("two lengths", "Content-Length: 3\r\nContent-Length: 40\r\n\r\nabc", Refused),
    ("two lengths in one", "Content-Length: 3, 40\r\n\r\nabc", Refused),
    ("a length with a sign", "Content-Length: +3\r\n\r\nabc", Refused),
    ("a length below zero", "Content-Length: -3\r\n\r\nabc", Refused),
    ("a length in hexadecimal", "Content-Length: 0x3\r\n\r\nabc", Refused),
    ("a length with a blank", "Content-Length: 3 0\r\n\r\nabc", Refused),
    ("no length in its field", "Content-Length: \r\n\r\n", Refused),
    ("a length beyond all", "Content-Length: 99999999999999999999\r\n\r\nabc", Refused),
    (
        "length and chunks",
        concat!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", smuggled!()),
        Refused,
    ),
    (
        "chunks and length",
        concat!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", smuggled!()),
        Refused,
    ),
    (
        "another coding",
        concat!("Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n", smuggled!()),
        Refused,
    ),
    ("a coding after chunks", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused),
    ("a coding before chunks", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "two fields of codings",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a quoted coding", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused),
    ("a vertical tab", "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "a blank before the colon",
        concat!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", smuggled!()),
        Refused,
    ),
    (
        "a blank before the name",
        concat!(" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", smuggled!()),
        Refused,
    ),
    ("a folded line", concat!("X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", smuggled!()), Refused),
    ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a carriage return inside", "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a line feed alone", concat!("X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", smuggled!()), Refused),
    ("a chunk's line feed alone", "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Refused),
    ("an extension's line feed", "Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n", Refused),
    ("a zero byte", "X: a\0b\r\n\r\n", Refused),
    ("a field without a colon", "Transfer-Encoding\r\n\r\n0\r\n\r\n", Refused),
    ("a name that is no token", "Trans(fer: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a chunk in decimal's clothes", "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", Refused),
    ("a chunk with a sign", "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", Refused),
    ("a chunk below zero", "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", Refused),
    ("a chunk without a size", "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", Refused),
    ("a chunk beyond all", "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc", Refused),
    (
        "a chunk longer than said",
        concat!("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", smuggled!()),
        Refused,
    ),
    (
        "the length hidden by Connection",
        "Connection: content-length\r\nContent-Length: 3\r\n\r\nabc",
        Body("abc"),
    ),
];

struct Site {
    world: World,
    outbound: String,
    recorder: Recorder,
}

impl Site {
    fn new() -> Self {
        let (recorder, address) = Recorder::start();
        let (world, outbound) = World::in_front_of(address, "/");
        recorder.take();
        Self { world, outbound, recorder }
    }

    /// What the sidecar that is called holds in memory.
    fn resident_bytes(&mut self) -> f64 {
        let bytes = self.world.metrics("shopper").sum("process_resident_memory_bytes", &[]);
        assert!(bytes > 0.0, "the sidecar does not say what it holds");
        bytes
    }

    /// Sends these bytes and no more; returns everything that comes back.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.outbound).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // What is refused is answered, and the connection closed, before all of it is read.
        stream.write_all(bytes).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn judge(what: &str, fate: Fate, answer: &str, seen: &[Recorded]) -> Result<(), String> {
    let answers = answer.matches("HTTP/1.1 ").count();
    let problem = match fate {
        Refused if !answer.starts_with("HTTP/1.1 400 ") => "not refused",
        Refused if !answer.contains("outrigger-reason: ") => "refused without a reason",
        Refused if !seen.is_empty() => "refused, and seen by the application",
        Body(_) if !answer.starts_with("HTTP/1.1 200 ") || answers != 1 => "not answered once",
        Body(body) if seen.len() != 1 || seen[0].body != body.as_bytes() => "not seen as it was meant",
        Refused | Body(_) => return Ok(()),
    };
    Err(format!("{what}: {problem}\n  the client: {answer:?}\n  the application: {seen:?}"))
}

#[test]
fn a_message_has_one_length_for_everybody() {
    let site = Site::new();
    let problems: Vec<String> = FRAMING
        .iter()
        .filter_map(|(what, rest, fate)| {
            let answer =
                site.send(format!("POST / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n{rest}").as_bytes());
            judge(what, *fate, &answer, &site.recorder.take()).err()
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What an application answers; the status the client must see, and whether what it gets is all there is.
const ANSWERS: &[(&str, &str, Seen)] = &[
    ("a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Seen::Whole("ok")),
    (
        "chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Seen::Whole("ok"),
    ),
    ("neither: it ends with the connection", "HTTP/1.1 200 OK\r\n\r\nok", Seen::Whole("ok")),
    (
        "another answer behind",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        Seen::Whole(""),
    ),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", Seen::BadGateway),
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Seen::BadGateway,
    ),
    (
        "a coding nobody knows",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Seen::BadGateway,
    ),
    ("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Seen::BadGateway),
    ("no HTTP", "-ERR unknown command\r\n", Seen::BadGateway),
    ("a status of four digits", "HTTP/1.1 1000 OK\r\nContent-Length: 2\r\n\r\nok", Seen::BadGateway),
    ("a status that is none", "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok", Seen::BadGateway),
    (
        "a change of protocols nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        Seen::BadGateway,
    ),
    ("a zero byte in a field", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", Seen::BadGateway),
    ("less than its length", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", Seen::Broken),
    (
        "chunks without an end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        Seen::Broken,
    ),
    (
        "chunks that are none",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nok\r\n",
        Seen::Broken,
    ),
];

/// What a client sees of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// All of it, with this body.
    Whole(&'static str),
    /// 502, with a reason.
    BadGateway,
    /// That it is not all.
    Broken,
}

#[test]
fn an_answer_is_what_the_application_said_or_no_answer() {
    let site = Site::new();
    let mut problems = Vec::new();
    for (what, bytes, expected) in ANSWERS {
        site.recorder.answers(bytes.as_bytes(), Then::End);
        // A POST is not sent twice, whatever comes back.
        let mut connection = Connection::open(&site.outbound).unwrap();
        connection.write(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\nx").unwrap();
        let answer = connection.answer();
        let holds = match (expected, &answer) {
            (Seen::Whole(body), Ok(answer)) => answer.status / 100 == 2 && answer.body == *body,
            (Seen::BadGateway, Ok(answer)) => answer.status == 502 && !answer.reason().is_empty(),
            (Seen::Broken, Err(_)) => true,
            // It may have broken before anything was passed on.
            (Seen::Broken, Ok(answer)) => answer.status == 502,
            (Seen::Whole(_) | Seen::BadGateway, Err(_)) => false,
        };
        let sent = site.recorder.take().len();
        if !holds || sent != 1 {
            problems.push(format!("{what}: {answer:?}, and the application was asked {sent} times"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://web/` in HPACK: three fields of the static table, and the authority as a literal.
const GET: &[u8] = b"\x82\x84\x86\x41\x03web";

/// How often each frame of a flood is sent.
const FLOOD: u32 = 20_000;

/// What all of them together may leave behind: a worker's buffers and heap at their fullest.
const GROWN_MAX: f64 = 32.0 * 1024.0 * 1024.0;

/// The `n`-th part of a flood.
type Part = fn(u32) -> Vec<u8>;

const FLOODS: &[(&str, Part)] = &[
    ("requests that are reset at once", |n| {
        let stream = 2 * n + 1;
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
            .concat()
    }),
    ("pings", |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
    ("settings", |_| frame(SETTINGS, 0, 0, &[])),
    ("a head that never ends", |n| match n {
        0 => frame(HEADERS, 0, 1, GET),
        // A literal field that is not indexed, of a kilobyte.
        _ => frame(CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\x81\x07".as_slice(), &[b'y'; 1024]].concat()),
    }),
    ("empty parts of a head", |n| match n {
        0 => frame(HEADERS, 0, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }),
    ("empty parts of a body", |n| match n {
        0 => frame(HEADERS, END_HEADERS, 1, b"\x83\x84\x86\x41\x03web"),
        _ => frame(0, 0, 1, &[]),
    }),
];

#[test]
fn a_flood_of_frames_is_bounded_and_others_are_served_meanwhile() {
    let mut site = Site::new();
    let before = site.resident_bytes();
    for (what, part) in FLOODS {
        let mut stream = TcpStream::connect(&site.outbound).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut reader = stream.try_clone().unwrap();
        // Whoever does not read what comes back is another attack; here it is thrown away.
        let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).ok());
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        for n in 0..FLOOD {
            if n % 1000 == 0 {
                let answer = get(&site.outbound, "web", "/").unwrap();
                assert_eq!(answer.status, 200, "during a flood of {what}: {}", answer.body);
            }
            // The sidecar may have closed the connection: then it is over.
            if stream.write_all(&part(n)).is_err() {
                break;
            }
        }
        stream.shutdown(Shutdown::Both).ok();
        drop(stream);
        reading.join().unwrap();
        let grown = site.resident_bytes() - before;
        assert!(grown < GROWN_MAX, "{what}: {grown} bytes more are resident");
    }
}
