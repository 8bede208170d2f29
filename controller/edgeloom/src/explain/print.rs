//! An explanation in words and tables.

use std::fmt::Write as _;

use crds::{
    InferenceMode, PlacementSpec,
    llm_service::ServiceFigures,
    placement::{Accuracy, Alternative, Contingency, Pipeline, Prediction, Together},
};

use super::{Report, Table};

/// The whole explanation of a service.
pub(crate) fn text(report: &Report) -> String {
    let Report {
        service,
        state,
        why,
        placement,
        next,
        observed: _,
        predicted_for_observed: _,
        objective: _,
        impossible,
        together: _,
        accuracy: _,
        contingencies: _,
    } = report;
    let mut text = format!("LLMService {service}: {state}\n");
    for sentence in why.lines() {
        let _ = writeln!(text, "  {sentence}");
    }
    if let Some(placement) = placement {
        write_placement(&mut text, placement, report);
    }
    if let Some(next) = next {
        let _ = writeln!(text, "\nPlacement {next} is being made ready to take over.");
    }
    if !impossible.is_empty() {
        text.push_str("\nWhat was tried:\n");
        write_alternatives(&mut text, impossible);
    }
    text
}

fn write_placement(text: &mut String, placement: &PlacementSpec, report: &Report) {
    let model = &placement.model;
    let _ = writeln!(
        text,
        "\nModel {} {} ({}), {} layers; {} sessions of {} tokens are reserved.",
        model.name,
        model.variant,
        model.quantisation,
        model.layers,
        placement.sessions,
        placement.context_tokens
    );
    for pipeline in &placement.pipelines {
        let _ = writeln!(
            text,
            "\nPipeline {}, revision {}: {}",
            pipeline.name,
            pipeline.revision,
            in_words(pipeline)
        );
        write_stages(text, pipeline);
        write_figures(text, &pipeline.predicted, report);
    }
    if let Some(accuracy) = &report.accuracy {
        write_accuracy(text, accuracy);
    }
    let why = &placement.explanation;
    text.push('\n');
    if !why.binding.is_empty() {
        let _ = writeln!(text, "Limited by:  {}", why.binding);
    }
    let _ = writeln!(
        text,
        "Objective:   {} for a typical request; none can be below {} (gap {} %)",
        milliseconds(why.objective_microseconds),
        milliseconds(why.lower_bound_microseconds),
        fixed(why.gap_parts_per_million, 10_000, 2),
    );
    for link in &why.links {
        let megabits = fixed(link.bits_per_second, 1_000_000, 1);
        let _ = writeln!(
            text,
            "Link:        {megabits} Mbit/s from {} to {} are counted on: {}",
            link.from, link.to, link.why
        );
    }
    for contingency in &report.contingencies {
        write_contingency(text, contingency);
    }
    if let Some(together) = &report.together {
        write_together(text, together);
    }
    if !why.alternatives.is_empty() {
        text.push_str("\nAlternatives:\n");
        write_alternatives(text, &why.alternatives);
    }
}

/// What remains when a node is lost.
fn write_contingency(text: &mut String, contingency: &Contingency) {
    let Contingency {
        lost,
        pipeline,
        time_to_first_token_microseconds,
        time_per_output_token_microseconds,
        why_not,
    } = contingency;
    let time = |microseconds: &Option<i64>| microseconds.map_or_else(|| "-".to_owned(), milliseconds);
    let remains = match (pipeline, why_not) {
        (Some(pipeline), _) => format!(
            "{pipeline} remains, {} to the first token and {} per token",
            time(time_to_first_token_microseconds),
            time(time_per_output_token_microseconds)
        ),
        (None, Some(why_not)) => format!("nothing remains: {why_not}"),
        (None, None) => "nothing remains".to_owned(),
    };
    let _ = writeln!(text, "If lost:     without {lost}, {remains}");
}

/// What requests have shown of the predictions, and what these hold of it already.
fn write_accuracy(text: &mut String, accuracy: &Accuracy) {
    let Accuracy {
        first_token_milli,
        per_token_milli,
        requests,
        observed_time: _,
        corrections,
    } = accuracy;
    let compared = |milli: i64, of: &str| {
        (milli > 0).then(|| format!("{of} took {} of what was predicted", fixed(milli, 1_000, 2)))
    };
    let compared: Vec<String> = [
        compared(*first_token_milli, "prompts"),
        compared(*per_token_milli, "tokens"),
    ]
    .into_iter()
    .flatten()
    .collect();
    text.push('\n');
    if !compared.is_empty() {
        let _ = writeln!(
            text,
            "Observed:    {}, other work of the nodes aside ({requests} requests)",
            compared.join(", ")
        );
    }
    for correction in corrections {
        let _ = writeln!(
            text,
            "Corrected:   measured times of {} by a factor of {} for prompts and {} for tokens",
            correction.node,
            fixed(i64::from(correction.prompt_milli), 1_000, 2),
            fixed(i64::from(correction.token_milli), 1_000, 2),
        );
    }
}

/// The choice for all services of the same priority, and what more memory would be worth to them.
fn write_together(text: &mut String, together: &Together) {
    let Together {
        services,
        placed,
        objective_microseconds,
        lower_bound_microseconds,
        gap_parts_per_million,
        prices,
        gives_way,
    } = together;
    if *services > 1 {
        let bound = match gap_parts_per_million {
            Some(gap) => format!(
                "no choice for all of them costs less than {} (gap {} %)",
                milliseconds(*lower_bound_microseconds),
                fixed(*gap, 10_000, 2)
            ),
            None => "whether more of them could be placed is not known".to_owned(),
        };
        let _ = writeln!(
            text,
            "Together:    {placed} of {services} services of this priority are placed and cost {}; {bound}",
            milliseconds(*objective_microseconds),
        );
    }
    for price in prices {
        let _ = writeln!(
            text,
            "Memory:      one more GiB on {} is worth {} per request to them, at most",
            price.node,
            milliseconds(price.microseconds_per_gibibyte),
        );
    }
    if let Some(gives_way) = gives_way {
        let _ = writeln!(text, "Gives way:   {gives_way}");
    }
}

fn write_stages(text: &mut String, pipeline: &Pipeline) {
    let mut table = Table::new([
        "NODE", "DEVICE", "LAYERS", "WEIGHTS", "KV CACHE", "BUFFERS", "MEMORY", "PROMPT", "TOKEN", "HOP TO",
        "PROMPT", "TOKEN",
    ]);
    for (ordinal, stage) in pipeline.stages.iter().enumerate() {
        let behind = pipeline.stages.get(ordinal + 1);
        let hop_to = match behind {
            Some(behind) => format!("{} ({:?})", behind.node, stage.sends),
            None if pipeline.stages[0].node != stage.node => format!("{} (token)", pipeline.stages[0].node),
            None => "-".to_owned(),
        };
        let hop = |microseconds| {
            if hop_to == "-" {
                "-".to_owned()
            } else {
                milliseconds(microseconds)
            }
        };
        table.row([
            stage.node.clone(),
            stage.device.clone(),
            format!("[{},{})", stage.first_layer, stage.end_layer),
            mebibytes(stage.memory.weights_bytes),
            mebibytes(stage.memory.key_value_bytes),
            mebibytes(stage.memory.compute_bytes),
            mebibytes(stage.memory.total_bytes),
            milliseconds(stage.cost.prefill_microseconds),
            milliseconds(stage.cost.decode_microseconds),
            hop_to.clone(),
            hop(stage.cost.hop_prefill_microseconds),
            hop(stage.cost.hop_decode_microseconds),
        ]);
    }
    text.push_str(&table.print());
}

/// The decision's prediction is for the typical request; beside what was observed stands what is predicted for that.
fn write_figures(text: &mut String, predicted: &Prediction, report: &Report) {
    let mut table = Table::new(["", "TIME TO FIRST TOKEN", "TIME PER TOKEN", ""]);
    let mut row = |what: &str, first: i64, each: i64, of: Vec<String>| {
        table.row([
            what.to_owned(),
            milliseconds(first),
            milliseconds(each),
            of.join(", "),
        ]);
    };
    let prompt = |tokens: Option<i32>| tokens.map(|tokens| format!("prompts of {tokens} tokens"));
    let energy = match predicted.battery_microjoules_per_token {
        0 => None,
        energy => Some(format!("{} J of battery a token", fixed(energy, 1_000_000, 3))),
    };
    row(
        "predicted",
        predicted.time_to_first_token_microseconds,
        predicted.time_per_output_token_microseconds,
        prompt(predicted.prompt_tokens)
            .into_iter()
            .chain(energy)
            .collect(),
    );
    let mut figures = |what: &str, of: Option<&ServiceFigures>, note: Option<String>| {
        if let Some(figures) = of {
            row(
                what,
                figures.time_to_first_token_microseconds,
                figures.time_per_output_token_microseconds,
                prompt(figures.prompt_tokens).into_iter().chain(note).collect(),
            );
        }
    };
    let observed = report.observed.as_ref();
    let requests = observed.map(|observed| format!("medians, {} requests answered", observed.requests));
    figures("observed", observed, requests);
    figures(
        "predicted",
        report.predicted_for_observed.as_ref(),
        Some("to be compared with what was observed".to_owned()),
    );
    if report.objective != (None, None) {
        let limit =
            |milliseconds: Option<i32>| milliseconds.map_or("-".to_owned(), |limit| format!("{limit} ms"));
        table.row([
            "objective".to_owned(),
            limit(report.objective.0),
            limit(report.objective.1),
            missed(predicted, report.objective),
        ]);
    }
    text.push('\n');
    text.push_str(&table.print());
}

/// Which part of the objective the prediction for the typical request misses.
fn missed(predicted: &Prediction, objective: (Option<i32>, Option<i32>)) -> String {
    let parts = [
        (
            "first token",
            predicted.time_to_first_token_microseconds,
            objective.0,
        ),
        (
            "time per token",
            predicted.time_per_output_token_microseconds,
            objective.1,
        ),
    ];
    let late = parts.into_iter().filter_map(|(what, predicted, limit)| {
        let late = predicted - i64::from(limit?) * 1_000;
        (late > 0).then(|| format!("{what} by {}", milliseconds(late)))
    });
    let late: Vec<String> = late.collect();
    if late.is_empty() {
        String::new()
    } else {
        format!("will be missed: {}", late.join(", "))
    }
}

fn write_alternatives(text: &mut String, alternatives: &[Alternative]) {
    let mut table = Table::new(["MODE", "PIPELINE", "FIRST TOKEN", "TOKEN", "WHY NOT"]);
    for alternative in alternatives {
        let figure = |of: fn(&Prediction) -> i64| {
            alternative
                .predicted
                .as_ref()
                .map_or("-".to_owned(), |predicted| milliseconds(of(predicted)))
        };
        table.row([
            format!("{:?}", alternative.mode),
            if alternative.pipeline.is_empty() {
                "-".to_owned()
            } else {
                alternative.pipeline.clone()
            },
            figure(|predicted| predicted.time_to_first_token_microseconds),
            figure(|predicted| predicted.time_per_output_token_microseconds),
            alternative.why_not.clone(),
        ]);
    }
    text.push_str(&table.print());
}

fn in_words(pipeline: &Pipeline) -> String {
    let words = match pipeline.mode {
        InferenceMode::OnDevice => "whole, on a device",
        InferenceMode::OnServer => "whole, on a server",
        InferenceMode::Split => "split over two nodes",
        InferenceMode::UShaped => {
            let head = pipeline.stages.first().map_or("-", |stage| &stage.node);
            return format!("U-shaped, first and last layers on {head}, the rest elsewhere");
        }
        InferenceMode::MultiHop => "split over three nodes or more",
        InferenceMode::Speculative => "drafted by a small model, verified by a large one",
        InferenceMode::Cascade => "a small model first, a large one where it does not suffice",
    };
    words.to_owned()
}

/// Microseconds as milliseconds, such as `12.3 ms`.
pub(crate) fn milliseconds(microseconds: i64) -> String {
    format!(
        "{} ms",
        fixed(microseconds, 1_000, if microseconds < 100_000 { 1 } else { 0 })
    )
}

/// Bytes as mebibytes, such as `94.1 MiB`.
pub(crate) fn mebibytes(bytes: i64) -> String {
    format!("{} MiB", fixed(bytes, 1 << 20, 1))
}

/// `number / unit` with so many digits behind the point.
fn fixed(number: i64, unit: i64, digits: usize) -> String {
    format!("{:.digits$}", number as f64 / unit as f64)
}

#[cfg(test)]
mod tests {
    use crds::placement::{
        AppliedCorrection, ChosenModel, Explanation, LinkRate, MemoryPrice, PipelineStage, StageCost,
        StageMemory,
    };

    use super::*;

    fn stage(node: &str, layers: (i32, i32)) -> PipelineStage {
        PipelineStage {
            node: node.to_owned(),
            device: "cpu".to_owned(),
            first_layer: layers.0,
            end_layer: layers.1,
            memory: StageMemory {
                weights_bytes: 56 << 20,
                key_value_bytes: 22 << 20,
                compute_bytes: 2 << 20,
                total_bytes: 80 << 20,
            },
            cost: StageCost {
                prefill_microseconds: 250_000,
                decode_microseconds: 9_500,
                hop_prefill_microseconds: 5_600,
                hop_decode_microseconds: 5_100,
            },
            ..PipelineStage::default()
        }
    }

    fn split() -> PlacementSpec {
        let prediction = |first, token| Prediction {
            time_to_first_token_microseconds: first,
            time_per_output_token_microseconds: token,
            battery_microjoules_per_token: 21_000,
            prompt_tokens: Some(64),
        };
        PlacementSpec {
            service: "chat".to_owned(),
            model: ChosenModel {
                name: "smollm2".to_owned(),
                variant: "q4-1".to_owned(),
                quantisation: "Q4_1".to_owned(),
                layers: 30,
                ..ChosenModel::default()
            },
            context_tokens: 1024,
            sessions: 2,
            pipelines: vec![Pipeline {
                name: "default/chat/0".to_owned(),
                revision: 1,
                mode: InferenceMode::Split,
                stages: vec![stage("laptop", (0, 12)), stage("robot", (12, 30))],
                predicted: prediction(521_000, 29_200),
                ..Pipeline::default()
            }],
            explanation: Explanation {
                summary: "no node holds the whole model".to_owned(),
                binding: "the memory of robot".to_owned(),
                objective_microseconds: 4_200_000,
                lower_bound_microseconds: 4_200_000,
                gap_parts_per_million: 0,
                links: vec![LinkRate {
                    from: "laptop".to_owned(),
                    to: "robot".to_owned(),
                    bits_per_second: 18_200_000,
                    why: "as spec says, since nobody has measured it".to_owned(),
                }],
                alternatives: vec![Alternative {
                    mode: InferenceMode::OnDevice,
                    why_not: "laptop lacks 60 MiB".to_owned(),
                    ..Alternative::default()
                }],
            },
        }
    }

    #[test]
    fn a_split_shows_stages_hops_figures_and_what_lost() {
        let report = Report {
            service: "default/chat".to_owned(),
            state: "Ready".to_owned(),
            why: "no node holds the whole model".to_owned(),
            placement: Some(split()),
            observed: Some(ServiceFigures {
                time_to_first_token_microseconds: 330_000,
                time_per_output_token_microseconds: 30_000,
                requests: 7,
                prompt_tokens: Some(35),
            }),
            predicted_for_observed: Some(ServiceFigures {
                time_to_first_token_microseconds: 310_000,
                time_per_output_token_microseconds: 29_200,
                requests: 0,
                prompt_tokens: Some(35),
            }),
            objective: (Some(2000), None),
            accuracy: Some(Accuracy {
                first_token_milli: 1_064,
                per_token_milli: 1_000,
                requests: 64,
                observed_time: None,
                corrections: vec![AppliedCorrection {
                    node: "robot".to_owned(),
                    prompt_milli: 1_420,
                    token_milli: 1_000,
                }],
            }),
            contingencies: vec![
                Contingency {
                    lost: "laptop".to_owned(),
                    why_not: Some("robot lacks 60 MiB".to_owned()),
                    ..Contingency::default()
                },
                Contingency {
                    lost: "robot".to_owned(),
                    pipeline: Some("laptop[0, 12) bs-1[12, 30)".to_owned()),
                    time_to_first_token_microseconds: Some(600_000),
                    time_per_output_token_microseconds: Some(31_000),
                    why_not: None,
                },
            ],
            together: Some(Together {
                services: 3,
                placed: 3,
                objective_microseconds: 9_000_000,
                lower_bound_microseconds: 8_910_000,
                gap_parts_per_million: Some(10_000),
                prices: vec![MemoryPrice {
                    node: "robot".to_owned(),
                    microseconds_per_gibibyte: 41_000,
                }],
                gives_way: Some("robot[0, 30) would cost it 120 ms less".to_owned()),
            }),
            ..Report::default()
        };
        let expected = "\
LLMService default/chat: Ready
  no node holds the whole model

Model smollm2 q4-1 (Q4_1), 30 layers; 2 sessions of 1024 tokens are reserved.

Pipeline default/chat/0, revision 1: split over two nodes
  NODE    DEVICE  LAYERS   WEIGHTS   KV CACHE  BUFFERS  MEMORY    PROMPT  TOKEN   HOP TO          PROMPT  TOKEN
  laptop  cpu     [0,12)   56.0 MiB  22.0 MiB  2.0 MiB  80.0 MiB  250 ms  9.5 ms  robot (F32)     5.6 ms  5.1 ms
  robot   cpu     [12,30)  56.0 MiB  22.0 MiB  2.0 MiB  80.0 MiB  250 ms  9.5 ms  laptop (token)  5.6 ms  5.1 ms

             TIME TO FIRST TOKEN  TIME PER TOKEN
  predicted  521 ms               29.2 ms         prompts of 64 tokens, 0.021 J of battery a token
  observed   330 ms               30.0 ms         prompts of 35 tokens, medians, 7 requests answered
  predicted  310 ms               29.2 ms         prompts of 35 tokens, to be compared with what was observed
  objective  2000 ms              -

Observed:    prompts took 1.06 of what was predicted, tokens took 1.00 of what was predicted, other work of the nodes aside (64 requests)
Corrected:   measured times of robot by a factor of 1.42 for prompts and 1.00 for tokens

Limited by:  the memory of robot
Objective:   4200 ms for a typical request; none can be below 4200 ms (gap 0.00 %)
Link:        18.2 Mbit/s from laptop to robot are counted on: as spec says, since nobody has measured it
If lost:     without laptop, nothing remains: robot lacks 60 MiB
If lost:     without robot, laptop[0, 12) bs-1[12, 30) remains, 600 ms to the first token and 31.0 ms per token
Together:    3 of 3 services of this priority are placed and cost 9000 ms; no choice for all of them costs less than 8910 ms (gap 1.00 %)
Memory:      one more GiB on robot is worth 41.0 ms per request to them, at most
Gives way:   robot[0, 30) would cost it 120 ms less

Alternatives:
  MODE      PIPELINE  FIRST TOKEN  TOKEN  WHY NOT
  OnDevice  -         -            -      laptop lacks 60 MiB
";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn a_service_that_cannot_be_placed_shows_the_reasons_alone() {
        let report = Report {
            service: "default/chat".to_owned(),
            state: "Infeasible".to_owned(),
            why: "laptop: 60 MiB short\nrobot: not reachable".to_owned(),
            ..Report::default()
        };
        let expected =
            "LLMService default/chat: Infeasible\n  laptop: 60 MiB short\n  robot: not reachable\n";
        assert_eq!(text(&report), expected);
    }
}
