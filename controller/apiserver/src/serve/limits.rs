//! What keeps one client from taking the server away from the others: a bound on reads, one on writes and one on watches, and 429 for
//! who comes after. Health is told in any case.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use http::Method;
use prometheus::IntCounterVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{auth::attributes, health, status::Status};

/// When a refused client should come again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// How many requests are worked on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that read.
    pub read_only: usize,
    /// Requests that write. Each holds at most one body of 3 MiB.
    pub mutating: usize,
    /// Watches. Each costs a task and a queue.
    pub watches: usize,
}

impl Default for Limits {
    /// Upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`, and as many watches as agents of a large fleet have.
    fn default() -> Self {
        Self {
            read_only: 400,
            mutating: 200,
            watches: 10_000,
        }
    }
}

#[derive(Clone)]
struct Permits {
    read_only: Arc<Semaphore>,
    mutating: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    dropped: IntCounterVec,
}

/// Puts the limits in front of everything that `router` answers; `dropped` counts who is refused, by kind of request.
pub(super) fn limited(router: Router, limits: Limits, dropped: IntCounterVec) -> Router {
    let permits = Permits {
        read_only: Arc::new(Semaphore::new(limits.read_only)),
        mutating: Arc::new(Semaphore::new(limits.mutating)),
        watches: Arc::new(Semaphore::new(limits.watches)),
        dropped,
    };
    router.layer(middleware::from_fn_with_state(permits, limit))
}

async fn limit(State(permits): State<Permits>, request: Request, next: Next) -> Response {
    if health::is_asked_by(request.uri().path()) {
        return next.run(request).await;
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let watches = reads && attributes::asks_for_watch(request.uri());
    let (kind, semaphore) = match (watches, reads) {
        (true, _) => ("watch", permits.watches),
        (_, true) => ("readOnly", permits.read_only),
        (_, false) => ("mutating", permits.mutating),
    };
    let Ok(permit) = semaphore.try_acquire_owned() else {
        permits.dropped.with_label_values(&[kind]).inc();
        return Status::too_many_requests(RETRY_AFTER_SECONDS).into_response();
    };
    let response = next.run(request).await;
    if watches {
        counted_until_its_end(permit, response)
    } else {
        response
    }
}

/// The response, which counts as a watch until its body is dropped.
fn counted_until_its_end(permit: OwnedSemaphorePermit, response: Response) -> Response {
    response.map(|body| {
        let stream = body.into_data_stream();
        Body::from_stream(stream.inspect(move |_| {
            // The closure owns the permit, and gives it back when the stream is dropped.
            let _ = &permit;
        }))
    })
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use futures::FutureExt;
    use tower::ServiceExt;

    use super::*;
    use crate::metrics::Metrics;

    async fn ask(router: &Router, method: Method, path: &str) -> Response {
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        router.clone().oneshot(request.unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_watch_counts_until_it_ends_and_each_kind_counts_apart() {
        let endless =
            || async { Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()) };
        let stuck = || futures::future::pending::<()>();
        let routes = Router::new()
            .route("/", get(endless).post(stuck))
            .route("/readyz", get(endless));
        let limits = Limits {
            read_only: 1,
            mutating: 1,
            watches: 1,
        };
        let metrics = Metrics::new();
        let router = limited(routes, limits, metrics.dropped_requests());
        let watch = ask(&router, Method::GET, "/?watch=true").await;
        assert_eq!(watch.status(), 200);
        let refused = ask(&router, Method::GET, "/?watch=true").await;
        assert_eq!(
            (
                refused.status().as_u16(),
                refused.headers()["retry-after"].to_str().unwrap()
            ),
            (429, "1")
        );
        let write = tokio::spawn({
            let router = router.clone();
            async move { ask(&router, Method::POST, "/").await }
        });
        while ask(&router, Method::POST, "/?dryRun=All")
            .now_or_never()
            .is_none_or(|answer| answer.status() != 429)
        {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            ask(&router, Method::GET, "/").await.status(),
            200,
            "reading is another kind"
        );
        assert_eq!(ask(&router, Method::GET, "/readyz?verbose").await.status(), 200);
        write.abort();
        drop(watch);
        assert_eq!(ask(&router, Method::GET, "/?watch=true").await.status(), 200);
        let text = metrics.dropped_requests().with_label_values(&["watch"]).get();
        assert_eq!(text, 1);
    }
}
