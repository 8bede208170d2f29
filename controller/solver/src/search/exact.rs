//! Proves the best pipeline of one variant, or how far from it one may be: bound, discard, then prove head by head.
//!
//! 1. Relaxed bounds discard nodes that are in no pipeline below the limit; with any links, since nothing but bounds is used.
//! 2. For each head whose own bound is below the limit, decremental state-space relaxation: label setting that remembers
//!    visits to critical nodes only; while its least pipeline repeats a node, that node becomes critical. Each round's
//!    value is a valid lower bound, and the round that repeats none is exact.

use super::budget::Meter;
use super::instance::{Form, Instance, NEVER};
use super::labels::{Complete, Found, StageCount, Visits, Walk};
use super::relax::{Completion, survivors};
use crate::solution::PipelineShape;

/// Visits that a label can remember.
const CRITICAL_MAX: usize = 128;
/// Labels that a beam keeps at each boundary.
const BEAM_WIDTH: usize = 48;

/// What is known about split pipelines of one variant.
#[derive(Debug)]
pub(super) struct Proof<P = Priced> {
    /// A pipeline below the limit, if one was found.
    pub(super) best: Option<P>,
    /// No pipeline costs less than this or the limit, whichever is less.
    pub(super) lower_bound: u64,
}

/// A pipeline and its cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Priced {
    /// Its cost.
    pub(crate) value: u64,
    /// The pipeline.
    pub(crate) shape: PipelineShape,
}

/// Pipelines found by beam search, the cheapest first.
pub(super) fn beam(
    instance: &Instance<'_>,
    completion: &Completion,
    count: StageCount,
    meter: &mut Meter<'_>,
) -> Vec<Priced> {
    let heads: Vec<usize> = (0..instance.num_nodes()).collect();
    let walk = Walk {
        instance,
        completion,
        heads: &heads,
        count,
        visits: Visits::All,
        width: Some(BEAM_WIDTH),
        limit: NEVER,
    };
    let complete = walk.run(meter).complete;
    complete
        .into_iter()
        .map(|found| Priced {
            value: found.value,
            shape: instance.shape(&found.path),
        })
        .collect()
}

/// The best pipeline below `limit`, with proof as far as the budget goes.
pub(super) fn prove(
    instance: &Instance<'_>,
    completion: &Completion,
    count: StageCount,
    limit: u64,
    meter: &mut Meter<'_>,
) -> Proof {
    let all: Vec<usize> = (0..instance.num_nodes()).collect();
    let relaxed = all
        .iter()
        .map(|&head| completion.bound(instance, head))
        .min()
        .unwrap_or(NEVER);
    let Some(kept) = survivors(instance, completion, limit, meter) else {
        return Proof {
            best: None,
            lower_bound: relaxed,
        };
    };
    let mut bounds: Vec<(u64, usize)> = kept
        .iter()
        .enumerate()
        .map(|(index, &node)| (completion.bound(instance, node), index))
        .collect();
    bounds.sort_unstable();
    let instance = instance.restricted(&kept);

    // Nodes that were critical for one head mostly are for the next.
    let mut critical = Critical {
        bits: vec![None; instance.num_nodes()],
        num: 0,
    };
    let mut proof: Proof<Complete> = Proof {
        best: None,
        lower_bound: limit,
    };
    for (head_bound, head) in bounds {
        let limit = proof.best.as_ref().map_or(limit, |best| best.value);
        if head_bound >= limit {
            break;
        }
        if !meter.spend(0) {
            // Heads come in the order of their bounds, so this one's holds for all that are left.
            proof.lower_bound = proof.lower_bound.min(head_bound);
            break;
        }
        let of_head = prove_head(&instance, head, head_bound, count, limit, &mut critical, meter);
        proof.lower_bound = proof.lower_bound.min(of_head.lower_bound);
        if of_head.best.is_some() {
            proof.best = of_head.best;
        }
    }
    let best = proof.best.map(|best| Priced {
        value: best.value,
        shape: instance.shape(&best.path),
    });
    let lower_bound = best
        .as_ref()
        .map_or(proof.lower_bound, |best| proof.lower_bound.min(best.value));
    Proof { best, lower_bound }
}

fn prove_head(
    instance: &Instance<'_>,
    head: usize,
    head_bound: u64,
    count: StageCount,
    limit: u64,
    critical: &mut Critical,
    meter: &mut Meter<'_>,
) -> Proof<Complete> {
    let mut lower_bound = head_bound;
    let Some(completion) = Completion::new(instance, Some(head), meter) else {
        return Proof {
            best: None,
            lower_bound,
        };
    };
    lower_bound = lower_bound.max(completion.bound(instance, head));
    if lower_bound >= limit {
        return Proof {
            best: None,
            lower_bound,
        };
    }
    loop {
        let visits = Visits::Critical(&critical.bits);
        let walk = Walk {
            instance,
            completion: &completion,
            heads: &[head],
            count,
            visits,
            width: None,
            limit,
        };
        let Found { complete, finished } = walk.run(meter);
        if !finished {
            return Proof {
                best: None,
                lower_bound,
            };
        }
        let Some(best) = complete.into_iter().next() else {
            return Proof {
                best: None,
                lower_bound: limit,
            };
        };
        lower_bound = lower_bound.max(best.value);
        let repeated = repeated_nodes(instance.form, &best);
        if repeated.is_empty() {
            return Proof {
                best: Some(best),
                lower_bound,
            };
        }
        if !repeated.into_iter().all(|node| critical.add(node)) {
            return Proof {
                best: None,
                lower_bound,
            };
        }
    }
}

/// Nodes whose visits labels remember, and their bits.
struct Critical {
    bits: Vec<Option<u8>>,
    num: usize,
}

impl Critical {
    /// Makes a node critical; `false` when no bit is left.
    fn add(&mut self, node: usize) -> bool {
        if self.num == CRITICAL_MAX {
            return false;
        }
        self.bits[node] = Some(u8::try_from(self.num).expect("at most 128 bits"));
        self.num += 1;
        true
    }
}

/// Nodes that a relaxed pipeline uses more than once, ascending; that of a U-shaped one's ends, which is in no other stage,
/// once more.
fn repeated_nodes(form: Form, complete: &Complete) -> Vec<usize> {
    let mut nodes: Vec<usize> = complete.path.iter().map(|stage| stage.node).collect();
    if form == Form::UShape {
        nodes.pop();
    }
    nodes.sort_unstable();
    let mut repeated: Vec<usize> = nodes
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    repeated.dedup();
    repeated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::CostModel;
    use crate::fixtures::{FIRST, Seeded, regional_fleet};
    use crate::links::LinkIndex;
    use crate::problem::{Mode, Problem};
    use crate::search::residual::Residual;
    use crate::search::{Budget, solve};
    use crate::units::{Bytes, Nanos, NodeOrd};

    fn tight_problem(seed: u64) -> Problem {
        let mut random = Seeded::new(seed);
        let mut problem = regional_fleet(5, 2, 6, seed);
        for node in &mut problem.nodes {
            node.memory = Bytes::mebi(620 + 114 * random.between(1, 3));
        }
        for link in &mut problem.links {
            link.rate.0 = random.between(1_000_000, 100_000_000);
        }
        let service = &mut problem.services[0];
        service.modes = vec![Mode::Split, Mode::MultiHop];
        service.prompt_tokens = 1_024;
        service.chunk_rows = 64;
        service.output_tokens = u32::try_from(random.between(1, 60)).expect("few tokens");
        service.slo_ttft = Some(Nanos::from_millis(random.between(1, 3_000)));
        service.slo_tpot = Some(Nanos::from_millis(random.between(1, 60)));
        problem
    }

    /// On small problems beams find the optimum nearly always, so the proof is also judged without them. What `solve`
    /// finds is judged by enumeration in the suites.
    #[test]
    fn the_proof_finds_the_optimum_without_the_help_of_beams() {
        let mut feasible = 0;
        for problem in (1..=200).map(tight_problem) {
            let links = LinkIndex::new(&problem);
            let nodes: Vec<NodeOrd> = (0..5).map(NodeOrd).collect();
            let cost = CostModel::new(&problem, &links, &problem.services[0], FIRST, &[0; 5]);
            let residual = Residual::new(&problem);
            let instance = Instance::new(
                &problem,
                &links,
                &problem.services[0],
                FIRST,
                &cost,
                &residual,
                &nodes,
                Form::Chain,
            );
            let mut meter = Meter::new(u64::MAX, &|| false);
            let completion = Completion::new(&instance, None, &mut meter).expect("no budget");
            let count = StageCount {
                min: 2,
                max: u32::MAX,
            };
            let proof = prove(&instance, &completion, count, NEVER, &mut meter);
            let solution = solve(&problem, &Budget::default()).expect("a meaningful problem");
            let best = solution.services[0].placed().map(|placed| placed.cost.total().0);
            assert_eq!(proof.best.map(|best| best.value), best);
            feasible += usize::from(best.is_some());
        }
        assert!(feasible > 100, "{feasible} of 200 problems have an answer");
    }
}
