//! Durations as `kubectl` prints ages: `45s`, `5m`, `3h12m`, `2d`, `1y30d`.

use jiff::Timestamp;

/// The time from `then` to `now`, in words; `<invalid>` when `then` lies in the future by more than clocks may differ.
pub fn since(then: Timestamp, now: Timestamp) -> String {
    in_words(now.as_second() - then.as_second())
}

/// A number of seconds in words: two units at most, the coarser the longer it is.
pub fn in_words(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = seconds / 3600;
    let days = hours / 24;
    let years = days / 365;
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..=119 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, "d", hours % 24, "h"),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => two(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        let cases = [
            (-10, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 720, "3h12m"),
            (8 * HOUR + 720, "8h"),
            (47 * HOUR, "47h"),
            (48 * HOUR, "2d"),
            (51 * HOUR, "2d3h"),
            (8 * DAY, "8d"),
            (2 * 365 * DAY - 1, "729d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + 30 * DAY, "2y30d"),
            (8 * 365 * DAY + 30 * DAY, "8y"),
        ];
        for (seconds, words) in cases {
            assert_eq!(in_words(seconds), words, "{seconds} seconds");
        }
    }
}
