//! The life of namespaces: some exist from the start, and one that is deleted is emptied before it goes.
//!
//! A Namespace keeps the finalizer `kubernetes` in its spec; here everything in a terminating one is deleted, again and
//! again until nothing is left (objects may wait for finalizers of their own), and then that finalizer is taken away. What is
//! still left is told in its conditions.

pub(crate) mod content;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    ApiServer, Status,
    kinds::Resource,
    negotiation::Decoded,
    objects,
    parameters::{ListOptions, WriteOptions},
    storage,
    store::{self, Range},
    verbs::{
        Call, create,
        delete::{self, DeleteOptions, Propagation},
        list,
        update::{self, Change, Method, Part},
    },
};

/// Namespaces that exist from the start and cannot be deleted.
pub const INITIAL: &[&str] = &["default", "kube-system", "kube-public"];
/// The entry of a Namespace's `spec.finalizers` that is removed here.
const FINALIZER: &str = "kubernetes";
/// Pauses between two rounds through a namespace that does not become empty, doubled each time between these.
const ROUNDS: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_secs(10);

/// Makes the initial namespaces that are not there.
///
/// # Errors
/// When the store fails.
pub(crate) async fn make_initial(server: &ApiServer) -> Result<(), Status> {
    let call = Call::internal(server, namespaces(server), "");
    for name in INITIAL {
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        match create::create(
            &call,
            Decoded {
                value: body,
                duplicates: Vec::new(),
            },
            WriteOptions::default(),
        )
        .await
        {
            Ok(_) => {}
            Err(present) if present.reason == "AlreadyExists" => {}
            Err(status) => return Err(status),
        }
    }
    make_service(server).await
}

/// Makes the Service under which clients inside of a cluster look for the API server. It has no address of its own here.
async fn make_service(server: &ApiServer) -> Result<(), Status> {
    let Some(services) = server.kinds().find("", "v1", "services") else {
        return Ok(());
    };
    let body = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        },
    });
    let body = Decoded {
        value: body,
        duplicates: Vec::new(),
    };
    let call = Call::internal(server, services, "default");
    match create::create(&call, body, WriteOptions::default()).await {
        Ok(_) => Ok(()),
        Err(present) if present.reason == "AlreadyExists" => Ok(()),
        Err(status) => Err(status),
    }
}

/// Empties terminating namespaces until the store's history no longer reaches back to where it is; then it is to be called
/// again.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    let resource = namespaces(server);
    let prefix = storage::prefix(&resource, "");
    let page = server
        .store()
        .list(&prefix, Range::default())
        .await
        .map_err(storage::refusal)?;
    let mut watch = server
        .store()
        .watch(&prefix, page.revision)
        .await
        .map_err(storage::refusal)?;
    let mut emptied = BTreeMap::new();
    let mut work = FuturesUnordered::new();
    for entry in page.entries {
        begin(
            &mut emptied,
            &mut work,
            server,
            storage::decode(&resource, &entry)?,
        );
    }
    loop {
        tokio::select! {
            Some(uid) = work.next(), if !work.is_empty() => drop(emptied.remove(&uid)),
            events = watch.next() => match events {
                Ok(events) => {
                    for event in events {
                        let Some(value) = &event.value else { continue };
                        let namespace = storage::decode_at(&resource, &event.key, value, event.revision)?;
                        begin(&mut emptied, &mut work, server, namespace);
                    }
                }
                // Not a failure: the next run reads everything anew.
                Err(store::Error::Compacted { .. }) => return Ok(()),
                Err(error) => return Err(storage::refusal(error)),
            },
        }
    }
}

type Work<'a> = FuturesUnordered<futures::future::BoxFuture<'a, String>>;

/// Begins to empty the namespace, if it is terminating and that has not begun.
fn begin<'a>(
    emptied: &mut BTreeMap<String, ()>,
    work: &mut Work<'a>,
    server: &'a ApiServer,
    namespace: Value,
) {
    let uid = objects::uid(&namespace).to_owned();
    if objects::is_terminating(&namespace) && holds(&namespace) && emptied.insert(uid.clone(), ()).is_none() {
        work.push(Box::pin(async move {
            empty(server, objects::name(&namespace)).await;
            uid
        }));
    }
}

/// Empties a namespace, however long that takes.
async fn empty(server: &ApiServer, name: &str) {
    let mut pause = ROUNDS.start;
    loop {
        match round(server, name).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(gone) if gone.reason == "NotFound" => return,
            Err(error) => tracing::warn!(namespace = name, %error, "cannot be emptied yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ROUNDS.end);
    }
}

/// Deletes what is in the namespace; once nothing is, releases it and says true.
async fn round(server: &ApiServer, name: &str) -> Result<bool, Status> {
    let contents: Vec<Arc<Resource>> = server
        .kinds()
        .catalog()
        .stored()
        .filter(|resource| resource.namespaced)
        .cloned()
        .collect();
    let mut left = Left::default();
    for resource in contents {
        let call = Call::internal(server, resource, name);
        let listed = list::list(&call, &ListOptions::default(), None).await?;
        for object in &listed.items {
            // Background, so that the finalizers that objects have of their own are all that is waited for.
            let options = DeleteOptions {
                uid: Some(objects::uid(object).to_owned()),
                propagation: Some(Propagation::Background),
                ..DeleteOptions::default()
            };
            match delete::delete(&call, objects::name(object), &options).await {
                Ok(delete::Deleted::Gone(_)) => {}
                Ok(delete::Deleted::Waiting(object)) => left.count(&call.resource, &object),
                Err(gone) if gone.reason == "NotFound" || gone.reason == "Conflict" => {}
                Err(status) => return Err(status),
            }
        }
    }
    let call = Call::internal(server, namespaces(server), "");
    if left.resources.is_empty() {
        release(&call, name).await?;
        return Ok(true);
    }
    tell(&call, name, &left).await?;
    Ok(false)
}

/// What is left in a namespace, by resource and by finalizer.
#[derive(Debug, Default)]
struct Left {
    resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Left {
    fn count(&mut self, resource: &Resource, object: &Value) {
        *self.resources.entry(resource.group_resource()).or_default() += 1;
        for finalizer in objects::finalizers(object) {
            *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }

    /// Upstream's conditions, with upstream's words.
    fn conditions(&self) -> [(&'static str, &'static str, String); 2] {
        let listed = |counts: &BTreeMap<String, usize>, what: &str| -> String {
            let parts = counts
                .iter()
                .map(|(name, count)| format!("{name} {what} {count} resource instances"));
            parts.collect::<Vec<_>>().join(", ")
        };
        let content = format!("Some resources are remaining: {}", listed(&self.resources, "has"));
        let finalizers = listed(&self.finalizers, "in");
        [
            ("NamespaceContentRemaining", "SomeResourcesRemain", content),
            (
                "NamespaceFinalizersRemaining",
                "SomeFinalizersRemain",
                format!("Some content in the namespace has finalizers remaining: {finalizers}"),
            ),
        ]
    }
}

/// Takes our finalizer away: the namespace goes, unless it has finalizers of its own.
async fn release(call: &Call, name: &str) -> Result<(), Status> {
    let change = Change {
        part: Part::Finalize,
        options: WriteOptions::default(),
        method: Method::Patch(None),
    };
    let released = update::change_object(call, name, change, |old| {
        let mut new = old.clone();
        if let Some(Value::Array(finalizers)) = new["spec"].get_mut("finalizers") {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        Ok(new)
    });
    released.await.map(drop)
}

/// Writes what is left into the namespace's conditions.
async fn tell(call: &Call, name: &str, left: &Left) -> Result<(), Status> {
    let change = Change {
        part: Part::Status,
        options: WriteOptions::default(),
        method: Method::Patch(None),
    };
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let told = update::change_object(call, name, change, |old| {
        let mut new = old.clone();
        let mut conditions = new["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for (kind, reason, message) in left.conditions() {
            let before = conditions.iter().position(|condition| condition["type"] == kind);
            let same = before.is_some_and(|ord| conditions[ord]["message"] == message);
            if same {
                continue;
            }
            let condition = json!({
                "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now,
            });
            match before {
                Some(ord) => conditions[ord] = condition,
                None => conditions.push(condition),
            }
        }
        new["status"]["conditions"] = conditions.into();
        Ok(new)
    });
    told.await.map(drop)
}

fn holds(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"]
        .as_array()
        .is_some_and(|list| list.iter().any(|one| one == FINALIZER))
}

fn namespaces(server: &ApiServer) -> Arc<Resource> {
    server
        .kinds()
        .find("", "v1", "namespaces")
        .expect("every server serves namespaces")
}
