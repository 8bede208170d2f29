//! The weights on this node's disk, by digest.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use crds::edge_node::HeldModel;

use crate::reconcile::ActualFile;

/// The first pause before a failed fetch is tried again; doubled at each failure.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// All files that this node has or fetches.
#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<BTreeMap<String, File>>);

#[derive(Debug, Default)]
struct File {
    state: State,
    failures: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unknown,
    Fetching(Arc<AtomicI64>),
    Here {
        path: PathBuf,
        bytes: i64,
    },
    Failed {
        message: String,
        retry_at: Instant,
    },
}

impl Files {
    /// What reconcile is told.
    pub(crate) fn actual(&self, now: Instant) -> BTreeMap<String, ActualFile> {
        let file = |(digest, file): (&String, &File)| {
            let actual = match &file.state {
                State::Unknown => return None,
                State::Fetching(_) => ActualFile::Fetching,
                State::Here { .. } => ActualFile::Here,
                State::Failed { retry_at, .. } if *retry_at <= now => return None,
                State::Failed { .. } => ActualFile::Failed,
            };
            Some((digest.clone(), actual))
        };
        self.lock().iter().filter_map(file).collect()
    }

    /// When the next failed file may be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let retry = |file: &File| match file.state {
            State::Failed { retry_at, .. } => Some(retry_at),
            _ => None,
        };
        self.lock().values().filter_map(retry).min()
    }

    /// Where the file is.
    pub(crate) fn path(&self, digest: &str) -> Option<PathBuf> {
        match &self.lock().get(digest)?.state {
            State::Here { path, .. } => Some(path.clone()),
            _ => None,
        }
    }

    /// Bytes that have arrived, while it is on its way.
    pub(crate) fn fetched_bytes(&self, digest: &str) -> Option<i64> {
        match &self.lock().get(digest)?.state {
            State::Fetching(bytes) => Some(bytes.load(Ordering::Relaxed)),
            _ => None,
        }
    }

    /// Bytes on disk of each file that is being fetched.
    pub(crate) fn fetching_bytes(&self) -> Vec<i64> {
        let fetching = |file: &File| match &file.state {
            State::Fetching(bytes) => Some(bytes.load(Ordering::Relaxed)),
            _ => None,
        };
        self.lock().values().filter_map(fetching).collect()
    }

    /// Why the last attempt failed.
    pub(crate) fn failure(&self, digest: &str) -> Option<String> {
        match &self.lock().get(digest)?.state {
            State::Failed { message, .. } => Some(message.clone()),
            _ => None,
        }
    }

    /// The weights on disk, for EdgeNode status.
    pub(crate) fn held(&self) -> Vec<HeldModel> {
        let held = |(digest, file): (&String, &File)| match &file.state {
            State::Here { bytes, .. } => Some(HeldModel {
                digest: digest.clone(),
                bytes: *bytes,
            }),
            _ => None,
        };
        self.lock().iter().filter_map(held).collect()
    }

    /// It is on its way; the counter is where progress goes.
    pub(crate) fn fetching(&self, digest: &str) -> Arc<AtomicI64> {
        let bytes = Arc::new(AtomicI64::new(0));
        self.lock().entry(digest.to_owned()).or_default().state = State::Fetching(Arc::clone(&bytes));
        bytes
    }

    /// It is here, whole and verified.
    pub(crate) fn here(&self, digest: &str, path: PathBuf, bytes: i64) {
        let file = File {
            state: State::Here { path, bytes },
            failures: 0,
        };
        self.lock().insert(digest.to_owned(), file);
    }

    /// It did not come; it is tried again after a pause.
    pub(crate) fn failed(&self, digest: &str, message: String, now: Instant) {
        let mut files = self.lock();
        let file = files.entry(digest.to_owned()).or_default();
        let pause = RETRY_MIN
            .saturating_mul(1 << file.failures.min(16))
            .min(RETRY_MAX);
        file.failures += 1;
        file.state = State::Failed {
            message,
            retry_at: now + pause,
        };
    }

    /// It is not here any more.
    pub(crate) fn forget(&self, gone: &Path) {
        let is_gone = |file: &File| matches!(&file.state, State::Here { path, .. } if path == gone);
        for file in self.lock().values_mut().filter(|file| is_gone(file)) {
            file.state = State::Unknown;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
