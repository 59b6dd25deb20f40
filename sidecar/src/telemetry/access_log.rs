//! One record per request, when switched on: written through `tracing` at target `access`, so that it has the process's
//! format and goes where its log goes.

use super::recorder::{AnswerKey, Recorder, RouteSeries};
use crate::refusal::Reason;
use http::Method;
use std::time::Duration;

/// What a record says that metrics don't. Made only when the log is on.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    pub(crate) method: Method,
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl AccessRecord {
    pub(super) fn write(
        &self,
        recorder: &Recorder,
        series: &RouteSeries,
        key: AnswerKey,
        sent: u64,
        took: Duration,
    ) {
        tracing::info!(
            target: "access",
            direction = series.direction().as_str(),
            method = self.method.as_str(),
            authority = self.authority,
            path = self.path,
            service = &**series.service(),
            route = &**series.route(),
            backend = &*recorder.text(key.backend),
            peer = &*recorder.text(key.peer),
            status = key.status,
            grpc_status = key.grpc,
            reason = key.reason.map(Reason::word),
            response_bytes = sent,
            duration_ms = took.as_secs_f64() * 1e3,
            "request"
        );
    }
}
