//! A server on a temporary data directory, reached over TLS.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use apiserver::{
    auth::Authorizer,
    serve::{Running, ServeConfig, Storage, start},
};
use axum::{Router, body::Body};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Deadline for everything that is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A server, stopped when this is dropped.
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) folder: TempDir,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    pub(crate) async fn new() -> Self {
        Self::with(Vec::new()).await
    }

    /// A server that asks these about callers that are not masters.
    pub(crate) async fn with(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self::configured(|config| config.authorizers = authorizers).await
    }

    /// A server over memory that is told something else, too.
    pub(crate) async fn configured(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let mut config = ServeConfig {
            kubeconfig: Some(folder.path().join("kubeconfig")),
            storage: Storage::Memory,
            ..ServeConfig::new(folder.path().join("data"))
        };
        change(&mut config);
        let running = start(config, stop.clone()).await.unwrap();
        Self {
            running,
            folder,
            stop,
        }
    }

    /// Stops the server, and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        self.running.stopped().await;
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// A kubeconfig with which kubectl is `user` in `group`.
    pub(crate) fn kubeconfig_of(&self, user: &str, group: &str) -> PathBuf {
        let path = self.folder.path().join(user.replace(':', "-"));
        self.running
            .write_kubeconfig(&path, user, group, Duration::from_secs(3600))
            .unwrap();
        path
    }

    /// Asks as the administrator, inside the process.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        ask(self.running.admin_router(), method, path, body).await
    }

    /// Asks for `path` until the answer satisfies.
    pub(crate) async fn until(&self, path: &str, satisfies: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let (code, body) = self.ask("GET", path, Value::Null).await;
            if satisfies(code, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} is still {code} {body:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until there is nothing at `path`.
    pub(crate) async fn until_gone(&self, path: &str) {
        self.until(path, |code, _| code == 404).await;
    }
}

async fn ask(router: Router, method: &str, path: &str, body: Value) -> (u16, Value) {
    let media_type = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media_type);
    let response = router
        .oneshot(request.body(Body::from(text)).unwrap())
        .await
        .unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
    (code, body)
}
