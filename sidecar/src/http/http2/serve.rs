//! Serving HTTP/2: requests come off a connection, each is answered by a task of its own, and the connection ends when
//! the client closes it, when it is lost, or when the drain is over. A request that the client gives up is dropped where
//! it waits.

use super::Opened;
use super::alive::{Alive, Silence};
use super::send::{Sent, send_at_once, send_rest};
use super::tunnel::Tunnel;
use crate::deadline;
use crate::http::beside::Beside;
use crate::http::body::{DownBody, WireBody};
use crate::http::interim::Interim;
use crate::http::settings::{self, Hop};
use http::{Method, Request, Response};
use http_body::Body as _;
use mesh_http2::{RecvStream, Responder};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// How a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The client never sent its preface.
    #[error("the client opened an HTTP/2 connection and said nothing on it")]
    Silent,
    /// The client's machine is gone.
    #[error("the client gave no sign of life")]
    Lost,
    /// The connection broke, or the client broke the protocol.
    #[error(transparent)]
    Http2(#[from] mesh_http2::Error),
}

/// Serves a connection until it has ended; `answer` makes the answer of each request. Once `draining` is done no more
/// are taken.
///
/// # Errors
/// How the connection ended, if it was not closed as it should be.
pub(crate) async fn serve<IO, F, A>(
    io: IO,
    hop: Hop,
    draining: impl Future<Output = ()>,
    answer: F,
) -> Result<(), Ended>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<WireBody>, Interim) -> A,
    A: Future<Output = Response<DownBody>> + 'static,
{
    let mut connection = mesh_http2::serve(io, settings::http2_server(hop));
    let begun = poll_fn(|cx| connection.poll_begun(cx));
    let Ok(begun) = tokio::time::timeout(deadline::HANDSHAKE, begun).await else {
        return Err(Ended::Silent);
    };
    begun?;
    let mut alive = Alive::new(connection.pulse());
    let (lost, draining) = (pin!(alive.lost(|| true, Silence::Ask)), pin!(draining));
    let (mut lost, mut draining) = (Beside::new(lost), Some(Beside::new(draining)));
    // One future for all, in which a request passes through no other's hands.
    let ended = poll_fn(|cx| {
        loop {
            // The connection first: it is what wakes this task, nearly always.
            match connection.poll_accept(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let (request, opens) = received(request);
                    // It ends with its stream, which ends with the connection: a supervised task. Boxed, as tokio moves
                    // what it spawns five times and once more when it ends; the answer by itself, since the future
                    // around it would have room for it twice.
                    let answer = Box::pin(answer(request, Interim::Http2(respond.interim())));
                    tokio::task::spawn_local(Box::pin(exchange(answer, respond, opens)));
                }
                Poll::Pending => match draining.as_mut().map(|drain| Pin::new(drain).poll(cx)) {
                    Some(Poll::Ready(())) => {
                        draining = None;
                        connection.shut_down();
                    }
                    Some(Poll::Pending) | None => {
                        return Pin::new(&mut lost).poll(cx).map(|()| Err(Ended::Lost));
                    }
                },
            }
        }
    });
    ended.await
}

/// Makes a tunnel of a CONNECT once it is answered.
struct Opens {
    receive: RecvStream,
    opened: oneshot::Sender<Tunnel>,
}

/// The request as everything behind us reads it. The stream of a CONNECT is no body: it becomes a tunnel if the answer
/// allows it (RFC 9113 §8.5).
fn received(request: Request<RecvStream>) -> (Request<WireBody>, Option<Opens>) {
    let (head, receive) = request.into_parts();
    if head.method != Method::CONNECT {
        return (Request::from_parts(head, WireBody::http2(receive)), None);
    }
    let (opened, opens) = oneshot::channel();
    (Request::from_parts(head, WireBody::Tunnel(Opened(opens))), Some(Opens { receive, opened }))
}

/// One request: its answer, unless the client gives it up before.
async fn exchange(
    mut answer: Pin<Box<impl Future<Output = Response<DownBody>>>>,
    mut respond: Responder,
    opens: Option<Opens>,
) {
    let answered = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => respond.poll_reset(cx).map(|_reset| None),
    });
    let Some(response) = answered.await else { return };
    let (head, mut body) = response.into_parts();
    let opens = opens.filter(|_| head.status.is_success());
    let is_whole = body.is_end_stream() && opens.is_none();
    // An error means that the client is gone; dropping the body counts that.
    let head = Response::from_parts(head, ());
    if is_whole {
        respond.send(&head).ok();
        return;
    }
    let Ok(mut stream) = respond.send_head(&head) else { return };
    if let Some(Opens { receive, opened }) = opens {
        // Nobody takes the tunnel if whoever asked for it has gone.
        opened.send(Tunnel::new(stream, receive)).ok();
        return;
    }
    let sent = poll_fn(|cx| Poll::Ready(send_at_once(cx, &mut stream, &mut body))).await;
    if sent == Sent::Part {
        send_rest(&mut stream, &mut body).await;
    }
}
