//! The side that takes connections between sidecars: every client proves which workload it is.

use crate::ahead::ReadAhead;
use crate::alpn::Alpn;
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::identity::Identity;
use crate::provider;
use crate::stream::ServerStream;
use crate::verify::{self, ClientIs, Who};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Room for the first flight of a client: a ClientHello with an X25519MLKEM768 share is about 1.5 KiB, with a session
/// ticket up to 3 KiB. What is longer is read by the TLS library.
const FIRST_READ: usize = 4096;
/// The first byte of a TLS handshake record (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 0x16;
/// Tickets of a full handshake, so that a client can open two connections at once; a client may ask for fewer.
const TICKETS: usize = 2;

/// Takes mutual TLS connections. Clones share everything; one a worker is fine.
#[derive(Debug, Clone)]
pub struct Acceptor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    protocols: Vec<Alpn>,
    /// The configuration and the generation of [`Identity`] it was made under. A new generation gets a new one, whose
    /// ticket keys are new too: no session outlives the certificates it was made with.
    config: RwLock<Option<(u64, Arc<ServerConfig>)>>,
}

impl Acceptor {
    /// Accepts as the workload that `identity` holds, speaking `protocols`, the first one preferred.
    pub fn new(identity: Identity, protocols: &[Alpn]) -> Self {
        let shared = Shared { identity, protocols: protocols.to_vec(), config: RwLock::new(None) };
        Self { shared: Arc::new(shared) }
    }

    /// Makes a TLS connection of `io` with a client that must prove to be a workload of our trust domain. Nothing is
    /// written to a client that does not speak TLS.
    ///
    /// The deadline is the caller's.
    ///
    /// # Errors
    /// [`HandshakeError`] says precisely why.
    ///
    /// # Cancel safety
    /// Cancelling drops `io`.
    pub async fn accept<IO>(&self, io: IO) -> Result<ServerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let tls = handshake(self.shared.config()?, ReadAhead::new(io)).await?;
        let session = tls.get_ref().1;
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let alpn = Alpn::agreed(session.alpn_protocol()).ok_or(HandshakeFailure::NoCommonProtocol)?;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let leaf = verify::leaf(certificate.ok_or(HandshakeFailure::NoCertificate)?)?;
        let peer = verify::is_workload(&leaf, &self.shared.identity)?;
        if resumed {
            verify::is_in_force(&leaf)?;
        }
        Ok(ServerStream::new(tls, peer, alpn, resumed))
    }
}

impl Shared {
    fn config(&self) -> Result<Arc<ServerConfig>, HandshakeFailure> {
        let current = self.identity.now();
        if current.svid.is_none() {
            return Err(HandshakeFailure::NotReady);
        }
        if let Some((generation, config)) = &*self.config.read().unwrap_or_else(PoisonError::into_inner)
            && *generation == current.generation
        {
            return Ok(config.clone());
        }
        let mut kept = self.config.write().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((generation, config)) if *generation >= current.generation => Ok(config.clone()),
            _ => {
                let config = Arc::new(self.build());
                *kept = Some((current.generation, config.clone()));
                Ok(config)
            }
        }
    }

    fn build(&self) -> ServerConfig {
        let mut config = server_config(&self.identity, Who::Workload, &self.protocols);
        config.send_tls13_tickets = TICKETS;
        config.max_tls13_tickets = TICKETS;
        // Without a ticketer, sessions are kept in memory, which costs no correctness.
        if let Ok(ticketer) = Ticketer::new() {
            config.ticketer = ticketer;
        }
        config
    }
}

/// What every server of ours has in common.
pub(crate) fn server_config(identity: &Identity, who: Who, protocols: &[Alpn]) -> ServerConfig {
    let mut config = provider::server()
        .with_client_cert_verifier(Arc::new(ClientIs { identity: identity.clone(), who }))
        .with_cert_resolver(Arc::new(OwnCertificate(identity.clone())));
    config.alpn_protocols = protocols.iter().map(|alpn| alpn.wire()).collect();
    config
}

/// The server's half of a handshake. The first bytes are looked at before TLS sees them: a plaintext client is told
/// apart from a TLS client that breaks the protocol, and is not sent an alert it could not read.
pub(crate) async fn handshake<IO>(
    config: Arc<ServerConfig>,
    mut io: IO,
) -> Result<TlsStream<IO>, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = Vec::with_capacity(FIRST_READ);
    io.read_buf(&mut first).await?;
    match first.first() {
        None => return Err(HandshakeFailure::Closed.into()),
        Some(&HANDSHAKE_RECORD) => {}
        Some(_) => return Err(HandshakeFailure::Plaintext.into()),
    }
    let mut broken = None;
    let mut accept = TlsAcceptor::from(config).accept_with(io, |session| {
        broken = feed(session, &first).err().map(|error| (error, alert(session)));
    });
    drop(first);
    let Some((error, alert)) = broken else { return Ok(accept.await?) };
    if let Some(io) = accept.get_mut() {
        // The peer may be gone; why the handshake failed is known already.
        io.write_all(&alert).await.ok();
        io.shutdown().await.ok();
    }
    Err(error.into())
}

fn feed(session: &mut ServerConnection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        session.read_tls(&mut bytes)?;
        session.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Ok(())
}

/// The alert that says what is wrong, as bytes to send.
fn alert(session: &mut ServerConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while session.wants_write() {
        if session.write_tls(&mut bytes).is_err() {
            break;
        }
    }
    bytes
}

/// Our certificate of the moment.
#[derive(Debug)]
struct OwnCertificate(Identity);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.svid().map(|svid| svid.certified())
    }
}
