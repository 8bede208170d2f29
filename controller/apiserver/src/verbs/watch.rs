//! Following a collection: one line of JSON for each event.
//!
//! Each watch is a task that reads the store's history at its own pace and writes into a short queue that the connection drains. A
//! slow client therefore holds nobody up; if its connection takes nothing for a while, or the history is compacted under it, the
//! watch ends, and the client lists again.

mod outlet;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntGauge;
use rand::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::{Call, list};
use crate::parameters::{At, ListOptions};
use crate::present::View;
use crate::selector::Selector;
use crate::status::Status;
use crate::storage;
use crate::store::{self, Event};
use outlet::{Disconnected, Outlet};
pub(crate) use shared::RecentEvents;
use shared::Told;

/// Seconds that a watch lasts when the client does not say: spread, so that clients do not all come back at once.
const DEFAULT_SECONDS: std::ops::Range<u64> = 1800..3600;
/// When the first bookmark comes, then how often, and how long before the end the last one.
const FIRST_BOOKMARK: Duration = Duration::from_secs(1);
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Starts a watch; the stream ends with it. `only_name` restricts to one name beyond the selectors.
///
/// # Errors
/// 400 for selectors that cannot be read; whatever goes wrong later is an `ERROR` line.
pub async fn watch(
    call: &Call,
    options: &ListOptions,
    view: View,
    only_name: Option<&str>,
) -> Result<ReceiverStream<Bytes>, Status> {
    let mut selector = Selector::parse(&options.label_selector, &options.field_selector, &call.resource)?;
    if let Some(name) = only_name {
        selector = selector.and_name(name);
    }
    let seconds = options.timeout_seconds.filter(|seconds| *seconds > 0);
    let seconds = seconds.unwrap_or_else(|| rand::rng().random_range(DEFAULT_SECONDS));
    let now = Instant::now();
    let sent = call.server.metrics().watch_events(&call.resource);
    let (outlet, stream) = Outlet::new(outlet::PATIENCE, sent);
    let mut watcher = Watcher {
        call: call.clone(),
        selector,
        view,
        bookmarks: options.bookmarks,
        ends: now + Duration::from_secs(seconds.min(24 * 3600)),
        next_bookmark: now + FIRST_BOOKMARK,
        outlet,
        _open: Open::new(call.server.metrics().watches(&call.resource, &call.namespace)),
        first: true,
    };
    let (at, initial_events) = (options.at, options.initial_events);
    let shutdown = call.server.shutdown_token();
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = watcher.run(at, initial_events) => outcome,
            () = shutdown.cancelled() => Ok(()),
        };
        if let Err(End::Refused(status)) = outcome {
            // Nothing is lost if the connection does not take it: the stream ends anyway.
            let _ = watcher.send("ERROR", status.to_value()).await;
        }
    });
    Ok(stream)
}

/// Why a watch ends before its time.
enum End {
    /// The client has to be told why.
    Refused(Status),
    /// The connection is gone, or takes nothing any more.
    Disconnected,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl From<Disconnected> for End {
    fn from(Disconnected: Disconnected) -> Self {
        Self::Disconnected
    }
}

impl From<store::Error> for End {
    fn from(error: store::Error) -> Self {
        Self::Refused(storage::refusal(error))
    }
}

struct Watcher {
    call: Call,
    selector: Selector,
    view: View,
    bookmarks: bool,
    ends: Instant,
    next_bookmark: Instant,
    outlet: Outlet,
    _open: Open,
    /// Whether no object has been sent yet.
    first: bool,
}

/// A watch that counts as open until this is dropped.
struct Open(IntGauge);

impl Open {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Watcher {
    async fn run(&mut self, at: At, initial_events: Option<bool>) -> Result<(), End> {
        let prefix = self.prefix();
        let start = self.begin(&prefix, at, initial_events).await?;
        let mut events = self.call.server.store().watch(&prefix, start).await?;
        loop {
            tokio::select! {
                () = self.outlet.closed() => return Err(End::Disconnected),
                () = sleep_until(self.ends) => return Ok(()),
                () = sleep_until(self.next_bookmark), if self.bookmarks => self.send_bookmark(events.progress()).await?,
                batch = events.next() => {
                    for event in batch? {
                        if let Some(line) = self.judge(&event)? {
                            self.first = false;
                            self.outlet.send(line).await?;
                        }
                    }
                }
            }
        }
    }

    /// All keys that can match: those of the collection, or of a single object if the selector names it.
    fn prefix(&self) -> String {
        let (resource, namespace) = (&self.call.resource, &self.call.namespace);
        match self.selector.only_name() {
            Some(name) if !resource.namespaced || !namespace.is_empty() => {
                storage::key(resource, namespace, name).to_string()
            }
            _ => storage::prefix(resource, namespace),
        }
    }

    /// Sends the present state if it is wanted; gives back the revision after which events follow.
    async fn begin(&mut self, prefix: &str, at: At, initial_events: Option<bool>) -> Result<u64, End> {
        let current = self.call.server.store().revision().await?;
        let asked = match at {
            At::NotOlderThan(revision) | At::Exactly(revision) => Some(revision),
            At::Newest | At::Any => None,
        };
        if let Some(asked) = asked.filter(|asked| *asked > current) {
            // A store restored from an older backup: the client must list again, and does so on this reason only.
            return Err(
                Status::expired(format!("too large resource version: {asked}, current: {current}")).into(),
            );
        }
        if !initial_events.unwrap_or(asked.is_none()) {
            return Ok(asked.unwrap_or(current));
        }
        let (entries, revision) = list::snapshot(&self.call, prefix, &self.selector).await?;
        for entry in entries {
            let line = shared::line_of(&self.call.resource, "ADDED", &entry, self.view, self.first)?;
            self.first = false;
            self.outlet.send(line).await?;
        }
        if initial_events == Some(true) && self.bookmarks {
            let bookmark = self.view.bookmark(&self.call.resource, revision, true);
            self.send("BOOKMARK", bookmark).await?;
            self.next_bookmark = Instant::now() + BOOKMARK_PERIOD;
        }
        Ok(revision)
    }

    /// The line that tells what an event means to this watch.
    fn judge(&self, event: &Arc<Event>) -> Result<Option<Bytes>, Status> {
        let told = self.call.server.recent_events().told(&self.call.resource, event);
        let kind = if self.selector.is_empty() {
            told.kind()
        } else {
            self.transition(&told)?
        };
        kind.map(|kind| told.line(kind, self.view, self.first))
            .transpose()
    }

    /// What an event is to a watch that selects: an object that starts to match is added, one that stops is deleted. The last state that
    /// matched counts, with the version of the event that ended it.
    fn transition(&self, told: &Told) -> Result<Option<&'static str>, Status> {
        let matching = |object: &&Value| self.selector.matches(&self.call.resource, object);
        let matches = told.new_object()?.filter(matching).is_some();
        let matched_before = told.old_object()?.filter(matching).is_some();
        Ok(match (matched_before, matches) {
            (false, false) => None,
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
        })
    }

    async fn send_bookmark(&mut self, progress: u64) -> Result<(), End> {
        let bookmark = self.view.bookmark(&self.call.resource, progress, false);
        self.send("BOOKMARK", bookmark).await?;
        let now = Instant::now();
        let last = self.ends.checked_sub(LAST_BOOKMARK).filter(|last| *last > now);
        // After the last one the next would come when the watch has ended.
        self.next_bookmark = last.map_or(self.ends + BOOKMARK_PERIOD, |last| {
            last.min(now + BOOKMARK_PERIOD)
        });
        Ok(())
    }

    async fn send(&self, kind: &'static str, object: Value) -> Result<(), End> {
        Ok(self.outlet.send(shared::line(kind, &object)?).await?)
    }
}
