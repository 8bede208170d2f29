//! A network that can stand still: requests are held up, arrive later, and are then answered to nobody.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use apiserver::auth::UserInfo;
use kube::{Client, client::Body};
use tokio::sync::watch;
use tower::{ServiceExt as _, service_fn};

use crate::control_plane::ControlPlane;

/// Stands between a client and the API server. Watches that were answered before go on.
pub struct Gate {
    open: watch::Sender<bool>,
    held: Arc<Mutex<Vec<String>>>,
    client: Client,
}

impl Gate {
    /// An open one.
    #[must_use]
    pub fn before(plane: &ControlPlane) -> Self {
        let (open, opened) = watch::channel(true);
        let held = Arc::new(Mutex::new(vec![]));
        let (router, waiting) = (
            plane.server.in_process_router(UserInfo::loopback()),
            Arc::clone(&held),
        );
        let service = service_fn(move |request: http::Request<Body>| {
            let (router, mut opened, held) = (router.clone(), opened.clone(), Arc::clone(&waiting));
            // A request that was sent arrives, even if nobody waits for its answer any more.
            let sent = tokio::spawn(async move {
                let name = format!("{} {}", request.method(), request.uri().path());
                let is_open = *opened.borrow_and_update();
                if is_open {
                    return answered(router.oneshot(request).await);
                }
                lock(&held).push(name.clone());
                // An error says that the gate is gone, and nothing holds the request any more.
                drop(opened.wait_for(|open| *open).await);
                let answer = answered(router.oneshot(request).await);
                let mut held = lock(&held);
                let place = held.iter().position(|held| *held == name);
                held.remove(place.expect("it was held"));
                answer
            });
            async move { Ok::<_, Infallible>(sent.await.expect("the server does not panic")) }
        });
        let client = Client::new(service, "default");
        Self { open, held, client }
    }

    /// A client whose requests pass here.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// From now on requests are held up.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// All that was held up arrives.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Requests that are held up, as `METHOD path`.
    #[must_use]
    pub fn held(&self) -> Vec<String> {
        lock(&self.held).clone()
    }
}

fn answered<T>(answer: Result<T, Infallible>) -> T {
    answer.unwrap_or_else(|never| match never {})
}

fn lock(held: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
