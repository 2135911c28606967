use gristmill_core::ops::Cast;
use gristmill_core::{DType, Result};

use super::elementwise::map;
use crate::access::Access;
use crate::float::Float;
use crate::number::{Number, with};

pub(super) fn run(op: &Cast, access: &Access) -> Result<()> {
    if [op.x.dtype(), op.out.dtype()].iter().all(|dtype| DType::FLOATS.contains(dtype)) {
        // `f32` holds all of these, so there is one rounding, to the type of the result.
        return with!(op.x.dtype(), common X => with!(op.out.dtype(), common Y => {
            map(access.input::<X>(&op.x)?, access.output::<Y>(&op.out)?, #[inline(always)] |x| Y::narrow(x.widen()));
            Ok(())
        }));
    }
    with!(op.x.dtype(), all X => with!(op.out.dtype(), all Y => {
        map(access.input::<X>(&op.x)?, access.output::<Y>(&op.out)?, #[inline(always)] |x| Y::nearest(x.as_f64()));
        Ok(())
    }))
}
