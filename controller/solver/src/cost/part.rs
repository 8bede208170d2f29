//! What elements of a pipeline add to its figures.

/// What one element of a pipeline adds to its figures. All fields but `busy` add up along the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Added to the time to the first token.
    pub(crate) ttft: u64,
    /// Added to the time per output token.
    pub(crate) tpot: u64,
    /// Time that a prefill chunk occupies the stage or link: adds up within a stage; its maximum counts.
    pub(crate) busy: u64,
    /// Battery energy per request.
    pub(super) picojoules: u64,
    pub(super) energy_cost: u64,
    pub(super) traffic_cost: u64,
    pub(super) fidelity_cost: u64,
    /// What it costs that a service would rather not use the node.
    pub(super) preference_cost: u64,
    /// What the caller charges for the use of the node; guides a search, and is no part of what is reported.
    pub(super) charge: u64,
}

impl Part {
    pub(super) fn times(self, count: u32) -> Self {
        let times = |value: u64| value.saturating_mul(u64::from(count));
        let Self {
            ttft,
            tpot,
            busy,
            picojoules,
            energy_cost,
            traffic_cost,
            fidelity_cost,
            preference_cost,
            charge,
        } = self;
        Self {
            ttft: times(ttft),
            tpot: times(tpot),
            busy: times(busy),
            picojoules: times(picojoules),
            energy_cost: times(energy_cost),
            traffic_cost: times(traffic_cost),
            fidelity_cost: times(fidelity_cost),
            preference_cost: times(preference_cost),
            charge: times(charge),
        }
    }

    /// Another part of the same stage: everything adds up.
    pub(super) fn plus(self, other: Self) -> Self {
        let Self {
            ttft,
            tpot,
            busy,
            picojoules,
            energy_cost,
            traffic_cost,
            fidelity_cost,
            preference_cost,
            charge,
        } = other;
        Self {
            ttft: self.ttft.saturating_add(ttft),
            tpot: self.tpot.saturating_add(tpot),
            busy: self.busy.saturating_add(busy),
            picojoules: self.picojoules.saturating_add(picojoules),
            energy_cost: self.energy_cost.saturating_add(energy_cost),
            traffic_cost: self.traffic_cost.saturating_add(traffic_cost),
            fidelity_cost: self.fidelity_cost.saturating_add(fidelity_cost),
            preference_cost: self.preference_cost.saturating_add(preference_cost),
            charge: self.charge.saturating_add(charge),
        }
    }

    /// Cost of metered traffic.
    pub(crate) fn traffic(&self) -> u64 {
        self.traffic_cost
    }

    /// What follows in the pipeline: sums, and the longer of both occupations.
    pub(crate) fn then(self, next: Self) -> Self {
        Self {
            busy: self.busy.max(next.busy),
            ..self.plus(next)
        }
    }
}

/// The parts of a stage on one node: `layers × layer + fixed`, with `first` at the beginning of the model; at its end
/// `last`, which is the model's last layer with the head, and takes the place of one `layer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageParts {
    pub(crate) layer: Part,
    pub(crate) fixed: Part,
    pub(crate) first: Part,
    pub(crate) last: Part,
}

/// How parts count in the objective.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    pub(super) ttft: u64,
    pub(super) tpot: u64,
}

impl Weights {
    /// What a part adds to the objective, the bottleneck and penalties apart.
    pub(crate) fn scalar(self, part: &Part) -> u64 {
        let Part {
            ttft,
            tpot,
            busy: _,
            picojoules: _,
            energy_cost,
            traffic_cost,
            fidelity_cost,
            preference_cost,
            charge,
        } = *part;
        ttft.saturating_mul(self.ttft)
            .saturating_add(tpot.saturating_mul(self.tpot))
            .saturating_add(energy_cost)
            .saturating_add(traffic_cost)
            .saturating_add(fidelity_cost)
            .saturating_add(preference_cost)
            .saturating_add(charge)
    }
}
