//! TCP echo: a numbered line of fixed length is sent, and the same bytes are expected back.

use super::http1::cause;
use super::record::{Answered, Failure};
use super::run::{Shared, connect};
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest greeting line.
const GREETING_LIMIT_BYTES: usize = 64 * 1024;
/// Hexadecimal digits of the number that makes each payload different from the one before.
const NUMBER_BYTES: usize = 12;

/// One connection's slot.
pub(super) async fn slot(shared: Rc<Shared>) -> Option<TcpStream> {
    if shared.plan.options.greeting_only {
        greetings(&shared).await;
        return None;
    }
    let length = shared.plan.options.payload_bytes as usize;
    let mut payload = vec![b'.'; length];
    if let Some(last) = payload.last_mut() {
        *last = b'\n';
    }
    let mut received = vec![0; length];
    let mut number: u64 = 0;
    let mut open: Option<TcpStream> = None;
    while let Some(due) = shared.arrivals.next().await {
        number += 1;
        let digits = format!("{number:0NUMBER_BYTES$x}");
        if let Some(place) = payload.get_mut(..NUMBER_BYTES) {
            place.copy_from_slice(digits.as_bytes());
        }
        let exchanging = exchange(&shared, &mut open, &payload, &mut received);
        let outcome = match tokio::time::timeout(shared.plan.timeout, exchanging).await {
            Ok(Ok(())) if received == payload => Ok(()),
            Ok(Ok(())) => Err(Failure::new("body", super::expect::quote(&received))),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new("timeout", "no whole answer in time")),
        };
        match outcome {
            Ok(()) => shared.recorder.ok(due, &Answered { bytes: length as u64, ..Answered::default() }),
            Err(failure) => {
                open = None;
                shared.recorder.failed(due, &failure);
            }
        }
    }
    open
}

/// Connections of which each is read until the server's first line has come, one after the other.
async fn greetings(shared: &Shared) {
    while let Some(due) = shared.arrivals.next().await {
        let greeted = async {
            let mut stream = connect(&shared.plan).await?;
            read_greeting(&mut stream).await.map_err(|error| Failure::new(cause(&error), error))
        };
        match tokio::time::timeout(shared.plan.timeout, greeted).await {
            Ok(Ok(())) => shared.recorder.ok(due, &Answered::default()),
            Ok(Err(failure)) => shared.recorder.failed(due, &failure),
            Err(_) => shared.recorder.failed(due, &Failure::new("timeout", "no greeting in time")),
        }
    }
}

async fn exchange(
    shared: &Shared,
    open: &mut Option<TcpStream>,
    payload: &[u8],
    received: &mut [u8],
) -> Result<(), Failure> {
    let failure = |error: io::Error| Failure::new(cause(&error), error);
    let stream = match open {
        Some(stream) => stream,
        None => {
            let stream = open.insert(connect(&shared.plan).await?);
            if shared.plan.options.read_greeting {
                read_greeting(stream).await.map_err(failure)?;
            }
            stream
        }
    };
    stream.write_all(payload).await.map_err(failure)?;
    stream.read_exact(received).await.map_err(failure)?;
    Ok(())
}

async fn read_greeting(stream: &mut TcpStream) -> io::Result<()> {
    // Byte by byte, so that nothing of the next answer is taken; it is one line per connection.
    for _ in 0..GREETING_LIMIT_BYTES {
        if stream.read_u8().await? == b'\n' {
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a greeting without end"))
}
