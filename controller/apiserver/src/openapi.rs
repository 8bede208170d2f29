//! OpenAPI v3: the index, and one document for each group and version. Beside it one document of v2 ([`v2`]).
//!
//! kubectl reads them for `apply`, `create -f`, `edit` and `explain`: it looks for PATCH operations of a kind with the
//! parameters `fieldValidation` and `dryRun`, and for the kind's component. Documents are made once for each state of the
//! catalog.

pub mod components;
pub mod operations;
pub mod protobuf;
pub mod v2;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::discovery::{fingerprint, page_not_found};
use crate::kinds::{Catalog, Kinds, api_version};

const JSON: &str = "application/json";

/// The routes `/openapi/v3` and below, and `/openapi/v2`.
pub fn routes(kinds: Arc<Kinds>) -> Router {
    let documents = Arc::new(Documents {
        kinds,
        made: ArcSwapOption::empty(),
    });
    Router::new()
        .route("/openapi/v2", get(everything))
        .route("/openapi/v3", get(index))
        .route("/openapi/v3/{*path}", get(document))
        .with_state(documents)
}

/// The documents of the latest catalog that was asked for.
struct Documents {
    kinds: Arc<Kinds>,
    made: ArcSwapOption<Made>,
}

struct Made {
    revision: u64,
    by_path: BTreeMap<String, Document>,
    /// The document of v2, made when it is first asked for: few clients do.
    of_v2: OnceLock<Document>,
    /// The same in protobuf.
    of_v2_in_protobuf: OnceLock<Document>,
}

struct Document {
    fingerprint: String,
    body: Bytes,
}

impl Document {
    fn of(value: &Value) -> Self {
        Self::of_bytes(value.to_string().into_bytes())
    }

    fn of_bytes(bytes: Vec<u8>) -> Self {
        let body = Bytes::from(bytes);
        Self {
            fingerprint: fingerprint(&body),
            body,
        }
    }
}

impl Documents {
    fn current(&self) -> Arc<Made> {
        let catalog = self.kinds.catalog();
        if let Some(made) = self
            .made
            .load_full()
            .filter(|made| made.revision == catalog.revision())
        {
            return made;
        }
        let made = Arc::new(make(&catalog));
        self.made.store(Some(made.clone()));
        made
    }
}

fn make(catalog: &Catalog) -> Made {
    let groups = catalog.groups();
    let group_versions = groups
        .iter()
        .flat_map(|(group, versions)| versions.iter().map(move |version| (*group, *version)));
    let documents = group_versions.map(|(group, version)| {
        let document = Document::of(&group_version_document(catalog, group, version));
        (path_of(group, version), document)
    });
    Made {
        revision: catalog.revision(),
        by_path: documents.collect(),
        of_v2: OnceLock::new(),
        of_v2_in_protobuf: OnceLock::new(),
    }
}

/// `api/v1` or `apis/group/version`
fn path_of(group: &str, version: &str) -> String {
    let root = if group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", api_version(group, version))
}

/// The document of one group and version.
pub fn group_version_document(catalog: &Catalog, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for resource in catalog.in_version(group, version) {
        paths.extend(operations::paths(resource));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes-compatible API", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": components::of_group_version(catalog, group, version)},
    })
}

async fn index(State(documents): State<Arc<Documents>>, headers: HeaderMap) -> Response {
    let made = documents.current();
    let paths: Map<String, Value> = made
        .by_path
        .iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.fingerprint);
            (path.clone(), json!({"serverRelativeURL": url}))
        })
        .collect();
    cached(&headers, &Document::of(&json!({"paths": paths})), JSON)
}

/// The document of v2, in JSON or in protobuf, whichever is accepted first. kubectl asks for protobuf alone, where v3 does not know a
/// kind.
async fn everything(State(documents): State<Arc<Documents>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let clauses = accept.unwrap_or("*/*").split(',');
    let media_types = clauses.map(|clause| clause.split(';').next().unwrap_or_default().trim());
    let known: Vec<&str> = media_types
        .filter(|one| [JSON, "*/*", "", protobuf::ASKED, protobuf::ANSWERED].contains(one))
        .collect();
    let made = documents.current();
    let of_v2 = || v2::document(&documents.kinds.catalog());
    match known.first() {
        None => StatusCode::NOT_ACCEPTABLE.into_response(),
        Some(&(protobuf::ASKED | protobuf::ANSWERED)) => {
            let made = made
                .of_v2_in_protobuf
                .get_or_init(|| Document::of_bytes(protobuf::encode(&of_v2())));
            cached(&headers, made, protobuf::ANSWERED)
        }
        Some(_) => {
            let made = made.of_v2.get_or_init(|| Document::of(&of_v2()));
            cached(&headers, made, JSON)
        }
    }
}

async fn document(
    State(documents): State<Arc<Documents>>,
    Path(path): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let made = documents.current();
    let Some(document) = made.by_path.get(path.trim_end_matches('/')) else {
        return page_not_found();
    };
    match query.get("hash") {
        Some(hash) if *hash != document.fingerprint => {
            let url = format!("/openapi/v3/{path}?hash={}", document.fingerprint);
            let mut response = Redirect::permanent(&url).into_response();
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            response
        }
        known => {
            let mut response = cached(&headers, document, JSON);
            if known.is_some() {
                // The address names the content, so the content never changes.
                let forever = HeaderValue::from_static("public, immutable");
                response.headers_mut().insert(header::CACHE_CONTROL, forever);
                let year_2100 = HeaderValue::from_static("Fri, 01 Jan 2100 00:00:00 GMT");
                response.headers_mut().insert(header::EXPIRES, year_2100);
            }
            response
        }
    }
}

fn cached(headers: &HeaderMap, document: &Document, content_type: &'static str) -> Response {
    let etag = format!("\"{}\"", document.fingerprint);
    let mut response = if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, content_type)], document.body.clone()).into_response()
    };
    let etag = HeaderValue::try_from(etag).expect("a fingerprint is hexadecimal");
    response.headers_mut().insert(header::ETAG, etag);
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
