//! Why the store refuses: errors of a running store, which its callers act on, and of opening one, which people read.

use super::{Key, Revision};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a running store refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The write expected nothing under the key.
    #[error("{key} already exists")]
    AlreadyExists {
        /// Which.
        key: Key,
    },
    /// The write expected another revision.
    #[error("{key} is at revision {found}, not {expected}")]
    Conflict {
        /// Which.
        key: Key,
        /// The revision the write was based on.
        expected: Revision,
        /// The revision that is there.
        found: Revision,
    },
    /// Nothing is under the key.
    #[error("{key} does not exist")]
    NotFound {
        /// Which.
        key: Key,
    },
    /// The history does not reach from the revision asked for to now: list again, then watch from the list's revision.
    #[error("the history holds revisions after {oldest} up to {newest}, not {asked}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest revision a watch can start from.
        oldest: Revision,
        /// The revision of the last write.
        newest: Revision,
    },
    /// No room on the disk. Nothing was written; reads go on, and writes succeed again once there is room.
    #[error("no space left for the store: free some on the disk that holds it")]
    Full(#[source] Arc<io::Error>),
    /// The write could not be made durable; it may or may not have happened.
    #[error("the store could not write: {0}")]
    Unavailable(String),
    /// The store cannot be asked now. Nothing was written.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error("{path} is in use by another process: stop it, or give this one another data directory", path = .0.display())]
    Locked(PathBuf),
    /// The file is not a store, or no longer one.
    #[error("{path} is damaged ({detail}): restore it from a backup, or move it away to start empty", path = .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error("{path} has format {found}, and this version reads format {known}: run the version that wrote it", path = .path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The format it has.
        found: u64,
        /// The format this version reads.
        known: u64,
    },
    /// No quorum of etcd answers.
    #[error("{0}; is etcd running there, and does it take this client's certificate?")]
    Unreachable(String),
    /// Another part counts under the same names.
    #[error("the store's metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
    /// The operating system refused.
    #[error("cannot open {path}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
