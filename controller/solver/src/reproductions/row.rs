//! One line of the table.

use serde::Serialize;

/// A figure of somebody else, or of an earlier run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// In the row's unit.
    pub figure: f64,
    /// Who says so, and where.
    pub source: String,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Instance and method.
    pub name: String,
    /// What is measured, with its unit. A bound and a gap are for this objective and no other.
    pub objective: String,
    /// The figure that was reached.
    pub ours: f64,
    /// What no answer can surpass; none where nothing is proven.
    pub bound: Option<f64>,
    /// By what part of the better one `ours` and `bound` differ, from 0 to 1.
    pub gap: Option<f64>,
    /// What solving took, in seconds.
    pub seconds: f64,
    /// Bytes at the worst moment, where the caller can tell.
    pub peak_memory_bytes: Option<u64>,
    /// What is published, or was reached before.
    pub reference: Option<Seen>,
    /// What has to be known to read the figure.
    pub note: String,
}

impl Row {
    /// A row with a figure, and nothing to compare it with yet.
    #[must_use]
    pub fn new(name: impl Into<String>, objective: impl Into<String>, ours: f64, seconds: f64) -> Self {
        Self {
            name: name.into(),
            objective: objective.into(),
            ours,
            bound: None,
            gap: None,
            seconds,
            peak_memory_bytes: None,
            reference: None,
            note: String::new(),
        }
    }

    /// With a proven bound, from either side, and so with a gap.
    #[must_use]
    pub fn bound(self, bound: f64) -> Self {
        let greater = bound.abs().max(self.ours.abs());
        let gap = if greater == 0.0 {
            0.0
        } else {
            (bound - self.ours).abs() / greater
        };
        Self {
            bound: Some(bound),
            gap: Some(gap),
            ..self
        }
    }

    /// With a figure to compare it with.
    #[must_use]
    pub fn reference(self, figure: f64, source: impl Into<String>) -> Self {
        Self {
            reference: Some(Seen {
                figure,
                source: source.into(),
            }),
            ..self
        }
    }

    /// With the memory of the process.
    #[must_use]
    pub fn memory(self, peak_memory_bytes: Option<u64>) -> Self {
        Self {
            peak_memory_bytes,
            ..self
        }
    }

    /// With a remark.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_a_part_of_the_greater_figure() {
        let gap = |ours, bound| {
            Row::new("", "", ours, 0.0)
                .bound(bound)
                .gap
                .expect("there is a bound")
        };
        assert!((gap(90.0, 100.0) - 0.1).abs() < 1e-12);
        assert!((gap(100.0, 90.0) - 0.1).abs() < 1e-12);
        assert_eq!(gap(0.0, 0.0), 0.0);
    }
}
