//! A body onto a stream. First whatever is there already, at once, so that it leaves in the write that carries the head;
//! then the rest as it comes, never more than the windows allow.

use crate::http::body::BodyError;
use crate::http::replay::DownstreamBroke;
use crate::refusal::Reason;
use bytes::Bytes;
use http_body::{Body, Frame};
use mesh_http2::{Error, ErrorCode, SendStream};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What may be queued on a stream before the other side's windows are asked: one frame of the smallest maximum size
/// (RFC 9113 §4.2). Nearly every RPC message is smaller.
const AT_ONCE_MAX: usize = 16 * 1024;

/// How far a body has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All of it is queued.
    All,
    /// There is more to come, for [`send_rest`].
    Part,
    /// The stream is closed: the other side wants no more of it, or is gone.
    Closed,
    /// The body broke, for this reason; the other side has been told.
    Broken(Reason),
}

/// Queues what the body has ready, without waiting, and without asking for room: a stream that is not open yet may have
/// none, and its first frames go out with its head.
pub(crate) fn send_at_once<B>(cx: &mut Context<'_>, stream: &mut SendStream, body: &mut B) -> Sent
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    let mut queued = 0;
    while queued < AT_ONCE_MAX {
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => return Sent::Part,
            Poll::Ready(None) => return ended(stream.send_data(Bytes::new(), true)),
            Poll::Ready(Some(Err(error))) => return broken(stream, &error),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    queued += data.len();
                    let last = body.is_end_stream();
                    if data.is_empty() && !last {
                        continue;
                    }
                    match stream.send_data(data, last) {
                        Ok(()) if last => return Sent::All,
                        Ok(()) => {}
                        Err(_closed) => return Sent::Closed,
                    }
                }
                Err(frame) => return trailers(stream, frame),
            },
        }
    }
    Sent::Part
}

/// Sends the rest of a body. Returns when all of it is queued, when it broke, or when the other side wants no more of it.
pub(crate) async fn send_rest<B>(stream: &mut SendStream, body: &mut B) -> Sent
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    loop {
        let next = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            // The other side's RST_STREAM, which nobody else would hear while the body is silent.
            Poll::Pending => stream.poll_reset(cx).map(|_reset| None),
        });
        match next.await {
            None => return Sent::Closed,
            Some(None) => return ended(stream.send_data(Bytes::new(), true)),
            Some(Some(Err(error))) => return broken(stream, &error),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    match send_data(stream, data, last).await {
                        Sent::Part => {}
                        done @ (Sent::All | Sent::Closed | Sent::Broken(_)) => return done,
                    }
                }
                Err(frame) => return trailers(stream, frame),
            },
        }
    }
}

/// Sends one chunk, in as many parts as the windows make of it.
async fn send_data(stream: &mut SendStream, mut data: Bytes, last: bool) -> Sent {
    while !data.is_empty() {
        let Ok(room) = poll_fn(|cx| stream.poll_room(cx)).await else { return Sent::Closed };
        let part = data.split_to(room.min(data.len()));
        let end = last && data.is_empty();
        match stream.send_data(part, end) {
            Ok(()) if end => return Sent::All,
            Ok(()) => {}
            Err(_closed) => return Sent::Closed,
        }
    }
    if last { ended(stream.send_data(Bytes::new(), true)) } else { Sent::Part }
}

fn trailers(stream: &mut SendStream, frame: Frame<Bytes>) -> Sent {
    match frame.into_trailers() {
        Ok(trailers) => ended(stream.send_trailers(trailers)),
        // A frame is data or trailers.
        Err(_other) => Sent::Part,
    }
}

fn ended(queued: Result<(), Error>) -> Sent {
    match queued {
        Ok(()) => Sent::All,
        Err(_closed) => Sent::Closed,
    }
}

/// The body broke: the other side is told that what it got is not all. CANCEL when the one who sent it to us broke off.
fn broken(stream: &mut SendStream, error: &BodyError) -> Sent {
    let by_downstream = DownstreamBroke::is_cause_of(&**error);
    stream.send_reset(if by_downstream.is_some() { ErrorCode::CANCEL } else { ErrorCode::INTERNAL_ERROR });
    Sent::Broken(by_downstream.unwrap_or(Reason::UpstreamReset))
}
