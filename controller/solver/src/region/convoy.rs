//! A forecast of decode throughput that knows of batches: requests move in convoys.
//!
//! A [`Plan`] has groups of nodes; each group serves requests of its own with the whole model, cut into segments, and the
//! nodes of a segment share its requests (`φ_i`, in proportion to `T_i(k)`). Memory for keys and values limits the requests in
//! flight of a group, and continuous batching makes them travel in `c` convoys, so that a node meets batches of `b_i`:
//!
//! ```text
//! N   = min_i  mark · C_i(k) ÷ (φ_i · (prompt + answer))
//! b_i = φ_i · N ÷ c
//! R   = Σ_i φ_i · k · ( ⌈b_i ÷ b_max⌉ · t_decode(b_i ÷ ⌈…⌉) + b_i ÷ answer · t_prompt(prompt) ) + Σ hops
//! F   = N ÷ R,      hop = latency + token seconds · b_ij · (1 + prompt ÷ answer)
//! ```
//!
//! `c = 1` is one convoy, which is pessimistic; `c ≥ 4` is optimistic. The model ranks layouts, it does not promise figures:
//! the simulator decides among the best ([`crate::simulate`]).

use std::ops::Range;

use super::{Cluster, Layout};
use crate::simulate::Routing;

/// Groups of nodes, each cut into segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By group: where segments begin, and the end of the model.
    pub cuts: Vec<Vec<usize>>,
    /// By node: its group and its segment; none if it holds nothing.
    pub seats: Vec<Option<(usize, usize)>>,
}

/// What requests are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Mean tokens of a prompt.
    pub prompt: f64,
    /// Mean tokens of an answer.
    pub answer: f64,
    /// Part of memory that is filled.
    pub mark: f64,
    /// Convoys, `c`.
    pub convoys: f64,
}

/// What the model says of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Tokens of answers per second.
    pub flow: f64,
    /// By group.
    pub flows: Vec<f64>,
}

impl Plan {
    /// The layers of a node.
    #[must_use]
    pub fn range(&self, node: usize) -> Range<usize> {
        self.seats[node].map_or(0..0, |(group, segment)| {
            self.cuts[group][segment]..self.cuts[group][segment + 1]
        })
    }

    /// The layout of a plan.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout((0..self.seats.len()).map(|node| self.range(node)).collect())
    }

    /// By node: the part of its segment's requests that it takes; 0 for those that hold nothing.
    #[must_use]
    pub fn shares(&self, cluster: &Cluster) -> Vec<f64> {
        let mut sums: Vec<Vec<f64>> = self.cuts.iter().map(|cuts| vec![0.0; cuts.len()]).collect();
        let rate = |node: usize| cluster.tokens_per_second(node, &self.range(node));
        for (node, seat) in self.seats.iter().enumerate() {
            if let Some((group, segment)) = seat {
                sums[*group][*segment] += rate(node);
            }
        }
        let share = |(node, seat): (usize, &Option<(usize, usize)>)| {
            seat.map_or(0.0, |(group, segment)| rate(node) / sums[group][segment])
        };
        self.seats.iter().enumerate().map(share).collect()
    }

    /// Who sends to whom: groups by their forecast, then nodes of the next segment by their shares.
    #[must_use]
    pub fn routing(&self, cluster: &Cluster, forecast: &Forecast) -> Routing {
        let shares = self.shares(cluster);
        let door = cluster.door();
        let mut next = vec![Vec::new(); door + 1];
        for (node, seat) in self.seats.iter().enumerate() {
            let Some((group, segment)) = *seat else { continue };
            if segment == 0 {
                next[door].push((node, forecast.flows[group] * shares[node]));
            }
            if segment + 2 == self.cuts[group].len() {
                next[node].push((door, 1.0));
                continue;
            }
            let ahead = Some((group, segment + 1));
            let ahead = (0..door).filter(|other| self.seats[*other] == ahead);
            next[node].extend(ahead.map(|other| (other, shares[other])));
        }
        Routing(next)
    }
}

/// Forecasts plans for one cluster and demand.
pub struct Model<'c> {
    cluster: &'c Cluster,
    demand: Demand,
    /// Seconds of a prompt in one layer, by type.
    prompt_seconds: Vec<f64>,
}

impl<'c> Model<'c> {
    /// Prepares forecasts.
    #[must_use]
    pub fn new(cluster: &'c Cluster, demand: Demand) -> Self {
        let prompt = |kind: &super::NodeType| kind.times.prompt.at(demand.prompt);
        Self {
            cluster,
            demand,
            prompt_seconds: cluster.types.iter().map(prompt).collect(),
        }
    }

    /// The forecast of a plan; none if it cannot be: a segment without nodes, one that does not fit, or a missing link.
    #[must_use]
    pub fn forecast(&self, plan: &Plan) -> Option<Forecast> {
        let mut members: Vec<Vec<Vec<usize>>> = plan
            .cuts
            .iter()
            .map(|cuts| vec![Vec::new(); cuts.len() - 1])
            .collect();
        for (node, seat) in plan.seats.iter().enumerate() {
            if let Some((group, segment)) = *seat {
                if plan.range(node).len() > self.cluster.type_of(node).layers_max() {
                    return None;
                }
                members[group][segment].push(node);
            }
        }
        if members.iter().flatten().any(Vec::is_empty) {
            return None;
        }
        let shares = plan.shares(self.cluster);
        let flows: Option<Vec<f64>> = members
            .iter()
            .map(|segments| self.group(plan, segments, &shares))
            .collect();
        let flows = flows?;
        Some(Forecast {
            flow: flows.iter().sum(),
            flows,
        })
    }

    fn group(&self, plan: &Plan, segments: &[Vec<usize>], shares: &[f64]) -> Option<f64> {
        let Demand {
            prompt,
            answer,
            mark,
            convoys,
        } = self.demand;
        let in_flight = segments
            .iter()
            .flatten()
            .map(|&node| {
                let limit = self.cluster.type_of(node).limits[plan.range(node).len() - 1];
                mark * limit.kv_tokens / (shares[node] * (prompt + answer))
            })
            .fold(f64::INFINITY, f64::min);
        let convoy = in_flight / convoys;
        let computing: f64 = segments
            .iter()
            .flatten()
            .map(|&node| self.node(plan, node, shares[node], convoy))
            .sum();
        let moving = self.hops(segments, shares, convoy)?;
        Some(in_flight / (computing + moving))
    }

    fn node(&self, plan: &Plan, node: usize, share: f64, convoy: f64) -> f64 {
        let kind = self.cluster.type_of(node);
        let layers = plan.range(node).len();
        let batch = share * convoy;
        let batches = (batch / kind.limits[layers - 1].sequences_max as f64)
            .ceil()
            .max(1.0);
        let decode = batches * kind.times.decode.at_least_one_step(batch / batches);
        let prompts = batch / self.demand.answer * self.prompt_seconds[self.cluster.nodes[node].kind];
        share * layers as f64 * (decode + prompts)
    }

    fn hops(&self, segments: &[Vec<usize>], shares: &[f64], convoy: f64) -> Option<f64> {
        let door = [self.cluster.door()];
        let share = |node: usize| shares.get(node).copied().unwrap_or(1.0);
        let stations: Vec<&[usize]> = std::iter::once(door.as_slice())
            .chain(segments.iter().map(Vec::as_slice))
            .chain(std::iter::once(door.as_slice()))
            .collect();
        let mut seconds = 0.0;
        for pair in stations.windows(2) {
            for (&from, &to) in pair[0]
                .iter()
                .flat_map(|from| pair[1].iter().map(move |to| (from, to)))
            {
                let link = self.cluster.link(from, to)?;
                let part = share(from) * share(to);
                let token = self.cluster.token_bytes_between(from, to) / link.rate;
                let load = part * convoy * (1.0 + self.demand.prompt / self.demand.answer);
                seconds += part * (link.latency + token * load);
            }
        }
        Some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{LayerTimes, Limits, Link, Node, NodeType, Times};

    /// Two nodes of four layers; decoding takes 1 ms a layer whatever the batch, prompts nothing.
    fn pair() -> Cluster {
        let kind = NodeType {
            name: String::new(),
            times: LayerTimes {
                prompt: Times::new(&[(1e9, 1e-9)]).expect("times"),
                decode: Times::new(&[(1.0, 1e-3), (1e6, 1e-3)]).expect("times"),
            },
            limits: vec![
                Limits {
                    kv_tokens: 1_000.0,
                    prompts_max: 1,
                    sequences_max: 1_000
                };
                4
            ],
            tokens_per_second: vec![400.0, 200.0, 133.0, 100.0],
        };
        let link = Link {
            rate: 1e15,
            latency: 0.01,
        };
        Cluster {
            num_layers: 4,
            activation_bytes: 1.0,
            token_bytes: 1.0,
            types: vec![kind],
            nodes: vec![Node { kind: 0 }, Node { kind: 0 }],
            links: vec![Some(link); 9],
        }
    }

    const DEMAND: Demand = Demand {
        prompt: 60.0,
        answer: 40.0,
        mark: 1.0,
        convoys: 2.0,
    };

    #[test]
    fn forecasts_are_those_of_the_formula() {
        let cluster = pair();
        let model = Model::new(&cluster, DEMAND);
        let flow = |plan: &Plan| model.forecast(plan).expect("it serves").flow;
        // Ten requests fit; a round is four layers of 1 ms and three hops of 10 ms.
        let chain = Plan {
            cuts: vec![vec![0, 2, 4]],
            seats: vec![Some((0, 0)), Some((0, 1))],
        };
        assert!((flow(&chain) - 10.0 / 0.034).abs() < 0.1, "{}", flow(&chain));
        // Each takes half of the requests, so twenty fit; two hops.
        let shared = Plan {
            cuts: vec![vec![0, 4]],
            seats: vec![Some((0, 0)), Some((0, 0))],
        };
        assert!((flow(&shared) - 20.0 / 0.024).abs() < 0.1, "{}", flow(&shared));
        // Two groups of one node each have the same.
        let apart = Plan {
            cuts: vec![vec![0, 4], vec![0, 4]],
            seats: vec![Some((0, 0)), Some((1, 0))],
        };
        assert!((flow(&apart) - flow(&shared)).abs() < 0.1);
    }

    #[test]
    fn what_cannot_be_has_no_forecast() {
        let mut cluster = pair();
        let empty = Plan {
            cuts: vec![vec![0, 2, 4]],
            seats: vec![Some((0, 0)), None],
        };
        assert_eq!(Model::new(&cluster, DEMAND).forecast(&empty), None);
        let chain = Plan {
            cuts: vec![vec![0, 2, 4]],
            seats: vec![Some((0, 0)), Some((0, 1))],
        };
        cluster.links[1] = None;
        assert_eq!(
            Model::new(&cluster, DEMAND).forecast(&chain),
            None,
            "no link between the two"
        );
        cluster.types[0].limits.truncate(1);
        let shared = Plan {
            cuts: vec![vec![0, 4]],
            seats: vec![Some((0, 0)), Some((0, 0))],
        };
        assert_eq!(
            Model::new(&cluster, DEMAND).forecast(&shared),
            None,
            "only one layer fits"
        );
    }

    #[test]
    fn routings_lead_from_the_door_through_all_layers_and_back() {
        let cluster = pair();
        let model = Model::new(&cluster, DEMAND);
        let apart = Plan {
            cuts: vec![vec![0, 2, 4], vec![0, 4]],
            seats: vec![Some((0, 0)), Some((0, 1))],
        };
        assert_eq!(model.forecast(&apart), None, "the second group has no node");
        let chain = Plan {
            cuts: vec![vec![0, 2, 4]],
            seats: vec![Some((0, 1)), Some((0, 0))],
        };
        let forecast = model.forecast(&chain).expect("it serves");
        let routing = chain.routing(&cluster, &forecast);
        assert_eq!(routing.0[1], [(0, 1.0)]);
        assert_eq!(routing.0[0], [(2, 1.0)]);
        assert_eq!(routing.0[2].iter().map(|(to, _)| *to).collect::<Vec<_>>(), [1]);
        assert_eq!(routing.groups(), [vec![0, 1]]);
    }
}
