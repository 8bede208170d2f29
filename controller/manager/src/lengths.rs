//! How long prompts and answers are: distributions by a few of their percentiles, of the service and of those who ask, as one.
//!
//! A decision is made for the mean answer, and for the prompt at the percentile that the service's objective names, if it
//! promises a time to the first token: so that as many requests as are promised are within it, and not the typical one. Between
//! percentiles, and from 0 tokens at 0 percent, lengths are taken to be spread evenly; beyond the last one none is longer.

use crds::{LLMService, llm_service::TokenQuantile};
use kube::ResourceExt as _;

use crate::world::{ServiceName, World};

/// Lengths of one group of requests: (percentile, tokens), ascending in both.
type Points = Vec<(u64, u64)>;

/// Lengths of all requests of a service; each group with the number of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    groups: Vec<(u64, Points)>,
}

/// Lengths of a service's prompts and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) prompts: Lengths,
    pub(crate) outputs: Lengths,
}

impl Requests {
    /// What users with a demand say, each as often as it asks; where one does not say, what the service says; where nobody asks,
    /// that alone.
    pub(crate) fn of(world: &World, service: &LLMService) -> Self {
        let (name, workload) = (ServiceName::of(service), &service.spec.workload);
        let typical = [
            points(&workload.prompt_token_quantiles, workload.prompt_tokens),
            points(&workload.output_token_quantiles, workload.output_tokens),
        ];
        let mut groups: [Vec<(u64, Points)>; 2] = [vec![], vec![]];
        let users = world
            .users
            .iter()
            .filter(|user| user.namespace().as_deref() == Some(&name.namespace));
        for user in users {
            let demands = user.spec.demands.iter();
            for demand in demands.filter(|demand| demand.service == name.name) {
                let rate = u64::try_from(demand.requests_per_hour).unwrap_or(0).max(1);
                let own = [&demand.prompt_token_quantiles, &demand.output_token_quantiles];
                for ((groups, own), typical) in groups.iter_mut().zip(own).zip(&typical) {
                    let said = if own.is_empty() {
                        typical.clone()
                    } else {
                        points(own, 0)
                    };
                    groups.push((rate, said));
                }
            }
        }
        let [prompts, outputs] = groups.map(Some);
        let whole = |groups: Option<Vec<(u64, Points)>>, typical: &Points| {
            let groups = groups.filter(|groups| !groups.is_empty());
            Lengths {
                groups: groups.unwrap_or_else(|| vec![(1, typical.clone())]),
            }
        };
        Self {
            prompts: whole(prompts, &typical[0]),
            outputs: whole(outputs, &typical[1]),
        }
    }

    /// Tokens of the prompt and of the answer that a decision is made for; together they fit in the context.
    pub(crate) fn decided(&self, service: &LLMService) -> (u32, u32) {
        let slo = &service.spec.slo;
        let prompt = match slo.time_to_first_token_milliseconds {
            Some(_) => self.prompts.at(u64::try_from(slo.percentile).unwrap_or(0)),
            None => self.prompts.mean(),
        };
        let most = u64::try_from(service.spec.context_tokens).unwrap_or(0);
        let output = self.outputs.mean().clamp(1, most.saturating_sub(1).max(1));
        let prompt = prompt.clamp(1, most.saturating_sub(output).max(1));
        let small = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        (small(prompt), small(output))
    }
}

impl Lengths {
    /// The mean, rounded to the nearest token.
    fn mean(&self) -> u64 {
        // Twice a hundred times the mean of each group, so that halves and percents stay whole.
        let of = |points: &Points| {
            let mut before = (0, 0);
            let mut sum = 0_u128;
            for &(percentile, tokens) in points {
                let (from, least) = before;
                sum += u128::from(percentile - from) * u128::from(least + tokens);
                before = (percentile, tokens);
            }
            sum + u128::from(100 - before.0) * 2 * u128::from(before.1)
        };
        let total: u128 = self.groups.iter().map(|(rate, _)| u128::from(*rate)).sum();
        let sum: u128 = self
            .groups
            .iter()
            .map(|(rate, points)| u128::from(*rate) * of(points))
            .sum();
        let whole = total * 200;
        u64::try_from((sum + whole / 2) / whole.max(1)).unwrap_or(u64::MAX)
    }

    /// The fewest tokens that so many percent of all requests do not exceed.
    fn at(&self, percentile: u64) -> u64 {
        let longest = self.groups.iter().filter_map(|(_, points)| points.last());
        let (mut less, mut enough) = (0, longest.map(|point| point.1).max().unwrap_or(0));
        let total: u128 = self.groups.iter().map(|(rate, _)| u128::from(*rate)).sum();
        let holds = |tokens: u64| {
            let within: u128 = self
                .groups
                .iter()
                .map(|(rate, points)| u128::from(*rate) * u128::from(share(points, tokens)))
                .sum();
            within >= total * u128::from(percentile) * u128::from(PART)
        };
        while enough > less + 1 {
            let middle = less.midpoint(enough);
            if holds(middle) {
                enough = middle
            } else {
                less = middle
            }
        }
        enough
    }
}

/// Parts of a percent that shares are counted in.
const PART: u64 = 1_000_000;

/// How many parts of the requests have at most so many tokens.
fn share(points: &Points, tokens: u64) -> u64 {
    let mut before = (0, 0);
    for &(percentile, most) in points {
        if tokens < most {
            let (from, least) = before;
            let along = u128::from(tokens.saturating_sub(least)) * u128::from(PART * (percentile - from));
            let along = along / u128::from((most - least).max(1));
            return PART * from + u64::try_from(along).unwrap_or(0);
        }
        before = (percentile, most);
    }
    PART * 100
}

/// The length of a request whose rank is `rank` of a million.
pub(crate) fn of_rank(quantiles: &[TokenQuantile], rank: u64) -> Option<u32> {
    let points = points(quantiles, 0);
    if quantiles.is_empty() {
        return None;
    }
    let rank = u128::from(rank.min(1_000_000)) * 100;
    let mut before = (0, 0);
    for (percentile, tokens) in points {
        let to = u128::from(percentile) * 1_000_000;
        if rank <= to {
            let from = u128::from(before.0) * 1_000_000_u128;
            let along = u128::from(tokens - before.1) * (rank - from) / (to - from).max(1);
            return u32::try_from(u128::from(before.1) + along)
                .ok()
                .map(|tokens| tokens.max(1));
        }
        before = (percentile, tokens);
    }
    u32::try_from(before.1).ok().map(|tokens| tokens.max(1))
}

/// Percentiles in order, none with fewer tokens than one before it; `typical` for all where there are none.
fn points(quantiles: &[TokenQuantile], typical: i32) -> Points {
    let whole = |number: i32| u64::try_from(number).unwrap_or(0);
    if quantiles.is_empty() {
        // At no percent already: everything has this length.
        return vec![(0, whole(typical)), (100, whole(typical))];
    }
    let pairs = quantiles.iter();
    let mut points: Points = pairs
        .map(|quantile| (whole(quantile.percentile).min(100), whole(quantile.tokens)))
        .collect();
    points.sort_unstable();
    let mut most = 0;
    for (_, tokens) in &mut points {
        most = most.max(*tokens);
        *tokens = most;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(points: &[(i32, i32)]) -> Vec<TokenQuantile> {
        let quantile = |&(percentile, tokens): &(i32, i32)| TokenQuantile { percentile, tokens };
        points.iter().map(quantile).collect()
    }

    /// Lengths of ten thousand requests of each group, as its percentiles say, sorted, each as often as its rate.
    fn drawn(groups: &[(u64, Vec<TokenQuantile>)]) -> Vec<u32> {
        let mut all = vec![];
        for (rate, quantiles) in groups {
            for rank in 0..10_000 {
                let length = of_rank(quantiles, rank * 100 + 50).expect("it has percentiles");
                all.extend(std::iter::repeat_n(length, usize::try_from(*rate).expect("few")));
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn means_and_percentiles_are_those_of_requests_that_are_drawn() {
        let groups = [
            (1, quantiles(&[(50, 200), (90, 900), (99, 4_000)])),
            (3, quantiles(&[(99, 120), (50, 80), (100, 600)])),
            (2, quantiles(&[(100, 1_000)])),
        ];
        for chosen in [&groups[..1], &groups[1..2], &groups[..2], &groups[..]] {
            let lengths = Lengths {
                groups: chosen
                    .iter()
                    .map(|(rate, said)| (*rate, points(said, 0)))
                    .collect(),
            };
            let all = drawn(chosen);
            let mean = all.iter().map(|length| f64::from(*length)).sum::<f64>() / all.len() as f64;
            assert!(
                (lengths.mean() as f64 - mean).abs() <= 1.5,
                "{} {mean}",
                lengths.mean()
            );
            for percentile in [1, 10, 50, 75, 90, 95, 99, 100] {
                let expected = all[(all.len() * percentile / 100).saturating_sub(1)];
                let found = lengths.at(percentile as u64);
                let slack = 3.0 + f64::from(expected) * 0.01;
                assert!(
                    (found as f64 - f64::from(expected)).abs() <= slack,
                    "{percentile}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_typical_request_is_every_request() {
        let lengths = Lengths {
            groups: vec![(7, points(&[], 256))],
        };
        assert_eq!((lengths.mean(), lengths.at(1), lengths.at(100)), (256, 256, 256));
        assert_eq!(of_rank(&[], 500_000), None);
    }
}
