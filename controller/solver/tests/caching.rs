//! Shared-block caching: judged by enumeration, by a plain greedy, and by the independent check.

mod events;
mod exact;

use std::num::NonZeroUsize;

use proptest::prelude::*;
use solver::Budget;
use solver::caching::{
    CachingProblem, CachingSession, Demand, GreedyRule, Placement, Server, check, fixtures, worth,
};
use solver::units::{BlockOrd, Bytes, ModelOrd, ReachOrd, ServerOrd};

/// Sets of ordinals by the bits of a number.
fn bits(set: u32, end: usize) -> Vec<u32> {
    (0..32)
        .filter(|bit| set >> bit & 1 == 1 && (*bit as usize) < end)
        .collect()
}

/// Half a unit of worth per byte.
const HALF: u64 = 1 << 29;

prop_compose! {
    /// Up to three servers, five models of up to seven blocks, overlapping in any way; moving is free or not.
    pub(crate) fn small_problem()(
        servers in prop::collection::vec((0_u64..40, 0_u32..128), 1..=3),
        blocks in prop::collection::vec(0_u64..12, 1..=7),
        models in prop::collection::vec(1_u32..128, 1..=5),
        reaches in prop::collection::vec(0_u32..8, 1..=4),
        demands in prop::collection::vec((0_u32..4, 0_u32..5, 0_u64..1_000_000), 0..=12),
        fetch_price in prop_oneof![Just(0), Just(HALF - 1), Just(90)],
        scale in prop_oneof![Just(1_u64), Just(50_000)],
    ) -> CachingProblem {
        let num_blocks = blocks.len();
        let blocks_of = |set: u32| {
            let chosen: Vec<_> = bits(set, num_blocks).into_iter().map(BlockOrd).collect();
            if chosen.is_empty() { vec![BlockOrd(0)] } else { chosen }
        };
        CachingProblem {
            servers: servers
                .iter()
                .map(|(capacity, held)| Server {
                    capacity: Bytes(*capacity * scale),
                    held: bits(*held, num_blocks).into_iter().map(BlockOrd).collect(),
                })
                .collect(),
            blocks: blocks.into_iter().map(|size| Bytes(size * scale)).collect(),
            models: models.iter().map(|set| blocks_of(*set)).collect(),
            reaches: reaches.iter().map(|set| bits(*set, servers.len()).into_iter().map(ServerOrd).collect()).collect(),
            demands: demands
                .into_iter()
                .map(|(reach, model, value)| Demand {
                    reach: ReachOrd(reach % u32::try_from(reaches.len()).expect("few")),
                    model: ModelOrd(model % u32::try_from(models.len()).expect("few")),
                    value,
                })
                .collect(),
            fetch_price,
        }
    }
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("one at least")
}

fn session(problem: &CachingProblem) -> CachingSession {
    CachingSession::new(problem.clone(), threads(1)).expect("a meaningful problem")
}

fn unlimited() -> Budget<'static> {
    Budget::steps(u64::MAX)
}

/// The best of all placements, server by server over all sets of models that fit.
pub(crate) fn brute_force(problem: &CachingProblem) -> i64 {
    let mut placements = vec![Placement::empty(problem.servers.len())];
    for server in 0..problem.servers.len() {
        let sets = (0..1_u32 << problem.models.len()).map(|set| bits(set, problem.models.len()));
        let sets: Vec<Vec<ModelOrd>> = sets
            .map(|models| models.into_iter().map(ModelOrd).collect())
            .collect();
        let mut extended = Vec::new();
        for set in sets {
            let mut alone = Placement::empty(problem.servers.len());
            alone.models[server].clone_from(&set);
            if !check(problem, &alone).is_empty() {
                continue;
            }
            extended.extend(placements.iter().map(|before| {
                let mut placement = before.clone();
                placement.models[server].clone_from(&set);
                placement
            }));
        }
        placements = extended;
    }
    placements
        .iter()
        .map(|placement| worth(problem, placement))
        .max()
        .expect("nothing at all is legal")
}

/// The greedy that `LazyGreedy` must equal: all pairs looked at each time.
fn plain_greedy(problem: &CachingProblem, rule: GreedyRule) -> Placement {
    let mut placement = Placement::empty(problem.servers.len());
    loop {
        let before = worth(problem, &placement);
        let mut best: Option<(f64, Placement)> = None;
        for server in 0..problem.servers.len() {
            for model in (0..problem.models.len()).map(ModelOrd::from_index) {
                let mut next = placement.clone();
                next.models[server].push(model);
                next.models[server].sort_unstable();
                if !check(problem, &next).is_empty() || worth(problem, &next) <= before {
                    continue;
                }
                let bytes = stored_bytes(problem, &next, server) - stored_bytes(problem, &placement, server);
                let gain = (worth(problem, &next) - before) as f64;
                let key = match rule {
                    GreedyRule::Gain => gain,
                    GreedyRule::GainPerByte => gain / bytes as f64,
                };
                if best.as_ref().is_none_or(|(other, _)| key > *other) {
                    best = Some((key, next));
                }
            }
        }
        match best {
            Some((_, next)) => placement = next,
            None => return placement,
        }
    }
}

fn stored_bytes(problem: &CachingProblem, placement: &Placement, server: usize) -> u64 {
    let mut blocks: Vec<BlockOrd> = placement.models[server]
        .iter()
        .flat_map(|model| problem.models[model.index()].clone())
        .collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks.iter().map(|block| problem.blocks[block.index()].0).sum()
}

/// Everything, with small budgets.
fn worked_out(problem: &CachingProblem, count: usize) -> CachingSession {
    let mut session = CachingSession::new(problem.clone(), threads(count)).expect("a meaningful problem");
    session.place(&unlimited());
    session.tighten(60, &unlimited());
    session.improve(2, &unlimited());
    session
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn what_is_found_is_legal_and_bounds_never_cross_the_optimum(problem in small_problem()) {
        let optimum = brute_force(&problem);
        let mut session = session(&problem);
        session.place(&unlimited());
        for _ in 0..3 {
            let (placement, certificate) = (session.placement(), session.certificate());
            prop_assert_eq!(check(&problem, &placement), vec![]);
            prop_assert_eq!(worth(&problem, &placement), certificate.value);
            prop_assert!(certificate.value <= optimum && optimum <= certificate.bound, "{certificate:?}, {optimum}");
            session.tighten(20, &unlimited());
            session.improve(1, &unlimited());
        }
    }

    #[test]
    fn lazy_greedy_is_greedy(problem in small_problem()) {
        // Without fetch prices worths are as large as drawn, so that ties are as good as impossible.
        let mut problem = CachingProblem { fetch_price: 0, ..problem };
        problem.blocks.iter_mut().for_each(|size| size.0 += 1);
        for rule in [GreedyRule::Gain, GreedyRule::GainPerByte] {
            let lazy = session(&problem).greedy(rule);
            prop_assert_eq!(worth(&problem, &lazy), worth(&problem, &plain_greedy(&problem, rule)));
        }
    }

    #[test]
    fn a_small_budget_gives_a_legal_placement_and_a_valid_bound(problem in small_problem(), steps in 0_u64..3_000) {
        let mut session = session(&problem);
        session.place(&Budget::steps(steps));
        session.tighten(10, &Budget::steps(steps));
        session.improve(1, &Budget::steps(steps));
        let certificate = session.certificate();
        prop_assert_eq!(check(&problem, &session.placement()), vec![]);
        let optimum = brute_force(&problem);
        prop_assert!(certificate.value <= optimum && optimum <= certificate.bound);
    }
}

fn grid(side: u32, capacity: u64) -> CachingProblem {
    fixtures::Grid {
        side,
        users: side * side * 10,
        bases: 10,
        adapters: 20,
        capacity: Bytes(capacity),
        seed: 5,
    }
    .problem()
}

#[test]
fn any_number_of_threads_gives_the_same_answer() {
    let problem = grid(14, 3_500_000_000);
    let one = worked_out(&problem, 1);
    assert_eq!(check(&problem, &one.placement()), vec![]);
    assert_eq!(worth(&problem, &one.placement()), one.certificate().value);
    for count in [2, 3] {
        let other = worked_out(&problem, count);
        assert_eq!(one.placement(), other.placement(), "{count} threads");
        assert_eq!(one.certificate(), other.certificate(), "{count} threads");
    }
}

#[test]
fn each_stage_of_the_search_earns_its_place() {
    let problem = grid(14, 3_500_000_000);
    let mut session = session(&problem);
    let greedy =
        [GreedyRule::Gain, GreedyRule::GainPerByte].map(|rule| worth(&problem, &session.greedy(rule)));
    session.place(&unlimited());
    let placed = session.certificate();
    assert!(
        placed.value > greedy[0].max(greedy[1]),
        "polishing improves greedy"
    );
    // Bases of 4 GB fit nowhere.
    assert!(placed.bound < i64::try_from(placed.demanded).unwrap());
    session.tighten(100, &unlimited());
    let bounded = session.certificate();
    assert!(bounded.bound < placed.bound);
    session.improve(2, &unlimited());
    let improved = session.certificate();
    assert!(improved.value > placed.value, "rebuilding improves polishing");
    assert!(improved.gap() < 0.10, "{}", improved.gap());
}

#[test]
fn cancelling_ends_the_work_with_what_was_found() {
    let problem = grid(6, 3_500_000_000);
    let mut session = session(&problem);
    let budget = Budget {
        steps: u64::MAX,
        cancelled: &|| true,
    };
    session.place(&budget);
    session.tighten(1_000, &budget);
    session.improve(1_000, &budget);
    assert_eq!(check(&problem, &session.placement()), vec![]);
}

#[test]
fn sharing_blocks_serves_more_than_whole_models() {
    let shared = fixtures::gpt2_adapters(Bytes(2_000_000_000), 1);
    let mut independent = shared.clone();
    independent.blocks = (0..shared.models.len())
        .map(|model| shared.model_bytes(ModelOrd::from_index(model)))
        .collect();
    independent.models = (0..shared.models.len())
        .map(|model| vec![BlockOrd::from_index(model)])
        .collect();
    let [shared, independent] = [shared, independent].map(|problem| {
        let mut session = session(&problem);
        session.place(&unlimited());
        session.certificate().hit_ratio()
    });
    assert!(shared > 1.5 * independent, "{shared} and {independent}");
}

#[test]
fn what_is_wrong_with_a_problem_is_named() {
    let field = |spoil: &dyn Fn(&mut CachingProblem)| {
        let mut problem = grid(2, 5_000_000_000);
        spoil(&mut problem);
        CachingSession::new(problem, threads(1))
            .expect_err("nonsense")
            .field
    };
    assert_eq!(
        field(&|problem| problem.servers[1].capacity = Bytes(1 << 50)),
        "servers[1].capacity"
    );
    assert_eq!(
        field(&|problem| problem.servers[1].held = vec![BlockOrd(1), BlockOrd(0)]),
        "servers[1].held"
    );
    assert_eq!(field(&|problem| problem.models[3].clear()), "models[3]");
    assert_eq!(
        field(&|problem| problem.models[3] = vec![BlockOrd(1), BlockOrd(1)]),
        "models[3]"
    );
    assert_eq!(
        field(&|problem| problem.reaches[2] = vec![ServerOrd(4)]),
        "reaches[2]"
    );
    assert_eq!(
        field(&|problem| problem.demands[7].reach = ReachOrd(4)),
        "demands[7].reach"
    );
    assert_eq!(
        field(&|problem| problem.demands[7].model = ModelOrd(4_000)),
        "demands[7].model"
    );
    assert_eq!(
        field(&|problem| problem.demands[7].value = 1 << 50),
        "demands[7].value"
    );
    assert_eq!(field(&|problem| problem.blocks[0] = Bytes(1 << 50)), "blocks");
    assert_eq!(field(&|problem| problem.fetch_price = 1 << 30), "fetch_price");
}
