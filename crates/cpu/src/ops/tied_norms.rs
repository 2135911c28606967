use gristmill_core::Result;
use gristmill_core::ops::TiedNorms;
use rayon::prelude::*;

use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::embedding_norms::check;

pub(super) fn run(op: &TiedNorms, access: &Access) -> Result<()> {
    let (_, vocabulary) = op.dlogits.shape().rows_cols();
    let (ids, offsets) = (access.indices(&op.ids)?, access.indices(&op.offsets)?);
    check(op, ids, vocabulary, offsets)?;
    let (_, d) = op.e.shape().rows_cols();
    with!(op.e.dtype(), common T => {
        let (e, h) = (access.input::<T>(&op.e)?, access.input::<T>(&op.h)?);
        let dlogits = access.input::<T>(&op.dlogits)?;
        for (sample, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let rows = offsets.at(sample) as usize..offsets.at(sample + 1) as usize;
            // Row by row of the embedding, so that a sum over the head is a row too.
            let term = |t: usize| {
                let mut of_head = vec![0.0f64; d];
                let id = ids.at(t) as usize;
                dispatch(#[inline(always)] || {
                    for s in rows.clone() {
                        let weight = f64::from(dlogits[s * vocabulary + id].widen());
                        for (sum, h) in of_head.iter_mut().zip(&h[s * d..]) {
                            *sum += weight * f64::from(h.widen());
                        }
                    }
                    dot(&of_head, &e[t * d..])
                })
            };
            let terms: Vec<f64> = rows.clone().into_par_iter().map(term).collect();
            *out = terms.iter().sum::<f64>() as f32;
        }
        Ok(())
    })
}

/// In lanes, so that the order of additions does not depend on the vectors.
#[inline(always)]
fn dot<T: Float>(a: &[f64], b: &[T]) -> f64 {
    let mut lanes = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * f64::from(b.widen());
        }
    }
    lanes.iter().sum()
}
