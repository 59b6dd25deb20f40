//! Failures made on purpose, where a TrafficPolicy asks for them: before an endpoint is picked and before anything is
//! counted under a limit, so that nobody is blamed for them. An answer of this kind says so by its reason, one that was
//! delayed by a header.

use super::request::{Accepted, Routed};
use crate::deadline;
use crate::http::grpc;
use crate::refusal::{Reason, Refusal};
use crate::route::RequestHead;
use crate::snapshot::{Fault, Faults};
use crate::worker::Worker;
use http::HeaderName;
use mesh_protocol::limits::FaultAnswer;

/// Says on an answer that its request was delayed on purpose, and for how long.
pub(super) const FAULT: HeaderName = HeaderName::from_static("outrigger-fault");

/// Delays and aborts the request as the policy asks.
///
/// # Errors
/// `fault_injected`; `request_timeout` if the delay is longer than the request may take.
pub(super) async fn inject(
    worker: &Worker,
    accepted: &mut Accepted,
    routed: &Routed,
    faults: &Faults,
) -> Result<(), Refusal> {
    let head = &accepted.head;
    let asked = RequestHead {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    };
    let Fault { delay, abort } = faults.decide(asked, || worker.random());
    let service = &*routed.cluster.name;
    let injected = &worker.shared.config.families.limits.faults;
    if let Some(delay) = delay {
        injected.with_label_values(&[service, "delay"]).inc();
        accepted.delayed = Some(delay);
        deadline::within(routed.deadlines.of_request(), tokio::time::sleep(delay)).await?;
    }
    let Some(answer) = abort else { return Ok(()) };
    injected.with_label_values(&[service, "abort"]).inc();
    let (status, grpc) = match answer {
        FaultAnswer::Http(status) => (status, grpc::of_http_status(status)),
        FaultAnswer::Grpc(code) => (grpc::http_status(code), code),
    };
    let policy = routed.cluster.policy_name().unwrap_or_default();
    let sentence = format!(
        "the TrafficPolicy {policy} makes requests to {service} fail on purpose: this one went no further than its \
         caller's sidecar"
    );
    Err(Refusal::because(Reason::FaultInjected, sentence).answered_as(status, grpc))
}
