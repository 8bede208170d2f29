//! Layouts in the simulator: those of others beside what Helix publishes of its own simulator, and ours.
//!
//! Layouts (plans by the convoy model, and that of greatest flow) are chosen on one set of seeds, offline, and judged on other seeds: offline, and online with two kinds of
//! arrivals. Offline and online are what Helix's scripts do: memory is reserved for 240 tokens of answer; offline, up to
//! 85 % and fed up to 80 %, for 600 s after 60 s; online, 60 % of that answer and up to 90 %.

use super::helix::{self, Model, embedded};
use super::{Row, Run, baselines, regions, trace};
use crate::region::bound::work_bound;
use crate::region::choose::{Chosen, Effort, Round, choose};
use crate::region::convoy::{Demand, Forecast, Plan};
use crate::region::linked::Linked;
use crate::region::{Cluster, Layout, flow};
use crate::simulate::{
    self, Admission, Length, Load, Report, Request, Routing, Scenario, Window, poisson, replay,
};

const OFFLINE: Admission = Admission {
    answer_tokens: 240.0,
    high_water: 0.85,
};
const ONLINE: Admission = Admission {
    answer_tokens: 144.0,
    high_water: 0.9,
};
const INITIAL: usize = 20;
const MARK: f64 = 0.8;
const WINDOW: Window = Window {
    warm_up: 60.0,
    seconds: 600.0,
};
const OBJECTIVE: &str = "simulated decode tokens/s";

/// Seeds that layouts are chosen on: the first of very many, in a shorter window, and the last of few.
const TRAINING: u64 = 1;
const TRAINING_LAST: [u64; 5] = [2, 3, 4, 5, 6];
const TRAINING_WINDOW: Window = Window {
    warm_up: 60.0,
    seconds: 180.0,
};
/// Seeds that they are judged on.
const JUDGING: [u64; 3] = [101, 102, 103];
const EFFORT: Effort = Effort {
    forecasts: 1_000_000,
    judged: 3,
    finalists: 4,
    refined: 60,
};
/// Part of our own offline throughput that arrives online (Helix's rule for its own).
const ONLINE_PART: f64 = 0.75;

/// A way to serve: a layout and who sends to whom.
struct Served {
    layout: Layout,
    routing: Routing,
}

impl Served {
    /// A layout of somebody else, with the maximum flow for its weights, as Helix has it.
    fn by_flow(cluster: &Cluster, layout: Layout) -> Self {
        let routing = Routing::from_flow(cluster, &flow::max_flow(cluster, &layout));
        Self { layout, routing }
    }

    /// A layout of somebody else, with all that can go on used in proportion to their rates.
    fn by_rate(cluster: &Cluster, layout: Layout) -> Self {
        let routing = Routing::by_rate(cluster, &layout);
        Self { layout, routing }
    }

    fn by_plan(cluster: &Cluster, plan: &Plan, forecast: &Forecast) -> Self {
        Self {
            layout: plan.layout(),
            routing: plan.routing(cluster, forecast),
        }
    }

    fn report(&self, cluster: &Cluster, load: &Load, admission: Admission, window: Window) -> Report {
        let Self { layout, routing } = self;
        simulate::run(&Scenario {
            cluster,
            layout,
            routing,
            load,
            admission,
            window,
        })
    }

    /// Decode tokens per second offline. Groups of nodes that never send to one another are fed each on its own.
    fn offline(&self, cluster: &Cluster, seed: u64, window: Window) -> f64 {
        let load = Load::Saturated {
            lengths: lengths(),
            seed,
            initial: INITIAL,
            mark: MARK,
        };
        let groups = self.routing.groups();
        let alone = |group: &Vec<usize>| {
            let served = Self {
                layout: self.layout.clone(),
                routing: self.routing.only(group),
            };
            served
                .report(cluster, &load, OFFLINE, window)
                .decode_tokens_per_second
        };
        groups.iter().map(alone).fold(0.0, |sum, tokens| sum + tokens)
    }

    /// The same on the last seeds that layouts are chosen on.
    fn trained(&self, cluster: &Cluster) -> f64 {
        mean(&TRAINING_LAST.map(|seed| self.offline(cluster, seed, WINDOW)))
    }
}

/// Requests from a seed.
type Arrivals<'a> = &'a dyn Fn(u64) -> Vec<Request>;

fn lengths() -> Vec<Length> {
    trace::conversation()
        .iter()
        .map(|request| request.length)
        .collect()
}

/// Mean tokens of prompts and of answers.
fn mean_lengths() -> (f64, f64) {
    let lengths = lengths();
    let mean = |of: fn(&Length) -> u32| {
        lengths.iter().map(|length| f64::from(of(length))).sum::<f64>() / lengths.len() as f64
    };
    (mean(|length| length.prompt), mean(|length| length.output))
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len() as f64
}

fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    format!("{least:.0} to {most:.0} over {} seeds", figures.len())
}

fn parts(cluster_name: &str, model: &str) -> (Model, Cluster) {
    let model = helix::model(model).expect("names of rows are known models, which a test shows");
    let cluster =
        embedded::cluster(cluster_name, model).expect("built-in files are whole, which a test shows");
    (model, cluster)
}

/// Cluster, model, method, published decode tokens/s offline, requests that Swarm's script keeps in flight.
const CALIBRATED: [(&str, &str, &str, f64, Option<usize>); 6] = [
    ("single24", "llama-70b", "helix", 252.1, None),
    ("single24", "llama-70b", "swarm", 124.7, Some(180)),
    ("single24", "llama-30b", "helix", 339.6, None),
    ("single24", "llama-30b", "swarm", 151.6, Some(50)),
    ("regions3x8", "llama-70b", "helix", 98.0, None),
    ("regions3x8", "llama-30b", "helix", 232.7, None),
];

/// Layouts of others in our simulator, offline, beside what Helix publishes of its own simulator.
pub(super) fn calibration(run: &Run<'_>) -> Vec<Row> {
    let row =
        |(cluster_name, model, method, published, population): (&str, &str, &str, f64, Option<usize>)| {
            let (model, cluster) = parts(cluster_name, model);
            let served = Served::by_flow(&cluster, baselines::layout(cluster_name, model, method, &cluster));
            let one = |seed| match population {
                Some(size) => {
                    let load = Load::Population {
                        lengths: lengths(),
                        seed,
                        size,
                    };
                    served
                        .report(&cluster, &load, OFFLINE, WINDOW)
                        .decode_tokens_per_second
                }
                None => served.offline(&cluster, seed, WINDOW),
            };
            let (figures, seconds) = run.timed(|| JUDGING.map(one));
            let name = format!(
                "helix {cluster_name} {} calibration, layout of {method}",
                model.name
            );
            let error = mean(&figures) / published - 1.0;
            Row::new(name, OBJECTIVE, mean(&figures), seconds)
                .memory((run.peak_memory)())
                .reference(
                    published,
                    "the same layout in Helix's own simulator, offline (ASPLOS 2025 artifact)",
                )
                .note(format!("{:+.0} %; {}", error * 100.0, spread(&figures)))
        };
    CALIBRATED.into_iter().map(row).collect()
}

pub(super) fn single24_70b(run: &Run<'_>) -> Vec<Row> {
    beside_helix(run, "single24", "llama-70b", (252.1, 141.6))
}

pub(super) fn single24_30b(run: &Run<'_>) -> Vec<Row> {
    beside_helix(run, "single24", "llama-30b", (339.6, 216.7))
}

pub(super) fn regions_70b(run: &Run<'_>) -> Vec<Row> {
    beside_helix(run, "regions3x8", "llama-70b", (98.0, 59.3))
}

pub(super) fn regions_30b(run: &Run<'_>) -> Vec<Row> {
    beside_helix(run, "regions3x8", "llama-30b", (232.7, 183.5))
}

/// Our layout offline, and online at 75 % of that, beside Helix's layout in the same simulator with the same arrivals.
fn beside_helix(run: &Run<'_>, cluster_name: &str, model: &str, published: (f64, f64)) -> Vec<Row> {
    let (model, cluster) = parts(cluster_name, model);
    let name = format!("helix {cluster_name} {}", model.name);
    let theirs = Served::by_flow(
        &cluster,
        baselines::layout(cluster_name, model, "helix", &cluster),
    );
    let Some((ours, row)) = offline_row(run, &name, &cluster) else {
        return vec![Row::new(name, OBJECTIVE, 0.0, 0.0).note("no plan was found that serves the model")];
    };
    let same = mean(&JUDGING.map(|seed| theirs.offline(&cluster, seed, WINDOW)));
    let spread_out = Served::by_rate(&cluster, theirs.layout.clone());
    let by_rate = mean(&JUDGING.map(|seed| spread_out.offline(&cluster, seed, WINDOW)));
    let note = format!(
        "Helix's layout in this simulator: {same:.1} by its flow, {by_rate:.1} by rates; {}",
        row.note
    );
    let offline = row.ours;
    let mut rows = vec![
        row.reference(
            published.0,
            "Helix's layout in its own simulator, offline (ASPLOS 2025 artifact)",
        )
        .note(note),
    ];
    let (_, answer) = mean_lengths();
    let per_second = ONLINE_PART * offline / answer;
    let until = WINDOW.warm_up + WINDOW.seconds;
    let trace = trace::conversation();
    let arrivals: [(&str, Arrivals<'_>); 2] = [
        ("Poisson", &|seed| poisson(&lengths(), per_second, until, seed)),
        ("Azure's bursts", &|seed| replay(&trace, per_second, until, seed)),
    ];
    for (kind, arrivals) in arrivals {
        rows.push(online_row(
            run,
            &format!("{name} online, {kind}"),
            &cluster,
            (&ours, &theirs),
            arrivals,
            (per_second, published.1),
        ));
    }
    rows
}

fn online_row(
    run: &Run<'_>,
    name: &str,
    cluster: &Cluster,
    (ours, theirs): (&Served, &Served),
    arrivals: &dyn Fn(u64) -> Vec<Request>,
    (per_second, published): (f64, f64),
) -> Row {
    let reports = |served: &Served| {
        JUDGING.map(|seed| served.report(cluster, &Load::Arrivals(arrivals(seed)), ONLINE, WINDOW))
    };
    let ((ours, theirs), seconds) = run.timed(|| (reports(ours), reports(theirs)));
    let tokens =
        |reports: &[Report; 3]| mean(&reports.each_ref().map(|report| report.decode_tokens_per_second));
    let latency = |reports: &[Report; 3]| {
        let p95 = |of: fn(&Report) -> f64| mean(&reports.each_ref().map(of));
        format!(
            "prompt p50 {:.1} s p95 {:.1} s, token p50 {:.2} s p95 {:.2} s, {:.0} waiting at the end",
            p95(|report| report.prompt.p50),
            p95(|report| report.prompt.p95),
            p95(|report| report.decode.p50),
            p95(|report| report.decode.p95),
            p95(|report| report.waiting as f64),
        )
    };
    Row::new(name, OBJECTIVE, tokens(&ours), seconds)
        .reference(tokens(&theirs), "Helix's layout in this simulator, same arrivals")
        .memory((run.peak_memory)())
        .note(format!(
            "{per_second:.2} requests/s; ours: {}; Helix's: {}; Helix publishes {published} for its own arrivals",
            latency(&ours),
            latency(&theirs),
        ))
}

/// Chooses a layout for a cluster and judges it offline; none if nothing serves the model.
fn offline_row(run: &Run<'_>, name: &str, cluster: &Cluster) -> Option<(Served, Row)> {
    let (prompt, answer) = mean_lengths();
    let demand = Demand {
        prompt,
        answer,
        mark: MARK,
        convoys: 1.0,
    };
    let (found, seconds) = run.timed(|| {
        let planned = best_plan(run, cluster, demand);
        best_of(cluster, planned, regions::greatest_flow(run, cluster))
    });
    let (served, how) = found?;
    let figures = JUDGING.map(|seed| served.offline(cluster, seed, WINDOW));
    let row = Row::new(
        format!("{name} offline, simulated"),
        OBJECTIVE,
        mean(&figures),
        seconds,
    )
    .bound(if regions::is_passable(cluster) {
        work_bound(cluster, prompt, answer)
    } else {
        0.0
    })
    .memory((run.peak_memory)())
    .note(format!("{}; bound by work alone; {how}", spread(&figures)));
    Some((served, row))
}

/// The best plan by the convoy model and by simulation.
fn best_plan(run: &Run<'_>, cluster: &Cluster, demand: Demand) -> Option<Chosen> {
    let judge = |plan: &Plan, forecast: &Forecast, round: Round| {
        let served = Served::by_plan(cluster, plan, forecast);
        match round {
            Round::First => served.offline(cluster, TRAINING, TRAINING_WINDOW),
            Round::Second => served.trained(cluster),
        }
    };
    let effort = Effort {
        forecasts: run.share(EFFORT.forecasts),
        judged: EFFORT.judged,
        finalists: EFFORT.finalists,
        refined: run.share(EFFORT.refined),
    };
    choose(cluster, demand, effort, &judge, TRAINING, &|| false)
}

/// A plan, the layout of greatest flow or equal segments, whichever simulation likes better; with how it came about.
fn best_of(cluster: &Cluster, planned: Option<Chosen>, linked: Option<Linked>) -> Option<(Served, String)> {
    let planned = planned.map(|chosen| {
        let Chosen {
            plan,
            forecast,
            judged,
        } = chosen;
        let error = (forecast.flow / judged - 1.0) * 100.0;
        let how = format!("convoy model {error:+.0} %; groups cut at {:?}", plan.cuts);
        (judged, Served::by_plan(cluster, &plan, &forecast), how)
    });
    let linked = linked.filter(|linked| linked.flow > 0.0).into_iter();
    let flowing = linked.flat_map(|Linked { layout, .. }| {
        let by_flow = Served::by_flow(cluster, layout.clone());
        let by_rate = Served::by_rate(cluster, layout);
        [(by_flow, "by its flow"), (by_rate, "by rates")]
    });
    let flowing = flowing.map(|(served, routed)| (served, format!("the layout of greatest flow, {routed}")));
    let equal = baselines::swarm(cluster).into_iter();
    let equal = equal.map(|layout| (Served::by_rate(cluster, layout), "equal segments".to_owned()));
    let simple = flowing.chain(equal);
    let simple = simple.map(|(served, how)| (served.trained(cluster), served, how));
    let best = planned
        .into_iter()
        .chain(simple)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    best.map(|(_, served, how)| (served, how))
}

/// The offline row of a user's own cluster, beside Swarm's rule in the same simulator.
pub(super) fn own_row(run: &Run<'_>, name: &str, cluster: &Cluster) -> Row {
    let Some((_, row)) = offline_row(run, name, cluster) else {
        let row = Row::new(format!("{name} offline, simulated"), OBJECTIVE, 0.0, 0.0);
        return row.note("no plan was found that serves the model");
    };
    let Some(layout) = baselines::swarm(cluster) else {
        return row;
    };
    let swarm = Served::by_rate(cluster, layout);
    let figure = mean(&JUDGING.map(|seed| swarm.offline(cluster, seed, WINDOW)));
    row.reference(figure, "Swarm's rule (equal segments) in this simulator")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_that_rows_need_are_there() {
        for (cluster_name, model, method, ..) in CALIBRATED {
            let (model, cluster) = parts(cluster_name, model);
            let layout = baselines::layout(cluster_name, model, method, &cluster);
            layout.check(&cluster).expect(method);
        }
    }

    /// The chain of eight L4s has the flow that the artifact's solution file states: 214.98.
    #[test]
    fn the_chain_of_l4s_has_the_flow_of_the_artifact() {
        let (model, mut cluster) = parts("single24", "llama-30b");
        cluster.nodes.retain(|node| cluster.types[node.kind].name == "L4");
        let parsed = cluster.clone();
        let typical: Vec<_> = parsed
            .types
            .iter()
            .map(|kind| {
                embedded::model_files(model)
                    .measured(&kind.name, model)
                    .expect("built in")
                    .typical
            })
            .collect();
        let counts = cluster.type_counts();
        crate::region::capacity::fill(&mut cluster.types, &typical, &counts, model.num_layers);
        let l4 = cluster
            .types
            .iter()
            .find(|kind| kind.name == "L4")
            .expect("there are L4s");
        let least = l4.tokens_per_second[6].min(l4.tokens_per_second[7]);
        assert!((least - 214.98).abs() < 0.01, "{least}");
    }
}
