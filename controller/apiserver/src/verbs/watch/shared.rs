//! What all watches of an event have in common: the objects that it tells of are decoded once, and each line that clients get is
//! written once for each representation, however many watches send it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::kinds::Resource;
use crate::negotiation::Representation;
use crate::present::View;
use crate::status::Status;
use crate::storage;
use crate::store::{Entry, Event, Revision};
use crate::wire::{self, Place};

/// Bytes of stored objects whose events are remembered; decoded and written out they take some ten times as much.
const MOST_BYTES: usize = 4 << 20;
/// Bytes by which a line is longer than its object is stored, about.
const ROOM: usize = 96;

/// An event as a resource's version shows it.
#[derive(Debug)]
pub(super) struct Told {
    resource: Arc<Resource>,
    event: Arc<Event>,
    new: OnceLock<Result<Option<Value>, Status>>,
    old: OnceLock<Result<Option<Value>, Status>>,
    lines: Mutex<Vec<(&'static str, Representation, Bytes)>>,
}

impl Told {
    fn new(resource: Arc<Resource>, event: Arc<Event>) -> Self {
        Self {
            resource,
            event,
            new: OnceLock::new(),
            old: OnceLock::new(),
            lines: Mutex::default(),
        }
    }

    /// The object that was written; `None` when it was deleted.
    pub(super) fn new_object(&self) -> Result<Option<&Value>, Status> {
        self.decoded(&self.new, self.event.value.as_ref())
    }

    /// The object that stood there before, with the version of the event that ended it; `None` when there was none.
    pub(super) fn old_object(&self) -> Result<Option<&Value>, Status> {
        self.decoded(&self.old, self.event.previous.as_ref().map(|entry| &entry.value))
    }

    fn decoded<'a>(
        &self,
        kept: &'a OnceLock<Result<Option<Value>, Status>>,
        bytes: Option<&Bytes>,
    ) -> Result<Option<&'a Value>, Status> {
        let decode = |bytes| storage::decode_at(&self.resource, &self.event.key, bytes, self.event.revision);
        match kept.get_or_init(|| bytes.map(decode).transpose()) {
            Ok(object) => Ok(object.as_ref()),
            Err(status) => Err(status.clone()),
        }
    }

    /// What the event is to a watch of everything.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match (&self.event.previous, &self.event.value) {
            (None, None) => None,
            (None, Some(_)) => Some("ADDED"),
            (Some(_), Some(_)) => Some("MODIFIED"),
            (Some(_), None) => Some("DELETED"),
        }
    }

    /// The line that tells a client of the event as one of this kind: of the new object, or of the old one if that is what is deleted.
    pub(super) fn line(&self, kind: &'static str, view: View, first: bool) -> Result<Bytes, Status> {
        let make = || line_of(&self.resource, kind, &self.shown(kind)?, view, first);
        if view.representation == Representation::Table {
            // A table tells ages, and the first one tells its columns.
            return make();
        }
        let mut lines = self.lines.lock().expect("no one panics while holding the lines");
        let known = lines
            .iter()
            .find(|(own, representation, _)| *own == kind && *representation == view.representation);
        if let Some((.., bytes)) = known {
            return Ok(bytes.clone());
        }
        // Under the lock: the others would make the same meanwhile.
        let bytes = make()?;
        lines.push((kind, view.representation, bytes.clone()));
        Ok(bytes)
    }

    /// The object that a line of this kind shows, with the version of the event.
    fn shown(&self, kind: &str) -> Result<Entry, Status> {
        let bytes = if kind == "DELETED" {
            self.event.previous.as_ref().map(|entry| &entry.value)
        } else {
            self.event.value.as_ref()
        };
        let value = bytes.ok_or_else(|| Status::internal("an event has no such object"))?;
        Ok(Entry {
            key: self.event.key.clone(),
            value: value.clone(),
            revision: self.event.revision,
        })
    }
}

/// A line that tells of a stored object.
pub(super) fn line_of(
    resource: &Resource,
    kind: &'static str,
    entry: &Entry,
    view: View,
    first: bool,
) -> Result<Bytes, Status> {
    if view.representation != Representation::Object {
        let object = storage::decode(resource, entry)?;
        return line(kind, &view.object(resource, object, first));
    }
    let mut line = Vec::with_capacity(entry.value.len() + ROOM);
    line.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    wire::append(&mut line, resource, entry, Place::Alone)?;
    line.extend_from_slice(b"}\n");
    Ok(line.into())
}

/// A line of a watch.
pub(super) fn line(kind: &'static str, object: &Value) -> Result<Bytes, Status> {
    let mut line = serde_json::to_vec(&json!({"type": kind, "object": object})).map_err(Status::internal)?;
    line.push(b'\n');
    Ok(line.into())
}

/// The events that watches have met lately.
#[derive(Debug, Default)]
pub(crate) struct RecentEvents {
    recent: Mutex<Recent>,
}

/// Revision of the event, and address of the resource, which cannot be another's as long as the event is remembered.
type Key = (Revision, usize);

#[derive(Debug, Default)]
struct Recent {
    told: HashMap<Key, Arc<Told>>,
    order: VecDeque<(Key, usize)>,
    bytes: usize,
}

impl RecentEvents {
    /// The event as the resource shows it; the same for all who ask, for a while.
    pub(super) fn told(&self, resource: &Arc<Resource>, event: &Arc<Event>) -> Arc<Told> {
        let key = (event.revision, Arc::as_ptr(resource).addr());
        let mut recent = self
            .recent
            .lock()
            .expect("no one panics while holding the events");
        if let Some(told) = recent.told.get(&key)
            && told.event.key == event.key
        {
            return told.clone();
        }
        let told = Arc::new(Told::new(resource.clone(), event.clone()));
        let weight = weight(event);
        if recent.told.insert(key, told.clone()).is_none() {
            recent.order.push_back((key, weight));
            recent.bytes += weight;
        }
        while recent.bytes > MOST_BYTES
            && let Some((oldest, weight)) = recent.order.pop_front()
        {
            recent.bytes -= weight;
            recent.told.remove(&oldest);
        }
        told
    }
}

fn weight(event: &Event) -> usize {
    let before = event.previous.as_ref().map_or(0, |entry| entry.value.len());
    // A deletion of nothing large costs something, too.
    event.value.as_ref().map_or(0, Bytes::len) + before + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;
    use crate::table::IncludeObject;

    fn event(revision: Revision, bytes: usize) -> Arc<Event> {
        let object = json!({"metadata": {"name": "a"}, "data": {"x": "x".repeat(bytes)}});
        Arc::new(Event {
            revision,
            key: "/registry/core/configmaps/default/a".into(),
            value: Some(serde_json::to_vec(&object).unwrap().into()),
            previous: None,
        })
    }

    #[test]
    fn watches_send_the_very_same_bytes() {
        let maps = Kinds::new().find("", "v1", "configmaps").unwrap();
        let recent = RecentEvents::default();
        let event = event(7, 10);
        let told = |representation| {
            let view = View {
                representation,
                include: IncludeObject::Metadata,
            };
            let told = recent.told(&maps, &event);
            told.line("ADDED", view, false).unwrap()
        };
        let (one, other) = (told(Representation::Object), told(Representation::Object));
        assert_eq!(one.as_ptr(), other.as_ptr(), "the line is written once");
        let metadata = told(Representation::Metadata);
        assert!(!metadata.windows(6).any(|bytes| bytes == b"\"data\""));
        let text = String::from_utf8(one.to_vec()).unwrap();
        assert!(
            text.starts_with(r#"{"type":"ADDED","object":{"#) && text.contains(r#""resourceVersion":"7""#),
            "{text}"
        );
        assert!(told(Representation::Table).starts_with(br#"{"type":"ADDED","object":{"kind":"Table""#));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let maps = Kinds::new().find("", "v1", "configmaps").unwrap();
        let recent = RecentEvents::default();
        for revision in 1..50 {
            recent.told(&maps, &event(revision, 1 << 20));
        }
        let recent = recent.recent.lock().unwrap();
        assert!(
            recent.bytes <= MOST_BYTES && recent.told.len() == recent.order.len() && recent.told.len() < 5
        );
    }
}
