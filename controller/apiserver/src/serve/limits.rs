//! What keeps one client from taking the server away from the others: a bound on requests and one on watches, and 429 for
//! who comes after.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{auth::attributes, status::Status};

/// Requests at once, as upstream's `--max-requests-inflight` plus its mutating ones. Each holds at most one body of 3 MiB.
const MOST_REQUESTS: usize = 600;
/// Watches at once. Each costs a task and a queue.
const MOST_WATCHES: usize = 10_000;
/// When a refused client should come again.
const RETRY_AFTER_SECONDS: u32 = 1;

#[derive(Clone)]
struct Limits {
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

/// Puts the limits in front of everything that `router` answers.
pub(super) fn limited(router: Router) -> Router {
    limited_to(router, MOST_REQUESTS, MOST_WATCHES)
}

fn limited_to(router: Router, requests: usize, watches: usize) -> Router {
    let limits = Limits {
        requests: Arc::new(Semaphore::new(requests)),
        watches: Arc::new(Semaphore::new(watches)),
    };
    router.layer(middleware::from_fn_with_state(limits, limit))
}

async fn limit(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let watches = attributes::asks_to_watch(request.uri().query());
    let kind = if watches { limits.watches } else { limits.requests };
    let Ok(permit) = kind.try_acquire_owned() else {
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
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> Response {
        router
            .clone()
            .oneshot(Request::builder().uri(path).body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_watch_counts_until_it_ends_and_requests_count_apart() {
        let endless =
            || async { Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()) };
        let router = limited_to(Router::new().route("/", get(endless)), 1, 1);
        let watch = ask(&router, "/?watch=true").await;
        assert_eq!(watch.status(), 200);
        let refused = ask(&router, "/?watch=true").await;
        assert_eq!(
            (
                refused.status().as_u16(),
                refused.headers()["retry-after"].to_str().unwrap()
            ),
            (429, "1")
        );
        assert_eq!(ask(&router, "/").await.status(), 200);
        drop(watch);
        assert_eq!(ask(&router, "/?watch=true").await.status(), 200);
    }
}
