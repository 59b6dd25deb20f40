//! One request from a peer between its head and its answer.

use super::{CLIENT_CERTIFICATE, Downstream, ORIGINAL_HTTP};
use crate::http::body::{DownBody, Held, WireBody};
use crate::http::fields::{Field, Fields};
use crate::http::interim::Interim;
use crate::http::reply::{self, Style, reply};
use crate::http::upgrade::Upgrading;
use crate::http::{grpc, hop_by_hop, timeout};
use crate::limit::{InboundLimits, Taken, Turn};
use crate::listen::activity::Busy;
use crate::pool::Lease;
use crate::refusal::Refusal;
use crate::retry::exhausted;
use crate::telemetry::{AccessRecord, Direction, Exchange, LabelId};
use crate::worker::AccessLog;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, Version};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;

/// A request whose head is complete.
pub(super) struct Accepted {
    pub(super) head: Parts,
    /// Of the head as it came.
    pub(super) fields: Fields,
    pub(super) body: Option<WireBody>,
    /// Where what comes before the answer goes.
    pub(super) interim: Interim,
    pub(super) upgrading: Option<Upgrading>,
    /// What is to be asked before it is let in.
    pub(super) limits: Option<Arc<InboundLimits>>,
    /// Its turn, where there is a limit of how many have one.
    pub(super) turn: Option<Box<Turn>>,
    started: Instant,
    style: Style,
    busy: Busy,
    exchange: Exchange,
}

/// Which HTTP the request came in as at the other end of the hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Original {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The application's answer; without a body where the connection changes its protocol.
pub(super) struct Exchanged {
    pub(super) response: Response<Option<WireBody>>,
    pub(super) lease: Option<Lease>,
}

impl Accepted {
    pub(super) fn new(downstream: &Downstream, request: Request<WireBody>, interim: Interim) -> Self {
        let (head, body) = request.into_parts();
        let (upgrading, body) = Upgrading::of(body);
        let fields = Fields::of(&head.headers);
        let style = Style::of(&head.headers, fields);
        let record = (downstream.worker.shared.config.access_log == AccessLog::On).then(|| {
            Box::new(AccessRecord {
                method: head.method.clone(),
                authority: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
                path: head.uri.path().to_owned(),
            })
        });
        let worker = &downstream.worker;
        let counted = downstream.port.counted(worker);
        let started = Instant::now();
        let mut exchange = Exchange::new(worker.clone(), Direction::Inbound, started, record);
        exchange.is_for(counted.series, counted.bytes);
        let (limits, busy) = (counted.limits, downstream.activity.begin());
        Self { head, fields, body, interim, upgrading, limits, turn: None, started, style, busy, exchange }
    }

    /// Vouches for the peer and takes out what only sidecars may say.
    pub(super) fn vouch(&mut self, downstream: &Downstream) -> Original {
        let headers = &mut self.head.headers;
        let theirs = self.fields.have(Field::OfSidecars);
        match &downstream.voucher {
            Some(voucher) => headers.insert(CLIENT_CERTIFICATE, voucher.clone()),
            None if theirs => headers.remove(CLIENT_CERTIFICATE),
            None => None,
        };
        if self.fields.have(Field::Timeout) {
            match &downstream.voucher {
                Some(_) => timeout::receive(headers, SystemTime::now()),
                // A stranger has nothing to say of how long others wait.
                None => timeout::strip(headers),
            }
        }
        let marked = theirs && headers.remove(ORIGINAL_HTTP).is_some();
        if marked || self.head.version < Version::HTTP_2 { Original::Http1 } else { Original::Http2 }
    }

    /// The answer, whatever happened, counted when its last byte has passed.
    pub(super) fn finish(
        self,
        downstream: &Downstream,
        outcome: Result<Exchanged, Refusal>,
    ) -> Response<DownBody> {
        let mut exchange = self.exchange;
        match outcome {
            Ok(exchanged) => {
                let (mut head, body) = exchanged.response.into_parts();
                let fields = Fields::of(&head.headers);
                if body.is_some() {
                    hop_by_hop::strip_response(&mut head.headers, fields);
                }
                if fields.have(Field::Reason) {
                    // Only a sidecar says why it refused.
                    head.headers.remove(reply::REASON);
                }
                head.version = Version::HTTP_11;
                let code = grpc::seen_status(&head.headers, fields);
                let effective = match code {
                    Some(code) if grpc::is_grpc(&head.headers) => grpc::http_status(code),
                    _ => head.status.as_u16(),
                };
                if exhausted::is_failure(effective) && downstream.worker.shared.exhausted.since(self.started)
                {
                    head.headers.insert(exhausted::RETRY, exhausted::NEVER);
                }
                let taken = self.turn.map(|mut turn| {
                    turn.answered(effective);
                    Taken::Turn(turn)
                });
                exchange.answered(LabelId::NONE, downstream.peer, head.status.as_u16(), code, None);
                let held = Held {
                    exchange: Some(exchange),
                    lease: exchanged.lease,
                    load: None,
                    busy: Some(self.busy),
                    taken,
                };
                let body = match body {
                    Some(body) => DownBody::upstream(body, held, None),
                    None => DownBody::words(Bytes::new()).holding(held),
                };
                Response::from_parts(head, body)
            }
            Err(refusal) => {
                tracing::debug!(
                    reason = refusal.reason.word(),
                    source = refusal.source.as_deref().map(|e| e as &dyn std::error::Error),
                    "request refused: {}",
                    refusal.sentence
                );
                let (head, body) = reply(&refusal, self.style).into_parts();
                let (status, code) = (head.status.as_u16(), grpc::status(&head.headers));
                exchange.answered(LabelId::NONE, downstream.peer, status, code, Some(refusal.reason));
                let held = Held { exchange: Some(exchange), busy: Some(self.busy), ..Held::default() };
                Response::from_parts(head, body.holding(held))
            }
        }
    }
}
