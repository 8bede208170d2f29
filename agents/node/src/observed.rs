//! What the head saw of each service's requests: counts and medians over the most recent ones.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crds::route_table::ObservedService;

/// Requests that a median looks at.
const WINDOW: usize = 128;
/// Times are told to two significant digits: a median that wanders less than that is no news.
const SIGNIFICANT: i64 = 100;

/// Figures by service.
#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<BTreeMap<String, Figures>>);

#[derive(Debug, Default)]
struct Figures {
    requests: i64,
    first_token: VecDeque<Duration>,
    per_token: VecDeque<Duration>,
}

impl Observed {
    /// One answered request: when it arrived, when its first token was there, and how many there were until now.
    pub(crate) fn record(&self, service: &str, arrived: Instant, first_token: Instant, tokens: u32) {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = services.entry(service.to_owned()).or_default();
        figures.requests += 1;
        remember(&mut figures.first_token, first_token.duration_since(arrived));
        if tokens > 1 {
            remember(&mut figures.per_token, first_token.elapsed() / (tokens - 1));
        }
    }

    /// As RouteTable status shows it.
    pub(crate) fn report(&self) -> Vec<ObservedService> {
        let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services
            .iter()
            .map(|(service, figures)| ObservedService {
                service: service.clone(),
                requests: figures.requests,
                time_to_first_token_microseconds: median(&figures.first_token),
                time_per_output_token_microseconds: median(&figures.per_token),
                within_objective_parts_per_million: None,
            })
            .collect()
    }
}

fn remember(window: &mut VecDeque<Duration>, value: Duration) {
    if window.len() == WINDOW {
        window.pop_front();
    }
    window.push_back(value);
}

/// The median in microseconds, rounded; 0 when there is nothing.
fn median(window: &VecDeque<Duration>) -> i64 {
    let mut sorted: Vec<_> = window.iter().collect();
    sorted.sort();
    let middle = sorted
        .get(sorted.len() / 2)
        .map_or(0, |middle| middle.as_micros());
    round(i64::try_from(middle).unwrap_or(i64::MAX))
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

    #[test]
    fn times_are_told_to_two_digits() {
        assert_eq!(
            [round(0), round(7), round(99), round(1234), round(1_260_000)],
            [0, 7, 99, 1200, 1_300_000]
        );
    }

    #[test]
    fn the_median_is_of_the_most_recent_requests() {
        let mut window = VecDeque::new();
        (0..WINDOW).for_each(|_| remember(&mut window, Duration::from_micros(10)));
        (0..WINDOW).for_each(|_| remember(&mut window, Duration::from_micros(50)));
        assert_eq!((window.len(), median(&window)), (WINDOW, 50));
    }
}
