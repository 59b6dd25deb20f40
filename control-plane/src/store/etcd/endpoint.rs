//! Where etcd is, and how a connection to one of its members is made. Enters: URLs and certificate files. Leaves: a gRPC
//! channel over one connection. Files are read anew for each connection, so that renewed ones need no restart.

use crate::channel::{self, Io};
use mesh_mtls::{Alpn, ApiConnector, ClientCertificate, HandshakeError, TrustBundle};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint as Target};

/// The port etcd serves clients on, when the URL names none.
const PORT: u16 = 2379;
/// From the first packet to the end of the handshake; a member that needs longer is passed over for another.
const DEADLINE: Duration = Duration::from_secs(2);
/// A silent member is asked for a sign of life after this long (etcd closes connections that ask more often than every
/// five seconds), …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(6);
/// … and given up this long after that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes in flight: a page of a list should not wait for window updates.
const WINDOW: u32 = 4 * 1024 * 1024;

/// One member of the cluster, as `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdEndpoint {
    is_tls: bool,
    /// A name or an address; IPv6 without brackets.
    host: String,
    port: u16,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Another scheme, or none.
    #[error("write http://HOST:PORT, or https://HOST:PORT for TLS")]
    Scheme,
    /// No host, or something after the port.
    #[error("write a host name or an IP address and a port after the scheme, and nothing else")]
    Authority,
}

impl FromStr for EtcdEndpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let uri: http::Uri = text.parse().map_err(|_invalid| InvalidEndpoint::Authority)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(InvalidEndpoint::Scheme),
        };
        let authority = uri.authority().ok_or(InvalidEndpoint::Authority)?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('@');
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() || !is_bare {
            return Err(InvalidEndpoint::Authority);
        }
        Ok(Self { is_tls, host: host.to_owned(), port: authority.port_u16().unwrap_or(PORT) })
    }
}

impl fmt::Display for EtcdEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// The certificate files for TLS with etcd.
#[derive(Debug, Clone, Default)]
pub struct EtcdTls {
    /// CA certificates in PEM under which members must prove their host names. Needed for `https`.
    pub ca: Option<PathBuf>,
    /// The certificate chain and the key to show, in PEM, for a cluster that asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why a member can't be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// No TCP connection.
    #[error("{0}")]
    Tcp(io::Error),
    /// A certificate file can't be used.
    #[error("{}: {detail}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// `https` without CA certificates.
    #[error("https needs the CA certificates that etcd's is of: give --etcd-ca")]
    NoCa,
    /// No TLS.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// No HTTP/2.
    #[error("{0}")]
    Http2(#[from] tonic::transport::Error),
    /// No answer in time.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Deadline,
}

impl EtcdEndpoint {
    /// Its host, a name or an address, and its port.
    pub fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Connects. Once the connection is lost the channel fails for good.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(super) async fn connect(&self, tls: &EtcdTls) -> Result<Channel, ConnectError> {
        tokio::time::timeout(DEADLINE, self.attempt(tls)).await.map_err(|_elapsed| ConnectError::Deadline)?
    }

    async fn attempt(&self, tls: &EtcdTls) -> Result<Channel, ConnectError> {
        let connector = match self.is_tls {
            true => Some(connector(tls)?),
            false => None,
        };
        let tcp = TcpStream::connect(self.place()).await.map_err(ConnectError::Tcp)?;
        tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
        let stream: Box<dyn Io> = match connector {
            Some(connector) => Box::new(connector.connect(tcp, &self.host).await?),
            None => Box::new(tcp),
        };
        // TLS is done already: to tonic the scheme would mean that it has to do it.
        let uri = self.to_string().replacen("https://", "http://", 1);
        let target = Target::from_shared(uri)?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW);
        Ok(channel::over(stream, target).await?)
    }
}

fn connector(tls: &EtcdTls) -> Result<ApiConnector, ConnectError> {
    let bad = |path: &Path, detail: String| ConnectError::File { path: path.to_owned(), detail };
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| bad(path, error.to_string()));
    let ca = tls.ca.as_ref().ok_or(ConnectError::NoCa)?;
    let bundle = TrustBundle::from_pem(&read(ca)?).map_err(|error| bad(ca, error.to_string()))?;
    let certificate = match &tls.client {
        None => None,
        Some((chain, key)) => Some(
            ClientCertificate::from_pem(&read(chain)?, &read(key)?)
                .map_err(|error| bad(chain, error.to_string()))?,
        ),
    };
    Ok(ApiConnector::new(&bundle, certificate, &[Alpn::H2])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("https://etcd-0.example.org", "https://etcd-0.example.org:2379"),
            ("http://[::1]:9", "http://[::1]:9"),
            ("http://a:1/", "http://a:1"),
        ] {
            assert_eq!(text.parse::<EtcdEndpoint>().unwrap().to_string(), shown);
        }
        for (text, error) in [
            ("127.0.0.1:2379", InvalidEndpoint::Scheme),
            ("ftp://a:1", InvalidEndpoint::Scheme),
            ("http://", InvalidEndpoint::Authority),
            ("http://a:1/v3", InvalidEndpoint::Authority),
            ("http://user@a:1", InvalidEndpoint::Authority),
        ] {
            assert_eq!(text.parse::<EtcdEndpoint>(), Err(error), "{text}");
        }
    }
}
