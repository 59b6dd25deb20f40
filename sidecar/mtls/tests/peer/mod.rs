//! Both ends of a handshake over a pipe, and raw TLS peers that do what ours never would.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use mesh_mtls::{
    Acceptor, Alpn, ClientStream, Connector, HandshakeFailure, Identity, ServerStream, TrustBundle,
};
use mesh_names::SpiffeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use std::sync::Arc;
use tests::pki::{Issued, TestCa};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

pub const SHOP: &str = "spiffe://mesh.internal/ns/shop/sa/shop";
pub const ORDERS: &str = "spiffe://mesh.internal/ns/shop/sa/orders";
pub const SNI: &str = "p8080.mesh.internal";

pub type Pipe = DuplexStream;

pub fn pipe() -> (Pipe, Pipe) {
    tokio::io::duplex(64 * 1024)
}

pub fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

pub fn endpoint() -> Option<std::net::SocketAddr> {
    Some(([127, 0, 0, 1], 15008).into())
}

/// An identity with an SVID of `ca` that trusts `ca`.
pub fn identity(ca: &TestCa, spiffe_id: &str) -> Identity {
    identity_of(ca.trust_bundle(), ca.leaf().uri(spiffe_id).issue())
}

pub fn identity_of(trust: TrustBundle, issued: Issued) -> Identity {
    let identity = Identity::new(trust);
    identity.set_svid(issued.svid());
    identity
}

pub fn acceptor(identity: &Identity) -> Acceptor {
    Acceptor::new(identity.clone(), &[Alpn::H2, Alpn::Http1, Alpn::Tcp])
}

/// Both ends' outcome; a client's includes what its first read says, since in TLS 1.3 a server's refusal of the client
/// comes there. A server that accepts sends one byte to be read.
pub async fn meet(
    acceptor: &Acceptor,
    connector: &Connector,
    expect: &str,
) -> (Result<ServerStream<Pipe>, HandshakeFailure>, Result<ClientStream<Pipe>, HandshakeFailure>) {
    let (near, far) = pipe();
    let expect = id(expect);
    tokio::join!(serve(acceptor, far), async {
        let stream = connector.connect(near, &expect, SNI, Alpn::Tcp, endpoint()).await;
        settle(stream.map_err(|error| error.into_failure())?).await
    })
}

pub async fn serve(acceptor: &Acceptor, io: Pipe) -> Result<ServerStream<Pipe>, HandshakeFailure> {
    let mut stream = acceptor.accept(io).await.map_err(|error| error.into_failure())?;
    stream.write_all(b"!").await.unwrap();
    stream.flush().await.unwrap();
    Ok(stream)
}

/// Reads the byte that says the server is content, or why it is not.
pub async fn settle<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<S, HandshakeFailure> {
    match stream.read_u8().await {
        Ok(byte) => assert_eq!(byte, b'!'),
        Err(error) => {
            return Err(HandshakeFailure::of_stream_error(&error).unwrap_or(HandshakeFailure::Closed));
        }
    }
    Ok(stream)
}

/// Bytes go both ways.
pub async fn exchange<A, B>(a: &mut A, b: &mut B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut got = [0; 4];
    a.write_all(b"ping").await.unwrap();
    a.flush().await.unwrap();
    b.read_exact(&mut got).await.unwrap();
    b.write_all(&got).await.unwrap();
    b.flush().await.unwrap();
    a.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
}

/// A client that shows any certificate, or none, and believes any server.
pub fn raw_client(certificate: Option<Issued>, alpn: &[&str]) -> tokio_rustls::TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAll));
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let (chain, key) = parts(issued);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

/// A server that shows any certificate and asks for none.
pub fn raw_server(certificate: Issued, alpn: &[&str]) -> tokio_rustls::TlsAcceptor {
    let (chain, key) = parts(certificate);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

fn parts(issued: Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = PrivateKeyDer::from_pem_slice(issued.key.to_pem().as_bytes()).unwrap();
    (issued.chain.into_iter().map(Into::into).collect(), key)
}

#[derive(Debug)]
struct BelievesAll;

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
