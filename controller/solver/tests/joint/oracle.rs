//! The optimum of a tiny problem: every legal set of replicas, and for each the best routes by a textbook simplex.

use solver::check::{Occupancy, check_pipeline};
use solver::joint::{JointPlan, JointProblem, Replica, Route, check, evaluate, worth};
use solver::links::LinkIndex;
use solver::problem::Problem;
use solver::solution::{PipelineShape, StageShape};
use solver::units::{LayerRange, NodeOrd, ServiceOrd};

/// What the best plan is worth.
pub(super) fn optimum(problem: &JointProblem) -> f64 {
    let mut alone = problem.fleet.clone();
    for service in &mut alone.services {
        (service.previous, service.kept) = (None, Vec::new());
    }
    let services = (0..alone.services.len()).map(ServiceOrd::from_index);
    let replicas: Vec<Replica> = services
        .flat_map(|service| {
            shapes(&alone, service)
                .into_iter()
                .map(move |shape| Replica { service, shape })
        })
        .collect();
    let uses: Vec<Vec<Option<Use>>> = (0..problem.classes.len())
        .map(|class| {
            replicas
                .iter()
                .map(|replica| usage(problem, class, replica))
                .collect()
        })
        .collect();
    let mut best = 0.0_f64;
    extend(problem, &replicas, &uses, 0, &mut Vec::new(), &mut best);
    best
}

/// Every pipeline of a service that is legal by itself.
fn shapes(fleet: &Problem, service: ServiceOrd) -> Vec<PipelineShape> {
    let mut found = Vec::new();
    for &candidate in &fleet.services[service.index()].candidates {
        let shape = PipelineShape::alone(candidate, Vec::new());
        grow(fleet, service, shape, &mut found);
    }
    found
}

fn grow(fleet: &Problem, service: ServiceOrd, shape: PipelineShape, found: &mut Vec<PipelineShape>) {
    let layers = u32::try_from(fleet.variant(shape.candidate).1.layer_bytes.len()).expect("few");
    let start = shape.stages.last().map_or(0, |stage| stage.layers.end);
    if start == layers {
        if check_pipeline(fleet, service, &shape, &Occupancy::default()).is_empty() && !found.contains(&shape)
        {
            found.push(shape);
        }
        return;
    }
    for node in (0..fleet.nodes.len()).map(NodeOrd::from_index) {
        if shape.stages.iter().any(|stage| stage.node == node) {
            continue;
        }
        for end in start + 1..=layers {
            let precision = fleet.services[service.index()].activations[0].precision;
            let mut longer = shape.clone();
            longer.stages.push(StageShape {
                node,
                layers: LayerRange::new(start, end),
                activation: (end < layers).then_some(precision),
            });
            grow(fleet, service, longer, found);
        }
    }
}

/// What a request of a class takes of everything that is scarce, and what it is worth.
struct Use {
    worth: f64,
    /// (constraint, amount, what there is).
    takes: Vec<(String, f64, f64)>,
}

/// `None` where the class cannot be answered by the replica, or not at a gain. The amounts are read off the checker: a plan
/// with one route is legal up to a rate, and that rate is found by bisection.
fn usage(problem: &JointProblem, class: usize, replica: &Replica) -> Option<Use> {
    let asked = problem.classes[class];
    if asked.service != replica.service {
        return None;
    }
    let service = &problem.fleet.services[replica.service.index()];
    let links = LinkIndex::new(&problem.fleet);
    let evaluation = evaluate(&problem.fleet, &links, service, &replica.shape, asked.ingress)?;
    let (predicted, sheet) = (evaluation.predicted, &evaluation.sheet);
    let late = service.slo_ttft.is_some_and(|slo| predicted.ttft > slo)
        || service
            .slo_tpot
            .is_some_and(|slo| predicted.tpot_at_concurrency > slo);
    let cost = evaluation.cost;
    let cost = cost.total().0 - cost.ttft_violation.0 - cost.tpot_violation.0;
    let worth = asked.value.0 as f64 - cost as f64;
    if late || worth <= 0.0 {
        return None;
    }
    let further = f64::from(service.output_tokens - 1);
    let inside = (predicted.ttft.0 - sheet.ingress.0) as f64;
    let stays = inside + further * predicted.tpot_at_concurrency.0 as f64;
    let mut takes = vec![(
        format!("sessions {replica:?}"),
        stays,
        f64::from(service.concurrency) * 1e15,
    )];
    for (stage, times) in replica.shape.stages.iter().zip(&sheet.stages) {
        let crowd = (times.decode_at_concurrency.0 as f64 * further / f64::from(service.concurrency)).ceil();
        let busy = times.prefill_chunk.0 as f64 * f64::from(sheet.chunks) + times.head.0 as f64 + crowd;
        let share = f64::from(problem.busy_max_milli) / 1e3;
        takes.push((format!("busy {}", stage.node.0), busy, 1e15 * share));
        if let Some(battery) = problem.fleet.nodes[stage.node.index()].battery {
            let charge = battery.charge.saturating_sub(battery.reserve).0 as f64;
            let per_second = charge * 1e15 / problem.battery_lasts.0 as f64;
            takes.push((
                format!("battery {}", stage.node.0),
                times.energy.0 as f64,
                per_second,
            ));
        }
    }
    let head = replica.shape.stages[0].node;
    let mut sent: Vec<(NodeOrd, NodeOrd, f64)> = sheet
        .hops
        .iter()
        .chain(&sheet.return_hop)
        .map(|hop| (hop.from, hop.to, hop.bytes.0 as f64))
        .collect();
    if head != asked.ingress {
        sent.push((asked.ingress, head, f64::from(6 * service.prompt_tokens + 1_024)));
        sent.push((head, asked.ingress, f64::from(256 * service.output_tokens)));
    }
    for (from, to, bytes) in sent {
        let link = problem
            .fleet
            .links
            .iter()
            .find(|link| (link.from, link.to) == (from, to))?;
        let most = link.rate.0 as f64 * 1e6 * f64::from(problem.link_max_milli) / 1e3;
        takes.push((format!("link {} {}", from.0, to.0), bytes, most));
    }
    takes.push((format!("class {class}"), 1.0, asked.rate_micro as f64));
    Some(Use { worth, takes })
}

/// Takes or leaves each replica in turn.
fn extend(
    problem: &JointProblem,
    replicas: &[Replica],
    uses: &[Vec<Option<Use>>],
    at: usize,
    chosen: &mut Vec<usize>,
    best: &mut f64,
) {
    if at == replicas.len() {
        *best = best.max(routed(problem, replicas, uses, chosen));
        return;
    }
    if uses.iter().any(|of_class| of_class[at].is_some()) {
        chosen.push(at);
        let plan = JointPlan {
            replicas: chosen
                .iter()
                .map(|position| replicas[*position].clone())
                .collect(),
            routes: Vec::<Route>::new(),
        };
        if check(problem, &plan).is_empty() {
            extend(problem, replicas, uses, at + 1, chosen, best);
        }
        chosen.pop();
    }
    extend(problem, replicas, uses, at + 1, chosen, best);
}

/// The best routes to some replicas, the price of loading them taken off.
fn routed(problem: &JointProblem, replicas: &[Replica], uses: &[Vec<Option<Use>>], chosen: &[usize]) -> f64 {
    let columns: Vec<&Use> = uses
        .iter()
        .flat_map(|of_class| chosen.iter().filter_map(|position| of_class[*position].as_ref()))
        .collect();
    let mut names: Vec<&str> = columns
        .iter()
        .flat_map(|column| &column.takes)
        .map(|take| take.0.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let row = |name: &str| names.binary_search(&name).expect("is there");
    let mut rows = vec![vec![0.0; columns.len()]; names.len()];
    let mut limits = vec![0.0; names.len()];
    for (position, column) in columns.iter().enumerate() {
        for (name, amount, limit) in &column.takes {
            rows[row(name)][position] += amount;
            limits[row(name)] = *limit;
        }
    }
    let plan = JointPlan {
        replicas: chosen
            .iter()
            .map(|position| replicas[*position].clone())
            .collect(),
        routes: Vec::new(),
    };
    // Scaled, so that all numbers are of one size.
    for (row, limit) in rows.iter_mut().zip(&mut limits) {
        let scale = row.iter().copied().fold(1e-30, f64::max);
        row.iter_mut().for_each(|value| *value /= scale);
        *limit /= scale;
    }
    let worths: Vec<f64> = columns.iter().map(|column| column.worth).collect();
    simplex(&worths, &rows, &limits) + worth(problem, &plan) as f64
}

/// max c·x with A·x ≤ b, x ≥ 0, b ≥ 0: Dantzig's tableau with Bland's rule.
fn simplex(worths: &[f64], rows: &[Vec<f64>], limits: &[f64]) -> f64 {
    let (columns, slacks) = (worths.len(), rows.len());
    let mut tableau: Vec<Vec<f64>> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = row.clone();
        line.extend((0..slacks).map(|slack| if slack == index { 1.0 } else { 0.0 }));
        line.push(limits[index]);
        tableau.push(line);
    }
    let scale = worths.iter().copied().fold(1e-30, f64::max);
    let mut objective: Vec<f64> = worths.iter().map(|worth| -worth / scale).collect();
    objective.extend(vec![0.0; slacks + 1]);
    let mut basis: Vec<usize> = (columns..columns + slacks).collect();
    for _ in 0..10_000 {
        let Some(enters) = (0..columns + slacks).find(|column| objective[*column] < -1e-12) else {
            break;
        };
        let mut leaves: Option<(f64, usize)> = None;
        for (index, line) in tableau
            .iter()
            .enumerate()
            .filter(|(_, line)| line[enters] > 1e-12)
        {
            let ratio = line[columns + slacks] / line[enters];
            let better = leaves.is_none_or(|(least, at)| {
                ratio < least - 1e-12 || (ratio <= least + 1e-12 && basis[index] < basis[at])
            });
            if better {
                leaves = Some((ratio, index));
            }
        }
        let (_, pivot) = leaves.expect("every request takes of its class");
        let factor = tableau[pivot][enters];
        tableau[pivot].iter_mut().for_each(|value| *value /= factor);
        let line = tableau[pivot].clone();
        let others = tableau
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| *index != pivot)
            .map(|(_, other)| other);
        for other in others.chain([&mut objective]) {
            let factor = other[enters];
            other
                .iter_mut()
                .zip(&line)
                .for_each(|(value, pivot)| *value -= factor * pivot);
        }
        basis[pivot] = enters;
    }
    objective[columns + slacks] * scale
}
