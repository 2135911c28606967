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
    codes.fill(0);
    let finite = x.iter().fold(true, |all, x| all & x.is_finite());
    let min = x.iter().fold(f32::INFINITY, |min, &x| if x < min { x } else { min });
    let max = x.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let scale = int4_scale(min, max);
    if !finite || scale.is_nan() {
        return (f32::NAN, 0);
    }
    let zero = int4_code(-min, scale, 0);
    // What `int4_code` compares with, once for the group: behind the numbers is a code of 0, which none is counted in.
    let middles: [(f32, bool); 15] = std::array::from_fn(|k| {
        let steps = k as i32 - zero as i32;
        (scale * (steps as f32 + 0.5), steps & 1 != 0)
    });
    let mut of_group = [0u32; INT4_GROUP];
    for (code, &x) in of_group.iter_mut().zip(x) {
        *code = middles.iter().map(|&(middle, up)| u32::from((x > middle) | ((x == middle) & up))).sum();
    }
    for (word, of_word) in codes.iter_mut().zip(of_group.chunks_exact(8)) {
        *word = of_word.iter().rev().fold(0, |word, code| word << 4 | code);
    }
    (scale, zero)
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
