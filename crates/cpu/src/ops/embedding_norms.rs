use gristmill_core::Result;
use gristmill_core::ops::EmbeddingNorms;
use rayon::prelude::*;

use super::PARALLEL;
use super::lanes::{dispatch, sum};
use crate::access::{Access, Indices};
use crate::float::Float;
use crate::number::with;
use crate::reference::embedding_norms::check;

pub(super) fn run(op: &EmbeddingNorms, access: &Access) -> Result<()> {
    let (ids, offsets) = (access.indices(&op.ids)?, access.indices(&op.offsets)?);
    check(op, ids, op.vocabulary, offsets)?;
    let (_, d) = op.dy.shape().rows_cols();
    with!(op.dy.dtype(), common T => {
        let dy = access.input::<T>(&op.dy)?;
        let norm = |(sample, out): (usize, &mut f32)| {
            let rows = offsets.at(sample) as usize..offsets.at(sample + 1) as usize;
            let order = by_id(ids, rows, op.padding_idx);
            let mut scratch = vec![0.0f64; d];
            *out = dispatch(#[inline(always)] || {
                let runs = order.chunk_by(|a, b| a.0 == b.0);
                runs.map(|run| {
                    add_up(&mut scratch, dy, run);
                    sum(&scratch, |g| g * g)
                })
                .sum::<f64>() as f32
            });
        };
        let out = access.output::<f32>(&op.out)?;
        match dy.len() < PARALLEL {
            true => out.iter_mut().enumerate().for_each(norm),
            false => out.par_iter_mut().enumerate().for_each(norm),
        }
        Ok(())
    })
}

/// Ids and rows, in the order of the ids, rows of one id in theirs; without those of the padding.
pub(super) fn by_id(
    ids: Indices<'_>,
    rows: std::ops::Range<usize>,
    padding_idx: Option<u32>,
) -> Vec<(u32, u32)> {
    // Ids are in the vocabulary, and rows fit in 32 bits, as was checked.
    let pairs = rows.map(|t| (ids.at(t) as u32, t as u32));
    let mut order: Vec<_> = pairs.filter(|(id, _)| Some(*id) != padding_idx).collect();
    order.sort_unstable();
    order
}

/// The sum of these rows.
#[inline(always)]
pub(super) fn add_up<T: Float>(sums: &mut [f64], dy: &[T], rows: &[(u32, u32)]) {
    sums.fill(0.0);
    let d = sums.len();
    for &(_, t) in rows {
        for (sum, dy) in sums.iter_mut().zip(&dy[t as usize * d..]) {
            *sum += f64::from(dy.widen());
        }
    }
}
