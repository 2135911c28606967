use gristmill_core::Result;
use gristmill_core::ops::BiasAdd;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &BiasAdd, access: &Access) -> Result<()> {
    let bias = access.input::<f32>(&op.bias)?;
    with!(op.x.dtype(), common T => {
        for (i, x) in access.output::<T>(&op.x)?.iter_mut().enumerate() {
            *x = T::nearest(x.as_f64() + f64::from(bias[i % bias.len()]));
        }
        Ok(())
    })
}
