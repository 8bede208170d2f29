//! Discovery documents: which groups, versions and resources are served.
//!
//! Two forms: the older lists, one request for each group and version, and the aggregated list, which clients ask for by
//! its media type. Both are made from the [`Catalog`] on each request; it is small, and clients keep what they got.

pub mod aggregated;
pub mod legacy;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::kinds::{Catalog, Kinds, Resource};

/// The routes of discovery: `/api`, `/apis` and one for each group and version.
pub fn routes(kinds: Arc<Kinds>) -> Router {
    Router::new()
        .route("/api", get(core_versions))
        .route("/api/", get(core_versions))
        .route("/apis", get(groups))
        .route("/apis/", get(groups))
        .route("/api/v1", get(core_resources))
        .route("/api/v1/", get(core_resources))
        .route("/apis/{group}", get(group))
        .route("/apis/{group}/", get(group))
        .route("/apis/{group}/{version}", get(resources))
        .route("/apis/{group}/{version}/", get(resources))
        .with_state(kinds)
}

async fn core_versions(State(kinds): State<Arc<Kinds>>, headers: HeaderMap) -> Response {
    match aggregated::wanted(&headers) {
        Some(version) => aggregated_response(aggregated::core(&kinds.catalog(), version), version, &headers),
        None => document(legacy::core_versions(), "application/json", &headers),
    }
}

async fn groups(State(kinds): State<Arc<Kinds>>, headers: HeaderMap) -> Response {
    match aggregated::wanted(&headers) {
        Some(version) => {
            aggregated_response(aggregated::groups(&kinds.catalog(), version), version, &headers)
        }
        None => document(legacy::groups(&kinds.catalog()), "application/json", &headers),
    }
}

async fn core_resources(State(kinds): State<Arc<Kinds>>, headers: HeaderMap) -> Response {
    found(legacy::resources(&kinds.catalog(), "", "v1"), &headers)
}

async fn group(State(kinds): State<Arc<Kinds>>, Path(group): Path<String>, headers: HeaderMap) -> Response {
    found(legacy::group(&kinds.catalog(), &group), &headers)
}

async fn resources(
    State(kinds): State<Arc<Kinds>>,
    Path((group, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    found(legacy::resources(&kinds.catalog(), &group, &version), &headers)
}

fn found(body: Option<Value>, headers: &HeaderMap) -> Response {
    match body {
        Some(body) => document(body, "application/json", headers),
        None => page_not_found(),
    }
}

/// What Kubernetes answers for a path that it does not know at all: text, not a Status.
pub fn page_not_found() -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::NOT_FOUND, content_type, "404 page not found\n").into_response()
}

fn aggregated_response(body: Value, version: aggregated::Version, headers: &HeaderMap) -> Response {
    document(body, version.content_type(), headers)
}

/// A document with an ETag, or 304 when the client has it.
fn document(body: Value, content_type: &'static str, headers: &HeaderMap) -> Response {
    let body = body.to_string();
    let etag = format!("\"{}\"", fingerprint(body.as_bytes()));
    let mut response = if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, content_type)], body).into_response()
    };
    let etag = HeaderValue::try_from(etag).expect("a fingerprint is hexadecimal");
    response.headers_mut().insert(header::ETAG, etag);
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// A SHA-256 in upper-case hexadecimal: equal documents have equal fingerprints.
pub fn fingerprint(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Resources of one group and version, in the order of their names.
fn served<'catalog>(
    catalog: &'catalog Catalog,
    group: &'catalog str,
    version: &'catalog str,
) -> Vec<&'catalog Resource> {
    catalog.in_version(group, version).map(AsRef::as_ref).collect()
}

/// A subresource as both forms of discovery list it.
struct ListedSubresource {
    name: &'static str,
    group: String,
    version: String,
    kind: String,
    verbs: &'static [&'static str],
}

fn subresources(resource: &Resource) -> Vec<ListedSubresource> {
    const READ_AND_WRITE: &[&str] = &["get", "patch", "update"];
    let mut listed = Vec::new();
    if resource.subresources.status {
        listed.push(ListedSubresource {
            name: "status",
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
            verbs: READ_AND_WRITE,
        });
    }
    if resource.subresources.scale.is_some() {
        listed.push(ListedSubresource {
            name: "scale",
            group: "autoscaling".to_owned(),
            version: "v1".to_owned(),
            kind: "Scale".to_owned(),
            verbs: READ_AND_WRITE,
        });
    }
    listed.extend(
        resource
            .subresources
            .others
            .iter()
            .map(|other| ListedSubresource {
                name: other.name,
                group: other.group.to_owned(),
                version: other.version.to_owned(),
                kind: other.kind.to_owned(),
                verbs: other.verbs,
            }),
    );
    if !resource.is_custom() {
        listed.sort_by_key(|subresource| subresource.name);
    }
    listed
}
