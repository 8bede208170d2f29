//! The store that forgets everything with its process: for tests, and the reading half of the embedded one.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::watch;

pub use super::state::Retention;
use super::state::{State, prepare};
use super::{Entry, Error, Event, Page, Range, Result, Revision, Store, Watch, Write};

/// Events handed to a watch at once: bounds the time for which a slow watch holds the lock.
const EVENTS_PER_BATCH: usize = 256;

/// A state that is read and followed by many, and written by one at a time.
#[derive(Debug)]
pub(super) struct Shared {
    state: RwLock<State>,
    retention: Retention,
    /// The newest revision, to wake those who follow.
    newest: watch::Sender<Revision>,
}

impl Shared {
    pub(super) fn new(state: State, retention: Retention) -> Arc<Self> {
        let newest = watch::Sender::new(state.revision());
        Arc::new(Self {
            state: RwLock::new(state),
            retention,
            newest,
        })
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no one panics while holding the state")
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("no one panics while holding the state")
    }

    /// Changes the state, trims its history, and wakes those who follow.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.write();
        let result = change(&mut state);
        state.trim(&self.retention, unix_seconds());
        // Under the lock, so that revisions are announced in order.
        self.newest.send_replace(state.revision());
        result
    }

    /// The newest revision, to wait for.
    pub(super) fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    pub(super) fn follow(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        let state = self.read();
        if after < state.compacted() {
            return Err(Error::Compacted {
                asked: after,
                oldest: state.compacted(),
            });
        }
        let newest = self.newest.subscribe();
        Ok(Box::new(Follower {
            shared: self.clone(),
            newest,
            prefix: prefix.to_owned(),
            progress: after,
        }))
    }
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

struct Follower {
    shared: Arc<Shared>,
    newest: watch::Receiver<Revision>,
    prefix: String,
    progress: Revision,
}

#[async_trait]
impl Watch for Follower {
    async fn next(&mut self) -> Result<Vec<Arc<Event>>> {
        loop {
            self.newest.borrow_and_update();
            let (events, through) =
                self.shared
                    .read()
                    .events(&self.prefix, self.progress, EVENTS_PER_BATCH)?;
            self.progress = through;
            if !events.is_empty() {
                return Ok(events);
            }
            self.newest.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    fn progress(&self) -> Revision {
        self.progress
    }
}

/// A store in memory only.
#[derive(Debug, Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

impl Memory {
    /// An empty store that keeps the usual history.
    pub fn new() -> Self {
        Self::with_retention(Retention::default())
    }

    /// An empty store that keeps so much history.
    pub fn with_retention(retention: Retention) -> Self {
        Self {
            shared: Shared::new(State::new(), retention),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for Memory {
    async fn revision(&self) -> Result<Revision> {
        Ok(self.shared.read().revision())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.shared.read().get(key).cloned())
    }

    async fn list(&self, prefix: &str, range: Range<'_>) -> Result<Page> {
        self.shared.read().list(prefix, &range)
    }

    async fn commit(&self, write: Write) -> Result<Revision> {
        self.shared.change(|state| {
            let revision = state.revision() + 1;
            let event = prepare(write.clone(), state.get(write.key()), revision)?;
            state.apply(event, unix_seconds());
            Ok(revision)
        })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        self.shared.follow(prefix, after)
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.shared.change(|state| state.compact(revision));
        Ok(())
    }
}
