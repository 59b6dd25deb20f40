//! TCP servers. Lines or bytes enter and leave unchanged; a sink receives a known pattern and answers with one line
//! that says whether every byte was right.

use super::{Listen, listen};
use crate::generator::pattern;
use anyhow::Result;
use clap::Args;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest line echoed; a longer one ends the connection.
const LINE_LIMIT_BYTES: u64 = 1024 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// The flags of the TCP server.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    listen: Listen,
    /// Serve one connection at a time; further ones wait
    #[arg(long)]
    one_at_a_time: bool,
    /// Milliseconds to wait before each echoed line
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Line to send first on each connection, before the client speaks
    #[arg(long)]
    greeting: Option<String>,
    /// Echo bytes as they come instead of whole lines
    #[arg(long, conflicts_with_all = ["sink", "tag"])]
    raw: bool,
    /// Receive `load bulk`'s bytes, check them, and answer with one line at the end
    #[arg(long)]
    sink: bool,
    /// Put the instance's name and a space before each echoed line
    #[arg(long)]
    tag: bool,
}

/// Serves until a signal.
///
/// # Errors
/// The address cannot be bound.
pub fn run(options: Options) -> Result<()> {
    let accept = match options.one_at_a_time {
        true => listen::Accept::OneAtATime,
        false => listen::Accept::Concurrently,
    };
    let listening = options.listen.clone();
    listen::serve(&listening, accept, move || {
        let options = Rc::new(options.clone());
        Ok(move |stream: TcpStream, drain: tokio_util::sync::CancellationToken| {
            let options = options.clone();
            async move {
                // How a client ends its connection is its own business.
                tokio::select! {
                    ended = converse(stream, &options) => drop(ended),
                    () = drain.cancelled() => {}
                }
            }
        })
    })
}

async fn converse(mut stream: TcpStream, options: &Options) -> io::Result<()> {
    if let Some(greeting) = &options.greeting {
        stream.write_all(format!("{greeting}\n").as_bytes()).await?;
    }
    if options.sink {
        sink(stream).await
    } else if options.raw {
        echo_bytes(stream).await
    } else {
        echo_lines(stream, options).await
    }
}

async fn echo_lines(stream: TcpStream, options: &Options) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    let mut answer = Vec::new();
    let tag_bytes = if options.tag { options.listen.name.len() + 1 } else { 0 };
    loop {
        answer.clear();
        if options.tag {
            answer.extend_from_slice(options.listen.name.as_bytes());
            answer.push(b' ');
        }
        (&mut reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut answer).await?;
        if answer.len() == tag_bytes || answer.last() != Some(&b'\n') {
            return writer.shutdown().await;
        }
        if options.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(options.delay_ms)).await;
        }
        writer.write_all(&answer).await?;
    }
}

async fn echo_bytes(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return stream.shutdown().await;
        };
        stream.write_all(bytes).await?;
    }
}

async fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 4 * BUFFER_BYTES];
    let mut received: u64 = 0;
    let mut wrong_at = None;
    loop {
        let read = stream.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if wrong_at.is_none() && !pattern::matches(received, bytes) {
            wrong_at = Some(received);
        }
        received += read as u64;
    }
    let verdict = match wrong_at {
        None => format!("received {received} right\n"),
        Some(offset) => format!("received {received} wrong in the chunk at {offset}\n"),
    };
    stream.write_all(verdict.as_bytes()).await?;
    stream.shutdown().await
}
