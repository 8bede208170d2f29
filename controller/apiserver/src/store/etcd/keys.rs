//! Where our keys lie in an etcd that others may use too, and how its revisions become ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::store::Revision;

/// The place of a store in etcd. Clones share what a restore changes.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// What stands before every key, such as `/edgeloom`; without a slash at the end.
    prefix: Arc<str>,
    content: Arc<Content>,
}

/// What a restore changes.
#[derive(Debug, Default)]
struct Content {
    /// Our revisions are etcd's and this: a restore jumps ahead of all that were ever told.
    offset: AtomicU64,
    /// The revision of etcd at which the marker was written. Writes suppose it, so that none falls into a restore.
    marker: AtomicI64,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').into(),
            content: Arc::default(),
        }
    }

    /// Takes over what a marker says that was written at the revision `marker` of etcd.
    pub(super) fn adopt(&self, offset: Revision, marker: i64) {
        // In this order: who reads the new marker reads the new offset after it.
        self.content.offset.store(offset, Ordering::SeqCst);
        self.content.marker.store(marker, Ordering::SeqCst);
    }

    /// The revision of etcd at which the marker was written.
    pub(super) fn marker_revision(&self) -> i64 {
        self.content.marker.load(Ordering::SeqCst)
    }

    fn offset(&self) -> Revision {
        self.content.offset.load(Ordering::SeqCst)
    }

    /// The key of etcd for one of ours, which begins with a slash.
    pub(super) fn theirs(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    /// Our key for one of etcd; `None` when it is not ours.
    pub(super) fn ours(&self, key: &[u8]) -> Option<Arc<str>> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&*self.prefix)?;
        key.starts_with('/').then(|| key.into())
    }

    /// First key and end (exclusive) of all our keys: `0` follows the slash.
    pub(super) fn range(&self) -> (Vec<u8>, Vec<u8>) {
        (self.theirs("/"), self.theirs("0"))
    }

    /// The key that tells what lies here. It is outside of our range, so that it is no entry.
    pub(super) fn marker(&self) -> Vec<u8> {
        self.theirs(".store")
    }

    pub(super) fn is_marker(&self, key: &[u8]) -> bool {
        key == self.marker()
    }

    /// Our revision for one of etcd.
    pub(super) fn revision(&self, etcd: i64) -> Revision {
        self.offset() + u64::try_from(etcd).unwrap_or(0)
    }

    /// The revision of etcd for one of ours; one from before a restore is 0, which no key has.
    pub(super) fn etcd_revision(&self, revision: Revision) -> i64 {
        i64::try_from(revision.saturating_sub(self.offset())).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_revisions_go_there_and_back() {
        let keys = Keys::new("/edgeloom/");
        keys.adopt(1000, 2);
        let theirs = keys.theirs("/registry/a");
        assert_eq!(theirs, b"/edgeloom/registry/a");
        assert_eq!(keys.ours(&theirs).as_deref(), Some("/registry/a"));
        assert_eq!(keys.ours(b"/edgeloom2/registry/a"), None);
        assert_eq!(keys.ours(&keys.marker()), None);
        let (first, end) = keys.range();
        assert!(first < theirs && theirs < end && !(first..end).contains(&keys.marker()));
        assert_eq!(
            (keys.revision(5), keys.etcd_revision(1005), keys.etcd_revision(7)),
            (1005, 5, 0)
        );
    }
}
