//! What the data directory holds, open: the authority, the secret of the join tokens, the store.
//!
//! Enters: the locked directory. Leaves: its contents, made on the first start. Never here: what they are used for.

use super::AppError;
use crate::bootstrap::{DataDirectory, Settings, StoreKind};
use crate::ca::{Authority, Tokens};
use crate::store::{EmbeddedStore, Store};
use prometheus::Registry;
use std::sync::Arc;
use std::time::SystemTime;

/// The contents of the data directory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) authority: Arc<Authority>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) store: Arc<dyn Store>,
}

impl Kept {
    /// Opens everything. Blocks.
    pub(crate) fn open(
        directory: &DataDirectory,
        settings: &Settings,
        families: &Registry,
    ) -> Result<Self, AppError> {
        let authority = Authority::open(directory.path(), &settings.trust_domain, SystemTime::now())?;
        let tokens = Tokens::open(directory.path(), &settings.trust_domain)?;
        let store: Arc<dyn Store> = match settings.store {
            StoreKind::Embedded => Arc::new(EmbeddedStore::open(&directory.store(), families)?),
        };
        Ok(Self { authority: Arc::new(authority), tokens: Arc::new(tokens), store })
    }
}
