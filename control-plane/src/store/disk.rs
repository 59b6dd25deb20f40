//! The file: a redb database with one table of objects and one of facts about the file. What enters is a batch of
//! decided changes, made durable by one commit; what leaves is the content at opening. Blocking: used by the writer
//! thread only.

use super::image::Image;
use super::stored_kind::{kind_name, kind_of};
use super::{Document, Event, Key, OpenError, Revision, StoreError, Stored};
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// (kind as `plural.group`, namespace, name) to (revision, JSON).
const OBJECTS: TableDefinition<'_, (&str, &str, &str), (u64, &[u8])> = TableDefinition::new("objects");
/// Facts about the file: its format, and the revision of the last write.
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const FORMAT: u64 = 1;
/// redb's page cache: small, since every read is served from the image and a commit touches few pages.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// An open file.
pub(super) struct Disk {
    database: Database,
}

/// Opens the bytes under the database; tests open ones that fail on demand.
pub(super) type Backing = Box<dyn Fn() -> Result<Database, redb::Error> + Send>;

/// The real file, created with mode 0600 if it is not there.
pub(super) fn file(path: PathBuf) -> Backing {
    Box::new(move || {
        let is_new = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if is_new && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // The name must survive a crash as well as the content.
            File::open(folder)?.sync_all()?;
        }
        let backend = redb::backends::FileBackend::new(file)?;
        Ok(builder().create_with_backend(backend)?)
    })
}

/// How every database is opened: a plain open may panic on a file that was altered, so the checksums are verified.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

impl Disk {
    /// Opens or creates the file and reads all of it.
    pub(super) fn open(path: &Path, backing: &Backing) -> Result<(Self, Image), OpenError> {
        let wrong = |error: redb::Error| open_error(path, error);
        let database = backing().map_err(wrong)?;
        let disk = Self { database };
        if let Some(found) = disk.prepare().map_err(wrong)? {
            return Err(OpenError::Format { path: path.into(), found, known: FORMAT });
        }
        let image = disk.read().map_err(wrong)?;
        Ok((disk, image))
    }

    /// Creates the tables in a new file; returns the format of one this version cannot read.
    fn prepare(&self) -> Result<Option<u64>, redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut facts = transaction.open_table(FACTS)?;
            let found = facts.get("format")?.map(|format| format.value());
            match found {
                Some(FORMAT) => return Ok(None),
                Some(other) => return Ok(Some(other)),
                None => {}
            }
            facts.insert("format", FORMAT)?;
            facts.insert("revision", 0)?;
            transaction.open_table(OBJECTS)?;
        }
        transaction.commit()?;
        Ok(None)
    }

    fn read(&self) -> Result<Image, redb::Error> {
        let transaction = self.database.begin_read()?;
        let revision = transaction.open_table(FACTS)?.get("revision")?.map_or(0, |revision| revision.value());
        let mut objects = Vec::new();
        for row in transaction.open_table(OBJECTS)?.iter()? {
            let (key, value) = row?;
            let ((kind, namespace, name), (at, json)) = (key.value(), value.value());
            let Some(kind) = kind_of(kind) else {
                tracing::warn!(
                    kind,
                    namespace,
                    name,
                    "the store holds an object of a kind this version does not know; it is kept"
                );
                continue;
            };
            let key = Key::new(kind, namespace, name);
            let object = Document::parse(json)
                .map_err(|error| redb::Error::Corrupted(format!("{key} is not JSON: {error}")))?;
            objects.push(Stored { key, revision: Revision(at), object });
        }
        Ok(Image::new(Revision(revision), objects))
    }

    /// Makes all decided changes durable with one fsync, or none of them.
    pub(super) fn commit(&self, events: &[Event]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut facts = transaction.open_table(FACTS)?;
            for event in events {
                let Stored { key, revision, object } = event.stored();
                let kind = kind_name(key.kind);
                let row = (kind.as_str(), key.namespace.as_str(), key.name.as_str());
                match event {
                    Event::Put { .. } => objects.insert(row, (revision.0, object.as_ref()))?,
                    Event::Deleted { .. } => objects.remove(row)?,
                };
                facts.insert("revision", revision.0)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// What a failed write means for the one who asked for it.
pub(super) fn write_error(error: redb::Error) -> StoreError {
    if let redb::Error::Io(error) = error {
        return match is_full(&error) {
            true => StoreError::Full(Arc::new(error)),
            false => StoreError::Unavailable(error.to_string()),
        };
    }
    StoreError::Unavailable(error.to_string())
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    [StorageFull, QuotaExceeded, FileTooLarge].contains(&error.kind())
}

fn open_error(path: &Path, error: redb::Error) -> OpenError {
    let path = path.to_owned();
    if matches!(error, redb::Error::DatabaseAlreadyOpen) {
        return OpenError::Locked(path);
    }
    // redb reports a file that is not its own, or is cut short, as an I/O error of these kinds.
    let is_content = |kind| matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    if let redb::Error::Io(source) = error {
        return match is_content(source.kind()) {
            true => OpenError::Damaged { path, detail: source.to_string() },
            false => OpenError::Io { path, source },
        };
    }
    OpenError::Damaged { path, detail: error.to_string() }
}
