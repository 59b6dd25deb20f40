//! Asking the sidecar how it is, over its admin port, on one connection that is held between questions: so its end is
//! known the moment it ends, and clients that use up the admin port's connections don't make it look dead.
//!
//! Enters: the port. Leaves: what was [`Seen`]. Never here: what that means.

use super::verdict::Seen;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;

/// From the question, with the connection it may need, to the end of the answer. A sidecar answers in a millisecond, from
/// a thread that carries no traffic; on a machine that is overloaded it may take longer, and that is no reason to let
/// traffic out in plain text.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest answer that is read; a sidecar's is a line.
const ANSWER_BYTES: usize = 4096;
/// What is asked for.
const PATH: &str = "/ready";

/// The way to one sidecar.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    held: Option<Held>,
}

/// A connection.
#[derive(Debug)]
struct Held {
    sender: SendRequest<Empty<Bytes>>,
    connection: Connection<TokioIo<TcpStream>, Empty<Bytes>>,
}

impl Line {
    /// To the sidecar with this admin port.
    pub(super) fn to_port(port: u16) -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), held: None }
    }

    /// Asks once.
    ///
    /// # Cancel safety
    /// A connection that was in use is closed.
    pub(super) async fn ask(&mut self) -> Seen {
        match tokio::time::timeout(ANSWER, self.exchange()).await {
            Ok(Ok((held, seen))) => {
                self.held = held;
                seen
            }
            Ok(Err(seen)) => seen,
            Err(_elapsed) => Seen::Silent,
        }
    }

    /// Waits until the connection has ended; for ever if there is none.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub(super) async fn ended(&mut self) {
        match &mut self.held {
            // However it ends, it has.
            Some(held) => drop((&mut held.connection).await),
            None => std::future::pending().await,
        }
        self.held = None;
    }

    /// While a question is under way the connection is not held: if that ends otherwise than with an answer, it is closed.
    async fn exchange(&mut self) -> Result<(Option<Held>, Seen), Seen> {
        let mut held = match self.held.take() {
            Some(held) => held,
            None => open(self.address).await?,
        };
        let request = Request::get(PATH).header(HOST, self.address.to_string()).body(Empty::new());
        let request = request.map_err(|error| Seen::Unasked(error.to_string()))?;
        let (answer, is_open) = held.exchange(request).await;
        let (status, body) = answer.ok_or(Seen::Broken)?;
        let seen = self.meaning(status, &String::from_utf8_lossy(&body));
        Ok((is_open.then_some(held), seen))
    }

    fn meaning(&self, status: StatusCode, body: &str) -> Seen {
        match status {
            StatusCode::OK => Seen::Ready,
            StatusCode::SERVICE_UNAVAILABLE => Seen::NotReady(body.trim().to_owned()),
            other => Seen::NotReady(format!(
                "not known: {} answers GET {PATH} with {other}; is that the sidecar's admin port (--admin-port)?",
                self.address
            )),
        }
    }
}

impl Held {
    /// The answer, if there is one, and whether the connection is still open.
    async fn exchange(&mut self, request: Request<Empty<Bytes>>) -> (Option<(StatusCode, Bytes)>, bool) {
        let mut answer = pin!(answer(&mut self.sender, request));
        tokio::select! {
            answer = &mut answer => (answer, true),
            // It may have ended with the answer.
            _ended = &mut self.connection => (answer.await, false),
        }
    }
}

/// Nothing if the connection ends before.
async fn answer(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Option<(StatusCode, Bytes)> {
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.ok()?;
    Some((status, body.to_bytes()))
}

async fn open(address: SocketAddr) -> Result<Held, Seen> {
    let stream = TcpStream::connect(address).await.map_err(|error| unconnected(address, &error))?;
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|_ended| Seen::Broken)?;
    Ok(Held { sender, connection })
}

/// Only a refusal says that nobody is there; this machine may be out of ports or files.
fn unconnected(address: SocketAddr, error: &io::Error) -> Seen {
    match error.kind() == io::ErrorKind::ConnectionRefused {
        true => Seen::Refused,
        false if error.kind() == io::ErrorKind::ConnectionReset => Seen::Broken,
        false => Seen::Unasked(format!("{address} cannot be connected to: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn listener() -> (TcpListener, Line) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, Line::to_port(port))
    }

    /// Reads a question to its end.
    async fn question(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            text.push(char::from(stream.read_u8().await.unwrap()));
        }
        text
    }

    async fn says(stream: &mut TcpStream, status: &str, body: &str) {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn answers_are_told_apart_and_the_connection_is_held_between_them() {
        let (listener, mut line) = listener().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (status, body) in [
                ("200 OK", "ready\n"),
                ("503 Service Unavailable", "not ready: workers\n"),
                ("404 Not Found", "no"),
            ] {
                let asked = question(&mut stream).await;
                assert!(asked.starts_with("GET /ready HTTP/1.1\r\nhost: 127.0.0.1:"), "{asked}");
                says(&mut stream, status, body).await;
            }
            stream
        };
        let ask = async {
            assert_eq!(line.ask().await, Seen::Ready);
            assert_eq!(line.ask().await, Seen::NotReady("not ready: workers".to_owned()));
            let Seen::NotReady(why) = line.ask().await else { panic!("404 is no readiness") };
            assert!(why.contains("404") && why.contains("--admin-port"), "{why}");
        };
        let (stream, ()) = tokio::join!(serve, ask);
        // The end of the connection is an event.
        tokio::join!(async { drop(stream) }, line.ended());
    }

    #[tokio::test]
    async fn an_answer_that_ends_the_connection_counts() {
        let (listener, mut line) = listener().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            question(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nready\n").await.unwrap();
        };
        let (seen, ()) = tokio::join!(line.ask(), serve);
        assert_eq!(seen, Seen::Ready);
    }

    #[tokio::test]
    async fn nobody_there_is_a_refusal_and_an_end_without_an_answer_is_not() {
        let (listener, mut line) = listener().await;
        let breaks = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            question(&mut stream).await;
        };
        let (seen, ()) = tokio::join!(line.ask(), breaks);
        assert_eq!(seen, Seen::Broken);
        drop(listener);
        assert_eq!(line.ask().await, Seen::Refused);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_connected_to_and_says_nothing_is_silent() {
        let (listener, mut line) = listener().await;
        let hangs = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            question(&mut stream).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            seen = line.ask() => assert_eq!(seen, Seen::Silent),
            () = hangs => unreachable!("it hangs"),
        }
        assert!(line.held.is_none(), "an answer to this question must not be taken for one to the next");
    }
}
