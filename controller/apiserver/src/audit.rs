//! Who asked what, and what was answered: one log line per request, with the identifier that the client is told.
//!
//! Never bodies, never queries (which may hold names of things that are secret). Refusals and failures of the server stand out; the
//! rest is for debugging.

use std::time::Instant;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use http::{HeaderName, HeaderValue};

use crate::auth::UserInfo;

/// The identifier of a request; a client may choose it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// An identifier longer than this is not taken from the client.
const LONGEST_AUDIT_ID: usize = 64;

/// Who made the request, put by the gate into the extensions of its response.
#[derive(Clone)]
pub(crate) struct AskedBy(pub(crate) UserInfo);

/// Writes a line for everything that `router` answers.
pub(crate) fn audited(router: Router) -> Router {
    router.layer(middleware::from_fn(audit))
}

async fn audit(request: Request, next: Next) -> Response {
    let since = Instant::now();
    let id = request
        .headers()
        .get(AUDIT_ID)
        .filter(|id| id.len() <= LONGEST_AUDIT_ID)
        .cloned();
    let id = id.unwrap_or_else(|| {
        HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
            .expect("a UUID is letters, digits and dashes")
    });
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let code = response.status().as_u16();
    let user = response
        .extensions()
        .get::<AskedBy>()
        .map_or("", |AskedBy(user)| user.name.as_str());
    let audit_id = id.to_str().unwrap_or_default();
    match code {
        500.. => tracing::warn!(%method, path, user, code, milliseconds, audit_id, "a request failed"),
        401 | 403 => {
            tracing::info!(%method, path, user, code, milliseconds, audit_id, "a request was refused")
        }
        _ => tracing::debug!(%method, path, user, code, milliseconds, audit_id, "a request was answered"),
    }
    response.headers_mut().insert(AUDIT_ID, id);
    response
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_client_finds_its_request_again_by_its_identifier() {
        let router = audited(Router::new().route("/", get(|| async {})));
        let ask = |id: Option<&str>| {
            let mut request = Request::builder().uri("/");
            if let Some(id) = id {
                request = request.header("Audit-ID", id);
            }
            router.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        assert_eq!(ask(Some("mine")).await.unwrap().headers()["audit-id"], "mine");
        assert_eq!(ask(None).await.unwrap().headers()["audit-id"].len(), 36);
        assert_eq!(
            ask(Some(&"x".repeat(1000))).await.unwrap().headers()["audit-id"].len(),
            36
        );
    }
}
