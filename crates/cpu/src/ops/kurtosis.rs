use gristmill_core::Result;
use gristmill_core::ops::Kurtosis;

use super::lanes::{dispatch, sum};
use super::segments;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Kurtosis, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let out = access.output::<f32>(&op.out)?;
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        segments(x.len(), out, |first, out| {
            dispatch(#[inline(always)] || {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = kurtosis(&x[(first + i) * columns..][..columns], op.centered);
                }
            });
        });
        Ok(())
    })
}

/// Of a row, in `f64`: what is told from the first number is exact enough for a row far from zero.
#[inline(always)]
fn kurtosis<T: Number>(row: &[T], centered: bool) -> f32 {
    let n = row.len() as f64;
    let first = row.first().map_or(0.0, |x| x.as_f64());
    let rest = sum(row, |x| x - first) / n;
    let mean = first + rest;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
    let center = if centered { mean } else { 0.0 };
    let fourth = sum(row, |x| {
        let square = (x - center) * (x - center);
        square * square
    }) / n;
    // The sum of differences of equal numbers is 0, and NaN is no number.
    let spread = sum(row, |x| (x - first).abs());
    if spread > 0.0 { (fourth / (variance * variance) - 3.0) as f32 } else { f32::NAN }
}
