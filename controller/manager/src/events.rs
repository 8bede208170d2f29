//! Events that tell the story of a service, for `kubectl describe`. One reason for each kind of news.

use std::{collections::BTreeMap, time::Duration};

use crds::{ConditionType, LLMServiceStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource as _, ResourceExt as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::debug;

use crate::{
    apply::Applied,
    plan::{Plan, Verdict},
    rollout::Turn,
    status,
    world::{Now, ServiceName, World},
};

mod nodes;

/// How long an Event may take to be written.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);

/// Tells news of services and nodes, each once.
pub struct Storyteller {
    recorder: Recorder,
    told: BTreeMap<ServiceName, Chapter>,
    told_of_nodes: BTreeMap<String, nodes::Chapter>,
    /// The machine, and why the update of its agent failed.
    told_of_update: Option<(String, String)>,
}

/// What was told last of a service.
#[derive(Clone, Debug, Default, PartialEq)]
struct Chapter {
    serving: Option<String>,
    next: Option<String>,
    feasible: Option<bool>,
    ready_reason: String,
}

impl Storyteller {
    /// A storyteller that writes through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: "edgeloom.dev/controller".to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client, reporter),
            told: BTreeMap::new(),
            told_of_nodes: BTreeMap::new(),
            told_of_update: None,
        }
    }

    /// Tells what a plan changed.
    pub async fn tell(
        &mut self,
        world: &World,
        plan: &Plan<Applied>,
        statuses: &BTreeMap<ServiceName, LLMServiceStatus>,
        now: Now,
    ) {
        self.tell_of_services(world, plan, statuses).await;
        self.tell_of_nodes(world, plan, now).await;
    }

    /// Tells, once, that an agent's update has failed, and with it that of all others.
    pub async fn tell_of_failed_update(&mut self, world: &World, turn: &Turn, why: &str) {
        let told = Some((turn.machine.clone(), why.to_owned()));
        let node = turn.node.as_deref().and_then(|node| world.node(node));
        let Some(node) = node.filter(|_| self.told_of_update != told) else {
            return;
        };
        self.publish(&nodes::failed_update(why), &node.object_ref(&()))
            .await;
        self.told_of_update = told;
    }

    async fn tell_of_nodes(&mut self, world: &World, plan: &Plan<Applied>, now: Now) {
        for node in &world.nodes {
            let wanted = status::of_node(world, plan, node, now);
            let chapter = nodes::Chapter::of(&wanted, plan, &node.name_any());
            let known = node.status.as_ref().map(|status| status.conditions.as_slice());
            let last = self
                .told_of_nodes
                .insert(node.name_any(), chapter.clone())
                .unwrap_or_else(|| nodes::Chapter::of(known.unwrap_or_default(), plan, &node.name_any()));
            for event in nodes::news(&last, &chapter) {
                self.publish(&event, &node.object_ref(&())).await;
            }
        }
        self.told_of_nodes.retain(|name, _| world.node(name).is_some());
    }

    async fn tell_of_services(
        &mut self,
        world: &World,
        plan: &Plan<Applied>,
        statuses: &BTreeMap<ServiceName, LLMServiceStatus>,
    ) {
        for service in &world.services {
            let name = ServiceName::of(service);
            let wanted = statuses.get(&name).cloned().unwrap_or_default();
            let known = plan.services.get(&name).cloned().unwrap_or_default();
            let ready = wanted
                .conditions
                .iter()
                .find(|condition| condition.type_ == ConditionType::Ready.as_str());
            let chapter = Chapter {
                serving: known.serving.clone(),
                next: known.next.clone(),
                feasible: match known.verdict {
                    Verdict::Feasible(_) => Some(true),
                    Verdict::Infeasible(..) => Some(false),
                    Verdict::Skipped(_) | Verdict::Unknown => None,
                },
                ready_reason: ready
                    .map(|condition| condition.reason.clone())
                    .unwrap_or_default(),
            };
            let last = self
                .told
                .insert(name, chapter.clone())
                .unwrap_or_else(|| remembered(service));
            let why = wanted.why.clone().unwrap_or_default();
            let message = ready
                .map(|condition| condition.message.clone())
                .unwrap_or_default();
            let namespace = service.metadata.namespace.as_deref();
            for News { placement, mut event } in news(&last, &chapter, &why, &message) {
                // Recorders count Events that differ in their note only as one: the Placement sets them apart.
                event.secondary = placement.map(|name| placement_reference(namespace, &name));
                self.publish(&event, &service.object_ref(&())).await;
            }
        }
    }
}

impl Storyteller {
    /// An Event that cannot be written is not worth a retry.
    async fn publish(&self, event: &Event, about: &ObjectReference) {
        match tokio::time::timeout(PUBLISH_WITHIN, self.recorder.publish(event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "an event was not written"),
            Err(_) => debug!("an event was not written in time"),
        }
    }
}

/// What the service's own status says was told before this process began.
fn remembered(service: &crds::LLMService) -> Chapter {
    let status = service.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Ready.as_str());
    Chapter {
        serving: status.active_placement,
        next: status.next_placement,
        feasible: crds::condition::state(&status.conditions, ConditionType::Feasible),
        ready_reason: ready
            .map(|condition| condition.reason.clone())
            .unwrap_or_default(),
    }
}

fn placement_reference(namespace: Option<&str>, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{}/{}", crds::GROUP, crds::VERSION)),
        kind: Some("Placement".to_owned()),
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// An Event, and the Placement that it is about.
struct News {
    placement: Option<String>,
    event: Event,
}

fn news(last: &Chapter, chapter: &Chapter, why: &str, ready: &str) -> Vec<News> {
    let mut events = vec![];
    let mut tell = |type_, reason: &str, note: &str, placement: &Option<String>| {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: "Placing".to_owned(),
            secondary: None,
        };
        events.push(News {
            placement: placement.clone(),
            event,
        });
    };
    if chapter.ready_reason == "StageLost" && last.ready_reason != "StageLost" {
        tell(EventType::Warning, "StageLost", ready, &last.serving);
    }
    if chapter.feasible == Some(false) && last.feasible != Some(false) {
        tell(EventType::Warning, "Infeasible", why, &None);
    }
    if chapter.next.is_some() && chapter.next != last.next {
        tell(EventType::Normal, "Placed", why, &chapter.next);
    }
    if chapter.serving.is_some() && chapter.serving != last.serving {
        tell(EventType::Normal, "Serving", ready, &chapter.serving);
    }
    if chapter.ready_reason == "LoadFailed" && last.ready_reason != "LoadFailed" {
        tell(EventType::Warning, "LoadFailed", ready, &chapter.next);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(last: &Chapter, chapter: &Chapter) -> Vec<String> {
        news(last, chapter, "why", "ready")
            .into_iter()
            .map(|news| news.event.reason)
            .collect()
    }

    #[test]
    fn the_same_state_is_told_once() {
        let serving = Chapter {
            serving: Some("p".into()),
            feasible: Some(true),
            ..Chapter::default()
        };
        assert_eq!(reasons(&Chapter::default(), &serving), ["Serving"]);
        assert_eq!(reasons(&serving, &serving), [""; 0]);
    }

    #[test]
    fn a_loss_and_the_repair_after_it_are_two_events() {
        let lost = Chapter {
            ready_reason: "StageLost".into(),
            next: Some("q".into()),
            ..Chapter::default()
        };
        assert_eq!(reasons(&Chapter::default(), &lost), ["StageLost", "Placed"]);
        let hopeless = Chapter {
            feasible: Some(false),
            next: None,
            ..lost
        };
        assert_eq!(
            reasons(&Chapter::default(), &hopeless),
            ["StageLost", "Infeasible"]
        );
    }
}
