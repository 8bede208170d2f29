//! OpenAPI v3: the index, and one document for each group and version.
//!
//! kubectl reads them for `apply`, `create -f`, `edit` and `explain`: it looks for PATCH operations of a kind with the
//! parameters `fieldValidation` and `dryRun`, and for the kind's component. Documents are made once for each state of the
//! catalog.

pub mod components;
pub mod operations;

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// The routes `/openapi/v3` and below.
pub fn routes(kinds: Arc<Kinds>) -> Router {
    let documents = Arc::new(Documents {
        kinds,
        made: ArcSwapOption::empty(),
    });
    Router::new()
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
}

struct Document {
    fingerprint: String,
    body: Bytes,
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
        let body = Bytes::from(group_version_document(catalog, group, version).to_string());
        (
            path_of(group, version),
            Document {
                fingerprint: fingerprint(&body),
                body,
            },
        )
    });
    Made {
        revision: catalog.revision(),
        by_path: documents.collect(),
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
    let body = json!({"paths": paths}).to_string();
    let etag = fingerprint(body.as_bytes());
    cached(&headers, &etag, Bytes::from(body))
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
            let mut response = cached(&headers, &document.fingerprint, document.body.clone());
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

fn cached(headers: &HeaderMap, fingerprint: &str, body: Bytes) -> Response {
    let etag = format!("\"{fingerprint}\"");
    let mut response = if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let etag = HeaderValue::try_from(etag).expect("a fingerprint is hexadecimal");
    response.headers_mut().insert(header::ETAG, etag);
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
