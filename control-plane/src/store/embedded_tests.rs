//! What the embedded store promises beyond every store: durability, and what it does when the disk fails.

use super::super::{conformance, image::HISTORY_EVENTS};
use super::*;
use redb::{Database, StorageBackend};
use serde_json::json;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

fn open(path: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(path, &Registry::new())
}

fn key(n: usize) -> Key {
    Key::new(Kind::Service, "shop", format!("s{n}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_store_keeps_every_promise_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(Arc::new(open(&folder.path().join("store.redb")).unwrap())).await;
}

#[tokio::test]
async fn reopened_store_holds_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    let writes = (0..200).map(|n| store.put(key(n), json!({"n": n}), Expect::Absent));
    futures_util::future::try_join_all(writes).await.unwrap();
    store.delete(key(7), Expect::Any).await.unwrap();
    let before = store.list(None, None).await.unwrap();
    drop(store);
    let after = open(&path).unwrap();
    assert_eq!(after.list(None, None).await.unwrap(), before);
    let compacted = after.watch(None, Revision(before.revision.0 - 1)).await.err();
    assert!(matches!(compacted, Some(StoreError::Compacted { .. })), "history is not kept: {compacted:?}");
    let next = after.put(key(7), json!({}), Expect::Absent).await.unwrap();
    assert_eq!(next.revision.0, before.revision.0 + 1, "revisions go on");
}

#[tokio::test]
async fn file_copied_while_running_holds_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    for n in 0..20 {
        store.put(key(n), json!({"n": n}), Expect::Absent).await.unwrap();
        // What a crash at this moment would leave behind.
        let copy = folder.path().join(format!("copy-{n}.redb"));
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(open(&copy).unwrap().list(None, None).await.unwrap().items.len(), n + 1);
    }
}

#[tokio::test]
async fn store_file_is_private_and_used_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = open(&path).err().unwrap();
    assert!(matches!(second, OpenError::Locked(_)), "{second}");
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(store);
    open(&path).unwrap();
}

#[test]
fn damaged_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    for content in [b"not a database at all".repeat(1000), vec![0; 10], vec![0x5a; 1 << 20]] {
        std::fs::write(&path, content).unwrap();
        let error = open(&path).err().unwrap().to_string();
        assert!(error.contains("store.redb is damaged"), "{error}");
        assert!(error.contains("restore it from a backup"), "{error}");
    }
}

#[tokio::test]
async fn flipped_bytes_never_give_wrong_objects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    let writes = (0..50).map(|n| store.put(key(n), json!({"n": n}), Expect::Absent));
    futures_util::future::try_join_all(writes).await.unwrap();
    let good = store.list(None, None).await.unwrap();
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    for place in (64..bytes.len()).step_by(bytes.len() / 97) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        std::fs::write(&path, damaged).unwrap();
        if let Ok(store) = open(&path) {
            assert_eq!(store.list(None, None).await.unwrap().items, good.items, "byte {place}");
        }
    }
}

#[tokio::test]
async fn slow_watch_is_told_to_list_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.redb")).unwrap();
    let start = store.revision().await.unwrap();
    let mut slow = store.watch(None, start).await.unwrap();
    for _ in 0..=HISTORY_EVENTS / 1024 {
        let writes = (0..1024).map(|n| store.put(key(n), json!({}), Expect::Any));
        futures_util::future::try_join_all(writes).await.unwrap();
    }
    assert!(matches!(slow.next().await, Err(StoreError::Compacted { .. })));
    assert!(matches!(store.watch(None, start).await, Err(StoreError::Compacted { .. })));
    store.watch(None, store.revision().await.unwrap()).await.unwrap();
}

/// Memory that stands for a disk which can be full.
#[derive(Debug, Clone, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    is_full: Arc<AtomicBool>,
}

impl Memory {
    fn room(&self) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        out.copy_from_slice(&self.bytes.lock().unwrap()[offset..offset + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.room()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        let offset = offset as usize;
        self.bytes.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn full_disk_refuses_writes_and_keeps_reads_until_there_is_room() {
    let memory = Memory::default();
    let backing = {
        let memory = memory.clone();
        Box::new(move || -> Result<Database, redb::Error> {
            Ok(disk::builder().create_with_backend(memory.clone())?)
        })
    };
    let store = EmbeddedStore::with_backing(Path::new("memory"), backing, &Registry::new()).unwrap();
    let first = store.put(key(1), json!({"n": 1}), Expect::Absent).await.unwrap();
    let mut watch = store.watch(None, first.revision).await.unwrap();
    memory.is_full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = store.put(key(2), json!({"n": 2}), Expect::Absent).await;
        assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
        assert_eq!(store.get(&key(1)).await.unwrap(), Some(first.clone()));
        assert_eq!(store.list(None, None).await.unwrap().items.len(), 1);
    }
    memory.is_full.store(false, Ordering::SeqCst);
    let second = store.put(key(2), json!({"n": 2}), Expect::Absent).await.unwrap();
    assert_eq!(watch.next().await.unwrap().stored(), &second, "the watch went on");
}
