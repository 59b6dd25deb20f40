//! TLS with places outside of the mesh, begun on behalf of an application: the place is known by its host name, and
//! vouched for by whom the machine trusts or by certificates of its own.
//!
//! A configuration is made once for each trust and protocol, on a blocking thread, since it reads files; connections only
//! look it up. It holds the sessions, which TLS keeps apart by server name. A file is looked at again every few seconds
//! while it is used: last good wins, and what is wrong with the new one is reported once.

use crate::ahead::ReadAhead;
use crate::alpn::Alpn;
use crate::failure::HandshakeError;
use crate::provider;
use crate::stream::stream_of_tls;
use crate::trust_bundle::{TrustBundle, TrustBundleError};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Configurations kept; beyond, the one unused for longest goes and is made anew when it is needed.
const CONFIGS_MAX: usize = 64;
/// From a look at a file to the next.
const FILE_FRESH: Duration = Duration::from_secs(5);
/// From a look at the system's certificates to the next: they change with updates of the system.
const SYSTEM_FRESH: Duration = Duration::from_secs(3600);
/// Bytes of a file read; all public authorities together are a quarter of a MiB.
const FILE_MAX: u64 = 1024 * 1024;

/// Who may vouch for a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Anchors {
    /// Whom the machine trusts: the system's certificate store, or where `SSL_CERT_FILE` and `SSL_CERT_DIR` say it is.
    System,
    /// These CA certificates, in DER.
    Certificates(Vec<Vec<u8>>),
    /// The CA certificates in this file, in PEM.
    File(PathBuf),
}

/// What is to be spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offer {
    /// HTTP/2, and nothing else.
    Http2,
    /// HTTP/1.1; a place that agrees on nothing is taken to speak it.
    Http1,
    /// Either: the place chooses.
    Http,
    /// Anything: no protocol is named.
    Opaque,
}

/// Why CA certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorsError {
    /// The system has none.
    #[error("this machine trusts no certificate authority; install its CA certificates (`ca-certificates`)")]
    NoSystem,
    /// The file can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is too large.
    #[error("{} has more than {FILE_MAX} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The file is no list of certificates.
    #[error("{} is no list of CA certificates in PEM: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: TrustBundleError,
    },
    /// The certificates given are none.
    #[error("the CA certificates given can't be used: {0}")]
    Given(#[source] TrustBundleError),
    /// The process is ending.
    #[error("the certificates were not read: the process is ending")]
    Ending,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OutwardError {
    /// Nobody can be verified.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// The name can be nobody's.
    #[error("`{0}` can be no server's name")]
    Name(String),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// What is wrong with a file of which the last good content stays in force.
type Report = dyn Fn(&AnchorsError) + Send + Sync;

/// Opens TLS connections to places outside of the mesh. Clones share the sessions.
#[derive(Clone)]
pub struct OutwardConnector {
    /// Guards the configurations; held for a look-up, never while files are read or a handshake runs.
    configs: Arc<Mutex<Configs>>,
    report: Arc<Report>,
}

type Configs = HashMap<(Anchors, Offer), Kept>;

#[derive(Clone)]
struct Kept {
    config: Arc<ClientConfig>,
    /// What it was made of, of a file.
    content: Arc<[u8]>,
    looked: Instant,
    used: Instant,
    is_bad: bool,
}

impl OutwardConnector {
    /// `report` hears once of each file that can't be used any more while its last good content stays in force.
    pub fn new(report: impl Fn(&AnchorsError) + Send + Sync + 'static) -> Self {
        Self { configs: Arc::default(), report: Arc::new(report) }
    }

    /// Makes a TLS connection over `io` to a place that must prove to be `name`, a host name or an address. The deadline
    /// is the caller's.
    ///
    /// # Errors
    /// [`OutwardError`] says precisely why.
    ///
    /// # Cancel safety
    /// Cancelling drops `io`.
    pub async fn connect<IO>(
        &self,
        io: IO,
        name: &str,
        anchors: &Anchors,
        offer: Offer,
    ) -> Result<OutwardStream<IO>, OutwardError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config(anchors, offer).await?;
        let server =
            ServerName::try_from(name.to_owned()).map_err(|_| OutwardError::Name(name.to_owned()))?;
        let tls = TlsConnector::from(config)
            .connect(server, ReadAhead::new(io))
            .await
            .map_err(HandshakeError::from)?;
        let alpn = Alpn::agreed(tls.get_ref().1.alpn_protocol());
        if offer == Offer::Http2 && alpn != Some(Alpn::H2) {
            return Err(HandshakeError::from(crate::HandshakeFailure::NoCommonProtocol).into());
        }
        Ok(OutwardStream { tls, alpn })
    }

    async fn config(&self, anchors: &Anchors, offer: Offer) -> Result<Arc<ClientConfig>, AnchorsError> {
        let key = (anchors.clone(), offer);
        let now = Instant::now();
        let known = {
            let mut configs = self.configs();
            let known = configs.get_mut(&key);
            match known {
                Some(kept) => {
                    kept.used = now;
                    if now.saturating_duration_since(kept.looked) < anchors.fresh() {
                        return Ok(kept.config.clone());
                    }
                    // Whoever comes meanwhile takes what there is.
                    kept.looked = now;
                    Some(kept.clone())
                }
                None => None,
            }
        };
        let made = {
            let (anchors, known) = (anchors.clone(), known.clone());
            tokio::task::spawn_blocking(move || make(&anchors, offer, known)).await
        };
        let (made, known) = match (made.unwrap_or(Err(AnchorsError::Ending)), known) {
            (Ok((config, content)), _) => {
                (Kept { config, content, looked: now, used: now, is_bad: false }, None)
            }
            (Err(error), Some(known)) => {
                let said = known.is_bad;
                (Kept { is_bad: true, looked: now, used: now, ..known }, Some((error, said)))
            }
            (Err(error), None) => return Err(error),
        };
        if let Some((error, false)) = known {
            (self.report)(&error);
        }
        let config = made.config.clone();
        let mut configs = self.configs();
        if configs.len() >= CONFIGS_MAX && !configs.contains_key(&key) {
            let oldest = configs.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                configs.remove(&oldest);
            }
        }
        configs.insert(key, made);
        Ok(config)
    }

    fn configs(&self) -> MutexGuard<'_, Configs> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OutwardConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutwardConnector")
    }
}

impl Anchors {
    /// For how long what was read is not looked at again.
    fn fresh(&self) -> Duration {
        match self {
            Self::System => SYSTEM_FRESH,
            Self::File(_) => FILE_FRESH,
            Self::Certificates(_) => Duration::MAX,
        }
    }
}

/// The configuration, and what it was made of. The known one if nothing has changed, with its sessions.
fn make(
    anchors: &Anchors,
    offer: Offer,
    known: Option<Kept>,
) -> Result<(Arc<ClientConfig>, Arc<[u8]>), AnchorsError> {
    let (roots, content): (RootCertStore, Arc<[u8]>) = match anchors {
        Anchors::System => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(AnchorsError::NoSystem);
            }
            (roots, Arc::default())
        }
        Anchors::Certificates(given) => {
            let bundle = TrustBundle::from_der(given.iter().cloned()).map_err(AnchorsError::Given)?;
            (RootCertStore { roots: bundle.anchors().to_vec() }, Arc::default())
        }
        Anchors::File(path) => {
            let content = read(path)?;
            if let Some(known) = known.filter(|known| *known.content == *content) {
                return Ok((known.config, known.content));
            }
            let bundle = TrustBundle::from_pem(&String::from_utf8_lossy(&content))
                .map_err(|source| AnchorsError::File { path: path.clone(), source })?;
            (RootCertStore { roots: bundle.anchors().to_vec() }, content.into())
        }
    };
    let mut config = provider::outward().with_root_certificates(roots).with_no_client_auth();
    let offered: &[Alpn] = match offer {
        Offer::Http2 => &[Alpn::H2],
        Offer::Http1 => &[Alpn::Http1],
        Offer::Http => &[Alpn::H2, Alpn::Http1],
        Offer::Opaque => &[],
    };
    config.alpn_protocols = offered.iter().map(|alpn| alpn.wire()).collect();
    Ok((Arc::new(config), content))
}

fn read(path: &Path) -> Result<Vec<u8>, AnchorsError> {
    let unread = |source| AnchorsError::Read { path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(FILE_MAX + 1).read_to_end(&mut content).map_err(unread)?;
    if u64::try_from(content.len()).is_ok_and(|length| length > FILE_MAX) {
        return Err(AnchorsError::TooLarge { path: path.to_owned() });
    }
    Ok(content)
}

/// A connection with a place outside of the mesh.
pub struct OutwardStream<IO> {
    tls: tokio_rustls::client::TlsStream<ReadAhead<IO>>,
    alpn: Option<Alpn>,
}

impl<IO> OutwardStream<IO> {
    /// What is spoken inside, if the place has agreed on anything.
    pub fn alpn(&self) -> Option<Alpn> {
        self.alpn
    }
}

impl<IO> fmt::Debug for OutwardStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutwardStream").field("alpn", &self.alpn).finish_non_exhaustive()
    }
}

stream_of_tls!(OutwardStream);
