//! Mutual TLS by SPIFFE identity. TLS is spoken here and nowhere else in the mesh.
//!
//! What enters: keys, certificates and trust bundles, and any byte stream. What leaves: an encrypted byte stream
//! whose other end has proved who it is, or a [`HandshakeFailure`] that says precisely why there is none. Never done
//! here: deciding who may talk to whom (the caller has the peer's [`SpiffeId`](mesh_names::SpiffeId)), timeouts (the
//! caller's, from connect to first byte), sockets.
//!
//! ```text
//! PrivateKey ─ csr() ─> CA ─> Svid ──┐
//! trust bundle file ─> TrustBundle ──┴─> Identity ─┬─> Connector ─ connect ─> ClientStream   sidecar -> peer
//!                                     (hot swap)   ├─> Acceptor  ─ accept ──> ServerStream   peer -> sidecar
//!                                                  └─> ApiAcceptor ─ accept ─> ApiStream     anyone -> control plane
//! TrustBundle (+ client certificate) ─> ApiConnector ─ connect ─> ApiClientStream            people -> control plane
//! Anchors (system, file, given) ─> OutwardConnector ─ connect ─> OutwardStream               sidecar -> outside
//! ```
//!
//! Every configuration reads [`Identity`] at each handshake, so a renewed certificate or a rotated root needs no
//! restart: running connections go on, new ones use the new material, and sessions made under the old are forgotten.
//!
//! TLS 1.3 only (RFC 8446), no 0-RTT; to places outside of the mesh TLS 1.2 too. X25519MLKEM768 first, so that traffic recorded today stays secret from a quantum
//! computer; AES-128-GCM first, the cheapest cipher where the processor has AES instructions.

mod acceptor;
mod ahead;
mod alert;
mod alpn;
mod api;
mod certificate;
mod connector;
mod failure;
mod identity;
mod key;
mod outward;
pub mod pem;
mod provider;
mod server_name;
mod stream;
mod svid;
mod tickets;
mod trust_bundle;
mod verify;

pub use acceptor::Acceptor;
pub use alert::Alert;
pub use alpn::Alpn;
pub use api::{ApiAcceptor, ApiClient, ApiClientStream, ApiConnector, ApiStream, ClientCertificate};
pub use certificate::BadCertificate;
pub use connector::Connector;
pub use failure::{BadIdentity, HandshakeError, HandshakeFailure};
pub use identity::{Changes, Identity};
pub use key::{Csr, KeyError, PrivateKey};
pub use outward::{Anchors, AnchorsError, Offer, OutwardConnector, OutwardError, OutwardStream};
pub use server_name::{control_plane_id, port_of_sni, sni_for_port};
pub use stream::{ClientStream, ServerStream};
pub use svid::{Svid, SvidError};
pub use trust_bundle::{TrustBundle, TrustBundleError};
