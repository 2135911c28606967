use gristmill_core::ops::Scale;
use gristmill_core::{DType, Result};

use super::elementwise::map;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

pub(super) fn run(op: &Scale, access: &Access) -> Result<()> {
    let alpha = op.alpha;
    if op.x.dtype() == DType::F64 {
        let alpha = f64::from(alpha);
        map(
            access.input::<f64>(&op.x)?,
            access.output::<f64>(&op.out)?,
            #[inline(always)]
            |x| alpha * x,
        );
        return Ok(());
    }
    with!(op.x.dtype(), common T => {
        map(access.input::<T>(&op.x)?, access.output::<T>(&op.out)?, #[inline(always)] |x| T::narrow(alpha * x.widen()));
        Ok(())
    })
}
