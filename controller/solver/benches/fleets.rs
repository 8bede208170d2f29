//! Times the solver over fleets and models of growing size: `cargo bench -p solver`.
//!
//! Fleets are those of the design's prototypes (regions, nodes that hold 1 to 14 layers, all pairs linked). Prints what
//! was proven and never fails because of time. A filter may be given: nodes, layers, seeds (`cargo bench -p solver -- 100 80 3`).

#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock and prints"
)]

use std::time::Instant;

use solver::fixtures::regional_fleet;
use solver::search::DEFAULT_STEPS;
use solver::{Budget, solve};

fn main() {
    let asked: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let (sizes, depths) = match asked.as_slice() {
        [nodes, layers, ..] => (vec![*nodes], vec![*layers as usize]),
        _ => (vec![10, 30, 100, 300, 1_000], vec![30, 80]),
    };
    let seeds = u64::from(asked.get(2).copied().unwrap_or(3));
    let steps = asked
        .get(3)
        .map_or(DEFAULT_STEPS, |millions| u64::from(*millions) * 1_000_000);
    println!(
        "{:>6} {:>6} {:>5} {:>10} {:>8} {:>7} {:>8} {:>6}",
        "nodes", "layers", "seed", "ms", "Msteps", "stages", "cost ms", "gap %"
    );
    for &nodes in &sizes {
        for &layers in &depths {
            for seed in 1..=seeds {
                run(nodes, layers, seed, steps);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "printing")]
fn run(nodes: u32, layers: usize, seed: u64, steps: u64) {
    let regions = u64::from(nodes).div_ceil(10);
    let problem = regional_fleet(nodes, regions, layers, seed);
    let start = Instant::now();
    let solution = solve(&problem, &Budget::steps(steps)).expect("a meaningful problem");
    let elapsed = start.elapsed().as_secs_f64() * 1e3;
    print!(
        "{nodes:>6} {layers:>6} {seed:>5} {elapsed:>10.1} {:>8.1} ",
        solution.steps as f64 / 1e6
    );
    match solution.services[0].placed() {
        Some(placed) => println!(
            "{:>7} {:>8.0} {:>6.2}",
            placed.pipeline.stages.len(),
            placed.cost.total().as_millis_f64(),
            placed.certificate.gap() * 100.0
        ),
        None => println!(
            "{:?}",
            solution.services[0]
                .infeasible()
                .map(|infeasible| infeasible.cause)
        ),
    }
}
