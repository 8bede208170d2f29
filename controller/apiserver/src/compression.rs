//! Large answers are compressed for clients that take gzip, as upstream does: from 128 KiB on, quickly rather than well. Streams are not.

use std::io::{self, Write};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;

/// The least that is worth it: upstream's.
const BYTES_MIN: u64 = 128 << 10;
/// Upstream's, too: one is the fastest.
const LEVEL: u32 = 1;

/// Compresses the answer, if it is large, of known length, and the client takes it so.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let wanted = takes_gzip(request.headers());
    let response = next.run(request).await;
    let is_large = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|bytes| bytes >= BYTES_MIN);
    if !wanted || !is_large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else {
        // A body of known length is in memory.
        return Response::from_parts(parts, Body::empty());
    };
    let plain = collected.to_bytes();
    let of_task = plain.clone();
    // Other requests go on meanwhile.
    let Ok(Ok(compressed)) = tokio::task::spawn_blocking(move || gzip(&of_task)).await else {
        return Response::from_parts(parts, Body::from(plain));
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts
        .headers
        .append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, Body::from(compressed))
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let asked = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut clauses = asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    clauses.any(|clause| clause.split(';').next().unwrap_or_default().trim() == "gzip")
}

fn gzip(plain: &Bytes) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    encoder.write_all(plain)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::{Router, middleware, routing::get};
    use flate2::read::GzDecoder;
    use tower::ServiceExt;

    use super::*;

    async fn asked(bytes: usize, encoding: &str) -> (Option<String>, Bytes) {
        let router = Router::new()
            .route("/", get(move || async move { "x".repeat(bytes) }))
            .layer(middleware::from_fn(compress));
        let request = Request::get("/").header(header::ACCEPT_ENCODING, encoding);
        let response = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        let encoding = encoding.map(|value| value.to_str().unwrap().to_owned());
        (encoding, response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn what_is_large_is_compressed_for_who_takes_it() {
        let (encoding, body) = asked(200 << 10, "deflate, gzip;q=1.0").await;
        assert_eq!(encoding.as_deref(), Some("gzip"));
        let mut plain = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "x".repeat(200 << 10));
        assert_eq!(asked(200 << 10, "identity").await.0, None);
        assert_eq!(asked(100 << 10, "gzip").await.0, None);
    }
}
