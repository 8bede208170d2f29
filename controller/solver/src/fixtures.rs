//! Problems for tests and benchmarks: a real model, fleets from a seed, and published settings. No part of the flow.

use crate::problem::{
    Access, Backbone, Candidate, DeclaredSpeed, EngineMemory, Ingress, Link, Model, Node, Problem, Regions,
    Segment, Service, SpeedPoint, SpeedTable, Tier, Variant,
};
use crate::units::{
    Bytes, BytesPerSecond, KernelOrd, ModelOrd, Nanos, NodeOrd, RegionOrd, TrustDomainOrd, VariantOrd,
};

/// SmolLM2-135M-Instruct Q4_1, figures from its file: 30 layers, hidden width 576, tied table in Q8_0.
#[must_use]
pub fn smollm() -> Model {
    let table = Bytes(30_081_024);
    Model {
        hidden: 576,
        vocabulary: 49_152,
        context_max: 8_192,
        splittable: true,
        kv_bytes_per_token_and_layer: 768,
        compute_bytes_per_row: 26_112,
        layer_flops_per_row: 7_077_888,
        variants: vec![Variant {
            kernel: KernelOrd(0),
            // 2,211,840 bytes of Q4_1 tensors and two norms in f32.
            layer_bytes: vec![Bytes(2_216_448); 30],
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

/// A node of two slow cores, with times of SmolLM2's layers and head measured on such a machine.
#[must_use]
pub fn smollm_node(memory: Bytes) -> Node {
    let point = |(rows, micros)| SpeedPoint {
        rows,
        time: Nanos::from_micros(micros),
    };
    Node {
        memory,
        reserved: Bytes::ZERO,
        storage: None,
        tier: Tier::Device,
        trust_domain: TrustDomainOrd(0),
        compute_share_milli: 1_000,
        battery: None,
        engine: EngineMemory::llama_cpp_cpu(),
        speeds: vec![SpeedTable {
            kernel: KernelOrd(0),
            layer: [(1, 650), (8, 2_100), (64, 15_000), (512, 122_000)]
                .map(point)
                .to_vec(),
            head: [(1, 3_000), (8, 14_000)].map(point).to_vec(),
            prompt_end: [(1, 3_650), (512, 40_000)].map(point).to_vec(),
            history: [(1, 300), (512, 100_000)].map(point).to_vec(),
            embedding_row: Nanos::from_micros(2),
        }],
        corrections: Vec::new(),
        declared: None,
        message_overhead: Nanos::from_micros(150),
    }
}

/// A link of a wired network.
#[must_use]
pub fn wire(from: u32, to: u32, megabits: u64, latency: Nanos) -> Link {
    Link {
        from: NodeOrd(from),
        to: NodeOrd(to),
        rate: BytesPerSecond::megabits(megabits),
        spread_milli: 0,
        latency,
        message_overhead: Nanos::from_micros(50),
        price_per_mebibyte: Nanos::ZERO,
    }
}

/// Links both ways between all nodes.
#[must_use]
pub fn mesh(num_nodes: u32, megabits: u64, latency: Nanos) -> Vec<Link> {
    let pairs = (0..num_nodes).flat_map(|from| (0..num_nodes).map(move |to| (from, to)));
    pairs
        .filter(|(from, to)| from != to)
        .map(|(from, to)| wire(from, to, megabits, latency))
        .collect()
}

/// The first variant of the first model.
pub const FIRST: Candidate = Candidate {
    model: ModelOrd(0),
    variant: VariantOrd(0),
};

/// SmolLM2 on nodes of so much memory each, all linked at 100 Mbit/s and 2 ms, asked for by one service.
#[must_use]
pub fn smollm_fleet(memory_mebi: &[u64]) -> Problem {
    let nodes: Vec<Node> = memory_mebi
        .iter()
        .map(|&mebi| smollm_node(Bytes::mebi(mebi)))
        .collect();
    Problem {
        links: mesh(
            u32::try_from(nodes.len()).expect("a small fleet"),
            100,
            Nanos::from_millis(2),
        ),
        nodes,
        models: vec![smollm()],
        services: vec![Service::new(vec![FIRST])],
        loaded: Vec::new(),
        files: Vec::new(),
        regions: Regions::default(),
    }
}

/// A small generator (xorshift64*), so that fleets need no dependency and are the same everywhere.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// A generator; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        from + (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % (to - from + 1)
    }
}

/// A transformer of so many layers with round figures: 100 MiB a layer, hidden width 4096, f16 at the cuts.
#[must_use]
pub fn round_model(num_layers: usize) -> Model {
    Model {
        hidden: 4_096,
        vocabulary: 32_000,
        context_max: 8_192,
        splittable: true,
        kv_bytes_per_token_and_layer: 4_096,
        compute_bytes_per_row: 100_000,
        layer_flops_per_row: 400_000_000,
        variants: vec![Variant {
            kernel: KernelOrd(0),
            layer_bytes: vec![Bytes::mebi(100); num_layers],
            embedding_bytes: Bytes::mebi(130),
            head_bytes: Bytes::mebi(130),
            unsplit_ends_bytes: Bytes::mebi(260),
            resident_milli: 1_000,
            quality_milli: 1_000,
            files: Vec::new(),
        }],
        draft: None,
    }
}

/// A fleet in regions, as the solver's prototypes had it: nodes of 0.2 to 3.2 ms per layer that hold 1 to 14 layers;
/// 0.2 ms within a region, 1 to 21 ms between regions, access of 0.1 to 2.1 ms at either end; 1 Gbit/s. Every pair linked.
#[must_use]
pub fn regional_fleet(num_nodes: u32, num_regions: u64, num_layers: usize, seed: u64) -> Problem {
    let mut problem = fleet_in_regions(num_nodes, num_regions, num_layers, seed);
    let Regions { access, backbone } = std::mem::take(&mut problem.regions);
    let mut between = vec![Nanos::ZERO; (num_regions * num_regions) as usize];
    for entry in backbone {
        between[entry.from.index() * num_regions as usize + entry.to.index()] = entry.segment.latency;
    }
    problem.links = mesh(num_nodes, 1_000, Nanos::ZERO);
    for link in &mut problem.links {
        let (out, into) = (&access[link.from.index()], &access[link.to.index()]);
        let inner = between[out.region.index() * num_regions as usize + into.region.index()];
        link.latency = out.up.latency + inner + into.down.latency;
    }
    problem
}

/// The same fleet with its links as access and backbone: 1 Gbit/s at either end, 10 Gbit/s between.
#[must_use]
pub fn fleet_in_regions(num_nodes: u32, num_regions: u64, num_layers: usize, seed: u64) -> Problem {
    let mut random = Seeded::new(seed);
    let model = round_model(num_layers);
    let (mut nodes, mut access) = (Vec::new(), Vec::new());
    for index in 0..num_nodes {
        let mut node = smollm_node(Bytes::mebi(620 + 114 * random.between(1, 14)));
        let layer = random.between(200, 3_200);
        let point = |(rows, factor)| SpeedPoint {
            rows,
            time: Nanos::from_micros(layer * factor),
        };
        node.speeds[0].layer = [(1, 1), (512, 40)].map(point).to_vec();
        node.speeds[0].head = vec![point((1, 2))];
        node.tier = Tier::Server;
        node.message_overhead = Nanos::from_micros(50);
        nodes.push(node);
        let region = u32::try_from(random.between(0, num_regions - 1)).expect("few regions");
        let way = segment(1_000, Nanos::from_micros(random.between(100, 2_100)));
        access.push(Access {
            node: NodeOrd(index),
            region: RegionOrd(region),
            up: way,
            down: way,
        });
    }
    let regions = || (0..u32::try_from(num_regions).expect("few regions")).map(RegionOrd);
    let mut backbone = Vec::new();
    for (from, to) in regions().flat_map(|from| regions().map(move |to| (from, to))) {
        let drawn = random.between(1_000, 21_000);
        let latency = Nanos::from_micros(if from == to { 200 } else { drawn });
        backbone.push(Backbone {
            from,
            to,
            segment: segment(10_000, latency),
        });
    }
    let mut service = Service::new(vec![FIRST]);
    service.ingress = vec![Ingress {
        node: NodeOrd(0),
        weight: 1,
    }];
    Problem {
        nodes,
        links: Vec::new(),
        regions: Regions { access, backbone },
        models: vec![model],
        services: vec![service],
        loaded: Vec::new(),
        files: Vec::new(),
    }
}

/// A segment of a wired network.
#[must_use]
pub fn segment(megabits: u64, latency: Nanos) -> Segment {
    Segment {
        rate: BytesPerSecond::megabits(megabits),
        spread_milli: 0,
        latency,
        message_overhead: Nanos::from_micros(20),
        price_per_mebibyte: Nanos::ZERO,
    }
}

/// A node known only by what is declared of it.
#[must_use]
pub fn declared_node(memory: Bytes, tier: Tier, flops_per_second: u64, memory_rate: BytesPerSecond) -> Node {
    Node {
        tier,
        speeds: Vec::new(),
        declared: Some(DeclaredSpeed {
            flops_per_second,
            memory_rate,
        }),
        ..smollm_node(memory)
    }
}
