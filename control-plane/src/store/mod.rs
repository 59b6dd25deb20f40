//! Where desired state lives. What enters is a JSON object under a [`Key`] with an expectation about what is there now;
//! what leaves is the object with the [`Revision`] that wrote it, lists at one revision, and watches of every change
//! after a revision. An acknowledged write is on disk. Nothing here knows what an object means: names, validation,
//! `metadata` and access belong to `api`.
//!
//! ```text
//! put/delete ──> one writer: decide (pure) ──> disk, one fsync for all that wait ──> image + history ──> reply
//! get/list   ──> the current image                                                     └──> watches
//! ```

mod disk;
mod document;
mod embedded;
mod error;
mod etcd;
mod image;
mod leadership;
mod stored_kind;
mod watch;

#[cfg(test)]
mod conformance;

pub use document::Document;
pub use embedded::EmbeddedStore;
pub use error::{OpenError, StoreError};
pub use etcd::{Disagreement, EtcdEndpoint, EtcdOptions, EtcdStore, EtcdTls, MeshRecord};
pub use leadership::{CONTROLLERS, Leadership, Replica, as_leader};
pub use watch::{Feed, Watch};

#[cfg(test)]
pub(crate) use image::HISTORY_EVENTS;

use futures_util::future::BoxFuture;
use manifests::Kind;
use serde_json::Value;
use std::fmt;

/// What names an object: ordered by kind, then namespace, then name, which is the order of lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Where it lives; empty for a cluster-scoped kind.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl Key {
    /// Joins the three parts.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.singular())?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// A point in the store's history: every write takes the next one, and no two writes share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An object as it is stored. Cheap to clone but for its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What names it.
    pub key: Key,
    /// The write that made it what it is (or, in [`Event::Deleted`], that deleted it).
    pub revision: Revision,
    /// The object, without `metadata.resourceVersion`: that is `revision`.
    pub object: Document,
}

/// What a write expects to find; anything else fails it and changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there.
    Any,
    /// No object under the key.
    Absent,
    /// The object as that revision wrote it.
    At(Revision),
}

/// One change, as a watch tells it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An object was created or changed.
    Put {
        /// The object after the write.
        stored: Stored,
        /// The object before it; `None` when the write created it.
        previous: Option<Stored>,
    },
    /// An object was deleted.
    Deleted {
        /// Its last state, with the revision of the deletion.
        stored: Stored,
        /// The revision that wrote that state.
        written: Revision,
    },
}

impl Event {
    /// The revision of the write.
    pub fn revision(&self) -> Revision {
        self.stored().revision
    }

    /// The object the event is about.
    pub fn stored(&self) -> &Stored {
        match self {
            Self::Put { stored, .. } | Self::Deleted { stored, .. } => stored,
        }
    }
}

/// Objects in key order, all as they were at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// The objects.
    pub items: Vec<Stored>,
    /// The store's revision: a watch from here misses nothing and repeats nothing.
    pub revision: Revision,
}

/// Keeps objects. Object safe: the server holds an `Arc<dyn Store>`.
///
/// Dropping the future of a write does not undo the write; all other futures may be dropped freely.
pub trait Store: Send + Sync + 'static {
    /// The object under a key, as of now.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;

    /// All objects of a kind (of every kind, for `None`), in one namespace or in all.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list<'a>(
        &'a self,
        kind: Option<Kind>,
        namespace: Option<&'a str>,
    ) -> BoxFuture<'a, Result<List, StoreError>>;

    /// The same as they were at an earlier revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the history no longer reaches back to `at`, or `at` has not happened.
    fn list_at<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
        at: Revision,
    ) -> BoxFuture<'a, Result<List, StoreError>>;

    /// Writes an object; when this returns it survives a crash.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::Conflict`] and [`StoreError::NotFound`] as `expect` asks;
    /// [`StoreError::Full`] and [`StoreError::Unavailable`] when the write could not be made durable.
    fn put(&self, key: Key, object: Value, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>>;

    /// Deletes an object and returns its last state with the revision of the deletion.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when nothing is there; otherwise as for [`Store::put`].
    fn delete(&self, key: Key, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>>;

    /// Every change after `from` of one kind (of every kind, for `None`), in the order of revisions, without gap or
    /// repetition. A reader that falls too far behind gets [`StoreError::Compacted`] and must list again.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the history no longer reaches back to `from`, or `from` has not happened.
    fn watch(&self, kind: Option<Kind>, from: Revision) -> BoxFuture<'_, Result<Watch, StoreError>>;

    /// The revision of the last write.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// This process's name among those that share the store; empty if it is the only one that can.
    fn replica(&self) -> &str;

    /// The processes that share the store and are alive, with this one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn replicas(&self) -> BoxFuture<'_, Result<Vec<Replica>, StoreError>>;

    /// Waits until this process holds an office that one process at a time holds. One that dies loses it in seconds.
    fn lead(&self, office: &'static str) -> BoxFuture<'_, Leadership>;

    /// Gives up what this process holds, so that others need not wait until it is missed. What is written stays.
    fn close(&self) -> BoxFuture<'_, ()>;
}
