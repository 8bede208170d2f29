//! The one watch of a replica: it follows every revision of etcd and keeps the state that all reads and watches of this process use.
//!
//! It follows all keys, not only ours: so the state's revision reaches every revision that etcd tells, and a reader that has asked
//! etcd for the newest one knows when the state has caught up.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::Client;
use super::messages::{ALL_KEYS, EventType, KeyValue, RangeRequest, WatchCreateRequest, WatchEvent};
use super::{Error, Keys, Marker, Result, medium};
use crate::store::memory::{Shared, unix_seconds};
use crate::store::state::State;
use crate::store::{Entry, Event};

/// Entries in one answer while the state is loaded.
const PAGE: i64 = 100;
/// Pause after a failed watch: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why following ended.
enum End {
    /// It can go on where it was.
    Broken(Error),
    /// The history up to this revision of etcd is gone: what is current has to be loaded.
    Compacted(i64),
    /// A restore replaces what is there.
    Replaced,
}

pub(super) struct Follower {
    pub(super) client: Arc<Client>,
    pub(super) keys: Keys,
    pub(super) shared: Arc<Shared>,
}

impl Follower {
    /// Follows until this is dropped.
    pub(super) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.shared.read().revision();
            let end = match self.check_not_gone_back().await {
                Ok(()) => self.follow().await,
                Err(error) => End::Broken(error),
            };
            let outcome = match end {
                End::Compacted(revision) => self.begin_anew(Some(revision)).await,
                End::Replaced => self.begin_anew(None).await,
                End::Broken(error) => Err(error),
            };
            if self.shared.read().revision() > before {
                pause = FIRST_PAUSE;
            }
            if let Err(error) = outcome {
                tracing::warn!(%error, "following etcd begins anew");
                self.client.prefer_next();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// An etcd that was restored from an older snapshot would give revisions away twice: clients would miss changes in silence.
    async fn check_not_gone_back(&self) -> Result<()> {
        let current = newest(&self.client, &self.keys).await?;
        let seen = self.shared.read().revision();
        if current < seen {
            return Err(medium(
                "follow etcd",
                format!(
                    "its revision went back from {seen} to {current}; restore it with `edgeloom apiserver restore`, or with a \
                     bumped revision, and start this server again"
                ),
            ));
        }
        Ok(())
    }

    async fn follow(&self) -> End {
        let from = self.shared.read().revision() + 1;
        let create = WatchCreateRequest {
            key: ALL_KEYS.to_vec(),
            range_end: ALL_KEYS.to_vec(),
            // Revision 0 would mean "from now on".
            start_revision: self.keys.etcd_revision(from).max(1),
            fragment: true,
        };
        let mut answers = match self.client.watch(create).await {
            Ok(answers) => answers,
            Err(error) => return End::Broken(error),
        };
        loop {
            match answers.message().await {
                Ok(Some(answer)) if answer.compact_revision > 0 => {
                    return End::Compacted(answer.compact_revision);
                }
                Ok(Some(answer)) if answer.canceled => {
                    return End::Broken(medium("follow etcd", answer.cancel_reason));
                }
                Ok(Some(answer)) => {
                    if self.take(answer.events).is_break() {
                        return End::Replaced;
                    }
                }
                Ok(None) => return End::Broken(medium("follow etcd", "the watch ended")),
                Err(status) => return End::Broken(medium("follow etcd", status.message())),
            }
        }
    }

    /// Takes events into the state, up to the first that tells of a restore.
    fn take(&self, events: Vec<WatchEvent>) -> ControlFlow<()> {
        if events.is_empty() {
            return ControlFlow::Continue(());
        }
        let now = unix_seconds();
        self.shared.change(|state| {
            for event in events {
                let kind = event.r#type();
                let Some(KeyValue {
                    key,
                    mod_revision,
                    value,
                }) = event.kv
                else {
                    continue;
                };
                if self.keys.is_marker(&key) && mod_revision > self.keys.marker_revision() {
                    return ControlFlow::Break(());
                }
                let revision = self.keys.revision(mod_revision);
                let Some(key) = self.keys.ours(&key) else {
                    state.advance(revision);
                    continue;
                };
                let previous = state.get(&key).cloned();
                let value = (kind == EventType::Put).then(|| Bytes::from(value));
                let event = Event {
                    revision,
                    key,
                    value,
                    previous,
                };
                state.apply(event, now);
            }
            ControlFlow::Continue(())
        })
    }

    /// Loads what is there at a revision of etcd, or at the end of the last restore. All watches are told that their history is gone.
    async fn begin_anew(&self, at: Option<i64>) -> Result<()> {
        // A restore may have gone by unseen while the watch was broken.
        match Marker::read(&self.client, &self.keys).await? {
            Some((marker, written)) if !marker.restoring => {
                self.keys.adopt(marker.offset, written);
                self.load(at.unwrap_or(written)).await
            }
            _ => Err(medium("follow etcd", "a restore is under way")),
        }
    }

    /// Replaces the state by what etcd held at `revision`, from which on its history is kept. Watches that were further behind are
    /// told that their history is gone.
    async fn load(&self, revision: i64) -> Result<()> {
        let at = self.keys.revision(revision);
        let mut state = State::restored(at, at);
        let (mut key, range_end) = self.keys.range();
        loop {
            let page = self
                .client
                .range(RangeRequest {
                    key: key.clone(),
                    range_end: range_end.clone(),
                    limit: PAGE,
                    revision,
                    keys_only: false,
                })
                .await?;
            if let Some(last) = page.kvs.last() {
                key.clone_from(&last.key);
                key.push(0);
            }
            for KeyValue {
                key,
                mod_revision,
                value,
            } in page.kvs
            {
                let key = self
                    .keys
                    .ours(&key)
                    .ok_or_else(|| medium("read from etcd", "a key is no text"))?;
                state.restore_entry(Entry {
                    key,
                    value: value.into(),
                    revision: self.keys.revision(mod_revision),
                });
            }
            if !page.more {
                self.shared.change(|old| *old = state);
                return Ok(());
            }
        }
    }
}

/// The newest revision, read linearizably.
pub(super) async fn newest(client: &Client, keys: &Keys) -> Result<u64> {
    let (key, _) = keys.range();
    let request = RangeRequest {
        key,
        keys_only: true,
        ..RangeRequest::default()
    };
    let answer = client.range(request).await?;
    Ok(keys.revision(answer.header.map_or(0, |header| header.revision)))
}
