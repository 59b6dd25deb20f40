//! The state directory: what survives a restart. One process at a time owns it, by a lock on a file in it that the
//! operating system takes back however the process ends.

use mesh_names::Subdomain;
use mesh_process::file::{create_private_dir, write_private};
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    lock: File,
}

/// Why the state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It can't be created, or nothing can be written in it.
    #[error(
        "the state directory cannot be used: {source}; pass --state-dir with one that this user can write"
    )]
    Unusable {
        /// What the operating system said, with the path.
        source: io::Error,
    },
    /// Others may change what is in it.
    #[error(
        "the state directory {} can be changed by other users (mode {mode:o}); pass --state-dir with one of this user's own",
        path.display()
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another sidecar uses it.
    #[error("another sidecar uses the state directory {}; pass --state-dir with one of its own to each", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

impl State {
    /// Creates the directory if need be (mode 0700) and locks it. One that others can read is accepted: every file in it
    /// is private by itself.
    ///
    /// # Errors
    /// [`StateError`], each with what to do.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { source };
        let naming =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
        create_private_dir(directory).map_err(unusable)?;
        let mode = std::fs::metadata(directory).map_err(|error| unusable(naming(error)))?.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(StateError::Open { path: directory.to_owned(), mode });
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))
            .map_err(|error| unusable(naming(error)))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked { path: directory.to_owned() }),
            Err(TryLockError::Error(error)) => Err(unusable(naming(error))),
        }
    }

    /// Goes on with a directory that the process before has locked: the lock is the file's, and lives as long as either.
    pub(crate) fn inherited(directory: &Path, lock: File) -> Self {
        Self { directory: directory.to_owned(), lock }
    }

    /// The file whose lock this is.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The workload's name: the one given, or `<service account>-<suffix>` with a suffix chosen once and kept here.
    ///
    /// # Errors
    /// [`StateError::Unusable`] if the name can't be kept.
    pub fn workload_name(&self, given: Option<&Subdomain>, account: &str) -> Result<Subdomain, StateError> {
        if let Some(name) = given {
            return Ok(name.clone());
        }
        let path = self.path("name");
        let kept = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        if let Some(name) = kept {
            return Ok(name);
        }
        // The account is cut so that the name is one DNS label; 32 random bits make a clash within a service unlikely.
        let account = account.get(..account.len().min(54)).unwrap_or(account).trim_end_matches('-');
        let suffix = std::hash::RandomState::new().build_hasher().finish() & 0xffff_ffff;
        let name = format!("{account}-{suffix:08x}");
        write_private(&path, format!("{name}\n").as_bytes())
            .map_err(|source| StateError::Unusable { source })?;
        name.parse().map_err(|error: mesh_names::NameError| StateError::Unusable {
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })
    }
}

/// Makes a file readable by its owner only, should it have been copied in by hand.
pub(crate) fn narrow(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state/shop.orders");
        (parent, path)
    }

    #[test]
    fn a_state_directory_belongs_to_one_process() {
        let (_parent, path) = fresh();
        let first = State::open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700);
        let error = State::open(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "another sidecar uses the state directory {}; pass --state-dir with one of its own to each",
                path.display()
            )
        );
        drop(first);
        State::open(&path).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let (_parent, path) = fresh();
        drop(State::open(&path).unwrap());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        let error = State::open(&path).unwrap_err().to_string();
        assert!(error.contains("can be changed by other users (mode 777)"), "{error}");
    }

    #[test]
    fn a_name_is_chosen_once() {
        let (_parent, path) = fresh();
        let state = State::open(&path).unwrap();
        let name = state.workload_name(None, "orders").unwrap();
        assert!(name.as_str().starts_with("orders-") && name.as_str().len() == 15, "{name}");
        assert_eq!(state.workload_name(None, "orders").unwrap(), name);
        let given = "orders-a".parse().unwrap();
        assert_eq!(state.workload_name(Some(&given), "orders").unwrap(), given);
        let long = "a".repeat(63);
        std::fs::remove_file(state.path("name")).unwrap();
        assert_eq!(state.workload_name(None, &long).unwrap().as_str().len(), 63);
    }
}
