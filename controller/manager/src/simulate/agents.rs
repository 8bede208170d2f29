//! What agents do with a plan: fetch weights, load stages, acknowledge hops, let sessions drain.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{
    Stage, StageStatus,
    route_table::{HopPhase, HopStatus, RouteTableStatus},
    stage::StagePhase,
};
use kube::ResourceExt as _;
use solver::{
    links::LinkIndex,
    problem::Problem,
    serving::{PipelineId, Serving},
    units::NodeOrd,
};

use super::{Time, fleet::Fleet, report::Load, seconds};
use crate::{plan::stages::memory_of, world::World};

/// All agents.
#[derive(Debug)]
pub(super) struct Agents {
    /// Whether each node lives.
    pub(super) alive: Vec<bool>,
    /// Digests on each node's disk.
    disks: Vec<BTreeSet<String>>,
    /// Stages in memory or on their way there, by name.
    loads: BTreeMap<String, Loading>,
    /// Weights that are on their way, by link: how many.
    fetching: BTreeMap<(usize, usize), u64>,
    /// Pipelines that were opened, by name and revision.
    pub(super) pipelines: BTreeMap<(String, i64), PipelineId>,
    number: u64,
    /// What was loaded.
    pub(super) log: Vec<Load>,
}

/// A stage on its way into memory.
#[derive(Clone, Debug)]
struct Loading {
    number: u64,
    node: usize,
    memory: i64,
    over: Option<(usize, usize)>,
    ready: bool,
}

/// When a stage will be ready: the load that ends then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ready {
    pub(super) at: Time,
    pub(super) stage: String,
    pub(super) number: u64,
}

impl Agents {
    /// All alive, with nothing in memory. Without a node that offers all weights, every disk has all of them.
    pub(super) fn new(fleet: &Fleet, weights_from: Option<usize>) -> Self {
        let all: BTreeSet<String> = digests(&fleet.world).map(|(digest, _)| digest).collect();
        let disk = |(ordinal, node): (usize, &Arc<crds::EdgeNode>)| {
            if weights_from.is_none_or(|source| source == ordinal) {
                return all.clone();
            }
            let held = node.status.iter().flat_map(|status| &status.models);
            held.map(|held| held.digest.clone()).collect()
        };
        Self {
            alive: vec![true; fleet.world.nodes.len()],
            disks: fleet.world.nodes.iter().enumerate().map(disk).collect(),
            loads: BTreeMap::new(),
            fetching: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            number: 0,
            log: vec![],
        }
    }

    /// A node dies: its memory is empty, its disk is not.
    pub(super) fn lose(&mut self, world: &mut World, node: usize) {
        self.alive[node] = false;
        let gone: Vec<String> = self
            .loads
            .iter()
            .filter(|(_, load)| load.node == node || load.over.is_some_and(|(from, _)| from == node))
            .filter(|(_, load)| load.node == node || !load.ready)
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.forget(&name);
            if let Some(stage) = stage_mut(world, &name) {
                stage.status = Some(StageStatus::default());
            }
        }
    }

    fn forget(&mut self, stage: &str) {
        let Some(load) = self.loads.remove(stage) else {
            return;
        };
        if let Some(over) = load.over.filter(|_| !load.ready) {
            *self.fetching.entry(over).or_insert(1) -= 1;
        }
    }

    /// Begins to load what can be loaded: stages of the world that are in no memory yet.
    pub(super) fn load(&mut self, world: &World, fleet: &Fleet, problem: &Problem, now: Time) -> Vec<Ready> {
        let wanted: BTreeSet<String> = world.stages.iter().map(|stage| stage.name_any()).collect();
        let gone: Vec<String> = self
            .loads
            .keys()
            .filter(|name| !wanted.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.forget(&name);
        }
        let mut begun = vec![];
        for stage in &world.stages {
            let name = stage.name_any();
            let node = world
                .nodes
                .iter()
                .position(|node| node.name_any() == stage.spec.node_name);
            let Some(node) = node.filter(|node| self.alive[*node] && !self.loads.contains_key(&name)) else {
                continue;
            };
            let memory = stage.spec.memory.total_bytes;
            let on_node = self.loads.values().filter(|load| load.node == node);
            let taken: i64 = on_node.map(|load| load.memory).sum();
            if taken + memory > memory_of(world, &stage.spec.node_name) {
                continue;
            }
            begun.extend(self.begin(world, fleet, problem, now, (stage, node)));
        }
        begun
    }

    fn begin(
        &mut self,
        world: &World,
        fleet: &Fleet,
        problem: &Problem,
        now: Time,
        (stage, node): (&Stage, usize),
    ) -> Option<Ready> {
        let digest = &stage.spec.model.digest;
        let (fetch, over, fetched) = if self.disks[node].contains(digest) {
            (0, None, 0)
        } else {
            let size = digests(world)
                .find(|(known, _)| known == digest)
                .map_or(0, |(_, size)| size);
            let (from, latency, rate) = self.source(problem, digest, node)?;
            let sharing = self.fetching.entry((from, node)).or_default();
            *sharing += 1;
            let time = u128::from(size) * 1_000_000_000 * u128::from(*sharing) / u128::from(rate.max(1));
            let time = latency + u64::try_from(time).unwrap_or(u64::MAX / 4);
            (time, Some((from, node)), size)
        };
        let weights = u64::try_from(stage.spec.memory.weights_bytes).unwrap_or(0);
        let reading =
            u128::from(weights) * 1_000_000_000 / u128::from(fleet.machines[node].disk_bytes_per_second);
        let took = fetch.saturating_add(u64::try_from(reading).unwrap_or(u64::MAX / 4));
        self.number += 1;
        let load = Loading {
            number: self.number,
            node,
            memory: stage.spec.memory.total_bytes,
            over,
            ready: false,
        };
        self.loads.insert(stage.name_any(), load);
        self.log.push(Load {
            at_seconds: seconds(now),
            took_seconds: seconds(took),
            node: stage.spec.node_name.clone(),
            stage: stage.name_any(),
            fetched_bytes: fetched,
        });
        Some(Ready {
            at: now.saturating_add(took),
            stage: stage.name_any(),
            number: self.number,
        })
    }

    /// The node that lives, has the weights and offers the greatest rate: with latency and rate.
    fn source(&self, problem: &Problem, digest: &str, to: usize) -> Option<(usize, Time, u64)> {
        let links = LinkIndex::new(problem);
        let way = |from: usize| {
            let path = links.get(problem, NodeOrd::from_index(from), NodeOrd::from_index(to))?;
            let rate = path.segments().map(|segment| segment.rate.0).min()?;
            Some((from, path.segments().map(|segment| segment.latency.0).sum(), rate))
        };
        let holders =
            (0..self.disks.len()).filter(|node| self.alive[*node] && self.disks[*node].contains(digest));
        holders
            .filter_map(way)
            .max_by_key(|(from, _, rate)| (*rate, std::cmp::Reverse(*from)))
    }

    /// A load has ended, if it is still the same; whether it has.
    pub(super) fn ready(&mut self, world: &mut World, ready: &Ready) -> bool {
        let Some(load) = self
            .loads
            .get_mut(&ready.stage)
            .filter(|load| load.number == ready.number)
        else {
            return false;
        };
        load.ready = true;
        if let Some(over) = load.over {
            *self.fetching.entry(over).or_insert(1) -= 1;
        }
        let node = load.node;
        let Some(stage) = stage_mut(world, &ready.stage) else {
            return false;
        };
        self.disks[node].insert(stage.spec.model.digest.clone());
        stage.status = Some(StageStatus {
            phase: StagePhase::Ready,
            ..StageStatus::default()
        });
        true
    }

    /// Says of every hop how it stands.
    pub(super) fn acknowledge(&self, world: &mut World, serving: &Serving) {
        let ready: BTreeSet<String> = world
            .stages
            .iter()
            .filter(|stage| {
                stage
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase == StagePhase::Ready)
            })
            .map(|stage| stage.name_any())
            .collect();
        let names: Vec<String> = world.nodes.iter().map(|node| node.name_any()).collect();
        for table in &mut world.route_tables {
            let node = names.iter().position(|name| *name == table.name_any());
            if !node.is_some_and(|node| self.alive[node]) {
                continue;
            }
            let status = |hop: &crds::route_table::Hop| {
                let pipeline = self.pipelines.get(&(hop.pipeline.clone(), hop.revision));
                let sessions = pipeline.map_or(0, |pipeline| serving.sessions_on(*pipeline));
                HopStatus {
                    pipeline: hop.pipeline.clone(),
                    revision: hop.revision,
                    ordinal: hop.ordinal,
                    phase: match (hop.admits, ready.contains(&hop.stage)) {
                        (false, _) if sessions == 0 => HopPhase::Drained,
                        (false, _) => HopPhase::Draining,
                        (true, true) => HopPhase::Ready,
                        (true, false) => HopPhase::Waiting,
                    },
                    ..HopStatus::default()
                }
            };
            let hops = table.spec.hops.iter().map(status).collect();
            Arc::make_mut(table).status = Some(RouteTableStatus {
                hops,
                ..RouteTableStatus::default()
            });
        }
    }
}

fn stage_mut<'w>(world: &'w mut World, name: &str) -> Option<&'w mut Stage> {
    let found = world.stages.iter_mut().find(|stage| stage.name_any() == name);
    found.map(Arc::make_mut)
}

/// Every variant's digest and the size of its file.
fn digests(world: &World) -> impl Iterator<Item = (String, u64)> {
    let statuses = world.models.iter().filter_map(|model| model.status.as_ref());
    let variants = statuses.flat_map(|status| &status.variants);
    variants.map(|variant| {
        (
            variant.digest.clone(),
            u64::try_from(variant.size_bytes).unwrap_or(0),
        )
    })
}
