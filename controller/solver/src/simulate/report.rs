//! What came out of a simulation.

/// Quantiles of some durations, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Half are shorter.
    pub p50: f64,
    /// Ninety-five of a hundred are shorter.
    pub p95: f64,
    /// How many there were.
    pub count: usize,
}

impl Latency {
    /// Quantiles of these durations; zeros if there are none.
    pub(super) fn of(mut durations: Vec<f64>) -> Self {
        durations.sort_unstable_by(f64::total_cmp);
        let at = |per_cent: usize| {
            durations
                .get(durations.len() * per_cent / 100)
                .copied()
                .unwrap_or_default()
        };
        Self {
            p50: at(50),
            p95: at(95),
            count: durations.len(),
        }
    }
}

/// What was measured in the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Tokens of answers per second.
    pub decode_tokens_per_second: f64,
    /// From a request's arrival until its prompt has gone through, with what it waited at the door.
    pub prompt: Latency,
    /// From one token to the next.
    pub decode: Latency,
    /// By node: part of the window in which it computed.
    pub busy: Vec<f64>,
    /// By node: sequences in a batch, averaged over batches.
    pub batch: Vec<f64>,
    /// Greatest part of a node's memory for keys and values that was really in use. Above 1, the admission was too generous.
    pub kv_peak: f64,
    /// Requests that were done.
    pub finished: usize,
    /// Requests that a saturated load gave up, since no pipeline had memory.
    pub rejected: usize,
    /// Requests that waited at the door when the window ended.
    pub waiting: usize,
    /// Requests on their way when the window ended.
    pub in_flight: usize,
    /// Events that were simulated.
    pub events: u64,
}
