//! The question: a fleet, its services, and classes of users who ask them for so many requests a second.
//!
//! A [`Service`](crate::problem::Service) of the fleet says what one replica is: models that may answer, sessions at once,
//! promises, privacy, modes. How many replicas there are, where, and who is answered by which, is decided.

use serde::{Deserialize, Serialize};

use crate::problem::{InvalidProblem, Problem, require};
use crate::solution::PipelineShape;
use crate::units::{Nanos, NodeOrd, ServiceOrd};

/// All services of a fleet at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JointProblem {
    /// Nodes, links, models and services. A service's own `ingress`, `previous`, `kept` and `priority` are not looked at:
    /// classes say where requests enter and what they are worth, `loaded` says what is there already.
    pub fleet: Problem,
    /// Who asks; users of one cell who ask one service are one class.
    pub classes: Vec<Class>,
    /// Thousandths of its time that a node may be busy with requests.
    pub busy_max_milli: u32,
    /// Thousandths of its rate that a link may be used.
    pub link_max_milli: u32,
    /// How long batteries must last above their reserve.
    pub battery_lasts: Nanos,
    /// What bringing one gibibyte of weights to a node costs, in units of [`Certificate::value`]. One stage's weights cost
    /// 2^52 at most.
    pub load_price: u64,
}

/// Users of one service who enter at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// What they ask.
    pub service: ServiceOrd,
    /// Where.
    pub ingress: NodeOrd,
    /// How often: requests in a million seconds.
    pub rate_micro: u64,
    /// What an answer within the promises is worth to them, in the currency of its cost. An answer that costs more is
    /// not given.
    pub value: Nanos,
}

/// A pipeline that answers a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// The service.
    pub service: ServiceOrd,
    /// Its stages.
    pub shape: PipelineShape,
}

/// Requests of a class that a replica answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Position of the class.
    pub class: u32,
    /// Position of the replica.
    pub replica: u32,
    /// Requests in a million seconds.
    pub rate_micro: u64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JointPlan {
    /// Pipelines to run, in order; no two are the same.
    pub replicas: Vec<Replica>,
    /// Who is answered by which, in order. What a class asks beyond its routes is not answered.
    pub routes: Vec<Route>,
}

/// How good a plan is known to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Worth of the plan: over all routes the value of an answer less its cost, times the rate; less the price of loading.
    pub value: i128,
    /// No plan is worth more.
    pub bound: i128,
    /// All that is asked for, if it cost nothing to answer.
    pub demanded: i128,
}

impl Certificate {
    /// By what part of the bound the plan could at most be better, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn gap(&self) -> f64 {
        if self.is_exact() {
            0.0
        } else {
            (self.bound - self.value) as f64 / self.bound as f64
        }
    }

    /// Whether the plan is proven to be the best.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.bound <= self.value
    }
}

/// Rates and values stay below this, so that their products are exact.
const RATE_MAX: u64 = 1 << 40;
const VALUE_MAX: u64 = 1 << 50;

impl JointProblem {
    /// A problem without limits but those of the fleet: nodes may be busy all the time, links full, and loading is free.
    #[must_use]
    pub fn new(fleet: Problem, classes: Vec<Class>) -> Self {
        Self {
            fleet,
            classes,
            busy_max_milli: 1_000,
            link_max_milli: 1_000,
            battery_lasts: Nanos(3_600_000_000_000),
            load_price: 0,
        }
    }

    /// Checks that the problem means something.
    ///
    /// # Errors
    /// Names the first field that is wrong and what would be right.
    pub fn validate(&self) -> Result<(), InvalidProblem> {
        self.fleet.validate()?;
        for service in (0..self.fleet.services.len()).map(ServiceOrd::from_index) {
            self.fleet.with_chains_only(service)?;
            self.fleet.without_company(service)?;
        }
        let field = |name: &'static str| move || name.to_owned();
        require(
            (1..=1_000).contains(&self.busy_max_milli),
            field("busy_max_milli"),
            "1 to 1000",
        )?;
        require(
            (1..=1_000).contains(&self.link_max_milli),
            field("link_max_milli"),
            "1 to 1000",
        )?;
        require(
            self.battery_lasts.0 > 0,
            field("battery_lasts"),
            "more than nothing",
        )?;
        require(self.load_price < VALUE_MAX, field("load_price"), "less than 2^50")?;
        for (index, class) in self.classes.iter().enumerate() {
            let of = |name: &'static str| move || format!("classes[{index}].{name}");
            let service = class.service.index() < self.fleet.services.len();
            require(service, of("service"), "an ordinal of fleet.services")?;
            let ingress = class.ingress.index() < self.fleet.nodes.len();
            require(ingress, of("ingress"), "an ordinal of fleet.nodes")?;
            require(class.rate_micro < RATE_MAX, of("rate_micro"), "less than 2^40")?;
            require(class.value.0 < VALUE_MAX, of("value"), "less than 2^50 ns")?;
        }
        Ok(())
    }

    /// All that is asked for, in units of [`Certificate::value`].
    #[must_use]
    pub fn demanded(&self) -> i128 {
        let worth = |class: &Class| i128::from(class.rate_micro) * i128::from(class.value.0);
        self.classes.iter().map(worth).sum()
    }
}
