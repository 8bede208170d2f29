use std::sync::Arc;

use crds::{EdgeNodeSpec, EdgeNodeStatus, condition};

use super::*;
use crate::world::Loss;

const MINUTE: i64 = 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(machine: &str, revision: &str, ready: bool) -> Pod {
    Pod {
        name: format!("agent-{machine}-{revision}"),
        uid: format!("uid-{machine}-{revision}"),
        node: machine.to_owned(),
        is_current: revision == "new",
        ready,
        deleted: false,
        created: at(0),
    }
}

fn agents(pods: impl IntoIterator<Item = Pod>) -> Agents {
    Agents {
        pods: pods.into_iter().collect(),
    }
}

/// EdgeNodes of the same names as their machines.
fn world(names: &[&str]) -> World {
    let node = |name: &&str| {
        let spec = EdgeNodeSpec {
            kubernetes_node_name: Some((*name).to_owned()),
            ..EdgeNodeSpec::default()
        };
        Arc::new(EdgeNode::new(name, spec))
    };
    World {
        nodes: names.iter().map(node).collect(),
        ..World::default()
    }
}

/// Marks the node as the one whose agent is updated, since that second.
fn begin(world: &mut World, name: &str, second: i64) {
    let node = world
        .nodes
        .iter_mut()
        .find(|node| node.name_any() == name)
        .unwrap();
    let mut status = EdgeNodeStatus::default();
    let (kind, reason) = (ConditionType::Schedulable, Reason::AgentUpdate);
    condition::set(
        &mut status.conditions,
        kind,
        Some(false),
        reason,
        "",
        None,
        at(second),
    );
    Arc::make_mut(node).status = Some(status);
}

fn turn(world: &World, agents: &Agents) -> Option<String> {
    turn_of(world, agents).map(|turn| turn.machine)
}

fn serving(names: &[&str]) -> Leaving {
    let service = |name: &&str| ServiceName {
        namespace: "default".to_owned(),
        name: (*name).to_owned(),
    };
    Leaving {
        services: names.iter().map(service).collect(),
        may_pause: false,
    }
}

fn step_at(second: i64, agents: &Agents, world: &World, leaving: Leaving) -> Step {
    let turn = turn_of(world, agents).expect("somebody's turn");
    step(agents, &turn, leaving, &Config::new(["agent"]), at(second))
}

fn replace(pod: &Pod) -> Step {
    Step::Replace {
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
    }
}

#[test]
fn nobody_has_a_turn_when_all_agents_are_as_they_should_be() {
    let mut world = world(&["a", "b"]);
    let agents = agents([pod("a", "new", true), pod("b", "new", false)]);
    assert_eq!(
        turn(&world, &agents),
        None,
        "that a pod is not Ready is no update"
    );
    world.lost.insert("a".to_owned(), Loss::LeaseExpired);
    assert_eq!(turn(&world, &agents), None);
}

#[test]
fn one_after_the_other_has_a_turn_and_what_does_not_work_comes_first() {
    let world = world(&["a", "b", "c"]);
    let old = |machine| pod(machine, "old", true);
    assert_eq!(
        turn(&world, &agents([old("c"), old("b"), old("a")])).as_deref(),
        Some("a")
    );
    let broken = pod("c", "old", false);
    assert_eq!(
        turn(&world, &agents([old("a"), old("b"), broken])).as_deref(),
        Some("c")
    );
}

#[test]
fn a_turn_that_has_begun_is_finished_first_whoever_began_it() {
    let mut world = world(&["a", "b"]);
    begin(&mut world, "b", 100);
    let agents_before = agents([pod("a", "old", true), pod("b", "old", true)]);
    let turn_before = turn_of(&world, &agents_before).unwrap();
    assert_eq!(
        (turn_before.machine.as_str(), turn_before.since),
        ("b", Some(at(100)))
    );
    let starting = agents([pod("a", "old", true), pod("b", "new", false)]);
    assert_eq!(turn(&world, &starting).as_deref(), Some("b"));
    let done = agents([pod("a", "old", true), pod("b", "new", true)]);
    assert_eq!(turn(&world, &done).as_deref(), Some("a"));
    world.lost.insert("b".to_owned(), Loss::LeaseExpired);
    assert_eq!(
        turn(&world, &done).as_deref(),
        Some("b"),
        "Ready, but its agent is not alive"
    );
}

#[test]
fn a_pod_is_replaced_when_services_have_left_or_the_deadline_has_passed() {
    let mut world = world(&["a"]);
    begin(&mut world, "a", 0);
    let agents = agents([pod("a", "old", true)]);
    let replaced = replace(&agents.pods[0]);
    assert_eq!(
        step_at(1, &agents, &world, serving(&["chat"])),
        Step::Drain(serving(&["chat"]).services)
    );
    assert_eq!(step_at(1, &agents, &world, serving(&[])), replaced);
    assert_eq!(
        step_at(10 * MINUTE, &agents, &world, serving(&["chat"])),
        replaced
    );
    let may_pause = Leaving {
        may_pause: true,
        ..serving(&["chat"])
    };
    assert_eq!(step_at(1, &agents, &world, may_pause), replaced);
}

#[test]
fn an_agent_that_does_not_work_is_replaced_at_once() {
    let agents = agents([pod("a", "old", false)]);
    let step = step_at(1, &agents, &world(&["a"]), serving(&["chat"]));
    assert_eq!(step, replace(&agents.pods[0]));
}

#[test]
fn nothing_is_deleted_twice() {
    let mut world = world(&["a"]);
    begin(&mut world, "a", 0);
    let mut leaves = pod("a", "old", true);
    leaves.deleted = true;
    assert_eq!(step_at(1, &agents([leaves]), &world, serving(&[])), Step::Await);
    let none = agents([pod("b", "old", true)]);
    assert_eq!(
        step_at(1, &none, &world, serving(&[])),
        Step::Await,
        "no new pod yet"
    );
}

#[test]
fn a_new_agent_that_does_not_become_ready_ends_the_update_without_a_second_node() {
    let mut world = world(&["a", "b"]);
    begin(&mut world, "b", 0);
    let agents = agents([pod("a", "old", true), pod("b", "new", false)]);
    assert_eq!(step_at(9 * MINUTE, &agents, &world, serving(&[])), Step::Await);
    let failed = step_at(10 * MINUTE, &agents, &world, serving(&[]));
    assert_eq!(
        failed,
        Step::Failed("its pod is not Ready after 600 s".to_owned())
    );
    assert_eq!(turn(&world, &agents).as_deref(), Some("b"), "a is not touched");
    // A rollback makes the broken pod an outdated one.
    let mut back = agents.clone();
    for pod in &mut back.pods {
        pod.is_current = !pod.is_current;
    }
    assert_eq!(
        step_at(11 * MINUTE, &back, &world, serving(&[])),
        replace(&back.pods[1])
    );
}

#[test]
fn an_agent_that_never_registered_needs_no_node_to_leave() {
    let agents = agents([pod("a", "old", true)]);
    let turn = turn_of(&World::default(), &agents).unwrap();
    assert_eq!((turn.node.as_deref(), turn.since), (None, None));
    let leaving = Leaving::default();
    assert_eq!(
        step(&agents, &turn, leaving, &Config::new(["agent"]), at(1)),
        replace(&agents.pods[0])
    );
}
