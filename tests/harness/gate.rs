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

/// Requests that do not pass.
#[derive(Clone, Copy, Debug)]
enum Shut {
    None,
    /// Those with this in their path.
    Some(&'static str),
    All,
}

impl Shut {
    fn holds(self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Some(part) => name.contains(part),
            Self::All => true,
        }
    }
}

/// Stands between a client and the API server. Watches that were answered before go on.
pub struct Gate {
    shut: watch::Sender<Shut>,
    held: Arc<Mutex<Vec<String>>>,
    client: Client,
}

impl Gate {
    /// An open one.
    #[must_use]
    pub fn before(plane: &ControlPlane) -> Self {
        let (shut, seen) = watch::channel(Shut::None);
        let held = Arc::new(Mutex::new(vec![]));
        let (router, waiting) = (
            plane.server.in_process_router(UserInfo::loopback()),
            Arc::clone(&held),
        );
        let service = service_fn(move |request: http::Request<Body>| {
            let (router, mut shut, held) = (router.clone(), seen.clone(), Arc::clone(&waiting));
            // A request that was sent arrives, even if nobody waits for its answer any more.
            let sent = tokio::spawn(async move {
                let name = format!("{} {}", request.method(), request.uri().path());
                let passes = !shut.borrow_and_update().holds(&name);
                if passes {
                    return answered(router.oneshot(request).await);
                }
                lock(&held).push(name.clone());
                // An error says that the gate is gone, and nothing holds the request any more.
                drop(shut.wait_for(|shut| !shut.holds(&name)).await);
                let answer = answered(router.oneshot(request).await);
                let mut held = lock(&held);
                let place = held.iter().position(|held| *held == name);
                held.remove(place.expect("it was held"));
                answer
            });
            async move { Ok::<_, Infallible>(sent.await.expect("the server does not panic")) }
        });
        let client = Client::new(service, "default");
        Self { shut, held, client }
    }

    /// A client whose requests pass here.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// From now on requests are held up.
    pub fn close(&self) {
        self.shut.send_replace(Shut::All);
    }

    /// From now on requests with this in their path are held up.
    pub fn close_to(&self, part: &'static str) {
        self.shut.send_replace(Shut::Some(part));
    }

    /// All that was held up arrives.
    pub fn open(&self) {
        self.shut.send_replace(Shut::None);
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
