//! Who asked what, and what was answered: one line of the program's log per request, with the identifier that the client is told, and
//! an event of the audit log, if one is kept.
//!
//! The program's log never has bodies or queries (which may hold names of things that are secret). Refusals and failures of the server
//! stand out in it; the rest is for debugging. What the audit log has, a policy says.

mod event;
mod log;
pub mod policy;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use prometheus::IntCounterVec;

use crate::auth::{Peer, RequestAttributes, UserInfo};
use event::{Facts, Objects};
use log::{Log, Place};
use policy::{Level, Policy, Stage};

/// The identifier of a request; a client may choose it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// An identifier longer than this is not taken from the client.
const LONGEST_AUDIT_ID: usize = 64;

/// Where the audit log is kept, and what it tells.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Bytes at which a new file is begun.
    pub bytes_max: u64,
    /// Full files that are kept.
    pub backups_max: usize,
    /// What is told.
    pub policy: Policy,
}

/// An audit log.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    policy: Arc<Policy>,
    log: Log,
}

impl Audit {
    /// Opens the log; the thread ends when every clone is gone and everything is written. `counted` counts events by outcome.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(config: Config, counted: IntCounterVec) -> io::Result<(Self, JoinHandle<()>)> {
        let Config {
            path,
            bytes_max,
            backups_max,
            policy,
        } = config;
        let place = Place {
            path,
            bytes_max,
            backups_max,
        };
        let (log, thread) = Log::open(place, counted)?;
        let policy = Arc::new(policy);
        Ok((Self { policy, log }, thread))
    }
}

/// Who made the request and what it asked, put by the gate into the extensions of its response.
#[derive(Clone)]
pub(crate) struct AskedBy {
    pub(crate) attributes: RequestAttributes,
    /// Who spoke for the user, if somebody did.
    pub(crate) impersonator: Option<UserInfo>,
}

/// Address of the client. The listener puts it into the extensions of each request.
#[derive(Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

/// The body of a request, for an event that tells it. It is in the extensions of the request when one may.
#[derive(Clone, Default)]
pub(crate) struct KeptBody(Arc<OnceLock<Bytes>>);

impl KeptBody {
    pub(crate) fn keep(&self, body: &Bytes) {
        // A request has one body.
        let _ = self.0.set(body.clone());
    }
}

/// Tells of everything that `router` answers.
pub(crate) fn audited(router: Router, audit: Option<Audit>) -> Router {
    router.layer(middleware::from_fn_with_state(audit, tell))
}

async fn tell(State(audit): State<Option<Audit>>, mut request: Request, next: Next) -> Response {
    let (since, received) = (Instant::now(), Timestamp::now());
    let id = identifier(request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let kept = KeptBody::default();
    if audit.as_ref().is_some_and(|audit| audit.policy.wants_objects()) {
        request.extensions_mut().insert(kept.clone());
    }
    // Kept for the audit log only: a copy for each request is not free.
    let headers = audit.is_some().then(|| request.headers().clone());
    let source = request
        .extensions()
        .get::<PeerAddress>()
        .map(|address| address.0.ip().to_string());
    // Known before the gate has looked, if there is a certificate.
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0.clone());

    let mut response = next.run(request).await;

    let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let code = response.status().as_u16();
    let asked = response.extensions_mut().remove::<AskedBy>();
    let user = asked
        .as_ref()
        .map_or("", |asked| asked.attributes.user.name.as_str());
    let (path, audit_id) = (uri.path(), id.to_str().unwrap_or_default());
    match code {
        500.. => tracing::warn!(%method, path, user, code, milliseconds, audit_id, "a request failed"),
        401 | 403 => {
            tracing::info!(%method, path, user, code, milliseconds, audit_id, "a request was refused")
        }
        _ => tracing::debug!(%method, path, user, code, milliseconds, audit_id, "a request was answered"),
    }
    if let Some((audit, headers)) = audit.zip(headers) {
        let asked = asked.unwrap_or_else(|| AskedBy {
            attributes: RequestAttributes::read(peer.unwrap_or_default(), &method, path, uri.query()),
            impersonator: None,
        });
        let facts = Facts {
            id: audit_id.to_owned(),
            uri: uri.to_string(),
            user_agent: text(&headers, &header::USER_AGENT),
            source,
            received,
            attributes: asked.attributes,
            impersonator: asked.impersonator,
        };
        let object = || kept.0.get().and_then(|body| event::object(&headers, body));
        response = audit.tell(facts, object, response).await;
    }
    response.headers_mut().insert(AUDIT_ID, id);
    response
}

impl Audit {
    /// Tells that a request was answered; of a watch, that it began and, later, that it has ended.
    async fn tell(
        &self,
        facts: Facts,
        object: impl FnOnce() -> Option<serde_json::Value>,
        mut response: Response,
    ) -> Response {
        let code = response.status().as_u16();
        let watches = facts.attributes.verb == "watch" && response.status().is_success();
        let stage = if watches {
            Stage::ResponseStarted
        } else {
            Stage::ResponseComplete
        };
        let level = self.policy.level(&facts.attributes, stage);
        if level > Level::None {
            let mut objects = Objects::default();
            if level >= Level::Request {
                objects.request = object();
            }
            if level == Level::RequestResponse && !watches && facts.attributes.resource_request {
                (response, objects.response) = with_object(response).await;
            }
            let line = event::line(&facts, level, stage, code, objects, Timestamp::now());
            self.log.write(line).await;
        }
        if !watches {
            return response;
        }
        let ending = Ending {
            audit: self.clone(),
            facts,
            code,
        };
        response.map(|body| {
            let stream = body.into_data_stream();
            // The closure owns the ending, which speaks when the stream is dropped.
            Body::from_stream(stream.inspect(move |_| {
                let _ = &ending;
            }))
        })
    }
}

/// The object of an answer, which the client still gets. Answers about resources are in memory already; only watches are streams.
async fn with_object(response: Response) -> (Response, Option<serde_json::Value>) {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            let object = serde_json::from_slice(&bytes).ok();
            (Response::from_parts(parts, bytes.into()), object)
        }
        Err(error) => {
            let failed = futures::stream::once(std::future::ready(Err::<Bytes, _>(error)));
            (Response::from_parts(parts, Body::from_stream(failed)), None)
        }
    }
}

/// Tells of the end of a watch when it is dropped.
struct Ending {
    audit: Audit,
    facts: Facts,
    code: u16,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let stage = Stage::ResponseComplete;
        let level = self.audit.policy.level(&self.facts.attributes, stage);
        if level > Level::None {
            let line = event::line(
                &self.facts,
                level,
                stage,
                self.code,
                Objects::default(),
                Timestamp::now(),
            );
            self.audit.log.write_now(line);
        }
    }
}

/// The client's identifier, or a new one.
fn identifier(headers: &HeaderMap) -> HeaderValue {
    let chosen = headers.get(AUDIT_ID).filter(|id| id.len() <= LONGEST_AUDIT_ID);
    chosen.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
            .expect("a UUID is letters, digits and dashes")
    })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_client_finds_its_request_again_by_its_identifier() {
        let router = audited(Router::new().route("/", get(|| async {})), None);
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

    #[tokio::test]
    async fn a_watch_is_told_of_when_it_begins_and_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            path: folder.path().join("audit.log"),
            bytes_max: 1 << 20,
            backups_max: 1,
            policy: Policy::metadata_of_all(),
        };
        let path = config.path.clone();
        let (audit, thread) = Audit::open(config, Metrics::new().audited()).unwrap();
        let endless =
            || async { Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()) };
        let router = audited(Router::new().route("/api/v1/pods", get(endless)), Some(audit));
        let request = Request::builder()
            .uri("/api/v1/pods?watch=true")
            .header("audit-id", "mine")
            .header("user-agent", "tester");
        let response = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        drop(response);
        tokio::task::spawn_blocking(|| thread.join())
            .await
            .unwrap()
            .unwrap();
        let events: Vec<Value> = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let stages: Vec<&Value> = events.iter().map(|event| &event["stage"]).collect();
        assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
        let first = &events[0];
        assert_eq!(
            (&first["auditID"], &first["verb"]),
            (&json!("mine"), &json!("watch"))
        );
        assert_eq!(
            first["objectRef"],
            json!({"resource": "pods", "apiVersion": "v1"})
        );
        assert_eq!(
            (&first["userAgent"], &first["level"]),
            (&json!("tester"), &json!("Metadata"))
        );
        assert_eq!(first["user"], json!({}), "no gate has told who it is");
    }
}
