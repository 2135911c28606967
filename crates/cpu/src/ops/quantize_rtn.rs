use gristmill_core::Result;
use gristmill_core::ops::{QuantizeRtn, RtnRule};

use super::elementwise::row_pieces;
use super::lanes::{dispatch, max};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

pub(super) fn run(op: &QuantizeRtn, access: &Access) -> Result<()> {
    let group = op.group;
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        // Groups lie one behind the other, whatever the rows are.
        row_pieces(access.output::<T>(&op.out)?, group, |first, out| {
            let x = &x[first * group..][..out.len()];
            dispatch(#[inline(always)] || {
                for (x, out) in x.chunks_exact(group).zip(out.chunks_exact_mut(group)) {
                    quantize(&op.rule, x, out);
                }
            });
        });
        Ok(())
    })
}

#[inline(always)]
fn quantize<T: Float>(rule: &RtnRule, x: &[T], out: &mut [T]) {
    let greatest = max::<T, f32, 16>(x, 0.0, |x| x.widen());
    let least = -max::<T, f32, 16>(x, 0.0, |x| -x.widen());
    // Which is not among the greatest of anything.
    let nan = max::<T, u32, 16>(x, 0, |x| u32::from(x.widen().is_nan())) == 1;
    let grid = if nan { rule.grid(f32::NAN, f32::NAN) } else { rule.grid(least, greatest) };
    out.iter_mut().zip(x).for_each(|(out, x)| *out = T::narrow(grid.rounded(x.widen())));
}
