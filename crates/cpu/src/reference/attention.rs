use gristmill_core::Result;
use gristmill_core::ops::Attention;

use super::fail_at;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Attention, access: &Access) -> Result<()> {
    let (rows, columns) = op.q.shape().rows_cols();
    let (d, kv_columns) = (op.head_dim(), op.k.shape().rows_cols().1);
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(rows))?;
    with!(op.q.dtype(), common T => {
        let (q, k, v) = (access.input::<T>(&op.q)?, access.input::<T>(&op.k)?, access.input::<T>(&op.v)?);
        let out = access.output::<T>(&op.out)?;
        out.fill(T::nearest(0.0));
        for document in 0..offsets.len() - 1 {
            let (begin, end) = (offsets.at(document) as usize, offsets.at(document + 1) as usize);
            for (row, head) in (begin..end).flat_map(|row| (0..op.heads).map(move |head| (row, head))) {
                let of_head = head * d;
                let of_kv = head / (op.heads / op.kv_heads) * d;
                let q = &q[row * columns + of_head..][..d];
                let scores: Vec<f64> = (begin..=row)
                    .map(|j| {
                        let k = &k[j * kv_columns + of_kv..][..d];
                        let dot: f64 = q.iter().zip(k).map(|(q, k)| q.as_f64() * k.as_f64()).sum();
                        f64::from(op.scale) * dot
                    })
                    .collect();
                let max = scores.iter().fold(f64::NEG_INFINITY, |max, &score| max.max(score));
                let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (i, out) in out[row * columns + of_head..][..d].iter_mut().enumerate() {
                    let v = |j: usize| v[j * kv_columns + of_kv + i].as_f64();
                    let seen: f64 = weights.iter().zip(begin..).map(|(weight, j)| weight * v(j)).sum();
                    *out = T::nearest(seen / total);
                }
            }
        }
        Ok(())
    })
}
