//! One question put to the upstream servers. Enters: what is asked, and whom. Leaves: the first usable answer, or what
//! went wrong. The messages are carried as they are, with every type of record; only OPT, which is between two
//! neighbours (RFC 6891 §6.2.6), is our own. Never here: what is kept, or who waits for it.
//!
//! ```text
//! first server ──answer──────────────────────────> done
//!   └─ failed, or silent for a second: the next one is asked besides
//! each: UDP, again after half a second, at most three times ──truncated, or does not parse──> TCP
//! ```
//!
//! Every datagram leaves with a random number and from a socket of its own with a random port (RFC 5452 §9), and what comes
//! back must match number, server, port and question; `hickory-net` does that over UDP. Over TCP the question is checked
//! here.

use super::cache::Key;
use super::reply::{PAYLOAD_MAX, Reply};
use crate::dial::{Dial, Marked};
use crate::telemetry::{DnsFailure, DnsMetrics};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::net::NetError;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender};
use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Edns, Message, Query, ResponseCode,
};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// From a question's first packet to the end of all tries. Resolvers ask again after five seconds: they are to hear of the
/// failure before, and to hear it once.
pub(super) const DEADLINE: Duration = Duration::from_millis(4500);
/// From asking one server to asking the next one besides: a server that looks a name up for the first time may take that
/// long.
const PATIENCE: Duration = Duration::from_secs(1);
/// From a datagram to the same one again, in milliseconds.
const REPEAT_MS: u64 = 500;
/// Datagrams sent to one server for one question.
const DATAGRAMS_MAX: u8 = 3;

/// What came of a question.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A server has answered, the name exists or does not.
    Answered {
        reply: Reply,
        /// The length of the answer on the wire.
        bytes: usize,
        server: SocketAddr,
    },
    /// None has; what the asker is to be told.
    Failed(Reply),
}

/// What a server said.
struct Heard {
    message: Message,
    bytes: usize,
}

/// Asks `servers` until one answers or the deadline passes.
pub(super) async fn ask(
    key: &Key,
    servers: Vec<SocketAddr>,
    by: Instant,
    dial: Dial,
    metrics: &DnsMetrics,
) -> Outcome {
    if servers.is_empty() {
        metrics.failed(DnsFailure::Unreachable);
    }
    let mut waiting = servers.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed = Reply::bare(ResponseCode::ServFail);
    loop {
        match waiting.next() {
            Some(server) => running.push(async move { (server, ask_one(key, server, dial).await) }),
            None if running.is_empty() => return Outcome::Failed(failed),
            None => {}
        }
        tokio::select! {
            Some((server, heard)) = running.next() => match heard {
                Ok(Heard { message, bytes }) => {
                    let code = message.metadata.response_code;
                    let reply = reply(message);
                    if matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
                        return Outcome::Answered { reply, bytes, server };
                    }
                    metrics.failed(DnsFailure::Code);
                    tracing::debug!(%server, %code, name = %key.name, "a DNS server gives no answer");
                    failed = Reply { answers: Vec::new(), ..reply };
                }
                Err(error) => {
                    metrics.failed(failure(&error));
                    tracing::debug!(%server, %error, name = %key.name, "a DNS server gives no answer");
                }
            },
            () = tokio::time::sleep(PATIENCE), if waiting.len() > 0 => {}
            () = tokio::time::sleep_until(by) => {
                metrics.failed(DnsFailure::Timeout);
                return Outcome::Failed(failed);
            }
        }
    }
}

async fn ask_one(key: &Key, server: SocketAddr, dial: Dial) -> Result<Heard, NetError> {
    let heard = ask_with(key, server, dial, request(key, Extension::Present)).await?;
    let code = heard.message.metadata.response_code;
    // A server from before EDNS (RFC 6891 §6.2.2).
    if matches!(code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS) {
        return ask_with(key, server, dial, request(key, Extension::Absent)).await;
    }
    Ok(heard)
}

async fn ask_with(key: &Key, server: SocketAddr, dial: Dial, request: DnsRequest) -> Result<Heard, NetError> {
    match over_udp(server, dial, request.clone()).await {
        Ok(response) if response.metadata.truncation => over_tcp(key, server, dial, request).await,
        Ok(response) => Ok(heard(response)),
        // Cut on its way, or longer than it may be: a stream has no such limit.
        Err(NetError::Proto(_)) => over_tcp(key, server, dial, request).await,
        Err(error) => Err(error),
    }
}

async fn over_udp(server: SocketAddr, dial: Dial, request: DnsRequest) -> Result<DnsResponse, NetError> {
    let mut client = UdpClientStream::builder(server, Marked::new(dial))
        .with_timeout(Some(DEADLINE))
        .with_max_retries(DATAGRAMS_MAX)
        .with_retry_interval_floor(REPEAT_MS)
        .build();
    client.send_message(request).next().await.unwrap_or(Err(NetError::Timeout))
}

async fn over_tcp(key: &Key, server: SocketAddr, dial: Dial, request: DnsRequest) -> Result<Heard, NetError> {
    // Owns the task that drives the connection, and ends it when dropped.
    let provider = Marked::new(dial);
    let client = TcpClientStream::exchange(server, None, DEADLINE, None, provider.clone()).await?;
    let response = client.send(request).next().await.unwrap_or(Err(NetError::Timeout))?;
    drop(provider);
    if response.queries.as_slice() != [Query::query(key.name.clone(), key.kind)] {
        return Err(NetError::Message("the answer is to another question"));
    }
    Ok(heard(response))
}

fn heard(response: DnsResponse) -> Heard {
    let (message, buffer) = response.into_parts();
    Heard { message, bytes: buffer.len() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    Present,
    Absent,
}

fn request(key: &Key, extension: Extension) -> DnsRequest {
    let mut message = Message::query();
    message.metadata.recursion_desired = key.wishes.recursion;
    message.metadata.authentic_data = key.wishes.authentic;
    message.metadata.checking_disabled = key.wishes.unchecked;
    message.add_query(Query::query(key.name.clone(), key.kind));
    if extension == Extension::Present {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD_MAX).set_dnssec_ok(key.wishes.dnssec);
        message.set_edns(edns);
    }
    DnsRequest::new(message, DnsRequestOptions::default())
}

/// What a server said, as we hand it on: not ours to vouch for.
fn reply(message: Message) -> Reply {
    Reply {
        code: message.metadata.response_code,
        authoritative: false,
        authentic: message.metadata.authentic_data,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
    }
}

fn failure(error: &NetError) -> DnsFailure {
    if matches!(error, NetError::Timeout) {
        DnsFailure::Timeout
    } else if matches!(error, NetError::Proto(_) | NetError::Message(_)) {
        DnsFailure::Malformed
    } else {
        DnsFailure::Unreachable
    }
}
