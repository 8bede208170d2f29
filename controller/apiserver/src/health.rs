//! `/healthz`, `/livez`, `/readyz`: whether the server lives, and whether it should get requests.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri, header};

use crate::ApiServer;
use crate::parameters::Parameters;

/// Answers a health check: `root` is `healthz`, `livez` or `readyz`, `check` a single check below it or empty.
pub fn answer(server: &ApiServer, root: &str, check: &str, uri: &Uri) -> Response {
    let stopping = server.shutdown_token().is_cancelled();
    let mut checks = vec![("ping", true)];
    if root == "readyz" {
        checks.push(("shutdown", !stopping));
    }
    let parameters = Parameters::of(uri).unwrap_or_default();
    let excluded = parameters.text("exclude");
    if !check.is_empty() {
        return match checks.iter().find(|(name, _)| *name == check) {
            Some((_, true)) => text(StatusCode::OK, "ok".to_owned()),
            Some((_, false)) => text(StatusCode::INTERNAL_SERVER_ERROR, "not ok".to_owned()),
            None => crate::routes::not_found(),
        };
    }
    checks.retain(|(name, _)| *name != excluded);
    let healthy = checks.iter().all(|(_, fine)| *fine);
    let code = if healthy {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    if healthy && !parameters.flag("verbose") {
        return text(code, "ok".to_owned());
    }
    let mut lines: String = checks
        .iter()
        .map(|(name, fine)| {
            format!(
                "[{}]{name} {}\n",
                if *fine { '+' } else { '-' },
                if *fine { "ok" } else { "failed" }
            )
        })
        .collect();
    lines.push_str(&format!(
        "{root} check {}\n",
        if healthy { "passed" } else { "failed" }
    ));
    text(code, lines)
}

fn text(code: StatusCode, body: String) -> Response {
    (
        code,
        [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        body,
    )
        .into_response()
}
