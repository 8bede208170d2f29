//! The router's limits.

use std::time::Duration;

/// Limits, each with what it costs. The defaults suit an edge server on a wired link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Longest request body, in bytes. Worst-case memory for bodies is this times `concurrent_requests_max` (and a few
    /// times more while one is parsed).
    pub body_bytes_max: usize,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// Deadline of a request that brings no `X-Request-Timeout`, from arrival to the last byte.
    pub request_timeout_default: Duration,
    /// Longest deadline that a client may ask for; a longer one is refused rather than shortened.
    pub request_timeout_max: Duration,
    /// Generations at a time; one more is answered 429. It bounds the router's own memory: how many sessions a model
    /// holds is the backend's to say.
    pub concurrent_requests_max: usize,
    /// What a client is told to wait when the bound above is reached.
    pub retry_after: Duration,
    /// A stream that is silent for this long gets a comment, so that neither client nor middlebox takes it for dead.
    /// A streaming answer also waits this long at most for its first event before its headers are sent: until then a
    /// refusal still gets its own HTTP status.
    pub keep_alive_interval: Duration,
    /// Whether `/metrics` is served beside users' requests, to whoever asks.
    pub serve_metrics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            body_timeout: Duration::from_secs(30),
            request_timeout_default: Duration::from_secs(10 * 60),
            request_timeout_max: Duration::from_secs(60 * 60),
            concurrent_requests_max: 256,
            retry_after: Duration::from_secs(1),
            keep_alive_interval: Duration::from_secs(5),
            serve_metrics: true,
        }
    }
}
