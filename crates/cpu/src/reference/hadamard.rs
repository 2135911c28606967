use gristmill_core::Result;
use gristmill_core::ops::Hadamard;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Hadamard, access: &Access) -> Result<()> {
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        for (at, out) in access.output::<T>(&op.out)?.iter_mut().enumerate() {
            let i = at % op.block;
            let block = &x[at - i..][..op.block];
            let term = |(j, x): (usize, &T)| if (i & j).count_ones().is_multiple_of(2) { x.as_f64() } else { -x.as_f64() };
            *out = T::nearest(block.iter().enumerate().map(term).sum::<f64>() / (op.block as f64).sqrt());
        }
        Ok(())
    })
}
