//! HTTP/1.1, one request at a time per connection. A request that is due enters; a checked answer or a failure leaves.
//! The request's bytes are made once and answers are parsed in place: a client library's generality would cost the core
//! that the measured origin shares.

use super::expect::{Expected, Head};
use super::plan::Plan;
use super::record::Failure;
use super::run::Shared;
use bytes::{Buf, BytesMut};
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest head of an answer.
const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// Most header fields of an answer.
const FIELDS_LIMIT: usize = 100;
/// Longest body of an answer.
const BODY_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// One slot: its connection is opened when first needed and kept.
pub(super) async fn slot(shared: Rc<Shared>) -> Option<TcpStream> {
    let expected = Expected::of(&shared.plan);
    let request = request_bytes(&shared.plan, &expected);
    let resendable = expected.posted().is_none();
    let mut open: Option<Connection> = None;
    while let Some(due) = shared.arrivals.next().await {
        let exchanging = exchange(&shared, &mut open, &request, resendable);
        let outcome = match tokio::time::timeout(shared.plan.timeout, exchanging).await {
            Ok(Ok((head, body))) => match expected.check(&head, &body) {
                Ok(answered) => {
                    shared.recorder.ok(due, &answered);
                    Ok(())
                }
                Err(failure) => Err(failure),
            },
            Ok(Err(failure)) => {
                open = None;
                Err(failure)
            }
            Err(_) => {
                open = None;
                Err(Failure::new("timeout", "no whole answer in time"))
            }
        };
        if let Err(failure) = outcome {
            shared.recorder.failed(due, &failure);
        }
    }
    open.map(|connection| connection.stream)
}

fn request_bytes(plan: &Plan, expected: &Expected) -> Vec<u8> {
    let body = expected.posted();
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut head = format!("{method} {} HTTP/1.1\r\nhost: {}\r\n", plan.options.path, plan.authority);
    let mut bytes = Vec::new();
    if let Some(body) = &body {
        // Writing to a String cannot fail.
        write!(head, "content-length: {}\r\n", body.len()).ok();
    }
    bytes.extend_from_slice(head.as_bytes());
    for (name, value) in &plan.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body.unwrap_or_default());
    bytes
}

async fn exchange(
    shared: &Shared,
    open: &mut Option<Connection>,
    request: &[u8],
    resendable: bool,
) -> Result<(Head, BytesMut), Failure> {
    open.take_if(|connection| connection.is_closed());
    let mut reused = open.is_some();
    loop {
        let connection = match open {
            Some(connection) => connection,
            None => open.insert(Connection::open(&shared.plan).await?),
        };
        match connection.exchange(request).await {
            Ok(answer) => {
                if answer.closes {
                    *open = None;
                }
                return Ok((answer.head, answer.body));
            }
            // Closed between two requests: nothing of this one was answered, and GET may be sent again (RFC 9110
            // section 9.2.2). On a fresh connection the same is a failure.
            Err(Broken::BeforeAnswer(_)) if reused && resendable => {
                *open = None;
                reused = false;
                shared.recorder.resent();
            }
            Err(Broken::BeforeAnswer(error) | Broken::InAnswer(error)) => {
                return Err(Failure::new(cause(&error), error));
            }
            Err(Broken::Malformed(what)) => return Err(Failure::new("protocol", what)),
        }
    }
}

/// The name under which an I/O error is counted.
pub(super) fn cause(error: &io::Error) -> &'static str {
    #[allow(clippy::wildcard_enum_match_arm, reason = "std may add kinds; only these are told apart")]
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
        io::ErrorKind::UnexpectedEof => "closed",
        _ => "io",
    }
}

/// A connection with what was read of the next answer.
struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

struct Answer {
    head: Head,
    body: BytesMut,
    closes: bool,
}

enum Broken {
    BeforeAnswer(io::Error),
    InAnswer(io::Error),
    Malformed(String),
}

/// How the end of a body is known (RFC 9112 section 6.3).
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Connection {
    async fn open(plan: &Plan) -> Result<Self, Failure> {
        let stream = super::run::connect(plan).await?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(16 * 1024) })
    }

    /// Whether the server has closed while nothing was asked.
    fn is_closed(&self) -> bool {
        let mut byte = [0; 1];
        !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Broken> {
        self.stream.write_all(request).await.map_err(Broken::BeforeAnswer)?;
        loop {
            let (head, framing, mut closes) = loop {
                if let Some(parsed) = parse_head(&mut self.buffer)? {
                    break parsed;
                }
                let answered = !self.buffer.is_empty();
                self.read_more().await.map_err(|error| match answered {
                    true => Broken::InAnswer(error),
                    false => Broken::BeforeAnswer(error),
                })?;
            };
            // Interim answers precede the final one.
            if head.status < 200 && head.status != 101 {
                continue;
            }
            let body = match framing {
                Framing::Length(length) => self.read_length(length).await?,
                Framing::Chunked => self.read_chunks().await?,
                Framing::UntilClose => {
                    closes = true;
                    self.read_to_end().await?
                }
            };
            return Ok(Answer { head, body, closes });
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn read_length(&mut self, length: usize) -> Result<BytesMut, Broken> {
        if length > BODY_LIMIT_BYTES {
            return Err(Broken::Malformed(format!("a body of {length} bytes")));
        }
        while self.buffer.len() < length {
            self.read_more().await.map_err(Broken::InAnswer)?;
        }
        Ok(self.buffer.split_to(length))
    }

    async fn read_to_end(&mut self) -> Result<BytesMut, Broken> {
        loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(self.buffer.split()),
                Ok(_) if self.buffer.len() <= BODY_LIMIT_BYTES => {}
                Ok(_) => return Err(Broken::Malformed("a body without end".to_owned())),
                Err(error) => return Err(Broken::InAnswer(error)),
            }
        }
    }

    async fn read_line(&mut self) -> Result<BytesMut, Broken> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return Ok(line);
            }
            if self.buffer.len() > HEAD_LIMIT_BYTES {
                return Err(Broken::Malformed("a chunk line without end".to_owned()));
            }
            self.read_more().await.map_err(Broken::InAnswer)?;
        }
    }

    async fn read_chunks(&mut self) -> Result<BytesMut, Broken> {
        let mut body = BytesMut::new();
        loop {
            let line = self.read_line().await?;
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|line| {
                    usize::from_str_radix(line.split(';').next().unwrap_or(line).trim(), 16).ok()
                })
                .filter(|size| body.len().saturating_add(*size) <= BODY_LIMIT_BYTES)
                .ok_or_else(|| Broken::Malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                // Trailer fields, up to the empty line.
                while !self.read_line().await?.is_empty() {}
                return Ok(body);
            }
            body.unsplit(self.read_length(size).await?);
            if !self.read_line().await?.is_empty() {
                return Err(Broken::Malformed("a chunk longer than its size".to_owned()));
            }
        }
    }
}

fn parse_head(buffer: &mut BytesMut) -> Result<Option<(Head, Framing, bool)>, Broken> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_LIMIT];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_LIMIT_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Broken::Malformed("a head without end".to_owned())),
        Err(error) => return Err(Broken::Malformed(format!("not an HTTP/1.1 answer: {error}"))),
    };
    let mut head = Head { status: response.code.unwrap_or_default(), ..Head::default() };
    let mut framing = Framing::UntilClose;
    let mut closes = response.version == Some(0);
    for field in response.headers.iter() {
        let text = || Some(String::from_utf8_lossy(field.value).into_owned());
        let name = field.name;
        if name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(field.value).ok().and_then(|value| value.trim().parse().ok());
            let length =
                length.ok_or_else(|| Broken::Malformed("a content-length that is none".to_owned()))?;
            framing = Framing::Length(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            closes |= field.value.eq_ignore_ascii_case(b"close");
        } else if name.eq_ignore_ascii_case("x-instance") {
            head.instance = text();
        } else if name.eq_ignore_ascii_case("x-greeter") {
            head.greeter = text();
        } else if name.eq_ignore_ascii_case("outrigger-reason") {
            head.reason = text();
        }
    }
    if matches!(head.status, 100..=199 | 204 | 304) {
        framing = Framing::Length(0);
    }
    buffer.advance(length);
    Ok(Some((head, framing, closes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(Head, Framing, bool)> {
        parse_head(&mut BytesMut::from(text)).ok().flatten()
    }

    #[test]
    fn a_head_is_complete_only_with_its_empty_line() {
        assert!(parsed("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n").is_none());
        let (head, framing, closes) =
            parsed("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Instance: a\r\n\r\n").unwrap();
        assert_eq!((head.status, head.instance.as_deref(), closes), (200, Some("a"), false));
        assert!(matches!(framing, Framing::Length(3)));
    }

    #[test]
    fn an_answer_without_content_has_none_whatever_it_says() {
        let (_, framing, closes) = parsed("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
        assert!(matches!(framing, Framing::Length(0)));
        assert!(closes);
    }
}
