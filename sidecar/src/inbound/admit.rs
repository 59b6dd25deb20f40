//! Whether a request from a peer is let in, by the limits of its port: the rate first, then how many at once. Who calls is
//! who the handshake has proved; callers in plain text are one client together.

use super::Downstream;
use crate::limit::{Caller, InboundLimits, Turn};
use crate::refusal::Refusal;
use crate::route::RequestHead;
use http::request::Parts;

/// What a caller without a certificate is called.
const NOBODY: &str = "callers in plain text";

/// Lets a request in: its turn, where there is a limit of how many have one.
///
/// # Errors
/// `rate_limited`, `concurrency_limit`, `concurrency_timeout`.
pub(super) async fn admit(
    downstream: &Downstream,
    head: &Parts,
    limits: &InboundLimits,
) -> Result<Option<Turn>, Refusal> {
    let voucher = downstream.voucher.as_ref().and_then(|voucher| voucher.to_str().ok());
    let name = voucher.map_or(NOBODY, |voucher| voucher.strip_prefix("URI=").unwrap_or(voucher));
    let secret = downstream.worker.shared.secret;
    let caller = Caller { key: downstream.client, secret, name };
    let asked = RequestHead {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    };
    limits.admit(asked, caller).await
}
