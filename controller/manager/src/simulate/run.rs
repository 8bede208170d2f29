//! The loop: what happens from outside and what follows from decisions, in the order of time.

use std::{cmp::Reverse, collections::BTreeSet, collections::BinaryHeap, sync::Arc};

use kube::ResourceExt as _;
use solver::{
    problem::Problem,
    serving::{PipelineId, Request, Serving},
    units::{Nanos, NodeOrd},
};

use super::{
    Error, Policy, Report, SECOND, Scenario, Time,
    agents::{Agents, Ready},
    arrivals::{From, Planned},
    fleet::Fleet,
    nanoseconds,
    power::Power,
    report::{self, Decision, PolicyReport},
    round::COALESCE,
    series::Series,
    timeline::{Happening, timeline},
    ways::{Attach, node_of},
};
use crate::{
    snapshot::{Options, Snapshot},
    world::{Loss, World},
};

/// Runs a scenario under each of its policies.
///
/// # Errors
///
/// When a field names what is not there, or a file cannot be read.
///
/// # Panics
///
/// When a thread of this function panics.
pub fn run(scenario: &Scenario) -> Result<Report, Error> {
    let fleet = Fleet::of(scenario)?;
    let happenings = timeline(scenario, &fleet)?;
    let source = scenario.spec.weights_from.as_ref();
    let source = source
        .map(|name| node_of(&fleet, name, "spec.weightsFrom"))
        .transpose()?;
    let policies: Vec<PolicyReport> = std::thread::scope(|scope| {
        let simulate = |policy| {
            let (fleet, happenings) = (&fleet, &happenings);
            scope.spawn(move || Run::new(scenario, fleet, policy, source)?.finish(happenings))
        };
        let running: Vec<_> = scenario.spec.policies.iter().copied().map(simulate).collect();
        let ended = running
            .into_iter()
            .map(|thread| thread.join().expect("a simulation does not panic"));
        ended.collect::<Result<_, _>>()
    })?;
    Ok(Report {
        scenario: scenario.name.clone(),
        description: scenario.spec.description.clone(),
        duration_seconds: scenario.spec.duration_seconds,
        seed: scenario.spec.seed,
        load_within_seconds: scenario.spec.load_within_seconds,
        policies,
    })
}

/// What follows from a decision, or from a loss.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Own {
    /// A stage is in memory.
    Ready(Ready),
    /// The controller learns that a node is lost.
    KnowLost(usize),
    /// The controller learns that nothing passes between two nodes.
    KnowCut((String, String)),
    /// The controller decides, unless it has done so meanwhile.
    Round,
}

/// A simulation under way.
pub(super) struct Run<'s> {
    scenario: &'s Scenario,
    pub(super) fleet: &'s Fleet,
    pub(super) policy: Policy,
    /// What the controller sees.
    pub(super) world: World,
    /// Pairs of nodes between which nothing passes, whether or not the controller knows.
    cut: BTreeSet<(String, String)>,
    pub(super) serving: Serving,
    pub(super) agents: Agents,
    pub(super) power: Power,
    agenda: BinaryHeap<Reverse<(Time, u64, Own)>>,
    created: u64,
    wakes_at: Option<Time>,
    pub(super) now: Time,
    /// By service: the pipeline that takes requests.
    pub(super) routes: Vec<Option<PipelineId>>,
    pub(super) was_served: Vec<bool>,
    pub(super) moves: Vec<u64>,
    pub(super) decisions: Vec<Decision>,
    pub(super) rounds: u64,
    /// By request: whether a pipeline took requests when it came.
    hits: Vec<bool>,
    handovers: u64,
    series: Series,
}

impl<'s> Run<'s> {
    fn new(
        scenario: &'s Scenario,
        fleet: &'s Fleet,
        policy: Policy,
        source: Option<usize>,
    ) -> Result<Self, Error> {
        let world = fleet.world.clone();
        let services = world.services.len();
        let problem = problem_of(&world, fleet);
        problem.validate()?;
        let patience = Nanos(nanoseconds(scenario.spec.seat_wait_seconds));
        Ok(Self {
            scenario,
            fleet,
            policy,
            cut: BTreeSet::new(),
            serving: Serving::new(problem, services, patience, false),
            agents: Agents::new(fleet, source),
            power: Power::new(&world),
            agenda: BinaryHeap::new(),
            created: 0,
            wakes_at: None,
            now: 0,
            routes: vec![None; services],
            was_served: vec![false; services],
            moves: vec![0; services],
            decisions: vec![],
            rounds: 0,
            hits: vec![],
            handovers: 0,
            series: Series::new(nanoseconds(scenario.spec.duration_seconds)),
            world,
        })
    }

    /// To the end.
    fn finish(mut self, happenings: &[(Time, Happening)]) -> Result<PolicyReport, Error> {
        let end = nanoseconds(self.scenario.spec.duration_seconds);
        let mut outside = happenings.iter().peekable();
        loop {
            let own = self.agenda.peek().map(|Reverse((time, ..))| *time);
            let next = outside.peek().map(|(time, _)| *time);
            let is_own = own.is_some_and(|own| next.is_none_or(|next| own <= next));
            let Some(time) = (if is_own { own } else { next }).filter(|time| *time < end) else {
                break;
            };
            self.pass(time);
            if is_own {
                if let Some(Reverse((_, _, own))) = self.agenda.pop() {
                    self.follow(own)?;
                }
            } else if let Some((_, happening)) = outside.next() {
                self.happen(happening)?;
            }
        }
        self.pass(end);
        self.sample();
        Ok(report::of(self.ended()))
    }

    fn ended(&self) -> report::Ended<'_> {
        report::Ended {
            scenario: self.scenario,
            fleet: self.fleet,
            policy: self.policy,
            serving: &self.serving,
            power: &self.power,
            loads: &self.agents.log,
            decisions: &self.decisions,
            moves: &self.moves,
            hits: &self.hits,
            rounds: self.rounds,
            handovers: self.handovers,
            samples: self.series.samples(),
        }
    }

    fn pass(&mut self, time: Time) {
        self.serving.advance(time);
        self.power.pass(&self.agents.alive, time - self.now);
        self.now = time;
    }

    pub(super) fn at(&mut self, time: Time, own: Own) {
        self.created += 1;
        self.agenda.push(Reverse((time, self.created, own)));
    }

    /// The controller decides then, or earlier.
    pub(super) fn wake(&mut self, time: Time) {
        if self.wakes_at.is_none_or(|known| time < known) {
            self.wakes_at = Some(time);
            self.at(time, Own::Round);
        }
    }

    fn decide(&mut self) -> Result<(), Error> {
        self.wakes_at = None;
        self.round()
    }

    fn follow(&mut self, own: Own) -> Result<(), Error> {
        match own {
            Own::Round if self.wakes_at == Some(self.now) => return self.decide(),
            Own::Round => {}
            Own::Ready(ready) => {
                if self.agents.ready(&mut self.world, &ready) {
                    self.wake(self.now + COALESCE);
                }
            }
            Own::KnowLost(node) => {
                if !self.agents.alive[node] {
                    self.world
                        .lost
                        .insert(self.world.nodes[node].name_any(), Loss::LeaseExpired);
                    self.wake(self.now + COALESCE);
                }
            }
            Own::KnowCut(pair) => {
                if self.cut.contains(&pair) {
                    self.world.cut.insert(pair);
                    self.wake(self.now + COALESCE);
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), Error> {
        match happening {
            Happening::Attach(attach) => self.attach(*attach),
            Happening::Link {
                link,
                bits_per_second,
                latency_microseconds,
            } => {
                let spec = &mut Arc::make_mut(&mut self.world.links[*link]).spec;
                spec.rate_bits_per_second = crds::Quantity::bytes(*bits_per_second);
                spec.reverse_rate_bits_per_second = None;
                spec.latency_microseconds = latency_microseconds.unwrap_or(spec.latency_microseconds);
                self.links_changed();
                self.wake(self.now + COALESCE);
            }
            Happening::Lost(node) => self.lose(*node),
            Happening::Back(node) => self.recover(*node),
            Happening::Cut(link) => {
                let pair = self.ends_of(*link);
                self.cut.insert(pair.clone());
                self.links_changed();
                let known = self.now + nanoseconds(self.scenario.spec.loss_seconds);
                self.at(known, Own::KnowCut(pair));
            }
            Happening::Joined(link) => {
                let pair = self.ends_of(*link);
                self.cut.remove(&pair);
                self.world.cut.remove(&pair);
                self.links_changed();
                self.wake(self.now + COALESCE);
            }
            Happening::Tick => self.tick(),
            Happening::Epoch => return self.decide(),
            Happening::Request(planned) => self.request(planned),
        }
        Ok(())
    }

    fn ends_of(&self, link: usize) -> (String, String) {
        let spec = &self.world.links[link].spec;
        pair(&spec.from, &spec.to)
    }

    fn links_changed(&mut self) {
        let problem = self.truth();
        self.serving.change(problem);
    }

    /// Nodes and links as they are, whether or not the controller knows.
    pub(super) fn truth(&self) -> Problem {
        let world = World {
            cut: self.cut.clone(),
            ..self.world.clone()
        };
        problem_of(&world, self.fleet)
    }

    /// A user is in a cell now. Its device, if it has one, is linked with this cell's node and with no other server that it
    /// has a link to.
    fn attach(&mut self, attach: Attach) {
        let cell = self.world.nodes[attach.node].name_any();
        let user = Arc::make_mut(&mut self.world.users[attach.user]);
        let is_new = user.spec.attach_nodes.first() != Some(&cell);
        user.spec.attach_nodes.retain(|node| *node != cell);
        user.spec.attach_nodes.insert(0, cell.clone());
        self.handovers += u64::from(is_new && attach.at > 0);
        let Some(device) = user.spec.device_node.clone() else {
            return;
        };
        let Self { world, cut, .. } = self;
        let World {
            links,
            nodes,
            cut: known,
            ..
        } = world;
        let is_server = |name: &str| {
            let node = nodes.iter().find(|node| node.name_any() == name);
            node.is_some_and(|node| node.spec.tier == crds::edge_node::Tier::Server)
        };
        let mut changed = false;
        for link in links.iter() {
            let (from, to) = (&link.spec.from, &link.spec.to);
            let other = match device == *from {
                true => to,
                false if device == *to => from,
                false => continue,
            };
            let ends = pair(&device, other);
            if *other == cell {
                known.remove(&ends);
                changed |= cut.remove(&ends);
            } else if is_server(other) {
                known.insert(ends.clone());
                changed |= cut.insert(ends);
            }
        }
        if changed {
            self.links_changed();
            self.wake(self.now + COALESCE);
        }
    }

    fn lose(&mut self, node: usize) {
        if !self.agents.alive[node] {
            return;
        }
        self.agents.lose(&mut self.world, node);
        self.serving.set_alive(NodeOrd::from_index(node), false);
        let known = self.now + nanoseconds(self.scenario.spec.loss_seconds);
        self.at(known, Own::KnowLost(node));
    }

    fn recover(&mut self, node: usize) {
        if self.is_empty(node) {
            return;
        }
        self.agents.alive[node] = true;
        self.serving.set_alive(NodeOrd::from_index(node), true);
        self.world.lost.remove(&self.world.nodes[node].name_any());
        self.load();
        self.wake(self.now + COALESCE);
    }

    fn is_empty(&self, node: usize) -> bool {
        self.power
            .is_empty(node, &self.fleet.machines[node], &self.serving)
    }

    fn tick(&mut self) {
        for node in 0..self.world.nodes.len() {
            if self.is_empty(node) {
                self.lose(node);
            }
        }
        if self.series.is_due(self.now) {
            self.sample();
        }
        // Weights whose holders could not be reached may be reachable now.
        if self.now.is_multiple_of(5 * SECOND) {
            self.load();
        }
    }

    fn sample(&mut self) {
        let left = |node: usize| self.power.left(node, &self.fleet.machines[node], &self.serving);
        let batteries = (0..self.world.nodes.len()).filter_map(|node| Some((node, left(node)?)));
        self.series.add(self.now, &self.serving, batteries.collect());
    }

    fn request(&mut self, planned: &Planned) {
        let alive = |name: &String| self.world.nodes.iter().position(|node| node.name_any() == *name);
        let alive = |name: &String| alive(name).filter(|node| self.agents.alive[*node]);
        let ingress = match planned.from {
            From::Node(node) => Some(node),
            From::User(user) => {
                let spec = &self.world.users[user].spec;
                spec.attach_nodes.iter().chain(&spec.device_node).find_map(alive)
            }
        };
        self.hits.push(self.serving.serves(planned.service));
        self.serving.arrive(Request {
            service: planned.service,
            ingress: ingress.map(NodeOrd::from_index),
            prompt: planned.prompt,
            output: planned.output,
            air: planned.air,
        });
    }
}

fn pair(one: &str, other: &str) -> (String, String) {
    let (one, other) = if one < other { (one, other) } else { (other, one) };
    (one.to_owned(), other.to_owned())
}

fn problem_of(world: &World, fleet: &Fleet) -> Problem {
    let mut snapshot = Snapshot::take(world, Options::default());
    fleet.refine(&mut snapshot);
    snapshot.problem
}
