//! Bytes become a question, or are refused. Enters: one message from a program on this machine, which may be anything.
//! Leaves: a [`Question`] of exactly one name, type and class IN; or the answer that refuses it; or nothing at all. Pure.
//!
//! | what comes | answer | source |
//! | --- | --- | --- |
//! | less than a header; a response | none | RFC 1035 §7.3: answering a response makes loops |
//! | an operation other than QUERY | NOTIMP | RFC 1035 §4.1.1 |
//! | no question or several | FORMERR | RFC 9619 §4 |
//! | records where a question has none; bytes that do not parse; two OPT records | FORMERR | RFC 6891 §6.1.1 |
//! | EDNS of a version we do not know | BADVERS | RFC 6891 §6.1.3 |
//! | a class other than IN; a zone transfer | REFUSED | |
//! | ANY | one small HINFO record | RFC 8482 §4.2 |

use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, RecordType};

/// The smallest message (RFC 1035 §4.1.1).
const HEADER_BYTES: usize = 12;
/// The smallest record: a root name, type, class, TTL, length. A header that counts more records than the message has
/// room for is refused before anything is allocated for them.
const RECORD_BYTES: usize = 11;
/// What every asker can take over UDP (RFC 1035 §4.2.1).
const PLAIN_PAYLOAD: u16 = 512;

/// What came.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    /// A question to be answered.
    Question(Question),
    /// A question that is refused for what it asks.
    Refused(Question, Refusal),
    /// Not a question: answered with a bare header.
    Malformed([u8; HEADER_BYTES], ResponseCode),
    /// Nothing that may be answered.
    Ignored,
}

/// Why a well-formed question is not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// EDNS of another version.
    EdnsVersion,
    /// Another class, or a zone transfer.
    Unsupported,
    /// Everything about a name at once.
    Any,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The asker's number for it.
    pub(super) id: u16,
    /// Name (in the asker's spelling), type, class.
    pub(super) query: Query,
    /// What the asker wants beyond the name.
    pub(super) wishes: Wishes,
    /// Whether the asker speaks EDNS, and what it can take over UDP.
    pub(super) edns: Option<Payload>,
}

/// The bits of a question that change its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wishes {
    /// RD: to be resolved completely.
    pub(super) recursion: bool,
    /// AD: to be told whether the answer was validated (RFC 6840 §5.7).
    pub(super) authentic: bool,
    /// CD: not to be validated upstream.
    pub(super) unchecked: bool,
    /// DO: with signatures (RFC 3225).
    pub(super) dnssec: bool,
}

/// Bytes of the largest UDP message an asker can take; at least 512.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Payload(pub(super) u16);

impl Payload {
    /// What an asker without EDNS can take.
    pub(super) const PLAIN: Self = Self(PLAIN_PAYLOAD);
}

/// Reads one message.
pub(super) fn read(bytes: &[u8]) -> Reading {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Reading::Ignored };
    let [id_high, id_low, flags, _, questions @ ..] = header;
    if flags & 0x80 != 0 {
        return Reading::Ignored;
    }
    let malformed = |code| Reading::Malformed(*header, code);
    if flags & 0x78 != 0 {
        return malformed(ResponseCode::NotImp);
    }
    let [q0, q1, a0, a1, n0, n1, x0, x1] = questions;
    let count = |high: &u8, low: &u8| u16::from_be_bytes([*high, *low]);
    let extra = usize::from(count(x0, x1)).saturating_mul(RECORD_BYTES);
    if count(q0, q1) != 1 || count(a0, a1) != 0 || count(n0, n1) != 0 || extra > bytes.len() {
        return malformed(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(bytes) else { return malformed(ResponseCode::FormErr) };
    let Some(query) = message.queries.pop() else { return malformed(ResponseCode::FormErr) };
    let edns = message.edns.as_ref();
    let question = Question {
        id: count(id_high, id_low),
        wishes: Wishes {
            recursion: message.metadata.recursion_desired,
            authentic: message.metadata.authentic_data,
            unchecked: message.metadata.checking_disabled,
            dnssec: edns.is_some_and(|edns| edns.flags().dnssec_ok),
        },
        edns: edns.map(|edns| Payload(edns.max_payload().max(PLAIN_PAYLOAD))),
        query,
    };
    let kind = question.query.query_type();
    if edns.is_some_and(|edns| edns.version() != 0) {
        return Reading::Refused(question, Refusal::EdnsVersion);
    }
    if question.query.query_class() != DNSClass::IN || is_transfer(kind) {
        return Reading::Refused(question, Refusal::Unsupported);
    }
    if kind == RecordType::ANY {
        return Reading::Refused(question, Refusal::Any);
    }
    Reading::Question(question)
}

/// A whole zone, or what stands for no record at all.
fn is_transfer(kind: RecordType) -> bool {
    let meta = [RecordType::AXFR, RecordType::IXFR, RecordType::OPT, RecordType::TSIG, RecordType::ZERO];
    // MAILB and MAILA, obsolete since RFC 1035.
    meta.contains(&kind) || matches!(u16::from(kind), 253 | 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `www.example.com. IN A`, recursion desired.
    fn question() -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"\x03wWw\x07example\x03com\x00\x00\x01\x00\x01");
        bytes
    }

    fn with_opt(version: u8, payload: u16, flags: u8) -> Vec<u8> {
        let mut bytes = question();
        bytes[11] += 1;
        let [high, low] = payload.to_be_bytes();
        bytes.extend([0, 0, 41, high, low, 0, version, flags, 0, 0, 0]);
        bytes
    }

    fn says(bytes: &[u8]) -> String {
        match read(bytes) {
            Reading::Question(question) => format!("type {}", u16::from(question.query.query_type())),
            Reading::Refused(_, refusal) => format!("{refusal:?}"),
            Reading::Malformed(_, code) => format!("{code:?}"),
            Reading::Ignored => "ignored".into(),
        }
    }

    fn changed(at: usize, to: u8) -> Vec<u8> {
        let mut bytes = question();
        bytes[at] = to;
        bytes
    }

    #[test]
    fn a_plain_question_keeps_its_spelling_and_its_bits() {
        let Reading::Question(question) = read(&question()) else { panic!("not read") };
        assert_eq!((question.id, question.edns), (0x1234, None));
        assert_eq!(question.query.name().to_string(), "wWw.example.com.");
        let wishes = question.wishes;
        assert!(wishes.recursion && !wishes.authentic && !wishes.unchecked && !wishes.dnssec);
    }

    #[test]
    fn edns_says_how_much_the_asker_takes() {
        for (payload, means) in [(4096, 4096), (512, 512), (0, 512)] {
            let Reading::Question(question) = read(&with_opt(0, payload, 0x80)) else { panic!("not read") };
            assert_eq!((question.edns, question.wishes.dnssec), (Some(Payload(means)), true));
        }
    }

    #[test]
    fn what_is_no_question_is_refused_or_ignored() {
        let second_opt = [with_opt(0, 512, 0), vec![0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 0]].concat();
        let mut two_opts = second_opt.clone();
        two_opts[11] = 2;
        let length = question().len();
        for (what, bytes, expected) in [
            ("nothing", vec![], "ignored"),
            ("less than a header", question()[..11].to_vec(), "ignored"),
            ("a response", changed(2, 0x81), "ignored"),
            ("a status request", changed(2, 0x10), "NotImp"),
            ("an update", changed(2, 0x28), "NotImp"),
            ("no question", changed(5, 0), "FormErr"),
            ("two questions", changed(5, 2), "FormErr"),
            ("65535 questions", [changed(4, 255), vec![]].concat(), "FormErr"),
            ("an answer", changed(7, 1), "FormErr"),
            ("an authority", changed(9, 1), "FormErr"),
            ("more records than bytes", changed(10, 255), "FormErr"),
            ("a record that is not there", changed(11, 1), "FormErr"),
            ("a header alone", question()[..12].to_vec(), "FormErr"),
            ("a name cut short", question()[..20].to_vec(), "FormErr"),
            (
                "a name that points at itself",
                [&question()[..12], &[0xc0, 12, 0, 1, 0, 1]].concat(),
                "FormErr",
            ),
            ("two OPT records", two_opts, "FormErr"),
            ("EDNS 1", with_opt(1, 1232, 0), "EdnsVersion"),
            ("class CHAOS", changed(length - 1, 3), "Unsupported"),
            ("class ANY", changed(length - 1, 255), "Unsupported"),
            ("a zone transfer", changed(length - 3, 252), "Unsupported"),
            ("an incremental one", changed(length - 3, 251), "Unsupported"),
            ("mail agents", changed(length - 3, 254), "Unsupported"),
            ("type 0", changed(length - 3, 0), "Unsupported"),
            ("ANY", changed(length - 3, 255), "Any"),
            ("a type nobody knows", changed(length - 3, 200), "type 200"),
        ] {
            assert_eq!(says(&bytes), expected, "{what}");
        }
    }
}
