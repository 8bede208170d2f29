//! Where objects are kept: keys and bytes under one global, monotonic revision, with a history that watches resume from.
//!
//! A store knows nothing of kinds or JSON. Three backends share one state (`state`): [`memory`], for tests and for programs that keep
//! nothing; [`embedded`], one file, whose acknowledged writes are on disk before they are acknowledged, or seen by anyone; and [`etcd`],
//! which several servers may share. One suite, [`conformance`], judges every backend.

pub mod backup;
pub mod conformance;
pub mod embedded;
pub mod etcd;
mod location;
pub mod memory;
mod state;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use embedded::Embedded;
pub use etcd::Etcd;
pub use location::Location;
pub use memory::Memory;

/// Number of a committed write. Every write has one of its own, greater than all before; the API prints it as `resourceVersion`.
pub type Revision = u64;

/// A key with its value, as it stood after the write `revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The bytes that were written.
    pub value: Bytes,
    /// The write that put them there.
    pub revision: Revision,
}

/// One write as the history remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The write's revision.
    pub revision: Revision,
    /// The key written.
    pub key: Arc<str>,
    /// What was written; `None` when the key was deleted.
    pub value: Option<Bytes>,
    /// What stood there before; `None` when the key was created.
    pub previous: Option<Entry>,
}

/// A write to one key, with what it supposes about the key.
#[derive(Debug, Clone)]
pub enum Write {
    /// Puts a value where none is.
    Create {
        /// The key.
        key: Arc<str>,
        /// Its value.
        value: Bytes,
    },
    /// Replaces the value that the write `expected` left.
    Update {
        /// The key.
        key: Arc<str>,
        /// Its new value.
        value: Bytes,
        /// The revision that the key must still have.
        expected: Revision,
    },
    /// Takes away the value that the write `expected` left.
    Delete {
        /// The key.
        key: Arc<str>,
        /// The revision that the key must still have.
        expected: Revision,
    },
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

/// Which part of a prefix a list wants.
#[derive(Debug, Clone, Default)]
pub struct Range<'a> {
    /// The revision to read at; `None` for the newest.
    pub at: Option<Revision>,
    /// Only keys after this one.
    pub after: Option<&'a str>,
    /// At most so many entries; `None` for all.
    pub limit: Option<usize>,
}

/// Entries in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision that was read.
    pub revision: Revision,
    /// How many more entries follow after the last one.
    pub remaining: usize,
}

/// Why a store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The write supposes something about its key that is not so; `actual` is the key's revision, `None` if there is no such key.
    /// Read again and decide again.
    #[error("the key is at revision {actual:?}, which is not what the write supposes")]
    Precondition {
        /// What the key's revision is.
        actual: Option<Revision>,
    },
    /// The revision lies before the kept history. List again.
    #[error("revision {asked} is no longer kept; the oldest is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest revision that can be asked for.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {asked} has not happened yet; the newest is {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The medium failed: nothing was written, and later writes may fail too.
    #[error("the store failed to {step}: {cause}")]
    Medium {
        /// What was tried.
        step: &'static str,
        /// What the medium said.
        cause: Arc<str>,
    },
    /// The medium did not answer a write, which may have been done all the same. Read before deciding again.
    #[error("the store did not say whether it wrote: {cause}")]
    Uncertain {
        /// What was heard of the medium last.
        cause: Arc<str>,
    },
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

/// A failure of the medium at a step.
fn medium(step: &'static str, cause: impl std::fmt::Display) -> Error {
    Error::Medium {
        step,
        cause: cause.to_string().into(),
    }
}

/// What stores give back.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place for keys and bytes. All methods see every write that was acknowledged before they were called.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The revision of the newest write; at least 1.
    async fn revision(&self) -> Result<Revision>;

    /// The newest value of a key.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// The entries whose keys start with `prefix`, all at one revision.
    async fn list(&self, prefix: &str, range: Range<'_>) -> Result<Page>;

    /// Writes durably, if what the write supposes is so, and says its revision.
    async fn commit(&self, write: Write) -> Result<Revision>;

    /// Follows all writes after revision `after` to keys that start with `prefix`.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>>;

    /// Forgets the history up to and including `revision`.
    async fn compact(&self, revision: Revision) -> Result<()>;
}

/// A reader of the history. It never holds writers up: who reads too slowly finds the history compacted under it.
#[async_trait]
pub trait Watch: Send {
    /// The next events, each once and in order; waits until there is one. Cancelling loses nothing.
    async fn next(&mut self) -> Result<Vec<Arc<Event>>>;

    /// The revision up to which everything has been returned by [`Watch::next`].
    fn progress(&self) -> Revision;
}
