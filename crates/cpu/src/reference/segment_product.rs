use gristmill_core::Result;
use gristmill_core::ops::SegmentProduct;

use super::fail_at;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &SegmentProduct, access: &Access) -> Result<()> {
    let (rows, n) = op.a.shape().rows_cols();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(rows))?;
    with!(op.a.dtype(), common T => {
        let a = access.input::<T>(&op.a)?;
        let b = op.b.as_ref().map(|b| access.input::<T>(b)).transpose()?;
        for (i, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let (sample, j) = (i / n, i % n);
            let terms = (offsets.at(sample) as usize..offsets.at(sample + 1) as usize).map(|t| {
                let at = t * n + j;
                a[at].as_f64() * b.map_or(1.0, |b| b[at].as_f64())
            });
            *out = terms.sum::<f64>() as f32;
        }
        Ok(())
    })
}
