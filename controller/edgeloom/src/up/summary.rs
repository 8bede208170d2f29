//! What is printed when all is ready: where to reach it, where each layer went and why, and what to try next.

use std::{
    env,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crds::{EdgeUser, LLMService, Placement, llm_service::Access};
use kube::ResourceExt as _;

use super::progress::Observation;
use crate::explain::Table;

/// The summary of these services.
pub(crate) fn text(
    seen: &Observation,
    services: &[(String, String)],
    api_server: &str,
    kubeconfig: &Path,
    targets: &Path,
) -> String {
    let (kubeconfig, targets) = (kubeconfig.display(), targets.display());
    let mut text = format!(
        "\nEdgeloom is up.\n  API server  {api_server}\n  kubeconfig  {kubeconfig}\n  \
         metrics     {targets} (for Prometheus)\n"
    );
    write_nodes(&mut text, seen);
    let services: Vec<_> = services.iter().filter_map(|name| seen.service(name)).collect();
    for service in &services {
        write_service(&mut text, seen, service);
    }
    match services.first() {
        Some(service) => write_commands(&mut text, seen, service, &kubeconfig.to_string()),
        None => {
            let _ = writeln!(
                text,
                "\nTry next:\n  kubectl --kubeconfig {kubeconfig} get edgenodes -w\n  \
                 kubectl --kubeconfig {kubeconfig} apply -f examples/02-unsplit\n  {} up --help",
                program()
            );
        }
    }
    text.push_str("\nCtrl-C stops everything.\n");
    text
}

fn write_nodes(text: &mut String, seen: &Observation) {
    let mut table = Table::new(["NODE", "TIER", "CORES", "MEMORY", "ROUTER"]);
    for node in &seen.nodes {
        let limits = &node.spec.limits;
        let agent = node.status.as_ref().and_then(|status| status.agent.as_ref());
        table.row([
            node.name_any(),
            format!("{:?}", node.spec.tier),
            limits.cores.as_ref().map(ToString::to_string).unwrap_or_default(),
            limits
                .memory
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            agent.map_or_else(|| "-".to_owned(), |agent| agent.router_url.clone()),
        ]);
    }
    text.push('\n');
    text.push_str(&table.print());
}

fn write_service(text: &mut String, seen: &Observation, service: &LLMService) {
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    let _ = writeln!(text, "\nLLMService {namespace}/{name}");
    let status = service.status.clone().unwrap_or_default();
    let is_active = |placement: &&Placement| {
        Some(placement.name_any()) == status.active_placement && placement.namespace() == service.namespace()
    };
    if let Some(placement) = seen.placements.iter().find(is_active) {
        for stage in placement
            .spec
            .pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.stages)
        {
            let _ = writeln!(
                text,
                "  layers {:>2} to {:>2}  {}",
                stage.first_layer,
                stage.end_layer - 1,
                stage.node
            );
        }
        let _ = writeln!(text, "  why: {}", placement.spec.explanation.summary);
    }
    for endpoint in &status.endpoints {
        let _ = writeln!(text, "  endpoint: {}", base_url(endpoint));
    }
}

fn write_commands(text: &mut String, seen: &Observation, service: &LLMService, kubeconfig: &str) {
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    let endpoints = service
        .status
        .as_ref()
        .map(|status| status.endpoints.as_slice())
        .unwrap_or_default();
    let endpoint = endpoints
        .first()
        .map_or_else(|| "http://ROUTER/v1".to_owned(), |endpoint| base_url(endpoint));
    let model = service.spec.served_name.as_ref().unwrap_or(&name);
    let key = match service.spec.access {
        Access::Anonymous => String::new(),
        Access::ApiKey => match key_of(seen, service) {
            // Read from the Secret by the command itself: keys do not belong on screens and in logs.
            Some((secret, key)) => format!(
                "\n    -H \"Authorization: Bearer $(kubectl --kubeconfig {kubeconfig} -n {namespace} get secret {secret} \
                 -o jsonpath='{{.data.{key}}}' | base64 -d)\" \\"
            ),
            None => "\n    -H \"Authorization: Bearer $API_KEY\" \\".to_owned(),
        },
    };
    let _ = writeln!(
        text,
        "\nTry next:\n  curl -N {endpoint}/chat/completions \\{key}\n    -H 'Content-Type: application/json' \\\n    \
         -d '{{\"model\": \"{model}\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"What is an edge \
         server?\"}}]}}'\n  kubectl --kubeconfig {kubeconfig} -n {namespace} get llm -w\n  {} explain \
         llmservice/{name} -n {namespace} --kubeconfig {kubeconfig}",
        program()
    );
}

/// How a shell finds this program: by its name alone if that is in PATH.
fn program() -> String {
    let Ok(own) = env::current_exe() else {
        return "edgeloom".to_owned();
    };
    let folders = env::var_os("PATH").unwrap_or_default();
    let is_it = |folder: PathBuf| {
        let found = folder.join("edgeloom").canonicalize();
        found.is_ok_and(|found| found == own)
    };
    if env::split_paths(&folders).any(is_it) {
        "edgeloom".to_owned()
    } else {
        own.display().to_string()
    }
}

/// The Secret and its key for a user who may call the service.
pub(crate) fn key_of(seen: &Observation, service: &LLMService) -> Option<(String, String)> {
    let may_call = |user: &&EdgeUser| {
        user.namespace() == service.namespace()
            && user
                .spec
                .demands
                .iter()
                .any(|demand| demand.service == service.name_any())
    };
    let user = seen
        .users
        .iter()
        .filter(may_call)
        .find_map(|user| user.spec.api_key_secret.as_ref())?;
    Some((user.name.clone(), user.key.clone()))
}

/// The URL that OpenAI clients call their base URL: with `/v1`.
pub(crate) fn base_url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1") {
        endpoint.to_owned()
    } else {
        format!("{endpoint}/v1")
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    fn object<K: DeserializeOwned>(yaml: &str) -> K {
        crds::manifest::parse(crds::manifest::read(yaml).unwrap().remove(0)).unwrap()
    }

    const SERVICE: &str = "
apiVersion: edgeloom.dev/v1alpha1
kind: LLMService
metadata: {name: chat, namespace: default}
spec: {models: [{name: smollm2}]}
status: {endpoints: ['http://127.0.0.1:8080'], activePlacement: chat-1}
";
    const USER: &str = "
apiVersion: edgeloom.dev/v1alpha1
kind: EdgeUser
metadata: {name: alice, namespace: default}
spec: {apiKeySecret: {name: alice-key}, demands: [{service: chat}]}
";

    #[test]
    fn the_commands_name_the_endpoint_the_kubeconfig_and_the_secret_but_no_key() {
        let seen = Observation {
            services: vec![object(SERVICE)],
            users: vec![object(USER)],
            ..Observation::default()
        };
        let services = [("default".to_owned(), "chat".to_owned())];
        let text = text(
            &seen,
            &services,
            "https://127.0.0.1:1",
            Path::new("/data/kubeconfig"),
            Path::new("/data/targets.json"),
        );
        for expected in [
            "curl -N http://127.0.0.1:8080/v1/chat/completions \\\n",
            "get secret alice-key -o jsonpath='{.data.apiKey}' | base64 -d",
            "\"model\": \"chat\"",
            "kubectl --kubeconfig /data/kubeconfig -n default get llm -w\n",
            "metrics     /data/targets.json",
            " explain llmservice/chat -n default --kubeconfig /data/kubeconfig\n",
        ] {
            assert!(text.contains(expected), "{expected}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_service_for_anyone_needs_no_key() {
        let open = SERVICE.replace("spec: {", "spec: {access: Anonymous, ");
        let seen = Observation {
            services: vec![object(&open)],
            ..Observation::default()
        };
        let text = text(
            &seen,
            &[("default".to_owned(), "chat".to_owned())],
            "https://a",
            Path::new("/k"),
            Path::new("/t"),
        );
        assert!(!text.contains("Authorization"), "{text}");
    }
}
