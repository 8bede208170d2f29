//! Where a store is, so that it can be opened, or given a new content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backup::Backup;
use super::{Embedded, Etcd, Memory, Result, Revision, Store, embedded, etcd};

/// Revisions that a restore leaps over. The server that the backup is of may have told some after it was taken, and none of them may
/// come to mean something else: at ten thousand writes a second this is a day.
const LEAP: Revision = 1_000_000_000;

/// Where a store is.
#[derive(Debug, Clone)]
pub enum Location {
    /// In this process only.
    Memory,
    /// In this file.
    File(PathBuf),
    /// In etcd.
    Etcd(etcd::Config),
}

impl Location {
    /// The file of the embedded store in a server's data directory.
    pub fn in_directory(data_dir: &Path) -> Self {
        Self::File(data_dir.join("objects.redb"))
    }

    /// Opens the store.
    ///
    /// # Errors
    /// When the file or etcd cannot be used.
    pub async fn open(&self) -> Result<Arc<dyn Store>> {
        match self {
            Self::Memory => Ok(Arc::new(Memory::default())),
            Self::File(path) => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || Embedded::open(path)).await;
                Ok(Arc::new(opened.expect("opening a store does not panic")?))
            }
            Self::Etcd(config) => Ok(Arc::new(Etcd::open(config).await?)),
        }
    }

    /// Puts a backup in the place of everything that is there; gives back the revision at which it stands. That lies beyond every
    /// revision that clients may have seen, before or after the backup: they are told that their version is too old, and list again.
    /// `progress` is told how many entries have been written.
    ///
    /// # Errors
    /// When the file is open in another process, or the file or etcd fails.
    pub async fn restore(&self, backup: &Backup, mut progress: impl FnMut(usize)) -> Result<Revision> {
        let entries: Vec<_> = backup
            .entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect();
        let beyond = backup.revision + LEAP;
        match self {
            Self::Memory => Ok(backup.revision),
            Self::File(path) => {
                let (path, number) = (path.clone(), entries.len());
                let replaced =
                    tokio::task::spawn_blocking(move || embedded::replace(&path, &entries, beyond)).await;
                let revision = replaced.expect("replacing a store's content does not panic")?;
                progress(number);
                Ok(revision)
            }
            Self::Etcd(config) => etcd::replace(config, &entries, beyond, progress).await,
        }
    }
}
