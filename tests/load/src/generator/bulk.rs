//! TCP bulk: one connection sends a known pattern to `origin tcp --sink`, which checks it and answers with one line.

use super::http1::cause;
use super::pattern;
use super::record::{Answered, Failure};
use super::run::{Shared, connect};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const CHUNK_BYTES: u64 = 64 * 1024;
const VERDICT_LIMIT_BYTES: u64 = 1024;

/// Sends all bytes and records one request.
pub(super) async fn transfer(shared: &Shared) -> Option<TcpStream> {
    let due = Instant::now();
    let bytes = shared.plan.options.bytes;
    let outcome = async {
        let failure = |error: io::Error| Failure::new(cause(&error), error);
        let mut stream = connect(&shared.plan).await?;
        let mut sent = 0;
        while sent < bytes {
            let chunk = pattern::chunk(sent, usize::try_from(CHUNK_BYTES.min(bytes - sent)).unwrap_or(0));
            stream.write_all(chunk).await.map_err(failure)?;
            sent += chunk.len() as u64;
        }
        stream.shutdown().await.map_err(failure)?;
        let mut verdict = String::new();
        (&mut stream).take(VERDICT_LIMIT_BYTES).read_to_string(&mut verdict).await.map_err(failure)?;
        match verdict.trim_end() == format!("received {bytes} right") {
            true => Ok(stream),
            false => Err(Failure::new("body", format!("the sink answered `{}`", verdict.trim_end()))),
        }
    };
    match outcome.await {
        Ok(stream) => {
            shared.recorder.ok(due, &Answered { bytes, ..Answered::default() });
            Some(stream)
        }
        Err(failure) => {
            shared.recorder.failed(due, &failure);
            None
        }
    }
}
