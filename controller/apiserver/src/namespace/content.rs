//! What every namespace has: the ServiceAccount `default`, and the ConfigMap `kube-root-ca.crt` with the certificate by which pods
//! know this server. Both are made anew when they are deleted, and the certificate is put right when it was changed.

use std::sync::Arc;

use futures::future::select_all;
use serde_json::{Value, json};

use crate::{
    ApiServer, Status,
    kinds::Resource,
    negotiation::Decoded,
    objects,
    parameters::WriteOptions,
    storage,
    store::{self, Event, Range, Watch},
    verbs::{
        Call, create,
        update::{self, Change, Method, Part},
    },
};

/// The ServiceAccount of pods that name none.
const ACCOUNT: &str = "default";
/// The ConfigMap with the certificate.
const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";
/// Its only entry.
const KEY: &str = "ca.crt";
/// What upstream says in the ConfigMap's annotation `kubernetes.io/description`.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such \
                           as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions \
                           of Kubernetes clusters.";

/// Gives the initial namespaces what they should have.
///
/// # Errors
/// When the store fails.
pub(crate) async fn make_initial(server: &ApiServer) -> Result<(), Status> {
    let content = Content::of(server);
    for namespace in super::INITIAL {
        content.put_right(namespace).await?;
    }
    Ok(())
}

/// Gives namespaces what they should have, until the store's history no longer reaches back to where it is; then it is to be
/// called again.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    let content = Content::of(server);
    let namespaces = find(server, "namespaces");
    let page = server
        .store()
        .list(&storage::prefix(&namespaces, ""), Range::default())
        .await
        .map_err(storage::refusal)?;
    let mut watches = Vec::new();
    for resource in [&namespaces, &content.accounts, &content.maps] {
        let prefix = storage::prefix(resource, "");
        let watch = server
            .store()
            .watch(&prefix, page.revision)
            .await
            .map_err(storage::refusal)?;
        watches.push((resource.clone(), watch));
    }
    for entry in &page.entries {
        content.put_right(name_in(&namespaces, &entry.key)).await?;
    }
    loop {
        let (resource, events) = match next(&mut watches).await {
            Ok(found) => found,
            // Not a failure: the next run reads everything anew.
            Err(store::Error::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(storage::refusal(error)),
        };
        for event in events {
            if let Some(namespace) = concerned(&resource, &event) {
                content.put_right(namespace).await?;
            }
        }
    }
}

type Watches = Vec<(Arc<Resource>, Box<dyn Watch>)>;

/// The next events of any of the watches.
async fn next(watches: &mut Watches) -> store::Result<(Arc<Resource>, Vec<Arc<Event>>)> {
    let waiting = watches.iter_mut().map(|(resource, watch)| {
        Box::pin(async move { watch.next().await.map(|events| (resource.clone(), events)) })
    });
    select_all(waiting).await.0
}

/// What follows the resource's prefix in a key: the name of a namespace, or `namespace/name`.
fn name_in<'key>(resource: &Resource, key: &'key str) -> &'key str {
    key.strip_prefix(&storage::prefix(resource, ""))
        .unwrap_or_default()
}

/// The namespace that may lack something after an event.
fn concerned<'event>(resource: &Resource, event: &'event Event) -> Option<&'event str> {
    let name = name_in(resource, &event.key);
    match name.split_once('/') {
        None => event.previous.is_none().then_some(name),
        Some((namespace, ACCOUNT)) if resource.plural == "serviceaccounts" => {
            event.value.is_none().then_some(namespace)
        }
        Some((namespace, ROOT_CERTIFICATE)) if resource.plural == "configmaps" => {
            event.previous.is_some().then_some(namespace)
        }
        Some(_) => None,
    }
}

struct Content<'server> {
    server: &'server ApiServer,
    accounts: Arc<Resource>,
    maps: Arc<Resource>,
}

fn find(server: &ApiServer, plural: &str) -> Arc<Resource> {
    server
        .kinds()
        .find("", "v1", plural)
        .expect("every server serves it")
}

impl<'server> Content<'server> {
    fn of(server: &'server ApiServer) -> Self {
        Self {
            server,
            accounts: find(server, "serviceaccounts"),
            maps: find(server, "configmaps"),
        }
    }

    /// Makes what is missing in a namespace; one that is going, or gone, gets nothing.
    async fn put_right(&self, namespace: &str) -> Result<(), Status> {
        let accounts = Call::internal(self.server, self.accounts.clone(), namespace);
        make(&accounts, json!({"metadata": {"name": ACCOUNT}})).await?;
        let Some(certificate) = self.server.root_certificate() else {
            return Ok(());
        };
        let maps = Call::internal(self.server, self.maps.clone(), namespace);
        let wanted = json!({
            "metadata": {"name": ROOT_CERTIFICATE, "annotations": {"kubernetes.io/description": DESCRIPTION}},
            "data": {KEY: certificate},
        });
        let data = wanted["data"].clone();
        if make(&maps, wanted).await? {
            return Ok(());
        }
        restore(&maps, data).await
    }
}

/// Makes an object unless it is there, or its namespace is not; says whether nothing is left to do.
async fn make(call: &Call, body: Value) -> Result<bool, Status> {
    let name = objects::name(&body).to_owned();
    match call.read(&name).await {
        Ok(_) => return Ok(false),
        Err(status) if status.reason == "NotFound" => {}
        Err(status) => return Err(status),
    }
    let body = Decoded {
        value: body,
        duplicates: Vec::new(),
    };
    match create::create(call, body, WriteOptions::default()).await {
        Ok(_) => Ok(true),
        // A namespace that goes, or is gone; an object that someone else made meanwhile.
        Err(status) if matches!(status.reason, "Forbidden" | "NotFound" | "AlreadyExists") => Ok(true),
        Err(status) => Err(status),
    }
}

/// Makes the data of a ConfigMap what it should be.
async fn restore(call: &Call, data: Value) -> Result<(), Status> {
    let change = Change {
        part: Part::Main,
        options: WriteOptions::default(),
        method: Method::Patch(None),
    };
    let restored = update::change_object(call, ROOT_CERTIFICATE, change, |old| {
        let mut new = old.clone();
        new["data"] = data.clone();
        Ok(new)
    });
    match restored.await {
        Err(status) if status.reason != "NotFound" && status.reason != "Conflict" => Err(status),
        _ => Ok(()),
    }
}
