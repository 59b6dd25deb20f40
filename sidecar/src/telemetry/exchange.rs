//! One request, from its head to the end of its response: what is counted when it is over.

use super::recorder::AnswerKey;
use super::{AccessRecord, LabelId, RouteSeries, ServiceSeries};
use crate::refusal::Reason;
use crate::worker::Worker;
use std::rc::Rc;
use tokio::time::Instant;

/// A request that is being answered. Counted once, by [`Exchange::finish`].
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    started: Instant,
    series: Rc<RouteSeries>,
    service: Rc<ServiceSeries>,
    key: AnswerKey,
    sent: u64,
    record: Option<Box<AccessRecord>>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Exchange {
    pub(crate) fn new(
        worker: Rc<Worker>,
        started: Instant,
        series: Rc<RouteSeries>,
        service: Rc<ServiceSeries>,
        record: Option<Box<AccessRecord>>,
    ) -> Self {
        let key =
            AnswerKey { backend: LabelId::NONE, peer: LabelId::NONE, status: 0, grpc: None, reason: None };
        Self { worker, started, series, service, key, sent: 0, record }
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
        self.service.response_bytes.add(bytes);
    }

    /// The trailers' gRPC status.
    pub(crate) fn grpc(&mut self, status: Option<u8>) {
        if status.is_some() {
            self.key.grpc = status;
        }
    }

    /// It is over; for `cut` if it ended before its time.
    pub(crate) fn finish(mut self, cut: Option<Reason>) {
        self.key.reason = self.key.reason.or(cut);
        let took = self.started.elapsed();
        let recorder = &self.worker.recorder;
        if let Some(reason) = self.key.reason {
            recorder.refused(self.series.direction(), reason);
        }
        recorder.answered(&self.series, self.key, took);
        if let Some(record) = &self.record {
            record.write(recorder, &self.series, self.key, self.sent, took);
        }
    }
}
