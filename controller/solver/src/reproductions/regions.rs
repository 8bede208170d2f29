//! Maximum flow of regions: Helix's clusters, or a user's.

use super::helix::{self, Model, embedded};
use super::{Row, Run};
use crate::Budget;
use crate::region::{Cluster, Layout, bound, cover, flow};

/// Moves of the search; it ends earlier when the bound is reached.
const MOVES: u64 = 60_000_000;
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
    let mut rows = cluster_rows(run, &format!("helix {cluster} {}", model.name), &parts);
    if let (Some((figure, source)), Some(row)) = (reference, rows.first_mut()) {
        *row = row.clone().reference(figure, source);
    }
    rows
}

/// The rows of one cluster: the greatest flow that was found, with its certificate.
#[must_use]
pub fn cluster_rows(run: &Run<'_>, name: &str, cluster: &Cluster) -> Vec<Row> {
    let supplies = bound::supplies(cluster);
    let upper = bound::upper_bound(&supplies, cluster.num_layers);
    let (found, seconds) =
        run.timed(|| cover::search(&supplies, cluster.num_layers, upper, SEED, &Budget::steps(MOVES)));
    let name = format!("{name} max-flow");
    let Some(found) = found else {
        return vec![Row::new(name, OBJECTIVE, 0.0, seconds).note("nodes hold no layer")];
    };
    let layout = by_node(cluster, &found.ranges);
    let value = flow::max_flow(cluster, &layout).value;
    let row = Row::new(name, OBJECTIVE, value, seconds)
        .bound(upper)
        .memory((run.peak_memory)());
    vec![row.note(format!("{} moves", found.steps))]
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
