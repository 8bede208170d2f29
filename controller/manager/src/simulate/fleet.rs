//! The world that a scenario begins with, and what its machines are like.

use std::{collections::BTreeMap, sync::Arc};

use crds::{
    EdgeLink, EdgeLinkSpec, EdgeNode, EdgeNodeSpec, EdgeUser, EdgeUserSpec, Quantity,
    edge_node::{AgentInfo, Device, EdgeNodeStatus, Position, PowerSource, Tier},
};
use kube::ResourceExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solver::{
    data,
    mobility::waypoint::Place,
    problem::DeclaredSpeed,
    units::{BytesPerSecond, Nanos},
};

use super::{
    Error, Scenario,
    scenario::{Crowd, Hardware, Sites},
};
use crate::{offline, snapshot::Snapshot, world::World};

/// Cells that a user of a crowd with a place may attach to, nearest first.
const CELLS_OF_A_PLACE: usize = 3;
/// Decimetres of a degree of latitude.
const DECIMETRES_PER_DEGREE: f64 = 1_113_200.0;

/// The world, and beside it what no manifest says.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) world: World,
    /// By node, in the world's order.
    pub(super) machines: Vec<Machine>,
    /// Users of each crowd.
    pub(super) crowds: BTreeMap<String, Vec<String>>,
}

/// What a machine is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    speed: Option<DeclaredSpeed>,
    overhead: Nanos,
    pub(super) disk_bytes_per_second: u64,
    pub(super) active_milliwatts: u64,
    pub(super) idle_milliwatts: u64,
}

impl Fleet {
    /// Builds it.
    pub(super) fn of(scenario: &Scenario) -> Result<Self, Error> {
        let mut world = offline::world_from(scenario.manifests.clone())?;
        for (index, sites) in scenario.spec.sites.iter().enumerate() {
            add_sites(&mut world, scenario, sites, &format!("spec.sites[{index}]"))?;
        }
        let mut crowds = BTreeMap::new();
        for (index, crowd) in scenario.spec.crowds.iter().enumerate() {
            let names = add_crowd(&mut world, scenario, crowd, &format!("spec.crowds[{index}]"))?;
            crowds.insert(crowd.name.clone(), names);
        }
        world = world.sorted();
        is_unique("EdgeNode", world.nodes.iter().map(|node| node.name_any()))?;
        is_unique("EdgeLink", world.links.iter().map(|link| link.name_any()))?;
        let machines = world.nodes.iter().map(|node| machine_of(scenario, node));
        let machines = machines.collect::<Result<Vec<_>, _>>()?;
        for node in &mut world.nodes {
            report(Arc::make_mut(node))?;
        }
        for link in &world.links {
            for (field, end) in [("from", &link.spec.from), ("to", &link.spec.to)] {
                if world.node(end).is_none() {
                    let field = format!("EdgeLink {}: spec.{field}", link.name_any());
                    return Err(Error::field(field, format!("there is no EdgeNode {end:?}")));
                }
            }
        }
        Ok(Self {
            world,
            machines,
            crowds,
        })
    }

    /// A snapshot with what machines are like in it.
    pub(super) fn refine(&self, snapshot: &mut Snapshot) {
        for (node, machine) in snapshot.problem.nodes.iter_mut().zip(&self.machines) {
            node.declared = machine.speed;
            if node.speeds.is_empty() {
                node.message_overhead = machine.overhead;
            }
        }
    }
}

fn is_unique(kind: &str, mut names: impl Iterator<Item = String>) -> Result<(), Error> {
    let Some(mut last) = names.next() else {
        return Ok(());
    };
    for name in names {
        if name == last {
            return Err(Error::field(
                format!("{kind} {name}"),
                "there are two of this name",
            ));
        }
        last = name;
    }
    Ok(())
}

/// What an agent says of itself at its start, unless the manifest does.
fn report(node: &mut EdgeNode) -> Result<(), Error> {
    let name = node.name_any();
    let status = node.status.get_or_insert_with(EdgeNodeStatus::default);
    status.agent.get_or_insert_with(|| AgentInfo {
        peer_address: format!("{name}:7946"),
        router_url: format!("http://{name}:8080"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..AgentInfo::default()
    });
    if status.devices.is_empty() {
        let limits = &node.spec.limits;
        let memory = limits.memory.as_ref().ok_or_else(|| {
            let problem = "is missing: a machine that is simulated has the memory that its manifest says";
            Error::field(format!("EdgeNode {name}: spec.limits.memory"), problem)
        })?;
        status.devices = vec![Device {
            name: "cpu".to_owned(),
            memory_bytes: memory.value(),
            cores_milli: limits.cores.as_ref().map_or(1_000, Quantity::milli),
            ..Device::default()
        }];
    }
    Ok(())
}

fn machine_of(scenario: &Scenario, node: &EdgeNode) -> Result<Machine, Error> {
    let name = node.name_any();
    let fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *pattern == name,
    };
    let mut hardware = scenario.spec.hardware.iter();
    let found = hardware.find(|hardware| hardware.nodes.iter().any(fits));
    let devices = node.status.iter().flat_map(|status| &status.devices);
    let measured = devices.clone().any(|device| !device.benchmarks.is_empty());
    if found.is_none() && !measured {
        let problem = format!(
            "no entry names EdgeNode {name}, whose status has no benchmarks: nobody knows how fast it is"
        );
        return Err(Error::field("spec.hardware", problem));
    }
    let cores = node.spec.limits.cores.as_ref().map_or(1_000, Quantity::milli);
    let battery = node.spec.power.battery.as_ref();
    let is_battery = node.spec.power.source == PowerSource::Battery;
    let declared = |of: &dyn Fn(&crds::edge_node::DeclaredBattery) -> i64| {
        let milliwatts = battery.filter(|_| is_battery).map_or(0, of);
        u64::try_from(milliwatts).unwrap_or(0)
    };
    let active = declared(&|battery| i64::from(battery.milliwatts_per_core) * cores / 1_000);
    let idle = declared(&|battery| i64::from(battery.idle_milliwatts));
    let positive = |quantity: &Quantity| u64::try_from(quantity.value()).unwrap_or(1).max(1);
    let or =
        |milliwatts: Option<u64>, otherwise: u64| milliwatts.filter(|found| *found > 0).unwrap_or(otherwise);
    Ok(Machine {
        speed: found.map(|hardware| DeclaredSpeed {
            flops_per_second: positive(&hardware.flops_per_second),
            memory_rate: BytesPerSecond(positive(&hardware.memory_bytes_per_second)),
        }),
        overhead: Nanos::from_micros(found.map_or(100, |hardware: &Hardware| {
            u64::from(hardware.batch_overhead_microseconds)
        })),
        disk_bytes_per_second: found.map_or(1_000_000_000, |hardware| {
            positive(&hardware.disk_bytes_per_second)
        }),
        active_milliwatts: or(found.map(|hardware| hardware.active_milliwatts), active),
        idle_milliwatts: or(found.map(|hardware| hardware.idle_milliwatts), idle),
    })
}

/// Reads a template as a spec, and names the field that is wrong.
fn spec<T: DeserializeOwned>(field: &str, template: &Value) -> Result<T, Error> {
    let template = if template.is_null() {
        json!({})
    } else {
        template.clone()
    };
    serde_path_to_error::deserialize(template)
        .map_err(|error| Error::field(format!("{field}.{}", error.path()), error.inner().to_string()))
}

fn add_sites(world: &mut World, scenario: &Scenario, sites: &Sites, field: &str) -> Result<(), Error> {
    let places = places(scenario, &sites.places, &format!("{field}.places"))?;
    if places.len() < sites.count {
        let problem = format!("{} has {} places", sites.places, places.len());
        return Err(Error::field(format!("{field}.count"), problem));
    }
    let template: EdgeNodeSpec = spec(&format!("{field}.node"), &sites.node)?;
    let chosen: Vec<(f64, f64)> = (0..sites.count)
        .map(|index| places[index * places.len() / sites.count])
        .collect();
    let name = |index: usize| format!("{}{index}", sites.prefix);
    for (index, (latitude, longitude)) in chosen.iter().enumerate() {
        let mut node = EdgeNode::new(&name(index), template.clone());
        // Each is a site of its own: nodes of one site may be taken to be wired with each other.
        node.spec.site.get_or_insert_with(|| name(index));
        node.spec.position = Some(Position {
            latitude_microdegrees: microdegrees(*latitude),
            longitude_microdegrees: microdegrees(*longitude),
        });
        world.nodes.push(Arc::new(node));
        if let Some(link) = &sites.link {
            let spec = link_spec(
                &name(index),
                &link.to,
                &link.rate_bits_per_second,
                link.latency_microseconds,
            );
            world.links.push(Arc::new(EdgeLink::new(
                &format!("{}-{}", name(index), link.to),
                spec,
            )));
        }
    }
    let Some(neighbours) = &sites.neighbours else {
        return Ok(());
    };
    let at: Vec<Place> = chosen.iter().map(|place| place_of(*place, chosen[0].0)).collect();
    let mut joined = std::collections::BTreeSet::new();
    for one in 0..at.len() {
        for other in nearest(&at, at[one])
            .into_iter()
            .filter(|other| *other != one)
            .take(neighbours.count)
        {
            let (one, other) = (one.min(other), one.max(other));
            if joined.insert((one, other)) {
                let rate = &neighbours.rate_bits_per_second;
                let spec = link_spec(&name(one), &name(other), rate, neighbours.latency_microseconds);
                let link = EdgeLink::new(&format!("{}-{}", name(one), name(other)), spec);
                world.links.push(Arc::new(link));
            }
        }
    }
    Ok(())
}

fn link_spec(from: &str, to: &str, rate: &Quantity, latency_microseconds: i32) -> EdgeLinkSpec {
    EdgeLinkSpec {
        from: from.to_owned(),
        to: to.to_owned(),
        medium: crds::edge_link::Medium::Wired,
        rate_bits_per_second: rate.clone(),
        reverse_rate_bits_per_second: None,
        latency_microseconds,
        jitter_microseconds: 0,
        loss_parts_per_million: 0,
        segment: None,
        cost_milli_per_gigabyte: 0,
    }
}

/// Places of a data set or a file.
fn places(scenario: &Scenario, name: &str, field: &str) -> Result<Vec<(f64, f64)>, Error> {
    let found = match name {
        "eua" => Ok(data::eua_sites()),
        "eua-users" => Ok(data::eua_users()),
        file => {
            let path = scenario.folder.join(file);
            let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
                field: format!("{field}: neither eua nor eua-users, so a file"),
                path: path.display().to_string(),
                source,
            })?;
            data::places(file, &text)
        }
    };
    found.map_err(|error| Error::field(field, error.to_string()))
}

fn add_crowd(
    world: &mut World,
    scenario: &Scenario,
    crowd: &Crowd,
    field: &str,
) -> Result<Vec<String>, Error> {
    let template: EdgeUserSpec = spec(&format!("{field}.user"), &crowd.user)?;
    let places = match &crowd.places {
        Some(name) => places(scenario, name, &format!("{field}.places"))?,
        None => vec![],
    };
    let cells = cells(world, &[])?;
    if !places.is_empty() && cells.is_empty() {
        let problem = "needs nodes of tier Server with a position, of which there is none";
        return Err(Error::field(format!("{field}.places"), problem));
    }
    let names: Vec<String> = (0..crowd.count)
        .map(|index| format!("{}-{index}", crowd.name))
        .collect();
    for (index, name) in names.iter().enumerate() {
        let mut user = EdgeUser::new(name, template.clone());
        user.metadata.namespace = Some("default".to_owned());
        if !places.is_empty() {
            let place = places[index * places.len() / crowd.count % places.len()];
            let at: Vec<Place> = cells.iter().map(|(_, place)| *place).collect();
            let near = nearest(&at, place_of(place, reference(world)));
            let near = near.into_iter().take(CELLS_OF_A_PLACE);
            user.spec.attach_nodes = near.map(|cell| cells[cell].0.clone()).collect();
        }
        world.users.push(Arc::new(user));
    }
    Ok(names)
}

/// The nodes whose cells users are in, with their places: those that are named, or all of tier Server that have a position.
pub(super) fn cells(world: &World, named: &[String]) -> Result<Vec<(String, Place)>, Error> {
    let reference = reference(world);
    let place = |node: &EdgeNode| {
        let position = node.spec.position.as_ref()?;
        let degrees = |micro: i32| f64::from(micro) / 1e6;
        let place = (
            degrees(position.latitude_microdegrees),
            degrees(position.longitude_microdegrees),
        );
        Some((node.name_any(), place_of(place, reference)))
    };
    if named.is_empty() {
        let servers = world.nodes.iter().filter(|node| node.spec.tier == Tier::Server);
        return Ok(servers.filter_map(|node| place(node)).collect());
    }
    let cell = |name: &String| {
        let node = world.node(name);
        let node = node.ok_or_else(|| Error::field("cells", format!("there is no EdgeNode {name:?}")))?;
        place(node).ok_or_else(|| {
            Error::field(
                format!("EdgeNode {name}: spec.position"),
                "is missing: its cell is somewhere",
            )
        })
    };
    named.iter().map(cell).collect()
}

/// The latitude at which degrees of longitude are measured.
fn reference(world: &World) -> f64 {
    let mut positions = world.nodes.iter().filter_map(|node| node.spec.position.as_ref());
    positions
        .next()
        .map_or(0.0, |position| f64::from(position.latitude_microdegrees) / 1e6)
}

#[allow(clippy::cast_possible_truncation, reason = "decimetres on Earth")]
fn place_of((latitude, longitude): (f64, f64), reference: f64) -> Place {
    Place {
        east: (longitude * reference.to_radians().cos() * DECIMETRES_PER_DEGREE).round() as i64,
        north: (latitude * DECIMETRES_PER_DEGREE).round() as i64,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most 180 million")]
fn microdegrees(degrees: f64) -> i32 {
    (degrees * 1e6).round() as i32
}

/// Ordinals of places, nearest first.
fn nearest(places: &[Place], to: Place) -> Vec<usize> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|place| (places[*place].distance(to), *place));
    order
}
