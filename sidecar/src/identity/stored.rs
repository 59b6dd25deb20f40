//! The SVID on disk: certificate chain and key in one private PEM file, so that they can never belong to different
//! certificates. A sidecar that restarts while the control plane is away goes on with it as long as it is valid.

use crate::bootstrap::State;
use mesh_mtls::{Svid, SvidError, pem};
use mesh_names::SpiffeId;
use mesh_process::file::write_private;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why the SVID on disk is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    /// The file can't be read as certificates and a key.
    #[error(transparent)]
    File(#[from] pem::PemFileError),
    /// Its permissions can't be narrowed.
    #[error("its permissions cannot be narrowed: {0}")]
    Permissions(#[from] io::Error),
    /// What is in it makes no SVID.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// It names another workload.
    #[error("it is the certificate of {0}")]
    Other(SpiffeId),
    /// It was valid once.
    #[error("it has expired")]
    Expired,
}

/// Where it is.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    /// In this state directory.
    pub(crate) fn new(state: &State) -> Self {
        Self { path: state.path("svid.pem") }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The SVID kept there for this workload, if it is still valid at `now`; nothing if none was ever kept.
    ///
    /// # Errors
    /// [`StoredError`] if there is one that can't be used.
    pub(crate) fn load(&self, identity: &SpiffeId, now: SystemTime) -> Result<Option<Svid>, StoredError> {
        if !self.path.exists() {
            return Ok(None);
        }
        crate::bootstrap::narrow(&self.path)?;
        let svid = Svid::new(pem::read_certificates(&self.path)?, pem::read_key(&self.path)?)?;
        if svid.spiffe_id() != identity {
            return Err(StoredError::Other(svid.spiffe_id().clone()));
        }
        if svid.not_after() <= now {
            return Err(StoredError::Expired);
        }
        Ok(Some(svid))
    }

    /// Keeps this one instead of the one before.
    ///
    /// # Errors
    /// As [`write_private`]; the old one stays.
    pub(crate) fn save(&self, svid: &Svid) -> io::Result<()> {
        let text = format!("{}{}", svid.key().to_pem(), svid.chain_pem());
        write_private(&self.path, text.as_bytes())
    }
}
