//! What to send: the command line of `load`, checked before anything connects.

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time per connection
    Http1,
    /// HTTP/2 by prior knowledge, many streams per connection
    Http2,
    /// gRPC: unary outrigger.demo.Greeter/SayHello
    Grpc,
    /// gRPC: streaming outrigger.demo.Greeter/SayManyHellos; one stream counts as one request
    GrpcStream,
    /// TCP: a payload is sent and expected back
    Tcp,
    /// TCP: one connection sends bytes to `origin tcp --sink`
    Bulk,
}

/// The command line of `load`: an open-loop generator when --rate is given, else a closed loop.
#[derive(Debug, Clone, Parser)]
#[command(name = "load", about = "Sends requests at a constant rate and checks every answer", version)]
pub struct Options {
    /// What to speak
    #[arg(value_enum)]
    pub protocol: Protocol,
    /// HOST:PORT to reach; also the authority, unless --authority names another
    #[arg(long)]
    pub target: String,
    /// Connect to this address instead (a proxy), keeping the target's authority
    #[arg(long)]
    pub via: Option<SocketAddr>,
    /// Host header or :authority
    #[arg(long)]
    pub authority: Option<String>,
    /// Requests per second in all; without it each connection sends as soon as it has its answer
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds to measure
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds of the same load before measuring; its answers are checked but not recorded
    #[arg(long, default_value_t = 0.0)]
    pub warmup: f64,
    /// Connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Requests in flight per connection (HTTP/2 and gRPC)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub streams: u32,
    /// Path and query of the request
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Header to add, as NAME:VALUE; may be repeated
    #[arg(long = "header", value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    /// POST a body of this many bytes and expect it back
    #[arg(long)]
    pub post_bytes: Option<usize>,
    /// Greetings of a gRPC stream
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub greetings: u32,
    /// Milliseconds from one greeting of a gRPC stream to the next
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub greeting_interval_ms: u32,
    /// Bytes of a TCP payload
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub payload_bytes: u32,
    /// Expect a line first from the server on each TCP connection
    #[arg(long)]
    pub read_greeting: bool,
    /// Each request is a new TCP connection, answered when the server's first line has come; nothing is sent
    #[arg(long, conflicts_with = "read_greeting")]
    pub greeting_only: bool,
    /// Bytes to send (bulk)
    #[arg(long, default_value_t = 1 << 30)]
    pub bytes: u64,
    /// Status to expect
    #[arg(long, default_value_t = 200)]
    pub expect_status: u16,
    /// Length of the body to expect
    #[arg(long)]
    pub expect_bytes: Option<usize>,
    /// Seconds after which a request counts as failed
    #[arg(long, default_value_t = 10.0)]
    pub timeout: f64,
    /// Seconds to keep the connections open, idle, after measuring
    #[arg(long, default_value_t = 0.0)]
    pub hold: f64,
    /// Print a report of each interval of this many seconds, too
    #[arg(long)]
    pub interval: Option<f64>,
    /// Print {"mark":"measuring"}, {"mark":"measured"} and {"mark":"holding"} as these times come
    #[arg(long)]
    pub marks: bool,
}

/// A checked plan.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) connect: SocketAddr,
    pub(super) authority: String,
    pub(super) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub(super) duration: Duration,
    pub(super) warmup: Duration,
    pub(super) timeout: Duration,
    pub(super) hold: Duration,
    pub(super) interval: Option<Duration>,
}

impl Plan {
    pub(super) fn new(options: Options) -> Result<Self> {
        let connect = match options.via {
            Some(via) => via,
            None => {
                options.target.to_socket_addrs().ok().and_then(|mut addrs| addrs.next()).with_context(
                    || format!("--target `{}` does not resolve: give HOST:PORT", options.target),
                )?
            }
        };
        if options.rate.is_some_and(|rate| !(0.001..=10_000_000.0).contains(&rate)) {
            bail!("--rate is requests per second: give a number from 0.001 to 10000000");
        }
        let headers = options.headers.iter().map(|header| parse_header(header)).collect::<Result<_>>()?;
        Ok(Self {
            connect,
            authority: options.authority.clone().unwrap_or_else(|| options.target.clone()),
            headers,
            duration: seconds("--duration", options.duration)?,
            warmup: seconds("--warmup", options.warmup)?,
            timeout: seconds("--timeout", options.timeout)?,
            hold: seconds("--hold", options.hold)?,
            interval: options
                .interval
                .map(|interval| seconds("--interval", interval.max(0.01)))
                .transpose()?,
            options,
        })
    }

    /// Requests that may be in flight at once.
    pub(super) fn slots_per_connection(&self) -> u32 {
        match self.options.protocol {
            Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream => self.options.streams,
            Protocol::Http1 | Protocol::Tcp | Protocol::Bulk => 1,
        }
    }
}

fn parse_header(header: &str) -> Result<(http::HeaderName, http::HeaderValue)> {
    let (name, value) = header
        .split_once(':')
        .with_context(|| format!("--header `{header}` has no colon: give NAME:VALUE"))?;
    Ok((
        name.trim().parse().with_context(|| format!("--header `{header}`: the name is not one"))?,
        value
            .trim()
            .parse()
            .with_context(|| format!("--header `{header}`: the value cannot stand in a header"))?,
    ))
}

fn seconds(flag: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|duration| *duration <= Duration::from_secs(86_400))
        .with_context(|| format!("{flag} `{value}` is not a time: give seconds, at most a day"))
}
