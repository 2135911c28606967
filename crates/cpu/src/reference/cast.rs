use gristmill_core::Result;
use gristmill_core::ops::Cast;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Cast, access: &Access) -> Result<()> {
    with!(op.x.dtype(), all X => with!(op.out.dtype(), all Y => {
        for (out, &x) in access.output::<Y>(&op.out)?.iter_mut().zip(access.input::<X>(&op.x)?) {
            *out = Y::nearest(x.as_f64());
        }
        Ok(())
    }))
}
