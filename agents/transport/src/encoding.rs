//! How rows of activations are written for the wire: f32, f16, or int8 with a few outliers kept in f32.
//! Pure: rows of numbers in, bytes out, and back. Which encoding a hop uses is said by the plan.
//!
//! Sizes per row of width `w`: f32 `4w`, f16 `2w`, int8 with outliers `4 + 8 × 6 + w`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

mod half;
mod int8;

/// How the rows of a payload are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Not rows of numbers: tokens, or what the agents agreed on.
    Opaque = 0,
    /// Each number in four bytes, exactly as it was computed.
    F32 = 1,
    /// Each number rounded to IEEE 754 binary16; what is too large for it becomes its largest number.
    F16 = 2,
    /// Per row: a scale, the eight largest numbers in f32 with their columns, the others in one byte.
    Int8Outliers = 3,
}

impl Encoding {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Opaque, Self::F32, Self::F16, Self::Int8Outliers]
            .into_iter()
            .find(|encoding| *encoding as u8 == byte)
    }

    /// Bytes of one row of `width` numbers; `None` for what has no rows.
    pub fn row_bytes(self, width: usize) -> Option<usize> {
        match self {
            Self::Opaque => None,
            Self::F32 => Some(4 * width),
            Self::F16 => Some(2 * width),
            Self::Int8Outliers => Some(int8::row_bytes(width)),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Opaque => "opaque",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8Outliers => "int8+outliers",
        })
    }
}

/// Why rows cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The numbers or bytes are not a whole number of rows.
    #[error("{length} {unit} are not a whole number of rows of width {width} in {encoding}")]
    NotWholeRows {
        /// How many there are.
        length: usize,
        /// Numbers or bytes.
        unit: &'static str,
        /// Numbers per row.
        width: usize,
        /// The encoding asked for.
        encoding: Encoding,
    },
    /// Opaque payloads hold no rows.
    #[error("an opaque payload holds no rows")]
    Opaque,
    /// Rows wider than a column number can say.
    #[error("rows of width {0} are not supported, 1 to 65536 are")]
    Width(usize),
    /// An outlier names a column that the row does not have.
    #[error("outlier in column {column} of a row of width {width}")]
    Column {
        /// The column named.
        column: usize,
        /// Numbers per row.
        width: usize,
    },
}

/// The widest row: columns of outliers are numbered in 16 bits.
const MAX_WIDTH: usize = 1 << 16;

/// Writes `values`, which are rows of `width` numbers one after the other.
pub fn encode(encoding: Encoding, values: &[f32], width: usize) -> Result<Bytes, Error> {
    check_width(width)?;
    let row_bytes = encoding.row_bytes(width).ok_or(Error::Opaque)?;
    if !values.len().is_multiple_of(width) {
        return Err(Error::NotWholeRows {
            length: values.len(),
            unit: "numbers",
            width,
            encoding,
        });
    }
    let mut out = BytesMut::with_capacity(values.len() / width * row_bytes);
    match encoding {
        Encoding::Opaque => return Err(Error::Opaque),
        Encoding::F32 => values.iter().for_each(|value| out.put_f32_le(*value)),
        Encoding::F16 => values
            .iter()
            .for_each(|value| out.put_u16_le(half::from_f32(*value))),
        Encoding::Int8Outliers => values
            .chunks_exact(width)
            .for_each(|row| int8::encode_row(row, &mut out)),
    }
    Ok(out.freeze())
}

/// Reads what [`encode`] wrote, appending rows of `width` numbers to `values`; returns how many rows.
pub fn decode(encoding: Encoding, bytes: &[u8], width: usize, values: &mut Vec<f32>) -> Result<usize, Error> {
    let rows = rows_in(encoding, bytes.len(), width)?;
    values.reserve(rows * width);
    match encoding {
        Encoding::Opaque => return Err(Error::Opaque),
        Encoding::F32 => {
            values.extend(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)));
        }
        Encoding::F16 => {
            values.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|two| half::to_f32(u16::from_le_bytes(*two))),
            );
        }
        Encoding::Int8Outliers => {
            for row in bytes.chunks_exact(int8::row_bytes(width)) {
                int8::decode_row(row, width, values)?;
            }
        }
    }
    Ok(rows)
}

/// How many rows of `width` numbers are in a payload of `length` bytes, without reading it.
pub fn rows_in(encoding: Encoding, length: usize, width: usize) -> Result<usize, Error> {
    check_width(width)?;
    let row_bytes = encoding.row_bytes(width).ok_or(Error::Opaque)?;
    if !length.is_multiple_of(row_bytes) {
        return Err(Error::NotWholeRows {
            length,
            unit: "bytes",
            width,
            encoding,
        });
    }
    Ok(length / row_bytes)
}

fn check_width(width: usize) -> Result<(), Error> {
    if (1..=MAX_WIDTH).contains(&width) {
        Ok(())
    } else {
        Err(Error::Width(width))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows as a model makes them: most numbers small, a few huge.
    fn rows() -> impl Strategy<Value = (Vec<f32>, usize)> {
        let value = prop_oneof![20 => -4.0f32..4.0, 1 => -30_000.0f32..30_000.0, 1 => Just(0.0)];
        (1usize..200, 0usize..4).prop_flat_map(move |(width, rows)| {
            (prop::collection::vec(value.clone(), width * rows), Just(width))
        })
    }

    fn there_and_back(encoding: Encoding, values: &[f32], width: usize) -> Vec<f32> {
        let bytes = encode(encoding, values, width).unwrap();
        assert_eq!(
            bytes.len(),
            values.len() / width * encoding.row_bytes(width).unwrap()
        );
        let mut out = Vec::new();
        assert_eq!(
            decode(encoding, &bytes, width, &mut out).unwrap(),
            values.len() / width
        );
        out
    }

    proptest! {
        #[test]
        fn f32_is_exact_bit_by_bit(bits in prop::collection::vec(any::<u32>(), 12)) {
            let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
            let back: Vec<u32> = there_and_back(Encoding::F32, &values, 4).iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(back, bits);
        }

        #[test]
        fn f16_errs_by_at_most_half_a_unit_in_the_last_place((values, width) in rows()) {
            for (value, back) in values.iter().zip(there_and_back(Encoding::F16, &values, width)) {
                // 11 significant bits; below 2^-14 the step is 2^-24.
                let bound = (value.abs() / 2048.0).max(2.0f32.powi(-25));
                prop_assert!((value - back).abs() <= bound, "{value} became {back}");
            }
        }

        #[test]
        fn int8_keeps_the_eight_largest_exactly_and_errs_by_half_a_step_elsewhere((values, width) in rows()) {
            let back = there_and_back(Encoding::Int8Outliers, &values, width);
            for (row, back) in values.chunks(width).zip(back.chunks(width)) {
                let mut magnitudes: Vec<f32> = row.iter().map(|value| value.abs()).collect();
                magnitudes.sort_by(|a, b| b.total_cmp(a));
                let ninth = magnitudes.get(8).copied().unwrap_or(0.0);
                for (value, back) in row.iter().zip(back) {
                    if value.abs() > ninth {
                        prop_assert_eq!(value, back);
                    } else {
                        prop_assert!((value - back).abs() <= ninth / 254.0 * 1.001, "{value} became {back}");
                    }
                }
            }
        }

        #[test]
        fn garbage_is_read_or_refused_and_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            width in 0usize..80,
        ) {
            for encoding in [Encoding::Opaque, Encoding::F32, Encoding::F16, Encoding::Int8Outliers] {
                let mut out = Vec::new();
                if let Ok(rows) = decode(encoding, &bytes, width, &mut out) {
                    prop_assert_eq!(out.len(), rows * width);
                }
            }
        }
    }

    #[test]
    fn a_row_of_the_test_model_takes_628_bytes() {
        assert_eq!(Encoding::Int8Outliers.row_bytes(576), Some(628));
    }

    #[test]
    fn a_row_whose_first_number_is_huge_keeps_the_others() {
        let mut row = vec![0.5f32; 576];
        row[0] = 24_850.0;
        let back = there_and_back(Encoding::Int8Outliers, &row, 576);
        assert_eq!(back[0], 24_850.0);
        assert!(back[1..].iter().all(|value| (value - 0.5).abs() < 0.01));
    }

    #[test]
    fn rows_that_are_not_whole_are_refused_with_the_numbers() {
        let error = encode(Encoding::F32, &[1.0; 7], 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "7 numbers are not a whole number of rows of width 3 in f32"
        );
        assert_eq!(rows_in(Encoding::F16, 12, 3), Ok(2));
        assert!(matches!(
            rows_in(Encoding::F16, 13, 3),
            Err(Error::NotWholeRows { unit: "bytes", .. })
        ));
        assert_eq!(encode(Encoding::F32, &[], 0), Err(Error::Width(0)));
        assert_eq!(encode(Encoding::Opaque, &[], 1), Err(Error::Opaque));
    }
}
