use gristmill_core::Result;
use gristmill_core::ops::Axpby;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Axpby, access: &Access) -> Result<()> {
    let (alpha, beta) = (f64::from(op.alpha), f64::from(op.beta));
    with!(op.x.dtype(), float X => with!(op.y.dtype(), float Y => {
        for (y, &x) in access.output::<Y>(&op.y)?.iter_mut().zip(access.input::<X>(&op.x)?) {
            *y = Y::nearest(alpha * x.as_f64() + beta * y.as_f64());
        }
        Ok(())
    }))
}
