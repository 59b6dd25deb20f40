//! Whether the sidecar at the other end of a stream applies what it is sent, for its Workload's status, and how long that takes it.
//! Pure: the caller passes the time.

use super::session::{Nack, Session};
use crate::registry::{SILENT_AFTER, Trouble};
use std::time::Duration;
use tokio::time::Instant;

/// Most resources a refusal is told with.
const NAMES_MAX: usize = 3;

/// One stream's.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The responses that wait for their acknowledgements, and since when: one of a type at most.
    awaited: Vec<(u64, Instant)>,
    told: Option<Trouble>,
}

impl Progress {
    /// Notes what a session has come to, and says of each response that was acknowledged meanwhile how long that took. Returns
    /// what there is to tell, if that has changed: nothing is wrong, or this.
    pub(super) fn note(
        &mut self,
        session: &Session,
        now: Instant,
        acknowledged: impl Fn(Duration),
    ) -> Option<Option<Trouble>> {
        self.awaited.retain(|(nonce, since)| {
            let is_awaited = session.awaited().any(|it| it == *nonce);
            if !is_awaited {
                acknowledged(now - *since);
            }
            is_awaited
        });
        for nonce in session.awaited() {
            if self.awaited.iter().all(|(known, _)| *known != nonce) {
                self.awaited.push((nonce, now));
            }
        }
        let is_silent = self.oldest().is_some_and(|since| now >= since + SILENT_AFTER);
        let refused = session.nacks().next().map(|nack| Trouble::Refused(sentence(nack)));
        let trouble = refused.or(is_silent.then_some(Trouble::Silent));
        if self.told == trouble {
            return None;
        }
        self.told.clone_from(&trouble);
        Some(trouble)
    }

    /// When to note again though nothing has happened.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.oldest().filter(|_| self.told.is_none()).map(|since| since + SILENT_AFTER)
    }

    /// Since when the oldest response waits.
    fn oldest(&self) -> Option<Instant> {
        self.awaited.iter().map(|(_, since)| *since).min()
    }
}

/// Without the revision: a sidecar that refuses one object in each new revision is told of once.
fn sentence(nack: &Nack) -> String {
    let (kind, message) = (nack.kind.as_str(), &nack.message);
    if nack.resources.is_empty() {
        return format!(
            "its sidecar refused an answer of type {kind} and goes on with what it had: {message}"
        );
    }
    let names = nack.resources.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match nack.count.saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("its sidecar refused {kind} {names}{more} and goes on with what it had: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use mesh_protocol::resource::ResourceType;
    use mesh_protocol::wire::discovery::{DeltaDiscoveryRequest, Status};
    use std::cell::RefCell;
    use std::sync::Arc;

    const MOMENT: Duration = Duration::from_millis(1);

    /// A session that has sent an answer, and its nonce.
    fn asked() -> (Session, DeltaDiscoveryRequest) {
        let peer = "spiffe://mesh.internal/ns/shop/sa/front".parse().unwrap();
        let mut session = Session::new(peer, Arc::new(Snapshot::default()));
        session.request(DeltaDiscoveryRequest {
            type_url: ResourceType::Service.type_url().to_owned(),
            resource_names_subscribe: vec!["shop/orders".to_owned()],
            ..Default::default()
        });
        let sent = session.response().unwrap();
        let ack = DeltaDiscoveryRequest {
            type_url: sent.type_url,
            response_nonce: sent.nonce,
            ..Default::default()
        };
        (session, ack)
    }

    fn note(progress: &mut Progress, session: &Session, now: Instant) -> Option<Option<Trouble>> {
        progress.note(session, now, drop)
    }

    #[test]
    fn how_long_each_acknowledgement_took_is_said_once() {
        let (mut session, ack) = asked();
        let (mut progress, start) = (Progress::default(), Instant::now());
        let took = RefCell::new(Vec::new());
        let mut note = |session: &Session, now| progress.note(session, now, |it| took.borrow_mut().push(it));
        note(&session, start);
        let other = DeltaDiscoveryRequest {
            type_url: ResourceType::Endpoint.type_url().to_owned(),
            resource_names_subscribe: vec!["shop/orders/a".to_owned()],
            ..Default::default()
        };
        session.request(other);
        let sent = session.response().unwrap();
        note(&session, start + MOMENT);
        session.request(ack);
        note(&session, start + MOMENT * 3);
        session.request(DeltaDiscoveryRequest {
            type_url: sent.type_url,
            response_nonce: sent.nonce,
            ..Default::default()
        });
        note(&session, start + MOMENT * 7);
        note(&session, start + MOMENT * 9);
        assert_eq!(took.into_inner(), [MOMENT * 3, MOMENT * 6]);
    }

    #[test]
    fn silence_is_told_after_its_time_and_ends_with_the_acknowledgement() {
        let (mut session, ack) = asked();
        let (mut progress, start) = (Progress::default(), Instant::now());
        assert_eq!(note(&mut progress, &session, start), None);
        assert_eq!(progress.late_at(), Some(start + SILENT_AFTER));
        assert_eq!(note(&mut progress, &session, start + SILENT_AFTER - MOMENT), None);
        assert_eq!(note(&mut progress, &session, start + SILENT_AFTER), Some(Some(Trouble::Silent)));
        assert_eq!(progress.late_at(), None, "told once");
        session.request(ack);
        assert_eq!(note(&mut progress, &session, start + SILENT_AFTER * 2), Some(None));
        assert_eq!(note(&mut progress, &session, start + SILENT_AFTER * 3), None);
    }

    #[test]
    fn a_refusal_is_told_at_once_in_the_words_of_the_sidecar() {
        let (mut session, mut ack) = asked();
        let (mut progress, start) = (Progress::default(), Instant::now());
        let message = "no such policy".to_owned();
        ack.error_detail = Some(Status { code: 3, message, details: Vec::new() });
        session.request(ack);
        let told =
            "its sidecar refused an answer of type service and goes on with what it had: no such policy"
                .to_owned();
        assert_eq!(note(&mut progress, &session, start), Some(Some(Trouble::Refused(told))));
        assert_eq!(note(&mut progress, &session, start + MOMENT), None);
        let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let nack = Nack {
            kind: ResourceType::Endpoint,
            resources: names,
            count: 12,
            message: "bad".to_owned(),
            revision: Default::default(),
        };
        assert!(sentence(&nack).starts_with("its sidecar refused endpoint a, b, c and 9 more and goes on"));
    }
}
