//! `edgeloom explain`: why a service is placed as it is, from what stands in the API server. It computes nothing anew: the
//! Placement carries the reasons that its decision was made with. Only why a node has no part in it is found out when asked.

use anyhow::Context as _;
use crds::{LLMService, Placement};
use kube::{Api, api::ListParams};
use manager::world::ServiceName;

use crate::{connect, output};

mod print;
mod report;
mod table;
mod why_not;

pub(crate) use print::text;
pub(crate) use report::Report;
pub(crate) use table::Table;
pub(crate) use why_not::{Asked, of_mode as why_not_mode, of_node as why_not_node};

/// `edgeloom explain`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// What to explain: llmservice/NAME, or just NAME.
    #[arg(value_name = "llmservice/NAME")]
    service: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Also says why something has no part in the decision: `node/NAME` or `mode/MODE`, such as `mode/Split`.
    #[arg(long, value_name = "node/NAME|mode/MODE")]
    why_not: Option<Asked>,
    #[command(flatten)]
    connect: connect::Arguments,
}

/// Prints the explanation.
///
/// # Errors
///
/// When there is no such service, or the API server refuses.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let name = service_name(&arguments.service)?;
    let client = arguments.connect.client().await?;
    let services: Api<LLMService> = Api::namespaced(client.clone(), &arguments.namespace);
    let asked = || format!("failed to read LLMService {}/{name}", arguments.namespace);
    let Some(service) = services.get_opt(name).await.with_context(asked)? else {
        let all = services.list(&ListParams::default()).await.with_context(asked)?;
        let known: Vec<_> = all
            .items
            .into_iter()
            .filter_map(|known| known.metadata.name)
            .collect();
        let known = if known.is_empty() {
            "no LLMService".to_owned()
        } else {
            known.join(", ")
        };
        anyhow::bail!(
            "there is no LLMService {name} in namespace {}, which has {known}",
            arguments.namespace
        );
    };
    let placements: Api<Placement> = Api::namespaced(client.clone(), &arguments.namespace);
    let selector = ListParams::default().fields(&format!("spec.service={name}"));
    let placements = placements
        .list(&selector)
        .await
        .context("failed to read its Placements")?;
    let report = Report::of(&service, &placements.items);
    let mut said = text(&report);
    match &arguments.why_not {
        Some(Asked::Mode(mode)) => {
            said += "\nWhy not ";
            said += &why_not::of_mode(report.placement.as_ref(), *mode);
        }
        Some(Asked::Node(node)) => {
            said += "\nWhy not ";
            said += &why_not::of_node_now(&client, &ServiceName::of(&service), node).await?;
        }
        None => {}
    }
    output::print(&said)?;
    Ok(())
}

/// The name in `llmservice/NAME`, `llmservices/NAME`, `llm/NAME` or `NAME`.
pub(crate) fn service_name(text: &str) -> anyhow::Result<&str> {
    match text.split_once('/') {
        None if !text.is_empty() => Ok(text),
        Some((kind, name))
            if !name.is_empty()
                && ["llmservice", "llmservices", "llm"].contains(&kind.to_ascii_lowercase().as_str()) =>
        {
            Ok(name)
        }
        _ => anyhow::bail!("{text:?} names no LLMService; write llmservice/NAME"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_as_kubectl_would() {
        for text in [
            "llmservice/chat",
            "llmservices/chat",
            "LLMService/chat",
            "llm/chat",
            "chat",
        ] {
            assert_eq!(service_name(text).unwrap(), "chat");
        }
        for text in ["", "llmservice/", "model/chat"] {
            assert!(
                service_name(text)
                    .unwrap_err()
                    .to_string()
                    .contains("llmservice/NAME"),
                "{text}"
            );
        }
    }
}
