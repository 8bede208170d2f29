//! Maximum flow of regions: Helix's clusters, or a user's.

use super::helix::{self, Model, embedded};
use super::{Row, Run};
use crate::Budget;
use crate::region::linked::{self, Linked};
use crate::region::{Cluster, Layout, bound, cover, flow};

/// Moves of the search; it ends earlier when the bound is reached.
const MOVES: u64 = 90_000_000;
/// Flows of layouts that are compared where links bind.
const FLOWS: u64 = 400_000;
/// Links do not bind if the flow through them is this part of the bound.
const NEARLY: f64 = 0.90;
const SEED: u64 = 1;
const OBJECTIVE: &str = "max-flow tokens/s";

pub(super) fn single24_70b(run: &Run<'_>) -> Vec<Row> {
    built_in(
        run,
        "single24",
        "llama-70b",
        Some((
            1_289.56,
            "Helix MILP, Gurobi, 20 threads, 600 s (ASPLOS 2025 artifact)",
        )),
    )
}

pub(super) fn single24_30b(run: &Run<'_>) -> Vec<Row> {
    built_in(run, "single24", "llama-30b", None)
}

pub(super) fn regions_70b(run: &Run<'_>) -> Vec<Row> {
    built_in(
        run,
        "regions3x8",
        "llama-70b",
        Some((1_212.18, "Helix MILP, Gurobi, 2700 s (ASPLOS 2025 artifact)")),
    )
}

pub(super) fn regions_30b(run: &Run<'_>) -> Vec<Row> {
    built_in(run, "regions3x8", "llama-30b", None)
}

fn built_in(run: &Run<'_>, cluster: &str, model: &str, reference: Option<(f64, &str)>) -> Vec<Row> {
    let model: Model = helix::model(model).expect("the names above are known");
    let parts = embedded::cluster(cluster, model).expect("built-in files are whole, which a test shows");
    let row = flow_row(run, &format!("helix {cluster} {}", model.name), &parts);
    vec![match reference {
        Some((figure, source)) => row.reference(figure, source),
        None => row,
    }]
}

/// The greatest flow that was found, with its certificate.
pub(super) fn flow_row(run: &Run<'_>, name: &str, cluster: &Cluster) -> Row {
    let upper = if is_passable(cluster) {
        bound::upper_bound(&bound::supplies(cluster), cluster.num_layers)
    } else {
        0.0
    };
    let (found, seconds) = run.timed(|| greatest_flow(run, cluster));
    let row = Row::new(
        format!("{name} max-flow"),
        OBJECTIVE,
        found.as_ref().map_or(0.0, |found| found.flow),
        seconds,
    );
    let note = if found.is_some() {
        ""
    } else {
        "no layout was found that holds the whole model"
    };
    row.bound(upper).memory((run.peak_memory)()).note(note)
}

/// Whether links lead from the door through any node and back: otherwise nothing is ever served.
pub(super) fn is_passable(cluster: &Cluster) -> bool {
    let door = cluster.door();
    let mut reached = vec![false; door];
    let mut open = vec![door];
    while let Some(from) = open.pop() {
        for (to, reached) in reached.iter_mut().enumerate() {
            if !*reached && cluster.link(from, to).is_some() {
                *reached = true;
                open.push(to);
            }
        }
    }
    (0..door).any(|node| reached[node] && cluster.link(node, door).is_some())
}

/// A layout of great flow: a cover, and another one where links bind; none if none was found that holds the model.
pub(super) fn greatest_flow(run: &Run<'_>, cluster: &Cluster) -> Option<Linked> {
    let supplies = bound::supplies(cluster);
    let upper = bound::upper_bound(&supplies, cluster.num_layers);
    let cover = cover::search(
        &supplies,
        cluster.num_layers,
        upper,
        SEED,
        &Budget::steps(run.share(MOVES)),
    );
    let layout = cover.map(|cover| by_node(cluster, &cover.ranges));
    let value = |layout: &Layout| flow::max_flow(cluster, layout).value;
    match layout.map(|layout| (value(&layout), layout)) {
        Some((flow, layout)) if flow >= upper * NEARLY => Some(Linked { flow, layout }),
        other => {
            let first = other.as_ref().map(|(_, layout)| layout);
            linked::find(cluster, first, upper, SEED, &Budget::steps(run.share(FLOWS)))
        }
    }
}

/// Ranges in the order of types, as the layout of the cluster's nodes.
fn by_node(cluster: &Cluster, ranges: &[std::ops::Range<usize>]) -> Layout {
    let mut layout = vec![0..0; cluster.nodes.len()];
    let mut ranges = ranges.iter();
    for kind in 0..cluster.types.len() {
        let of_kind = cluster
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.kind == kind);
        for (node, _) in of_kind {
            layout[node] = ranges.next().expect("a range for each node").clone();
        }
    }
    Layout(layout)
}
