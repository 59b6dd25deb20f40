//! What a failed request says: whether it may have been processed, and whose failure it was.

use crate::connect::Place;
use crate::http::body::UpBody;
use crate::http::replay::DownstreamBroke;
use crate::refusal::{Again, Reason, Refusal};
use crate::telemetry::Direction;
use http::Request;
use mesh_http1::{Failure, SendError};
use mesh_http2::Error as Http2;
use mesh_mtls::HandshakeFailure;
use std::error::Error;
use std::io;

/// A request that got no response.
#[derive(Debug)]
pub(crate) struct SendFailure {
    pub(crate) refusal: Refusal,
    /// May it be sent again.
    pub(crate) again: Again,
    /// The request itself, if none of it was sent.
    pub(crate) unsent: Option<Request<UpBody>>,
}

impl SendFailure {
    /// A failure before anything was sent.
    pub(crate) fn before(refusal: Refusal) -> Self {
        let again = refusal.reason.row().again;
        Self { refusal, again, unsent: None }
    }

    /// Reads what an HTTP/1.1 connection reports.
    pub(super) fn of_http1(failure: Failure<UpBody>, direction: Direction) -> Box<Self> {
        let Failure { error, unsent } = failure;
        let verdict = match &error {
            SendError::Unsent(_) => (Reason::UpstreamClosed, Again::Unprocessed),
            SendError::Answer(_) => (Reason::UpstreamProtocol, Again::Never),
            SendError::Closed | SendError::Io(_) | SendError::Body(_) => judge(&error),
        };
        Self::from_verdict(verdict, error, direction, unsent)
    }

    /// Reads what our HTTP/2 reports.
    pub(super) fn of_http2(error: Http2, place: &Place) -> Box<Self> {
        Self::from_verdict(judge(&error), error, place.direction, None)
    }

    /// The request's body broke while it was sent: nothing the other side could help.
    pub(super) fn of_body(reason: Reason) -> Box<Self> {
        Box::new(Self { refusal: Refusal::new(reason), again: Again::Never, unsent: None })
    }

    fn from_verdict(
        (reason, again): (Reason, Again),
        error: impl Error + Send + Sync + 'static,
        direction: Direction,
        unsent: Option<Request<UpBody>>,
    ) -> Box<Self> {
        let reason = match (direction, reason) {
            (Direction::Inbound, Reason::UpstreamClosed | Reason::UpstreamReset) => Reason::AppClosed,
            (_, reason) => reason,
        };
        Box::new(Self { refusal: Refusal::new(reason).caused_by(error), again, unsent })
    }
}

fn judge(error: &(dyn Error + 'static)) -> (Reason, Again) {
    if let Some(reason) = DownstreamBroke::is_cause_of(error) {
        return (reason, Again::Never);
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<Http2>() {
            match error {
                Http2::NotOpened => return (Reason::UpstreamClosed, Again::Unprocessed),
                Http2::Reset(_)
                | Http2::GoAway(_)
                | Http2::Cancelled(_)
                | Http2::Stream(_)
                | Http2::Connection(_) => {
                    // RFC 9113 §8.7 says what was not processed.
                    let unprocessed = error.is_unprocessed();
                    let again = if unprocessed { Again::Unprocessed } else { Again::MaybeProcessed };
                    return (Reason::UpstreamReset, again);
                }
                // Whoever is asked, it can't be said in HTTP/2.
                Http2::Unsendable(_) => return (Reason::BadRequest, Again::Never),
                Http2::Io(_) | Http2::Closed => {}
            }
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if HandshakeFailure::of_stream_error(error).is_some() {
                // The other side judged our certificate after our first bytes were under way: it processed nothing.
                return (Reason::HandshakeFailed, Again::Unprocessed);
            }
            if error.kind() == io::ErrorKind::ConnectionReset {
                return (Reason::UpstreamReset, Again::MaybeProcessed);
            }
        }
        cause = error.source();
    }
    (Reason::UpstreamClosed, Again::MaybeProcessed)
}
