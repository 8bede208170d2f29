//! From started to ready: looks at nodes, stages and services until all that was asked for is ready.

use std::{collections::BTreeMap, time::Duration};

use crds::{
    ConditionType, EdgeNode, LLMService, Model, Placement, Stage, condition,
    stage::{StagePhase, StageStatus},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use super::console::{Console, Step};

/// How often it looks. The API server is on this machine and the lists are short.
const LOOK: Duration = Duration::from_millis(250);

/// Everything that is looked at, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// All EdgeNodes.
    pub(crate) nodes: Vec<EdgeNode>,
    /// All Models.
    pub(crate) models: Vec<Model>,
    /// All LLMServices.
    pub(crate) services: Vec<LLMService>,
    /// All Placements.
    pub(crate) placements: Vec<Placement>,
    /// All Stages.
    pub(crate) stages: Vec<Stage>,
    /// All EdgeUsers.
    pub(crate) users: Vec<crds::EdgeUser>,
}

impl Observation {
    /// Looks.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn take(client: &Client) -> Result<Self, kube::Error> {
        let all = ListParams::default();
        Ok(Self {
            nodes: Api::all(client.clone()).list(&all).await?.items,
            models: Api::all(client.clone()).list(&all).await?.items,
            services: Api::all(client.clone()).list(&all).await?.items,
            placements: Api::all(client.clone()).list(&all).await?.items,
            stages: Api::all(client.clone()).list(&all).await?.items,
            users: Api::all(client.clone()).list(&all).await?.items,
        })
    }

    /// The service of that namespace and name.
    pub(crate) fn service(&self, (namespace, name): &(String, String)) -> Option<&LLMService> {
        let is_it = |service: &&LLMService| {
            service.name_any() == *name && service.namespace().as_deref() == Some(namespace.as_str())
        };
        self.services.iter().find(is_it)
    }
}

/// Returns when these nodes and services are ready. A control plane that does not answer for a while is waited for: the
/// supervisor starts it again.
///
/// # Errors
///
/// None at present; the caller stops waiting by dropping the future.
pub(crate) async fn until_ready(
    client: &Client,
    nodes: &[String],
    services: &[(String, String)],
    console: &Console,
) -> anyhow::Result<()> {
    loop {
        match Observation::take(client).await {
            Ok(observation) => {
                let steps = steps(&observation, nodes, services);
                console.show(&steps);
                if steps.iter().all(|step| step.done) {
                    console.clear();
                    return Ok(());
                }
            }
            Err(error) => tracing::debug!(%error, "the API server does not answer"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How far everything is: nodes, then stages, then services.
fn steps(seen: &Observation, nodes: &[String], services: &[(String, String)]) -> Vec<Step> {
    let of_nodes = nodes.iter().map(|name| node_step(seen, name));
    let of_stages = seen.stages.iter().map(|stage| stage_step(seen, stage));
    let of_services = services.iter().map(|name| service_step(seen, name));
    of_nodes.chain(of_stages).chain(of_services).collect()
}

fn node_step(seen: &Observation, name: &str) -> Step {
    let node = seen.nodes.iter().find(|node| node.name_any() == name);
    let conditions = node
        .and_then(|node| node.status.as_ref())
        .map(|status| status.conditions.as_slice());
    ready_step(format!("node {name}"), conditions.unwrap_or_default(), "starting")
}

fn service_step(seen: &Observation, name: &(String, String)) -> Step {
    let status = seen.service(name).and_then(|service| service.status.as_ref());
    let conditions = status
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let mut step = ready_step(
        format!("service {}/{}", name.0, name.1),
        conditions,
        "waits for a decision",
    );
    if let (true, Some(pipeline)) = (step.done, status.and_then(|status| status.pipeline.as_ref())) {
        step.text = format!("ready: {pipeline}");
    }
    step
}

fn ready_step(subject: String, conditions: &[Condition], before: &str) -> Step {
    let done = condition::state(conditions, ConditionType::Ready) == Some(true);
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Ready.as_str());
    let text = match ready {
        _ if done => "ready".to_owned(),
        Some(ready) if ready.message.is_empty() => ready.reason.clone(),
        Some(ready) => format!("{}: {}", ready.reason, ready.message),
        None => before.to_owned(),
    };
    Step {
        subject,
        text,
        bytes: None,
        done,
    }
}

fn stage_step(seen: &Observation, stage: &Stage) -> Step {
    let spec = &stage.spec;
    let subject = format!(
        "stage {}[{},{})",
        spec.node_name, spec.first_layer, spec.end_layer
    );
    let status = stage.status.clone().unwrap_or_default();
    let StageStatus {
        phase,
        fetched_bytes,
        conditions,
        ..
    } = status;
    let bytes = match (phase, fetched_bytes, sizes(seen).get(spec.model.digest.as_str())) {
        (StagePhase::Fetching, Some(fetched), Some(all)) => {
            Some((fetched.unsigned_abs(), all.unsigned_abs()))
        }
        _ => None,
    };
    let text = match phase {
        StagePhase::Pending => ready_step(String::new(), &conditions, "pending").text,
        StagePhase::Failed => ready_step(String::new(), &conditions, "failed").text,
        StagePhase::Fetching => "fetching the weights".to_owned(),
        StagePhase::Loading => "loading".to_owned(),
        StagePhase::Ready => "in memory".to_owned(),
    };
    // What keeps a stage from being ready also keeps its service, which is what is waited for.
    Step {
        subject,
        text,
        bytes,
        done: true,
    }
}

fn sizes(seen: &Observation) -> BTreeMap<&str, i64> {
    let variants = seen
        .models
        .iter()
        .filter_map(|model| model.status.as_ref())
        .flat_map(|status| &status.variants);
    variants
        .map(|variant| (variant.digest.as_str(), variant.size_bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use crds::{EdgeNodeSpec, EdgeNodeStatus, condition::Reason};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn ready(state: bool, message: &str) -> Vec<Condition> {
        let mut conditions = vec![];
        let reason = if state {
            Reason::AsDesired
        } else {
            Reason::Starting
        };
        condition::set(
            &mut conditions,
            ConditionType::Ready,
            Some(state),
            reason,
            message,
            None,
            Timestamp::UNIX_EPOCH,
        );
        conditions
    }

    #[test]
    fn a_node_starts_measures_and_is_ready() {
        let said = |status: Option<EdgeNodeStatus>| {
            let mut node = EdgeNode::new("robot", EdgeNodeSpec::default());
            node.status = status;
            let seen = Observation {
                nodes: vec![node],
                ..Observation::default()
            };
            let steps = steps(&seen, &["robot".to_owned()], &[]);
            (steps[0].text.clone(), steps[0].done)
        };
        let with = |conditions| {
            Some(EdgeNodeStatus {
                conditions,
                ..EdgeNodeStatus::default()
            })
        };
        assert_eq!(said(None), ("starting".to_owned(), false));
        assert_eq!(
            said(with(ready(false, "measures"))),
            ("Starting: measures".to_owned(), false)
        );
        assert_eq!(said(with(ready(true, ""))), ("ready".to_owned(), true));
    }

    #[test]
    fn a_service_that_is_not_there_yet_is_waited_for() {
        let steps = steps(
            &Observation::default(),
            &[],
            &[("default".to_owned(), "chat".to_owned())],
        );
        assert_eq!(
            (steps[0].subject.as_str(), steps[0].done),
            ("service default/chat", false)
        );
    }
}
