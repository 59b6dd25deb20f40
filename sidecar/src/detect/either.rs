//! Where anything may be spoken, nobody is waited for: while the client is silent the server is connected to, and if the
//! server speaks first, that decides. A connection to the server that turns out not to be needed is dropped; where none
//! was needed before, it is begun a little later (`learned`).

use super::{HELD, HELLO_MAX, Hello, LOOK_MAX, Learned, Observed, Verdict, hello, judge};
use crate::connect::Prefixed;
use crate::deadline;
use crate::listen::activity::Activity;
use crate::pool::Wire;
use crate::refusal::Refusal;
use bytes::BytesMut;
use std::pin::{Pin, pin};
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

/// What was seen of a connection, and how far the server is.
pub(crate) enum Seen<IO, T> {
    /// HTTP of this version.
    Http(Wire, Prefixed<IO>, Server<T>),
    /// TLS that asks for this name.
    Tls(Box<str>, Prefixed<IO>, Server<T>),
    /// Anything else, and what that shows; nothing where nobody spoke.
    Opaque(Prefixed<IO>, Server<T>, Option<Observed>),
    /// Nothing: the client is gone, or was silent for too long.
    Nothing,
}

/// The server, while its client is listened to.
///
/// ```text
/// Held ──HELD, or at once──> Opening ─┬─> Open ──> it speaks, or ends
///                                     └─> Refused ──REFUSED──> the client is told
/// ```
pub(crate) enum Server<T> {
    /// It is not connected to yet: the client comes first, and most likely it is not needed.
    Held,
    /// It is being connected to.
    Opening,
    /// It is there.
    Open(T),
    /// It can't be had.
    Refused(Refusal),
}

impl<T: Speaks> Server<T> {
    /// As [`Speaks::spoke`], once it is there.
    async fn spoke(&mut self) -> bool {
        match self {
            Self::Open(server) => server.spoke().await,
            Self::Held | Self::Opening | Self::Refused(_) => std::future::pending().await,
        }
    }

    /// What it shows that the server was not needed.
    pub(crate) fn unneeded(&self) -> Observed {
        match self {
            Self::Held => Observed::Spared,
            Self::Opening | Self::Open(_) | Self::Refused(_) => Observed::Needless,
        }
    }

    /// The server, needed after all; `opening` goes on where it is.
    ///
    /// # Errors
    /// Those of `opening`.
    pub(crate) async fn finish(
        self,
        opening: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    ) -> Result<T, Refusal> {
        match self {
            Self::Held | Self::Opening => opening.await,
            Self::Open(server) => Ok(server),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

/// Finds out what is spoken on `stream`, while `opening` connects to the server, and learns from it.
pub(crate) async fn either<IO: AsyncRead + Unpin, T: Speaks>(
    activity: &Activity,
    stream: IO,
    learned: &Learned,
    opening: impl Future<Output = Result<T, Refusal>>,
) -> Spoken<IO, T> {
    let mut opening = pin!(opening);
    let (client, server, observed) = match see(activity, stream, learned, opening.as_mut(), Look::Http).await
    {
        Seen::Http(wire, client, server) => {
            learned.saw(server.unneeded());
            return Spoken::Http(wire, client);
        }
        Seen::Tls(_, client, server) => (client, server, Some(Observed::ClientFirst)),
        Seen::Opaque(client, server, observed) => (client, server, observed),
        Seen::Nothing => return Spoken::Nothing,
    };
    if let Some(observed) = observed {
        learned.saw(observed);
    }
    Spoken::Opaque(client, server.finish(opening).await)
}

/// The same, looking for what is wanted, while `opening` connects to the server; the caller learns, and may go on with
/// `opening` by [`Server::finish`].
pub(crate) async fn see<IO: AsyncRead + Unpin, T: Speaks>(
    activity: &Activity,
    mut stream: IO,
    learned: &Learned,
    mut opening: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    look: Look,
) -> Seen<IO, T> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let is_held = learned.is_held();
    let mut server = Server::Held;
    // Of a server that is held, then of one that is refused.
    let mut patience = pin!(tokio::time::sleep(HELD));
    let mut spoke_first = None;
    loop {
        let partial = !first.is_empty();
        let is_opening = matches!(server, Server::Opening);
        let is_waiting = matches!(server, Server::Held | Server::Refused(_));
        let is_patient = is_held || matches!(server, Server::Refused(_));
        tokio::select! {
            // The client first: if it has spoken, the server is not asked.
            biased;
            read = stream.read_buf(&mut first) => match read {
                // It has nothing more to say, but may be there to listen.
                Ok(0) => break,
                Ok(_) => {
                    activity.received();
                    spoke_first = Some(Observed::ClientFirst);
                    match judge_all(&first, look) {
                        Judged::Http(wire) => return Seen::Http(wire, Prefixed::new(first.freeze(), stream), server),
                        Judged::Tls(name) => return Seen::Tls(name, Prefixed::new(first.freeze(), stream), server),
                        Judged::Opaque => break,
                        Judged::More => {}
                    }
                }
                Err(_broken) => return Seen::Nothing,
            },
            opened = opening.as_mut(), if is_opening => server = match opened {
                Ok(opened) => Server::Open(opened),
                Err(refusal) => {
                    // A client that listens for a server that can't be had is not kept waiting.
                    patience.as_mut().reset(Instant::now() + deadline::REFUSED);
                    Server::Refused(refusal)
                }
            },
            () = async { if is_patient { patience.as_mut().await } }, if is_waiting => match server {
                Server::Held => server = Server::Opening,
                Server::Opening | Server::Open(_) | Server::Refused(_) => break,
            },
            spoke = server.spoke() => {
                if spoke {
                    spoke_first.get_or_insert(Observed::ServerFirst);
                } else {
                    tracing::debug!("the server ended before anybody spoke");
                }
                break;
            }
            () = tokio::time::sleep(deadline::PARTIAL), if partial => break,
            _ = activity.overdue() => return Seen::Nothing,
        }
    }
    Seen::Opaque(Prefixed::new(first.freeze(), stream), server, spoke_first)
}

/// What a client's first bytes are.
enum Judged {
    Http(Wire),
    Tls(Box<str>),
    Opaque,
    More,
}

fn judge_all(first: &[u8], look: Look) -> Judged {
    if look == Look::HttpOrTls {
        match hello(first) {
            Hello::Complete(Some(name)) => return Judged::Tls(name),
            Hello::Complete(None) => return Judged::Opaque,
            Hello::More if first.len() >= HELLO_MAX => return Judged::Opaque,
            Hello::More => return Judged::More,
            Hello::Other => {}
        }
    }
    match judge(first) {
        Verdict::Http1 => Judged::Http(Wire::Http1),
        Verdict::Http2 => Judged::Http(Wire::Http2),
        Verdict::Opaque => Judged::Opaque,
        Verdict::More if first.len() >= LOOK_MAX => Judged::Opaque,
        Verdict::More => Judged::More,
    }
}

#[cfg(test)]
mod tests;
