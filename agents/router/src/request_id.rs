//! Every request has an id: the client's own, or a new one. It is in the answer's header and in the log.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Ids longer than this are replaced: they stand in every log line.
const LENGTH_MAX: usize = 128;

/// The id of a request, among its extensions.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().expect("only visible ASCII is accepted")
    }
}

/// Gives the request its id and echoes it.
pub(crate) async fn assign(mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(HEADER)
        .filter(|value| is_sane(value))
        .cloned()
        .unwrap_or_else(make);
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(HEADER, id);
    response
}

fn is_sane(value: &HeaderValue) -> bool {
    (1..=LENGTH_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn make() -> HeaderValue {
    let id = format!("req-{}", uuid::Uuid::new_v4().simple());
    HeaderValue::from_str(&id).expect("hexadecimal digits are visible ASCII")
}
