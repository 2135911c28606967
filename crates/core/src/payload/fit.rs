//! How two magnitudes, or a step, are fitted to the values of a chunk. All sums are of integers, so that every order
//! of additions and every device gives the same.

use super::{MAX_CHUNK, settle};

/// Rounds in which the split between the magnitudes is improved.
const ROUNDS: usize = 4;

/// Digits of a value in sums: 20, so that those of [`MAX_CHUNK`] values fit a word.
const DIGITS: u32 = 20;

const EXPONENT: u32 = 0x7F80_0000;

/// A magnitude in units of the last of 20 digits of the greatest magnitude, rounded down; both as the bits of normal
/// numbers or 0.
#[inline(always)]
fn digits(bits: u32, greatest: u32) -> u32 {
    let mantissa = bits & 0x007F_FFFF | 0x0080_0000;
    // Of 0 the exponent is so far away that nothing is left.
    let shift = (24 - DIGITS) + ((greatest >> 23) - (bits >> 23));
    mantissa >> shift.min(31)
}

/// Of these magnitudes (normal or 0), two that stand for them, the low and the high one as `bf16` bits in the two halves of
/// a word, and in `high` a 1 for each that is high, a 0 for the others. Scalars as in k-means with two centres (Lloyd 1982), in integers:
///
/// magnitudes are rounded down to `q`, in units of the last of 20 binary digits of the greatest; the split `t` begins
/// as the mean of all `q`, then four times becomes the mean of the means of those from `t` on and those below, rounded
/// up; means of integers are rounded down, and that of none is 0. What is from `t` on is high; each group stands for its mean,
/// settled, rounded to the nearest `bf16` (of two, the even one).
///
/// # Panics
/// Where `high` is shorter than the magnitudes, or these are more than a chunk has.
#[inline(always)]
pub fn fit_magnitudes(magnitudes: &[f32], high: &mut [u32]) -> u32 {
    assert!(magnitudes.len() <= MAX_CHUNK && magnitudes.len() <= high.len());
    let high = &mut high[..magnitudes.len()];
    let greatest = magnitudes.iter().fold(0, |max, x| x.to_bits().max(max));
    if greatest == 0 {
        high.fill(0);
        return 0;
    }
    // The numbers q, until it is known which are high.
    let q = high;
    let mut all = 0u32;
    for (q, x) in q.iter_mut().zip(magnitudes) {
        *q = digits(x.to_bits(), greatest);
        all += *q;
    }
    let means = |split: u32| {
        let (mut sum, mut count) = (0u32, 0u32);
        for &q in &*q {
            sum += if q >= split { q } else { 0 };
            count += u32::from(q >= split);
        }
        let mean = |sum: u32, count: u32| sum.checked_div(count).unwrap_or(0);
        (mean(all - sum, q.len() as u32 - count), mean(sum, count))
    };
    let mut split = all / q.len() as u32;
    for _ in 0..ROUNDS {
        let (low, upper) = means(split);
        split = (low + upper).div_ceil(2);
    }
    let (low, upper) = means(split);
    for q in q {
        *q = u32::from(*q >= split);
    }
    // The value of one unit; a product with a power of two is exact.
    let unit = f32::from_bits((greatest & EXPONENT) - ((DIGITS - 1) << 23));
    let half = |mean: u32| bf16_bits(settle(mean as f32 * unit));
    half(upper) << 16 | half(low)
}

/// The bits of the nearest `bf16`, of two the even one; of a finite number.
#[inline(always)]
fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
}

/// The step for values of this greatest magnitude, and what gives each magnitude's count of steps: a 127th of the greatest,
/// as the `f32` product with the `f32` nearest to 1/127; counts are `⌊(254 q + g) / (2 g)⌋`, with `q` and `g` the value and
/// the greatest in units of the last of its 20 binary digits, rounded down.
#[inline(always)]
pub fn fit_step(greatest: f32) -> (f32, impl Fn(f32) -> u32 + Copy) {
    let (bits, step) = (greatest.to_bits(), greatest * (1.0 / 127.0));
    let g = digits(bits, bits).max(1);
    let count = move |magnitude: f32| match bits {
        0 => 0,
        _ => (254 * digits(magnitude.to_bits(), bits) + g) / (2 * g),
    };
    (step, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, uniform};

    fn pair(word: u32) -> [f32; 2] {
        [f32::from_bits(word << 16), f32::from_bits(word & 0xFFFF_0000)]
    }

    /// Magnitudes of the greatest 64 of 4,096 standard normal numbers, times a scale.
    fn tail(seed: u64, scale: f32) -> Vec<f32> {
        let random = Philox::new(seed, 1);
        let unit = |i: u32| f64::from(uniform(random.bits(i.into())));
        let normal =
            |i: u32| (-2.0 * unit(2 * i).ln()).sqrt() * (std::f64::consts::TAU * unit(2 * i + 1)).cos();
        let mut values: Vec<f32> = (0..4096).map(|i| scale * normal(i).abs() as f32).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values.truncate(64);
        values
    }

    #[test]
    fn two_magnitudes_leave_less_than_half_of_a_percent_of_a_gaussian_tail() {
        for scale in [1.0, 1e-3, 1e-12, 1e6] {
            let (mut error, mut energy) = (0.0, 0.0);
            for seed in 0..64 {
                let values = tail(seed, scale);
                let mut high = [0; 64];
                let pair = pair(fit_magnitudes(&values, &mut high));
                for (x, high) in values.iter().zip(high) {
                    error += f64::from(x - pair[high as usize]).powi(2);
                    energy += f64::from(*x).powi(2);
                }
            }
            let relative = error / energy;
            assert!((0.0035..0.0040).contains(&relative), "{relative}");
        }
    }

    #[test]
    fn edges_of_magnitudes() {
        let fit = |values: &[f32]| {
            let mut high = vec![9; values.len()];
            (pair(fit_magnitudes(values, &mut high)), high)
        };
        assert_eq!(fit(&[0.0, 0.0]), ([0.0, 0.0], vec![0, 0]));
        assert_eq!(fit(&[1.5]), ([0.0, 1.5], vec![1]));
        assert_eq!(fit(&[3.0, 3.0, 3.0]), ([0.0, 3.0], vec![1; 3]));
        assert_eq!(fit(&[1.0, 4.0, 1.0]), ([1.0, 4.0], vec![0, 1, 0]));
        assert_eq!(fit(&[super::super::LARGEST; 2]).0[1], super::super::LARGEST);
        assert_eq!(fit(&[super::super::SMALLEST, 1.0]), ([0.0, 1.0], vec![0, 1]));
    }

    #[test]
    fn steps_count_to_127() {
        let (step, count) = fit_step(127.0);
        assert!((step - 1.0).abs() < 1e-6);
        assert_eq!([0.0, 0.4, 0.6, 1.0, 63.4, 126.4, 127.0].map(count), [0, 0, 1, 1, 63, 126, 127]);
        let (step, count) = fit_step(0.0);
        assert_eq!((step, count(0.0)), (0.0, 0));
    }
}
