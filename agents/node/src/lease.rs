//! The agent's sign of life: a Lease named like its node, renewed every few seconds. It is all that the control plane
//! reads to know that an agent is there; status is for facts that change rarely.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// After so long without renewal the agent counts as lost.
const DURATION_SECONDS: i32 = 15;
/// A renewal that takes longer is given up, so that the next is not late.
const WITHIN: Duration = Duration::from_secs(4);

/// Renews the Lease for ever.
pub(crate) async fn keep_renewing(client: Client, namespace: String, node: String, incarnation: String) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut healthy = true;
    loop {
        ticks.tick().await;
        let why = match timeout(WITHIN, renew(&api, &node, &incarnation)).await {
            Ok(Ok(())) => {
                if !healthy {
                    tracing::info!("the Lease is renewed again");
                }
                healthy = true;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {WITHIN:?}"),
        };
        if healthy {
            tracing::warn!(why, "the Lease is not renewed");
        }
        healthy = false;
    }
}

async fn renew(api: &Api<Lease>, node: &str, incarnation: &str) -> kube::Result<()> {
    let now = MicroTime(Timestamp::now());
    let spec = json!({
        "holderIdentity": incarnation,
        "leaseDurationSeconds": DURATION_SECONDS,
        "renewTime": now,
    });
    let patch = Patch::Merge(json!({ "spec": spec }));
    match api.patch(node, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            let mut lease = json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": { "name": node },
                "spec": spec,
            });
            lease["spec"]["acquireTime"] = json!(now);
            let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams::default(), &lease).await.map(drop)
        }
        renewed => renewed.map(drop),
    }
}
