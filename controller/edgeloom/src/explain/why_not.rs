//! `--why-not node/NAME` and `--why-not mode/MODE`: why something has no part in the decision.
//!
//! A mode's answer stands in the Placement. A node's is found by asking the solver again, about what stands in the API server
//! now; nodes that the controller does not reach are left out, as it leaves them out.

use std::{str::FromStr, sync::Arc};

use anyhow::{Context as _, bail};
use crds::{
    ConditionType, EdgeLink, EdgeNode, EdgeUser, InferenceMode, LLMService, Model, Placement, PlacementSpec,
    condition,
};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use manager::{
    plan::wording::Wording,
    snapshot::{Options, Snapshot},
    world::{Loss, ServiceName, World},
};
use serde::de::DeserializeOwned;
use solver::{Budget, Solution, units::ServiceOrd};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An EdgeNode.
    Node(String),
    /// A mode.
    Mode(InferenceMode),
}

impl FromStr for Asked {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once('/') {
            Some(("node", name)) if !name.is_empty() => Ok(Self::Node(name.to_owned())),
            Some(("mode", name)) => {
                let mode = serde_json::from_value(serde_json::Value::String(name.to_owned()));
                Ok(Self::Mode(mode.with_context(|| {
                    format!("{name:?} is no mode; OnDevice, OnServer, Split, MultiHop, UShaped, Speculative and Cascade are")
                })?))
            }
            _ => bail!("{text:?} is neither node/NAME nor mode/MODE"),
        }
    }
}

/// Why a mode lost, as the decision says; a line.
pub(crate) fn of_mode(placement: Option<&PlacementSpec>, mode: InferenceMode) -> String {
    let Some(placement) = placement else {
        return format!("{mode:?}: there is no decision to compare it with\n");
    };
    if placement.pipelines.iter().any(|pipeline| pipeline.mode == mode) {
        return format!("{mode:?} is what was chosen\n");
    }
    let alternatives = &placement.explanation.alternatives;
    // The runner-up stands first; the best of its mode, if that is another, behind it.
    match alternatives.iter().rev().find(|other| other.mode == mode) {
        Some(other) if other.pipeline.is_empty() => format!("{mode:?}: {}\n", other.why_not),
        Some(other) => format!("{mode:?}, {}: {}\n", other.pipeline, other.why_not),
        None => format!("{mode:?}: the decision does not say\n"),
    }
}

/// Why a node has no part in the pipeline of a service in an answer; a line.
///
/// # Errors
///
/// When the question has no such node, or the service was not asked about.
pub(crate) fn of_node(
    snapshot: &Snapshot,
    solution: &Solution,
    service: &ServiceName,
    node: &str,
) -> anyhow::Result<String> {
    let ord = snapshot
        .node_ord(node)
        .with_context(|| format!("there is no EdgeNode {node}"))?;
    let position = snapshot.services.iter().position(|known| known == service);
    let position = position.with_context(|| format!("nothing is decided about {service}: see its status"))?;
    let budget = Budget::steps(manager::reconcile::BUDGET_STEPS);
    let service = ServiceOrd::from_index(position);
    let answer = solver::why_not(&snapshot.problem, solution, service, ord, &budget);
    Ok(format!("{}\n", Wording(snapshot).why_not(ord, &answer)))
}

/// The same for what stands in the API server.
///
/// # Errors
///
/// When the API server refuses, or what it has contradicts itself.
pub(crate) async fn of_node_now(
    client: &Client,
    service: &ServiceName,
    node: &str,
) -> anyhow::Result<String> {
    let world = world(client)
        .await
        .context("failed to read what the decision rests on")?;
    let snapshot = Snapshot::take(&world, Options::default());
    let solution = manager::solve(&snapshot.problem).context("the objects contradict themselves")?;
    of_node(&snapshot, &solution, service, node)
}

async fn world(client: &Client) -> anyhow::Result<World> {
    let mut world = World {
        models: all::<Model>(client).await?,
        services: all::<LLMService>(client).await?,
        users: all::<EdgeUser>(client).await?,
        nodes: all::<EdgeNode>(client).await?,
        links: all::<EdgeLink>(client).await?,
        placements: all::<Placement>(client).await?,
        ..World::default()
    };
    for node in &world.nodes {
        let conditions = node.status.as_ref().map(|status| status.conditions.as_slice());
        let loss = match condition::state(conditions.unwrap_or_default(), ConditionType::Reachable) {
            Some(true) => continue,
            Some(false) => Loss::LeaseExpired,
            None => Loss::NeverSeen,
        };
        world.lost.insert(node.name_any(), loss);
    }
    Ok(world.sorted())
}

async fn all<K>(client: &Client) -> kube::Result<Vec<Arc<K>>>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let listed = Api::<K>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(listed.items.into_iter().map(Arc::new).collect())
}

#[cfg(test)]
mod tests {
    use crds::placement::{Alternative, ChosenModel, Explanation};

    use super::*;

    #[test]
    fn a_node_and_a_mode_are_named_and_nothing_else() {
        assert_eq!(
            "node/bs-3".parse::<Asked>().unwrap(),
            Asked::Node("bs-3".to_owned())
        );
        assert_eq!(
            "mode/Split".parse::<Asked>().unwrap(),
            Asked::Mode(InferenceMode::Split)
        );
        for text in ["", "bs-3", "node/", "mode/Sideways", "link/x"] {
            assert!(text.parse::<Asked>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_decision_says_why_a_mode_lost() {
        let placement = PlacementSpec {
            explanation: Explanation {
                alternatives: vec![Alternative {
                    mode: InferenceMode::OnDevice,
                    why_not: "laptop lacks 60 MiB".to_owned(),
                    ..Alternative::default()
                }],
                ..Explanation::default()
            },
            service: "chat".to_owned(),
            model: ChosenModel::default(),
            context_tokens: 1_024,
            sessions: 1,
            pipelines: vec![],
        };
        assert_eq!(
            of_mode(Some(&placement), InferenceMode::OnDevice),
            "OnDevice: laptop lacks 60 MiB\n"
        );
        assert_eq!(
            of_mode(Some(&placement), InferenceMode::Cascade),
            "Cascade: the decision does not say\n"
        );
    }
}
