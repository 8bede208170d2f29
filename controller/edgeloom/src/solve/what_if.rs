//! `--what-if`: one change of a node or link, as text, carried out on the question that the solver is asked.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, bail};
use crds::EdgeLink;
use kube::ResourceExt as _;
use manager::{snapshot::Snapshot, world::World};
use solver::{
    Problem, Solution,
    problem::Link,
    solution::{Outcome, Placed},
    units::{Bytes, BytesPerSecond, Nanos, NodeOrd},
};

/// What a change may say, for errors.
const FORMS: &str = "node/NAME lost, node/NAME memory=50%, node/NAME compute=50%, link/NAME lost, link/NAME rate=50% or \
    link/NAME latency=200%";

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WhatIf {
    of: Of,
    name: String,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Node,
    Link,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Lost,
    Scaled { field: Field, percent: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Memory,
    Compute,
    Rate,
    Latency,
}

impl FromStr for WhatIf {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (object, change) = text
            .trim()
            .split_once(char::is_whitespace)
            .with_context(|| format!("{text:?} names no change; it would be {FORMS}"))?;
        let (of, name) = match object.split_once('/') {
            Some(("node", name)) if !name.is_empty() => (Of::Node, name),
            Some(("link", name)) if !name.is_empty() => (Of::Link, name),
            _ => bail!("{object:?} is neither node/NAME nor link/NAME"),
        };
        Ok(Self {
            of,
            name: name.to_owned(),
            change: change_of(of, change.trim())?,
        })
    }
}

fn change_of(of: Of, text: &str) -> anyhow::Result<Change> {
    if text == "lost" {
        return Ok(Change::Lost);
    }
    let Some((field, value)) = text.split_once('=') else {
        bail!("{text:?} is no change; it would be {FORMS}");
    };
    let field = match (of, field.trim()) {
        (Of::Node, "memory") => Field::Memory,
        (Of::Node, "compute") => Field::Compute,
        (Of::Link, "rate") => Field::Rate,
        (Of::Link, "latency") => Field::Latency,
        (Of::Node, other) => bail!("a node has no field {other:?}; memory and compute can be changed"),
        (Of::Link, other) => bail!("a link has no field {other:?}; rate and latency can be changed"),
    };
    let percent = value
        .trim()
        .strip_suffix('%')
        .and_then(|digits| digits.parse().ok());
    let percent = percent
        .filter(|percent| (0..=PERCENT_MAX).contains(percent))
        .with_context(|| format!("{value:?} is no percentage of what is there now, such as 50%"))?;
    if field == Field::Rate && percent == 0 {
        bail!("a link whose rate is 0% carries nothing: write lost");
    }
    Ok(Change::Scaled { field, percent })
}

/// A thousand times as much.
const PERCENT_MAX: u32 = 100_000;

impl fmt::Display for WhatIf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            Of::Node => "node",
            Of::Link => "link",
        };
        write!(formatter, "{of}/{} ", self.name)?;
        let (field, percent) = match self.change {
            Change::Lost => return formatter.write_str("lost"),
            Change::Scaled { field, percent } => (field, percent),
        };
        let field = match field {
            Field::Memory => "memory",
            Field::Compute => "compute",
            Field::Rate => "rate",
            Field::Latency => "latency",
        };
        write!(formatter, "{field}={percent}%")
    }
}

impl WhatIf {
    /// Changes the question.
    ///
    /// # Errors
    ///
    /// When nothing has that name.
    pub(crate) fn apply(&self, world: &World, snapshot: &mut Snapshot) -> anyhow::Result<()> {
        match self.of {
            Of::Node => {
                let node = snapshot.node_ord(&self.name).with_context(|| {
                    format!(
                        "there is no EdgeNode {:?}; there are {}",
                        self.name,
                        snapshot.nodes.join(", ")
                    )
                })?;
                self.change_node(&mut snapshot.problem, node);
            }
            Of::Link => {
                let link = world.links.iter().find(|link| link.name_any() == self.name);
                let link = link.with_context(|| {
                    let names: Vec<_> = world.links.iter().map(|link| link.name_any()).collect();
                    format!(
                        "there is no EdgeLink {:?}; there are {}",
                        self.name,
                        names.join(", ")
                    )
                })?;
                self.change_link(snapshot, link)?;
            }
        }
        Ok(())
    }

    fn change_node(&self, problem: &mut Problem, node: NodeOrd) {
        match self.change {
            Change::Lost => problem.lose(node),
            Change::Scaled {
                field: Field::Compute,
                percent,
            } => {
                let described = &mut problem.nodes[node.index()];
                let share = scaled(u64::from(described.compute_share_milli), percent);
                described.compute_share_milli = u32::try_from(share).unwrap_or(u32::MAX);
            }
            Change::Scaled { percent, .. } => {
                let described = &mut problem.nodes[node.index()];
                described.memory = Bytes(scaled(described.memory.0, percent));
            }
        }
    }

    fn change_link(&self, snapshot: &mut Snapshot, link: &EdgeLink) -> anyhow::Result<()> {
        let end = |name: &str| {
            let node = snapshot.node_ord(name);
            node.with_context(|| format!("EdgeLink {} ends at {name:?}, which is no EdgeNode", self.name))
        };
        let ends = [end(&link.spec.from)?, end(&link.spec.to)?];
        let is_it = |other: &Link| ends.contains(&other.from) && ends.contains(&other.to);
        let links = &mut snapshot.problem.links;
        match self.change {
            Change::Lost => links.retain(|other| !is_it(other)),
            Change::Scaled { field, percent } => {
                for other in links.iter_mut().filter(|other| is_it(other)) {
                    if field == Field::Rate {
                        other.rate = BytesPerSecond(scaled(other.rate.0, percent).max(1));
                    } else {
                        other.latency = Nanos(scaled(other.latency.0, percent));
                    }
                }
            }
        }
        Ok(())
    }
}

fn scaled(value: u64, percent: u32) -> u64 {
    u64::try_from(u128::from(value) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// The question with what was decided as what runs, as it will be when the change comes.
pub(crate) fn running(snapshot: &Snapshot, solution: &Solution) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for (service, outcome) in snapshot.problem.services.iter_mut().zip(&solution.services) {
        service.previous = outcome.placed().map(|placed| placed.pipeline.shape());
    }
    snapshot
}

/// What the changes make of each service, in words.
pub(crate) fn difference(
    changes: &[WhatIf],
    snapshot: &Snapshot,
    before: &Solution,
    after: &Solution,
) -> String {
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    let mut text = format!("What if {}:\n", changes.join(", "));
    for (index, service) in snapshot.services.iter().enumerate() {
        let (before, after) = (&before.services[index], &after.services[index]);
        text += &format!("  {service}: {}\n", verdict(before, after));
        text += &format!("    before  {}\n", line(snapshot, before));
        text += &format!("    after   {}\n", line(snapshot, after));
    }
    text
}

fn verdict(before: &Outcome, after: &Outcome) -> String {
    match (before.placed(), after.placed()) {
        (None, None) => "cannot be placed, as before".to_owned(),
        (Some(_), None) => "can no longer be placed".to_owned(),
        (None, Some(_)) => "can be placed now".to_owned(),
        (Some(before), Some(after)) => {
            let same = before.pipeline.shape() == after.pipeline.shape();
            let (was, is) = (before.cost.total(), after.cost.total());
            let costs = match is.cmp(&was) {
                std::cmp::Ordering::Equal => "at the same cost".to_owned(),
                std::cmp::Ordering::Greater => format!("costs {} more per request", is.saturating_sub(was)),
                std::cmp::Ordering::Less => format!("costs {} less per request", was.saturating_sub(is)),
            };
            format!("{}, {costs}", if same { "stays" } else { "moves" })
        }
    }
}

fn line(snapshot: &Snapshot, outcome: &Outcome) -> String {
    let Some(Placed {
        pipeline,
        predicted,
        cost,
        ..
    }) = outcome.placed()
    else {
        return "no pipeline".to_owned();
    };
    let stage =
        |stage: &solver::solution::Stage| format!("{} {}", snapshot.nodes[stage.node.index()], stage.layers);
    let stages: Vec<_> = pipeline.stages.iter().map(stage).collect();
    format!(
        "{}: {} per request, first token {}, then {} per token",
        stages.join(" → "),
        cost.total(),
        predicted.ttft,
        predicted.tpot
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        text.parse::<WhatIf>().expect_err("a bad change").to_string()
    }

    #[test]
    fn changes_are_read_and_printed_alike() {
        for text in [
            "node/bs-1 lost",
            "node/bs-1 memory=50%",
            "node/bs-1 compute=200%",
            "link/x lost",
            "link/x rate=50%",
            "link/x latency=0%",
        ] {
            assert_eq!(text.parse::<WhatIf>().expect("a good change").to_string(), text);
        }
    }

    #[test]
    fn a_bad_change_is_answered_with_what_would_be_right() {
        assert!(told("bs-1 lost").contains("neither node/NAME nor link/NAME"));
        assert!(told("node/bs-1").contains("names no change"));
        assert!(told("node/bs-1 broken").contains("node/NAME lost"));
        assert!(told("node/bs-1 rate=50%").contains("memory and compute"));
        assert!(told("link/x memory=50%").contains("rate and latency"));
        assert!(told("link/x rate=50").contains("percentage"));
        assert!(told("link/x rate=0%").contains("lost"));
    }
}
