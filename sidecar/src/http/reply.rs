//! A refusal becomes an answer: for HTTP a status, the reason in a header and one sentence; for gRPC the same in its
//! terms, an answer without messages (trailers-only) that every client turns into its own error.

use super::body::DownBody;
use super::fields::{Field, Fields};
use super::grpc;
use crate::refusal::{Reason, Refusal};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};

/// The header that carries the reason of every answer a sidecar makes itself.
pub(crate) const REASON: HeaderName = HeaderName::from_static("outrigger-reason");

/// How the other side wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A status and a sentence.
    Http,
    /// A gRPC status and message.
    Grpc,
}

impl Style {
    /// How whoever sent a request with this head wants to be told.
    pub(crate) fn of(headers: &HeaderMap, fields: Fields) -> Self {
        if fields.have(Field::ContentType) && grpc::is_grpc(headers) { Self::Grpc } else { Self::Http }
    }
}

/// The answer.
pub(crate) fn reply(refusal: &Refusal, style: Style) -> Response<DownBody> {
    let row = refusal.reason.row();
    let terms = refusal.terms.as_deref().copied().unwrap_or_default();
    let (status, code) = terms.answer.unwrap_or((row.status, row.grpc as u8));
    let mut response = match style {
        Style::Http => {
            let mut sentence = refusal.sentence.clone().into_owned();
            sentence.push('\n');
            let length = sentence.len();
            let mut response = Response::new(DownBody::words(Bytes::from(sentence)));
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            // HTTP/2 needs no length, but the HTTP/1 client behind another sidecar is spared a chunked answer.
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            response
        }
        Style::Grpc => {
            let mut response = Response::new(DownBody::words(Bytes::new()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(grpc::GRPC_STATUS, HeaderValue::from(u16::from(code)));
            let message = grpc::encode_message(&refusal.sentence);
            if let Ok(message) = HeaderValue::from_maybe_shared(Bytes::from(message)) {
                headers.insert(grpc::GRPC_MESSAGE, message);
            }
            response
        }
    };
    response.headers_mut().insert(REASON, HeaderValue::from_static(row.word));
    if let Some(seconds) = terms.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.get()));
    }
    response
}

/// The reason in an answer that a peer's sidecar made, if it made it.
pub(crate) fn reason_of(headers: &HeaderMap, fields: Fields) -> Option<Reason> {
    if !fields.have(Field::Reason) {
        return None;
    }
    let word = headers.get(REASON)?;
    Reason::ALL.into_iter().find(|reason| word.as_bytes() == reason.word().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_in_both_styles() {
        let refusal = Refusal::because(Reason::UnknownHost, "no service `ordr\u{e9}s`");
        let response = reply(&refusal, Style::Http);
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()[REASON], "unknown_host");
        assert_eq!(response.headers()["content-length"], "21");
        let fields = Fields::of(response.headers());
        assert_eq!(reason_of(response.headers(), fields), Some(Reason::UnknownHost));
        let response = reply(&refusal, Style::Grpc);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[grpc::GRPC_STATUS], "14");
        assert_eq!(response.headers()[grpc::GRPC_MESSAGE], "no service `ordr%C3%A9s`");
    }

    #[test]
    fn an_answer_may_have_terms_of_its_own() {
        let wait = std::time::Duration::from_millis(1_001);
        let refusal = Refusal::new(Reason::RateLimited).retry_after(wait);
        for style in [Style::Http, Style::Grpc] {
            assert_eq!(reply(&refusal, style).headers()["retry-after"], "2", "{style:?}");
        }
        let refusal = Refusal::new(Reason::FaultInjected).answered_as(418, 2);
        assert_eq!(reply(&refusal, Style::Http).status(), 418);
        assert_eq!(reply(&refusal, Style::Grpc).headers()[grpc::GRPC_STATUS], "2");
    }
}
