//! The steps of one question, in order. Enters: a message. Leaves: the message that answers it, or nothing for what may
//! not be answered. What each step decides is decided by the pure rooms beside.

use super::forward::Forwarder;
use super::meaning::{Asked, Meaning, Place};
use super::names::{Answer, MeshNames};
use super::question::{self, Question, Reading};
use super::reply::{Reply, Transport, encode, header_only};
use crate::deadline::DISCOVERY;
use crate::telemetry::{DnsKind, DnsMetrics};
use hickory_resolver::proto::op::ResponseCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// From asking the mesh for a name that may be foreign to forwarding it besides. A control plane on the same network
/// answers sooner, so that names of the mesh do not leave it; one that hangs costs a foreign name no more than this.
const HEAD_START: Duration = Duration::from_millis(100);

/// Answers questions.
#[derive(Debug)]
pub(super) struct Responder<N> {
    pub(super) names: N,
    pub(super) place: Place,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) metrics: DnsMetrics,
}

impl<N: MeshNames> Responder<N> {
    /// The answer to a message, if it may have one.
    pub(super) async fn answer(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let came = Instant::now();
        let (question, kind, reply) = match question::read(bytes) {
            Reading::Ignored => return None,
            Reading::Malformed(header, code) => {
                self.metrics.answered(DnsKind::Refused, word(code), came.elapsed());
                return Some(header_only(header, code));
            }
            Reading::Refused(question, refusal) => {
                let reply = Reply::of_refusal(&question.query, refusal);
                (question, DnsKind::Refused, reply)
            }
            Reading::Question(question) => {
                let (kind, reply) = self.reply(&question).await;
                (question, kind, reply)
            }
        };
        self.metrics.answered(kind, word(reply.code), came.elapsed());
        encode(&question, reply, transport)
    }

    /// The answer when too many questions are being answered already.
    pub(super) fn overloaded(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let code = ResponseCode::ServFail;
        self.metrics.answered(DnsKind::Refused, word(code), Duration::ZERO);
        match question::read(bytes) {
            Reading::Ignored => None,
            Reading::Malformed(header, _) => Some(header_only(header, code)),
            Reading::Refused(question, _) | Reading::Question(question) => {
                encode(&question, Reply::bare(code), transport)
            }
        }
    }

    async fn reply(&self, question: &Question) -> (DnsKind, Reply) {
        let (query, place) = (&question.query, &self.place);
        let no = |code| (DnsKind::Mesh, Reply::negative(code, place.zone(), place));
        match place.meaning(query.name()) {
            Meaning::Apex => (DnsKind::Mesh, Reply::of_apex(query, place)),
            Meaning::Between => no(ResponseCode::NoError),
            Meaning::Nothing => no(ResponseCode::NXDomain),
            Meaning::Localhost => (DnsKind::Mesh, Reply::of_localhost(query, place)),
            Meaning::Surely(asked) => {
                let answer = timeout(DISCOVERY, self.names.look_up(&asked.service)).await;
                match answer.unwrap_or(Answer::Unknown) {
                    Answer::Service(facts) => {
                        (DnsKind::Mesh, Reply::of_service(query, &asked, &facts, place))
                    }
                    Answer::NoSuchService => no(ResponseCode::NXDomain),
                    // Not a "no", which resolvers would remember.
                    Answer::Unknown => (DnsKind::Mesh, Reply::bare(ResponseCode::ServFail)),
                }
            }
            Meaning::Perhaps(asked) => self.perhaps(question, &asked).await,
            Meaning::Address(address) => match timeout(DISCOVERY, self.names.owner(address)).await {
                Ok(Some(owner)) => (DnsKind::Mesh, Reply::of_owner(query, &owner, place)),
                Ok(None) | Err(_) => self.forward(question).await,
            },
            Meaning::Foreign => self.forward(question).await,
        }
    }

    async fn forward(&self, question: &Question) -> (DnsKind, Reply) {
        (DnsKind::Forwarded, self.forwarder.forward(question).await)
    }

    /// A name that is the mesh's if the mesh has it. The mesh goes first; when it does not say in time, whoever first has
    /// something for the name wins.
    async fn perhaps(&self, question: &Question, asked: &Asked) -> (DnsKind, Reply) {
        let ours = async {
            match timeout(DISCOVERY, self.names.look_up(&asked.service)).await {
                Ok(Answer::Service(facts)) => {
                    let reply = Reply::of_service(&question.query, asked, &facts, &self.place);
                    Some((DnsKind::Mesh, reply))
                }
                Ok(Answer::NoSuchService | Answer::Unknown) | Err(_) => None,
            }
        };
        tokio::pin!(ours);
        match timeout(HEAD_START, &mut ours).await {
            Ok(Some(reply)) => return reply,
            Ok(None) => return self.forward(question).await,
            Err(_) => {}
        }
        let theirs = self.forward(question);
        tokio::pin!(theirs);
        tokio::select! {
            reply = &mut ours => match reply {
                Some(reply) => reply,
                None => theirs.await,
            },
            reply = &mut theirs => if reply.1.is_positive() {
                reply
            } else {
                ours.await.unwrap_or(reply)
            },
        }
    }
}

/// A code's name in the registry of DNS parameters.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "another crate's enum: the rare ones share a label, so that servers cannot make any number of them"
)]
fn word(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::BADVERS => "BADVERS",
        _ => "other",
    }
}
