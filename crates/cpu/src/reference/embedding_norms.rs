use std::collections::BTreeMap;

use gristmill_core::Result;
use gristmill_core::ops::{EmbeddingNorms, Operation};

use super::fail_at;
use crate::access::{Access, Indices};
use crate::number::{Number, with};

pub(super) fn run(op: &EmbeddingNorms, access: &Access) -> Result<()> {
    let (ids, offsets) = (access.indices(&op.ids)?, access.indices(&op.offsets)?);
    check(op, ids, op.vocabulary, offsets)?;
    let (_, d) = op.dy.shape().rows_cols();
    with!(op.dy.dtype(), common T => {
        let dy = access.input::<T>(&op.dy)?;
        for (sample, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let sums = gradient(dy, d, ids, offsets, sample, op.padding_idx);
            *out = sums.values().flatten().map(|g| g * g).sum::<f64>() as f32;
        }
        Ok(())
    })
}

/// Refuses ids outside the vocabulary, then offsets that do not ascend.
pub(crate) fn check(
    op: &impl Operation,
    ids: Indices<'_>,
    vocabulary: usize,
    offsets: Indices<'_>,
) -> Result<()> {
    let rows = ids.len();
    let unordered = || offsets.first_unordered(rows).map(|sample| rows as u64 + sample);
    fail_at(op, ids.first_outside(vocabulary).or_else(unordered))
}

/// The rows of the table that a sample has a gradient in, with it.
pub(super) fn gradient<T: Number>(
    dy: &[T],
    d: usize,
    ids: Indices<'_>,
    offsets: Indices<'_>,
    sample: usize,
    padding_idx: Option<u32>,
) -> BTreeMap<i64, Vec<f64>> {
    let mut sums = BTreeMap::new();
    for t in offsets.at(sample) as usize..offsets.at(sample + 1) as usize {
        if padding_idx.is_none_or(|padding| ids.at(t) != i64::from(padding)) {
            let sum = sums.entry(ids.at(t)).or_insert_with(|| vec![0.0; d]);
            for (sum, dy) in sum.iter_mut().zip(&dy[t * d..]) {
                *sum += dy.as_f64();
            }
        }
    }
    sums
}
