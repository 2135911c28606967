use gristmill_core::Result;
use gristmill_core::ops::{INT4_GROUP, Int4Pack, Int4Unpack, flush, int4_code, int4_scale};
use rayon::prelude::*;

use super::PARALLEL;
use super::lanes::dispatch;
use crate::access::Access;

/// Words of a group.
const WORDS: usize = INT4_GROUP / 8;

pub(super) fn pack(op: &Int4Pack, access: &Access) -> Result<()> {
    let x = access.input::<f32>(&op.x)?;
    let (scales, zeros) = (access.output::<f32>(&op.scales)?, access.output::<u32>(&op.zeros)?);
    let codes = access.output::<u32>(&op.codes)?;
    let groups = x.par_chunks(INT4_GROUP).zip(codes.par_chunks_mut(WORDS));
    let groups = groups.zip(scales.par_iter_mut().zip(zeros.par_iter_mut()));
    groups.with_min_len(PARALLEL / INT4_GROUP).for_each(|((x, codes), (scale, zero))| {
        dispatch(
            #[inline(always)]
            || (*scale, *zero) = pack_group(x, codes),
        );
    });
    Ok(())
}

/// Writes the codes of a group; its scale and its zero.
#[inline(always)]
fn pack_group(x: &[f32], codes: &mut [u32]) -> (f32, u32) {
    let (mut least, mut most) = (i32::MAX, i32::MIN);
    for &x in x {
        let x = ordered(x.to_bits() as i32);
        (least, most) = (least.min(x), most.max(x));
    }
    // What is not finite is at an end of that order, and makes the distance of the ends not finite.
    let [min, max] = [least, most].map(|x| f32::from_bits(ordered(x) as u32));
    let scale = int4_scale(min, max);
    if scale.is_nan() {
        codes.fill(0);
        return (f32::NAN, 0);
    }
    let zero = int4_code(-min, scale, 0);
    let (inverse, ends) = (1.0 / scale, [0.0, 15.0].map(|end| end - zero as f32));
    // Behind the numbers are codes of 0.
    let mut of_1 = [0; INT4_GROUP];
    for (code, &x) in of_1.iter_mut().zip(x) {
        *code = near_code(x, scale, inverse, ends);
    }
    let of_2: [u32; INT4_GROUP / 2] = joined(&of_1, 4);
    let of_4: [u32; INT4_GROUP / 4] = joined(&of_2, 8);
    let of_8: [u32; WORDS] = joined(&of_4, 16);
    codes.copy_from_slice(&of_8[..codes.len()]);
    (scale, zero)
}

/// Bits of `f32` as whole numbers in the order of the numbers, NaNs at both ends; and back. Unlike that of numbers, their
/// maximum is the same in any order, and so found in vectors.
#[inline(always)]
fn ordered(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & 0x7FFF_FFFF)
}

/// [`int4_code`], of which a product with the inverse is wrong by at most one: two comparisons tell. The ends are the least
/// and the greatest number of steps.
#[inline(always)]
fn near_code(x: f32, scale: f32, inverse: f32, [least, most]: [f32; 2]) -> u32 {
    // Adding this rounds to a whole number, and leaves it in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let within = |x: f32, [least, most]: [f32; 2]| {
        let x = if x < least { least } else { x };
        if x > most { most } else { x }
    };
    let rounded = within(x * inverse, [least, most]) + ROUNDER;
    let (odd, steps) = (rounded.to_bits() & 1 != 0, rounded - ROUNDER);
    let (below, above) = (scale * (steps - 0.5), scale * (steps + 0.5));
    let up = (x > above) | ((x == above) & odd);
    let down = (x < below) | ((x == below) & odd);
    let steps = steps + if up { 1.0 } else { 0.0 } - if down { 1.0 } else { 0.0 };
    (within(steps - least, [0.0, 15.0]) + ROUNDER).to_bits() & 15
}

/// Two neighbours in one, the second above so many bits of the first.
#[inline(always)]
fn joined<const N: usize>(codes: &[u32], bits: u32) -> [u32; N] {
    let mut both = [0; N];
    for (both, [low, high]) in both.iter_mut().zip(codes.as_chunks::<2>().0) {
        *both = low | high << bits;
    }
    both
}

pub(super) fn unpack(op: &Int4Unpack, access: &Access) -> Result<()> {
    let codes = access.input::<u32>(&op.codes)?;
    let (scales, zeros) = (access.input::<f32>(&op.scales)?, access.input::<u32>(&op.zeros)?);
    let out = access.output::<f32>(&op.out)?;
    let groups = out.par_chunks_mut(INT4_GROUP).zip(codes.par_chunks(WORDS));
    let groups = groups.zip(scales.par_iter().zip(zeros.par_iter()));
    groups.with_min_len(PARALLEL / INT4_GROUP).for_each(|((out, codes), (&scale, &zero))| {
        // A table of what its sixteen codes stand for.
        let numbers: [f32; 16] = std::array::from_fn(|code| match scale.is_finite() {
            true => (code as f32 - (zero & 15) as f32) * flush(scale),
            false => f32::NAN,
        });
        for (out, word) in out.chunks_mut(8).zip(codes) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = numbers[(word >> (4 * i)) as usize & 15];
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_definition() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        for (from, scale) in
            [(-0.3, 1.0), (-0.7, 1e-7), (100.0, 1.0), (-2.0, 1e30), (-0.5, 3.3e38), (0.5, 1e-40), (-9.0, 0.0)]
        {
            for steps in [0.0, 8.0, 15.0, 30.0, 1e6] {
                // Of few steps many numbers are midway between two codes, and some a hair beside.
                let number = |x: f32| match steps {
                    0.0 => (from + x) * scale,
                    _ => ((from + x) * steps).round() / steps * scale,
                };
                let mut x: Vec<f32> = (0..INT4_GROUP).map(|_| number(random())).collect();
                for (i, x) in x.iter_mut().enumerate() {
                    *x = f32::from_bits(x.to_bits().wrapping_add_signed([0, 0, 1, -1][i % 4]));
                }
                let mut codes = [0; WORDS];
                let (scale, zero) = pack_group(&x, &mut codes);
                for (i, &x) in x.iter().enumerate() {
                    let want = if scale.is_nan() { 0 } else { int4_code(x, scale, zero) };
                    assert_eq!(codes[i / 8] >> (4 * (i % 8)) & 15, want, "{from} {steps} {x:e} / {scale:e}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_makes_a_group_unknown() {
        for x in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut group = [1.0; 100];
            group[77] = x;
            let mut codes = [9; 13];
            let (scale, zero) = pack_group(&group, &mut codes);
            assert!(scale.is_nan() && zero == 0 && codes == [0; 13], "{x}");
        }
    }
}
