//! Approves the certificates with which agents join, and those with which they stay, where this program is the control plane. Requests for
//! anything else are left to whoever approves them.
//!
//! | who asks | is approved for |
//! | --- | --- |
//! | an agent | its own node, again |
//! | a bootstrap token made for a node (`edgeloom token --node`) | that node |
//! | any other bootstrap token | a node that no agent has spoken for yet |

use anyhow::Context as _;
use apiserver::signing::{CLIENT_SIGNER, Request};
use crds::EdgeNode;
use futures::StreamExt as _;
use k8s_openapi::{
    api::{certificates::v1::CertificateSigningRequest, core::v1::Secret},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::node_authorizer;

/// What the name of a user begins with who shows a bootstrap token; its identifier follows.
const BOOTSTRAP_USER: &str = "system:bootstrap:";
/// Where bootstrap tokens are.
pub(crate) const TOKEN_NAMESPACE: &str = "kube-system";
/// The annotation of a bootstrap token that is for one node only.
pub(crate) const NODE_ANNOTATION: &str = "edgeloom.dev/node";

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Approved(&'static str),
    Denied(String),
}

/// Follows requests until `stop`.
pub(crate) async fn run(client: Client, stop: CancellationToken) {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let events = watcher(requests, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut events = std::pin::pin!(events);
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        let judged = match event {
            Ok(request) => judge(&client, &request).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = judged {
            warn!(
                error = crds::with_causes(error.as_ref()),
                "cannot judge a certificate request"
            );
        }
    }
}

async fn judge(client: &Client, request: &CertificateSigningRequest) -> anyhow::Result<()> {
    let is_judged = request
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .next()
        .is_some();
    let Some(node) = node_of(request).filter(|_| !is_judged) else {
        return Ok(());
    };
    let user = request.spec.username.clone().unwrap_or_default();
    let verdict = if user == node_authorizer::user_of(&node) {
        Verdict::Approved("the agent renews its certificate")
    } else if let Some(token) = user.strip_prefix(BOOTSTRAP_USER) {
        let (meant_for, is_taken) = (
            node_of_token(client, token).await?,
            is_taken(client, &node).await?,
        );
        of_token(&node, meant_for.as_deref(), is_taken)
    } else {
        Verdict::Denied(format!(
            "{user} is neither the agent of {node} nor a bootstrap token"
        ))
    };
    tell(client, &request.name_any(), &node, &verdict).await
}

/// The node whose agent the request is for; `None` when it is for something else.
fn node_of(request: &CertificateSigningRequest) -> Option<String> {
    if request.spec.signer_name != CLIENT_SIGNER {
        return None;
    }
    let pem = std::str::from_utf8(&request.spec.request.0).ok()?;
    let asked = Request::read(pem).ok()?;
    let node = asked.common_name.strip_prefix(node_authorizer::PREFIX)?;
    (asked.organization == node_authorizer::GROUP && !node.is_empty()).then(|| node.to_owned())
}

/// What a bootstrap token is good for.
fn of_token(node: &str, meant_for: Option<&str>, is_taken: bool) -> Verdict {
    match meant_for {
        Some(meant_for) if meant_for == node => {
            Verdict::Approved("the bootstrap token was made for this node")
        }
        Some(meant_for) => Verdict::Denied(format!("this bootstrap token is for the node {meant_for}")),
        None if is_taken => Verdict::Denied(format!(
            "an agent speaks for {node} already; a token made with `edgeloom token --node {node}` lets another one take its place"
        )),
        None => Verdict::Approved("no agent has spoken for this node yet"),
    }
}

async fn node_of_token(client: &Client, token: &str) -> anyhow::Result<Option<String>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), TOKEN_NAMESPACE);
    let secret = secrets
        .get_opt(&format!("bootstrap-token-{token}"))
        .await
        .context("failed to read the bootstrap token")?;
    Ok(secret.and_then(|secret| secret.annotations().get(NODE_ANNOTATION).cloned()))
}

async fn is_taken(client: &Client, node: &str) -> anyhow::Result<bool> {
    let nodes: Api<EdgeNode> = Api::all(client.clone());
    let found = nodes.get_opt(node).await.context("failed to read the EdgeNode")?;
    Ok(found.is_some_and(|node| node.status.is_some_and(|status| status.agent.is_some())))
}

async fn tell(client: &Client, name: &str, node: &str, verdict: &Verdict) -> anyhow::Result<()> {
    let (kind, message) = match verdict {
        Verdict::Approved(why) => ("Approved", (*why).to_owned()),
        Verdict::Denied(why) => ("Denied", why.clone()),
    };
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = json!({"type": kind, "status": "True", "reason": "EdgeloomNode", "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now});
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    requests
        .patch_subresource("approval", name, &PatchParams::default(), &patch)
        .await
        .with_context(|| format!("failed to answer the certificate request {name}"))?;
    info!(
        request = name,
        node,
        verdict = kind,
        message,
        "a certificate request was judged"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_for_one_node_is_for_no_other() {
        let is_approved = |verdict| matches!(verdict, Verdict::Approved(_));
        assert!(is_approved(of_token("a", Some("a"), true)));
        assert!(!is_approved(of_token("b", Some("a"), false)));
        assert!(is_approved(of_token("b", None, false)));
        assert!(!is_approved(of_token("b", None, true)));
    }
}
