use gristmill_core::Result;
use gristmill_core::ops::Matmul;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Matmul, access: &Access) -> Result<()> {
    with!(op.a.dtype(), float T => with!(op.out.dtype(), float O => multiply::<T, O>(op, access)))
}

fn multiply<T: Number, O: Number>(op: &Matmul, access: &Access) -> Result<()> {
    let s = op.sizes()?;
    let (a, b) = (access.input::<T>(&op.a)?, access.input::<T>(&op.b)?);
    let out = access.output::<O>(&op.out)?;
    let (alpha, beta) = (f64::from(op.alpha), f64::from(op.beta));
    for batch in 0..s.batch {
        let a = &a[batch * s.m * s.k..][..s.m * s.k];
        let b = if s.batched_b { &b[batch * s.k * s.n..][..s.k * s.n] } else { b };
        let at_a = |i: usize, l: usize| if op.trans_a { a[l * s.m + i] } else { a[i * s.k + l] };
        let at_b = |l: usize, j: usize| if op.trans_b { b[j * s.k + l] } else { b[l * s.n + j] };
        for i in 0..s.m {
            for j in 0..s.n {
                let dot: f64 = (0..s.k).map(|l| at_a(i, l).as_f64() * at_b(l, j).as_f64()).sum();
                let out = &mut out[(batch * s.m + i) * s.n + j];
                let before = if beta == 0.0 { 0.0 } else { beta * out.as_f64() };
                *out = O::nearest(alpha * dot + before);
            }
        }
    }
    Ok(())
}
