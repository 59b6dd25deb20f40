//! The side that opens a connection: to a peer's sidecar or to the control plane, expecting one SPIFFE ID.
//!
//! A TLS configuration is made once for each expected identity, protocol and endpoint and kept while it is used, with
//! the session tickets of that endpoint in it. Which makes two things sure: opening a connection costs no set-up, and
//! a session is only ever resumed with the peer it was made with.

use crate::ahead::ReadAhead;
use crate::alpn::Alpn;
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::identity::{Current, Identity};
use crate::provider;
use crate::stream::ClientStream;
use crate::tickets::Tickets;
use crate::verify::{self, ServerIs};
use mesh_names::SpiffeId;
use rustls::client::{ResolvesClientCert, Resumption, TicketRequest};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, SignatureScheme};
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Configurations kept; beyond, the one unused for longest goes, which costs its next connection a full handshake.
const CONFIGS_MAX: usize = 512;

/// Opens mutual TLS connections. Clones share the sessions.
#[derive(Debug, Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    without_svid: WithoutSvid,
    configs: Mutex<Configs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WithoutSvid {
    Refuse,
    ShowNone,
}

/// Guarded by the mutex of [`Shared`]; held for a look-up, never while a handshake runs.
#[derive(Debug, Default)]
struct Configs {
    /// The generation of [`Identity`] all of them were made under.
    generation: u64,
    clock: u64,
    by_target: HashMap<Target, Kept>,
}

#[derive(Debug)]
struct Kept {
    config: Arc<ClientConfig>,
    last_used: u64,
}

/// Everything that makes two sessions interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Target {
    expected: SpiffeId,
    alpn: Alpn,
    endpoint: Option<SocketAddr>,
}

impl Connector {
    /// Connects as the workload that `identity` holds; without an SVID in it, connecting ends with `NotReady`.
    pub fn new(identity: Identity) -> Self {
        Self::with(identity, WithoutSvid::Refuse)
    }

    /// As [`Connector::new`], but connects without a certificate while there is none: for asking the control plane for
    /// the first one.
    pub fn enrolling(identity: Identity) -> Self {
        Self::with(identity, WithoutSvid::ShowNone)
    }

    fn with(identity: Identity, without_svid: WithoutSvid) -> Self {
        Self { shared: Arc::new(Shared { identity, without_svid, configs: Mutex::default() }) }
    }

    /// Makes a TLS connection over `io` to a peer that must prove to be `expect`. `server_name` is sent as SNI and
    /// proves nothing. With an `endpoint`, its session tickets are kept and the next connection to it is cheaper; give
    /// none for connections that are long-lived.
    ///
    /// The deadline is the caller's.
    ///
    /// # Errors
    /// [`HandshakeError`] says precisely why. A refusal of *our* certificate comes later, as an error of the first
    /// read: see [`HandshakeFailure::of_stream_error`].
    ///
    /// # Cancel safety
    /// Cancelling drops `io`.
    pub async fn connect<IO>(
        &self,
        io: IO,
        expect: &SpiffeId,
        server_name: &str,
        alpn: Alpn,
        endpoint: Option<SocketAddr>,
    ) -> Result<ClientStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let target = Target { expected: expect.clone(), alpn, endpoint };
        let server_name = ServerName::try_from(server_name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(self.shared.config(&target)?);
        let tls = connector.connect(server_name, ReadAhead::new(io)).await?;
        let session = tls.get_ref().1;
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let agreed = Alpn::agreed(session.alpn_protocol());
        if resumed && let Err(failure) = check_resumed(session.peer_certificates(), expect) {
            self.shared.configs().by_target.remove(&target);
            return Err(failure.into());
        }
        if agreed != Some(alpn) {
            return Err(HandshakeFailure::NoCommonProtocol.into());
        }
        Ok(ClientStream::new(tls, target.expected, alpn, resumed))
    }
}

/// A resumed session skips the verifier: the identity is checked again, and that the certificate has not expired since.
fn check_resumed(
    certificates: Option<&[rustls_pki_types::CertificateDer<'static>]>,
    expected: &SpiffeId,
) -> Result<(), HandshakeFailure> {
    let certificate = certificates.and_then(<[_]>::first).ok_or(HandshakeFailure::NoCertificate)?;
    let leaf = verify::leaf(certificate)?;
    verify::is_expected(&leaf, expected)?;
    verify::is_in_force(&leaf)
}

impl Shared {
    fn configs(&self) -> MutexGuard<'_, Configs> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self, target: &Target) -> Result<Arc<ClientConfig>, HandshakeFailure> {
        let current = self.identity.now();
        if current.svid.is_none() && self.without_svid == WithoutSvid::Refuse {
            return Err(HandshakeFailure::NotReady);
        }
        Ok(self.configs().of(target, &current, &self.identity))
    }
}

impl Configs {
    fn of(&mut self, target: &Target, current: &Current, identity: &Identity) -> Arc<ClientConfig> {
        if self.generation != current.generation {
            self.generation = current.generation;
            self.by_target.clear();
        }
        self.clock += 1;
        if let Some(kept) = self.by_target.get_mut(target) {
            kept.last_used = self.clock;
            return kept.config.clone();
        }
        if self.by_target.len() >= CONFIGS_MAX {
            let oldest = self.by_target.iter().min_by_key(|(_, kept)| kept.last_used);
            if let Some(oldest) = oldest.map(|(target, _)| target.clone()) {
                self.by_target.remove(&oldest);
            }
        }
        let config = Arc::new(build(target, identity));
        self.by_target.insert(target.clone(), Kept { config: config.clone(), last_used: self.clock });
        config
    }
}

fn build(target: &Target, identity: &Identity) -> ClientConfig {
    let verifier = ServerIs { identity: identity.clone(), expected: target.expected.clone() };
    let mut config = provider::client()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(OwnCertificate(identity.clone())));
    config.alpn_protocols = vec![target.alpn.wire()];
    // How many tickets the server is asked for (RFC 9149): none that nobody would use.
    let (resumption, new_session_count, resumption_count) = match target.endpoint {
        Some(_) => (Resumption::store(Arc::new(Tickets::default())), 2, 1),
        None => (Resumption::disabled(), 0, 0),
    };
    config.resumption = resumption;
    config.send_ticket_request = Some(TicketRequest { new_session_count, resumption_count });
    config
}

/// Our certificate of the moment.
#[derive(Debug)]
struct OwnCertificate(Identity);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.svid().map(|svid| svid.certified())
    }

    fn has_certs(&self) -> bool {
        self.0.svid().is_some()
    }
}
