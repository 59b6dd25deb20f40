//! One request between its head and its answer: what was accepted, where it is routed, and how the outcome becomes the
//! response, counted and held until its last byte.

use super::Downstream;
use super::bound::BoundPort;
use super::destination::Destination;
use super::fault::FAULT;
use crate::cluster::{Cluster, Load, Spoken};
use crate::deadline::{Deadlines, Ends};
use crate::http::body::{DownBody, Held, UpBody, WireBody};
use crate::http::fields::{Field, Fields};
use crate::http::interim::Interim;
use crate::http::reply::{self, Style, reply};
use crate::http::upgrade::Upgrading;
use crate::http::{grpc, hop_by_hop, timeout};
use crate::limit::{Place, Taken};
use crate::listen::activity::Busy;
use crate::pool::Lease;
use crate::refusal::{Reason, Refusal};
use crate::retry::{self, AttemptPolicy, exhausted};
use crate::route::{Decision, RequestHead};
use crate::telemetry::{AccessRecord, Direction, Exchange, LabelId};
use crate::worker::{AccessLog, Worker};
use bytes::Bytes;
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A request whose head is complete.
pub(super) struct Accepted {
    pub(super) head: Parts,
    /// Of the head as it came.
    pub(super) fields: Fields,
    pub(super) body: Option<WireBody>,
    /// Where what comes before the answer goes.
    pub(super) interim: Interim,
    /// Set where the connection could change its protocol.
    pub(super) upgrading: Option<Upgrading>,
    pub(super) started: Instant,
    pub(super) version: Version,
    /// Given to the client with the answer, so that its next request goes where this one goes.
    pub(super) cookie: Option<Box<HeaderValue>>,
    /// What it has of its cluster's limit.
    pub(super) place: Option<Place>,
    /// For how long it was delayed on purpose.
    pub(super) delayed: Option<Duration>,
    /// It failed though it was tried again, here or further down: whoever called should not try again.
    pub(super) in_vain: bool,
    style: Style,
    busy: Busy,
    exchange: Exchange,
}

/// A request with its way: a rule of the service's routes, or the service itself.
pub(super) struct Routed {
    pub(super) destination: Rc<Destination>,
    pub(super) bound: Rc<BoundPort>,
    rule: Option<usize>,
    pub(super) cluster: Rc<Cluster>,
    pub(super) deadlines: Deadlines,
}

/// A response whose head has come, and what came with it. Boxed, as it passes through many hands.
pub(super) struct Exchanged {
    /// Without a body where the connection changes its protocol.
    pub(super) response: Response<Option<WireBody>>,
    /// Of its head.
    fields: Fields,
    /// The gRPC status in its head.
    grpc: Option<u8>,
    pub(super) lease: Option<Lease>,
    pub(super) load: Option<Load>,
    pub(super) backend: LabelId,
    pub(super) peer: LabelId,
    /// The reason, where the peer's sidecar made the answer.
    pub(super) reason: Option<Reason>,
    /// What ends it before its time.
    pub(super) ends: Option<Box<Ends>>,
}

impl Accepted {
    pub(super) fn new(downstream: &Downstream, request: Request<WireBody>, interim: Interim) -> Self {
        let (head, body) = request.into_parts();
        let (upgrading, body) = Upgrading::of(body);
        let fields = Fields::of(&head.headers);
        let style = Style::of(&head.headers, fields);
        let record = (downstream.worker.shared.config.access_log == AccessLog::On).then(|| {
            let authority = head.uri.authority().map(|a| a.to_string());
            let host =
                || head.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
            Box::new(AccessRecord {
                method: head.method.clone(),
                authority: authority.unwrap_or_else(|| host().to_owned()),
                path: head.uri.path().to_owned(),
            })
        });
        let started = Instant::now();
        Self {
            version: head.version,
            started,
            busy: downstream.activity.begin(),
            interim,
            upgrading,
            cookie: None,
            place: None,
            delayed: None,
            in_vain: false,
            style,
            exchange: Exchange::new(downstream.worker.clone(), Direction::Outbound, started, record),
            head,
            fields,
            body,
        }
    }

    /// The service is known: what is counted from here on is counted for it.
    pub(super) fn bound(&mut self, worker: &Worker, bound: &BoundPort) {
        bound.touch(worker.nanos(self.started).0 / 1_000_000_000);
        self.exchange.is_for(bound.itself.clone(), bound.bytes.clone());
    }

    /// Whether anybody downstream speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// What it speaks on top of HTTP.
    pub(super) fn spoken(&self) -> Spoken {
        match self.style {
            Style::Http => Spoken::Http,
            Style::Grpc => Spoken::Grpc,
        }
    }

    /// The answer, whatever happened, counted when its last byte has passed.
    pub(super) fn finish(self, outcome: Result<Box<Exchanged>, Refusal>) -> Response<DownBody> {
        let mut exchange = self.exchange;
        let taken = self.place.map(Taken::Place);
        match outcome {
            Ok(exchanged) => {
                let (mut head, body) = exchanged.response.into_parts();
                if body.is_some() {
                    hop_by_hop::strip_response(&mut head.headers, exchanged.fields);
                }
                head.version = Version::HTTP_11;
                say_delay(&mut head.headers, self.delayed);
                if self.in_vain {
                    head.headers.insert(exhausted::RETRY, exhausted::NEVER);
                }
                if let Some(cookie) = self.cookie {
                    head.headers.append(SET_COOKIE, *cookie);
                }
                exchange.answered(
                    exchanged.backend,
                    exchanged.peer,
                    head.status.as_u16(),
                    exchanged.grpc,
                    exchanged.reason,
                );
                let held = Held {
                    exchange: Some(exchange),
                    lease: exchanged.lease,
                    load: exchanged.load,
                    busy: Some(self.busy),
                    taken,
                };
                let body = match body {
                    Some(body) => DownBody::upstream(body, held, exchanged.ends),
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
                let (mut head, body) = reply(&refusal, self.style).into_parts();
                say_delay(&mut head.headers, self.delayed);
                if self.in_vain {
                    head.headers.insert(exhausted::RETRY, exhausted::NEVER);
                }
                let code = grpc::status(&head.headers);
                let status = head.status.as_u16();
                exchange.answered(LabelId::NONE, LabelId::NONE, status, code, Some(refusal.reason));
                let held = Held { exchange: Some(exchange), busy: Some(self.busy), ..Held::default() };
                Response::from_parts(head, body.holding(held))
            }
        }
    }
}

/// Says on an answer that its request was delayed on purpose.
fn say_delay(headers: &mut HeaderMap, delayed: Option<Duration>) {
    let Some(delay) = delayed else { return };
    if let Ok(value) = HeaderValue::try_from(format!("delay={}ms", delay.as_millis())) {
        headers.insert(FAULT, value);
    }
}

/// Which rule a request falls under, and which backend its share goes to.
///
/// # Errors
/// `no_route`, `invalid_backend`.
pub(super) fn route(
    worker: &Worker,
    accepted: &mut Accepted,
    destination: Rc<Destination>,
    bound: Rc<BoundPort>,
) -> Result<Routed, Refusal> {
    let head = &accepted.head;
    let asked = RequestHead {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    };
    let decision = bound.port().map_or(Decision::Itself, |port| port.routes.decide(asked));
    let place = match decision {
        Decision::Itself => {
            let cluster = bound.cluster.clone();
            let mut routed =
                Routed { destination, bound, rule: None, cluster, deadlines: Deadlines::default() };
            routed.limit(accepted);
            return Ok(routed);
        }
        Decision::None => {
            let sentence =
                format!("no route of the service {} fits {} requests to this path", bound.label, head.method);
            return Err(Refusal::because(Reason::NoRoute, sentence));
        }
        Decision::Rule(place) => place,
    };
    let (Some(rule), Some(ours)) =
        (bound.port().and_then(|port| port.routes.rule(place)), bound.rules.get(place))
    else {
        return Err(Reason::NoRoute.into());
    };
    accepted.exchange.is_for(ours.series.clone(), bound.bytes.clone());
    let share = rule.split.pick(worker.random());
    let backend = share.and_then(|share| Some((rule.backends.get(share)?, ours.clusters.get(share)?)));
    let Some((backend, cluster)) = backend else {
        let sentence = format!("the route {} has no backend with a weight", rule.route);
        return Err(Refusal::because(Reason::InvalidBackend, sentence));
    };
    if let Some(sentence) = &backend.invalid {
        return Err(Refusal::because(Reason::InvalidBackend, sentence.clone()));
    }
    let cluster = cluster.clone();
    let mut routed =
        Routed { destination, bound, rule: Some(place), cluster, deadlines: Deadlines::default() };
    routed.limit(accepted);
    Ok(routed)
}

impl Routed {
    /// How the request is attempted: as its rule says, else as the port does.
    pub(super) fn policy(&self) -> &AttemptPolicy {
        let port = self.bound.port();
        let policy = match self.rule {
            Some(place) => port.and_then(|port| port.routes.rule(place)).map(|rule| &rule.attempts),
            None => port.and_then(|port| port.policy.as_deref()).map(|policy| &policy.attempts),
        };
        policy.unwrap_or(&retry::STANDARD)
    }

    /// How long the request may take: what is allowed, and no longer than its caller waits.
    fn limit(&mut self, accepted: &Accepted) {
        let timeouts = self.policy().timeouts;
        self.deadlines = Deadlines::new(accepted.started, timeouts.request, timeouts.attempt);
        if accepted.fields.have(Field::Timeout)
            && let Some(left) = timeout::left(&accepted.head.headers, accepted.fields, SystemTime::now())
        {
            self.deadlines.shrink(accepted.started, left);
        }
    }
}

impl Exchanged {
    /// A response that came over a lease.
    pub(super) fn new(response: Response<WireBody>, cluster: &Cluster, peer: LabelId) -> Box<Self> {
        let headers = response.headers();
        let fields = Fields::of(headers);
        let (grpc, reason) = (grpc::seen_status(headers, fields), reply::reason_of(headers, fields));
        let (response, backend) = (response.map(Some), cluster.label);
        Box::new(Self { response, fields, grpc, lease: None, load: None, backend, peer, reason, ends: None })
    }

    /// A connection that changes its protocol: nothing more follows in HTTP.
    pub(super) fn changing(response: Response<()>, cluster: &Cluster, peer: LabelId) -> Box<Self> {
        let (grpc, fields) = (grpc::status(response.headers()), Fields::default());
        let (response, backend, reason) = (response.map(|()| None), cluster.label, None);
        Box::new(Self { response, fields, grpc, lease: None, load: None, backend, peer, reason, ends: None })
    }

    /// The gRPC status, where it came without messages.
    pub(super) fn grpc_status(&self) -> Option<u8> {
        self.grpc.filter(|_| grpc::is_grpc(self.response.headers()))
    }

    /// Whether it says that another attempt is in vain.
    pub(super) fn is_in_vain(&self) -> bool {
        self.fields.have(Field::Retry)
            && self.response.headers().get(exhausted::RETRY) == Some(&exhausted::NEVER)
    }

    /// The status as retries and health see it: a gRPC answer without messages counts as the HTTP status it maps to.
    pub(super) fn effective_status(&self) -> u16 {
        match self.grpc {
            Some(code) if grpc::is_grpc(self.response.headers()) => grpc::http_status(code),
            _ => self.response.status().as_u16(),
        }
    }
}

/// The request as one attempt sends it, but for its target and what depends on the protocol.
pub(super) fn copy(head: &Parts, body: UpBody) -> Request<UpBody> {
    let mut copy = Request::new(body);
    *copy.method_mut() = head.method.clone();
    *copy.headers_mut() = head.headers.clone();
    copy
}

/// Whether a request with this method and body has anything to send after its head.
pub(super) fn has_body(body: &WireBody, method: &Method) -> bool {
    use http_body::Body as _;
    *method == Method::CONNECT || !body.is_end_stream()
}
