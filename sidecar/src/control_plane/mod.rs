//! How the control plane is reached. Enters: the URL of each replica. Leaves: a gRPC channel over mutual TLS with a server
//! that proved to be the control plane, and nobody else, and this machine's own address as seen on the way there. Names are
//! looked up anew for each connection, and every replica and every address of it is tried, in random order, so that one dead
//! replica or stale record does not keep a sidecar away, and those that lose one replica spread over the others. Reconnecting is the callers' business: they know what they wait for.

mod resolve;
mod transport;

use crate::bootstrap::{ControlPlane, ControlPlanes};
use crate::dial::Dial;
use mesh_mtls::{Alpn, Connector, HandshakeError, HandshakeFailure, control_plane_id};
use mesh_names::{SpiffeId, TrustDomain};
use resolve::{ResolveError, Resolver, shuffle};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tonic::transport::Channel;

/// From the first packet to one address to the end of the TLS handshake with it.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(5);
/// Addresses tried for one connection.
const ADDRESSES_MAX: usize = 8;

/// Knows where the control plane is and who it must prove to be.
#[derive(Debug)]
pub(crate) struct Reach {
    control_planes: ControlPlanes,
    expect: SpiffeId,
    resolver: Resolver,
    dial: Dial,
}

/// A connection to the control plane.
#[derive(Debug)]
pub(crate) struct Reached {
    /// For gRPC clients. Once its connection is lost it fails for good.
    pub(crate) channel: Channel,
    /// This machine's address on the way there.
    pub(crate) local: IpAddr,
    /// The replica that answered.
    pub(crate) peer: SocketAddr,
}

/// Why the control plane can't be reached: no replica answers as it must.
#[derive(Debug, thiserror::Error)]
#[error("the control plane {at} cannot be reached: {}", Attempts(.attempts))]
pub(crate) struct ReachError {
    /// The URLs.
    at: String,
    /// What went wrong at each name and address tried.
    attempts: Vec<(Place, AttemptError)>,
}

/// What was tried.
#[derive(Debug)]
enum Place {
    Address(SocketAddr),
    /// A name that led nowhere; the error says which.
    Name,
}

/// What went wrong at one address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    /// No address.
    #[error("{0}")]
    Resolve(ResolveError),
    /// No TCP connection.
    #[error("{0}")]
    Connect(io::Error),
    /// No mutual TLS.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// No HTTP/2.
    #[error("{0}")]
    Http2(tonic::transport::Error),
    /// No answer in time.
    #[error("no answer within {} s", ADDRESS_DEADLINE.as_secs())]
    Deadline,
}

impl ReachError {
    /// Whether somebody answered at every address, and nobody proved to be the control plane we trust: the trust bundle
    /// or the trust domain is another mesh's, and time will not mend that.
    pub(crate) fn is_another_mesh(&self) -> bool {
        let another = |error: &AttemptError| match error {
            AttemptError::Handshake(error) => matches!(
                error.failure(),
                HandshakeFailure::UntrustedCertificate
                    | HandshakeFailure::WrongIdentity { .. }
                    | HandshakeFailure::BadIdentity(_)
            ),
            AttemptError::Resolve(_)
            | AttemptError::Connect(_)
            | AttemptError::Http2(_)
            | AttemptError::Deadline => false,
        };
        self.attempts.iter().all(|(_, error)| another(error))
    }
}

struct Attempts<'a>(&'a [(Place, AttemptError)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (place, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            match place {
                Place::Address(address) => write!(f, "{separator}{address}: {error}")?,
                Place::Name => write!(f, "{separator}{error}")?,
            }
        }
        Ok(())
    }
}

impl Reach {
    /// The control plane at these URLs, of this trust domain, over sockets opened so.
    pub(crate) fn new(control_planes: ControlPlanes, trust_domain: &TrustDomain, dial: Dial) -> Self {
        Self { control_planes, expect: control_plane_id(trust_domain), resolver: Resolver::new(dial), dial }
    }

    /// Opens a connection, as whoever `connector` is.
    ///
    /// # Errors
    /// [`ReachError`] with what went wrong at each address.
    ///
    /// # Cancel safety
    /// Cancelling drops what was opened.
    pub(crate) async fn connect(&self, connector: &Connector) -> Result<Reached, ReachError> {
        let mut attempts = Vec::new();
        let mut control_planes: Vec<&ControlPlane> = self.control_planes.each().iter().collect();
        shuffle(&mut control_planes);
        for control_plane in control_planes {
            let mut addresses = match self.resolver.resolve(control_plane.host()).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    attempts.push((Place::Name, AttemptError::Resolve(error)));
                    continue;
                }
            };
            addresses.truncate(ADDRESSES_MAX);
            for ip in addresses {
                let address = SocketAddr::new(ip, control_plane.port().number());
                // Boxed: a handshake's state is large, and this is the rare part of every future that contains it.
                let attempt = Box::pin(self.attempt(control_plane, address, connector));
                match tokio::time::timeout(ADDRESS_DEADLINE, attempt).await {
                    Ok(Ok(reached)) => return Ok(reached),
                    Ok(Err(error)) => attempts.push((Place::Address(address), error)),
                    Err(_elapsed) => attempts.push((Place::Address(address), AttemptError::Deadline)),
                }
            }
        }
        Err(ReachError { at: self.control_planes.to_string(), attempts })
    }

    async fn attempt(
        &self,
        control_plane: &ControlPlane,
        peer: SocketAddr,
        connector: &Connector,
    ) -> Result<Reached, AttemptError> {
        let stream = self.dial.tcp(peer).await.map_err(AttemptError::Connect)?;
        stream.set_nodelay(true).map_err(AttemptError::Connect)?;
        let local = stream.local_addr().map_err(AttemptError::Connect)?.ip();
        let name = match control_plane.host() {
            crate::bootstrap::Host::Name(name) => name.clone(),
            crate::bootstrap::Host::Address(ip) => ip.to_string(),
        };
        let tls = connector.connect(stream, &self.expect, &name, Alpn::H2, None);
        let tls = tls.await.map_err(AttemptError::Handshake)?;
        let channel = transport::channel(tls, control_plane).await.map_err(AttemptError::Http2)?;
        Ok(Reached { channel, local: local.to_canonical(), peer })
    }
}

/// What a failed call means, in one line: why the connection under it ended, if it did, or else the status's own words.
pub(crate) fn words_of(status: &tonic::Status) -> String {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match HandshakeFailure::of_stream_error(error) {
                Some(failure) => failure.to_string(),
                None => format!("the connection is lost ({})", error.kind()),
            };
        }
        source = error.source();
    }
    let code = status.code();
    match status.message() {
        "" => format!("{code:?}"),
        message => format!("{code:?}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_called_that() {
        let lost = tonic::Status::from_error(Box::new(io::Error::from(io::ErrorKind::UnexpectedEof)));
        assert_eq!(words_of(&lost), "the connection is lost (unexpected end of file)");
        assert_eq!(words_of(&tonic::Status::not_found("no such thing")), "NotFound: no such thing");
        assert_eq!(words_of(&tonic::Status::aborted("")), "Aborted");
    }
}
