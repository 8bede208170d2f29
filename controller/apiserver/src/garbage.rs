//! The collector of garbage: objects whose owners are all gone are deleted, and owners that wait for their dependents
//! (`Foreground`) or let them go (`Orphan`) are released.
//!
//! The [`index`] knows who depends on whom from the store's history; [`decide`] says what to do with one object; here it is
//! done. That an owner is gone is always read from the store, by UID, right before anything is deleted for it.

mod decide;
mod index;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use serde_json::Value;

use crate::{
    ApiServer, Status,
    kinds::Resource,
    objects, storage,
    store::{self, Range},
    verbs::{
        Call,
        delete::{self, DeleteOptions, FOREGROUND, ORPHAN, Propagation},
        update::{self, Change, Method, Part},
    },
};
use decide::{Facts, OwnerState, Step};
use index::{Head, Index, Owner};

/// Everything that is stored.
const EVERYTHING: &str = "/registry/";
/// Objects worked on at once, so that their writes share the store's syncs.
const AT_ONCE: usize = 16;
/// Pauses before an object is looked at again after a failure, doubled each time between these.
const RETRY: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_secs(60);

type Key = Arc<str>;

/// Collects until the store's history no longer reaches back to where it is; then it is to be called again.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    let store = server.store();
    let page = store
        .list(EVERYTHING, Range::default())
        .await
        .map_err(storage::refusal)?;
    let mut watch = store
        .watch(EVERYTHING, page.revision)
        .await
        .map_err(storage::refusal)?;
    let mut index = Index::default();
    let mut due = BTreeSet::new();
    for entry in page.entries {
        due.extend(index.note(&entry.key, Head::read(&entry.value)));
    }
    let mut later = Later::default();
    loop {
        while !due.is_empty() {
            let batch: Vec<Key> = std::mem::take(&mut due).into_iter().collect();
            let index = &index;
            let done: Vec<(Key, Result<(), Status>)> = futures::stream::iter(batch)
                .map(|key| async move {
                    let result = Look { server, index }.at(&key).await;
                    (key, result)
                })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            for (key, result) in done {
                match result {
                    Ok(()) => later.forget(&key),
                    Err(error) => {
                        tracing::debug!(%key, %error, "could not be collected yet");
                        later.again(key, Instant::now());
                    }
                }
            }
        }
        let events = tokio::select! {
            events = watch.next() => match events {
                Ok(events) => events,
                // Not a failure: the next run reads everything anew.
                Err(store::Error::Compacted { .. }) => return Ok(()),
                Err(error) => return Err(storage::refusal(error)),
            },
            () = later.next_due() => {
                due.extend(later.take_due(Instant::now()));
                continue;
            }
        };
        for event in events {
            due.extend(index.note(
                &event.key,
                event.value.as_ref().and_then(|value| Head::read(value)),
            ));
        }
    }
}

/// What has to be looked at again later.
#[derive(Default)]
struct Later {
    entries: BTreeMap<Key, (Instant, Duration)>,
}

impl Later {
    fn again(&mut self, key: Key, now: Instant) {
        let pause = self
            .entries
            .get(&key)
            .map_or(RETRY.start, |(_, pause)| (*pause * 2).min(RETRY.end));
        self.entries.insert(key, (now + pause, pause));
    }

    fn forget(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    async fn next_due(&self) {
        match self.entries.values().map(|(due, _)| *due).min() {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// What is due. It stays noted, so that a further failure waits longer; `forget` ends that.
    fn take_due(&mut self, now: Instant) -> Vec<Key> {
        let mut keys = Vec::new();
        for (key, (due, _)) in &mut self.entries {
            if *due <= now {
                *due = now + RETRY.end;
                keys.push(key.clone());
            }
        }
        keys
    }
}

/// One look at one object.
struct Look<'a> {
    server: &'a ApiServer,
    index: &'a Index,
}

impl Look<'_> {
    async fn at(&self, key: &Key) -> Result<(), Status> {
        let Some((call, name)) = self.call(key) else {
            return Ok(());
        };
        let object = match call.read(&name).await {
            Ok((object, _)) => object,
            Err(gone) if gone.reason == "NotFound" => return Ok(()),
            Err(status) => return Err(status),
        };
        let owners = Owner::of(&object);
        let mut states = Vec::with_capacity(owners.len());
        for owner in &owners {
            states.push((owner.uid.clone(), self.state(&call, owner).await?));
        }
        let uid = objects::uid(&object);
        let facts = Facts {
            terminating: objects::is_terminating(&object),
            finalizers: &objects::finalizers(&object),
            owners: &states,
            dependents: self.index.dependents(uid).count(),
            blocking: self.index.blocking(uid),
            dependent_waits_for_us: self
                .index
                .dependents(uid)
                .any(|key| self.index.waits_for_dependents(key)),
        };
        match decide::decide(&facts) {
            Step::Rest => Ok(()),
            Step::AskAgain => Err(Status::unavailable("an owner is of a kind that is not served")),
            Step::Strip(uids) => strip(&call, &name, &object, &uids).await,
            Step::Unblock => {
                unblock(&call, &name, &object).await?;
                self.delete(&call, &name, &object, Propagation::Foreground).await
            }
            Step::Delete(propagation) => self.delete(&call, &name, &object, propagation).await,
            Step::Release => drop_finalizer(&call, &name, &object, FOREGROUND).await,
            Step::Orphan => {
                for key in self.index.dependents(uid) {
                    let Some((dependent, name)) = self.call(key) else {
                        continue;
                    };
                    match dependent.read(&name).await {
                        Ok((found, _)) => strip(&dependent, &name, &found, &[uid.to_owned()]).await?,
                        Err(gone) if gone.reason == "NotFound" => {}
                        Err(status) => return Err(status),
                    }
                }
                drop_finalizer(&call, &name, &object, ORPHAN).await
            }
        }
    }

    /// A call on the object at a key, and its name; `None` when its kind is not served any more.
    fn call(&self, key: &str) -> Option<(Call, String)> {
        let mut parts = key.strip_prefix(EVERYTHING)?.splitn(4, '/');
        let (group, plural) = (parts.next()?, parts.next()?);
        let group = if group == "core" { "" } else { group };
        let (namespace, name) = match (parts.next()?, parts.next()) {
            (namespace, Some(name)) => (namespace, name),
            (name, None) => ("", name),
        };
        let catalog = self.server.kinds().catalog();
        let resource = catalog
            .stored()
            .find(|resource| resource.storage.group == group && resource.storage.plural == plural)?;
        Some((
            Call::internal(self.server, resource.clone(), namespace),
            name.to_owned(),
        ))
    }

    /// How an owner of an object of `call`'s resource and namespace stands, read from the store.
    async fn state(&self, call: &Call, owner: &Owner) -> Result<OwnerState, Status> {
        let Some(resource) = self.owner_resource(owner) else {
            return Ok(OwnerState::Unknown);
        };
        if resource.namespaced && call.namespace.is_empty() {
            // Nothing cluster-scoped can be owned from within a namespace: the reference cannot be resolved.
            return Ok(OwnerState::Unknown);
        }
        let namespace = if resource.namespaced {
            call.namespace.as_str()
        } else {
            ""
        };
        match Call::internal(self.server, resource, namespace)
            .read(&owner.name)
            .await
        {
            Ok((found, _)) if objects::uid(&found) != owner.uid => Ok(OwnerState::Absent),
            Ok((found, _))
                if objects::is_terminating(&found) && objects::finalizers(&found).contains(&FOREGROUND) =>
            {
                Ok(OwnerState::Waiting)
            }
            Ok(_) => Ok(OwnerState::Present),
            Err(gone) if gone.reason == "NotFound" => Ok(OwnerState::Absent),
            Err(status) => Err(status),
        }
    }

    /// The resource of an owner: of its version, or of another if that one is not served any more.
    fn owner_resource(&self, owner: &Owner) -> Option<Arc<Resource>> {
        let (group, version) = owner
            .api_version
            .rsplit_once('/')
            .unwrap_or(("", &owner.api_version));
        let catalog = self.server.kinds().catalog();
        let exact = catalog.find_kind(group, version, &owner.kind).cloned();
        exact.or_else(|| {
            catalog
                .stored()
                .find(|found| found.group == group && found.kind == owner.kind)
                .cloned()
        })
    }

    async fn delete(
        &self,
        call: &Call,
        name: &str,
        object: &Value,
        propagation: Propagation,
    ) -> Result<(), Status> {
        let options = DeleteOptions {
            uid: Some(objects::uid(object).to_owned()),
            // Whoever changed the object meanwhile may have given it another owner.
            resource_version: Some(objects::resource_version(object).to_owned()),
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        match delete::delete(call, name, &options).await {
            Ok(_) => {
                tracing::debug!(resource = %call.resource.plural, name, "collected");
                Ok(())
            }
            Err(gone) if gone.reason == "NotFound" => Ok(()),
            Err(status) => Err(status),
        }
    }
}

/// Takes the references to these owners away.
async fn strip(call: &Call, name: &str, object: &Value, uids: &[String]) -> Result<(), Status> {
    change(call, name, object, |object| {
        let metadata = objects::metadata_mut(object);
        if let Some(Value::Array(references)) = metadata.get_mut("ownerReferences") {
            references.retain(|reference| !uids.iter().any(|uid| reference["uid"] == *uid));
            if references.is_empty() {
                metadata.shift_remove("ownerReferences");
            }
        }
    })
    .await
}

/// Lets the owners of an object go before it.
async fn unblock(call: &Call, name: &str, object: &Value) -> Result<(), Status> {
    change(call, name, object, |object| {
        if let Some(Value::Array(references)) = objects::metadata_mut(object).get_mut("ownerReferences") {
            references
                .iter_mut()
                .for_each(|reference| reference["blockOwnerDeletion"] = false.into());
        }
    })
    .await
}

async fn drop_finalizer(call: &Call, name: &str, object: &Value, finalizer: &str) -> Result<(), Status> {
    change(call, name, object, |object| {
        let kept = objects::finalizers(object)
            .into_iter()
            .filter(|own| *own != finalizer)
            .map(str::to_owned)
            .collect();
        objects::set_finalizers(object, kept);
    })
    .await
}

/// Changes the metadata of this very object; one that is gone, or another of the same name, is left alone.
async fn change(
    call: &Call,
    name: &str,
    object: &Value,
    edit: impl Fn(&mut Value) + Send + Sync,
) -> Result<(), Status> {
    let change = Change {
        part: Part::Main,
        options: Default::default(),
        method: Method::Patch(None),
    };
    let uid = objects::uid(object);
    let changed = update::change_object(call, name, change, |old| {
        let mut new = old.clone();
        // Where this differs from what is stored, the write is refused as a conflict.
        objects::metadata_mut(&mut new).insert("uid".into(), uid.into());
        edit(&mut new);
        Ok(new)
    });
    match changed.await {
        Ok(_) => Ok(()),
        Err(gone) if gone.reason == "NotFound" => Ok(()),
        Err(status) => Err(status),
    }
}
