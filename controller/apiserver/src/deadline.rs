//! How long a request may take: what the server allows, or less, as clients ask with `?timeout=30s`.

use std::time::Duration;

use http::Uri;

use crate::parameters::Parameters;
use crate::status::Status;

/// The time for a request; `most` is what the server allows. Watches have their own.
///
/// # Errors
/// 400 for a `timeout` that is no duration, with upstream's text.
pub(crate) fn of(uri: &Uri, most: Duration) -> Result<Duration, Status> {
    let parameters = Parameters::of(uri)?;
    match parameters.text("timeout") {
        "" => Ok(most),
        text => {
            let asked = parse(text).map_err(|why| {
                Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
            })?;
            // Zero is no wish, and more than the most is not had.
            Ok(if asked.is_zero() { most } else { asked.min(most) })
        }
    }
}

/// A duration as Go writes it: `1m30s`, `1.5h`, `250ms`, `0`. Negative ones count as zero.
fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (unsigned, 0.0);
    while !rest.is_empty() {
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
            };
        rest = next;
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    if text.starts_with('-') {
        return Ok(Duration::ZERO);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_ask_for_less_and_not_for_more() {
        let most = Duration::from_secs(60);
        let of = |query: &str| of(&format!("/api/v1/namespaces{query}").parse().unwrap(), most);
        assert_eq!(of("").unwrap(), most);
        assert_eq!(of("?timeout=0s").unwrap(), most);
        assert_eq!(of("?timeout=32s").unwrap(), Duration::from_secs(32));
        assert_eq!(of("?timeout=1.5s20ms").unwrap(), Duration::from_millis(1520));
        assert_eq!(of("?timeout=1h").unwrap(), most);
        for (wrong, why) in [
            ("invalid", "time: invalid duration \"invalid\""),
            ("3", "time: missing unit in duration \"3\""),
            ("3w", "time: unknown unit \"w\" in duration \"3w\""),
        ] {
            let status = of(&format!("?timeout={wrong}")).unwrap_err();
            assert_eq!(status.code, 400);
            let expected = format!("invalid timeout specified in the request URL - {why}");
            assert_eq!(status.message, expected);
        }
    }
}
