//! IEEE 754 binary16 in integer arithmetic: 1 sign bit, 5 exponent bits (bias 15), 10 mantissa bits.

/// The largest finite binary16: 65,504.
const MAX_FINITE: u16 = 0x7bff;

/// Rounds to the nearest, ties to even. A finite number too large for binary16 becomes its largest finite
/// number: an infinity would poison everything behind it. Infinities and NaN stay what they are.
pub(super) fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff) as i32;
    let mantissa = bits & 0x007f_ffff;
    if exponent == 0xff {
        return sign | 0x7c00 | if mantissa == 0 { 0 } else { 0x0200 };
    }
    // The exponent with binary16's bias.
    let half_exponent = exponent - 127 + 15;
    if half_exponent >= 31 {
        return sign | MAX_FINITE;
    }
    if half_exponent <= 0 {
        // Subnormal: the implicit one joins the mantissa, which is shifted out as the exponent falls. Below
        // 2^-25 nothing is left.
        if half_exponent < -10 {
            return sign;
        }
        let shift = (14 - half_exponent) as u32;
        return sign | round_to_even(mantissa | 0x0080_0000, shift) as u16;
    }
    // A carry out of the mantissa rightly adds one to the exponent.
    let rounded = ((half_exponent as u32) << 10) + round_to_even(mantissa, 13);
    sign | (rounded as u16).min(MAX_FINITE)
}

/// `value >> shift`, rounded to the nearest, ties to even.
fn round_to_even(value: u32, shift: u32) -> u32 {
    let kept = value >> shift;
    let rest = value & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    kept + u32::from(rest > half || (rest == half && kept & 1 == 1))
}

/// Exact: every binary16 is an f32.
pub(super) fn to_f32(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0f32 } else { -1.0 };
    let exponent = (half >> 10) & 0x1f;
    let mantissa = u32::from(half & 0x03ff);
    match exponent {
        0 => sign * mantissa as f32 * 2.0f32.powi(-24),
        31 => f32::from_bits(u32::from(half & 0x8000) << 16 | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(
            u32::from(half & 0x8000) << 16 | (u32::from(exponent) + 112) << 23 | mantissa << 13,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binary16_survives_the_way_through_f32() {
        for half in 0..=u16::MAX {
            let is_nan = half & 0x7c00 == 0x7c00 && half & 0x03ff != 0;
            if is_nan {
                assert!(to_f32(half).is_nan());
                assert!(to_f32(from_f32(to_f32(half))).is_nan());
            } else {
                assert_eq!(from_f32(to_f32(half)), half, "{half:#06x} is {}", to_f32(half));
            }
        }
    }

    #[test]
    fn known_numbers_are_written_as_the_standard_says() {
        for (value, half) in [
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (0.333_251_95, 0x3555),
            (f32::INFINITY, 0x7c00),
        ] {
            assert_eq!(from_f32(value), half);
        }
        // Ties go to even: 2049 lies between 2048 and 2050, 2051 between 2050 and 2052.
        assert_eq!(
            (to_f32(from_f32(2049.0)), to_f32(from_f32(2051.0))),
            (2048.0, 2052.0)
        );
    }

    #[test]
    fn a_number_too_large_becomes_the_largest() {
        assert_eq!(
            (to_f32(from_f32(1e9)), to_f32(from_f32(-65_520.0))),
            (65_504.0, -65_504.0)
        );
    }
}
