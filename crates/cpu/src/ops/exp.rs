//! Elementary functions without branches, so that loops of them become vectors of any width; no fused operations, so
//! that they give the same bits with each.

/// The least argument of [`exp`] that it does not take for a greater one.
const LEAST: f32 = -87.0;

/// `e^x` for `x` up to 0, within 2 units in the last place; from -87 down it stays at `e^-87`, which is nothing beside
/// the 1 that every sum of exponentials has. NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Also true to NaN, which is not less.
    let x = if x < LEAST { LEAST } else { x };
    // Adding this rounds to a whole number and leaves it, with the bias of exponents, in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0 + 127.0;
    // ln 2 in two parts; a whole number of up to 8 bits times the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = x - n * LN_2[0] - n * LN_2[1];
    // The minimax polynomial of Cephes.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    // A product, so that NaN survives.
    p * f32::from_bits(rounded.to_bits() << 23)
}

/// `tanh x`, within 3e-7 of the exact value.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let y = x.abs();
    let e = exp(-2.0 * y);
    let large = (1.0 - e) / (1.0 + e);
    let s = y * y;
    let p = s * (62.0 / 2835.0) - 17.0 / 315.0;
    let p = p * s + 2.0 / 15.0;
    let p = p * s - 1.0 / 3.0;
    let small = y + y * (s * p);
    (if y < 0.3 { small } else { large }).copysign(x)
}

/// `ln x` for normal `x` above 0, within 2 units in the last place.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // The mantissa in [sqrt(1/2), sqrt(2)).
    let bits = x.to_bits().wrapping_add(0x3F80_0000 - 0x3F35_04F3);
    let n = (bits >> 23) as i32 - 127;
    let m = f32::from_bits((bits & 0x007F_FFFF) + 0x3F35_04F3) - 1.0;
    let (n, s) = (n as f32, m * m);
    let p = 7.037_684e-2;
    let p = p * m - 1.151_461e-1;
    let p = p * m + 1.167_699_9e-1;
    let p = p * m - 1.242_014_1e-1;
    let p = p * m + 1.424_932_3e-1;
    let p = p * m - 1.666_805_8e-1;
    let p = p * m + 2.000_071_5e-1;
    let p = p * m - 2.499_999_4e-1;
    let p = p * m + 3.333_333e-1;
    n * LN_2[0] + (m + (p * m * s + n * LN_2[1] - 0.5 * s))
}

/// `sin 2πu` and `cos 2πu` for `u` on (0, 1), within 2e-7.
#[inline(always)]
pub(super) fn sin_cos_turns(u: f32) -> (f32, f32) {
    // The quarter of the turn, and what is left of it, exactly.
    let quarters = 4.0 * u;
    let q = quarters + 12_582_912.0;
    let r = (quarters - (q - 12_582_912.0)) * std::f32::consts::FRAC_PI_2;
    let q = q.to_bits();
    let s = r * r;
    let sin = -1.951_529_6e-4;
    let sin = sin * s + 8.332_161e-3;
    let sin = sin * s - 1.666_665_5e-1;
    let sin = r + r * (s * sin);
    let cos = 2.443_315_7e-5;
    let cos = cos * s - 1.388_731_6e-3;
    let cos = cos * s + 4.166_664_6e-2;
    let cos = 1.0 - 0.5 * s + s * s * cos;
    let (a, b) = if q & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let sign = |x: f32, negative: u32| f32::from_bits(x.to_bits() ^ (negative & 2) << 30);
    (sign(a, q), sign(b, q + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error in units in the last place of the exact value.
    fn ulps(got: f32, want: f64) -> f64 {
        let near = want as f32;
        let unit = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
        (f64::from(got) - want).abs() / unit.abs()
    }

    #[test]
    fn exp_is_within_two_units_over_a_dense_grid() {
        let mut worst: f64 = 0.0;
        // Every 61st of the floats from -87 to -0.
        for bits in (0x8000_0000..=LEAST.to_bits()).step_by(61) {
            let x = f32::from_bits(bits);
            worst = worst.max(ulps(exp(x), f64::from(x).exp()));
        }
        assert!(worst <= 2.0, "{worst}");
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert!(exp(f32::NEG_INFINITY) < 1.7e-38 && exp(-100.0) == exp(LEAST));
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7FC0_0001), f32::from_bits(0xFFFF_FFFF)] {
            assert!(exp(nan).is_nan());
        }
    }

    #[test]
    fn ln_is_within_two_units_over_a_dense_grid() {
        let mut worst: f64 = 0.0;
        for bits in (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).step_by(61) {
            let x = f32::from_bits(bits);
            worst = worst.max(ulps(ln(x), f64::from(x).ln()));
        }
        assert!(worst <= 2.0, "{worst}");
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn sine_and_cosine_follow_the_turn() {
        let mut worst: f64 = 0.0;
        for i in 0..1u32 << 23 {
            let u = gristmill_core::rng::uniform(i << 9);
            let (sin, cos) = sin_cos_turns(u);
            let (s, c) = (f64::from(u) * std::f64::consts::TAU).sin_cos();
            worst = worst.max((f64::from(sin) - s).abs()).max((f64::from(cos) - c).abs());
        }
        assert!(worst <= 2e-7, "{worst:e}");
    }

    #[test]
    fn tanh_is_close_and_odd() {
        let mut worst: f64 = 0.0;
        for bits in (0..=f32::INFINITY.to_bits()).step_by(997) {
            let x = f32::from_bits(bits);
            worst = worst.max((f64::from(tanh(x)) - f64::from(x).tanh()).abs());
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert!(worst <= 3e-7, "{worst:e}");
        assert!(tanh(f32::NAN).is_nan());
    }
}
