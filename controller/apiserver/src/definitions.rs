//! The controller of CustomResourceDefinitions: serves what they declare, and says so in their status.
//!
//! Clients count on the order: names are accepted, the kind is served (routes, discovery, OpenAPI), and only then is the definition
//! `Established`. A definition that is deleted stays until its objects are gone; meanwhile none can be made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::ApiServer;
use crate::kinds::definition::{self, CLEANUP_FINALIZER, conditions};
use crate::kinds::{Origin, Resource};
use crate::objects;
use crate::parameters::{ListOptions, WriteOptions};
use crate::status::Status;
use crate::storage;
use crate::store::{Range, Watch};
use crate::verbs::delete::{DeleteOptions, Deleted, delete};
use crate::verbs::update::{Change, Method, Part, change_object};
use crate::verbs::{Call, list};

/// How long after a failure, or while objects of a deleted definition wait for their finalizers, it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Verbs of a kind whose definition is being deleted.
const VERBS_WHILE_TERMINATING: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Objects of a deleted definition that are deleted at once.
const DELETION_BATCH: usize = 500;

/// Serves what the stored definitions declare, as far as their names were accepted before: then a server that starts again knows its
/// kinds before its first request.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn load(server: &ApiServer) -> Result<(), Status> {
    let mut definitions = Definitions::new(server)?;
    let (all, _) = definitions.read_all().await?;
    for one in all
        .iter()
        .filter(|one| conditions::names_accepted(&one["status"]))
    {
        definitions.serve(one);
    }
    Ok(())
}

/// Follows the definitions; is to be called again when it ends.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    Definitions::new(server)?.follow().await
}

struct Definitions {
    server: ApiServer,
    resource: Arc<Resource>,
    /// What of each definition is served: its identifier, generation, and whether it is being deleted.
    served: BTreeMap<String, (String, i64, bool)>,
    /// Definitions that have to be looked at again.
    again: BTreeMap<String, Value>,
}

impl Definitions {
    fn new(server: &ApiServer) -> Result<Self, Status> {
        let found = server
            .kinds()
            .find("apiextensions.k8s.io", "v1", "customresourcedefinitions");
        let resource =
            found.ok_or_else(|| Status::internal("this server does not serve CustomResourceDefinitions"))?;
        Ok(Self {
            server: server.clone(),
            resource,
            served: BTreeMap::new(),
            again: BTreeMap::new(),
        })
    }

    async fn read_all(&self) -> Result<(Vec<Value>, u64), Status> {
        let page = self
            .server
            .store()
            .list(&self.prefix(), Range::default())
            .await
            .map_err(storage::refusal)?;
        let decoded = page
            .entries
            .iter()
            .map(|entry| storage::decode(&self.resource, entry));
        Ok((decoded.collect::<Result<_, _>>()?, page.revision))
    }

    fn prefix(&self) -> String {
        storage::prefix(&self.resource, "")
    }

    async fn follow(&mut self) -> Result<(), Status> {
        let (all, revision) = self.read_all().await?;
        for resource in self.server.kinds().all() {
            if let Origin::Definition(name) = &resource.origin
                && !all.iter().any(|one| objects::name(one) == name)
            {
                self.stop_serving(name);
            }
        }
        for one in all {
            self.reconcile(one).await;
        }
        let mut events = self
            .server
            .store()
            .watch(&self.prefix(), revision)
            .await
            .map_err(storage::refusal)?;
        loop {
            self.take_next(events.as_mut()).await?;
        }
    }

    async fn take_next(&mut self, events: &mut dyn Watch) -> Result<(), Status> {
        let batch = if self.again.is_empty() {
            events.next().await
        } else {
            match tokio::time::timeout(RETRY, events.next()).await {
                Ok(batch) => batch,
                Err(_) => {
                    for one in std::mem::take(&mut self.again).into_values() {
                        self.reconcile(one).await;
                    }
                    return Ok(());
                }
            }
        };
        for event in batch.map_err(storage::refusal)? {
            let name = event
                .key
                .strip_prefix(&self.prefix())
                .unwrap_or_default()
                .to_owned();
            self.again.remove(&name);
            match &event.value {
                Some(bytes) => {
                    let one = storage::decode_at(&self.resource, &event.key, bytes, event.revision)?;
                    self.reconcile(one).await;
                }
                None => self.stop_serving(&name),
            }
        }
        Ok(())
    }

    /// Does what the definition asks for; what fails is tried again.
    async fn reconcile(&mut self, one: Value) {
        let outcome = if objects::is_terminating(&one) {
            self.clean_up(&one).await
        } else {
            self.establish(&one).await
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => drop(self.again.insert(objects::name(&one).to_owned(), one)),
            // It has changed meanwhile: its next event is on the way.
            Err(status) if ["Conflict", "NotFound"].contains(&status.reason) => {}
            Err(status) => {
                tracing::warn!(definition = objects::name(&one), %status, "could not be served");
                self.again.insert(objects::name(&one).to_owned(), one);
            }
        }
    }

    async fn establish(&mut self, one: &Value) -> Result<bool, Status> {
        let now = Timestamp::now();
        let mut status = conditions::accept(one, &self.server.kinds().catalog(), now);
        if conditions::names_accepted(&status) {
            self.serve(one);
            status = conditions::establish(&status, now);
        }
        self.write_status(one, status).await?;
        // Names that are taken may become free.
        Ok(conditions::names_accepted(&one["status"]) || self.served.contains_key(objects::name(one)))
    }

    /// Deletes the objects of a definition that is being deleted, and lets it go when there are none; true when that is done.
    async fn clean_up(&mut self, one: &Value) -> Result<bool, Status> {
        let name = objects::name(one);
        if !objects::finalizers(one).contains(&CLEANUP_FINALIZER) {
            return Ok(true);
        }
        if conditions::names_accepted(&one["status"]) {
            self.serve(one);
        }
        self.write_status(one, conditions::terminate(&one["status"], Timestamp::now()))
            .await?;
        let resources = self.server.kinds().all();
        let stored = resources
            .into_iter()
            .find(|resource| resource.origin == Origin::Definition(name.to_owned()));
        if let Some(resource) = stored
            && !self.delete_all(resource).await?
        {
            return Ok(false);
        }
        let call = Call::internal(&self.server, self.resource.clone(), "");
        change_object(&call, name, own_change(Part::Main), |old| {
            let mut new = old.clone();
            let kept = objects::finalizers(old)
                .into_iter()
                .filter(|one| *one != CLEANUP_FINALIZER)
                .map(str::to_owned)
                .collect();
            objects::set_finalizers(&mut new, kept);
            Ok(new)
        })
        .await?;
        Ok(true)
    }

    /// Deletes objects of a resource in all namespaces; true when none is left.
    async fn delete_all(&self, resource: Arc<Resource>) -> Result<bool, Status> {
        let call = Call::internal(&self.server, resource.clone(), "");
        let listed = list::list(
            &call,
            &ListOptions {
                limit: Some(DELETION_BATCH),
                ..ListOptions::default()
            },
            None,
        )
        .await?;
        let mut left = listed.continue_token.is_some();
        for object in listed.items {
            let call = Call::internal(&self.server, resource.clone(), objects::namespace(&object));
            match delete(&call, objects::name(&object), &DeleteOptions::default()).await {
                Ok(Deleted::Gone(_)) => {}
                Ok(Deleted::Waiting(_)) => left = true,
                Err(status) if status.reason == "NotFound" => {}
                Err(status) => return Err(status),
            }
        }
        Ok(!left)
    }

    fn serve(&mut self, one: &Value) {
        let name = objects::name(one).to_owned();
        let state = (
            objects::uid(one).to_owned(),
            objects::generation(one),
            objects::is_terminating(one),
        );
        if self.served.get(&name) == Some(&state) {
            return;
        }
        let mut resources = definition::resources(one);
        if state.2 {
            resources
                .iter_mut()
                .for_each(|resource| resource.verbs = VERBS_WHILE_TERMINATING);
        }
        tracing::info!(
            definition = name,
            versions = resources.len(),
            terminating = state.2,
            "kind is served"
        );
        self.server.kinds().serve_definition(&name, resources);
        self.served.insert(name, state);
    }

    fn stop_serving(&mut self, name: &str) {
        if self.served.remove(name).is_some() {
            tracing::info!(definition = name, "kind is no longer served");
        }
        self.server.kinds().remove_definition(name);
    }

    async fn write_status(&self, one: &Value, status: Value) -> Result<(), Status> {
        if one["status"] == status {
            return Ok(());
        }
        let call = Call::internal(&self.server, self.resource.clone(), "");
        change_object(&call, objects::name(one), own_change(Part::Status), |_| {
            // Computed from this version: if it has changed, its next event is on the way.
            let mut new = one.clone();
            new["status"] = status.clone();
            Ok(new)
        })
        .await?;
        Ok(())
    }
}

/// A change by the server itself: its patch text is empty, since there are no client's words to be quoted back.
fn own_change(part: Part) -> Change<'static> {
    Change {
        part,
        options: WriteOptions::default(),
        method: Method::Patch(None),
    }
}
