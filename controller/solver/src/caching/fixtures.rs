//! Problems for tests and benchmarks: the setting of a published figure, and grids of any size. No part of the flow.

use super::delivery::{Cell, Delivery, Request};
use super::{CachingProblem, Demand, Server};
use crate::random::Random;
use crate::units::{BlockOrd, Bytes, BytesPerSecond, ModelOrd, Nanos, ReachOrd, ServerOrd};

/// How a model popularity falls with its rank: the exponent of Zipf's law in both settings.
const ZIPF: f64 = 0.8;

/// Base models with so many adapters each: a base is one block, and each model is its base and a block of its own.
struct Adapters {
    /// Size of each base.
    bases: Vec<Bytes>,
    /// Base of each model.
    base: Vec<usize>,
    /// Size of each adapter, 0.5 to 40.5 MB.
    sizes: Vec<Bytes>,
}

impl Adapters {
    fn draw(bases: Vec<Bytes>, base: Vec<usize>, random: &mut Random) -> Self {
        let sizes = base
            .iter()
            .map(|_| Bytes(500_000 + random.below(40_000_001) as u64))
            .collect();
        Self { bases, base, sizes }
    }

    fn blocks(&self) -> Vec<Bytes> {
        self.bases.iter().chain(&self.sizes).copied().collect()
    }

    fn models(&self) -> Vec<Vec<BlockOrd>> {
        let models = self.base.iter().enumerate();
        models
            .map(|(model, base)| {
                vec![
                    BlockOrd::from_index(*base),
                    BlockOrd::from_index(self.bases.len() + model),
                ]
            })
            .collect()
    }
}

/// Servers on a square grid, each reaching its own cell and six around it, as hexagons do; ten requests per user.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Servers along each side.
    pub side: u32,
    /// Users, spread evenly at random.
    pub users: u32,
    /// Base models, of 0.5 to 4 GB.
    pub bases: u32,
    /// Adapters of each base.
    pub adapters: u32,
    /// Storage of each server.
    pub capacity: Bytes,
    /// Equal seeds give equal problems.
    pub seed: u64,
}

impl Grid {
    /// The setting of the design's prototype: all reach within the deadline, popularity is Zipf's over all models with
    /// the bases mixed, a user's `n`-th request is worth `1/n`.
    #[must_use]
    pub fn problem(&self) -> CachingProblem {
        let mut random = Random::seeded(self.seed);
        let bases = (0..self.bases)
            .map(|base| Bytes(500_000_000 + u64::from(base % 6) * 700_000_000))
            .collect();
        let num_models = (self.bases * self.adapters) as usize;
        let base = (0..num_models).map(|model| model % self.bases as usize).collect();
        let adapters = Adapters::draw(bases, base, &mut random);
        let num_cells = self.side * self.side;
        let popularity = Zipf::new(num_models);
        let mut demands = Vec::with_capacity(self.users as usize * 10);
        for _ in 0..self.users {
            let reach = ReachOrd::from_index(random.below(num_cells as usize));
            for nth in 1..=10_u64 {
                let model = ModelOrd::from_index(popularity.draw(&mut random));
                demands.push(Demand {
                    reach,
                    model,
                    value: 2_520 / nth,
                });
            }
        }
        let server = Server {
            capacity: self.capacity,
            held: Vec::new(),
        };
        CachingProblem {
            servers: vec![server; num_cells as usize],
            blocks: adapters.blocks(),
            models: adapters.models(),
            reaches: (0..num_cells).map(|cell| self.reach(cell)).collect(),
            demands,
            fetch_price: 0,
        }
    }

    fn reach(&self, cell: u32) -> Vec<ServerOrd> {
        let side = i64::from(self.side);
        let (row, column) = (i64::from(cell) / side, i64::from(cell) % side);
        let around = [(-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0)];
        let cells = around.map(|(down, right)| (row + down, column + right));
        let inside = |at: &(i64, i64)| (0..side).contains(&at.0) && (0..side).contains(&at.1);
        let ordinal = |at: (i64, i64)| ServerOrd(u32::try_from(at.0 * side + at.1).expect("within the grid"));
        cells.into_iter().filter(inside).map(ordinal).collect()
    }
}

/// The survey's figure on caching with shared parameters: 12 servers and 40 users on a square kilometre, 100 LoRA adapters
/// over the three sizes of GPT-2, requests by Zipf's law over 30 models per user. Radio, backhaul and deadlines as in
/// TrimCaching (arXiv 2405.03990), deadlines stretched to the size of GPT-2: 20 to 40 s.
///
/// # Panics
/// Never: the setting is meaningful.
#[must_use]
pub fn gpt2_adapters(capacity: Bytes, seed: u64) -> CachingProblem {
    let mut random = Random::seeded(seed);
    let servers: Vec<Place> = (0..12).map(|_| Place::draw(&mut random)).collect();
    let users: Vec<Place> = (0..40).map(|_| Place::draw(&mut random)).collect();
    let bases = vec![Bytes(548_000_000), Bytes(1_520_000_000), Bytes(3_020_000_000)];
    let base: Vec<usize> = [(0, 40), (1, 30), (2, 30)]
        .into_iter()
        .flat_map(|(base, count)| vec![base; count])
        .collect();
    let adapters = Adapters::draw(bases, base, &mut random);
    let covered: Vec<Vec<usize>> = users.iter().map(|user| user.covered_by(&servers)).collect();
    let mut load = vec![0_u32; servers.len()];
    covered.iter().flatten().for_each(|server| load[*server] += 1);
    let cell = |(user, covered): (&Place, &Vec<usize>)| Cell {
        rates: covered
            .iter()
            .map(|server| {
                (
                    ServerOrd::from_index(*server),
                    radio_rate(user.distance(servers[*server]), load[*server]),
                )
            })
            .collect(),
        requests: requests_of_user(adapters.base.len(), &mut random),
    };
    let delivery = Delivery {
        servers: vec![
            Server {
                capacity,
                held: Vec::new(),
            };
            servers.len()
        ],
        blocks: adapters.blocks(),
        models: adapters.models(),
        cells: users.iter().zip(&covered).map(cell).collect(),
        backhaul: Some(BytesPerSecond::megabits(10_000)),
        fetch_price: 0,
    };
    delivery.problem().expect("a meaningful setting")
}

/// Thirty models in random order, the first asked for most; a million units of worth per user.
fn requests_of_user(num_models: usize, random: &mut Random) -> Vec<Request> {
    let mut models: Vec<usize> = (0..num_models).collect();
    for at in (1..models.len()).rev() {
        models.swap(at, random.below(at + 1));
    }
    let ranks: Vec<f64> = (1..=30_u32).map(|rank| f64::from(rank).powf(-ZIPF)).collect();
    let total: f64 = ranks.iter().sum();
    let request = |(model, weight): (&usize, &f64)| Request {
        model: ModelOrd::from_index(*model),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0..=10^6"
        )]
        value: (weight / total * 1e6) as u64,
        deadline: Nanos::from_millis(20_000 + random.below(20_001) as u64),
        inference: Nanos::ZERO,
    };
    models.iter().zip(&ranks).map(request).collect()
}

/// A place on a square kilometre, in metres.
#[derive(Clone, Copy, Debug)]
struct Place {
    x: f64,
    y: f64,
}

/// How far a server's radio reaches, in metres.
const COVERAGE: f64 = 275.0;

impl Place {
    fn draw(random: &mut Random) -> Self {
        Self {
            x: random.unit() * 1_000.0,
            y: random.unit() * 1_000.0,
        }
    }

    fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// Servers within coverage, or else the nearest.
    fn covered_by(self, servers: &[Self]) -> Vec<usize> {
        let within = |(_, server): &(usize, &Self)| self.distance(**server) <= COVERAGE;
        let covered: Vec<usize> = servers
            .iter()
            .enumerate()
            .filter(within)
            .map(|(index, _)| index)
            .collect();
        if !covered.is_empty() {
            return covered;
        }
        let by_distance = |one: &usize, other: &usize| {
            let (one, other) = (self.distance(servers[*one]), self.distance(servers[*other]));
            one.total_cmp(&other)
        };
        (0..servers.len()).min_by(by_distance).into_iter().collect()
    }
}

/// Shannon rate of an equal share of 400 MHz and 43 dBm among users of whom half are active; path loss exponent 4, noise
/// of -174 dBm/Hz.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is far below 2^64"
)]
fn radio_rate(distance: f64, num_users: u32) -> BytesPerSecond {
    let active = (0.5 * f64::from(num_users.max(1))).max(1.0);
    let (hertz, watts) = (400e6 / active, 20.0 / active);
    let noise = 10_f64.powf(-20.4) * hertz;
    let bits = hertz * (1.0 + watts * distance.max(10.0).powi(-4) / noise).log2();
    BytesPerSecond((bits / 8.0) as u64)
}

/// Ranks with probabilities that fall as `1 / rank^0.8`.
struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    #[allow(clippy::cast_precision_loss, reason = "ranks are small")]
    fn new(num_ranks: usize) -> Self {
        let mut total = 0.0;
        let weights = (1..=num_ranks).map(|rank| (rank as f64).powf(-ZIPF));
        Self {
            cumulated: weights
                .map(|weight| {
                    total += weight;
                    total
                })
                .collect(),
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        let total = self.cumulated.last().copied().unwrap_or(0.0);
        let drawn = random.unit() * total;
        self.cumulated
            .partition_point(|sum| *sum <= drawn)
            .min(self.cumulated.len() - 1)
    }
}
