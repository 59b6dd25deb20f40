//! gRPC calls of `outrigger.demo.Greeter`, unary `SayHello` and streaming `SayManyHellos`: the message is encoded once, and
//! an answer is right when its trailers say `grpc-status: 0` and it has all its messages, each of which greets the name
//! that was sent.

use super::http2::{Exchanged, Link, request};
use super::plan::Options;
use super::record::{Answered, Failure};
use super::run::Shared;
use crate::greeter::{HelloReply, HelloRequest, ManyHellosRequest};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method};
use prost::Message;
use std::rc::Rc;

const NAME: &str = "outrigger";
/// Flag and length before each message.
const PREFIX_BYTES: usize = 5;

/// What is called, and how many messages are expected back.
pub(super) struct Call {
    path: &'static str,
    message: Bytes,
    greetings: u32,
}

impl Call {
    /// One message for one.
    pub(super) fn unary() -> Self {
        let message = framed(&HelloRequest { name: NAME.to_owned() });
        Self { path: "/outrigger.demo.Greeter/SayHello", message, greetings: 1 }
    }

    /// A stream of messages for one.
    pub(super) fn stream(options: &Options) -> Self {
        let (count, interval_ms) = (options.greetings, options.greeting_interval_ms);
        let message = framed(&ManyHellosRequest { name: NAME.to_owned(), count, interval_ms });
        Self { path: "/outrigger.demo.Greeter/SayManyHellos", message, greetings: count }
    }
}

/// One stream's slot.
pub(super) async fn slot(shared: Rc<Shared>, link: Rc<Link>, call: Call) -> Rc<Link> {
    let request = request(&shared.plan, Method::POST, call.path).map(|mut request| {
        let headers = request.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        request
    });
    while let Some(due) = shared.arrivals.next().await {
        let outcome = match &request {
            Ok(request) => link.exchange(&shared, request, Some(call.message.clone())).await,
            Err(failure) => Err(Failure::new("request", &failure.words)),
        };
        match outcome.and_then(|exchanged| check(&exchanged, call.greetings)) {
            Ok(reply) => {
                let instance = Some(reply.instance.as_str());
                let bytes = reply.message.len() as u64 * u64::from(call.greetings);
                shared.recorder.ok(due, &Answered { instance, greeter: None, bytes });
            }
            Err(failure) => shared.recorder.failed(due, &failure),
        }
    }
    link
}

fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// Returns the last reply.
fn check(exchanged: &Exchanged, greetings: u32) -> Result<HelloReply, Failure> {
    let status = exchanged.head.status.as_u16();
    if status != 200 {
        return Err(Failure::new(format!("status-{status}"), super::expect::quote(&exchanged.body)));
    }
    // A trailers-only answer has its status among the headers.
    let trailers = exchanged.trailers.as_ref().unwrap_or(&exchanged.head.headers);
    let text = |name| trailers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => {}
        Some(code) => {
            let reason = exchanged.head.headers.get("outrigger-reason").and_then(|value| value.to_str().ok());
            let words = format!("[{}] {}", reason.unwrap_or("-"), text("grpc-message").unwrap_or_default());
            return Err(Failure::new(format!("grpc-{code}"), words));
        }
        None => return Err(Failure::new("protocol", "an answer without grpc-status")),
    }
    let mut rest = exchanged.body.as_ref();
    let mut last = None;
    for _ in 0..greetings {
        let (reply, after) = reply(rest)?;
        if reply.message != format!("Hello {NAME}") {
            return Err(Failure::new("body", format!("`{}` greets somebody else", reply.message)));
        }
        (last, rest) = (Some(reply), after);
    }
    last.filter(|_| rest.is_empty()).ok_or_else(|| Failure::new("body", "more greetings than asked for"))
}

/// The first message, and what follows it.
fn reply(bytes: &[u8]) -> Result<(HelloReply, &[u8]), Failure> {
    let length = bytes.get(1..PREFIX_BYTES).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    let end = length.and_then(|length| PREFIX_BYTES.checked_add(usize::try_from(length).ok()?));
    let parts = end.and_then(|end| Some((bytes.get(PREFIX_BYTES..end)?, bytes.get(end..)?)));
    let decoded = parts.and_then(|(reply, rest)| Some((HelloReply::decode(reply).ok()?, rest)));
    decoded.ok_or_else(|| Failure::new("body", "not one whole HelloReply"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &'static str, body: Bytes) -> Exchanged {
        let (head, ()) = http::Response::new(()).into_parts();
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static(status),
        )]);
        Exchanged { head, body, trailers: Some(trailers) }
    }

    fn greeting(text: &str) -> Bytes {
        // A reply's first field has the number and type of the request's.
        framed(&HelloRequest { name: text.to_owned() })
    }

    fn cause(exchanged: &Exchanged, greetings: u32) -> Option<String> {
        check(exchanged, greetings).err().map(|failure| failure.cause)
    }

    #[test]
    fn takes_only_a_whole_right_greeting_with_status_zero() {
        assert!(check(&answer("0", greeting("Hello outrigger")), 1).is_ok());
        let cause = |exchanged| cause(&exchanged, 1);
        assert_eq!(cause(answer("14", Bytes::new())), Some("grpc-14".to_owned()));
        assert_eq!(cause(answer("0", greeting("Hello you"))), Some("body".to_owned()));
        assert_eq!(cause(answer("0", greeting("Hello outrigger").slice(..10))), Some("body".to_owned()));
        assert_eq!(cause(answer("0", Bytes::new())), Some("body".to_owned()));
    }

    #[test]
    fn takes_a_stream_with_exactly_the_greetings_that_were_asked_for() {
        let three = || Bytes::from(greeting("Hello outrigger").repeat(3));
        assert_eq!(cause(&answer("0", three()), 3), None);
        assert_eq!(cause(&answer("0", three()), 2), Some("body".to_owned()));
        assert_eq!(cause(&answer("0", three()), 4), Some("body".to_owned()));
        let broken = [three().to_vec(), greeting("Hello you").to_vec()].concat();
        assert_eq!(cause(&answer("0", broken.into()), 4), Some("body".to_owned()));
    }
}
