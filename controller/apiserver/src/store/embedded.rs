//! The store in one file: every acknowledged write has been synced to disk, and nobody sees a write before that.
//!
//! Reads come from memory (`State`); the file ([`redb`], copy-on-write B-trees) is read at opening and written by one thread. That
//! thread takes all writes that wait, commits them in one transaction with one sync, makes them visible, and answers: a hundred writers
//! share a sync instead of queueing for a hundred. The history is in the file too, so that watches resume after a restart.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::memory::{Shared, unix_seconds};
use super::state::{Retention, State, prepare};
use super::{Entry, Error, Event, Page, Range, Result, Revision, Store, Watch, Write, medium};

/// Key → revision of its last write, value.
const CURRENT: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("current");
/// What an event is on disk: unix seconds, key, value, revision and value before.
type EventRow<'a> = (u64, &'a str, Option<&'a [u8]>, Option<(u64, &'a [u8])>);
/// Revision → the event it caused.
const HISTORY: TableDefinition<'_, u64, EventRow<'static>> = TableDefinition::new("history");
/// Single numbers.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT: &str = "format";
const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";
/// Version of the tables above. A file of another version is refused, not guessed at.
const FORMAT_VERSION: u64 = 1;

/// Writes that one transaction takes at most: bounds its memory (256 objects of 1.5 MiB) and the time until the first is answered.
const WRITES_PER_TRANSACTION: usize = 256;
/// Writes that wait for the writer; more make their callers wait, which is the back-pressure.
const WAITING_WRITES: usize = 1024;
/// The file's history is cut when it is this many events longer than the one in memory: cutting costs pages.
const HISTORY_SLACK: u64 = 1024;
/// Page cache of the file, which is read only at opening.
const CACHE_BYTES: usize = 8 << 20;

enum Command {
    Commit(Write, oneshot::Sender<Result<Revision>>),
    Compact(Revision, oneshot::Sender<Result<()>>),
}

/// A store in a file. Clones share it; the last one dropped closes the file.
#[derive(Debug, Clone)]
pub struct Embedded {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the file, or makes it (mode 0600: it holds Secrets). Blocks while the content is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Retention::default())
    }

    /// Opens the file and keeps so much history.
    pub fn open_with(path: impl AsRef<Path>, retention: Retention) -> Result<Self> {
        let database = open_file(path.as_ref())?;
        let state = load(&database)?;
        let compacted = state.compacted();
        let shared = Shared::new(state, retention);
        let (commands, waiting) = mpsc::channel(WAITING_WRITES);
        let mut writer = Writer {
            database,
            shared: shared.clone(),
            compacted,
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(|error| medium("start its writer", error))?;
        let handle = Handle {
            shared,
            commands: Some(commands),
            writer: Some(writer),
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let commands = self.handle.commands.as_ref().ok_or(Error::Closed)?;
        commands.send(command(answer)).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Handle {
    /// Waits for the writer, so that the file is closed when the store is gone. That is at most one transaction.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn revision(&self) -> Result<Revision> {
        Ok(self.handle.shared.read().revision())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.handle.shared.read().get(key).cloned())
    }

    async fn list(&self, prefix: &str, range: Range<'_>) -> Result<Page> {
        self.handle.shared.read().list(prefix, &range)
    }

    async fn commit(&self, write: Write) -> Result<Revision> {
        self.ask(|answer| Command::Commit(write, answer)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        self.handle.shared.follow(prefix, after)
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.ask(|answer| Command::Compact(revision, answer)).await
    }
}

fn open_file(path: &Path) -> Result<Database> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| medium("create its file", error))?;
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| medium("open its file", error))
}

/// Puts these entries in the place of all that the file holds, at revisions after `beyond` and after all that it ever gave away; gives
/// back the newest. It is done wholly or not at all.
///
/// # Errors
/// When the file is open in another process, or cannot be written.
pub fn replace(path: &Path, entries: &[(Arc<str>, Bytes)], beyond: Revision) -> Result<Revision> {
    let database = open_file(path)?;
    let mut revision = load(&database)?.revision().max(beyond);
    let mut write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.delete_table(CURRENT)?;
        transaction.delete_table(HISTORY)?;
        {
            let mut current = transaction.open_table(CURRENT)?;
            for (key, value) in entries {
                revision += 1;
                current.insert(key.as_ref(), (revision, value.as_ref()))?;
            }
            let mut numbers = transaction.open_table(NUMBERS)?;
            numbers.insert(REVISION, revision)?;
            numbers.insert(COMPACTED, revision)?;
        }
        transaction.commit()?;
        Ok(())
    };
    write().map_err(|error| medium("write its file", error))?;
    Ok(revision)
}

/// The state that the file holds; an empty file is made into an empty store.
fn load(database: &Database) -> Result<State> {
    let read = "read its file";
    let transaction = database.begin_write().map_err(|error| medium(read, error))?;
    let (revision, compacted) = {
        let mut numbers = transaction
            .open_table(NUMBERS)
            .map_err(|error| medium(read, error))?;
        let number = |name| numbers.get(name).map(|found| found.map(|number| number.value()));
        let format = number(FORMAT).map_err(|error| medium(read, error))?;
        let revision = number(REVISION).map_err(|error| medium(read, error))?;
        let compacted = number(COMPACTED).map_err(|error| medium(read, error))?;
        match format {
            Some(FORMAT_VERSION) => {}
            Some(other) => {
                return Err(medium(
                    read,
                    format!("it has format {other}, this program reads {FORMAT_VERSION}"),
                ));
            }
            None => {
                numbers
                    .insert(FORMAT, FORMAT_VERSION)
                    .map_err(|error| medium(read, error))?;
            }
        }
        transaction
            .open_table(CURRENT)
            .map_err(|error| medium(read, error))?;
        transaction
            .open_table(HISTORY)
            .map_err(|error| medium(read, error))?;
        let fresh = State::new();
        (
            revision.unwrap_or(fresh.revision()),
            compacted.unwrap_or(fresh.compacted()),
        )
    };
    transaction.commit().map_err(|error| medium(read, error))?;

    let mut state = State::restored(revision, compacted);
    let transaction = database.begin_read().map_err(|error| medium(read, error))?;
    let current = transaction
        .open_table(CURRENT)
        .map_err(|error| medium(read, error))?;
    for row in current.iter().map_err(|error| medium(read, error))? {
        let (key, value) = row.map_err(|error| medium(read, error))?;
        let (revision, bytes) = value.value();
        state.restore_entry(Entry {
            key: key.value().into(),
            value: Bytes::copy_from_slice(bytes),
            revision,
        });
    }
    let history = transaction
        .open_table(HISTORY)
        .map_err(|error| medium(read, error))?;
    for row in history
        .range(compacted + 1..)
        .map_err(|error| medium(read, error))?
    {
        let (revision, row) = row.map_err(|error| medium(read, error))?;
        let (at, key, value, previous) = row.value();
        let key: Arc<str> = key.into();
        let event = Event {
            revision: revision.value(),
            key: key.clone(),
            value: value.map(Bytes::copy_from_slice),
            previous: previous.map(|(revision, bytes)| Entry {
                key,
                value: Bytes::copy_from_slice(bytes),
                revision,
            }),
        };
        state.restore_event(event, at);
    }
    Ok(state)
}

/// The thread that owns the file.
struct Writer {
    database: Database,
    shared: Arc<Shared>,
    /// Up to here the file's history has been cut.
    compacted: Revision,
}

impl Writer {
    fn run(&mut self, mut waiting: mpsc::Receiver<Command>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < WRITES_PER_TRANSACTION
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            self.perform(batch);
        }
    }

    /// Decides, persists, shows, answers: in this order, for the whole batch.
    fn perform(&mut self, batch: Vec<Command>) {
        let now = unix_seconds();
        let (events, answers, compact) = self.decide(batch);
        let mut outcome = Ok(());
        if !events.is_empty() || compact.is_some() {
            outcome = self
                .persist(&events, compact, now)
                .map_err(|error| medium("write its file", error));
        }
        if let Err(error) = &outcome {
            tracing::error!(%error, writes = events.len(), "a transaction failed");
        } else {
            self.shared.change(|state| {
                for event in events {
                    state.apply(event, now);
                }
                if let Some(revision) = compact {
                    state.compact(revision);
                }
            });
        }
        for answer in answers {
            answer.send(&outcome);
        }
    }

    /// What each write of the batch does, given those before it.
    fn decide(&self, batch: Vec<Command>) -> (Vec<Event>, Vec<Answer>, Option<Revision>) {
        let state = self.shared.read();
        let mut revision = state.revision();
        let mut pending: HashMap<Arc<str>, Option<Entry>> = HashMap::new();
        let (mut events, mut answers, mut compact) = (Vec::new(), Vec::new(), None);
        for command in batch {
            match command {
                Command::Compact(to, answer) => {
                    compact = compact.max(Some(to.min(state.revision())));
                    answers.push(Answer::Compacted(answer));
                }
                Command::Commit(write, answer) => {
                    let current = match pending.get(write.key()) {
                        Some(entry) => entry.as_ref(),
                        None => state.get(write.key()),
                    };
                    let result = prepare(write, current, revision + 1).map(|event| {
                        revision = event.revision;
                        let value = event.value.clone();
                        let entry = value.map(|value| Entry {
                            key: event.key.clone(),
                            value,
                            revision,
                        });
                        pending.insert(event.key.clone(), entry);
                        events.push(event);
                        revision
                    });
                    answers.push(Answer::Committed(answer, result));
                }
            }
        }
        (events, answers, compact)
    }

    fn persist(&mut self, events: &[Event], compact: Option<Revision>, now: u64) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut current = transaction.open_table(CURRENT)?;
            let mut history = transaction.open_table(HISTORY)?;
            let mut numbers = transaction.open_table(NUMBERS)?;
            for Event {
                revision,
                key,
                value,
                previous,
            } in events
            {
                match value {
                    Some(value) => drop(current.insert(key.as_ref(), (*revision, value.as_ref()))?),
                    None => drop(current.remove(key.as_ref())?),
                }
                let before = previous
                    .as_ref()
                    .map(|entry| (entry.revision, entry.value.as_ref()));
                history.insert(revision, (now, key.as_ref(), value.as_deref(), before))?;
                numbers.insert(REVISION, revision)?;
            }
            let forgotten = self.shared.read().compacted().max(compact.unwrap_or(0));
            if compact.is_some() || forgotten > self.compacted + HISTORY_SLACK {
                history.retain_in(..=forgotten, |_, _| false)?;
                numbers.insert(COMPACTED, forgotten)?;
                self.compacted = forgotten;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

enum Answer {
    Committed(oneshot::Sender<Result<Revision>>, Result<Revision>),
    Compacted(oneshot::Sender<Result<()>>),
}

impl Answer {
    /// Answers with what was decided, unless the transaction failed. Whoever no longer waits does not mind.
    fn send(self, outcome: &Result<()>) {
        match self {
            Self::Committed(answer, Err(refused)) => drop(answer.send(Err(refused))),
            Self::Committed(answer, Ok(revision)) => drop(answer.send(outcome.clone().map(|()| revision))),
            Self::Compacted(answer) => drop(answer.send(outcome.clone())),
        }
    }
}
