//! The server as a value: a store, a registry of kinds, and the router over both.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::admission::Policies;
use crate::auth::rbac::Rbac;
use crate::auth::{Authorizer, Caller, Chain, Decision, RequestAttributes, UserInfo, refusal};
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::routes;
use crate::store::Store;
use crate::verbs::watch::RecentEvents;
use crate::{compression, discovery, openapi};

/// Longest time of a request other than a watch, if nothing else is said: upstream's.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What a server is told at its start.
#[derive(Clone)]
pub struct Options {
    /// Version that `/version` tells, e.g. `v1.37.0+edge`: charts compare it with the Kubernetes versions that they support.
    pub git_version: String,
    /// Asked in this order about callers that are not masters, before roles and bindings are.
    pub authorizers: Vec<Arc<dyn Authorizer>>,
    /// Longest time that a request other than a watch may take; clients may ask for less.
    pub request_timeout: Duration,
    /// Certificate (PEM) that clients know this server by: every namespace gets it in a ConfigMap. None in a server that only this
    /// process reaches.
    pub root_certificate: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            git_version: "v1.37.0+edge".to_owned(),
            authorizers: Vec::new(),
            request_timeout: REQUEST_TIMEOUT,
            root_certificate: None,
        }
    }
}

/// The server. Clones are cheap and are the same server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    kinds: Arc<Kinds>,
    metrics: Metrics,
    options: Options,
    authorizer: Arc<dyn Authorizer>,
    rbac: Rbac,
    policies: Policies,
    recent_events: RecentEvents,
    /// Cancelled when readiness is to fail.
    leaving: CancellationToken,
    /// Cancelled when watches are to end.
    shutdown: CancellationToken,
}

impl ApiServer {
    /// A server over a store.
    pub fn new(store: Arc<dyn Store>, options: Options) -> Self {
        let rbac = Rbac::default();
        let mut authorizers = options.authorizers.clone();
        authorizers.push(Arc::new(rbac.clone()));
        let authorizer = Arc::new(Chain::new(authorizers));
        let inner = Inner {
            store,
            kinds: Arc::new(Kinds::new()),
            metrics: Metrics::new(),
            options,
            authorizer,
            rbac,
            policies: Policies::default(),
            recent_events: RecentEvents::default(),
            leaving: CancellationToken::new(),
            shutdown: CancellationToken::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Everything that the server answers, for callers that a gate has let in ([`crate::auth`]). Without a gate every request is
    /// refused with 401.
    pub fn router(&self) -> Router {
        discovery::routes(self.inner.kinds.clone())
            .merge(openapi::routes(self.inner.kinds.clone()))
            .merge(
                Router::new()
                    .fallback(routes::answer)
                    .with_state(self.clone())
                    .layer(middleware::from_fn(compression::compress)),
            )
            .layer(middleware::from_fn(refuse_unless_let_in))
            .layer(middleware::map_response(keep_no_copy))
    }

    /// The router for a client in this process, who is `user` and proves nothing.
    pub fn in_process_router(&self, user: UserInfo) -> Router {
        let authorizer = self.inner.authorizer.clone();
        self.router()
            .layer(middleware::from_fn(move |request: Request, next: Next| {
                enter(authorizer.clone(), user.clone(), request, next)
            }))
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    /// The registry of kinds.
    pub fn kinds(&self) -> &Kinds {
        &self.inner.kinds
    }

    /// Who decides what callers may do.
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.inner.authorizer
    }

    /// The certificate (PEM) that clients know this server by, if it has one.
    pub(crate) fn root_certificate(&self) -> Option<&str> {
        self.inner.options.root_certificate.as_deref()
    }

    /// What roles and bindings allow.
    pub fn rbac(&self) -> &Rbac {
        &self.inner.rbac
    }

    /// The policies that writes are held to.
    pub(crate) fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    /// What watches share.
    pub(crate) fn recent_events(&self) -> &RecentEvents {
        &self.inner.recent_events
    }

    /// What the server counts.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Makes `/readyz` fail, so that load balancers send nobody here any more. All else goes on.
    pub fn announce_shutdown(&self) {
        self.inner.leaving.cancel();
    }

    /// Ends all watches and makes `/readyz` fail, so that clients go elsewhere. Other requests are still answered.
    pub fn shut_down(&self) {
        self.announce_shutdown();
        self.inner.shutdown.cancel();
    }

    /// Whether the server is about to end.
    pub fn is_leaving(&self) -> bool {
        self.inner.leaving.is_cancelled()
    }

    /// Longest time that a request other than a watch may take.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.inner.options.request_timeout
    }

    /// Cancelled when the server shuts down.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.inner.shutdown.clone()
    }

    /// The document of `/version`.
    pub(crate) fn version(&self) -> Value {
        let version = self.inner.options.git_version.as_str();
        let mut numbers = version.trim_start_matches('v').split('.');
        let mut number = || numbers.next().unwrap_or("0");
        json!({
            "major": number(), "minor": number(), "gitVersion": version, "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        })
    }
}

/// What is not said to be kept is not to be kept: objects change, and are not for everybody.
async fn keep_no_copy(mut response: Response) -> Response {
    let kept = response.headers_mut().entry(header::CACHE_CONTROL);
    kept.or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// Who did not come through a gate is not answered, whatever they ask.
async fn refuse_unless_let_in(request: Request, next: Next) -> Response {
    match Caller::of(request.extensions()) {
        Ok(_) => next.run(request).await,
        Err(status) => status.into_response(),
    }
}

async fn enter(
    authorizer: Arc<dyn Authorizer>,
    user: UserInfo,
    mut request: Request,
    next: Next,
) -> Response {
    let attributes = RequestAttributes::read(
        user,
        request.method(),
        request.uri().path(),
        request.uri().query(),
    );
    match authorizer.authorize(&attributes).await {
        Decision::Allow => {
            request
                .extensions_mut()
                .insert(Caller::new(attributes, authorizer));
            next.run(request).await
        }
        Decision::Deny(reason) => refusal(&attributes, &reason).into_response(),
        Decision::NoOpinion => refusal(&attributes, "").into_response(),
    }
}
