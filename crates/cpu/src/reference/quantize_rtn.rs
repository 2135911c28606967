use gristmill_core::Result;
use gristmill_core::ops::QuantizeRtn;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &QuantizeRtn, access: &Access) -> Result<()> {
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        for (x, out) in x.chunks(op.group).zip(access.output::<T>(&op.out)?.chunks_mut(op.group)) {
            let x: Vec<f32> = x.iter().map(|x| x.as_f64() as f32).collect();
            let ends = match x.iter().any(|x| x.is_nan()) {
                true => [f32::NAN; 2],
                false => [x.iter().copied().fold(0.0, f32::min), x.iter().copied().fold(0.0, f32::max)],
            };
            let grid = op.rule.grid(ends[0], ends[1]);
            out.iter_mut().zip(x).for_each(|(out, x)| *out = T::nearest(grid.rounded(x).into()));
        }
        Ok(())
    })
}
