//! Files that hold keys and state: written whole or not at all, readable by their owner only.
//!
//! Enters: bytes. Leaves: a file that is either the old one or the new one, also after a power cut. Never here: what
//! the bytes mean. Everything blocks: call it from a control thread or `spawn_blocking`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Replaces a file atomically: a temporary file beside it (mode 0600), fsync, rename, fsync of the directory.
///
/// # Errors
/// When any step fails, with the path in the message; the file that was there stays as it was.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, 0o600)
}

/// As [`write_private`], for a file that others may read, such as a trust bundle (mode 0644).
///
/// # Errors
/// When any step fails, with the path in the message; the file that was there stays as it was.
pub fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, 0o644)
}

/// Creates a directory and its parents, those that are missing with mode 0700. One that exists is left alone.
///
/// # Errors
/// When it cannot be created, or something else has its name; with the path in the message.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| naming(path, &error))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let written = fill(&temporary, bytes, mode).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // The write has failed already; a left-over temporary file is overwritten by the next try.
        drop(std::fs::remove_file(&temporary));
        return Err(naming(path, &error));
    }
    sync_directory(path).map_err(|error| naming(path, &error))
}

fn fill(temporary: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // `create_new`, so that neither a link laid there nor an older file's wider mode is taken over.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} does not name a file", path.display()))
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

/// A rename is durable only when the directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("it was written").permissions().mode() & 0o777
    }

    #[test]
    fn the_file_is_replaced_whole_and_stays_private() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("key.pem");
        std::fs::write(&path, "old and longer than the new").expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("ours");
        write_private(&path, b"new").expect("writable");
        assert_eq!(std::fs::read(&path).expect("readable"), b"new");
        assert_eq!(mode(&path), 0o600, "the wider mode of the old file is not taken over");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("readable").count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_left_over_temporary_file_does_not_block_the_next_write() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join(".state.new"), "half").expect("writable");
        let path = directory.path().join("state");
        write_private(&path, b"whole").expect("writable");
        assert_eq!(std::fs::read(&path).expect("readable"), b"whole");
    }

    #[test]
    fn a_failure_names_the_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("missing/key.pem");
        let problem = write_private(&path, b"new").expect_err("no such directory").to_string();
        assert!(problem.contains("missing/key.pem"), "{problem}");
    }

    #[test]
    fn directories_are_private_and_an_existing_one_is_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a/b");
        create_private_dir(&path).expect("creatable");
        create_private_dir(&path).expect("existing is fine");
        assert_eq!(mode(&path), 0o700);
        std::fs::write(path.join("file"), "").expect("writable");
        assert!(create_private_dir(&path.join("file")).is_err());
    }
}
