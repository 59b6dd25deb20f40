//! What is known becomes a message that fits. Enters: a question, and what the mesh or an upstream server says. Leaves:
//! bytes the asker can take, never more. Pure.
//!
//! The mesh's own answers carry a TTL of five seconds. A virtual address stays the same as long as its service lives, so a
//! longer one would be right too, but the "no" for a service that is about to be created lives as long; and asking again
//! costs a message on loopback, not one on a network.

use super::meaning::{Asked, Part, Place};
use super::names::ServiceFacts;
use super::question::{Payload, Question, Refusal};
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::{DEFAULT_MAX_PAYLOAD_LEN, Edns, Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, HINFO, PTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mesh_names::ServiceName;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Seconds the mesh's own answers hold, the negative ones too.
pub(super) const MESH_TTL: u32 = 5;
/// Seconds other answers of our own hold, which never change.
const CONSTANT_TTL: u32 = 3600;
/// Most bytes we send over UDP, whatever the asker says it takes; what is longer goes by TCP (DNS flag day 2020: no link
/// cuts such a packet in pieces).
pub(super) const PAYLOAD_MAX: u16 = DEFAULT_MAX_PAYLOAD_LEN;

/// How a question came, and so how its answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// One datagram each way.
    Udp,
    /// A stream of messages with their lengths.
    Tcp,
}

/// An answer before it is a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: ResponseCode,
    /// Whether we are the ones to know (AA).
    pub(super) authoritative: bool,
    /// Whether the upstream server has validated it (AD).
    pub(super) authentic: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
}

impl Reply {
    /// An answer without records.
    pub(super) fn bare(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    /// Whether it says something of the name asked for.
    pub(super) fn is_positive(&self) -> bool {
        self.code == ResponseCode::NoError && !self.answers.is_empty()
    }

    fn ours(answers: Vec<Record>) -> Self {
        Self { authoritative: true, answers, ..Self::bare(ResponseCode::NoError) }
    }

    /// What of an existing service was asked for.
    pub(super) fn of_service(query: &Query, asked: &Asked, facts: &ServiceFacts, place: &Place) -> Self {
        let no_data = || Self::negative(ResponseCode::NoError, &asked.zone, place);
        let port = match &asked.part {
            Part::Whole => {
                let addresses = addresses(query.name(), facts);
                let fitting: Vec<_> = addresses
                    .into_iter()
                    .filter(|record| record.record_type() == query.query_type())
                    .collect();
                return if fitting.is_empty() { no_data() } else { Self::ours(fitting) };
            }
            Part::Transport => return no_data(),
            Part::Port(port) => port,
        };
        let is_it = |name: Option<&str>, number: u16| name == Some(port) || number.to_string() == *port;
        let found =
            facts.ports.iter().find(|p| is_it(p.name.as_ref().map(|name| name.as_str()), p.port.number()));
        let Some(found) = found else { return Self::negative(ResponseCode::NXDomain, &asked.zone, place) };
        if query.query_type() != RecordType::SRV {
            return no_data();
        }
        // A full name that is too long for DNS: short names of the service work.
        let Ok(target) = place.full_name(&asked.service) else { return no_data() };
        let additionals = addresses(&target, facts);
        let data = RData::SRV(SRV::new(0, 100, found.port.number(), target));
        Self { additionals, ..Self::ours(vec![Record::from_rdata(query.name().clone(), MESH_TTL, data)]) }
    }

    /// "No such name", or "no data" when the code is NOERROR; how long that holds is said by the zone's SOA record
    /// (RFC 2308 §3).
    pub(super) fn negative(code: ResponseCode, zone: &Name, place: &Place) -> Self {
        let authorities = soa(zone, place).into_iter().collect();
        Self { code, authorities, ..Self::ours(Vec::new()) }
    }

    /// Of the mesh's domain itself.
    pub(super) fn of_apex(query: &Query, place: &Place) -> Self {
        match soa(place.zone(), place) {
            Ok(soa) if query.query_type() == RecordType::SOA => Self::ours(vec![soa]),
            Ok(_) | Err(_) => Self::negative(ResponseCode::NoError, place.zone(), place),
        }
    }

    /// The name of a virtual address.
    pub(super) fn of_owner(query: &Query, owner: &ServiceName, place: &Place) -> Self {
        match place.full_name(owner) {
            Ok(name) if query.query_type() == RecordType::PTR => {
                Self::ours(vec![Record::from_rdata(query.name().clone(), MESH_TTL, RData::PTR(PTR(name)))])
            }
            Ok(_) | Err(_) => Self::negative(ResponseCode::NoError, query.name(), place),
        }
    }

    /// This machine, as every resolver knows it (RFC 6761 §6.3).
    pub(super) fn of_localhost(query: &Query, place: &Place) -> Self {
        let data = if query.query_type() == RecordType::A {
            RData::A(A(Ipv4Addr::LOCALHOST))
        } else if query.query_type() == RecordType::AAAA {
            RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))
        } else {
            return Self::negative(ResponseCode::NoError, query.name(), place);
        };
        Self::ours(vec![Record::from_rdata(query.name().clone(), CONSTANT_TTL, data)])
    }

    /// Why a well-formed question is not looked into.
    pub(super) fn of_refusal(query: &Query, refusal: Refusal) -> Self {
        match refusal {
            Refusal::EdnsVersion => Self::bare(ResponseCode::BADVERS),
            Refusal::Unsupported => Self::bare(ResponseCode::Refused),
            Refusal::Any => {
                let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
                let record = Record::from_rdata(query.name().clone(), CONSTANT_TTL, data);
                Self { answers: vec![record], ..Self::bare(ResponseCode::NoError) }
            }
        }
    }
}

fn addresses(name: &Name, facts: &ServiceFacts) -> Vec<Record> {
    let v4 = facts.v4.map(|address| RData::A(A(address)));
    let v6 = facts.v6.map(|address| RData::AAAA(AAAA(address)));
    v4.into_iter().chain(v6).map(|data| Record::from_rdata(name.clone(), MESH_TTL, data)).collect()
}

fn soa(zone: &Name, place: &Place) -> Result<Record, ProtoError> {
    let person = Name::from_ascii("hostmaster")?.append_domain(place.zone())?;
    let ttl = i32::try_from(MESH_TTL).unwrap_or_default();
    // There is no second server to transfer the zone to: the times of that are as short as all others.
    let data = SOA::new(place.zone().clone(), person, 1, ttl, ttl, ttl, MESH_TTL);
    Ok(Record::from_rdata(zone.clone(), MESH_TTL, RData::SOA(data)))
}

/// The answer to what is no question: its header with a code, and nothing else.
pub(super) fn header_only(header: [u8; 12], code: ResponseCode) -> Vec<u8> {
    let [id_high, id_low, flags, ..] = header;
    // The operation and RD as they came, QR set.
    vec![id_high, id_low, 0x80 | flags & 0x79, 0x80 | code.low(), 0, 0, 0, 0, 0, 0, 0, 0]
}

/// The reply as bytes the asker can take: at most 512 over UDP without EDNS, at most what EDNS says, never more than
/// [`PAYLOAD_MAX`]. What is too long loses its additional records; if that is not enough it is marked truncated and keeps
/// the answers that fit, for askers that know no TCP (musl before 1.2.4).
pub(super) fn encode(question: &Question, reply: Reply, transport: Transport) -> Option<Vec<u8>> {
    let room = match transport {
        Transport::Udp => usize::from(question.edns.unwrap_or(Payload::PLAIN).min(Payload(PAYLOAD_MAX)).0),
        Transport::Tcp => usize::from(u16::MAX),
    };
    let mut message = message(question, reply);
    loop {
        // Encoding alone truncates what is longer than any message can be.
        let bytes = message.to_vec().ok()?;
        let is_whole = message.metadata.truncation || bytes.get(2).is_some_and(|flags| flags & 2 == 0);
        if bytes.len() <= room && is_whole {
            return Some(bytes);
        }
        if !message.additionals.is_empty() {
            message.additionals.clear();
            continue;
        }
        message.metadata.truncation = true;
        if !message.authorities.is_empty() {
            message.authorities.clear();
            continue;
        }
        let answers = message.answers.len();
        // Each round keeps fewer; without answers anything fits.
        let fitting = answers.saturating_mul(room).checked_div(bytes.len())?;
        message.answers.truncate(fitting.min(answers.checked_sub(1)?));
    }
}

fn message(question: &Question, reply: Reply) -> Message {
    let mut message = Message::response(question.id, OpCode::Query);
    let bits = &mut message.metadata;
    bits.authoritative = reply.authoritative;
    bits.recursion_desired = question.wishes.recursion;
    bits.recursion_available = true;
    bits.authentic_data = reply.authentic && (question.wishes.authentic || question.wishes.dnssec);
    bits.checking_disabled = question.wishes.unchecked;
    // The upper bits of a code travel in the OPT record.
    bits.response_code = match question.edns {
        None if reply.code.high() > 0 => ResponseCode::ServFail,
        Some(_) | None => reply.code,
    };
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD_MAX).set_dnssec_ok(question.wishes.dnssec);
        message.set_edns(edns);
    }
    message.answers = reply.answers;
    // In the asker's spelling: some compare more than they must, and equal spelling compresses.
    for record in message.answers.iter_mut().filter(|record| record.name == *question.query.name()) {
        record.name = question.query.name().clone();
    }
    message.authorities = reply.authorities;
    message.additionals = reply.additionals;
    message.add_query(question.query.clone());
    message
}

#[cfg(test)]
mod tests;
