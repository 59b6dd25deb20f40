//! Whether an inbound proxy lets somebody in: with the outbound proxy's certificate it must, without any it must not. Then
//! nothing reaches the origin through it but mutual TLS.

use super::pki::{ORIGIN, Pki};
use anyhow::{Context, Result, anyhow, bail};
use mesh_mtls::{Alpn, Connector, Identity, Svid, pem};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an inbound proxy may take to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// What is said inside of TLS where HTTP/2 is spoken: the preface, and empty SETTINGS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// What is said elsewhere.
const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nhost: origin\r\nconnection: close\r\n\r\n";

/// Checks both.
///
/// # Errors
/// It keeps the outbound proxy out, or lets anybody in.
pub(super) fn check(inbound: SocketAddr, pki: &Pki, alpn: Alpn) -> Result<()> {
    let identity = Identity::new(pem::read_trust_bundle(&pki.authority)?);
    let nobody = Connector::enrolling(identity.clone());
    let without = ask(inbound, &nobody, alpn);
    if without.as_ref().is_ok_and(|answer| is_let_in(answer)) {
        bail!("the inbound port lets in who shows no certificate");
    }
    let chain = pem::read_certificates(&pki.outbound.certificate)?;
    let svid = Svid::new(chain, pem::read_key(&pki.outbound.key)?).map_err(|error| anyhow!("{error}"))?;
    identity.set_svid(svid);
    let with =
        ask(inbound, &Connector::new(identity), alpn).context("with the outbound proxy's certificate")?;
    if !is_let_in(&with) {
        bail!("the inbound port keeps out who shows a certificate: {:.80}", String::from_utf8_lossy(&with));
    }
    Ok(())
}

/// A page, or the SETTINGS of HTTP/2.
fn is_let_in(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200") || answer.get(3) == Some(&4)
}

/// The first bytes of the answer.
fn ask(inbound: SocketAddr, connector: &Connector, alpn: Alpn) -> Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asking = async {
        let stream = TcpStream::connect(inbound).await?;
        let mut tls = connector.connect(stream, &ORIGIN.parse()?, "origin.bench.test", alpn, None).await?;
        tls.write_all(if alpn == Alpn::H2 { HTTP2 } else { HTTP1 }).await?;
        let mut answer = Vec::new();
        while answer.len() < 12 && tls.read_buf(&mut answer).await? > 0 {}
        anyhow::Ok(answer)
    };
    runtime.block_on(async { tokio::time::timeout(WITHIN, asking).await })?
}
