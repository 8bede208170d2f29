//! One row in one byte per number, but for its eight largest, which are kept in f32: without them the one
//! huge number that a first token's residual carries would leave one step for all the others.
//!
//! ```text
//! scale f32 │ 8 × (column u16, value f32) │ width × i8        (little endian)
//! ```
//! A number that is not an outlier is `scale × i8`, with `scale` the largest of them over 127. Rows
//! narrower than eight pad the list of outliers with their first column.

use bytes::{BufMut, BytesMut};

use super::Error;

/// How many numbers of a row are kept in f32.
const OUTLIERS: usize = 8;
/// Bytes of one outlier: its column and its value.
const OUTLIER_BYTES: usize = 2 + 4;
const SCALE_BYTES: usize = 4;

pub(super) fn row_bytes(width: usize) -> usize {
    SCALE_BYTES + OUTLIERS * OUTLIER_BYTES + width
}

pub(super) fn encode_row(row: &[f32], out: &mut BytesMut) {
    let outliers = largest_columns(row);
    let is_outlier = |column: usize| outliers.contains(&column);
    let largest = row
        .iter()
        .enumerate()
        .filter(|(column, value)| !is_outlier(*column) && value.is_finite())
        .fold(0.0f32, |largest, (_, value)| largest.max(value.abs()));
    let scale = largest / 127.0;
    // Rows so small that the step is subnormal are written as zeros: its inverse would overflow.
    let inverse = if scale.is_normal() { scale.recip() } else { 0.0 };
    out.put_f32_le(scale);
    for column in outliers {
        out.put_u16_le(column as u16);
        out.put_f32_le(row[column]);
    }
    for (column, value) in row.iter().enumerate() {
        // A float becomes the nearest i8 there is: the cast saturates, and NaN becomes 0.
        out.put_i8(if is_outlier(column) {
            0
        } else {
            (value * inverse).round() as i8
        });
    }
}

/// The columns of the eight numbers of largest magnitude, NaN counting as the largest, so that it is seen
/// on the other side; ties go to the lower column. Found by one pass that keeps the eight sorted.
fn largest_columns(row: &[f32]) -> [usize; OUTLIERS] {
    let mut columns = [0usize; OUTLIERS];
    let mut magnitudes = [-1.0f32; OUTLIERS];
    for (column, value) in row.iter().enumerate() {
        let magnitude = if value.is_nan() {
            f32::INFINITY
        } else {
            value.abs()
        };
        if magnitude <= magnitudes[OUTLIERS - 1] {
            continue;
        }
        let at = magnitudes
            .iter()
            .position(|kept| magnitude > *kept)
            .unwrap_or(OUTLIERS - 1);
        columns[at..].rotate_right(1);
        magnitudes[at..].rotate_right(1);
        columns[at] = column;
        magnitudes[at] = magnitude;
    }
    columns
}

/// `bytes` holds exactly one row.
pub(super) fn decode_row(bytes: &[u8], width: usize, values: &mut Vec<f32>) -> Result<(), Error> {
    let (scale, rest) = bytes.split_first_chunk().expect("the caller cut whole rows");
    let (outliers, small) = rest.split_at(OUTLIERS * OUTLIER_BYTES);
    let scale = f32::from_le_bytes(*scale);
    let start = values.len();
    values.extend(small.iter().map(|byte| f32::from(*byte as i8) * scale));
    let row = &mut values[start..];
    for [c0, c1, v0, v1, v2, v3] in outliers.as_chunks::<OUTLIER_BYTES>().0 {
        let column = usize::from(u16::from_le_bytes([*c0, *c1]));
        let value = row.get_mut(column).ok_or(Error::Column { column, width })?;
        *value = f32::from_le_bytes([*v0, *v1, *v2, *v3]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outliers_are_the_largest_by_magnitude() {
        let row: Vec<f32> = (0..20)
            .map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) })
            .collect();
        let mut columns = largest_columns(&row);
        columns.sort_unstable();
        assert_eq!(columns, [12, 13, 14, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn a_nan_is_still_a_nan_on_the_other_side() {
        let mut row = vec![1.0f32; 32];
        row[17] = f32::NAN;
        let mut bytes = BytesMut::new();
        encode_row(&row, &mut bytes);
        let mut back = Vec::new();
        decode_row(&bytes, 32, &mut back).unwrap();
        assert!(back[17].is_nan() && back.iter().filter(|value| value.is_nan()).count() == 1);
    }

    #[test]
    fn a_column_outside_the_row_is_refused() {
        let mut bytes = BytesMut::new();
        encode_row(&[1.0; 10], &mut bytes);
        bytes[4] = 10;
        assert_eq!(
            decode_row(&bytes, 10, &mut Vec::new()),
            Err(Error::Column {
                column: 10,
                width: 10
            })
        );
    }
}
