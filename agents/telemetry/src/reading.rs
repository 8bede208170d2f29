//! One look at a node: plain values with their units, and where each came from.

use std::time::SystemTime;

use crate::gpu::Gpu;

/// How a value came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Read from the system.
    Measured,
    /// Said by the node's profile, or computed from what it says.
    Declared,
}

impl Source {
    /// As a metric's label says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Declared => "declared",
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

impl<T> Fact<T> {
    /// A value that was read from the system.
    pub fn measured(value: T) -> Self {
        Self {
            value,
            source: Source::Measured,
        }
    }

    /// A value that the profile says.
    pub fn declared(value: T) -> Self {
        Self {
            value,
            source: Source::Declared,
        }
    }
}

/// Memory that this node may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in all: the least of the machine's, the control group's and the declared limit.
    pub total_bytes: u64,
    /// Bytes of these that could be used now without swapping.
    pub available_bytes: u64,
}

/// Processors that this node may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Processor {
    /// How many cores: the least of the machine's, the control group's quota and the declared share.
    pub cores: f64,
    /// How many of them were busy, on average since the reading before.
    pub busy_cores: f64,
}

/// The state of a battery, or of several together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Battery {
    /// Charge over full charge, 0 to 1.
    pub ratio: f64,
    /// Energy left, joules.
    pub energy_joules: f64,
    /// Power drawn from it, watts; negative while charging.
    pub discharge_watts: f64,
}

/// Everything that is known of a node at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// When it was read.
    pub observed: SystemTime,
    /// Memory; `None` where the system does not tell and nothing is declared.
    pub memory: Option<Fact<Memory>>,
    /// Processors.
    pub processor: Option<Fact<Processor>>,
    /// The battery; `None` on mains without one.
    pub battery: Option<Fact<Battery>>,
    /// The hottest sensor, degrees Celsius; `None` where there is none.
    pub temperature_celsius: Option<Fact<f64>>,
    /// The GPUs, in the order of their library; none of a machine that only plays the node.
    pub gpus: Vec<Gpu>,
}
