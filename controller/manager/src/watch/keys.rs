//! The Secrets that EdgeUsers name. Of all others no content is ever asked for: the watch tells names and versions alone, and
//! what is in a Secret is read when an EdgeUser names it, and forgotten with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crds::{EdgeUser, edge_user::SecretKeyReference};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store, store::WriterDropped},
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tracing::warn;

/// How long one Secret may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Pauses after a Secret could not be read: first, and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Namespace and name.
type Name = (String, String);

/// Secrets that are named, as they were last read.
type Read = BTreeMap<Name, Arc<Secret>>;

/// Follows what EdgeUsers name.
pub(super) struct Keys {
    read: watch::Receiver<Option<Read>>,
}

/// What the keys are made of.
pub(super) struct Sources {
    /// Who names Secrets.
    pub(super) users: Store<EdgeUser>,
    /// Which Secrets there are.
    pub(super) secrets: Store<PartialObjectMeta<Secret>>,
    /// Fires when one of the two changes.
    pub(super) news: Arc<Notify>,
}

impl Keys {
    /// Begins; the second value does the work for ever, and must be run. `wake` fires when a key is another.
    pub(super) fn open(
        client: Client,
        sources: Sources,
        wake: Arc<Notify>,
    ) -> (Self, impl Future<Output = ()>) {
        let (told, read) = watch::channel(None);
        let follow = async move {
            // The writers are dropped while the process stops, and not before.
            let _stopped = follow(&client, &sources, &told, &wake).await;
        };
        (Self { read }, follow)
    }

    /// Waits until each Secret that is named was asked for once.
    pub(super) async fn ready(&self) {
        // The task that tells lives as long as the watches do.
        let mut read = self.read.clone();
        let _told = read.wait_for(Option::is_some).await;
    }

    /// The key of an EdgeUser in `namespace`.
    pub(super) fn get(&self, namespace: &str, reference: &SecretKeyReference) -> Option<String> {
        let read = self.read.borrow();
        let secret = read
            .as_ref()?
            .get(&(namespace.to_owned(), reference.name.clone()))?;
        let value = secret.data.as_ref()?.get(&reference.key)?;
        let key = std::str::from_utf8(&value.0).ok()?.trim();
        (!key.is_empty()).then(|| key.to_owned())
    }
}

async fn follow(
    client: &Client,
    sources: &Sources,
    told: &watch::Sender<Option<Read>>,
    wake: &Notify,
) -> Result<(), WriterDropped> {
    sources.users.wait_until_ready().await?;
    sources.secrets.wait_until_ready().await?;
    let mut pause = BACKOFF.0;
    loop {
        let known = told.borrow().clone().unwrap_or_default();
        let (read, all) = read_named(client, sources, &known).await;
        if read != known || told.borrow().is_none() {
            told.send_replace(Some(read));
            wake.notify_one();
        }
        if all {
            pause = BACKOFF.0;
            sources.news.notified().await;
        } else {
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

/// Reads what is named and was not read in its present version; and whether everything could be read.
async fn read_named(client: &Client, sources: &Sources, known: &Read) -> (Read, bool) {
    let (mut read, mut all) = (Read::new(), true);
    for name in names(&sources.users.state()) {
        let present = sources.secrets.get(&ObjectRef::new(&name.1).within(&name.0));
        let Some(version) = present.and_then(|metadata| metadata.resource_version()) else {
            continue;
        };
        let last = known.get(&name);
        if let Some(secret) = last.filter(|secret| secret.resource_version().as_ref() == Some(&version)) {
            read.insert(name, Arc::clone(secret));
            continue;
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), &name.0);
        let why = match timeout(READ_WITHIN, api.get_opt(&name.1)).await {
            Ok(Ok(Some(secret))) => {
                read.insert(name, Arc::new(secret));
                continue;
            }
            Ok(Ok(None)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        warn!(
            namespace = name.0,
            secret = name.1,
            why,
            "a Secret with an API key cannot be read; tried again"
        );
        // What was read of it before is better than nothing.
        if let Some(secret) = last {
            read.insert(name, Arc::clone(secret));
        }
        all = false;
    }
    (read, all)
}

fn names(users: &[Arc<EdgeUser>]) -> BTreeSet<Name> {
    let name = |user: &Arc<EdgeUser>| {
        let reference = user.spec.api_key_secret.as_ref()?;
        Some((user.namespace()?, reference.name.clone()))
    };
    users.iter().filter_map(name).collect()
}
