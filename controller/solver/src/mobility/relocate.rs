//! What it costs to move a session that is in the middle of an answer: its KV cache is sent, or only its tokens are, and the
//! cache is computed anew. Each stage of a pipeline decides for itself.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, BytesPerSecond, Nanos};

/// Bytes of a token on a link.
const TOKEN_BYTES: u64 = 4;

/// A session, as far as one stage holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Tokens whose keys and values are held.
    pub context: u64,
    /// Bytes of keys and values of a token, in the layers of the stage.
    pub cache_per_token: Bytes,
    /// What the target needs to compute the stage for a token of a prompt.
    pub prefill_per_token: Nanos,
}

/// The way from the old node to the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Half the round trip.
    pub latency: Nanos,
    /// What the links give.
    pub rate: BytesPerSecond,
}

/// How a session moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Relocation {
    /// Keys and values are sent.
    SendCache,
    /// Tokens are sent, and keys and values computed from them.
    Recompute,
}

/// The quicker way to move a session, the time that it takes, and the bytes that it sends. Of equal times the one that
/// sends less.
///
/// ```text
/// send the cache: latency + context · cache / rate
/// recompute:      latency + context · (4 B / rate + prefill)
/// ```
#[must_use]
pub fn relocation(session: &Session, way: &Way) -> (Relocation, Nanos, Bytes) {
    let cache = session.cache_per_token.times(session.context);
    let tokens = Bytes(TOKEN_BYTES.saturating_mul(session.context));
    let sent = way.latency + transfer(cache, way.rate);
    let recomputed =
        way.latency + transfer(tokens, way.rate) + session.prefill_per_token.times(session.context);
    if (sent, cache) < (recomputed, tokens) {
        (Relocation::SendCache, sent, cache)
    } else {
        (Relocation::Recompute, recomputed, tokens)
    }
}

/// Time of so many bytes; for ever on a link without a rate.
fn transfer(bytes: Bytes, rate: BytesPerSecond) -> Nanos {
    let nanos = (u128::from(bytes.0) * 1_000_000_000).checked_div(rate.0.into());
    match nanos {
        None if bytes == Bytes::ZERO => Nanos::ZERO,
        None => Nanos(u64::MAX),
        Some(nanos) => Nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama-3-8B: 128 KiB a token in all its layers.
    fn llama(prefill_per_second: u64) -> Session {
        Session {
            context: 1_000,
            cache_per_token: Bytes(128 << 10),
            prefill_per_token: Nanos(1_000_000_000 / prefill_per_second),
        }
    }

    #[test]
    fn at_a_gigabit_the_cache_is_sent_unless_the_target_computes_950_tokens_a_second() {
        let way = Way {
            latency: Nanos::from_millis(2),
            rate: BytesPerSecond(125_000_000),
        };
        assert_eq!(relocation(&llama(900), &way).0, Relocation::SendCache);
        assert_eq!(relocation(&llama(1_000), &way).0, Relocation::Recompute);
        let (_, time, bytes) = relocation(&llama(900), &way);
        assert_eq!((time, bytes), (Nanos(1_050_576_000), Bytes(131_072_000)));
    }

    #[test]
    fn a_way_without_a_rate_takes_for_ever_and_an_empty_session_only_the_latency() {
        let way = Way {
            latency: Nanos(7),
            rate: BytesPerSecond(0),
        };
        assert_eq!(relocation(&llama(900), &way).1, Nanos(u64::MAX));
        let empty = Session {
            context: 0,
            ..llama(900)
        };
        assert_eq!(
            relocation(&empty, &way),
            (Relocation::Recompute, Nanos(7), Bytes::ZERO)
        );
    }
}
