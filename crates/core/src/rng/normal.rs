//! Two normal numbers of 128 random bits, in additions and products of `f32` alone, each rounded to the nearest, which
//! every device has: the same bits everywhere, as long as nothing is fused.

/// Two independent standard normal numbers, by Box and Muller: `r cos a` and `r sin a` with `r = sqrt(−2 ln u)` and
/// `a = 2π v`, where `u` is `(words[0] · 2^32 + words[1] + 1/2) / 2^64` and `v` the same of the other two. They are
/// within `1e-6` of the exact ones, relative to each of them; the greatest is 9.49.
#[inline(always)]
pub fn normal_pair(words: [u32; 4]) -> [f32; 2] {
    let radius = radius(words[0], words[1]);
    let (sine, cosine) = sine_cosine(words[2], words[3]);
    [radius * cosine, radius * sine]
}

/// `(high · 2^32 + low + halves / 2) · 2^-64`, within a unit in the last place of what it is. Each of the three parts has
/// at most 24 bits, so it is a number of `f32`.
#[inline(always)]
fn fraction(high: u32, low: u32, halves: u32) -> f32 {
    const PARTS: [f32; 3] =
        [1.0 / (1 << 24) as f32, 1.0 / (1u64 << 48) as f32, 0.5 / (1u64 << 32) as f32 / (1u64 << 32) as f32];
    let first = (high >> 8) as i32 as f32 * PARTS[0];
    let second = ((high & 0xFF) << 16 | low >> 16) as i32 as f32 * PARTS[1];
    let third = ((low & 0xFFFF) << 1 | halves) as i32 as f32 * PARTS[2];
    first + (second + third)
}

/// `sqrt(−2 ln u)`.
#[inline(always)]
fn radius(high: u32, low: u32) -> f32 {
    // sqrt(1/2), and the bits of 1.
    const LOWEST: u32 = 0x3F35_04F3;
    const ONE: u32 = 0x3F80_0000;
    // ln 2 in two parts; a whole number of up to 7 bits times the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let bits = fraction(high, low, 1).to_bits();
    let near_one = bits >= LOWEST;
    // u = m · 2^-n with m from sqrt(1/2) up to sqrt(2).
    let shifted = bits.wrapping_add(ONE - LOWEST);
    let n = 127 - (shifted >> 23) as i32;
    let m = f32::from_bits((shifted & 0x007F_FFFF) + LOWEST);
    // What is near 1 is known by its distance, to all its digits.
    let f = if near_one { -fraction(!high, !low, 1) } else { m - 1.0 };
    let n = if near_one { 0.0 } else { n as f32 };
    // ln(1 + f) by the minimax polynomial of Cephes.
    let p = 7.037_683_6e-2;
    let p = p * f + -1.151_461e-1;
    let p = p * f + 1.167_699_9e-1;
    let p = p * f + -1.242_014_1e-1;
    let p = p * f + 1.424_932_3e-1;
    let p = p * f + -1.666_805_7e-1;
    let p = p * f + 2.000_071_5e-1;
    let p = p * f + -2.499_999_4e-1;
    let p = p * f + 3.333_333e-1;
    let square = f * f;
    let tail = p * f * square - 0.5 * square;
    // ln u = ln(1 + f) - n ln 2.
    let log = n * LN_2[0] - (f + (tail - n * LN_2[1]));
    square_root(2.0 * log)
}

/// The square root of a normal number, within 3 units in the last place: Newton's steps for its reciprocal.
#[inline(always)]
fn square_root(x: f32) -> f32 {
    let half = 0.5 * x;
    let y = f32::from_bits(0x5F37_59DF - (x.to_bits() >> 1));
    let y = y * (1.5 - half * y * y);
    let y = y * (1.5 - half * y * y);
    let y = y * (1.5 - half * y * y);
    x * y
}

/// Sine and cosine of `2π v`.
#[inline(always)]
fn sine_cosine(high: u32, low: u32) -> (f32, f32) {
    let octant = high >> 29;
    // In odd octants the angle is counted back from their end.
    let flip = 0u32.wrapping_sub(octant & 1);
    let (high, low) = (high ^ flip, low ^ flip);
    // Of the 61 bits that are left, and a half.
    let x = fraction(high << 3 | low >> 29, low << 3 | 4, 0) * std::f32::consts::FRAC_PI_4;
    let z = x * x;
    // The minimax polynomials of Cephes up to π/4.
    let s = -1.951_529_6e-4;
    let s = s * z + 8.332_161e-3;
    let s = s * z + -1.666_665_5e-1;
    let s = s * z * x + x;
    let c = 2.443_315_7e-5;
    let c = c * z + -1.388_731_6e-3;
    let c = c * z + 4.166_664_6e-2;
    let c = c * z * z - 0.5 * z + 1.0;
    // Octants 1, 2, 5 and 6 swap the two.
    let swap = (octant + 1) & 2 != 0;
    let (sine, cosine) = if swap { (c, s) } else { (s, c) };
    let sign = |bit: u32| bit << 31;
    let minus_sine = sign(octant >> 2);
    let minus_cosine = sign((octant + 2) >> 2 & 1);
    (f32::from_bits(sine.to_bits() ^ minus_sine), f32::from_bits(cosine.to_bits() ^ minus_cosine))
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{LN_2, TAU};

    use super::*;
    use crate::rng::philox4x32_10;

    /// The exact pair. Near 1, `u` is known by its distance.
    fn exact(w: [u32; 4]) -> [f64; 2] {
        let number = |h: u32, l: u32| (u64::from(h) << 32 | u64::from(l)) as f64 + 0.5;
        let log = if w[0] >> 31 == 1 {
            (-number(!w[0], !w[1]) * 2f64.powi(-64)).ln_1p()
        } else {
            number(w[0], w[1]).ln() - 64.0 * LN_2
        };
        let radius = (-2.0 * log).sqrt();
        // The angle from the nearest multiple of a quarter turn, so that no digits are lost.
        let quarters = (w[2] >> 29).div_ceil(2);
        let from = i128::from(u64::from(w[2]) << 32 | u64::from(w[3])) - (i128::from(quarters) << 62);
        let angle = (from as f64 + 0.5) * 2f64.powi(-64) * TAU;
        let (s, c) = angle.sin_cos();
        let (s, c) = match quarters % 4 {
            0 => (s, c),
            1 => (c, -s),
            2 => (-s, -c),
            _ => (-c, s),
        };
        [radius * c, radius * s]
    }

    fn close(words: [u32; 4]) {
        let (got, want) = (normal_pair(words), exact(words));
        for (got, want) in got.into_iter().zip(want) {
            let error = (f64::from(got) - want).abs() / want.abs();
            assert!(error < 1e-6, "{words:x?}: {got:e} for {want:e}, {error:e}");
        }
    }

    #[test]
    fn pairs_are_those_of_exact_arithmetic() {
        for i in 0..200_000 {
            close(philox4x32_10([i, 0, 0, 0], [7, 9]));
        }
        // Around every change of exponent, and near both ends.
        let edges = (0..32).flat_map(|n| [1u32 << n, (1u32 << n).wrapping_sub(1), !(1u32 << n)]);
        let edges: Vec<u32> = edges.chain([0, u32::MAX, 0xB504_F333, 0xB504_F334]).collect();
        for &a in &edges {
            for &b in &edges {
                close([a, b, 0x1234_5678, 0x9ABC_DEF0]);
                close([0x0123_4567, 0x89AB_CDEF, a, b]);
            }
        }
    }

    #[test]
    fn the_tail_goes_beyond_what_32_bits_reach() {
        // A uniform of 32 bits ends at 6.66, of 53 bits at 8.57.
        let greatest = normal_pair([0, 0, 0, 0])[0];
        assert!((9.4..9.6).contains(&greatest), "{greatest}");
        let least = normal_pair([u32::MAX, u32::MAX, 0, 0])[0];
        assert!(least > 0.0 && least < 1e-9, "{least:e}");
    }
}
