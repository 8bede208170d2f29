//! The story of an EdgeNode: it takes no new stages, services have left it, it takes stages again.

use crds::ConditionType;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::plan::Plan;

/// What was told last of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chapter {
    /// Why it takes no new stages, and in which words.
    withheld: Option<(String, String)>,
    /// Whether a service uses it.
    used: bool,
}

impl Chapter {
    pub(super) fn of<S>(conditions: &[Condition], plan: &Plan<S>, node: &str) -> Self {
        let schedulable = ConditionType::Schedulable.as_str();
        let withheld = conditions
            .iter()
            .find(|condition| condition.type_ == schedulable && condition.status == "False");
        Self {
            withheld: withheld.map(|condition| (condition.reason.clone(), condition.message.clone())),
            used: !plan.services_on(node).is_empty(),
        }
    }
}

pub(super) fn failed_update(why: &str) -> Event {
    Event {
        type_: EventType::Warning,
        reason: "AgentUpdateFailed".to_owned(),
        note: Some(format!("{why}; no other agent is updated until this one works")),
        action: "Updating".to_owned(),
        secondary: None,
    }
}

pub(super) fn news(last: &Chapter, chapter: &Chapter) -> Vec<Event> {
    let event = |reason: &str, note: &str| Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note.chars().take(1000).collect()),
        action: "Scheduling".to_owned(),
        secondary: None,
    };
    let mut events = vec![];
    let reason_of = |chapter: &Chapter| chapter.withheld.as_ref().map(|(reason, _)| reason.clone());
    match &chapter.withheld {
        Some((reason, message)) if reason_of(last).as_ref() != Some(reason) => {
            events.push(event(reason, message));
        }
        Some(_) if last.used && !chapter.used => {
            events.push(event("MovedAway", "no service uses this node any more"));
        }
        None if last.withheld.is_some() => {
            events.push(event("Schedulable", "new stages may be placed here again"));
        }
        _ => {}
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapter(reason: &str, used: bool) -> Chapter {
        Chapter {
            withheld: (!reason.is_empty()).then(|| (reason.to_owned(), "why".to_owned())),
            used,
        }
    }

    #[test]
    fn a_drain_is_told_in_order_and_each_part_once() {
        let story = [
            chapter("", true),
            chapter("NodeCordoned", true),
            chapter("NodeCordoned", true),
            chapter("NodeCordoned", false),
            chapter("NodeCordoned", false),
            chapter("", false),
            chapter("", true),
        ];
        let told = story
            .windows(2)
            .flat_map(|pair| news(&pair[0], &pair[1]))
            .map(|event| event.reason);
        assert_eq!(
            told.collect::<Vec<_>>(),
            ["NodeCordoned", "MovedAway", "Schedulable"]
        );
    }
}
