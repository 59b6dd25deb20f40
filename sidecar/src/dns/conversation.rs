//! One TCP connection: questions and answers, each with its length in front (RFC 1035 §4.2.2). Several may be on their way
//! at once, and are answered in the order in which they are ready (RFC 7766 §6.2.1.1, §7). Ends when the asker is done or
//! has done nothing for too long: seconds usually, a moment once the server stops.

use super::names::MeshNames;
use super::reply::Transport;
use super::respond::Responder;
use super::serve::QUESTION_BYTES;
use crate::telemetry::{DnsBound, DnsMetrics};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Questions of one connection being answered at once; further ones are not read until one is done.
pub(super) const PIPELINE_MAX: usize = 16;
/// From the last whole question or answer to the end of the connection (RFC 7766 §6.2.3: "in the order of a few seconds").
/// Bytes that are no whole question don't count: sending slowly does not keep a place.
const IDLE: Duration = Duration::from_secs(10);
/// The same once the server stops: what was asked before has come by then, and who wants to ask more connects to whoever
/// serves now.
const LAST_QUESTION: Duration = Duration::from_millis(250);
/// From an answer's first byte to its last: one whose asker does not read is of no use.
const WRITE: Duration = Duration::from_secs(10);

/// What the bytes received so far begin with.
enum Frame {
    Whole(Bytes),
    Partial,
    TooLong,
}

/// Serves one connection to its end.
pub(super) async fn converse<N: MeshNames>(
    stream: TcpStream,
    responder: &Responder<N>,
    questions: &Semaphore,
    metrics: &DnsMetrics,
    stop: &CancellationToken,
) {
    let (mut read, mut write) = stream.into_split();
    let mut received = BytesMut::new();
    let mut answering = FuturesUnordered::new();
    let mut is_open = true;
    let mut idle = IDLE;
    let mut idle_at = Instant::now() + IDLE;
    while is_open || !answering.is_empty() {
        if answering.len() < PIPELINE_MAX {
            match frame(&mut received) {
                Frame::Whole(bytes) => {
                    idle_at = Instant::now() + idle;
                    answering.push(answer(bytes, responder, questions, metrics));
                    continue;
                }
                Frame::Partial => {}
                Frame::TooLong => return,
            }
        }
        tokio::select! {
            got = read.read_buf(&mut received), if is_open && answering.len() < PIPELINE_MAX => match got {
                // Half closed: what was asked is still answered.
                Ok(0) => is_open = false,
                Ok(_) => {}
                Err(_) => return,
            },
            Some(answer) = answering.next(), if !answering.is_empty() => {
                // What may not be answered over UDP is nothing to wait for here.
                let Some(bytes) = answer else { return };
                match tokio::time::timeout(WRITE, write.write_all(&bytes)).await {
                    Ok(Ok(())) => idle_at = Instant::now() + idle,
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            () = tokio::time::sleep_until(idle_at), if answering.is_empty() => return,
            () = stop.cancelled(), if idle == IDLE => {
                idle = LAST_QUESTION;
                idle_at = idle_at.min(Instant::now() + idle);
            }
        }
    }
}

/// The answer with its length in front.
async fn answer<N: MeshNames>(
    bytes: Bytes,
    responder: &Responder<N>,
    questions: &Semaphore,
    metrics: &DnsMetrics,
) -> Option<Vec<u8>> {
    let answer = match questions.try_acquire() {
        Ok(_place) => responder.answer(&bytes, Transport::Tcp).await?,
        Err(_) => {
            metrics.limited(DnsBound::Questions);
            responder.overloaded(&bytes, Transport::Tcp)?
        }
    };
    let length = u16::try_from(answer.len()).ok()?;
    Some([&length.to_be_bytes(), answer.as_slice()].concat())
}

/// Takes the first question off the bytes received so far.
fn frame(received: &mut BytesMut) -> Frame {
    let Some(length) = received.first_chunk::<2>() else { return Frame::Partial };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > QUESTION_BYTES {
        return Frame::TooLong;
    }
    if received.len() < 2 + length {
        return Frame::Partial;
    }
    received.advance(2);
    Frame::Whole(received.split_to(length).freeze())
}
