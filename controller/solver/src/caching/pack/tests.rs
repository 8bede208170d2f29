//! Packing one server, judged by enumeration.

use proptest::prelude::*;

use super::{FamilyEnumeration, Fill, Group, Knapsack, Pack, Packed};
use crate::caching::index::Index;
use crate::caching::{CachingProblem, Demand, Server};
use crate::units::{BlockOrd, Bytes, ModelOrd, ReachOrd, ServerOrd};

prop_compose! {
    /// One server and up to nine models of up to eight blocks; worths may be negative.
    fn shelf()(
        capacity in 0_u64..60,
        blocks in prop::collection::vec(0_u64..15, 8),
        models in prop::collection::vec((1_u32..256, -20.0_f64..100.0), 1..=9),
        fetch_price in prop_oneof![Just(0_u64), Just((1 << 30) - 1)],
    ) -> (CachingProblem, Vec<f64>) {
        let blocks_of = |set: u32| (0..8).filter(|bit| set >> bit & 1 == 1).map(BlockOrd).collect();
        let problem = CachingProblem {
            servers: vec![Server { capacity: Bytes(capacity), held: vec![BlockOrd(1), BlockOrd(5)] }],
            blocks: blocks.into_iter().map(Bytes).collect(),
            models: models.iter().map(|(set, _)| blocks_of(*set)).collect(),
            reaches: vec![vec![ServerOrd(0)]],
            demands: (0..models.len())
                .map(|model| Demand { reach: ReachOrd(0), model: ModelOrd::from_index(model), value: 1 })
                .collect(),
            fetch_price,
        };
        (problem, models.into_iter().map(|(_, worth)| worth).collect())
    }
}

/// Worth of a set of models by the problem's own figures; nothing if it does not fit.
fn worth(problem: &CachingProblem, worths: &[f64], set: impl Iterator<Item = usize>) -> Option<f64> {
    let mut blocks: Vec<BlockOrd> = Vec::new();
    let mut worth = 0.0;
    for model in set {
        blocks.extend(&problem.models[model]);
        worth += worths[model];
    }
    blocks.sort_unstable();
    blocks.dedup();
    let server = &problem.servers[0];
    let bytes: u64 = blocks.iter().map(|block| problem.blocks[block.index()].0).sum();
    let fetched = blocks.iter().filter(|block| !server.held.contains(block));
    let fetched: u64 = fetched
        .map(|block| (problem.blocks[block.index()].0 * problem.fetch_price).div_ceil(1 << 30))
        .sum();
    (bytes <= server.capacity.0).then_some(worth - fetched as f64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn packing_is_exact_and_its_relaxation_is_a_bound((problem, worths) in shelf(), hint in 0.0_f64..10.0) {
        let index = Index::new(&problem, std::num::NonZeroUsize::MIN);
        let shelf = &index.shelves[0];
        let model = |position: usize| shelf.models[position] as usize;
        let values: Vec<f64> =
            (0..shelf.models.len()).map(|at| worths[model(at)] - shelf.fetch(at) as f64).collect();
        let knapsack = shelf.knapsack(&index.library, &values);
        let subsets = 0..1_usize << worths.len();
        let best = subsets
            .filter_map(|set| worth(&problem, &worths, (0..worths.len()).filter(move |bit| set >> bit & 1 == 1)))
            .fold(0.0, f64::max);
        let mut packer = FamilyEnumeration::default();
        let mut packed = Packed::default();
        for fill in [Fill::Fractional, Fill::Greedy, Fill::Exact(1_000)] {
            packer.pack(&knapsack, fill, hint, &mut packed);
            let items: Vec<usize> = packed.items.iter().map(|item| model(*item as usize)).collect();
            let found = worth(&problem, &worths, items.into_iter());
            // A chunk whose models are all left out in the end may stand in the price, so worth can only be more.
            prop_assert!(found.is_some_and(|found| found >= packed.value - 1e-6), "{fill:?} {found:?} {packed:?}");
            prop_assert!(packed.bound >= best - 1e-6, "{fill:?} {packed:?} {best}");
            prop_assert!(packed.value <= best + 1e-6);
            if fill == Fill::Exact(1_000) {
                prop_assert!((packed.value - best).abs() < 1e-6, "{packed:?} {best}");
                prop_assert!((packed.bound - best).abs() < 1e-6, "{packed:?} {best}");
            }
        }
    }
}

#[test]
fn an_item_is_cut_where_the_room_ends() {
    let mut library = crate::caching::library::Library::default();
    library.families.push(Vec::new());
    let knapsack = Knapsack {
        library: &library,
        capacity: 10.0,
        values: &[8.0, 9.0, 1.0],
        bytes: &[4.0, 9.0, 2.0],
        groups: &[Group {
            family: 0,
            start: 0,
            end: 3,
        }],
        chunk_prices: &[],
    };
    let mut packed = Packed::default();
    FamilyEnumeration::default().pack(&knapsack, Fill::Fractional, 0.0, &mut packed);
    // Four bytes for 8, then six ninths of 9.
    assert_eq!(packed.items, [0]);
    assert_eq!(packed.cut, Some((1, 6.0 / 9.0)));
    assert!((packed.bound - 14.0).abs() < 0.01, "{}", packed.bound);
    FamilyEnumeration::default().pack(&knapsack, Fill::Exact(100), 0.0, &mut packed);
    assert!((packed.value - 9.0).abs() < 1e-9, "{}", packed.value);
}
