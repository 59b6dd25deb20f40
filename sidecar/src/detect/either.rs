//! Where anything may be spoken, nobody is waited for: while the client is silent the server is connected to, and if the
//! server speaks first, that decides. A connection to the server that turns out not to be needed is dropped.

use super::{HELLO_MAX, Hello, LOOK_MAX, Verdict, hello, judge};
use crate::connect::Prefixed;
use crate::deadline;
use crate::listen::activity::Activity;
use crate::pool::Wire;
use crate::refusal::Refusal;
use bytes::BytesMut;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// Bytes read at once while nothing is known.
pub(crate) const FIRST_READ: usize = 2048;

/// A server that may say something of itself.
pub(crate) trait Speaks {
    /// Waits until it does; `false` if it ends instead.
    ///
    /// # Cancel safety
    /// What it said is kept.
    fn spoke(&mut self) -> impl Future<Output = bool>;
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// HTTP.
    Http,
    /// HTTP, or TLS with the server's name.
    HttpOrTls,
}

/// What is spoken on a connection.
pub(crate) enum Spoken<IO, T> {
    /// HTTP of this version; the connection to the server was not needed.
    Http(Wire, Prefixed<IO>),
    /// Anything else, and the server, if it could be reached.
    Opaque(Prefixed<IO>, Result<T, Refusal>),
    /// Nothing: the client is gone, or was silent for too long.
    Nothing,
}

/// What was seen of a connection, and the server, if it was connected to meanwhile.
pub(crate) enum Seen<IO, T> {
    /// HTTP of this version.
    Http(Wire, Prefixed<IO>, Option<Result<T, Refusal>>),
    /// TLS that asks for this name.
    Tls(Box<str>, Prefixed<IO>, Option<Result<T, Refusal>>),
    /// Anything else.
    Opaque(Prefixed<IO>, Option<Result<T, Refusal>>),
    /// Nothing: the client is gone, or was silent for too long.
    Nothing,
}

/// Finds out what is spoken on `stream`, while `opening` connects to the server.
pub(crate) async fn either<IO: AsyncRead + Unpin, T: Speaks>(
    activity: &Activity,
    stream: IO,
    opening: impl Future<Output = Result<T, Refusal>>,
) -> Spoken<IO, T> {
    let mut opening = std::pin::pin!(opening);
    match see(activity, stream, opening.as_mut(), Look::Http).await {
        Seen::Http(wire, client, _) => Spoken::Http(wire, client),
        Seen::Tls(_, client, server) | Seen::Opaque(client, server) => {
            let server = match server {
                Some(server) => server,
                None => opening.await,
            };
            Spoken::Opaque(client, server)
        }
        Seen::Nothing => Spoken::Nothing,
    }
}

/// The same, looking for what is wanted, while `opening` connects to the server; the caller may go on with that where
/// no server is handed back.
pub(crate) async fn see<IO: AsyncRead + Unpin, T: Speaks>(
    activity: &Activity,
    mut stream: IO,
    mut opening: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    look: Look,
) -> Seen<IO, T> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let mut server: Option<Result<T, Refusal>> = None;
    let mut refused: Option<Instant> = None;
    loop {
        let partial = !first.is_empty();
        let is_opening = server.is_none();
        tokio::select! {
            // The client first: bytes that are there already spare the connection to the server.
            biased;
            read = stream.read_buf(&mut first) => match read {
                // It has nothing more to say, but may be there to listen.
                Ok(0) => break,
                Ok(_) => {
                    activity.received();
                    if look == Look::HttpOrTls {
                        match hello(&first) {
                            Hello::Complete(Some(name)) => {
                                return Seen::Tls(name, Prefixed::new(first.freeze(), stream), server);
                            }
                            Hello::Complete(None) => break,
                            Hello::More if first.len() >= HELLO_MAX => break,
                            Hello::More => continue,
                            Hello::Other => {}
                        }
                    }
                    match judge(&first) {
                        Verdict::Http1 => return Seen::Http(Wire::Http1, Prefixed::new(first.freeze(), stream), server),
                        Verdict::Http2 => return Seen::Http(Wire::Http2, Prefixed::new(first.freeze(), stream), server),
                        Verdict::Opaque => break,
                        Verdict::More if first.len() >= LOOK_MAX => break,
                        Verdict::More => {}
                    }
                }
                Err(_broken) => return Seen::Nothing,
            },
            opened = opening.as_mut(), if is_opening => {
                // A client that listens for a server that can't be had is not kept waiting.
                refused = opened.is_err().then(|| Instant::now() + deadline::REFUSED);
                server = Some(opened);
            }
            () = async { match refused { Some(until) => tokio::time::sleep_until(until).await, None => std::future::pending().await } } => break,
            spoke = async { match &mut server { Some(Ok(server)) => server.spoke().await, _ => std::future::pending().await } } => {
                if !spoke {
                    tracing::debug!("the server ended before anybody spoke");
                }
                break;
            }
            () = tokio::time::sleep(deadline::PARTIAL), if partial => break,
            _ = activity.overdue() => return Seen::Nothing,
        }
    }
    Seen::Opaque(Prefixed::new(first.freeze(), stream), server)
}
