//! Half of a product of rows with each other, a panel of columns at a time, each from its diagonal down; what is below it
//! is written to its place above at the same time.

use gemm::Parallelism;
use gristmill_core::ops::Gram;
use gristmill_core::{DType, Result};
use half::{bf16, f16};
use rayon::prelude::*;

use super::lanes::dispatch;
use super::matmul::{Matrix, multiply};
#[cfg(target_arch = "x86_64")]
use super::product::{Lanes, Product, Scratch, WIDTH};
use crate::access::Access;
use crate::float::{Float, widened};
use crate::number::with;

/// Columns of a panel where a library multiplies.
const PANEL: usize = 256;

/// Rows and columns that are mirrored, or turned, together.
const SIDE: usize = 48;

/// Rows of the product that a task has at the least.
#[cfg(target_arch = "x86_64")]
const LEAST_ROWS: usize = 256;

pub(super) fn run(op: &Gram, access: &Access) -> Result<()> {
    with!(op.out.dtype(), common O => {
        let c = op.c.as_ref().map(|c| access.input::<O>(c)).transpose()?;
        let (n, k) = op.sizes();
        let out = access.output::<O>(&op.out)?;
        let entries = Entries { n, alpha: op.alpha, beta: op.beta, c: c.filter(|_| op.beta != 0.0), out: Out(out.as_mut_ptr()) };
        match op.x.dtype() {
            #[cfg(target_arch = "x86_64")]
            DType::F32 if k > 0 && Product::<f32>::of_depth(k).is_some() => by_panels::<f32, O>(op, access, &entries),
            #[cfg(target_arch = "x86_64")]
            DType::Bf16 if k > 0 && Product::<bf16>::of_depth(k).is_some() => by_panels::<bf16, O>(op, access, &entries),
            DType::F32 => widening::<f32, O>(op, access, &entries),
            DType::Bf16 => widening::<bf16, O>(op, access, &entries),
            _ => widening::<f16, O>(op, access, &entries),
        }
    })
}

/// What sums become.
struct Entries<'a, O> {
    n: usize,
    alpha: f32,
    beta: f32,
    c: Option<&'a [O]>,
    out: Out<O>,
}

/// Where the product begins.
struct Out<O>(*mut O);

// SAFETY: tasks write different elements of it, and nobody reads them before all tasks have ended.
unsafe impl<O: Send> Sync for Out<O> {}

impl<O: Float> Entries<'_, O> {
    /// Takes sums of rows from `row` on, `stride` apart, for columns from `column` to `end`; of those above the diagonal
    /// none is looked at.
    ///
    /// # Safety
    /// The product has these rows and columns, and no other task has them or their mirror images; no slice of them is
    /// alive.
    unsafe fn take(&self, row: usize, [column, end]: [usize; 2], sums: &[f32], stride: usize) {
        for (square, sums) in sums.chunks(SIDE * stride).enumerate() {
            let first = row + square * SIDE;
            for from in (column..end).step_by(SIDE) {
                let columns = [from, end.min(from + SIDE)];
                // SAFETY: the caller promises it of all of them.
                unsafe { self.square(first, columns, &sums[from - column..], stride) };
            }
        }
    }

    /// The same of at most [`SIDE`] rows and columns.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    unsafe fn square(&self, first: usize, [column, end]: [usize; 2], sums: &[f32], stride: usize) {
        let (n, out) = (self.n, self.out.0);
        let rows = first..first + sums.len().div_ceil(stride);
        // Rows of the product may lie far apart, and all in one place of a cache: both sides are written from here.
        let mut square = [[O::narrow(0.0); SIDE]; SIDE];
        dispatch(
            #[inline(always)]
            || {
                for ((i, sums), to) in rows.clone().zip(sums.chunks(stride)).zip(&mut square) {
                    let columns = end.min(i + 1).saturating_sub(column);
                    let to = &mut to[..columns];
                    match self.c {
                        None => to.iter_mut().zip(sums).for_each(|(y, x)| *y = O::narrow(self.alpha * x)),
                        Some(c) => {
                            let c = &c[i * n + column..][..columns];
                            let entry = |x: f32, c: &O| O::narrow(self.alpha * x + self.beta * c.widen());
                            to.iter_mut().zip(sums).zip(c).for_each(|((y, x), c)| *y = entry(*x, c));
                        }
                    }
                    // SAFETY: the caller promises it; these are at and below the diagonal.
                    unsafe { std::slice::from_raw_parts_mut(out.add(i * n + column), columns) }
                        .copy_from_slice(to);
                }
                for j in column..end {
                    let below = rows.start.max(j + 1)..rows.end.max(j + 1);
                    // SAFETY: the caller promises it; these are above the diagonal.
                    let run =
                        unsafe { std::slice::from_raw_parts_mut(out.add(j * n + below.start), below.len()) };
                    for (to, i) in run.iter_mut().zip(below) {
                        *to = square[i - first][j - column];
                    }
                }
            },
        );
    }
}

/// The matrix by rows that are multiplied with each other: itself, or its transpose.
fn by_rows<'a, T: Float>(op: &Gram, x: &'a [T], turned: &'a mut Vec<T>) -> &'a [T] {
    let (n, k) = op.sizes();
    if !op.columns || x.is_empty() {
        return x;
    }
    turned.resize(n * k, T::narrow(0.0));
    turned.par_chunks_mut(SIDE * k).enumerate().for_each(|(i, to)| {
        let columns = i * SIDE..n.min((i + 1) * SIDE);
        let mut square = [[T::narrow(0.0); SIDE]; SIDE];
        for (rows, x) in (0..k).step_by(SIDE).zip(x.chunks(SIDE * n)) {
            let count = x.len() / n;
            for (row, square) in x.chunks_exact(n).zip(&mut square) {
                square[..columns.len()].copy_from_slice(&row[columns.clone()]);
            }
            for (c, to) in to.chunks_exact_mut(k).enumerate() {
                to[rows..][..count].iter_mut().zip(&square).for_each(|(to, row)| *to = row[c]);
            }
        }
    });
    turned
}

#[cfg(target_arch = "x86_64")]
fn by_panels<T: Lanes, O: Float>(op: &Gram, access: &Access, entries: &Entries<O>) -> Result<()> {
    let (n, k) = op.sizes();
    let mut turned = Vec::new();
    let x = by_rows(op, access.input::<T>(&op.x)?, &mut turned);
    let Some(product) = Product::<T>::of_depth(k) else { return widening::<T, O>(op, access, entries) };
    let rows = (n * n).div_ceil(8 * rayon::current_num_threads() * WIDTH).next_multiple_of(LEAST_ROWS);
    let tasks: Vec<[usize; 2]> = (0..n)
        .step_by(WIDTH)
        .flat_map(|column| (column..n).step_by(rows).map(move |row| [column, row]))
        .collect();
    tasks.into_par_iter().with_max_len(1).for_each_init(
        || Scratch::new::<T>(k),
        |scratch, [column, first]| {
            let end = n.min(column + WIDTH);
            let (a, b) = (&x[first * k..n.min(first + rows) * k], Matrix::new(x, [k, n], true));
            product.panel(a, b, column..end, k, scratch, |row, sums| {
                // SAFETY: the product is `n × n`, and no two tasks have the same rows of one panel.
                unsafe { entries.take(first + row, [column, end], sums, WIDTH) };
            });
        },
    );
    Ok(())
}

/// Widens the matrix, and multiplies in `f32`.
fn widening<T: Float, O: Float>(op: &Gram, access: &Access, entries: &Entries<O>) -> Result<()> {
    let (n, k) = op.sizes();
    let mut turned = Vec::new();
    let x = by_rows(op, access.input::<T>(&op.x)?, &mut turned);
    let mut wide = vec![0.0; if T::DTYPE == DType::F32 { 0 } else { x.len() }];
    let x = widened(x, &mut wide);
    let mut sums = vec![0.0; n * n.min(PANEL)];
    for column in (0..n).step_by(PANEL) {
        let (rows, columns) = (n - column, PANEL.min(n - column));
        let a = Matrix::new(&x[column * k..], [rows, k], false);
        let b = Matrix::new(&x[column * k..][..columns * k], [k, columns], true);
        let sums = &mut sums[..rows * columns];
        multiply([rows, columns, k], a, b, [1.0, 0.0], sums, Parallelism::Rayon(0));
        // SAFETY: the product is `n × n`, and there is no other task.
        unsafe { entries.take(column, [column, column + columns], sums, columns) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gristmill_core::ops::GramOptions;
    use gristmill_core::{DType, Result};

    #[test]
    fn products_are_symmetric_to_the_bit() -> Result<()> {
        let device = crate::open()?;
        for (rows, columns) in [(130, 77), (77, 130), (300, 64), (1, 5)] {
            let x = device.philox([rows, columns], gristmill_core::ops::Draw::Normal, 3, 0, 0)?;
            for (of_columns, dtype) in
                [true, false].into_iter().flat_map(|c| [DType::F32, DType::Bf16].map(|d| (c, d)))
            {
                let options = GramOptions { columns: of_columns, ..GramOptions::default() };
                let n = if of_columns { columns } else { rows };
                let x = if dtype == DType::F32 { x.clone() } else { x.cast(dtype)? };
                let gram = x.gram(options)?.cast(DType::F32)?.to_vec::<f32>()?;
                assert!((0..n * n).all(|i| gram[i].to_bits() == gram[i % n * n + i / n].to_bits()));
                assert!((0..n).all(|i| gram[i * n + i] > 0.0));
            }
        }
        Ok(())
    }
}
