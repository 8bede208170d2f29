//! The answer: which models each server stores, what that is worth, and how much more any placement could be worth.

use crate::units::{ModelOrd, ServerOrd};

/// Models that each server stores; their blocks are stored once each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// By server; ordinals rise.
    pub models: Vec<Vec<ModelOrd>>,
}

impl Placement {
    /// Nothing anywhere.
    #[must_use]
    pub fn empty(num_servers: usize) -> Self {
        Self {
            models: vec![Vec::new(); num_servers],
        }
    }

    /// Whether a server stores a model.
    #[must_use]
    pub fn stores(&self, server: ServerOrd, model: ModelOrd) -> bool {
        self.models[server.index()].binary_search(&model).is_ok()
    }
}

/// How good a placement is: worth of the demand that it serves less what fetching costs, in units of
/// [`Demand::value`](super::Demand::value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Of the placement.
    pub value: i64,
    /// No placement is worth more.
    pub bound: i64,
    /// Worth of all demand, also of what nobody can serve.
    pub demanded: u64,
}

impl Certificate {
    /// The proven share of the bound that the placement may miss, in `0.0..=1.0`.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio for printing")]
    pub fn gap(&self) -> f64 {
        if self.bound <= self.value {
            return 0.0;
        }
        ((self.bound - self.value) as f64 / self.bound as f64).min(1.0)
    }

    /// Whether no placement is better.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.bound <= self.value
    }

    /// Value per worth of all demand: the expected cache hit ratio, if values are request rates and fetching is free.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio for printing")]
    pub fn hit_ratio(&self) -> f64 {
        if self.demanded == 0 {
            return 0.0;
        }
        self.value as f64 / self.demanded as f64
    }
}
