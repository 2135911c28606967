use gristmill_core::Result;
use gristmill_core::ops::Attention;
use rayon::prelude::*;

use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

pub(super) fn run(op: &Attention, access: &Access) -> Result<()> {
    let (rows, columns) = op.q.shape().rows_cols();
    let (d, kv_columns) = (op.head_dim(), op.k.shape().rows_cols().1);
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(rows))?;
    let mut begins: Vec<Option<usize>> = vec![None; rows];
    for document in 0..offsets.len() - 1 {
        let (begin, end) = (offsets.at(document) as usize, offsets.at(document + 1) as usize);
        begins[begin..end].fill(Some(begin));
    }
    with!(op.q.dtype(), common T => {
        let (q, k, v) = (access.input::<T>(&op.q)?, access.input::<T>(&op.k)?, access.input::<T>(&op.v)?);
        let out = access.output::<T>(&op.out)?;
        out.par_chunks_mut(d).enumerate().for_each(|(i, out)| {
            let (row, head) = (i / op.heads, i % op.heads);
            let Some(begin) = begins[row] else { return out.fill(T::narrow(0.0)) };
            let of_kv = head / (op.heads / op.kv_heads) * d;
            let q = &q[row * columns + head * d..][..d];
            let scores: Vec<f32> = (begin..=row)
                .map(|j| {
                    let k = &k[j * kv_columns + of_kv..][..d];
                    op.scale * q.iter().zip(k).map(|(q, k)| q.widen() * k.widen()).sum::<f32>()
                })
                .collect();
            let max = scores.iter().fold(f32::NEG_INFINITY, |max, &score| max.max(score));
            let (mut total, mut sums) = (0.0, vec![0.0f32; d]);
            for (j, score) in (begin..).zip(&scores) {
                let weight = (score - max).exp();
                total += weight;
                for (sum, v) in sums.iter_mut().zip(&v[j * kv_columns + of_kv..][..d]) {
                    *sum += weight * v.widen();
                }
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::narrow(sum / total));
        });
        Ok(())
    })
}
