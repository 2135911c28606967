//! Elementary functions without branches, so that loops of them become vectors of any width; no fused operations, so
//! that they give the same bits with each; but for [`add_exp`], which is what the speed of losses hangs on.

use std::f32::consts::LOG2_E;

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
    let rounded = x * LOG2_E + ROUNDER;
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

/// `a · b + c`, rounded once where the machine does that in one instruction.
#[inline(always)]
fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Adds `e^(x - max)` to `sum`, for `x` that is not much above `max`, where `shift` is `max · log2 e`, rounded. The power
/// of two is within 2 units in the last place (2.5 without fused operations); the error of its exponent keeps the term
/// within 3e-7 of it, or of 1. Terms below `2^-126` count as that. NaN stays NaN.
///
/// With fused operations all terms carry a factor, the rounding of `shift`: see [`shift_error`].
#[inline(always)]
pub(super) fn add_exp<const FUSED: bool>(sum: f32, x: f32, max: f32, shift: f32) -> f32 {
    let y = if FUSED { x.mul_add(LOG2_E, -shift) } else { (x - max) * LOG2_E };
    // Also true to NaN, which is not less.
    let y = if y < -126.0 { -126.0 } else { y };
    let (p, scale) = parts::<FUSED>(y);
    mul_add::<FUSED>(p, scale, sum)
}

/// A number near 1 and a power of two whose product is `2^y`, for `y` from -126 to 127.
#[inline(always)]
fn parts<const FUSED: bool>(y: f32) -> (f32, f32) {
    const ROUNDER: f32 = 12_582_912.0 + 127.0;
    let rounded = y + ROUNDER;
    let r = y - (rounded - ROUNDER);
    // The polynomial of degree 5 with 1 as its last coefficient whose f32 form has the least relative error, 1.1e-7,
    // on [-1/2, 1/2].
    let p = 0.001_325_407;
    let p = mul_add::<FUSED>(p, r, 0.009_671_289);
    let p = mul_add::<FUSED>(p, r, 0.055_507_73);
    let p = mul_add::<FUSED>(p, r, 0.240_222_47);
    // Near ln 2, but the error is least here.
    #[allow(clippy::approx_constant)]
    let p = mul_add::<FUSED>(p, r, 0.693_146_94);
    let p = mul_add::<FUSED>(p, r, 1.0);
    (p, f32::from_bits(rounded.to_bits() << 23))
}

/// `2^y` for `y` up to 0, within 2.5 units in the last place; 0 below -126. NaN stays NaN.
#[inline(always)]
pub(super) fn exp2<const FUSED: bool>(y: f32) -> f32 {
    let (p, scale) = parts::<FUSED>(y);
    if y < -126.0 { 0.0 } else { p * scale }
}

/// The binary logarithm of what the sum of [`add_exp`] must be multiplied by.
#[inline(always)]
pub(super) fn shift_error<const FUSED: bool>(max: f32, shift: f32) -> f64 {
    if FUSED { f64::from(shift) - f64::from(max) * f64::from(LOG2_E) } else { 0.0 }
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

/// `x / (1 + e^-x)`, within 1e-5 of it or of 1e-10, as are the two below; nothing at negative infinity.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    // Below, it is nothing, and a product with infinity would be; NaN is not less.
    let x = if x < -100.0 { -100.0 } else { x };
    x * logistic(x)
}

/// `1 / (1 + e^-x)`, from the exponential that does not overflow.
#[inline(always)]
fn logistic(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// Where the activation functions of a normal distribution are nothing.
const NOTHING: f32 = -14.0;

/// `x · Φ(x)`; nothing at negative infinity.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let x = if x < NOTHING { NOTHING } else { x };
    x * normal_below(x)
}

/// `Φ(x)`, the distribution function of the standard normal, from [`NOTHING`] on.
#[inline(always)]
fn normal_below(x: f32) -> f32 {
    let t = x.abs();
    // Φ(-t) · e^(t²/2) falls slowly and smoothly: a polynomial in u without its constant, fitted for the least relative
    // error on [0, 13.3], 1.2e-7.
    let u = 1.0 / (1.0 + 0.3 * t);
    let p = 0.036_036_43;
    let p = p * u - 0.158_714_06;
    let p = p * u + 0.208_965_23;
    let p = p * u - 0.056_096_382;
    let p = p * u + 0.129_843_64;
    let p = p * u + 0.099_523_015;
    let p = p * u + 0.120_816_9;
    let p = p * u + 0.119_625_17;
    let tail = exp(-0.5 * (t * t)) * (p * u);
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// `x · Φ(x)` with the approximation `Φ(x) ≈ (1 + tanh(sqrt(2/π) · (x + 0.044715 · x³))) / 2`; nothing at negative infinity.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    let x = if x < NOTHING { NOTHING } else { x };
    // (1 + tanh y) / 2 is the logistic function of 2 y.
    x * logistic(1.595_769 * (x + 0.044_715 * (x * x * x)))
}

/// Where the derivatives of activation functions are 0 and 1.
const FAR: f32 = 90.0;

/// `x`, brought to `-far..=far`; NaN is neither less nor more.
#[inline(always)]
fn within(x: f32, far: f32) -> f32 {
    let x = if x < -far { -far } else { x };
    if x > far { far } else { x }
}

/// The derivative of [`silu`], within 1e-6, as are the two below; 0 and 1 at the infinities.
#[inline(always)]
pub(super) fn silu_grad(x: f32) -> f32 {
    let x = within(x, FAR);
    let s = logistic(x);
    s + x * (s * logistic(-x))
}

/// The derivative of [`gelu`].
#[inline(always)]
pub(super) fn gelu_grad(x: f32) -> f32 {
    let x = within(x, -NOTHING);
    const DENSITY: f32 = 0.398_942_3;
    normal_below(x) + x * (DENSITY * exp(-0.5 * (x * x)))
}

/// The derivative of [`gelu_tanh`].
#[inline(always)]
pub(super) fn gelu_tanh_grad(x: f32) -> f32 {
    let x = within(x, -NOTHING);
    let z = 1.595_769 * (x + 0.044_715 * (x * x * x));
    let s = logistic(z);
    s + x * (s * logistic(-z)) * (1.595_769 * (1.0 + 0.134_145 * (x * x)))
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

    fn powers_are_close<const FUSED: bool>() {
        let (mut worst, mut absolute): (f64, f64) = (0.0, 0.0);
        for bits in (0x8000_0000..=LEAST.to_bits()).step_by(61) {
            let x = f32::from_bits(bits);
            let got = add_exp::<FUSED>(0.0, x, 0.0, 0.0);
            worst = worst.max(ulps(got, f64::from(x * LOG2_E).exp2()));
            absolute = absolute.max((f64::from(got) - f64::from(x).exp()).abs());
        }
        let units = if FUSED { 2.0 } else { 2.5 };
        assert!(worst <= units && absolute <= 3e-7, "{worst} {absolute:e}");
        // A maximum whose product with the logarithm cannot be exact.
        for max in [-3001.7f32, 0.1, 77.7, 12_345.67] {
            for below in [0.0, 0.37, 1.0, 20.0] {
                let x = max - below;
                let shift = max * LOG2_E;
                let got = f64::from(add_exp::<FUSED>(0.5, x, max, shift) - 0.5)
                    * shift_error::<FUSED>(max, shift).exp2();
                let want = (f64::from(x) - f64::from(max)).exp();
                assert!((got - want).abs() < 4e-7, "{max} {below}: {got} {want}");
            }
        }
        assert!(add_exp::<FUSED>(1.0, f32::NEG_INFINITY, 0.0, 0.0) == 1.0);
        for nan in [f32::NAN, f32::from_bits(0x7FC0_0001), f32::from_bits(0xFFFF_FFFF)] {
            assert!(add_exp::<FUSED>(0.0, nan, 0.0, 0.0).is_nan());
        }
    }

    #[test]
    fn terms_of_sums_are_close_over_a_dense_grid() {
        powers_are_close::<false>();
        powers_are_close::<true>();
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

    #[test]
    fn activations_are_close_over_a_dense_grid() {
        let of_normal = |x: f64| x * 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        let by_tanh = |x: f64| x / (1.0 + (-1.595_769_121_605_731 * (x + 0.044_715 * x * x * x)).exp());
        type Pair = (fn(f32) -> f32, fn(f64) -> f64);
        let functions: [Pair; 3] =
            [(silu, |x| x / (1.0 + (-x).exp())), (gelu, of_normal), (gelu_tanh, by_tanh)];
        for (i, (fast, exact)) in functions.into_iter().enumerate() {
            let mut worst: f64 = 0.0;
            for bits in (0..=200f32.to_bits()).step_by(61) {
                for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                    let want = exact(x.into());
                    worst = worst.max((f64::from(fast(x)) - want).abs() / want.abs().max(1e-10));
                }
            }
            assert!(worst <= 1e-5, "{i}: {worst:e}");
            assert_eq!((fast(0.0), fast(f32::INFINITY), fast(300.0)), (0.0, f32::INFINITY, 300.0));
            assert!(fast(f32::NAN).is_nan());
            for far in [f32::NEG_INFINITY, f32::MIN, -300.0] {
                assert!(fast(far).abs() < 1e-30, "{i} {far}");
            }
        }
    }

    #[test]
    fn derivatives_of_activations_are_close_over_a_dense_grid() {
        let gelu_of = |x: f64| {
            let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
            0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) + x * density
        };
        let silu_of = |x: f64| {
            let s = 1.0 / (1.0 + (-x).exp());
            s + x * s * (1.0 - s)
        };
        let tanh_of = |x: f64| {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            let t = (c * (x + 0.044_715 * x.powi(3))).tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 0.134_145 * x * x)
        };
        let check = |got: fn(f32) -> f32, want: &dyn Fn(f64) -> f64| {
            let mut worst: f64 = 0.0;
            for bits in (0..=f32::to_bits(60.0)).step_by(997) {
                for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                    worst = worst.max((f64::from(got(x)) - want(f64::from(x))).abs());
                }
            }
            assert!(worst <= 1e-6, "{worst:e}");
            assert!((got(f32::NEG_INFINITY)).abs() <= 1e-30 && got(f32::INFINITY) == 1.0);
            assert!(got(f32::NAN).is_nan());
        };
        check(silu_grad, &silu_of);
        check(gelu_grad, &gelu_of);
        check(gelu_tanh_grad, &tanh_of);
    }
}
