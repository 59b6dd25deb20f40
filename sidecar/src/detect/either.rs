//! Where anything may be spoken, nobody is waited for: while the client is silent the server is connected to, and if the
//! server speaks first, that decides. A connection to the server that turns out not to be needed is dropped.

use super::{LOOK_MAX, Verdict, judge};
use crate::connect::Prefixed;
use crate::deadline;
use crate::listen::activity::Activity;
use crate::pool::Wire;
use crate::refusal::Refusal;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

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

/// What is spoken on a connection.
pub(crate) enum Spoken<IO, T> {
    /// HTTP of this version; the connection to the server was not needed.
    Http(Wire, Prefixed<IO>),
    /// Anything else, and the server, if it could be reached.
    Opaque(Prefixed<IO>, Result<T, Refusal>),
    /// Nothing: the client is gone, or was silent for too long.
    Nothing,
}

/// Finds out what is spoken on `stream`, while `opening` connects to the server.
pub(crate) async fn either<IO: AsyncRead + Unpin, T: Speaks>(
    activity: &Activity,
    mut stream: IO,
    opening: impl Future<Output = Result<T, Refusal>>,
) -> Spoken<IO, T> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let mut opening = std::pin::pin!(opening);
    let mut server: Option<Result<T, Refusal>> = None;
    loop {
        let partial = !first.is_empty();
        let is_opening = server.is_none();
        tokio::select! {
            // The client first: bytes that are there already spare the connection to the server.
            biased;
            read = stream.read_buf(&mut first) => match read {
                // It has nothing to say, but may be there to listen.
                Ok(0) if first.is_empty() => break,
                Ok(_) => {
                    activity.received();
                    match judge(&first) {
                        Verdict::Http1 => return Spoken::Http(Wire::Http1, Prefixed::new(first.freeze(), stream)),
                        Verdict::Http2 => return Spoken::Http(Wire::Http2, Prefixed::new(first.freeze(), stream)),
                        Verdict::Opaque => break,
                        Verdict::More if first.len() >= LOOK_MAX => break,
                        Verdict::More => {}
                    }
                }
                Err(_broken) => return Spoken::Nothing,
            },
            opened = opening.as_mut(), if is_opening => server = Some(opened),
            spoke = async { match &mut server { Some(Ok(server)) => server.spoke().await, _ => std::future::pending().await } } => {
                if !spoke {
                    tracing::debug!("the server ended before anybody spoke");
                }
                break;
            }
            () = tokio::time::sleep(deadline::PARTIAL), if partial => break,
            _ = activity.overdue() => return Spoken::Nothing,
        }
    }
    let server = match server {
        Some(server) => server,
        None => opening.await,
    };
    Spoken::Opaque(Prefixed::new(first.freeze(), stream), server)
}
