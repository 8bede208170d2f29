//! Who depends on whom, kept up to date from the store's history. Pure: reads metadata, asks nobody.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use crate::verbs::delete::{FOREGROUND, ORPHAN};

type Key = Arc<str>;

/// A reference to an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Owner {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// Whether the owner, when deleted in the foreground, waits for the object.
    pub(super) block_owner_deletion: bool,
}

impl Owner {
    /// The owners of an object; references that cannot be read are not followed.
    pub(super) fn of(object: &Value) -> Vec<Self> {
        let references = object["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten();
        references
            .filter_map(|reference| serde_json::from_value(reference.clone()).ok())
            .collect()
    }
}

/// The part of a stored object that matters here; the rest is not even parsed into values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: String,
    deletion_timestamp: Option<String>,
    finalizers: Vec<String>,
    owner_references: Vec<Owner>,
}

impl Head {
    /// Reads a stored object; `None` when it cannot be read, which means that nothing is known of it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    fn waits_for_dependents(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
            && self.metadata.finalizers.iter().any(|own| own == FOREGROUND)
    }

    fn lets_dependents_go(&self) -> bool {
        self.metadata.deletion_timestamp.is_some() && self.metadata.finalizers.iter().any(|own| own == ORPHAN)
    }
}

/// The index. Only objects that own, are owned or wait for dependents take room in it.
#[derive(Debug, Default)]
pub(super) struct Index {
    heads: HashMap<Key, Head>,
    /// UID of the owner → its dependents, and whether it waits for each.
    dependents: HashMap<String, BTreeMap<Key, bool>>,
    /// UID → where the object is, for the owners that are referred to.
    places: HashMap<String, Key>,
}

impl Index {
    /// Notes how the object at `key` is now (`None`: gone), and says which objects are to be looked at for that.
    pub(super) fn note(&mut self, key: &Key, now: Option<Head>) -> BTreeSet<Key> {
        let mut due = BTreeSet::new();
        if let Some(before) = self.heads.remove(key) {
            self.forget(key, &before);
            let uid = &before.metadata.uid;
            let replaced = now.as_ref().is_none_or(|now| now.metadata.uid != *uid);
            if replaced {
                self.places.remove(uid);
                due.extend(self.dependents(uid).cloned());
            }
            // Whoever waited for this object may be waiting no longer.
            due.extend(self.waiting_owners(&before));
        }
        let Some(now) = now else { return due };
        if now.waits_for_dependents() || now.lets_dependents_go() || !now.metadata.owner_references.is_empty()
        {
            due.insert(key.clone());
        }
        if now.waits_for_dependents() {
            due.extend(self.dependents(&now.metadata.uid).cloned());
        }
        due.extend(self.waiting_owners(&now));
        for owner in &now.metadata.owner_references {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(key.clone(), owner.block_owner_deletion);
        }
        self.places.insert(now.metadata.uid.clone(), key.clone());
        self.heads.insert(key.clone(), now);
        due
    }

    /// The objects that this one owns.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flat_map(BTreeMap::keys)
    }

    /// How many of these it waits for when it is deleted in the foreground.
    pub(super) fn blocking(&self, uid: &str) -> usize {
        self.dependents.get(uid).map_or(0, |dependents| {
            dependents.values().filter(|blocks| **blocks).count()
        })
    }

    /// Whether the object is being deleted and waits for its dependents.
    pub(super) fn waits_for_dependents(&self, key: &Key) -> bool {
        self.heads.get(key).is_some_and(Head::waits_for_dependents)
    }

    fn waiting_owners(&self, head: &Head) -> Vec<Key> {
        let owners = head
            .metadata
            .owner_references
            .iter()
            .filter_map(|owner| self.places.get(&owner.uid));
        owners
            .filter(|key| self.waits_for_dependents(key))
            .cloned()
            .collect()
    }

    fn forget(&mut self, key: &Key, head: &Head) {
        for owner in &head.metadata.owner_references {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn head(uid: &str, owners: &[(&str, bool)], finalizers: &[&str]) -> Option<Head> {
        let owners: Vec<Value> = owners
            .iter()
            .map(|(uid, block)| json!({ "uid": uid, "blockOwnerDeletion": block }))
            .collect();
        let deleted = (!finalizers.is_empty()).then_some("2026-11-23T00:00:00Z");
        let metadata = json!({
            "uid": uid, "ownerReferences": owners, "finalizers": finalizers, "deletionTimestamp": deleted,
        });
        Head::read(
            json!({ "metadata": metadata, "spec": { "any": [1] } })
                .to_string()
                .as_bytes(),
        )
    }

    fn keys(keys: &[&str]) -> BTreeSet<Key> {
        keys.iter().map(|&key| key.into()).collect()
    }

    #[test]
    fn dependents_are_looked_at_when_their_owner_goes_or_is_replaced() {
        let mut index = Index::default();
        assert_eq!(index.note(&"/a".into(), head("a", &[], &[])), keys(&[]));
        assert_eq!(
            index.note(&"/b".into(), head("b", &[("a", true)], &[])),
            keys(&["/b"])
        );
        assert_eq!(index.note(&"/a".into(), head("a", &[], &[])), keys(&[]));
        assert_eq!(index.note(&"/a".into(), head("a2", &[], &[])), keys(&["/b"]));
        index.note(&"/b".into(), None);
        assert_eq!(index.note(&"/a".into(), None), keys(&[]));
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_whenever_a_dependent_changes() {
        let mut index = Index::default();
        index.note(&"/a".into(), head("a", &[], &[]));
        index.note(&"/b".into(), head("b", &[("a", true)], &[]));
        index.note(&"/c".into(), head("c", &[("a", false)], &[]));
        assert_eq!(
            index.note(&"/a".into(), head("a", &[], &[FOREGROUND])),
            keys(&["/a", "/b", "/c"])
        );
        assert_eq!(index.blocking("a"), 1);
        assert_eq!(index.note(&"/b".into(), None), keys(&["/a"]));
        assert_eq!((index.blocking("a"), index.dependents("a").count()), (0, 1));
    }
}
