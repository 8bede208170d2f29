//! Which Kubernetes Nodes are cordoned, where there are Nodes and they may be read. Where not, none is: that is how a
//! control plane of its own is run, and no fault.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tracing::{debug, info, warn};

/// A server that serves no Nodes, or does not show them, is asked again after this time: a permission may be given.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// Pauses after a failed request: first, and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long the first answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the watch asks for: it hears of a Node when it is cordoned and when it is not any more, and of nothing else.
const CORDONED: &str = "spec.unschedulable=true";

/// The names of cordoned Nodes; nothing until the server has answered.
type Names = Option<BTreeSet<String>>;

/// Follows the cordoned Nodes for ever.
pub(crate) struct Cordons {
    names: watch::Receiver<Names>,
}

impl Cordons {
    /// Begins; `task` does the work, and must be run.
    pub(crate) fn open(
        client: &Client,
        wake: Arc<Notify>,
        seconds: u32,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (told, names) = watch::channel(None);
        let api: Api<Node> = Api::all(client.clone());
        (Self { names }, follow(api, told, wake, seconds))
    }

    /// Waits until the server has answered.
    pub(crate) async fn ready(&self) {
        // The task that tells lives as long as the watches do.
        let mut names = self.names.clone();
        let _told = names.wait_for(Option::is_some).await;
    }

    /// The names as they are now.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.names.borrow().clone().unwrap_or_default()
    }
}

async fn follow(api: Api<Node>, told: watch::Sender<Names>, wake: Arc<Notify>, seconds: u32) {
    let mut pause = BACKOFF.0;
    let one = ListParams::default().limit(1);
    loop {
        let asked = tokio::time::timeout(ANSWER_WITHIN, api.list_metadata(&one)).await;
        match asked {
            Ok(Ok(_)) => {
                let config = watcher::Config::default().fields(CORDONED).timeout(seconds);
                let events = watcher(api.clone(), config).default_backoff();
                hear(events, &told, &wake).await;
                pause = BACKOFF.0;
            }
            Ok(Err(error)) if is_refused(&error) => {
                info!(%error, "Kubernetes Nodes are not watched; cordons of theirs are not followed");
                tell(&told, &wake, BTreeSet::new());
                sleep(ASK_AGAIN).await;
                continue;
            }
            Ok(Err(error)) => debug!(%error, "Kubernetes Nodes could not be asked for"),
            Err(_) => debug!("Kubernetes Nodes were not told in time"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Hears events until the server refuses to tell more.
async fn hear(
    events: impl Stream<Item = watcher::Result<Event<Node>>>,
    told: &watch::Sender<Names>,
    wake: &Notify,
) {
    let mut events = std::pin::pin!(events);
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let mut names = told.borrow().clone().unwrap_or_default();
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(node)) => {
                listed.insert(node.name_any());
                continue;
            }
            Ok(Event::InitDone) => names = std::mem::take(&mut listed),
            Ok(Event::Apply(node)) => drop(names.insert(node.name_any())),
            Ok(Event::Delete(node)) => drop(names.remove(&node.name_any())),
            Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error))
                if is_refused(&error) =>
            {
                return;
            }
            Err(error) => {
                warn!(kind = "Node", %error, "a watch failed and is opened again");
                continue;
            }
        }
        tell(told, wake, names);
    }
}

fn tell(told: &watch::Sender<Names>, wake: &Notify, names: BTreeSet<String>) {
    let changed = told.send_if_modified(|known| {
        let changed = known.as_ref() != Some(&names);
        *known = Some(names);
        changed
    });
    if changed {
        wake.notify_one();
    }
}

/// Whether the server does not serve Nodes, or not to us.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_forbidden())
}
