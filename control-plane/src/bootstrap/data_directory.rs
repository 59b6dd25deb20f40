//! The data directory: everything that must survive the process, and proof that no other process uses it.
//!
//! Enters: a path. Leaves: the directory, private and locked for as long as this process lives, and the names of the
//! files in it. Never here: what the files mean.

use mesh_process::file::create_private_dir;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirectoryError {
    /// It cannot be created, opened or written.
    #[error("cannot use the data directory (it must be a folder the user of the control plane can write)")]
    Unusable(#[from] io::Error),
    /// Another process has it.
    #[error(
        "the data directory {} is in use by another control plane; stop that one, or give another --data-dir",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// A directory that is ours alone.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Held by the kernel until the process ends, however it ends.
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory when it is missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// When it cannot be used, or another control plane uses it.
    pub fn open(path: &Path) -> Result<Self, DataDirectoryError> {
        create_private_dir(path)?;
        let lock_path = path.join("lock");
        let naming =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", lock_path.display()));
        let lock =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&lock_path).map_err(naming)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirectoryError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(DataDirectoryError::Unusable(naming(error))),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The embedded store's file.
    pub fn store(&self) -> PathBuf {
        self.path.join("store.redb")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_serves_one_process_at_a_time() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let path = parent.path().join("data");
        let first = DataDirectory::open(&path).expect("free");
        let problem = DataDirectory::open(&path).expect_err("taken").to_string();
        assert!(problem.contains("in use by another control plane"), "{problem}");
        drop(first);
        DataDirectory::open(&path).expect("free again");
        let mode = std::fs::metadata(&path).expect("created").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_named() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let file = parent.path().join("file");
        std::fs::write(&file, "").expect("writable");
        let problem = DataDirectory::open(&file).expect_err("a file");
        let source = std::error::Error::source(&problem).expect("the system's word").to_string();
        assert!(source.contains(&file.display().to_string()), "{source}");
    }
}
