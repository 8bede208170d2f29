//! `edgeloom chat`: asks a service and prints the answer as it streams. A client like any other: it speaks the OpenAI API to
//! a router. What it knows beyond that is where to look for the router and the key.

use std::{
    io::{BufRead as _, BufReader},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use crds::{ConditionType, EdgeUser, LLMService, condition, llm_service::Access};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use crate::{connect, explain, output};

/// How often a service that is not ready is looked at again.
const LOOK: Duration = Duration::from_millis(250);

/// Time that an answer may take as a whole.
const ANSWER_DEADLINE: Duration = Duration::from_secs(600);

/// `edgeloom chat`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The service: llmservice/NAME, or just NAME.
    #[arg(value_name = "llmservice/NAME")]
    service: String,
    /// What to ask.
    question: String,
    /// The service's namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Waits this many seconds for the service to be ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// The most tokens of the answer.
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: u32,
    /// 0 always gives the likeliest token, more is more varied.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// The router, such as http://127.0.0.1:8080. The first of the service's endpoints when not given. With this and
    /// --api-key the API server is not asked; the service is then named as clients name the model.
    #[arg(long)]
    url: Option<String>,
    /// The API key. That of an EdgeUser who may call the service when not given.
    #[arg(long, env = "EDGELOOM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    #[command(flatten)]
    connect: connect::Arguments,
}

/// Where the question goes.
#[derive(Debug)]
struct Target {
    /// With `/v1`.
    url: String,
    model: String,
    key: Option<String>,
}

/// Asks and prints.
///
/// # Errors
///
/// When the service is not there or not ready, or the router refuses.
pub(crate) fn run(arguments: &Arguments, runtime: &tokio::runtime::Runtime) -> anyhow::Result<()> {
    let target = runtime.block_on(find(arguments))?;
    ask(&target, arguments)
}

async fn find(arguments: &Arguments) -> anyhow::Result<Target> {
    let name = explain::service_name(&arguments.service)?;
    if let (Some(url), Some(key)) = (&arguments.url, &arguments.api_key) {
        let (model, key) = (name.to_owned(), Some(key.clone()));
        return Ok(Target {
            url: crate::up::base_url(url),
            model,
            key,
        });
    }
    let client = arguments.connect.client().await?;
    let service = ready_service(
        &client,
        &arguments.namespace,
        name,
        Duration::from_secs(arguments.wait),
    )
    .await?;
    let endpoint = service
        .status
        .as_ref()
        .and_then(|status| status.endpoints.first());
    let url = match (&arguments.url, endpoint) {
        (Some(url), _) => url,
        (None, Some(endpoint)) => endpoint,
        (None, None) => anyhow::bail!("LLMService {name} has no endpoint; name a router with --url"),
    };
    let key = match (&arguments.api_key, service.spec.access) {
        (Some(key), _) => Some(key.clone()),
        (None, Access::Anonymous) => None,
        (None, Access::ApiKey) => Some(key_of_a_user(&client, &arguments.namespace, name).await?),
    };
    let model = service
        .spec
        .served_name
        .clone()
        .unwrap_or_else(|| name.to_owned());
    Ok(Target {
        url: crate::up::base_url(url),
        model,
        key,
    })
}

async fn ready_service(
    client: &Client,
    namespace: &str,
    name: &str,
    wait: Duration,
) -> anyhow::Result<LLMService> {
    let api: Api<LLMService> = Api::namespaced(client.clone(), namespace);
    let deadline = Instant::now() + wait;
    loop {
        let found = api.get_opt(name).await;
        let late = Instant::now() >= deadline;
        match found {
            Ok(Some(service)) => {
                let conditions = service
                    .status
                    .as_ref()
                    .map(|status| status.conditions.clone())
                    .unwrap_or_default();
                if condition::state(&conditions, ConditionType::Ready) == Some(true) {
                    return Ok(service);
                }
                if late {
                    let ready = conditions
                        .iter()
                        .find(|known| known.type_ == ConditionType::Ready.as_str());
                    let why = ready.map_or("nothing has decided about it yet".to_owned(), |ready| {
                        format!("{}: {}", ready.reason, ready.message)
                    });
                    anyhow::bail!("LLMService {name} is not ready ({why}); wait for it with --wait SECONDS");
                }
            }
            Ok(None) if late => anyhow::bail!("there is no LLMService {name} in namespace {namespace}"),
            Err(error) if late => return Err(error).context("the API server does not answer"),
            Ok(None) | Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn key_of_a_user(client: &Client, namespace: &str, service: &str) -> anyhow::Result<String> {
    let users: Api<EdgeUser> = Api::namespaced(client.clone(), namespace);
    let users = users
        .list(&ListParams::default())
        .await
        .context("failed to look for an EdgeUser")?;
    let may_call = |user: &&EdgeUser| user.spec.demands.iter().any(|demand| demand.service == service);
    let reference = users
        .items
        .iter()
        .filter(may_call)
        .find_map(|user| user.spec.api_key_secret.as_ref());
    let reference = reference.with_context(|| {
        format!("LLMService {service} wants an API key, and no EdgeUser with a key may call it; give one with --api-key")
    })?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets
        .get(&reference.name)
        .await
        .with_context(|| format!("failed to read Secret {}", reference.name))?;
    let key = secret.data.as_ref().and_then(|data| data.get(&reference.key));
    let key = key.with_context(|| format!("Secret {} has no {}", secret.name_any(), reference.key))?;
    String::from_utf8(key.0.clone())
        .with_context(|| format!("{} of Secret {} is no text", reference.key, reference.name))
}

fn ask(target: &Target, arguments: &Arguments) -> anyhow::Result<()> {
    let url = format!("{}/chat/completions", target.url);
    let body = json!({
        "model": target.model,
        "messages": [{ "role": "user", "content": arguments.question }],
        "max_tokens": arguments.max_tokens,
        "temperature": arguments.temperature,
        "stream": true,
    });
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_DEADLINE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(&url).header("Content-Type", "application/json");
    if let Some(key) = &target.key {
        request = request.header("Authorization", &format!("Bearer {key}"));
    }
    let mut response = request
        .send(body.to_string())
        .with_context(|| format!("{url} does not answer"))?;
    if !response.status().is_success() {
        let text = response.body_mut().read_to_string().unwrap_or_default();
        anyhow::bail!("{url} answers {}: {}", response.status().as_u16(), said_in(&text));
    }
    for line in BufReader::new(response.body_mut().as_reader()).lines() {
        let line = line.context("the answer broke off")?;
        match event(&line) {
            Event::Text(text) => output::print(&text)?,
            Event::Failed(message) => anyhow::bail!("the answer broke off: {message}"),
            Event::End => {
                output::print("\n")?;
                return Ok(());
            }
            Event::Nothing => {}
        }
    }
    anyhow::bail!("the answer broke off without saying why")
}

/// What a line of the stream says.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Text(String),
    Failed(String),
    End,
    Nothing,
}

fn event(line: &str) -> Event {
    let Some(data) = line.strip_prefix("data:").map(str::trim) else {
        return Event::Nothing;
    };
    if data == "[DONE]" {
        return Event::End;
    }
    let chunk: Value = serde_json::from_str(data).unwrap_or_default();
    match (
        chunk.get("error"),
        chunk["choices"][0]["delta"]["content"].as_str(),
    ) {
        (Some(_), _) => Event::Failed(said_in(data)),
        (None, Some(text)) => Event::Text(text.to_owned()),
        (None, None) => Event::Nothing,
    }
}

/// The message of an OpenAI error, or the text itself when it is none.
pub(crate) fn said_in(text: &str) -> String {
    let error: Value = serde_json::from_str(text).unwrap_or_default();
    error["error"]["message"].as_str().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_stream_is_text_an_end_or_an_error() {
        let text = r#"data: {"choices":[{"delta":{"content":"Hi"}}]}"#;
        assert_eq!(event(text), Event::Text("Hi".to_owned()));
        assert_eq!(event("data: [DONE]"), Event::End);
        assert_eq!(
            event(r#"data: {"error":{"message":"stage lost"}}"#),
            Event::Failed("stage lost".to_owned())
        );
        for line in [
            "",
            ": ping",
            r#"data: {"choices":[{"delta":{"role":"assistant"}}]}"#,
        ] {
            assert_eq!(event(line), Event::Nothing);
        }
    }
}
