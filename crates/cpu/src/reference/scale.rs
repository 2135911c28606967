use gristmill_core::Result;
use gristmill_core::ops::Scale;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Scale, access: &Access) -> Result<()> {
    let alpha = f64::from(op.alpha);
    with!(op.x.dtype(), float T => {
        for (out, &x) in access.output::<T>(&op.out)?.iter_mut().zip(access.input::<T>(&op.x)?) {
            *out = T::nearest(alpha * x.as_f64());
        }
        Ok(())
    })
}
