//! gRPC unary calls of `outrigger.demo.Greeter/SayHello`: the message is encoded once, and an answer is right when its
//! trailers say `grpc-status: 0` and its message greets the name that was sent.

use super::http2::{Exchanged, Link, request};
use super::record::{Answered, Failure};
use super::run::Shared;
use crate::greeter::{HelloReply, HelloRequest};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method};
use prost::Message;
use std::rc::Rc;

/// The method called.
const PATH: &str = "/outrigger.demo.Greeter/SayHello";
const NAME: &str = "outrigger";
/// Flag and length before each message.
const PREFIX_BYTES: usize = 5;

/// One stream's slot.
pub(super) async fn slot(shared: Rc<Shared>, link: Rc<Link>) -> Rc<Link> {
    let call = request(&shared.plan, Method::POST, PATH).map(|mut call| {
        call.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        call.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
        call
    });
    let message = message(&HelloRequest { name: NAME.to_owned() });
    while let Some(due) = shared.arrivals.next().await {
        let outcome = match &call {
            Ok(call) => link.exchange(&shared, call, Some(message.clone())).await,
            Err(failure) => Err(Failure::new("request", &failure.words)),
        };
        match outcome.and_then(|exchanged| check(&exchanged)) {
            Ok(reply) => {
                let instance = Some(reply.instance.as_str());
                let bytes = reply.message.len() as u64;
                shared.recorder.ok(due, &Answered { instance, greeter: None, bytes });
            }
            Err(failure) => shared.recorder.failed(due, &failure),
        }
    }
    link
}

fn message(request: &HelloRequest) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + request.encoded_len());
    bytes.put_u8(0);
    bytes.put_u32(request.encoded_len() as u32);
    bytes.extend_from_slice(&request.encode_to_vec());
    bytes.freeze()
}

fn check(exchanged: &Exchanged) -> Result<HelloReply, Failure> {
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
    let body = exchanged.body.as_ref();
    let length = body.get(1..PREFIX_BYTES).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    let reply = body.get(PREFIX_BYTES..).filter(|reply| length == u32::try_from(reply.len()).ok());
    let reply = reply.and_then(|reply| HelloReply::decode(reply).ok());
    match reply {
        Some(reply) if reply.message == format!("Hello {NAME}") => Ok(reply),
        Some(reply) => Err(Failure::new("body", format!("`{}` greets somebody else", reply.message))),
        None => Err(Failure::new("body", "not one whole HelloReply")),
    }
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

    fn reply(text: &str) -> Bytes {
        // A reply's first field has the number and type of the request's.
        message(&HelloRequest { name: text.to_owned() })
    }

    #[test]
    fn takes_only_a_whole_right_greeting_with_status_zero() {
        assert!(check(&answer("0", reply("Hello outrigger"))).is_ok());
        let cause = |exchanged| check(&exchanged).err().map(|failure| failure.cause);
        assert_eq!(cause(answer("14", Bytes::new())), Some("grpc-14".to_owned()));
        assert_eq!(cause(answer("0", reply("Hello you"))), Some("body".to_owned()));
        assert_eq!(cause(answer("0", reply("Hello outrigger").slice(..10))), Some("body".to_owned()));
    }
}
