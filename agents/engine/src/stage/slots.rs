//! Which positions each session's slot holds, and in which order a batch's rows are computed. Pure: whatever a peer
//! sends is judged here, before llama.cpp sees it.

use crate::{Error, Result, Row};

/// The sessions of a stage.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Positions held, by slot.
    held: Vec<u32>,
    /// Positions that a slot may hold.
    context: u32,
}

/// Rows that are computed in one step, as indices into the batch.
pub(crate) type Step = Vec<usize>;

impl Slots {
    pub(crate) fn new(sessions: u32, context: u32) -> Self {
        Self {
            held: vec![0; sessions as usize],
            context,
        }
    }

    /// Checks a batch and orders its rows into steps.
    ///
    /// Each session has a stream of cells of its own, and llama.cpp cuts a step over several streams into micro-batches
    /// per stream, whose hidden states then come out in another order than the rows went in. So a step holds the rows
    /// of one session, or one row each of several sessions in ascending order of their slots: there the orders agree,
    /// and it makes no difference to a session who else is in the batch.
    pub(crate) fn plan(&self, rows: &[Row]) -> Result<Vec<Step>> {
        let mut by_slot: Vec<Step> = vec![Step::new(); self.held.len()];
        for (index, row) in rows.iter().enumerate() {
            let Some(rows_of_slot) = by_slot.get_mut(row.slot as usize) else {
                return Err(self.unknown(row.slot));
            };
            let expected =
                self.held[row.slot as usize] + u32::try_from(rows_of_slot.len()).expect("batches are short");
            if row.position != expected {
                return Err(Error::Position {
                    slot: row.slot,
                    expected,
                    got: row.position,
                });
            }
            if expected >= self.context {
                return Err(Error::ContextFull {
                    slot: row.slot,
                    needed: expected + 1,
                    context: self.context,
                });
            }
            rows_of_slot.push(index);
        }
        let single: Step = by_slot
            .iter()
            .filter(|rows| rows.len() == 1)
            .flatten()
            .copied()
            .collect();
        let mut steps: Vec<Step> = by_slot.into_iter().filter(|rows| rows.len() > 1).collect();
        if !single.is_empty() {
            steps.push(single);
        }
        Ok(steps)
    }

    /// Notes that the rows were computed.
    pub(crate) fn advance(&mut self, rows: &[Row]) {
        for row in rows {
            self.held[row.slot as usize] = row.position + 1;
        }
    }

    /// Notes that a slot holds `keep` positions from now on.
    pub(crate) fn truncate(&mut self, slot: u32, keep: u32) -> Result<()> {
        let held = *self.held.get(slot as usize).ok_or_else(|| self.unknown(slot))?;
        if keep > held {
            return Err(Error::Position {
                slot,
                expected: held,
                got: keep,
            });
        }
        self.held[slot as usize] = keep;
        Ok(())
    }

    fn unknown(&self, slot: u32) -> Error {
        Error::invalid(
            "slot",
            slot,
            format!("this stage has slots 0..{}", self.held.len()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(slots_and_positions: &[(u32, u32)]) -> Vec<Row> {
        slots_and_positions
            .iter()
            .map(|&(slot, position)| Row { slot, position })
            .collect()
    }

    #[test]
    fn a_prompt_stands_alone_and_single_rows_go_together_by_slot() {
        let mut slots = Slots::new(4, 8);
        slots.advance(&rows(&[(0, 0), (3, 0), (3, 1)]));
        let batch = rows(&[(3, 2), (1, 0), (0, 1), (1, 1), (2, 0)]);
        assert_eq!(slots.plan(&batch).unwrap(), [vec![1, 3], vec![2, 4, 0]]);
    }

    #[test]
    fn a_position_that_does_not_follow_is_refused() {
        let mut slots = Slots::new(2, 8);
        slots.advance(&rows(&[(0, 0), (0, 1)]));
        let refused = |batch: &[(u32, u32)]| slots.plan(&rows(batch)).unwrap_err();
        assert_eq!(
            refused(&[(0, 1)]),
            Error::Position {
                slot: 0,
                expected: 2,
                got: 1
            }
        );
        assert_eq!(
            refused(&[(0, 2), (0, 2)]),
            Error::Position {
                slot: 0,
                expected: 3,
                got: 2
            }
        );
        assert_eq!(
            refused(&[(1, 5)]),
            Error::Position {
                slot: 1,
                expected: 0,
                got: 5
            }
        );
        assert_eq!(
            refused(&[(0, u32::MAX)]),
            Error::Position {
                slot: 0,
                expected: 2,
                got: u32::MAX
            }
        );
    }

    #[test]
    fn a_session_cannot_outgrow_its_cells() {
        let mut slots = Slots::new(1, 3);
        slots.advance(&rows(&[(0, 0), (0, 1)]));
        let refused = slots.plan(&rows(&[(0, 2), (0, 3)])).unwrap_err();
        assert_eq!(
            refused,
            Error::ContextFull {
                slot: 0,
                needed: 4,
                context: 3
            }
        );
    }

    #[test]
    fn an_unknown_slot_is_refused_everywhere() {
        let mut slots = Slots::new(2, 3);
        assert!(matches!(slots.plan(&rows(&[(2, 0)])), Err(Error::Invalid { .. })));
        assert!(matches!(slots.truncate(2, 0), Err(Error::Invalid { .. })));
    }

    #[test]
    fn a_truncated_session_goes_on_where_it_was_cut() {
        let mut slots = Slots::new(1, 8);
        slots.advance(&rows(&[(0, 0), (0, 1), (0, 2)]));
        slots.truncate(0, 1).unwrap();
        assert!(slots.plan(&rows(&[(0, 1)])).is_ok());
        assert_eq!(
            slots.truncate(0, 2),
            Err(Error::Position {
                slot: 0,
                expected: 1,
                got: 2
            })
        );
    }
}
