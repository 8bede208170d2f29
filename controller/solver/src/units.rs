//! Ordinals, quantities and layer ranges. Everything is an integer, so that sums are exact in any order, answers
//! compare with `==`, and ties are broken by ordinals. No arithmetic beyond adding, scaling and printing.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ordinal {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The ordinal as an index into the list that it counts.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }

            /// The ordinal of an index.
            ///
            /// # Panics
            /// When the index exceeds `u32::MAX`: no list of a problem is that long.
            #[must_use]
            pub fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("a problem holds fewer than 2^32 items"))
            }
        }
    };
}

ordinal!(
    /// Position of a node in [`Problem::nodes`](crate::problem::Problem::nodes).
    NodeOrd
);
ordinal!(
    /// Position of a model in [`Problem::models`](crate::problem::Problem::models).
    ModelOrd
);
ordinal!(
    /// Position of a variant in [`Model::variants`](crate::problem::Model::variants).
    VariantOrd
);
ordinal!(
    /// Position of a service in [`Problem::services`](crate::problem::Problem::services).
    ServiceOrd
);
ordinal!(
    /// A kernel: quantisation and block shape, the key of measured speeds. Two variants with equal kernels run a layer
    /// equally fast.
    KernelOrd
);
ordinal!(
    /// Position of a server in [`CachingProblem::servers`](crate::caching::CachingProblem::servers).
    ServerOrd
);
ordinal!(
    /// Position of a block in [`CachingProblem::blocks`](crate::caching::CachingProblem::blocks).
    BlockOrd
);
ordinal!(
    /// Position of a set of servers in [`CachingProblem::reaches`](crate::caching::CachingProblem::reaches).
    ReachOrd
);
ordinal!(
    /// A rule about where services may be: a taint, a term of an affinity. Whoever made the problem knows its text.
    TermOrd
);
ordinal!(
    /// Position of a file of weights in [`Problem::files`](crate::problem::Problem::files).
    FileOrd
);
ordinal!(
    /// A trust domain; nodes of one domain are trusted, or not, together.
    TrustDomainOrd
);

ordinal!(
    /// A region: nodes that reach one another and the rest of the fleet over access links and one backbone.
    RegionOrd
);

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing at all.
            pub const ZERO: Self = Self(0);

            /// This much less, and never below zero.
            #[must_use]
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// So many times as much (the largest value on overflow).
            #[must_use]
            pub fn times(self, factor: u64) -> Self {
                Self(self.0.saturating_mul(factor))
            }
        }

        impl std::ops::Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl std::ops::AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self::ZERO, |total, item| total + item)
            }
        }
    };
}

quantity!(
    /// Bytes of memory or of traffic.
    Bytes
);
quantity!(
    /// A duration in nanoseconds; also the one currency of the objective, nanoseconds per request.
    Nanos
);
quantity!(
    /// Energy in microjoules.
    MicroJoules
);
quantity!(
    /// A transfer rate in bytes per second.
    BytesPerSecond
);

impl Bytes {
    /// So many mebibytes.
    #[must_use]
    pub const fn mebi(count: u64) -> Self {
        Self(count << 20)
    }
}

impl Nanos {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(count: u64) -> Self {
        Self(count * 1_000_000)
    }

    /// So many microseconds.
    #[must_use]
    pub const fn from_micros(count: u64) -> Self {
        Self(count * 1_000)
    }

    /// In milliseconds, for printing and for metrics.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "printing")]
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl BytesPerSecond {
    /// So many megabits per second.
    #[must_use]
    pub const fn megabits(count: u64) -> Self {
        Self(count * 125_000)
    }
}

impl fmt::Display for Bytes {
    #[allow(clippy::cast_precision_loss, reason = "printing")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_024 => write!(f, "{} B", self.0),
            1_024..1_048_576 => write!(f, "{:.1} KiB", self.0 as f64 / 1_024.0),
            1_048_576..1_073_741_824 => write!(f, "{:.1} MiB", self.0 as f64 / 1_048_576.0),
            _ => write!(f, "{:.2} GiB", self.0 as f64 / 1_073_741_824.0),
        }
    }
}

impl fmt::Display for Nanos {
    #[allow(clippy::cast_precision_loss, reason = "printing")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000_000 => write!(f, "{:.1} µs", self.0 as f64 / 1e3),
            1_000_000..10_000_000_000 => write!(f, "{:.1} ms", self.0 as f64 / 1e6),
            _ => write!(f, "{:.1} s", self.0 as f64 / 1e9),
        }
    }
}

impl fmt::Display for MicroJoules {
    #[allow(clippy::cast_precision_loss, reason = "printing")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000_000 => write!(f, "{:.1} mJ", self.0 as f64 / 1e3),
            _ => write!(f, "{:.2} J", self.0 as f64 / 1e6),
        }
    }
}

impl fmt::Display for BytesPerSecond {
    #[allow(clippy::cast_precision_loss, reason = "printing")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} Mbit/s", self.0 as f64 / 125_000.0)
    }
}

/// Layers `start..end` of a model, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayerRange {
    /// First layer.
    pub start: u32,
    /// One past the last layer.
    pub end: u32,
}

impl LayerRange {
    /// The layers `start..end`.
    #[must_use]
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// How many layers these are.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// No layer at all, which no stage may be.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

impl fmt::Display for LayerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}
