//! What the head saw of each service's requests: counts, medians and quantiles over the most recent ones that the
//! present pipeline answered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crds::route_table::{ObservedQuantile, ObservedService};

/// Requests that the figures are of.
const WINDOW: usize = 128;
/// Times are told to two significant digits: a median that wanders less than that is no news.
const SIGNIFICANT: i64 = 100;
/// What is reported: the median, the tail that objectives are about, and the worst.
const PERCENTILES: [i32; 6] = [50, 75, 90, 95, 99, 100];

/// Figures by service.
#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<BTreeMap<String, Figures>>);

/// An answered request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// Tokens of its prompt.
    pub(crate) prompt_tokens: u32,
    /// From its arrival at the head to its first token.
    pub(crate) first_token: Duration,
    /// How much of that it waited for a seat.
    pub(crate) waited: Duration,
    /// Between two of its tokens; none for an answer of one.
    pub(crate) per_token: Option<Duration>,
}

#[derive(Debug, Default)]
struct Figures {
    requests: i64,
    /// The wiring that the recent requests went through.
    revision: u64,
    recent: VecDeque<Answered>,
}

impl Observed {
    /// One request that this revision of the service's pipeline answered. Another revision begins anew: it may be another
    /// pipeline, of another speed.
    pub(crate) fn record(&self, service: &str, revision: u64, answered: Answered) {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = services.entry(service.to_owned()).or_default();
        figures.requests += 1;
        if figures.revision != revision {
            figures.revision = revision;
            figures.recent.clear();
        }
        if figures.recent.len() == WINDOW {
            figures.recent.pop_front();
        }
        figures.recent.push_back(answered);
    }

    /// As RouteTable status shows it.
    pub(crate) fn report(&self) -> Vec<ObservedService> {
        let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services
            .iter()
            .map(|(service, figures)| figures.report(service))
            .collect()
    }
}

impl Figures {
    fn report(&self, service: &str) -> ObservedService {
        let recent = self.recent.iter();
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let first = sorted(recent.clone().map(|answered| micros(answered.first_token)));
        let seated = sorted(recent.clone().map(|answered| {
            let seated = answered.first_token.saturating_sub(answered.waited);
            micros(seated)
        }));
        let each = sorted(
            recent
                .clone()
                .filter_map(|answered| answered.per_token.map(micros)),
        );
        let prompts = sorted(recent.map(|answered| i64::from(answered.prompt_tokens)));
        let quantile = |percentile| ObservedQuantile {
            percentile,
            time_to_first_token_microseconds: round(nearest_rank(&first, percentile)),
            time_per_output_token_microseconds: round(nearest_rank(&each, percentile)),
        };
        ObservedService {
            service: service.to_owned(),
            requests: self.requests,
            samples: i32::try_from(self.recent.len()).ok(),
            revision: i64::try_from(self.revision).ok(),
            prompt_tokens: i32::try_from(round(nearest_rank(&prompts, 50))).ok(),
            time_to_first_token_microseconds: round(nearest_rank(&first, 50)),
            seated_to_first_token_microseconds: Some(round(nearest_rank(&seated, 50))),
            time_per_output_token_microseconds: round(nearest_rank(&each, 50)),
            quantiles: PERCENTILES.map(quantile).to_vec(),
            within_objective_parts_per_million: None,
        }
    }
}

fn sorted(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values
}

/// The least value that so many percent are not above; 0 when there is nothing.
fn nearest_rank(sorted: &[i64], percentile: i32) -> i64 {
    let rank = (sorted.len() * percentile.unsigned_abs() as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Two significant digits.
fn round(value: i64) -> i64 {
    let mut scale = 1;
    while value / scale >= SIGNIFICANT {
        scale *= 10;
    }
    (value + scale / 2) / scale * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(micros: u64, prompt_tokens: u32) -> Answered {
        Answered {
            prompt_tokens,
            first_token: Duration::from_micros(micros),
            waited: Duration::from_micros(micros / 2),
            per_token: None,
        }
    }

    fn first_token_at(report: &ObservedService, percentile: i32) -> i64 {
        let mut quantiles = report.quantiles.iter();
        let quantile = quantiles.find(|quantile| quantile.percentile == percentile);
        quantile.expect("reported").time_to_first_token_microseconds
    }

    #[test]
    fn times_are_told_to_two_digits() {
        assert_eq!(
            [round(0), round(7), round(99), round(1234), round(1_260_000)],
            [0, 7, 99, 1200, 1_300_000]
        );
    }

    #[test]
    fn the_figures_are_of_the_most_recent_requests() {
        let observed = Observed::default();
        (0..WINDOW).for_each(|_| observed.record("a/b", 1, answered(10, 30)));
        (0..WINDOW).for_each(|_| observed.record("a/b", 1, answered(50, 35)));
        let report = &observed.report()[0];
        assert_eq!((report.requests, report.prompt_tokens), (256, Some(35)));
        assert_eq!((report.samples, report.revision), (Some(128), Some(1)));
        assert_eq!(report.seated_to_first_token_microseconds, Some(25));
        assert_eq!(
            (first_token_at(report, 50), first_token_at(report, 100)),
            (50, 50)
        );
    }

    #[test]
    fn a_slow_tail_is_seen_where_it_begins() {
        let observed = Observed::default();
        for request in 1..=100 {
            let micros = if request > 92 { 90 } else { 10 };
            observed.record("a/b", 1, answered(micros, 8));
        }
        let report = &observed.report()[0];
        assert_eq!(
            PERCENTILES.map(|percentile| first_token_at(report, percentile)),
            [10, 10, 10, 90, 90, 90]
        );
    }

    #[test]
    fn another_revision_begins_anew_and_requests_count_on() {
        let observed = Observed::default();
        observed.record("a/b", 1, answered(90, 8));
        observed.record("a/b", 2, answered(10, 8));
        let report = &observed.report()[0];
        assert_eq!((report.requests, first_token_at(report, 100)), (2, 10));
        assert_eq!((report.samples, report.revision), (Some(1), Some(2)));
    }

    #[test]
    fn an_answer_of_one_token_says_nothing_about_time_per_token() {
        let observed = Observed::default();
        observed.record("a/b", 1, answered(10, 8));
        let more = Answered {
            per_token: Some(Duration::from_micros(7)),
            ..answered(10, 8)
        };
        observed.record("a/b", 1, more);
        assert_eq!(observed.report()[0].time_per_output_token_microseconds, 7);
    }
}
