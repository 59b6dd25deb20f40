//! TLS of the control plane's own listeners, and of the tools that call them. Here the server has host names for people
//! and a SPIFFE ID for sidecars in one certificate, and a client's certificate is optional: a person shows an admin
//! certificate, a sidecar its SVID, a new sidecar nothing but a join token.

use crate::acceptor::{handshake, server_config};
use crate::alpn::Alpn;
use crate::certificate::Leaf;
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::identity::Identity;
use crate::key::{KeyError, PrivateKey};
use crate::provider;
use crate::stream::stream_of_tls;
use crate::trust_bundle::TrustBundle;
use crate::verify::{self, Who};
use mesh_names::SpiffeId;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Takes TLS connections of clients with or without a certificate.
#[derive(Clone)]
pub struct ApiAcceptor {
    identity: Identity,
    protocols: Arc<[Alpn]>,
    tls: TlsAcceptor,
}

/// Who a client of the control plane proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiClient {
    /// It showed no certificate.
    Anonymous,
    /// A workload of this trust domain.
    Workload(SpiffeId),
    /// A person or tool: a certificate of our CA without a SPIFFE ID, read as Kubernetes reads client certificates.
    User {
        /// The subject's common name.
        name: String,
        /// The subject's organizations.
        groups: Vec<String>,
    },
}

impl ApiAcceptor {
    /// Serves the certificate that `identity` holds at the moment of each handshake, and trusts clients of its bundle.
    pub fn new(identity: Identity, protocols: &[Alpn]) -> Self {
        let mut config: ServerConfig = server_config(&identity, Who::Anyone, protocols);
        // No resumption: connections to the control plane are few and long.
        config.send_tls13_tickets = 0;
        Self { identity, protocols: protocols.into(), tls: Arc::new(config).into() }
    }

    /// Makes a TLS connection of `io`. Nothing is written to a client that does not speak TLS. The deadline is the
    /// caller's.
    ///
    /// # Errors
    /// [`HandshakeError`] says precisely why.
    ///
    /// # Cancel safety
    /// Cancelling drops `io`.
    pub async fn accept<IO>(&self, io: IO) -> Result<ApiStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if self.identity.svid().is_none() {
            return Err(HandshakeFailure::NotReady.into());
        }
        let tls = handshake(self.tls.config().clone(), io).await?;
        let session = tls.get_ref().1;
        // A client that offers nothing means HTTP/1.1, as ever.
        let alpn = match session.alpn_protocol() {
            None => Some(Alpn::Http1),
            agreed => Alpn::agreed(agreed),
        };
        let alpn =
            alpn.filter(|alpn| self.protocols.contains(alpn)).ok_or(HandshakeFailure::NoCommonProtocol)?;
        let client = match session.peer_certificates().and_then(<[_]>::first) {
            None => ApiClient::Anonymous,
            Some(certificate) => self.client(verify::leaf(certificate)?)?,
        };
        Ok(ApiStream { tls, client, alpn })
    }

    fn client(&self, leaf: Leaf) -> Result<ApiClient, HandshakeFailure> {
        match &leaf.uris {
            Ok(uris) if uris.is_empty() => {
                Ok(ApiClient::User { name: leaf.common_name, groups: leaf.organizations })
            }
            _ => verify::is_workload(&leaf, &self.identity).map(ApiClient::Workload),
        }
    }
}

impl fmt::Debug for ApiAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiAcceptor").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A connection of the control plane with a client.
pub struct ApiStream<IO> {
    tls: tokio_rustls::server::TlsStream<IO>,
    client: ApiClient,
    alpn: Alpn,
}

impl<IO> ApiStream<IO> {
    /// Who the client proved to be.
    pub fn client(&self) -> &ApiClient {
        &self.client
    }

    /// What is spoken inside.
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }

    /// The stream underneath, for its addresses and socket options.
    pub fn io(&self) -> &IO {
        self.tls.get_ref().0
    }
}

impl<IO> fmt::Debug for ApiStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiStream")
            .field("client", &self.client)
            .field("alpn", &self.alpn)
            .finish_non_exhaustive()
    }
}

/// A certificate chain and key to show to the API, such as a kubeconfig holds.
#[derive(Debug, Clone)]
pub struct ClientCertificate(Arc<CertifiedKey>);

impl ClientCertificate {
    /// Reads a chain, leaf first, and its key from PEM.
    ///
    /// # Errors
    /// [`KeyError`]: no certificate, no key, or a key that is not the certificate's.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, KeyError> {
        let key = PrivateKey::from_pem(key)?.signing_key()?;
        let chain = crate::pem::certificates(chain).map_err(KeyError::Pem)?;
        let certified = CertifiedKey::new(chain.into_iter().map(Into::into).collect(), key);
        certified.keys_match().map_err(KeyError::NotOfCertificate)?;
        Ok(Self(Arc::new(certified)))
    }
}

/// Connects to the API as people and tools do: the server is known by its host name.
#[derive(Clone)]
pub struct ApiConnector {
    tls: TlsConnector,
}

impl ApiConnector {
    /// Trusts servers whose certificate is of `trust_bundle`; offers `protocols`, the first preferred.
    ///
    /// # Errors
    /// [`HandshakeFailure::UntrustedCertificate`] when the bundle can't be used to verify anything.
    pub fn new(
        trust_bundle: &TrustBundle,
        certificate: Option<ClientCertificate>,
        protocols: &[Alpn],
    ) -> Result<Self, HandshakeError> {
        let roots = RootCertStore { roots: trust_bundle.anchors().to_vec() };
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider::provider().clone())
                .build()
                .map_err(|_| HandshakeFailure::UntrustedCertificate)?;
        let builder = provider::client().with_webpki_verifier(verifier);
        let mut config: ClientConfig = match certificate {
            None => builder.with_no_client_auth(),
            Some(ClientCertificate(certified)) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = protocols.iter().map(|alpn| alpn.wire()).collect();
        config.resumption = Resumption::disabled();
        Ok(Self { tls: Arc::new(config).into() })
    }

    /// Makes a TLS connection over `io` with the server named `server_name`, a host name or an IP address. The deadline
    /// is the caller's.
    ///
    /// # Errors
    /// [`HandshakeError`] says precisely why. That our certificate was refused comes later, as an error of the first
    /// read: see [`HandshakeFailure::of_stream_error`].
    ///
    /// # Cancel safety
    /// Cancelling drops `io`.
    pub async fn connect<IO>(&self, io: IO, server_name: &str) -> Result<ApiClientStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let server_name = ServerName::try_from(server_name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let tls = self.tls.connect(server_name, io).await?;
        let alpn = Alpn::agreed(tls.get_ref().1.alpn_protocol()).unwrap_or(Alpn::Http1);
        Ok(ApiClientStream { tls, alpn })
    }
}

impl fmt::Debug for ApiConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiConnector")
    }
}

/// A connection of a client with the control plane's API.
pub struct ApiClientStream<IO> {
    tls: tokio_rustls::client::TlsStream<IO>,
    alpn: Alpn,
}

impl<IO> ApiClientStream<IO> {
    /// What is spoken inside.
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }
}

impl<IO> fmt::Debug for ApiClientStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClientStream").field("alpn", &self.alpn).finish_non_exhaustive()
    }
}

stream_of_tls!(ApiStream, ApiClientStream);
