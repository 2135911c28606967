use gristmill_core::Result;
use gristmill_core::ops::Kurtosis;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Kurtosis, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        for (r, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let row = &x[r * columns..][..columns];
            let mean_of = |f: &dyn Fn(f64) -> f64| row.iter().map(|x| f(x.as_f64())).sum::<f64>() / columns as f64;
            let mean = mean_of(&|x| x);
            let center = if op.centered { mean } else { 0.0 };
            let equal = row.iter().all(|x| x.as_f64() == row[0].as_f64());
            let variance = mean_of(&|x| (x - mean).powi(2));
            let fourth = mean_of(&|x| (x - center).powi(4));
            *out = if equal { f32::NAN } else { (fourth / variance.powi(2) - 3.0) as f32 };
        }
        Ok(())
    })
}
