//! Where users are, when.

use kube::ResourceExt as _;
use solver::mobility::waypoint::{Place, Walkers};

use super::{
    Error, SECOND, Scenario, Time,
    fleet::{Fleet, cells},
    nanoseconds,
    scenario::{Mobility, RandomWaypoint},
};

/// A user comes into a node's cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attach {
    pub(super) at: Time,
    /// Position among the world's users.
    pub(super) user: usize,
    /// Position among the world's nodes.
    pub(super) node: usize,
}

/// Every change of a cell, in no order.
pub(super) fn ways(scenario: &Scenario, fleet: &Fleet) -> Result<Vec<Attach>, Error> {
    let mut ways = vec![];
    for (index, mobility) in scenario.spec.mobility.iter().enumerate() {
        let field = format!("spec.mobility[{index}]");
        let users = users_of(fleet, &mobility.users, &format!("{field}.users"))?;
        let seed = scenario.spec.seed.wrapping_mul(1_000).wrapping_add(index as u64);
        ways.extend(match &mobility.random_waypoint {
            Some(way) => walks(scenario, fleet, way, &users, seed)
                .map_err(|error| within(error, &format!("{field}.randomWaypoint.cells")))?,
            None => sequence(fleet, mobility, &users, &field)?,
        });
    }
    Ok(ways)
}

fn within(error: Error, field: &str) -> Error {
    match error {
        Error::Field { problem, .. } => Error::field(field, problem),
        other => other,
    }
}

/// Users by name, or those of a crowd.
pub(super) fn users_of(fleet: &Fleet, names: &[String], field: &str) -> Result<Vec<usize>, Error> {
    let mut users = vec![];
    for name in names {
        let names = fleet
            .crowds
            .get(name)
            .map_or(std::slice::from_ref(name), Vec::as_slice);
        for name in names {
            let mut known = fleet.world.users.iter();
            let found = known.position(|user| user.name_any() == *name);
            users.push(found.ok_or_else(|| {
                Error::field(field, format!("{name:?} is neither an EdgeUser nor a crowd"))
            })?);
        }
    }
    Ok(users)
}

pub(super) fn node_of(fleet: &Fleet, name: &str, field: &str) -> Result<usize, Error> {
    let mut nodes = fleet.world.nodes.iter();
    let found = nodes.position(|node| node.name_any() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = fleet
            .world
            .nodes
            .iter()
            .take(20)
            .map(|node| node.name_any())
            .collect();
        Error::field(
            field,
            format!("there is no EdgeNode {name:?}; there are {}", names.join(", ")),
        )
    })
}

fn sequence(fleet: &Fleet, mobility: &Mobility, users: &[usize], field: &str) -> Result<Vec<Attach>, Error> {
    let mut ways = vec![];
    for (index, cell) in mobility.cells.iter().flatten().enumerate() {
        let node = node_of(fleet, &cell.node, &format!("{field}.cells[{index}].node"))?;
        let at = nanoseconds(cell.at_seconds);
        ways.extend(users.iter().map(|user| Attach {
            at,
            user: *user,
            node,
        }));
    }
    Ok(ways)
}

/// Positions every second.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "decimetres and seconds that validation bounds"
)]
fn walks(
    scenario: &Scenario,
    fleet: &Fleet,
    way: &RandomWaypoint,
    users: &[usize],
    seed: u64,
) -> Result<Vec<Attach>, Error> {
    let cells = cells(&fleet.world, &way.cells)?;
    if cells.is_empty() {
        return Err(Error::field(
            "",
            "there is no node of tier Server with a position to walk among",
        ));
    }
    let nodes = cells
        .iter()
        .map(|(name, _)| node_of(fleet, name, "cells"))
        .collect::<Result<Vec<_>, _>>()?;
    let places: Vec<Place> = cells.iter().map(|(_, place)| *place).collect();
    let speeds = way.metres_per_second.map(|speed| (speed * 10.0).round() as u64);
    let mut walkers = Walkers::around(places, users.len(), (speeds[0], speeds[1]), seed);
    let mut was: Vec<Option<u32>> = vec![None; users.len()];
    let mut ways = vec![];
    for second in 0..=scenario.spec.duration_seconds as u64 {
        for (walker, cell) in walkers.cells().into_iter().enumerate() {
            if was[walker].replace(cell) != Some(cell) {
                ways.push(Attach {
                    at: second * SECOND,
                    user: users[walker],
                    node: nodes[cell as usize],
                });
            }
        }
        walkers.step();
    }
    Ok(ways)
}
