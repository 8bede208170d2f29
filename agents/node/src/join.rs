//! How an agent comes to know its own EdgeNode, before anything else: the limits there say how the engine is run.

use std::time::Duration;

use crds::EdgeNode;
use kube::{Api, api::PostParams};
use tokio::time::{sleep, timeout};

use crate::config::Config;

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the control plane may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The agent's own EdgeNode: as the control plane has it, made if that is allowed and there is none; as it was last
/// seen when the control plane is away. Waits where there is neither.
pub(crate) async fn join(config: &Config, kept: Option<EdgeNode>) -> EdgeNode {
    let api: Api<EdgeNode> = Api::all(config.client.clone());
    let mut told = false;
    loop {
        let answer = timeout(ANSWER_WITHIN, find_or_make(&api, config)).await;
        let why = match answer {
            Ok(Ok(Some(node))) => return node,
            Ok(Ok(None)) => "it does not exist; create it, or let the agent register itself".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {ANSWER_WITHIN:?}"),
        };
        if let Some(node) = kept {
            tracing::warn!(
                node = config.node_name,
                why,
                "going by the EdgeNode as it was last seen"
            );
            return node;
        }
        // Once at warning; an agent may wait for hours before its control plane is there.
        if told {
            tracing::debug!(node = config.node_name, why, "waiting for the EdgeNode");
        } else {
            tracing::warn!(node = config.node_name, why, "waiting for the EdgeNode");
            told = true;
        }
        sleep(PAUSE).await;
    }
}

async fn find_or_make(api: &Api<EdgeNode>, config: &Config) -> kube::Result<Option<EdgeNode>> {
    if let Some(node) = api.get_opt(&config.node_name).await? {
        return Ok(Some(node));
    }
    let Some(spec) = config.register.clone() else {
        return Ok(None);
    };
    let node = EdgeNode::new(&config.node_name, spec);
    match api.create(&PostParams::default(), &node).await {
        Ok(node) => {
            tracing::info!(node = config.node_name, "EdgeNode registered");
            Ok(Some(node))
        }
        // Somebody was faster.
        Err(kube::Error::Api(status)) if status.is_already_exists() => api.get_opt(&config.node_name).await,
        Err(error) => Err(error),
    }
}
