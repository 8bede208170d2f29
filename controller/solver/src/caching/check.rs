//! Judges a placement, independently of how it was found: shares no code with the index or the search.

use std::collections::BTreeSet;

use super::{CachingProblem, Placement};
use crate::units::{BlockOrd, Bytes, ModelOrd, ServerOrd};

/// What is wrong with a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Illegality {
    /// It is not about as many servers as the problem has.
    Servers,
    /// A model that does not exist, that stands twice, or out of order.
    Models(ServerOrd),
    /// The union of the blocks exceeds the storage.
    Storage {
        /// Where.
        server: ServerOrd,
        /// Size of the union of the blocks.
        needed: Bytes,
        /// What the server has.
        capacity: Bytes,
    },
}

/// Everything that is illegal in a placement; nothing if it is legal.
#[must_use]
pub fn check(problem: &CachingProblem, placement: &Placement) -> Vec<Illegality> {
    if placement.models.len() != problem.servers.len() {
        return vec![Illegality::Servers];
    }
    let mut found = Vec::new();
    for (index, models) in placement.models.iter().enumerate() {
        let server = ServerOrd::from_index(index);
        let known = models.iter().all(|model| model.index() < problem.models.len());
        if !known || !models.windows(2).all(|pair| pair[0] < pair[1]) {
            found.push(Illegality::Models(server));
            continue;
        }
        let needed = stored(problem, models)
            .iter()
            .map(|block| problem.blocks[block.index()])
            .sum();
        let capacity = problem.servers[index].capacity;
        if needed > capacity {
            found.push(Illegality::Storage {
                server,
                needed,
                capacity,
            });
        }
    }
    found
}

/// What a legal placement is worth: every demand that some server in reach stores the model for, less the price of every
/// block that is stored where it is not held. Each block's price is rounded up to whole units.
#[must_use]
pub fn worth(problem: &CachingProblem, placement: &Placement) -> i64 {
    let served: u64 = problem
        .demands
        .iter()
        .filter(|demand| {
            let mut reach = problem.reaches[demand.reach.index()].iter();
            reach.any(|server| placement.models[server.index()].contains(&demand.model))
        })
        .map(|demand| demand.value)
        .sum();
    let fetched: u128 = placement
        .models
        .iter()
        .zip(&problem.servers)
        .flat_map(|(models, server)| {
            let mut blocks = stored(problem, models);
            server.held.iter().for_each(|held| {
                blocks.remove(held);
            });
            blocks
        })
        .map(|block| {
            let exact = u128::from(problem.blocks[block.index()].0) * u128::from(problem.fetch_price);
            exact.div_ceil(1 << 30)
        })
        .sum();
    i64::try_from(i128::from(served) - i128::try_from(fetched).unwrap_or(i128::MAX)).unwrap_or(i64::MIN)
}

fn stored(problem: &CachingProblem, models: &[ModelOrd]) -> BTreeSet<BlockOrd> {
    let blocks = models.iter().flat_map(|model| &problem.models[model.index()]);
    blocks.copied().collect()
}
