//! Times of a layer, of both ends and of a message.
//!
//! Measured tables first, interpolated between their points; where nothing was measured a roofline over declared rates,
//! marked as an estimate. How these times add up to a request is [`CostModel`](super::CostModel)'s business.

use crate::problem::{Correction, HISTORY_POSITIONS, Model, Node, Segment, SpeedPoint, SpeedTable, Variant};
use crate::units::{Bytes, BytesPerSecond, Nanos};

/// A request's text on the wire, per token: four characters, JSON around them.
pub(crate) const REQUEST_BYTES_PER_TOKEN: u64 = 6;
/// A request beside its text: headers, parameters.
pub(crate) const REQUEST_BYTES: u64 = 1_024;
/// One streamed token on its way to the ingress: an SSE event with its JSON.
pub(crate) const EVENT_BYTES: u64 = 256;
/// One sampled token on its way to the head, with its frame.
pub(crate) const TOKEN_BYTES: u64 = 64;
/// A token's number among others.
pub(crate) const TOKEN_ID_BYTES: u64 = 4;
/// A frame around hidden states: session, pipeline, revision, position, deadline.
pub(crate) const FRAME_BYTES: u64 = 64;

/// Longest time that a single element may take, 11 days. Sums over all elements of a pipeline then stay far from
/// overflow, and whatever is slower is as useless.
pub(crate) const LONGEST: Nanos = Nanos(1_000_000_000_000_000);

/// What a request's batches are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batches {
    /// Rows of a prefill chunk.
    pub(crate) chunk_rows: u32,
    /// Positions that a session holds before a chunk, mean over the chunks of a prompt.
    pub(crate) chunk_history: u64,
    /// Positions that a session holds before a token, mean over an answer.
    pub(crate) token_history: u64,
    /// Sessions that share a batch at most.
    pub(crate) concurrency: u32,
    /// How tokens come.
    pub(crate) rounds: Rounds,
}

/// How often the pipeline is gone round, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// Rows of a session that go round together.
    pub(crate) rows: u32,
    /// Tokens that a round adds to the answer, in millionths.
    pub(crate) tokens_micro: u64,
}

impl Rounds {
    /// Token by token.
    pub(crate) const SINGLE: Self = Self {
        rows: 1,
        tokens_micro: 1_000_000,
    };

    /// So many drafted tokens, each of which is accepted with this chance, and the large model's own after the last that is:
    /// `E = (1 − a^(γ+1)) / (1 − a)` of Leviathan and others, summed term by term and rounded down, so that nothing is promised
    /// that rounding made.
    pub(crate) fn speculative(tokens: u32, acceptance_percent: u32) -> Self {
        const ONE: u128 = 1_000_000_000_000;
        let (mut sum, mut power) = (0, ONE);
        for _ in 0..=tokens {
            sum += power;
            power = power * u128::from(acceptance_percent) / 100;
        }
        Self {
            rows: tokens + 1,
            tokens_micro: u64::try_from(sum / 1_000_000).unwrap_or(u64::MAX),
        }
    }

    /// What of a round's figure falls to a token of the answer.
    pub(crate) fn per_token(self, of_round: u64) -> u64 {
        if self.tokens_micro == 1_000_000 {
            return of_round;
        }
        let figure = u128::from(of_round) * 1_000_000 / u128::from(self.tokens_micro.max(1));
        u64::try_from(figure).unwrap_or(u64::MAX)
    }

    fn time(self, of_round: Nanos) -> Nanos {
        Nanos(self.per_token(of_round.0))
    }
}

/// Times of one node for one variant, its share of compute and what was learnt of it applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeSpeed {
    /// One layer, a prefill chunk.
    pub(crate) chunk_layer: Nanos,
    /// The model's last layer, a prefill chunk: little is computed for rows that are no output.
    pub(crate) chunk_last_layer: Nanos,
    /// Embedding of a prefill chunk.
    pub(crate) chunk_embedding: Nanos,
    /// One layer, for a token of the answer.
    pub(crate) decode_layer: Nanos,
    /// Embedding, for a token of the answer.
    pub(crate) decode_embedding: Nanos,
    /// The head, for a token of the answer.
    pub(crate) decode_head: Nanos,
    /// The head, one row.
    pub(crate) head: Nanos,
    /// One layer, for a token of each session's answer.
    pub(crate) crowd_layer: Nanos,
    /// Embedding, for a token of each session's answer.
    pub(crate) crowd_embedding: Nanos,
    /// The head, for a token of each session's answer.
    pub(crate) crowd_head: Nanos,
    /// Message in, message out, per batch.
    pub(crate) overhead: Nanos,
    /// The same for a token of the answer.
    pub(crate) decode_overhead: Nanos,
    /// Whether these rest on declared rates.
    pub(crate) estimate: bool,
}

/// How fast a node runs a variant; `None` when nothing is known about it, or it gives models no compute.
///
/// `load_milli` is the work of services that chose earlier, in thousandths of a busy node: processor sharing stretches
/// times by `1 + load`.
pub(crate) fn node_speed(
    node: &Node,
    model: &Model,
    variant: &Variant,
    batches: Batches,
    load_milli: u64,
) -> Option<NodeSpeed> {
    if node.compute_share_milli == 0 {
        return None;
    }
    let source = Source::of(node, model, variant);
    let Batches {
        chunk_rows,
        chunk_history,
        token_history,
        concurrency,
        rounds,
    } = batches;
    let prompt = |time: Nanos| stretch(node, load_milli, source.prompt(time));
    let token = |time: Nanos| stretch(node, load_milli, source.token(time));
    let of_round = |time: Nanos| rounds.time(token(time));
    let (rows, crowd) = (rounds.rows, concurrency.saturating_mul(rounds.rows));
    let crowd_history = match rows {
        1 => source.histories(concurrency, token_history)?,
        _ => source.history(rows, token_history)?.times(u64::from(concurrency)),
    };
    let overhead = node.message_overhead.min(LONGEST);
    let chunk_attention = source.history(chunk_rows, chunk_history)?;
    Some(NodeSpeed {
        chunk_layer: prompt(source.layer(chunk_rows)? + chunk_attention),
        chunk_last_layer: prompt(source.last_layer(chunk_rows)? + chunk_attention),
        chunk_embedding: prompt(source.embedding(chunk_rows)?),
        decode_layer: of_round(source.layer(rows)? + source.history(rows, token_history)?),
        decode_embedding: of_round(source.embedding(rows)?),
        decode_head: of_round(source.head(rows)?),
        head: token(source.head(1)?),
        crowd_layer: of_round(source.layer(crowd)? + crowd_history),
        crowd_embedding: of_round(source.embedding(crowd)?),
        crowd_head: of_round(source.head(crowd)?),
        overhead,
        decode_overhead: rounds.time(overhead),
        estimate: source.table.is_none_or(|table| table.head.is_empty()),
    })
}

/// A time at a node's full speed as it is at its share of compute, which is not zero, beside so much other work.
pub(super) fn stretch(node: &Node, load_milli: u64, time: Nanos) -> Nanos {
    let time = u128::from(time.0) * u128::from(1_000 + load_milli) / u128::from(node.compute_share_milli);
    Nanos(u64::try_from(time).unwrap_or(u64::MAX)).min(LONGEST)
}

/// Where a variant's times on a node come from: what was measured, otherwise what was declared.
pub(super) struct Source<'p> {
    node: &'p Node,
    model: &'p Model,
    variant: &'p Variant,
    table: Option<&'p SpeedTable>,
    correction: Option<&'p Correction>,
}

impl<'p> Source<'p> {
    pub(super) fn of(node: &'p Node, model: &'p Model, variant: &'p Variant) -> Self {
        Self {
            node,
            model,
            variant,
            table: node.speeds.iter().find(|table| table.kernel == variant.kernel),
            correction: node
                .corrections
                .iter()
                .find(|correction| correction.kernel == variant.kernel),
        }
    }

    /// A time of rows of a prompt, corrected by what was observed.
    pub(super) fn prompt(&self, time: Nanos) -> Nanos {
        corrected(time, self.correction.map(|correction| correction.prompt_milli))
    }

    /// A time of single tokens, corrected by what was observed.
    pub(super) fn token(&self, time: Nanos) -> Nanos {
        corrected(time, self.correction.map(|correction| correction.token_milli))
    }

    pub(super) fn layer(&self, rows: u32) -> Option<Nanos> {
        match self.table {
            Some(table) => Some(interpolate(&table.layer, rows)),
            None => {
                let layers = self.variant.layer_bytes.iter().copied().sum::<Bytes>();
                let mean = layers.0 / u64::from(self.variant.num_layers());
                let operations = u128::from(self.model.layer_flops_per_row) * u128::from(rows);
                roofline(self.node, operations, Bytes(mean))
            }
        }
    }

    pub(super) fn head(&self, rows: u32) -> Option<Nanos> {
        match self.table {
            Some(table) if !table.head.is_empty() => Some(interpolate(&table.head, rows)),
            _ => {
                let weights = u128::from(self.model.hidden) * u128::from(self.model.vocabulary);
                roofline(self.node, 2 * weights * u128::from(rows), self.variant.head_bytes)
            }
        }
    }

    /// The model's last layer for rows of a prompt.
    pub(super) fn last_layer(&self, rows: u32) -> Option<Nanos> {
        let layer = self.layer(rows)?;
        match self.table {
            Some(table) if !table.prompt_end.is_empty() => {
                let end = interpolate(&table.prompt_end, rows);
                Some(end.saturating_sub(self.head(1)?).min(layer))
            }
            _ => Some(layer),
        }
    }

    /// What so many positions that were held before add to a layer: scores and sums of two operations for each element.
    pub(super) fn history(&self, rows: u32, positions: u64) -> Option<Nanos> {
        let Some(table) = self.table else {
            let cells = u128::from(rows) * u128::from(positions);
            let bytes = Bytes(self.model.kv_bytes_per_token_and_layer.saturating_mul(positions));
            return roofline(self.node, 4 * u128::from(self.model.hidden) * cells, bytes);
        };
        if table.history.is_empty() {
            return Some(Nanos::ZERO);
        }
        let measured = u128::from(interpolate(&table.history, rows).0);
        let time = measured * u128::from(positions) / u128::from(HISTORY_POSITIONS);
        Some(Nanos(u64::try_from(time).unwrap_or(u64::MAX)).min(LONGEST))
    }

    /// The same for one token of each of some sessions, whose positions are their own and are all read.
    pub(super) fn histories(&self, sessions: u32, positions: u64) -> Option<Nanos> {
        match self.table {
            Some(_) => self.history(sessions, positions),
            None => self.history(1, positions.saturating_mul(u64::from(sessions))),
        }
    }

    pub(super) fn embedding(&self, rows: u32) -> Option<Nanos> {
        match self.table {
            Some(table) => Some(table.embedding_row.times(u64::from(rows))),
            None => self.node.declared.map(|declared| {
                let bytes = u64::from(rows) * u64::from(self.model.hidden) * 4;
                transfer(Bytes(bytes), declared.memory_rate)
            }),
        }
    }
}

fn corrected(time: Nanos, factor_milli: Option<u32>) -> Nanos {
    match factor_milli {
        None => time,
        Some(factor) => {
            let time = u128::from(time.0) * u128::from(factor) / 1_000;
            Nanos(u64::try_from(time).unwrap_or(u64::MAX)).min(LONGEST)
        }
    }
}

/// Time of `rows` rows, piecewise linear between measured points. Below the first point its time holds (a batch costs at
/// least that much); beyond the last one the last slope goes on, or the ratio to a single point.
pub(crate) fn interpolate(points: &[SpeedPoint], rows: u32) -> Nanos {
    let (first, last) = (points[0], points[points.len() - 1]);
    if rows <= first.rows {
        return first.time;
    }
    if points.len() == 1 {
        let time = u128::from(last.time.0) * u128::from(rows) / u128::from(last.rows);
        return Nanos(u64::try_from(time).unwrap_or(u64::MAX));
    }
    let right = points
        .partition_point(|point| point.rows < rows)
        .min(points.len() - 1);
    let (below, above) = (points[right - 1], points[right]);
    let rise = i128::from(above.time.0) - i128::from(below.time.0);
    let time =
        i128::from(below.time.0) + rise * i128::from(rows - below.rows) / i128::from(above.rows - below.rows);
    // A falling last slope must not fall below what was measured.
    let floor = if rows > last.rows {
        i128::from(last.time.0)
    } else {
        0
    };
    Nanos(u64::try_from(time.max(floor)).unwrap_or(u64::MAX))
}

/// `max(operations / rate, weights / memory rate)`, solver design 4.3 with efficiencies folded into the declared rates.
fn roofline(node: &Node, operations: u128, bytes: Bytes) -> Option<Nanos> {
    let declared = node.declared?;
    let compute = operations * 1_000_000_000 / u128::from(declared.flops_per_second);
    let compute = Nanos(u64::try_from(compute).unwrap_or(u64::MAX));
    Some(compute.max(transfer(bytes, declared.memory_rate)))
}

/// Time of so many bytes at a rate, rounded up.
pub(crate) fn transfer(bytes: Bytes, rate: BytesPerSecond) -> Nanos {
    let time = (u128::from(bytes.0) * 1_000_000_000).div_ceil(u128::from(rate.0.max(1)));
    Nanos(u64::try_from(time).unwrap_or(u64::MAX)).min(LONGEST)
}

/// Latency and overhead of one message on a segment.
pub(crate) fn message_latency(segment: &Segment) -> Nanos {
    (segment.latency + segment.message_overhead).min(LONGEST)
}

/// Price of so many bytes on a segment.
pub(crate) fn traffic_cost(segment: &Segment, bytes: Bytes) -> u64 {
    let cost = u128::from(bytes.0) * u128::from(segment.price_per_mebibyte.0) / (1 << 20);
    u64::try_from(cost).unwrap_or(u64::MAX).min(LONGEST.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> [SpeedPoint; 3] {
        [(1, 100), (8, 170), (64, 1_290)].map(|(rows, time)| SpeedPoint {
            rows,
            time: Nanos(time),
        })
    }

    #[test]
    fn times_are_linear_between_measured_points_and_beyond_the_last() {
        for (rows, time) in [(1, 100), (2, 110), (8, 170), (36, 730), (64, 1_290), (128, 2_570)] {
            assert_eq!(interpolate(&points(), rows), Nanos(time), "{rows} rows");
        }
    }

    #[test]
    fn a_single_point_scales_with_the_rows_above_it() {
        let point = [SpeedPoint {
            rows: 4,
            time: Nanos(100),
        }];
        assert_eq!(interpolate(&point, 1), Nanos(100));
        assert_eq!(interpolate(&point, 8), Nanos(200));
    }

    #[test]
    fn a_megabyte_at_fifty_megabits_takes_160_milliseconds() {
        assert_eq!(
            transfer(Bytes(1_000_000), BytesPerSecond::megabits(50)),
            Nanos::from_millis(160)
        );
    }
}
