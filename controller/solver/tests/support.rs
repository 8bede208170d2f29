//! Random small problems, and a brute force that enumerates every legal pipeline.

#![allow(dead_code, reason = "each suite uses a part")]

use proptest::prelude::*;
use solver::Problem;
use solver::check::{Occupancy, check_pipeline};
use solver::cost::{CostModel, Evaluation};
use solver::fixtures::{FIRST, round_model, smollm_node, wire};
use solver::links::LinkIndex;
use solver::problem::{
    Access, ActivationFormat, Aversion, Backbone, Battery, Candidate, Ingress, Mode, Node, Precision,
    Privacy, Regions, Segment, Service, SpeedPoint, Tier,
};
use solver::solution::{PipelineShape, StageShape};
use solver::units::{
    Bytes, BytesPerSecond, FileOrd, LayerRange, MicroJoules, ModelOrd, Nanos, NodeOrd, RegionOrd, ServiceOrd,
    TermOrd, TrustDomainOrd, VariantOrd,
};

fn node() -> impl Strategy<Value = Node> {
    let battery = prop_oneof![
        3 => Just(None),
        1 => (1_u64..20).prop_map(|watts| Some(Battery {
            charge: MicroJoules(1_000_000), reserve: MicroJoules(0), active_milliwatts: watts * 1_000,
        })),
    ];
    let speed = (100_u64..4_000, 10_u64..60, 100_u64..8_000);
    (600_u64..1_500, speed, 0_u32..3, 0_u32..2, battery).prop_map(
        |(mebi, (layer, batch, head), tier, domain, battery)| {
            let mut node = smollm_node(Bytes::mebi(mebi));
            let point = |(rows, micros)| SpeedPoint {
                rows,
                time: Nanos::from_micros(micros),
            };
            node.speeds[0].layer = vec![point((1, layer)), point((512, layer * batch))];
            node.speeds[0].head = vec![point((1, head))];
            node.tier = [Tier::Device, Tier::Server, Tier::Cloud][tier as usize];
            node.trust_domain = TrustDomainOrd(domain);
            node.battery = battery;
            node
        },
    )
}

/// Services of one kind.
type Services = fn() -> BoxedStrategy<Service>;

/// Of any modes.
fn service() -> BoxedStrategy<Service> {
    let modes = prop_oneof![
        6 => chain_modes(),
        2 => Just(vec![Mode::UShaped]),
        2 => Just(Mode::ALL.to_vec()),
    ];
    service_of(modes.boxed())
}

/// For searches that do not look at U-shaped pipelines.
fn chain_service() -> BoxedStrategy<Service> {
    service_of(chain_modes())
}

fn chain_modes() -> BoxedStrategy<Vec<Mode>> {
    let modes = prop_oneof![
        3 => Just(vec![Mode::OnDevice, Mode::OnServer, Mode::Split, Mode::MultiHop]),
        1 => Just(vec![Mode::Split]),
        1 => Just(vec![Mode::MultiHop]),
        1 => Just(vec![Mode::OnDevice, Mode::Split]),
    ];
    modes.boxed()
}

fn service_of(modes: BoxedStrategy<Vec<Mode>>) -> BoxedStrategy<Service> {
    let slo = || prop_oneof![2 => Just(None), 1 => (1_u64..2_000).prop_map(|millis| Some(Nanos::from_millis(millis)))];
    let lengths = (1_u32..2_000, 1_u32..300, prop_oneof![Just(64_u32), Just(512)]);
    let stages_max = prop_oneof![3 => Just(None), 1 => (1_u32..4).prop_map(Some)];
    let privacy = prop_oneof![
        2 => Just(Privacy::Open),
        1 => (0_u32..3).prop_map(|shallow_layers| Privacy::Trusted { domains: vec![TrustDomainOrd(0)], shallow_layers }),
    ];
    (
        lengths,
        slo(),
        slo(),
        modes,
        stages_max,
        privacy,
        0_u64..200,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |((prompt, output, chunk), ttft, tpot, modes, stages_max, privacy, joule, coarse, ingress)| {
                let mut service = Service::new(vec![FIRST]);
                (service.prompt_tokens, service.output_tokens, service.chunk_rows) = (prompt, output, chunk);
                (service.slo_ttft, service.slo_tpot) = (ttft, tpot.map(|tpot| Nanos(tpot.0 / 20)));
                (service.modes, service.stages_max, service.privacy) = (modes, stages_max, privacy);
                service.joule_cost = Nanos::from_millis(joule);
                if coarse {
                    service.activations.push(ActivationFormat {
                        precision: Precision::Int8Outliers,
                        bits_per_element: 8,
                        bytes_per_row: 52,
                        fidelity_cost: Nanos::from_millis(20),
                    });
                }
                if ingress {
                    service.ingress = vec![Ingress {
                        node: NodeOrd(0),
                        weight: 3,
                    }];
                }
                service
            },
        )
        .boxed()
}

/// Up to five nodes and six layers, tight memory, sparse links of very different speeds, two variants.
pub(crate) fn small_problem() -> impl Strategy<Value = Problem> {
    with_rules(small_problem_of(service))
}

/// The same without U-shaped pipelines.
pub(crate) fn small_chains() -> impl Strategy<Value = Problem> {
    with_rules(small_problem_of(chain_service))
}

/// Sometimes disks with a bound, a node that the first service would rather avoid, services that keep apart.
fn with_rules(problem: impl Strategy<Value = Problem>) -> impl Strategy<Value = Problem> {
    let disk = prop_oneof![3 => Just(None), 1 => (100_u64..900).prop_map(|mebi| Some(Bytes::mebi(mebi)))];
    let averse = prop_oneof![2 => Just(None), 1 => (0_u64..400).prop_map(Some)];
    (problem, prop::collection::vec(disk, 5), averse, 0_u32..6).prop_map(
        |(mut problem, disks, averse, apart)| {
            for (node, disk) in problem.nodes.iter_mut().zip(disks) {
                node.storage = disk;
            }
            let (first, others) = problem.services.split_first_mut().expect("a service");
            first.aversions.extend(averse.map(|millis| Aversion {
                node: NodeOrd(0),
                cost: Nanos::from_millis(millis),
            }));
            // The first shuns all others, or they shun the first.
            first.shuns.extend((apart == 0).then_some(TermOrd(0)));
            first.carries.extend((apart == 1).then_some(TermOrd(0)));
            for other in others {
                other.carries.extend((apart == 0).then_some(TermOrd(0)));
                other.shuns.extend((apart == 1).then_some(TermOrd(0)));
            }
            problem
        },
    )
}

fn small_problem_of(service: Services) -> impl Strategy<Value = Problem> {
    let nodes = prop::collection::vec(node(), 1..=5);
    let links = prop::collection::vec((0_u8..100, 1_u64..1_000, 0_u64..40_000), 20);
    (nodes, 2_usize..=6, links, service(), 40_u8..=100, any::<bool>()).prop_map(
        |(nodes, num_layers, drawn, mut service, density, two_variants)| {
            let count = u32::try_from(nodes.len()).expect("at most five");
            let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
            let links = pairs
                .filter(|(from, to)| from != to)
                .zip(drawn)
                .filter(|(_, (chance, ..))| *chance < density)
                .map(|((from, to), (_, megabits, micros))| {
                    wire(from, to, megabits, Nanos::from_micros(micros))
                })
                .collect();
            let mut model = round_model(num_layers);
            model.variants[0].files = vec![FileOrd(0)];
            if two_variants {
                let mut finer = model.variants[0].clone();
                model.variants[0].quality_milli = 900;
                finer.files = vec![FileOrd(0), FileOrd(1)];
                finer
                    .layer_bytes
                    .iter_mut()
                    .for_each(|bytes| *bytes = Bytes::mebi(180));
                model.variants.push(finer);
                service.candidates.push(Candidate {
                    model: ModelOrd(0),
                    variant: VariantOrd(1),
                });
                service.quality_value = Nanos::from_millis(1);
            }
            Problem {
                nodes,
                links,
                models: vec![model],
                services: vec![service],
                loaded: Vec::new(),
                files: vec![Bytes::mebi(120), Bytes::mebi(90)],
                regions: Regions::default(),
            }
        },
    )
}

/// A segment of any speed.
pub(crate) fn segment() -> impl Strategy<Value = Segment> {
    (1_u64..1_000, 0_u64..20_000, 0_u64..200, 0_u64..2).prop_map(|(megabits, latency, overhead, price)| {
        Segment {
            rate: BytesPerSecond::megabits(megabits),
            spread_milli: 0,
            latency: Nanos::from_micros(latency),
            message_overhead: Nanos::from_micros(overhead),
            price_per_mebibyte: Nanos::from_micros(price * 50),
        }
    })
}

/// The same with access links to one to three regions in place of most links.
pub(crate) fn small_regional_problem() -> impl Strategy<Value = Problem> {
    with_rules(small_regional_problem_of(service))
}

/// The same without U-shaped pipelines.
pub(crate) fn small_regional_chains() -> impl Strategy<Value = Problem> {
    with_rules(small_regional_problem_of(chain_service))
}

fn small_regional_problem_of(service: Services) -> impl Strategy<Value = Problem> {
    let access = prop::collection::vec((segment(), segment(), 0_u32..3, 0_u32..12), 5);
    let backbone = prop::collection::vec((segment(), 0_u32..10), 9);
    (small_problem_of(service), access, backbone, 0_usize..4).prop_map(
        |(mut problem, access, backbone, num_links)| {
            let drawn: Vec<_> = access.into_iter().take(problem.nodes.len()).enumerate().collect();
            for (index, (up, down, region, chance)) in drawn {
                if chance > 0 {
                    problem.regions.access.push(Access {
                        node: NodeOrd::from_index(index),
                        region: RegionOrd(region),
                        up,
                        down,
                    });
                }
            }
            let num_regions = u32::try_from(problem.regions.access.len()).expect("few").min(3);
            for access in &mut problem.regions.access {
                access.region.0 %= num_regions;
            }
            for (index, (segment, chance)) in (0..).zip(backbone) {
                let (from, to) = (index / 3, index % 3);
                if from < num_regions && to < num_regions && (from == to || chance > 0) {
                    problem.regions.backbone.push(Backbone {
                        from: RegionOrd(from),
                        to: RegionOrd(to),
                        segment,
                    });
                }
            }
            problem.links.truncate(num_links);
            problem
        },
    )
}

/// A regional problem whose optimum the search proves: one precision, nothing that is decided by the place in the model,
/// no promise and no chunk that waits.
pub(crate) fn plain(mut problem: Problem) -> Problem {
    let service = &mut problem.services[0];
    (service.slo_ttft, service.slo_tpot) = (None, None);
    service.chunk_rows = service.prompt_tokens;
    service.activations.truncate(1);
    if let Privacy::Trusted { shallow_layers, .. } = &mut service.privacy {
        *shallow_layers = 0;
    }
    problem
}

/// Several services on such a problem.
pub(crate) fn crowded_problem() -> impl Strategy<Value = Problem> {
    with_rules(crowded_problem_of(service))
}

/// The same without U-shaped pipelines.
pub(crate) fn crowded_chains() -> impl Strategy<Value = Problem> {
    crowded_problem_of(chain_service)
}

fn crowded_problem_of(service: Services) -> impl Strategy<Value = Problem> {
    (
        small_problem_of(service),
        prop::collection::vec((service(), -2_i32..3), 1..3),
    )
        .prop_map(|(mut problem, more)| {
            for (mut service, priority) in more {
                service.priority = priority;
                problem.services.push(service);
            }
            problem
        })
}

/// The least cost of any legal pipeline of the first service, by enumeration.
pub(crate) fn brute_force(problem: &Problem) -> Option<Nanos> {
    least(problem, |evaluation| evaluation.cost.total())
}

/// The shortest bottleneck of any legal pipeline of the first service, by enumeration.
pub(crate) fn least_bottleneck(problem: &Problem) -> Option<Nanos> {
    least(problem, |evaluation| evaluation.sheet.bottleneck)
}

fn least(problem: &Problem, figure: impl Fn(&Evaluation) -> Nanos) -> Option<Nanos> {
    let mut best: Option<Nanos> = None;
    each_legal(problem, |_, evaluation| {
        best = Some(best.map_or(figure(evaluation), |best| best.min(figure(evaluation))));
    });
    best
}

/// Every legal pipeline of the first service with its figures.
pub(crate) fn each_legal(problem: &Problem, mut each: impl FnMut(&PipelineShape, &Evaluation)) {
    let links = LinkIndex::new(problem);
    let service = &problem.services[0];
    let idle = vec![0; problem.nodes.len()];
    for &candidate in &service.candidates {
        let cost = CostModel::new(problem, &links, service, candidate, &idle);
        let mut each = |shape: &PipelineShape| {
            if check_pipeline(problem, ServiceOrd(0), shape, &Occupancy::default()).is_empty() {
                each(shape, &cost.evaluate(shape).expect("a legal pipeline has a cost"));
            }
        };
        each_shape(problem, candidate, &mut each);
    }
}

/// Every way to cut a candidate, legal or not.
pub(crate) fn each_shape(problem: &Problem, candidate: Candidate, each: &mut dyn FnMut(&PipelineShape)) {
    let num_layers = problem.variant(candidate).1.num_layers();
    let mut empty = PipelineShape::alone(candidate, Vec::new());
    extend(problem, num_layers, &mut empty, each);
}

fn extend(
    problem: &Problem,
    num_layers: u32,
    shape: &mut PipelineShape,
    each: &mut dyn FnMut(&PipelineShape),
) {
    let start = shape.stages.last().map_or(0, |stage| stage.layers.end);
    if start == num_layers {
        each(shape);
        return;
    }
    for node in (0..problem.nodes.len()).map(NodeOrd::from_index) {
        // The first node may hold the last layers too, with others between.
        let returns = shape.stages.len() > 1 && shape.stages[0].node == node;
        if !returns && shape.stages.iter().any(|stage| stage.node == node) {
            continue;
        }
        for end in if returns { num_layers } else { start + 1 }..=num_layers {
            let onward: Vec<_> = match end == num_layers {
                true => vec![None],
                false => problem.services[0]
                    .activations
                    .iter()
                    .map(|format| Some(format.precision))
                    .collect(),
            };
            for activation in onward {
                shape.stages.push(StageShape {
                    node,
                    layers: LayerRange::new(start, end),
                    activation,
                });
                extend(problem, num_layers, shape, each);
                shape.stages.pop();
            }
        }
    }
}
