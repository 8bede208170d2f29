//! Fleets with many services, from a seed. For tests and benchmarks; no part of the flow.

use super::problem::{Class, JointProblem};
use crate::fixtures::{Seeded, segment, smollm_node};
use crate::problem::{
    Access, Backbone, Candidate, Mode, Model, Node, Problem, Regions, Service, SpeedPoint, SpeedTable, Tier,
    Variant,
};
use crate::units::{
    Bytes, KernelOrd, ModelOrd, Nanos, NodeOrd, RegionOrd, ServiceOrd, TrustDomainOrd, VariantOrd,
};

/// A metropolitan area: regions with an aggregation site and base stations, and users in their cells.
#[derive(Clone, Copy, Debug)]
pub struct Metro {
    /// Machines.
    pub nodes: u32,
    /// Regions among which they are spread.
    pub regions: u32,
    /// Services; a fifth of them ask a model that no single machine of the edge holds.
    pub services: u32,
    /// Users; those of one region who ask one service are one class.
    pub users: u32,
    /// Draws everything.
    pub seed: u64,
}

/// Layers, hidden width and bytes of a layer in Q4 of a model family: 0.5, 1.5, 3, 8, 14 and 70 thousand million weights.
const FAMILIES: [(usize, u32, u64); 6] = [
    (24, 896, 9_000_000),
    (28, 1_536, 28_000_000),
    (28, 3_072, 57_000_000),
    (32, 4_096, 123_000_000),
    (48, 5_120, 155_000_000),
    (80, 8_192, 481_000_000),
];

/// Models: several of each family, so that services share some and not others.
const MODELS: usize = 18;

impl Metro {
    /// The problem.
    #[must_use]
    pub fn problem(&self) -> JointProblem {
        let mut random = Seeded::new(self.seed);
        let (nodes, regions) = self.fleet(&mut random);
        let fleet = Problem {
            nodes,
            links: Vec::new(),
            regions,
            models: (0..MODELS).map(model).collect(),
            services: (0..self.services)
                .map(|ordinal| self.service(ordinal, &mut random))
                .collect(),
            loaded: Vec::new(),
            files: Vec::new(),
        };
        let classes = self.classes(&fleet, &mut random);
        JointProblem {
            busy_max_milli: 800,
            link_max_milli: 500,
            ..JointProblem::new(fleet, classes)
        }
    }

    /// One machine in ten is large; every region's first is its gate, where users come in.
    fn fleet(&self, random: &mut Seeded) -> (Vec<Node>, Regions) {
        let (mut nodes, mut access) = (Vec::new(), Vec::new());
        for index in 0..self.nodes {
            let large = random.between(0, 9) == 0;
            let gibi = if large {
                random.between(24, 48)
            } else {
                random.between(4, 16)
            };
            // Sustained gigabytes a second of memory, which bounds decoding.
            let rate = if large {
                random.between(400, 900)
            } else {
                random.between(60, 250)
            };
            nodes.push(node(gibi, rate));
            let latency = Nanos::from_micros(random.between(200, 2_000));
            let (up, down) = (
                segment(random.between(1_000, 10_000), latency),
                segment(random.between(1_000, 10_000), latency),
            );
            access.push(Access {
                node: NodeOrd(index),
                region: RegionOrd(index % self.regions),
                up,
                down,
            });
        }
        let mut backbone = Vec::new();
        for from in 0..self.regions {
            for to in 0..self.regions {
                let apart = u64::from(from.abs_diff(to).min(self.regions - from.abs_diff(to)));
                let millis = if from == to { 200 } else { 1_000 + 1_500 * apart };
                backbone.push(Backbone {
                    from: RegionOrd(from),
                    to: RegionOrd(to),
                    segment: segment(25_000, Nanos::from_micros(millis)),
                });
            }
        }
        (nodes, Regions { access, backbone })
    }

    /// Promises from 120 ms to 2 s to the first token; the tighter, the smaller the model.
    fn service(&self, ordinal: u32, random: &mut Seeded) -> Service {
        let family = if ordinal % 5 == 4 {
            5
        } else {
            (ordinal % 5) as usize
        };
        let model = family + 6 * random.between(0, 2) as usize;
        let mut service = Service::new(vec![Candidate {
            model: ModelOrd::from_index(model),
            variant: VariantOrd(0),
        }]);
        service.concurrency = 8;
        service.context_tokens = 2_048;
        service.prompt_tokens = u32::try_from(random.between(64, 512)).unwrap_or(64);
        service.output_tokens = u32::try_from(random.between(32, 256)).unwrap_or(32);
        let promised = [250, 400, 800, 1_500, 2_500, 8_000][family];
        service.slo_ttft = Some(Nanos::from_millis(promised * random.between(80, 160) / 100));
        service.slo_tpot = Some(Nanos::from_millis([40, 60, 80, 120, 160, 400][family]));
        service.modes = vec![Mode::OnServer, Mode::Split, Mode::MultiHop];
        service.stages_max = Some(4);
        service
    }

    fn classes(&self, fleet: &Problem, random: &mut Seeded) -> Vec<Class> {
        let mut users = vec![0_u64; (self.regions * self.services) as usize];
        for _ in 0..self.users {
            // Popular services have more users: the least of two draws.
            let service = random
                .between(0, u64::from(self.services) - 1)
                .min(random.between(0, u64::from(self.services) - 1));
            let region = random.between(0, u64::from(self.regions) - 1);
            users[(region * u64::from(self.services) + service) as usize] += 1;
        }
        let mut classes = Vec::new();
        for (at, users) in (0..).zip(users).filter(|(_, users)| *users > 0) {
            let (region, service) = (at / self.services, at % self.services);
            let model = fleet.services[service as usize].candidates[0].model.index() % 6;
            classes.push(Class {
                service: ServiceOrd(service),
                ingress: NodeOrd(region),
                // Each asks once in half a minute to once in five.
                rate_micro: users * 1_000_000 / random.between(30, 300),
                value: Nanos::from_millis(
                    30_000 * random.between(50, 150) / 100 * [1, 1, 2, 3, 4, 10][model],
                ),
            });
        }
        classes
    }
}

fn model(ordinal: usize) -> Model {
    let (layers, hidden, layer_bytes) = FAMILIES[ordinal % 6];
    let table = Bytes(u64::from(hidden) * 64_000);
    Model {
        hidden,
        vocabulary: 64_000,
        context_max: 8_192,
        splittable: true,
        kv_bytes_per_token_and_layer: 4_096,
        compute_bytes_per_row: u64::from(hidden) * 24,
        layer_flops_per_row: layer_bytes * 32 / 9,
        variants: vec![Variant {
            kernel: KernelOrd(u32::try_from(ordinal % 6).unwrap_or(0)),
            layer_bytes: vec![Bytes(layer_bytes); layers],
            embedding_bytes: table,
            head_bytes: table,
            unsplit_ends_bytes: table,
            resident_milli: 1_000,
            quality_milli: 1_000,
            files: Vec::new(),
        }],
        draft: None,
    }
}

/// A machine of the edge that reads so many gigabytes of weights a second.
fn node(gibi: u64, rate: u64) -> Node {
    let mut node = smollm_node(Bytes::mebi(gibi * 1_024));
    node.tier = Tier::Server;
    node.trust_domain = TrustDomainOrd(0);
    node.message_overhead = Nanos::from_micros(50);
    let table = |(kernel, &(_, _, bytes)): (u32, &(usize, u32, u64))| {
        let read = bytes / rate + 20_000;
        let point = |rows: u32, tenths: u64| SpeedPoint {
            rows,
            time: Nanos(read * tenths / 10),
        };
        SpeedTable {
            kernel: KernelOrd(kernel),
            layer: vec![point(1, 10), point(8, 13), point(64, 40), point(512, 240)],
            head: vec![point(1, 20), point(8, 24)],
            prompt_end: Vec::new(),
            history: Vec::new(),
            embedding_row: Nanos::from_micros(2),
        }
    };
    node.speeds = (0..).zip(&FAMILIES).map(table).collect();
    node
}
