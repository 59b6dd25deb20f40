//! The door for the fuzz target of DNS: bytes from a program on this machine, or from a server, which may be anything.

use super::Place;
use super::meaning::Meaning;
use super::question::{Payload, Reading, read};
use super::reply::{PAYLOAD_MAX, Reply, Transport, encode, header_only};
use hickory_resolver::proto::op::{Message, ResponseCode};
use mesh_names::MeshDomain;

/// A question is read, understood and answered within what its asker takes; as a server's answer it is read, too, and
/// passed on within the same bounds.
pub fn dns_message(bytes: &[u8]) {
    let Ok(namespace) = "shop".parse() else { return };
    let Ok(place) = Place::new(namespace, MeshDomain::default()) else { return };
    let (question, reply) = match read(bytes) {
        Reading::Ignored => return,
        Reading::Malformed(header, code) => {
            assert_eq!(header_only(header, code).len(), header.len(), "no larger than what was asked");
            return;
        }
        Reading::Refused(question, refusal) => {
            let reply = Reply::of_refusal(&question.query, refusal);
            (question, reply)
        }
        Reading::Question(question) => {
            let reply = match place.meaning(question.query.name()) {
                Meaning::Apex => Reply::of_apex(&question.query, &place),
                Meaning::Localhost => Reply::of_localhost(&question.query, &place),
                Meaning::Surely(asked) | Meaning::Perhaps(asked) => {
                    Reply::negative(ResponseCode::NXDomain, &asked.zone, &place)
                }
                Meaning::Between | Meaning::Nothing | Meaning::Address(_) | Meaning::Foreign => {
                    // As if a server had said all that stands in the message.
                    let said = Message::from_vec(bytes).map(|message| (message.answers, message.additionals));
                    let (answers, additionals) = said.unwrap_or_default();
                    Reply { answers, additionals, ..Reply::bare(ResponseCode::NoError) }
                }
            };
            (question, reply)
        }
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some(answer) = encode(&question, reply.clone(), transport) else { continue };
        let most = match transport {
            Transport::Udp => usize::from(question.edns.unwrap_or(Payload::PLAIN).0.min(PAYLOAD_MAX)),
            Transport::Tcp => usize::from(u16::MAX),
        };
        assert!(answer.len() <= most, "{} bytes where {most} are taken", answer.len());
        assert_eq!(answer.get(..2), bytes.get(..2), "an answer to this question");
        assert!(matches!(read(&answer), Reading::Ignored), "an answer is never answered");
        assert!(Message::from_vec(&answer).is_ok(), "what is said can be read");
    }
}
