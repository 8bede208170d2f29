//! `edgeloom models`: which services a router offers to whoever asks. A client like any other, and what `helm test` runs.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{chat::said_in, output};

/// How often a router that does not answer is asked again.
const LOOK: Duration = Duration::from_secs(1);

/// Time that one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// `edgeloom models`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The router, such as http://127.0.0.1:8080. tcp://HOST:PORT, as a pod's environment names a Service, is read as http.
    #[arg(long)]
    url: String,
    /// The API key. Without one, services that anyone may use are listed.
    #[arg(long, env = "EDGELOOM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Waits this many seconds for the router to answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Asks only whether the router is there: that it wants a key is an answer too.
    #[arg(long)]
    reachable: bool,
}

/// What a router answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// These models may be used.
    Models(Vec<String>),
    /// Who asks is not let in.
    Refused(String),
    /// It cannot say yet, or there is no router.
    NotYet(String),
    /// Something that no router says.
    Wrong(String),
}

/// Asks and prints one name a line.
///
/// # Errors
///
/// When the router does not answer in time, or refuses.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let url = format!("{}/models", crate::up::base_url(&http(&arguments.url)));
    let deadline = Instant::now() + Duration::from_secs(arguments.wait);
    loop {
        match ask(&url, arguments.api_key.as_deref()) {
            Answer::Models(names) => {
                return output::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
                    .context("cannot print");
            }
            Answer::Refused(message) if arguments.reachable => {
                return output::print(&format!("{url} answers: {message}\n")).context("cannot print");
            }
            Answer::NotYet(_) if Instant::now() < deadline => thread::sleep(LOOK),
            Answer::Refused(message) => {
                anyhow::bail!(
                    "{url} answers: {} (here: --api-key)",
                    message.trim_end_matches('.')
                )
            }
            Answer::NotYet(message) | Answer::Wrong(message) => anyhow::bail!("{url}: {message}"),
        }
    }
}

/// The address as a URL that can be asked.
fn http(url: &str) -> String {
    match url.strip_prefix("tcp://") {
        Some(address) => format!("http://{address}"),
        None => url.to_owned(),
    }
}

fn ask(url: &str, key: Option<&str>) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_WITHIN))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(url);
    if let Some(key) = key {
        request = request.header("Authorization", &format!("Bearer {key}"));
    }
    match request.call() {
        Err(ureq::Error::BadUri(message)) => Answer::Wrong(message),
        Err(error) => Answer::NotYet(error.to_string()),
        Ok(mut response) => {
            let text = response.body_mut().read_to_string().unwrap_or_default();
            read(response.status().as_u16(), &text)
        }
    }
}

fn read(status: u16, body: &str) -> Answer {
    let models = || {
        let list: Value = serde_json::from_str(body).ok()?;
        let names = list.get("data")?.as_array()?.iter();
        names
            .map(|model| model["id"].as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
    };
    match status {
        200 => models().map_or_else(
            || Answer::Wrong("this is no list of models".to_owned()),
            Answer::Models,
        ),
        401 | 403 => Answer::Refused(said_in(body)),
        429 | 500.. => Answer::NotYet(format!("status {status}: {}", said_in(body))),
        _ => Answer::Wrong(format!("status {status}: {}", said_in(body))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_a_pods_environment_is_a_url() {
        assert_eq!(http("tcp://10.96.0.7:8080"), "http://10.96.0.7:8080");
        assert_eq!(http("tcp://[fd00::7]:8080"), "http://[fd00::7]:8080");
        assert_eq!(http("https://edge.example/v1"), "https://edge.example/v1");
    }

    #[test]
    fn a_routers_words_are_told_apart() {
        let error = r#"{"error": {"message": "no"}}"#;
        let models = r#"{"object": "list", "data": [{"id": "b"}, {"id": "a"}]}"#;
        assert_eq!(read(200, models), Answer::Models(vec!["b".into(), "a".into()]));
        assert_eq!(
            read(200, r#"{"object": "list", "data": []}"#),
            Answer::Models(vec![])
        );
        assert!(matches!(read(200, "<html>"), Answer::Wrong(_)));
        assert!(matches!(read(200, r#"{"data": [{}]}"#), Answer::Wrong(_)));
        assert_eq!(read(401, error), Answer::Refused("no".into()));
        assert_eq!(read(503, error), Answer::NotYet("status 503: no".into()));
        assert_eq!(read(404, error), Answer::Wrong("status 404: no".into()));
    }
}
