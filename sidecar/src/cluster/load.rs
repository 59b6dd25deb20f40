//! One attempt's share of an endpoint's load. However the attempt ends, the balancer hears of it exactly once.

use super::Cluster;
use crate::http::grpc;
use crate::worker::Worker;
use mesh_balance::{Fault, Nanos, Outcome, Slot};
use std::rc::Rc;
use tokio::time::Instant;

/// An attempt under way; ends when dropped.
pub(crate) struct Load {
    worker: Rc<Worker>,
    cluster: Rc<Cluster>,
    slot: Slot,
    started: Nanos,
    /// Nothing: no answer, for a reason that is none of the endpoint's.
    outcome: Option<Outcome>,
    /// When it has failed if there is no answer yet; the end of time if that is never.
    owed: Nanos,
    /// What is spoken, and so whether trailers say how it went.
    protocol: Spoken,
    /// When it ended; the end of time: when it is dropped.
    ended: Nanos,
}

const NEVER: Nanos = Nanos(u64::MAX);

/// What a request speaks on top of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Nothing: the status in the head is all there is.
    Http,
    /// gRPC: a status in the trailers may say that it failed after all.
    Grpc,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load")
            .field("slot", &self.slot)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Load {
    pub(super) fn start(worker: Rc<Worker>, cluster: Rc<Cluster>, slot: Slot, now: Nanos) -> Self {
        cluster.balancer.borrow_mut().started(slot);
        Self {
            worker,
            cluster,
            slot,
            started: now,
            outcome: None,
            owed: NEVER,
            protocol: Spoken::Http,
            ended: NEVER,
        }
    }

    /// A peer's sidecar did not let the request in by a limit: neither a failure of the endpoint, which would be left out for
    /// keeping itself well, nor a latency, which would make it look fast.
    pub(crate) fn shed(&mut self) {
        self.outcome = None;
        self.owed = NEVER;
    }

    /// Without an answer until then, the endpoint has failed.
    pub(crate) fn owes(&mut self, until: Instant) {
        self.owed = self.worker.nanos(until);
    }

    /// The request is sent now: what was waited for until then is not the endpoint's latency.
    pub(crate) fn sending(&mut self) {
        self.started = self.worker.nanos(Instant::now());
    }

    /// It did what it was asked for: the head of a good response has come, or a connection is open.
    pub(crate) fn answered(&mut self) {
        let latency = self.worker.nanos(Instant::now()).since(self.started);
        self.outcome = Some(Outcome::Success { latency });
    }

    /// What the request speaks; HTTP alone unless it is said.
    pub(crate) fn speaks(&mut self, protocol: Spoken) {
        self.protocol = protocol;
    }

    /// The trailers have come, with this gRPC status. A failure told there is one as if the head had told it; success, and
    /// what says something of the request alone, leaves what the head has said.
    pub(crate) fn trailers(&mut self, status: Option<u8>) {
        let told = status.filter(|_| self.protocol == Spoken::Grpc).map(grpc::http_status);
        if let (Some(fault), Some(Outcome::Success { latency })) = (told.and_then(fault), self.outcome) {
            self.outcome = Some(Outcome::Failure { latency, fault });
        }
    }

    /// It has ended, at a time the caller knows already.
    pub(crate) fn end(mut self, now: Instant) {
        self.ended = self.worker.nanos(now);
    }

    /// The endpoint could not be reached, broke off, or does not speak as it should.
    pub(crate) fn failed(&mut self) {
        self.end_in(Fault::Gateway);
    }

    /// The head of a response with this status has come. A status that says of a gateway that it could not (502, 503,
    /// 504) is as bad as no answer. Other server errors count for the detectors that ask for them; 501 and 505 say
    /// something of the request and not of who answered.
    pub(crate) fn answered_with(&mut self, status: u16) {
        match fault(status) {
            Some(fault) => self.end_in(fault),
            None => self.answered(),
        }
    }

    fn end_in(&mut self, fault: Fault) {
        let latency = self.worker.nanos(Instant::now()).since(self.started);
        self.outcome = Some(Outcome::Failure { latency, fault });
    }

    /// How it went, as far as is known when it ends.
    fn outcome(&self, now: Nanos) -> Outcome {
        let waited = now.since(self.started);
        match self.outcome {
            Some(outcome) => outcome,
            None if self.owed <= now => Outcome::Failure { latency: waited, fault: Fault::Gateway },
            None => Outcome::Abandoned { waited },
        }
    }
}

/// What a status says of the endpoint that answered with it.
fn fault(status: u16) -> Option<Fault> {
    match status {
        502..=504 => Some(Fault::Gateway),
        500 | 506..=599 => Some(Fault::Answer),
        _ => None,
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let now = if self.ended == NEVER { self.worker.nanos(Instant::now()) } else { self.ended };
        let outcome = self.outcome(now);
        if let Outcome::Success { latency } = outcome {
            self.cluster.saw(now, latency);
        }
        let ejected = self.cluster.balancer.borrow_mut().ended(self.slot, now, outcome);
        if let Some(ejected) = ejected {
            self.cluster.ejected(&self.worker, now, ejected);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_something_of_the_endpoint_of_its_application_or_of_the_request() {
        let gateway = [502, 503, 504].map(fault);
        assert_eq!(gateway, [Some(Fault::Gateway); 3]);
        assert_eq!([500, 507, 599].map(fault), [Some(Fault::Answer); 3]);
        assert_eq!([200, 404, 429, 499, 501, 505, 600].map(fault), [None; 7]);
    }
}
