use gristmill_core::Result;
use gristmill_core::ops::ClippedEmbeddingGrad;
use rayon::prelude::*;

use super::PARALLEL;
use super::embedding_norms::{add_up, by_id};
use super::lanes::dispatch;
use crate::access::{Access, Indices};
use crate::number::with;
use crate::reference::embedding_norms::check;

pub(super) fn run(op: &ClippedEmbeddingGrad, access: &Access) -> Result<()> {
    let (ids, offsets) = (access.indices(&op.ids)?, access.indices(&op.offsets)?);
    check(op, ids, op.grad.shape().rows_cols().0, offsets)?;
    let (_, d) = op.dy.shape().rows_cols();
    if d == 0 || offsets.len() < 2 {
        return Ok(());
    }
    let factors = access.input::<f32>(&op.factors)?;
    let rows = offsets.at(0) as usize..offsets.at(offsets.len() - 1) as usize;
    let samples = samples(offsets, rows.clone());
    let first = rows.start;
    let sample = |&(_, t): &(u32, u32)| samples[t as usize - first] as usize;
    let order = by_id(ids, rows, op.padding_idx);
    with!(op.dy.dtype(), common T => {
        let dy = access.input::<T>(&op.dy)?;
        let work = |(grad, of_id): (&mut [f32], &[(u32, u32)])| {
            let (mut total, mut scratch) = (vec![0.0f64; d], vec![0.0f64; d]);
            dispatch(#[inline(always)] || {
                for rows in of_id.chunk_by(|a, b| sample(a) == sample(b)) {
                    let factor = factors[sample(&rows[0])];
                    if factor == 0.0 {
                        continue;
                    }
                    add_up(&mut scratch, dy, rows);
                    for (total, sum) in total.iter_mut().zip(&scratch) {
                        *total += f64::from(factor) * sum;
                    }
                }
                for (grad, total) in grad.iter_mut().zip(&total) {
                    *grad = (f64::from(*grad) + total) as f32;
                }
            });
        };
        let tasks = table_rows(access.output::<f32>(&op.grad)?, d, &order);
        match dy.len() < PARALLEL {
            true => tasks.into_iter().for_each(work),
            false => tasks.into_par_iter().for_each(work),
        }
        Ok(())
    })
}

/// The sample of each of these rows.
fn samples(offsets: Indices<'_>, rows: std::ops::Range<usize>) -> Vec<u32> {
    let mut samples = Vec::with_capacity(rows.len());
    for sample in 0..offsets.len() - 1 {
        let length = offsets.at(sample + 1) - offsets.at(sample);
        samples.extend(std::iter::repeat_n(sample as u32, length as usize));
    }
    samples
}

/// A row of the table, and the rows that name it with their id before each.
type Named<'a> = (&'a mut [f32], &'a [(u32, u32)]);

/// The rows of the table that are named.
fn table_rows<'a>(mut grad: &'a mut [f32], d: usize, order: &'a [(u32, u32)]) -> Vec<Named<'a>> {
    let (mut at, mut tasks) = (0, Vec::new());
    for of_id in order.chunk_by(|a, b| a.0 == b.0) {
        let id = of_id[0].0 as usize;
        let (row, rest) = grad[(id - at) * d..].split_at_mut(d);
        tasks.push((row, of_id));
        (at, grad) = (id + 1, rest);
    }
    tasks
}
