//! Tiles of scores, with the softmax as it goes.
//!
//! A task is a document with one head of its keys and values, which it lays out for the products once; its own tasks
//! are a head of the queries and a block of rows each. A block goes over the keys a tile at a time: products of queries
//! and keys, weights relative to the greatest score so far, products of weights and values, all in memory that the
//! first two caches hold. Blocks, tiles and rows are counted from where the document begins, and nothing of a row
//! depends on where the document lies or what lies beside it; so the bits of a document are the same in every batch.

mod block;
mod panel;
mod vector;

use std::marker::PhantomData;

use gristmill_core::Result;
use gristmill_core::ops::Attention;
use rayon::prelude::*;

use super::lanes::{Vectors, dispatch, dispatch_fused};
use crate::access::{Access, Indices};
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;
use block::{BLOCK, Block, Scratch};
use panel::Panels;
use vector::{Plain, VECTOR, Vector};

pub(super) fn run(op: &Attention, access: &Access) -> Result<()> {
    let (rows, columns) = op.q.shape().rows_cols();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(rows))?;
    with!(op.q.dtype(), common T => {
        let (q, k, v) = (access.input::<T>(&op.q)?, access.input::<T>(&op.k)?, access.input::<T>(&op.v)?);
        let out = access.output::<T>(&op.out)?;
        let last = offsets.len() - 1;
        out[..offsets.at(0) as usize * columns].fill(T::narrow(0.0));
        out[offsets.at(last) as usize * columns..].fill(T::narrow(0.0));
        let problem = Problem {
            q,
            k,
            v,
            offsets,
            heads: op.heads,
            kv_heads: op.kv_heads,
            d: op.head_dim(),
            scale: op.scale,
            out: Out(out.as_mut_ptr()),
        };
        match Vectors::detect() {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => problem.run::<vector::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => problem.run::<vector::Avx2>(),
            Vectors::Baseline => problem.run::<Plain>(),
        }
        Ok(())
    })
}

/// The operands of the operation.
struct Problem<'a, T> {
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    offsets: Indices<'a>,
    heads: usize,
    kv_heads: usize,
    d: usize,
    scale: f32,
    out: Out<T>,
}

/// Where the output begins: as many elements as the queries have.
struct Out<T>(*mut T);

// SAFETY: tasks write different elements of it, and nobody reads them before all tasks have ended.
unsafe impl<T: Send> Sync for Out<T> {}

impl<T: Float> Problem<'_, T> {
    fn run<V: Vector>(&self) {
        let tasks = (self.offsets.len() - 1) * self.kv_heads;
        (0..tasks)
            .into_par_iter()
            .for_each(|task| self.head::<V>(task / self.kv_heads, task % self.kv_heads));
    }

    /// One head of keys and values, in one document, and all heads of queries that go with it.
    fn head<V: Vector>(&self, document: usize, kv_head: usize) {
        let (begin, end) = (self.offsets.at(document) as usize, self.offsets.at(document + 1) as usize);
        if begin == end {
            return;
        }
        let stride = self.kv_heads * self.d;
        let part = begin * stride + kv_head * self.d;
        let width = V::MOST * VECTOR;
        let [keys, values] = dispatch(
            #[inline(always)]
            || {
                let keys = Panels::of_columns(&self.k[part..], [end - begin, self.d], stride, width);
                [keys, Panels::of_rows(&self.v[part..], [end - begin, self.d], stride, width)]
            },
        );
        let group = self.heads / self.kv_heads;
        let blocks = (end - begin).div_ceil(BLOCK);
        // The last blocks have most to do: they begin first.
        (0..group * blocks).into_par_iter().rev().for_each_init(
            || Scratch::new(self.d),
            |scratch, task| {
                let (head, first) = (kv_head * group + task % group, task / group * BLOCK);
                let rows = BLOCK.min(end - begin - first);
                self.block::<V>(scratch, &keys, &values, [begin, first, rows, head]);
            },
        );
    }

    /// Some rows of a document, from `first` on, with one head of the queries.
    fn block<V: Vector>(
        &self,
        scratch: &mut Scratch,
        keys: &Panels,
        values: &Panels,
        [begin, first, rows, head]: [usize; 4],
    ) {
        let columns = self.heads * self.d;
        let at = |row: usize| (begin + first + row) * columns + head * self.d;
        // Scores are made for powers of two.
        let scale = self.scale * std::f32::consts::LOG2_E;
        dispatch(
            #[inline(always)]
            || {
                for (row, to) in scratch.q.chunks_exact_mut(self.d).take(rows).enumerate() {
                    to.iter_mut().zip(&self.q[at(row)..]).for_each(|(to, q)| *to = scale * q.widen());
                }
            },
        );
        dispatch_fused(Block::<V> { scratch, keys, values, d: self.d, first, rows, vector: PhantomData });
        dispatch(
            #[inline(always)]
            || {
                for (row, seen) in scratch.out.chunks_exact(scratch.width).take(rows).enumerate() {
                    // SAFETY: the output has as many elements as the queries, so this row of this head lies in it, and
                    // no other task has the row, the head and the document.
                    let out = unsafe { std::slice::from_raw_parts_mut(self.out.0.add(at(row)), self.d) };
                    let inverse = 1.0 / scratch.sums[row];
                    out.iter_mut().zip(seen).for_each(|(out, x)| *out = T::narrow(x * inverse));
                }
            },
        );
    }
}
