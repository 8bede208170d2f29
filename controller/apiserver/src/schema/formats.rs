//! The formats that Kubernetes checks in custom resources. A format that is not listed checks nothing, as there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine;
use regex::Regex;
use serde_json::Value;

/// Whether a number fits an integer format.
pub(super) fn holds_integer(format: &str, value: &Value) -> bool {
    let Some(number) = value.as_i64() else {
        return !(format == "int32" || format == "int64") || value.is_f64();
    };
    format != "int32" || i32::try_from(number).is_ok()
}

/// Whether a text has a format.
pub(super) fn holds_text(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_duration(text),
        "byte" => base64::engine::general_purpose::STANDARD
            .decode(text.replace(['\n', '\r'], ""))
            .is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => MAC.is_match(text),
        "uri" => http::Uri::try_from(text).is_ok_and(|uri| uri.scheme().is_some() || text.starts_with('/')),
        "hostname" => text.len() <= 255 && text.split('.').all(|label| HOST_LABEL.is_match(label)),
        "email" => text
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && host.contains('.')),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID.is_match(text) && uuid_version(text) == Some('3'),
        "uuid4" => UUID.is_match(text) && uuid_version(text) == Some('4'),
        "uuid5" => UUID.is_match(text) && uuid_version(text) == Some('5'),
        "k8s-short-name" => text.len() <= 63 && SHORT_NAME.is_match(text),
        "k8s-long-name" => text.len() <= 253 && text.split('.').all(|label| SHORT_NAME.is_match(label)),
        _ => true,
    }
}

/// Names of the formats above that say something of a text: what `format` may be under CEL and in messages.
static MAC: LazyLock<Regex> = LazyLock::new(|| compile(r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"));
static HOST_LABEL: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"));
static SHORT_NAME: LazyLock<Regex> = LazyLock::new(|| compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"));
static UUID: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"));

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests run")
}

fn uuid_version(text: &str) -> Option<char> {
    text.chars().filter(|c| *c != '-').nth(12)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        _ => false,
    }
}

/// A duration as Go writes it: `1h30m`, `-1.5s`, `0`.
fn is_duration(text: &str) -> bool {
    static DURATION: LazyLock<Regex> =
        LazyLock::new(|| compile(r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"));
    DURATION.is_match(text)
}

#[cfg(test)]
mod tests {
    use super::{holds_integer, holds_text};
    use serde_json::json;

    #[test]
    fn formats_take_what_is_right_and_refuse_what_is_not() {
        let cases = [
            ("date-time", "2026-11-23T00:29:13Z", "yesterday"),
            ("date-time", "2026-11-23T01:29:13.000001+01:00", "2026-11-23"),
            ("date", "2026-11-23", "2026-13-01"),
            ("duration", "1h30m", "90 minutes"),
            ("byte", "YQ==", "?"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "fe80::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("uri", "https://example.com/a", "not a uri"),
            ("hostname", "node-1.example.com", "-node"),
            ("email", "someone@example.com", "someone"),
            ("uuid", "97118d4f-bb78-428f-a31c-67ab735798f7", "97118d4f"),
            (
                "uuid4",
                "97118d4f-bb78-428f-a31c-67ab735798f7",
                "97118d4f-bb78-328f-a31c-67ab735798f7",
            ),
        ];
        for (format, right, wrong) in cases {
            assert!(holds_text(format, right), "{format} takes {right}");
            assert!(!holds_text(format, wrong), "{format} refuses {wrong}");
        }
        assert!(holds_text("of-our-own", "anything"));
    }

    #[test]
    fn int32_is_a_range() {
        assert!(holds_integer("int32", &json!(2_147_483_647)));
        assert!(!holds_integer("int32", &json!(2_147_483_648_i64)));
        assert!(holds_integer("int64", &json!(2_147_483_648_i64)));
    }
}
