//! What comes before an answer: heads with a status of 1xx (RFC 9110 §15.2). What enters is such a head, of whichever
//! attempt; it leaves at once, to the client of the request.

use super::fields::Fields;
use super::hop_by_hop;
use super::reply::REASON;
use crate::connect::Link;
use crate::retry::exhausted::RETRY;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};

/// The client of a request, as far as it takes what comes before the answer.
#[derive(Debug)]
pub(crate) enum Interim {
    /// On its HTTP/1 connection; a client of HTTP/1.0 takes nothing.
    Http1(mesh_http1::Interim<Link>),
    /// On its HTTP/2 stream.
    Http2(mesh_http2::Interim),
}

impl Interim {
    /// Passes a head on. To be called while the answer is made.
    pub(crate) fn pass(&self, mut head: Response<()>) {
        // Each hop's own: whoever read the body has told its sender to go on (RFC 9110 §10.1.1).
        if head.status() == StatusCode::CONTINUE {
            return;
        }
        let headers = head.headers_mut();
        let fields = Fields::of(headers);
        hop_by_hop::strip_response(headers, fields);
        // It has no body (RFC 9110 §8.6), and what sidecars say they say with an answer.
        for name in [CONTENT_LENGTH, REASON, RETRY] {
            headers.remove(name);
        }
        match self {
            Self::Http1(client) => client.send(head),
            Self::Http2(client) => client.send(&head),
        }
    }
}
