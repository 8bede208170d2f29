//! Rows as text.

use super::Row;

/// The line above the rows.
#[must_use]
pub fn header() -> String {
    format!(
        "{:<64} {:>12} {:>12} {:>7} {:>8} {:>8} {:>12}  objective; source of the reference; note",
        "instance and method", "ours", "bound", "gap", "seconds", "peak MB", "reference"
    )
}

/// One row as one line.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "megabytes for people")]
pub fn line(row: &Row) -> String {
    let dash = || "-".to_owned();
    let bound = row.bound.map_or_else(dash, figure);
    let gap = row.gap.map_or_else(dash, |gap| format!("{:.2}%", gap * 100.0));
    let memory = row
        .peak_memory_bytes
        .map_or_else(dash, |bytes| format!("{:.0}", bytes as f64 / 1e6));
    let reference = row
        .reference
        .as_ref()
        .map_or_else(dash, |seen| figure(seen.figure));
    let source = row.reference.as_ref().map_or("", |seen| &seen.source);
    let words: Vec<&str> = [row.objective.as_str(), source, &row.note]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    format!(
        "{:<64} {:>12} {:>12} {:>7} {:>8.2} {:>8} {:>12}  {}",
        row.name,
        figure(row.ours),
        bound,
        gap,
        row.seconds,
        memory,
        reference,
        words.join("; ")
    )
}

/// Four digits that count, and no exponent.
fn figure(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let digits = [1_000.0, 100.0, 10.0, 1.0];
    let decimals = digits
        .iter()
        .position(|least| value.abs() >= *least)
        .unwrap_or(digits.len());
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_the_header_promises() {
        let row = Row::new("a", "tokens/s", 1_289.56, 1.5)
            .bound(2_045.64)
            .reference(0.1234, "paper")
            .note("n");
        let line = line(&row);
        for word in ["1290", "2046", "36.96%", "1.50", "0.1234", "tokens/s; paper; n"] {
            assert!(line.contains(word), "{word} in {line}");
        }
        let column = |text: &str, word: &str| text.find(word).expect("is there") + word.len();
        assert_eq!(column(&header(), "bound"), column(&line, "2046"));
    }
}
