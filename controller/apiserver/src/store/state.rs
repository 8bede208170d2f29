//! The state that the local backends share: what is current, and the history of how it came about.
//!
//! Pure: no clock, no disk, no waiting. The current entries are a sorted map; an older revision is read by undoing the later events.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, Error, Event, Page, Range, Result, Revision, Write};

/// How much history is kept: at least `seconds`, unless that would be more than `events` or `bytes`.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Age in seconds that an event may reach before it is forgotten.
    pub seconds: u64,
    /// Most events kept.
    pub events: usize,
    /// Most bytes kept, counting new and previous values.
    pub bytes: usize,
}

impl Default for Retention {
    /// Ten minutes outlast a client's relist and a long pagination; the caps hold the memory of a busy server under some 64 MiB.
    fn default() -> Self {
        Self {
            seconds: 600,
            events: 50_000,
            bytes: 64 << 20,
        }
    }
}

#[derive(Debug)]
struct Remembered {
    event: Arc<Event>,
    /// Unix time of the write, in seconds.
    at: u64,
}

/// Current entries and the history behind them.
#[derive(Debug)]
pub(super) struct State {
    current: BTreeMap<Arc<str>, Entry>,
    history: VecDeque<Remembered>,
    history_bytes: usize,
    revision: Revision,
    /// The events up to this revision are forgotten: it is the oldest revision that can be read.
    compacted: Revision,
}

impl State {
    /// Nothing yet. The first write gets revision 2: revision 0 means "any" in the API, and a list of nothing needs one above it.
    pub(super) fn new() -> Self {
        Self::restored(1, 1)
    }

    /// A state without content at a revision, to be filled with [`State::restore_entry`] and [`State::restore_event`].
    pub(super) fn restored(revision: Revision, compacted: Revision) -> Self {
        Self {
            current: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            revision,
            compacted,
        }
    }

    pub(super) fn restore_entry(&mut self, entry: Entry) {
        self.current.insert(entry.key.clone(), entry);
    }

    /// Appends an event to the history without changing the current entries.
    pub(super) fn restore_event(&mut self, event: Event, at: u64) {
        self.history_bytes += weight(&event);
        self.history.push_back(Remembered {
            event: Arc::new(event),
            at,
        });
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.current.get(key)
    }

    /// Takes an event that the writer has prepared (see [`prepare`]) into the current entries and the history.
    pub(super) fn apply(&mut self, event: Event, at: u64) {
        // Equal ones come from others who write several keys of an etcd at once.
        debug_assert!(event.revision >= self.revision, "revisions only grow");
        self.revision = event.revision;
        match &event.value {
            Some(value) => {
                let entry = Entry {
                    key: event.key.clone(),
                    value: value.clone(),
                    revision: event.revision,
                };
                self.current.insert(event.key.clone(), entry);
            }
            None => {
                self.current.remove(&event.key);
            }
        }
        self.restore_event(event, at);
    }

    /// Takes notice of a revision at which nothing of ours was written.
    pub(super) fn advance(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Forgets the history up to and including `revision`.
    pub(super) fn compact(&mut self, revision: Revision) {
        let revision = revision.min(self.revision);
        while self
            .history
            .front()
            .is_some_and(|oldest| oldest.event.revision <= revision)
        {
            self.forget_oldest();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// Forgets what lies beyond the retention.
    pub(super) fn trim(&mut self, retention: &Retention, now: u64) {
        while let Some(oldest) = self.history.front() {
            let expired = oldest.at.saturating_add(retention.seconds) < now;
            if !expired && self.history.len() <= retention.events && self.history_bytes <= retention.bytes {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.history.pop_front() {
            self.history_bytes -= weight(&oldest.event);
            self.compacted = oldest.event.revision;
        }
    }

    /// The events after `after` whose keys start with `prefix`, at most `limit` (those of one revision stay together), and the revision
    /// up to which the history was read.
    pub(super) fn events(
        &self,
        prefix: &str,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, Revision)> {
        if after < self.compacted {
            return Err(Error::Compacted {
                asked: after,
                oldest: self.compacted,
            });
        }
        let mut events: Vec<Arc<Event>> = Vec::new();
        let start = self.history.partition_point(|one| one.event.revision <= after);
        for one in self
            .history
            .range(start..)
            .filter(|one| one.event.key.starts_with(prefix))
        {
            if let Some(last) = events.last()
                && events.len() >= limit
                && last.revision < one.event.revision
            {
                let through = last.revision;
                return Ok((events, through));
            }
            events.push(one.event.clone());
        }
        Ok((events, self.revision.max(after)))
    }

    pub(super) fn list(&self, prefix: &str, range: &Range<'_>) -> Result<Page> {
        let at = range.at.unwrap_or(self.revision);
        if at > self.revision {
            return Err(Error::Future {
                asked: at,
                current: self.revision,
            });
        }
        if at < self.compacted {
            return Err(Error::Compacted {
                asked: at,
                oldest: self.compacted,
            });
        }
        let mut page = Page {
            entries: Vec::new(),
            revision: at,
            remaining: 0,
        };
        let limit = range.limit.unwrap_or(usize::MAX);
        let mut take = |entry: &Entry| {
            if page.entries.len() < limit {
                page.entries.push(entry.clone())
            } else {
                page.remaining += 1
            }
        };
        let undone = self.undo(prefix, at);
        if undone.is_empty() {
            self.current_in(prefix, range.after).for_each(&mut take);
        } else {
            let mut then: BTreeMap<&Arc<str>, &Entry> = self
                .current_in(prefix, range.after)
                .map(|entry| (&entry.key, entry))
                .collect();
            for (key, before) in undone {
                match before {
                    Some(entry) if range.after.is_none_or(|after| key.as_ref() > after) => {
                        then.insert(key, entry)
                    }
                    _ => then.remove(key),
                };
            }
            then.into_values().for_each(&mut take);
        }
        Ok(page)
    }

    fn current_in<'a>(&'a self, prefix: &'a str, after: Option<&str>) -> impl Iterator<Item = &'a Entry> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.current
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.key.starts_with(prefix))
    }

    /// For every key under `prefix` written after `at`: what it was at `at`.
    fn undo(&self, prefix: &str, at: Revision) -> BTreeMap<&Arc<str>, Option<&Entry>> {
        let start = self.history.partition_point(|one| one.event.revision <= at);
        let mut before = BTreeMap::new();
        for Remembered { event, .. } in self.history.range(start..) {
            if event.key.starts_with(prefix) {
                // The first event after `at` is the one whose previous value stood at `at`.
                before.entry(&event.key).or_insert(event.previous.as_ref());
            }
        }
        before
    }
}

fn weight(event: &Event) -> usize {
    let previous = event.previous.as_ref().map_or(0, |entry| entry.value.len());
    event.key.len() + event.value.as_ref().map_or(0, Bytes::len) + previous
}

/// Turns a write into the event that it causes, if what it supposes about its key (`current`) is so.
pub(super) fn prepare(write: Write, current: Option<&Entry>, revision: Revision) -> Result<Event> {
    let actual = current.map(|entry| entry.revision);
    let (key, value, expected) = match write {
        Write::Create { key, value } => (key, Some(value), None),
        Write::Update { key, value, expected } => (key, Some(value), Some(expected)),
        Write::Delete { key, expected } => (key, None, Some(expected)),
    };
    if actual != expected {
        return Err(Error::Precondition { actual });
    }
    Ok(Event {
        revision,
        key,
        value,
        previous: current.cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(state: &mut State, key: &str, value: &str, at: u64) {
        let current = state.get(key).cloned();
        let (key, value) = (Arc::from(key), Bytes::from(value.to_owned()));
        let write = match &current {
            Some(entry) => Write::Update {
                key,
                value,
                expected: entry.revision,
            },
            None => Write::Create { key, value },
        };
        let event =
            prepare(write, current.as_ref(), state.revision() + 1).expect("supposes what was just read");
        state.apply(event, at);
    }

    fn remove(state: &mut State, key: &str) {
        if let Some(entry) = state.get(key).cloned() {
            let write = Write::Delete {
                key: entry.key.clone(),
                expected: entry.revision,
            };
            let event =
                prepare(write, Some(&entry), state.revision() + 1).expect("supposes what was just read");
            state.apply(event, 0);
        }
    }

    #[test]
    fn history_is_trimmed_by_age_and_by_number() {
        let mut state = State::new();
        for at in 0..10 {
            put(&mut state, "/a", "x", at);
        }
        state.trim(
            &Retention {
                seconds: 5,
                events: 100,
                bytes: 1000,
            },
            9,
        );
        assert_eq!(
            state.compacted(),
            5,
            "events at seconds 0 to 3 are older than five seconds"
        );
        state.trim(
            &Retention {
                seconds: 5,
                events: 2,
                bytes: 1000,
            },
            9,
        );
        assert_eq!(state.events("/", 9, 10).expect("kept").0.len(), 2);
        assert!(matches!(
            state.events("/", 8, 10),
            Err(Error::Compacted { asked: 8, oldest: 9 })
        ));
    }

    proptest! {
        #[test]
        fn an_old_revision_reads_as_it_was(steps in prop::collection::vec((0..6_u8, any::<bool>()), 1..40)) {
            let mut state = State::new();
            let mut snapshots = Vec::new();
            for (number, (key, delete)) in steps.iter().enumerate() {
                let key = format!("/p{}/k{}", key % 2, key / 2);
                if *delete { remove(&mut state, &key) } else { put(&mut state, &key, &number.to_string(), 0) }
                let copy: Vec<Entry> = state.current.values().filter(|entry| entry.key.starts_with("/p0/")).cloned().collect();
                snapshots.push((state.revision(), copy));
            }
            for (revision, expected) in snapshots {
                let whole = state.list("/p0/", &Range { at: Some(revision), ..Range::default() }).expect("kept");
                prop_assert_eq!(&whole.entries, &expected);
                let mut paged = Vec::new();
                loop {
                    let after = paged.last().map(|entry: &Entry| entry.key.clone());
                    let range = Range { at: Some(revision), after: after.as_deref(), limit: Some(1) };
                    let page = state.list("/p0/", &range).expect("kept");
                    prop_assert_eq!(page.remaining + page.entries.len() + paged.len(), expected.len());
                    let done = page.remaining == 0;
                    paged.extend(page.entries);
                    if done { break }
                }
                prop_assert_eq!(&paged, &expected);
            }
        }
    }
}
