//! The question: servers with storage, models made of blocks, demand that some servers can serve in time.
//!
//! After TrimCaching (Qu et al., ICDCS 2024, arXiv 2405.03990): model `i` is a set of parameter blocks, a server pays for
//! a block once however many of its models contain it, and a demand is served when at least one server that can deliver
//! the model within the deadline stores all its blocks. Demand is aggregated: users of one cell who ask for one model
//! and can be served by the same servers are one [`Demand`].

use crate::problem::{InvalidProblem, require};
use crate::units::{BlockOrd, Bytes, ModelOrd, ReachOrd, ServerOrd};

/// What to store where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachingProblem {
    /// Where blocks can be stored.
    pub servers: Vec<Server>,
    /// Size of each block.
    pub blocks: Vec<Bytes>,
    /// Blocks of each model, each at most once; at least one.
    pub models: Vec<Vec<BlockOrd>>,
    /// Sets of servers that some demand can be served by: ordinals rise.
    pub reaches: Vec<Vec<ServerOrd>>,
    /// What is asked for.
    pub demands: Vec<Demand>,
    /// What it costs to bring one gibibyte to a server that does not hold it, in units of [`Demand::value`].
    pub fetch_price: u64,
}

/// Storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// For blocks of models.
    pub capacity: Bytes,
    /// Blocks that lie there already and need not be fetched; ordinals rise. They may be dropped at no cost.
    pub held: Vec<BlockOrd>,
}

/// Users who ask for one model and can be served by the same servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The servers that deliver within the deadline.
    pub reach: ReachOrd,
    /// The model.
    pub model: ModelOrd,
    /// What serving it is worth, in any one unit: requests per hour, say.
    pub value: u64,
}

/// All values together stay below this, so that sums are exact in double precision too.
pub const VALUE_MAX: u64 = 1 << 50;

/// All blocks together stay below this (a pebibyte), for the same reason.
pub const BYTES_MAX: u64 = 1 << 50;

impl CachingProblem {
    /// Checks that the problem means something.
    ///
    /// # Errors
    /// Names the first field that is wrong and what would be right.
    pub fn validate(&self) -> Result<(), InvalidProblem> {
        self.validate_sizes()?;
        for (index, server) in self.servers.iter().enumerate() {
            require(
                server.capacity.0 < BYTES_MAX,
                || format!("servers[{index}].capacity"),
                "less than a pebibyte",
            )?;
            self.validate_blocks(&server.held, true, || format!("servers[{index}].held"))?;
        }
        for (index, model) in self.models.iter().enumerate() {
            require(
                !model.is_empty(),
                || format!("models[{index}]"),
                "at least one block",
            )?;
            self.validate_blocks(model, false, || format!("models[{index}]"))?;
        }
        for (index, reach) in self.reaches.iter().enumerate() {
            let field = || format!("reaches[{index}]");
            let known = reach.iter().all(|server| server.index() < self.servers.len());
            require(known, field, "ordinals of servers")?;
            require(rises(reach), field, "ordinals that rise")?;
        }
        self.validate_demands()
    }

    fn validate_sizes(&self) -> Result<(), InvalidProblem> {
        let total: Bytes = self.blocks.iter().copied().sum();
        require(
            total.0 < BYTES_MAX,
            || "blocks".to_owned(),
            "less than a pebibyte in all",
        )?;
        require(
            self.fetch_price < VALUE_MAX >> 20,
            || "fetch_price".to_owned(),
            "less than 2^30",
        )
    }

    fn validate_blocks(
        &self,
        blocks: &[BlockOrd],
        in_order: bool,
        field: impl Fn() -> String,
    ) -> Result<(), InvalidProblem> {
        let known = blocks.iter().all(|block| block.index() < self.blocks.len());
        require(known, &field, "ordinals of blocks")?;
        if in_order {
            return require(rises(blocks), &field, "ordinals that rise");
        }
        let mut sorted = blocks.to_vec();
        sorted.sort_unstable();
        require(rises(&sorted), &field, "each block at most once")
    }

    fn validate_demands(&self) -> Result<(), InvalidProblem> {
        let mut total = 0_u64;
        for (index, demand) in self.demands.iter().enumerate() {
            require(
                demand.reach.index() < self.reaches.len(),
                || format!("demands[{index}].reach"),
                "an ordinal of reaches",
            )?;
            require(
                demand.model.index() < self.models.len(),
                || format!("demands[{index}].model"),
                "an ordinal of models",
            )?;
            total = total.saturating_add(demand.value);
            require(
                total < VALUE_MAX,
                || format!("demands[{index}].value"),
                "values below 2^50 in all",
            )?;
        }
        Ok(())
    }

    /// Size of a model, all blocks.
    #[must_use]
    pub fn model_bytes(&self, model: ModelOrd) -> Bytes {
        self.models[model.index()]
            .iter()
            .map(|block| self.blocks[block.index()])
            .sum()
    }
}

fn rises<T: Ord>(items: &[T]) -> bool {
    items.windows(2).all(|pair| pair[0] < pair[1])
}
