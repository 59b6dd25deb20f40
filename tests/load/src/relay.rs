//! The floor of the benchmark: what any proxy pair must at least do. Bytes enter on one side in the clear, cross in mutual
//! TLS as the mesh makes it, one connection for each of the client's, and leave in the clear; nobody looks at them.

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use mesh_mtls::{Acceptor, Alpn, Connector, Identity, Svid, pem};
use mesh_names::SpiffeId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Bytes moved at a time: what sidecars move, too.
const BUFFER_BYTES: usize = 64 * 1024;

/// The command line of `relay`.
#[derive(Debug, Clone, Parser)]
#[command(name = "relay", about = "Relays bytes into mutual TLS, or out of it", version)]
pub struct Options {
    /// Which of the two connections is mutual TLS
    #[arg(value_enum)]
    side: Side,
    /// From where to where, as LISTEN=TO; may be repeated
    #[arg(long = "way", required = true)]
    ways: Vec<Way>,
    /// Certificate chain, in PEM
    #[arg(long)]
    certificate: PathBuf,
    /// Its key, in PEM
    #[arg(long)]
    key: PathBuf,
    /// Authorities trusted, in PEM
    #[arg(long)]
    authority: PathBuf,
    /// Whom the other side must prove to be, where this side connects
    #[arg(long)]
    expect: SpiffeId,
}

/// Which side of a pair this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Bytes come in the clear and leave in mutual TLS
    Outbound,
    /// Bytes come in mutual TLS and leave in the clear
    Inbound,
}

/// From where to where.
#[derive(Debug, Clone, Copy)]
struct Way {
    listen: SocketAddr,
    to: SocketAddr,
}

impl FromStr for Way {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (listen, to) = text.split_once('=').context("say LISTEN=TO, as 127.0.0.1:1000=127.0.0.1:2000")?;
        Ok(Self { listen: listen.parse()?, to: to.parse()? })
    }
}

/// How connections are secured.
#[derive(Clone)]
enum Tls {
    Connect(Connector, SpiffeId),
    Accept(Acceptor),
}

/// Relays until it is killed.
///
/// # Errors
/// Certificates can't be read, or an address can't be bound.
pub async fn run(options: Options) -> Result<()> {
    let identity = Identity::new(pem::read_trust_bundle(&options.authority)?);
    let chain = pem::read_certificates(&options.certificate)?;
    identity.set_svid(Svid::new(chain, pem::read_key(&options.key)?).map_err(|error| anyhow!("{error}"))?);
    let tls = match options.side {
        Side::Outbound => Tls::Connect(Connector::new(identity), options.expect),
        Side::Inbound => Tls::Accept(Acceptor::new(identity, &[Alpn::Tcp])),
    };
    let mut listening = JoinSet::new();
    for way in options.ways {
        let listener = TcpListener::bind(way.listen).await;
        let listener = listener.with_context(|| format!("listening on {}", way.listen))?;
        listening.spawn(listen(listener, way.to, tls.clone()));
    }
    while let Some(ended) = listening.join_next().await {
        ended??;
    }
    Ok(())
}

async fn listen(listener: TcpListener, to: SocketAddr, tls: Tls) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(carry(accepted?.0, to, tls.clone()));
            }
            // How a connection ends is its two ends' business; a handshake that fails is seen by whoever wanted it.
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn carry(client: TcpStream, to: SocketAddr, tls: Tls) -> Result<()> {
    client.set_nodelay(true)?;
    match tls {
        Tls::Connect(connector, expect) => {
            let server = TcpStream::connect(to).await?;
            server.set_nodelay(true)?;
            // With tickets, as between sidecars.
            let server = connector.connect(server, &expect, "origin.bench.test", Alpn::Tcp, Some(to)).await?;
            join(client, server).await
        }
        Tls::Accept(acceptor) => {
            let client = acceptor.accept(client).await?;
            let server = TcpStream::connect(to).await?;
            server.set_nodelay(true)?;
            join(client, server).await
        }
    }
}

async fn join(
    mut one: impl AsyncRead + AsyncWrite + Unpin,
    mut other: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<()> {
    copy_bidirectional_with_sizes(&mut one, &mut other, BUFFER_BYTES, BUFFER_BYTES).await?;
    Ok(())
}
