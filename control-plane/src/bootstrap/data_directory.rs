//! The data directory: everything that must survive the process, and proof that no other process uses it.
//!
//! Enters: a path. Leaves: the directory, private and locked for as long as this process lives, and the names of the
//! files in it. Never here: what the files mean.

use crate::ca::random;
use mesh_process::file::{create_private_dir, write_private};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a control plane's name.
const NAME_BYTES: usize = 8;

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

    /// What this control plane is called among others that share its store: made once, at random.
    ///
    /// # Errors
    /// When the file with it can't be read or written.
    pub fn replica_name(&self) -> io::Result<String> {
        let path = self.path.join("replica");
        let naming = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match std::fs::read_to_string(&path) {
            Ok(name) if is_replica_name(name.trim()) => return Ok(name.trim().to_owned()),
            Ok(_) => {
                let advice = "it holds no name of a control plane: remove it to have another one made";
                return Err(naming(io::Error::new(io::ErrorKind::InvalidData, advice)));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(naming(error)),
            Err(_) => {}
        }
        let name: String = random::bytes::<NAME_BYTES>()
            .map_err(io::Error::other)?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        write_private(&path, name.as_bytes()).map_err(naming)?;
        Ok(name)
    }
}

fn is_replica_name(text: &str) -> bool {
    text.len() == 2 * NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
    fn a_control_plane_keeps_its_name() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = DataDirectory::open(parent.path()).expect("free");
        let name = directory.replica_name().expect("made");
        assert_eq!(directory.replica_name().expect("read"), name);
        std::fs::write(parent.path().join("replica"), "me").expect("writable");
        let problem = directory.replica_name().expect_err("no name").to_string();
        assert!(problem.contains("replica: it holds no name of a control plane"), "{problem}");
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
