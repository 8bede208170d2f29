//! Energy: what nodes draw, and what is left in their batteries.

use std::sync::Arc;

use crds::edge_node::{BatteryReading, EdgeNode, PowerSource, Provenance};
use solver::{serving::Serving, units::NodeOrd};

use super::{SECOND, Time, fleet::Machine};
use crate::world::World;

/// A milliwatt hour in picojoules, as which milliwatts times nanoseconds count.
const PICOJOULES_PER_MILLIWATT_HOUR: u128 = 3_600 * 1_000_000_000;

/// What was drawn so far.
#[derive(Debug)]
pub(super) struct Power {
    /// By node: how long it has lived.
    lived: Vec<Time>,
    /// By node: what its battery held at the beginning, in milliwatt hours; none on mains.
    charged: Vec<Option<u64>>,
}

impl Power {
    pub(super) fn new(world: &World) -> Self {
        Self {
            lived: vec![0; world.nodes.len()],
            charged: world.nodes.iter().map(|node| charge_of(node)).collect(),
        }
    }

    /// So much time has passed.
    pub(super) fn pass(&mut self, alive: &[bool], time: Time) {
        for (lived, _) in self.lived.iter_mut().zip(alive).filter(|(_, alive)| **alive) {
            *lived += time;
        }
    }

    /// Picojoules that a node drew: while idle, and above that.
    pub(super) fn drawn(&self, node: usize, machine: &Machine, busy: Time) -> (u128, u128) {
        let idle = u128::from(machine.idle_milliwatts) * u128::from(self.lived[node]);
        (idle, u128::from(machine.active_milliwatts) * u128::from(busy))
    }

    /// Picojoules left in a node's battery; none on mains.
    fn picojoules_left(&self, node: usize, machine: &Machine, serving: &Serving) -> Option<u128> {
        let charged = u128::from(self.charged[node]?) * PICOJOULES_PER_MILLIWATT_HOUR;
        let (idle, active) = self.drawn(node, machine, serving.busy(NodeOrd::from_index(node)));
        Some(charged.saturating_sub(idle + active))
    }

    /// Whole milliwatt hours left in a node's battery; none on mains.
    pub(super) fn left(&self, node: usize, machine: &Machine, serving: &Serving) -> Option<u64> {
        let left = self.picojoules_left(node, machine, serving)? / PICOJOULES_PER_MILLIWATT_HOUR;
        Some(u64::try_from(left).unwrap_or(u64::MAX))
    }

    /// Whether a node has a battery with nothing in it.
    pub(super) fn is_empty(&self, node: usize, machine: &Machine, serving: &Serving) -> bool {
        self.picojoules_left(node, machine, serving) == Some(0)
    }

    /// What agents report of their batteries.
    pub(super) fn report(&self, world: &mut World, machines: &[Machine], serving: &Serving) {
        for (index, node) in world.nodes.iter_mut().enumerate() {
            let Some(left) = self.left(index, &machines[index], serving) else {
                continue;
            };
            let capacity = capacity_of(node).unwrap_or(1).max(1);
            let reading = BatteryReading {
                percent: i32::try_from(left * 100 / capacity).unwrap_or(100),
                energy_milliwatt_hours: i64::try_from(left).ok(),
                charging: false,
                provenance: Provenance::Declared,
            };
            if let Some(status) = &mut Arc::make_mut(node).status {
                status.battery = Some(reading);
            }
        }
    }
}

fn capacity_of(node: &EdgeNode) -> Option<u64> {
    let battery = node.spec.power.battery.as_ref()?;
    (node.spec.power.source == PowerSource::Battery)
        .then(|| u64::try_from(battery.capacity_milliwatt_hours).unwrap_or(0))
}

fn charge_of(node: &EdgeNode) -> Option<u64> {
    let capacity = capacity_of(node)?;
    let percent = node
        .spec
        .power
        .battery
        .as_ref()
        .map_or(100, |battery| battery.percent);
    Some(capacity * u64::try_from(percent).unwrap_or(0) / 100)
}

/// Joules of picojoules.
#[allow(clippy::cast_precision_loss, reason = "joules for people")]
pub(super) fn joules(picojoules: u128) -> f64 {
    picojoules as f64 / 1e12
}

const _: () = assert!(
    SECOND == 1_000_000_000,
    "milliwatts times nanoseconds are picojoules"
);
