use gristmill_core::Result;
use gristmill_core::ops::Gram;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Gram, access: &Access) -> Result<()> {
    with!(op.x.dtype(), common T => with!(op.out.dtype(), common O => multiply::<T, O>(op, access)))
}

fn multiply<T: Number, O: Number>(op: &Gram, access: &Access) -> Result<()> {
    let (n, k) = op.sizes();
    let x = access.input::<T>(&op.x)?;
    let c = op.c.as_ref().map(|c| access.input::<O>(c)).transpose()?.filter(|_| op.beta != 0.0);
    let out = access.output::<O>(&op.out)?;
    let at = |i: usize, l: usize| x[if op.columns { l * n + i } else { i * k + l }].as_f64();
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..k).map(|l| at(i, l) * at(j, l)).sum();
            let beside = c.map_or(0.0, |c| f64::from(op.beta) * c[i * n + j].as_f64());
            let entry = O::nearest(f64::from(op.alpha) * dot + beside);
            (out[i * n + j], out[j * n + i]) = (entry, entry);
        }
    }
    Ok(())
}
