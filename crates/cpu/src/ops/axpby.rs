use gristmill_core::ops::Axpby;
use gristmill_core::{DType, Result};

use super::elementwise::update;
use crate::access::Access;
use crate::float::Float;
use crate::number::{Number, with};

pub(super) fn run(op: &Axpby, access: &Access) -> Result<()> {
    if op.x.dtype() == DType::F64 || op.y.dtype() == DType::F64 {
        let (alpha, beta) = (f64::from(op.alpha), f64::from(op.beta));
        return with!(op.x.dtype(), float X => with!(op.y.dtype(), float Y => {
            update(access.input::<X>(&op.x)?, access.output::<Y>(&op.y)?, #[inline(always)] |x, y| {
                Y::nearest(alpha * x.as_f64() + beta * y.as_f64())
            });
            Ok(())
        }));
    }
    let (alpha, beta) = (op.alpha, op.beta);
    with!(op.x.dtype(), common X => with!(op.y.dtype(), common Y => {
        update(access.input::<X>(&op.x)?, access.output::<Y>(&op.y)?, #[inline(always)] |x, y| {
            Y::narrow(alpha * x.widen() + beta * y.widen())
        });
        Ok(())
    }))
}
