//! `/healthz`, `/livez`, `/readyz`: whether the server lives, and whether it should get requests. Checks have names; `?verbose` shows
//! them, `?exclude=NAME` leaves one out, and `/readyz/NAME` asks for one alone. The texts are upstream's.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri, header};
use tokio::time::timeout;

use crate::ApiServer;
use crate::parameters::Parameters;

/// A store that takes longer to tell its revision is not healthy.
const STORAGE_DEADLINE: Duration = Duration::from_secs(2);

/// Whether a path is that of a health check.
pub(crate) fn is_asked_by(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    matches!(first, Some("healthz" | "livez" | "readyz"))
}

/// What there is to check.
#[derive(Clone, Copy, PartialEq)]
enum Check {
    /// That requests are answered at all.
    Ping,
    /// That the store answers.
    Storage,
    /// That the server is not about to end.
    Shutdown,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Storage => "storage",
            Self::Shutdown => "shutdown",
        }
    }

    async fn passes(self, server: &ApiServer) -> bool {
        match self {
            Self::Ping => true,
            Self::Storage => matches!(
                timeout(STORAGE_DEADLINE, server.store().revision()).await,
                Ok(Ok(_))
            ),
            Self::Shutdown => !server.is_leaving(),
        }
    }
}

/// Answers a health check: `root` is `healthz`, `livez` or `readyz`, `check` a single check below it or empty.
pub async fn answer(server: &ApiServer, root: &str, check: &str, uri: &Uri) -> Response {
    let checks: &[Check] = match root {
        "readyz" => &[Check::Ping, Check::Storage, Check::Shutdown],
        _ => &[Check::Ping, Check::Storage],
    };
    if !check.is_empty() {
        return match checks.iter().find(|one| one.name() == check) {
            Some(one) if one.passes(server).await => text(StatusCode::OK, "ok".to_owned()),
            Some(one) => {
                let why = format!("internal server error: {} failed: reason withheld\n", one.name());
                text(StatusCode::INTERNAL_SERVER_ERROR, why)
            }
            None => crate::routes::not_found(),
        };
    }
    let parameters = Parameters::of(uri).unwrap_or_default();
    let excluded = parameters.all("exclude");
    let (mut lines, mut healthy) = (String::new(), true);
    for one in checks {
        let name = one.name();
        if excluded.contains(&name) {
            lines += &format!("[+]{name} excluded: ok\n");
        } else if one.passes(server).await {
            lines += &format!("[+]{name} ok\n");
        } else {
            lines += &format!("[-]{name} failed: reason withheld\n");
            healthy = false;
        }
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| checks.iter().all(|one| one.name() != **name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(",");
        lines += &format!("warn: some health checks cannot be excluded: no matches for {unknown}\n");
    }
    match (healthy, parameters.flag("verbose")) {
        (true, false) => text(StatusCode::OK, "ok".to_owned()),
        (true, true) => text(StatusCode::OK, format!("{lines}{root} check passed\n")),
        (false, _) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{lines}{root} check failed\n"),
        ),
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;
    use crate::Options;
    use crate::store::Memory;

    async fn ask(server: &ApiServer, root: &str, check: &str, query: &str) -> (u16, String) {
        let uri: Uri = format!("/{root}?{query}").parse().unwrap();
        let response = answer(server, root, check, &uri).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_server_that_stops_lives_and_is_not_ready() {
        let server = ApiServer::new(Arc::new(Memory::new()), Options::default());
        assert_eq!(ask(&server, "readyz", "", "").await, (200, "ok".to_owned()));
        server.shut_down();
        assert_eq!(ask(&server, "livez", "", "").await, (200, "ok".to_owned()));
        let (code, body) = ask(&server, "readyz", "", "").await;
        let expected =
            "[+]ping ok\n[+]storage ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n";
        assert_eq!((code, body.as_str()), (500, expected));
        assert_eq!(ask(&server, "readyz", "storage", "").await.0, 200);
        assert_eq!(ask(&server, "readyz", "shutdown", "").await.0, 500);
        assert_eq!(ask(&server, "readyz", "nonsense", "").await.0, 404);
        let (code, body) = ask(&server, "readyz", "", "verbose&exclude=shutdown&exclude=x").await;
        let expected = "[+]ping ok\n[+]storage ok\n[+]shutdown excluded: ok\n\
            warn: some health checks cannot be excluded: no matches for \"x\"\nreadyz check passed\n";
        assert_eq!((code, body.as_str()), (200, expected));
    }
}
