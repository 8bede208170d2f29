//! From started to ready: looks at nodes, stages and services, first until the nodes have timed the models, then until all
//! that was asked for is ready.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crds::{
    ConditionType, EdgeNode, EdgeNodeStatus, LLMService, Model, Placement, Stage, condition,
    stage::{StagePhase, StageStatus},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use super::console::{Console, Step};

/// How often it looks. The API server is on this machine and the lists are short.
const LOOK: Duration = Duration::from_millis(250);

/// Time that nodes get to time the models. A node that cannot, since the model's blocks exceed its memory, would be
/// waited for in vain.
const TIMING_DEADLINE: Duration = Duration::from_secs(60);

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

    /// What must change before a status counts: it may have been written before this start.
    pub(crate) fn before(&self) -> Before {
        let incarnation = |node: &EdgeNode| {
            let agent = node.status.as_ref()?.agent.as_ref()?;
            Some((node.name_any(), agent.incarnation.clone()))
        };
        let epoch = |stage: &Stage| Some((stage.name_any(), stage.status.as_ref()?.epoch.clone()?));
        Before {
            incarnations: self.nodes.iter().filter_map(incarnation).collect(),
            epochs: self.stages.iter().filter_map(epoch).collect(),
        }
    }

    fn node_status(&self, name: &str) -> Option<&EdgeNodeStatus> {
        self.nodes
            .iter()
            .find(|node| node.name_any() == name)?
            .status
            .as_ref()
    }

    /// The service of that namespace and name.
    pub(crate) fn service(&self, (namespace, name): &(String, String)) -> Option<&LLMService> {
        let is_it = |service: &&LLMService| {
            service.name_any() == *name && service.namespace().as_deref() == Some(namespace.as_str())
        };
        self.services.iter().find(is_it)
    }
}

/// What an earlier `edgeloom up` left in statuses that say nothing of this one: its agents by node, and the workers that
/// held its stages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    incarnations: BTreeMap<String, String>,
    epochs: BTreeMap<String, String>,
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// EdgeNodes.
    pub(crate) nodes: Vec<String>,
    /// Namespace and name of LLMServices.
    pub(crate) services: Vec<(String, String)>,
    /// What counts as old.
    pub(crate) before: Before,
}

/// Returns when these nodes are ready and have timed every model: a service that is placed before is placed on those that
/// were quickest to measure, and moves when the others are known. Returns after a minute in any case.
pub(crate) async fn until_timed(client: &Client, wanted: &Wanted, console: &Console) {
    let began = Instant::now();
    loop {
        let seen = look(client).await;
        let steps: Vec<_> = wanted
            .nodes
            .iter()
            .map(|name| timing_step(&seen, wanted, name))
            .collect();
        console.show(&steps);
        let late: Vec<_> = steps
            .iter()
            .filter(|step| !step.done)
            .map(|step| step.subject.as_str())
            .collect();
        if late.is_empty() {
            return;
        }
        if began.elapsed() > TIMING_DEADLINE {
            console.say(&format!("goes on without figures of {}", late.join(", ")));
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns when these nodes and services are ready; the caller stops waiting by dropping the future.
pub(crate) async fn until_ready(client: &Client, wanted: &Wanted, console: &Console) {
    loop {
        let steps = steps(&look(client).await, wanted);
        console.show(&steps);
        if steps.iter().all(|step| step.done) {
            console.clear();
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks until the control plane answers: the supervisor starts it again when it has died.
async fn look(client: &Client) -> Observation {
    loop {
        match Observation::take(client).await {
            Ok(seen) => return seen,
            Err(error) => tracing::debug!(%error, "the API server does not answer"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How far everything is: nodes, then stages, then services.
fn steps(seen: &Observation, wanted: &Wanted) -> Vec<Step> {
    let of_nodes = wanted.nodes.iter().map(|name| node_step(seen, wanted, name));
    let of_stages = seen.stages.iter().map(|stage| stage_step(seen, wanted, stage));
    let of_services = wanted
        .services
        .iter()
        .map(|name| service_step(seen, wanted, name));
    of_nodes.chain(of_stages).chain(of_services).collect()
}

fn node_step(seen: &Observation, wanted: &Wanted, name: &str) -> Step {
    let status = seen.node_status(name);
    let is_old = |status: &EdgeNodeStatus| {
        let agent = status.agent.as_ref();
        agent.is_some_and(|agent| wanted.before.incarnations.get(name) == Some(&agent.incarnation))
    };
    let current = status.filter(|status| !is_old(status));
    let conditions = current
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    ready_step(format!("node {name}"), conditions, "starting")
}

/// A node that is ready, and whether it has timed every variant of every model. Models whose header cannot be read are
/// timed by nobody.
fn timing_step(seen: &Observation, wanted: &Wanted, name: &str) -> Step {
    let mut step = node_step(seen, wanted, name);
    let timed: Vec<_> = seen
        .node_status(name)
        .into_iter()
        .flat_map(|status| &status.devices)
        .flat_map(|device| &device.benchmarks)
        .map(|benchmark| benchmark.model.as_str())
        .collect();
    let inspected = |model: &Model| {
        let status = model.status.as_ref();
        status.and_then(|status| condition::state(&status.conditions, ConditionType::Inspected))
    };
    let is_timed = |model: &Model| match (inspected(model), &model.status) {
        (Some(true), Some(status)) => status
            .variants
            .iter()
            .all(|variant| timed.contains(&variant.digest.as_str())),
        (Some(false), _) => true,
        _ => false,
    };
    if step.done && !seen.models.iter().all(is_timed) {
        match why_not_timed(seen, name) {
            Some(why) => step.text = format!("ready, and cannot time models: {why}"),
            None => {
                step.text = "ready, times the models".to_owned();
                step.done = false;
            }
        }
    }
    step
}

fn why_not_timed<'a>(seen: &'a Observation, name: &str) -> Option<&'a str> {
    condition::why_not(&seen.node_status(name)?.conditions, ConditionType::Benchmarked)
}

fn service_step(seen: &Observation, wanted: &Wanted, name: &(String, String)) -> Step {
    let status = seen.service(name).and_then(|service| service.status.as_ref());
    let conditions = status
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let mut step = ready_step(
        format!("service {}/{}", name.0, name.1),
        conditions,
        "waits for a decision",
    );
    if step.done && !holds_its_stages(seen, wanted, name) {
        step.text = "waits for its stages".to_owned();
        step.done = false;
    }
    if let (true, Some(pipeline)) = (step.done, status.and_then(|status| status.pipeline.as_ref())) {
        step.text = format!("ready: {pipeline}");
    }
    step
}

/// Whether the stages of the service's active placement are in the memory of workers of this start.
fn holds_its_stages(seen: &Observation, wanted: &Wanted, name: &(String, String)) -> bool {
    let active = seen
        .service(name)
        .and_then(|service| service.status.as_ref()?.active_placement.as_ref());
    let is_active = |placement: &&Placement| {
        Some(&placement.name_any()) == active && placement.namespace().as_deref() == Some(name.0.as_str())
    };
    let Some(placement) = seen.placements.iter().find(is_active) else {
        return false;
    };
    let held = |name: &String| {
        seen.stages.iter().any(|stage| {
            stage.name_any() == *name && current_status(wanted, stage).phase == StagePhase::Ready
        })
    };
    placement
        .spec
        .pipelines
        .iter()
        .flat_map(|pipeline| &pipeline.stages)
        .all(|stage| held(&stage.stage))
}

/// The status of a stage, unless it is from before.
fn current_status(wanted: &Wanted, stage: &Stage) -> StageStatus {
    let status = stage.status.clone().unwrap_or_default();
    match (&status.epoch, wanted.before.epochs.get(&stage.name_any())) {
        (Some(epoch), Some(before)) if epoch == before => StageStatus::default(),
        _ => status,
    }
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

fn stage_step(seen: &Observation, wanted: &Wanted, stage: &Stage) -> Step {
    let spec = &stage.spec;
    let subject = format!(
        "stage {}[{},{})",
        spec.node_name, spec.first_layer, spec.end_layer
    );
    let status = current_status(wanted, stage);
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
    use crds::{
        EdgeNodeSpec,
        condition::Reason,
        edge_node::{Benchmark, Device},
        model::ModelVariantStatus,
    };
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

    fn robot() -> Wanted {
        Wanted {
            nodes: vec!["robot".to_owned()],
            services: vec![],
            before: Before::default(),
        }
    }

    #[test]
    fn what_an_earlier_agent_said_does_not_count() {
        let mut node = EdgeNode::new("robot", EdgeNodeSpec::default());
        let agent = |incarnation: &str| {
            Some(crds::edge_node::AgentInfo {
                incarnation: incarnation.to_owned(),
                ..Default::default()
            })
        };
        node.status = Some(EdgeNodeStatus {
            conditions: ready(true, ""),
            agent: agent("first"),
            ..Default::default()
        });
        let mut seen = Observation {
            nodes: vec![node],
            ..Observation::default()
        };
        let wanted = Wanted {
            before: seen.before(),
            ..robot()
        };
        assert!(!steps(&seen, &wanted)[0].done);
        seen.nodes[0].status.as_mut().unwrap().agent = agent("second");
        assert!(steps(&seen, &wanted)[0].done);
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
            let steps = steps(&seen, &robot());
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
        let services = vec![("default".to_owned(), "chat".to_owned())];
        let steps = steps(
            &Observation::default(),
            &Wanted {
                nodes: vec![],
                services,
                before: Before::default(),
            },
        );
        assert_eq!(
            (steps[0].subject.as_str(), steps[0].done),
            ("service default/chat", false)
        );
    }

    #[test]
    fn a_node_is_timed_when_it_has_figures_of_every_variant() {
        let model = |digest: &str| {
            let spec = crds::ModelSpec {
                format: crds::model::ModelFormat::GGUF,
                variants: vec![],
                base_model: None,
                adapters: vec![],
                draft_model: None,
                draft_acceptance_percent: 60,
            };
            let mut model = Model::new(digest, spec);
            let mut status = crds::ModelStatus::default();
            let inspected = ConditionType::Inspected;
            let now = Timestamp::UNIX_EPOCH;
            condition::set(
                &mut status.conditions,
                inspected,
                Some(true),
                Reason::AsDesired,
                "",
                None,
                now,
            );
            status.variants.push(ModelVariantStatus {
                digest: digest.to_owned(),
                ..Default::default()
            });
            model.status = Some(status);
            model
        };
        let timed = |digests: &[&str], models: &[&str]| {
            let benchmark = |digest: &&str| Benchmark {
                model: (*digest).to_owned(),
                ..Default::default()
            };
            let device = Device {
                benchmarks: digests.iter().map(benchmark).collect(),
                ..Default::default()
            };
            let mut node = EdgeNode::new("robot", EdgeNodeSpec::default());
            node.status = Some(EdgeNodeStatus {
                conditions: ready(true, ""),
                devices: vec![device],
                ..EdgeNodeStatus::default()
            });
            let models = models.iter().map(|digest| model(digest)).collect();
            let seen = Observation {
                nodes: vec![node],
                models,
                ..Observation::default()
            };
            timing_step(&seen, &robot(), "robot").done
        };
        assert!(timed(&[], &[]));
        assert!(timed(&["a", "b"], &["a"]));
        assert!(!timed(&["a"], &["a", "b"]));
    }
}
