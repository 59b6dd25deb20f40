//! One request, from its head to the end of its response: what is counted when it is over, however it ends.

use super::recorder::AnswerKey;
use super::{AccessRecord, Direction, LabelId, RouteSeries, ServiceSeries};
use crate::refusal::Reason;
use crate::worker::Worker;
use std::rc::Rc;
use tokio::time::Instant;

/// A request that is being answered. Counted once: by [`Exchange::finish`], or when it is dropped, which means that the
/// downstream went away before it had its answer.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    direction: Direction,
    started: Instant,
    /// Nothing until it is known whose request this is.
    series: Option<(Rc<RouteSeries>, Rc<ServiceSeries>)>,
    key: AnswerKey,
    sent: u64,
    record: Option<Box<AccessRecord>>,
    is_over: bool,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Exchange {
    pub(crate) fn new(
        worker: Rc<Worker>,
        direction: Direction,
        started: Instant,
        record: Option<Box<AccessRecord>>,
    ) -> Self {
        let key =
            AnswerKey { backend: LabelId::NONE, peer: LabelId::NONE, status: 0, grpc: None, reason: None };
        Self { worker, direction, started, series: None, key, sent: 0, record, is_over: false }
    }

    /// Whose request it is. May be said again, more precisely.
    pub(crate) fn is_for(&mut self, route: Rc<RouteSeries>, service: Rc<ServiceSeries>) {
        self.series = Some((route, service));
    }

    /// The head of the answer is known.
    pub(crate) fn answered(
        &mut self,
        backend: LabelId,
        peer: LabelId,
        status: u16,
        grpc: Option<u8>,
        reason: Option<Reason>,
    ) {
        self.key = AnswerKey { backend, peer, status, grpc, reason };
    }

    /// Bytes of the body pass.
    pub(crate) fn sent(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.sent += bytes;
        if let Some((_, service)) = &self.series {
            service.response_bytes.add(bytes);
        }
    }

    /// The trailers' gRPC status.
    pub(crate) fn grpc(&mut self, status: Option<u8>) {
        if status.is_some() {
            self.key.grpc = status;
        }
    }

    /// It is over since `now`; for `cut` if it ended before its time.
    pub(crate) fn finish(mut self, cut: Option<Reason>, now: Instant) {
        self.count(cut, now);
    }

    fn count(&mut self, cut: Option<Reason>, now: Instant) {
        self.is_over = true;
        self.key.reason = self.key.reason.or(cut);
        let took = now.saturating_duration_since(self.started);
        let recorder = &self.worker.recorder;
        if let Some(reason) = self.key.reason {
            recorder.refused(self.direction, reason);
        }
        let series = match &self.series {
            Some((route, _)) => route.clone(),
            // Nobody's requests: hosts that mean nothing are not made into labels.
            None => recorder.route(self.direction, &"".into(), &"".into()),
        };
        recorder.answered(&series, self.key, took);
        if let Some(record) = &self.record {
            record.write(recorder, &series, self.key, self.sent, took);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            let reason = Reason::DownstreamClosed;
            if self.key.status == 0 {
                self.key.status = reason.row().status;
            }
            self.count(Some(reason), Instant::now());
        }
    }
}
