//! The store in an etcd cluster (version 3), which several servers may share.
//!
//! Writes are transactions of etcd that compare the key's last revision. Reads and watches come from a state in memory that one watch
//! keeps up to date (`follow`), after asking etcd for its newest revision and waiting for the state to reach it: so they are
//! linearizable, however many servers write. Many reads that wait share one question.

mod client;
mod follow;
mod keys;
mod marker;
mod messages;
mod replace;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::memory::Shared;
use super::state::{Retention, State};
use super::{Entry, Error, Page, Range, Result, Revision, Store, Watch, Write, medium};
use client::Client;
use follow::{Follower, newest};
use keys::Keys;
use marker::Marker;
use messages::{Compare, DeleteRangeRequest, Operation, PutRequest, RangeRequest, TxnRequest};
pub use replace::replace;

/// Time that a read waits for the state to catch up.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Reads that wait for a question; more make their callers wait.
const WAITING_READS: usize = 4096;
/// The first revision of an etcd that was never written to.
const FIRST_REVISION: i64 = 1;

/// Where etcd is, and what of it is ours.
#[derive(Debug, Clone)]
pub struct Config {
    /// Members, each `host:port`; at least one.
    pub endpoints: Vec<String>,
    /// What stands before every key, so that others may use the same etcd; such as `/edgeloom`.
    pub prefix: String,
    /// How connections are secured; `None` for not at all.
    pub tls: Option<Tls>,
    /// How much history is kept, here and in etcd, which is compacted accordingly.
    pub retention: Retention,
}

/// How connections to etcd are secured.
#[derive(Clone)]
pub struct Tls {
    /// The authority that etcd's certificates come from, PEM.
    pub authority_pem: String,
    /// Our own certificate and its key, if etcd asks for one.
    pub client: Option<ClientCertificate>,
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate_pem: String,
    /// The key. A secret.
    pub key_pem: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls")
    }
}

/// A store in etcd. Clones share it.
#[derive(Debug, Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Arc<Client>,
    keys: Keys,
    shared: Arc<Shared>,
    questions: mpsc::Sender<oneshot::Sender<Result<Revision>>>,
    /// Follows, asks and compacts; stops when this is dropped.
    _tasks: JoinSet<()>,
}

impl Etcd {
    /// Connects, and reads what is there. Works when this returns; later failures of etcd are failures of single calls.
    ///
    /// # Errors
    /// When no member answers, or what is there is of another format or a restore that did not end.
    pub async fn open(config: &Config) -> Result<Self> {
        let client = Arc::new(Client::new(config)?);
        let keys = Keys::new(&config.prefix);
        let (marker, marker_revision) = Marker::open(&client, &keys).await?;
        if marker.restoring {
            return Err(medium(
                "use what is in etcd",
                "a restore has begun there and not ended; run it again",
            ));
        }
        keys.adopt(marker.offset, marker_revision);
        let first = keys.revision(FIRST_REVISION);
        let shared = Shared::new(State::restored(first, first), config.retention);
        let follower = Follower {
            client: client.clone(),
            keys: keys.clone(),
            shared: shared.clone(),
        };
        let (questions, asked) = mpsc::channel(WAITING_READS);
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run());
        tasks.spawn(answer(client.clone(), keys.clone(), asked));
        tasks.spawn(compact_old(client.clone(), keys.clone(), config.retention));
        let store = Self {
            inner: Arc::new(Inner {
                client,
                keys,
                shared,
                questions,
                _tasks: tasks,
            }),
        };
        store.catch_up().await?;
        Ok(store)
    }

    /// Waits until everything that was written before this call is in the state; gives back the revision.
    async fn catch_up(&self) -> Result<Revision> {
        let (answer, answered) = oneshot::channel();
        self.inner
            .questions
            .send(answer)
            .await
            .map_err(|_| Error::Closed)?;
        let wanted = answered.await.map_err(|_| Error::Closed)??;
        let mut newest = self.inner.shared.newest();
        let reached = newest.wait_for(|revision| *revision >= wanted);
        match timeout(CATCH_UP, reached).await {
            Ok(Ok(revision)) => Ok(*revision),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(medium(
                "read from etcd",
                format!(
                    "its watch did not reach revision {wanted} within {} s",
                    CATCH_UP.as_secs()
                ),
            )),
        }
    }
}

#[async_trait]
impl Store for Etcd {
    async fn revision(&self) -> Result<Revision> {
        self.catch_up().await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.catch_up().await?;
        Ok(self.inner.shared.read().get(key).cloned())
    }

    async fn list(&self, prefix: &str, range: Range<'_>) -> Result<Page> {
        self.catch_up().await?;
        self.inner.shared.read().list(prefix, &range)
    }

    async fn commit(&self, write: Write) -> Result<Revision> {
        let keys = &self.inner.keys;
        let marker_revision = keys.marker_revision();
        let key = keys.theirs(write.key());
        // No key has the first revision: a write that supposes one from before a restore is refused, not taken for a create.
        let existing = |expected| keys.etcd_revision(expected).max(FIRST_REVISION);
        let (expected, operation) = match write {
            Write::Create { value, .. } => (0, put(&key, value.into())),
            Write::Update { value, expected, .. } => (existing(expected), put(&key, value.into())),
            Write::Delete { expected, .. } => (existing(expected), delete(&key)),
        };
        let request = TxnRequest {
            compare: vec![
                Compare::last_write(&key, expected),
                Compare::last_write(&keys.marker(), marker_revision),
            ],
            success: vec![operation.into()],
            failure: vec![revision_of(key).into(), revision_of(keys.marker()).into()],
        };
        let answer = self.inner.client.txn(&request).await?;
        if answer.succeeded {
            return Ok(keys.revision(answer.header.map_or(0, |header| header.revision)));
        }
        let mut found = answer.responses.into_iter().map(|response| {
            let entry = response.range.and_then(|range| range.kvs.into_iter().next());
            entry.map(|entry| entry.mod_revision)
        });
        let (actual, marker) = (found.next().flatten(), found.next().flatten());
        if marker != Some(marker_revision) {
            return Err(medium(
                "write to etcd",
                "what is there is being replaced by a restore",
            ));
        }
        Err(Error::Precondition {
            actual: actual.map(|revision| keys.revision(revision)),
        })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        self.inner.shared.follow(prefix, after)
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let revision = revision.min(self.catch_up().await?);
        compact(&self.inner.client, &self.inner.keys, revision).await?;
        self.inner.shared.change(|state| state.compact(revision));
        Ok(())
    }
}

fn put(key: &[u8], value: Vec<u8>) -> Operation {
    Operation::Put(PutRequest {
        key: key.to_vec(),
        value,
    })
}

fn delete(key: &[u8]) -> Operation {
    Operation::DeleteRange(DeleteRangeRequest {
        key: key.to_vec(),
        range_end: Vec::new(),
    })
}

/// Reads the revision of a key's last write.
fn revision_of(key: Vec<u8>) -> Operation {
    Operation::Range(RangeRequest {
        key,
        keys_only: true,
        ..RangeRequest::default()
    })
}

/// Asks etcd for its newest revision, once for all who wait, again and again.
async fn answer(
    client: Arc<Client>,
    keys: Keys,
    mut asked: mpsc::Receiver<oneshot::Sender<Result<Revision>>>,
) {
    while let Some(first) = asked.recv().await {
        // Whoever comes after this line asks after the question was sent, and waits for the next one.
        let mut waiting = vec![first];
        while let Ok(next) = asked.try_recv() {
            waiting.push(next);
        }
        let revision = newest(&client, &keys).await;
        for one in waiting {
            // Whoever no longer waits does not mind.
            let _ = one.send(revision.clone());
        }
    }
}

/// Forgets in etcd what is older than the retention. Every server does; it is the same for all.
async fn compact_old(client: Arc<Client>, keys: Keys, retention: Retention) {
    let period = Duration::from_secs(retention.seconds.max(1));
    let mut before = None;
    loop {
        let current = newest(&client, &keys).await;
        if let Some(revision) = before
            && let Err(error) = compact(&client, &keys, revision).await
        {
            tracing::warn!(%error, "cannot forget old revisions");
        }
        before = current.ok();
        tokio::time::sleep(period).await;
    }
}

/// Compacts etcd up to `revision`, unless it is so already.
async fn compact(client: &Client, keys: &Keys, revision: Revision) -> Result<()> {
    match client.compact(keys.etcd_revision(revision)).await {
        Ok(_) => Ok(()),
        Err(Error::Medium { cause, .. }) if cause.contains("has been compacted") => Ok(()),
        Err(error) => Err(error),
    }
}
