//! The two ends of a call that is a stream of messages in both directions.

use super::message::{Unframer, frame};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use mesh_http2::{ErrorCode, RecvStream, Responder, SendStream};
use prost::Message;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::task::ready;
use tonic::{Code, Status};

/// Messages as they come.
#[derive(Debug)]
pub struct Messages<M> {
    stream: RecvStream,
    unframer: Unframer,
    of: PhantomData<M>,
}

/// Where messages are answered.
#[derive(Debug)]
pub struct Answers(SendStream);

impl<M: Message + Default> Messages<M> {
    pub(super) fn new(stream: RecvStream, longest: usize) -> Self {
        Self { stream, unframer: Unframer::new(longest), of: PhantomData }
    }

    /// The next message; nothing when the client has said all it will.
    ///
    /// # Errors
    /// The status to end the call with. Nobody hears it if the stream is broken.
    ///
    /// # Cancel safety
    /// Safe: what has come is kept.
    pub async fn next(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = self.unframer.take()? {
                return Ok(Some(message));
            }
            let data = poll_fn(|cx| self.stream.poll_data(cx)).await;
            match data {
                Some(Ok(bytes)) => {
                    self.unframer.push(&bytes);
                    self.stream.release(bytes.len());
                }
                Some(Err(error)) => return Err(Status::unavailable(error.to_string())),
                None if self.unframer.is_amid() => {
                    return Err(Status::internal("the stream ends within a message"));
                }
                None => return Ok(None),
            }
        }
    }
}

impl Answers {
    /// Begins to answer; nothing if nobody waits any more.
    pub(super) fn begin(responder: Responder) -> Option<Self> {
        responder.send_head(&head()).ok().map(Self)
    }

    /// Sends a message once the client takes more, so that at most one waits here beyond what the client allows. False
    /// when nobody takes it.
    pub async fn send(&mut self, message: &impl Message) -> bool {
        let room = poll_fn(|cx| self.0.poll_room(cx)).await;
        room.is_ok() && self.0.send_data(frame(message), false).is_ok()
    }

    /// Waits until the client has given the call up, or its connection has ended.
    pub async fn given_up(&mut self) {
        poll_fn(|cx| {
            ready!(self.0.poll_reset(cx));
            std::task::Poll::Ready(())
        })
        .await;
    }

    /// Ends the call.
    pub fn end(mut self, status: &Status) {
        // Nobody may be listening any more.
        if self.0.send_trailers(trailers(status)).is_err() {
            self.0.send_reset(ErrorCode::CANCEL);
        }
    }
}

/// Ends a call that has not begun to be answered.
pub(super) fn refuse(responder: Responder, status: &Status) {
    let mut head = head();
    *head.headers_mut() = trailers(status);
    head.headers_mut().insert(CONTENT_TYPE, GRPC);
    responder.send(&head).ok();
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

fn head() -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut().insert(CONTENT_TYPE, GRPC);
    head
}

pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        let code = i32::from(Code::Internal);
        trailers.insert("grpc-status", HeaderValue::from(code));
    }
    trailers
}

/// Sends bytes as the client takes them. False when nobody takes them.
pub(super) async fn send_bytes(stream: &mut SendStream, mut bytes: Bytes) -> bool {
    while !bytes.is_empty() {
        let Ok(room) = poll_fn(|cx| stream.poll_room(cx)).await else { return false };
        let part = bytes.split_to(room.min(bytes.len()));
        if stream.send_data(part, false).is_err() {
            return false;
        }
    }
    true
}
