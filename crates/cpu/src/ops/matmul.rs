use gemm::Parallelism;
use gristmill_core::ops::{Matmul, MatmulSizes};
use gristmill_core::{DType, Result};
use half::{bf16, f16};

use super::elementwise::{map, update};
#[cfg(target_arch = "x86_64")]
use super::product::{Lanes, Product};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Columns of the product that are made at a time where factors must be widened first.
const PANEL: usize = 512;

pub(super) fn run(op: &Matmul, access: &Access) -> Result<()> {
    let sizes = op.sizes()?;
    match op.a.dtype() {
        DType::F64 => direct(op, sizes, access, f64::from(op.alpha), f64::from(op.beta)),
        DType::F32 => {
            #[cfg(target_arch = "x86_64")]
            if let Some(product) = product_of(op, sizes) {
                return by_panels::<f32, f32>(op, sizes, access, product);
            }
            direct(op, sizes, access, op.alpha, op.beta)
        }
        DType::Bf16 => with!(op.out.dtype(), common O => {
            #[cfg(target_arch = "x86_64")]
            if let Some(product) = product_of(op, sizes) {
                return by_panels::<bf16, O>(op, sizes, access, product);
            }
            widening::<bf16, O>(op, sizes, access)
        }),
        _ => with!(op.out.dtype(), common O => widening::<f16, O>(op, sizes, access)),
    }
}

/// A matrix as it lies in memory.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub(super) data: &'a [T],
    pub(super) row_stride: usize,
    column_stride: usize,
    pub(super) transposed: bool,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix of `rows × columns`, stored by rows, or by columns if `transposed`.
    pub(super) fn new(data: &'a [T], [rows, columns]: [usize; 2], transposed: bool) -> Self {
        assert_eq!(data.len(), rows * columns, "a matrix has all of its elements");
        let [row_stride, column_stride] = if transposed { [1, rows] } else { [columns, 1] };
        Self { data, row_stride, column_stride, transposed }
    }
}

/// Rows that a product of `n` columns is given at least: below, the library adds up in other orders, for a single row,
/// for at most 256 results, and where neither rows nor columns are more than 64.
fn least_rows(n: usize) -> usize {
    let of_small = if n <= 64 { 65 } else { 2 };
    of_small.max(257usize.div_ceil(n.max(1)))
}

/// `out = alpha · a · b + beta · out` with `out` stored by rows. Sums have one order for all numbers of threads and of
/// rows: a row has the same bits whatever the others are.
pub(super) fn multiply<T: Copy + PartialEq + Default + 'static>(
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    factors: [T; 2],
    out: &mut [T],
    parallelism: Parallelism,
) {
    let rows = least_rows(n);
    if m >= rows || m * n == 0 {
        return multiply_whole([m, n, k], a, b, factors, out, parallelism);
    }
    let mut wide_a = vec![T::default(); rows * k];
    if a.transposed {
        let columns = a.data.chunks_exact(m).zip(wide_a.chunks_exact_mut(rows));
        columns.for_each(|(column, wide)| wide[..m].copy_from_slice(column));
    } else {
        wide_a[..m * k].copy_from_slice(a.data);
    }
    let mut product = vec![T::default(); rows * n];
    product[..m * n].copy_from_slice(out);
    let a = Matrix::new(&wide_a, [rows, k], a.transposed);
    multiply_whole([rows, n, k], a, b, factors, &mut product, parallelism);
    out.copy_from_slice(&product[..m * n]);
}

/// The same, with what the library makes of few rows.
fn multiply_whole<T: Copy + PartialEq + Default + 'static>(
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    [alpha, beta]: [T; 2],
    out: &mut [T],
    parallelism: Parallelism,
) {
    assert_eq!((a.data.len(), b.data.len(), out.len()), (m * k, k * n, m * n));
    // SAFETY: the factors and the product have as many elements as the sizes say (asserted above), strides stay within
    // them, and the product is borrowed mutably, so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            beta != T::default(),
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Calls `work` with the factors and the product of every member of the batch.
fn batch<'a, T, O>(
    s: MatmulSizes,
    a: &'a [T],
    b: &'a [T],
    out: &'a mut [O],
    mut work: impl FnMut(&'a [T], &'a [T], &mut [O]),
) {
    for i in 0..s.batch {
        let b = if s.batched_b { &b[i * s.k * s.n..][..s.k * s.n] } else { b };
        work(&a[i * s.m * s.k..][..s.m * s.k], b, &mut out[i * s.m * s.n..][..s.m * s.n]);
    }
}

fn direct<T: gristmill_core::Element + Default + PartialEq>(
    op: &Matmul,
    s: MatmulSizes,
    access: &Access,
    alpha: T,
    beta: T,
) -> Result<()> {
    let (a, b) = (access.input::<T>(&op.a)?, access.input::<T>(&op.b)?);
    batch(s, a, b, access.output::<T>(&op.out)?, |a, b, out| {
        let a = Matrix::new(a, [s.m, s.k], op.trans_a);
        let b = Matrix::new(b, [s.k, s.n], op.trans_b);
        multiply([s.m, s.n, s.k], a, b, [alpha, beta], out, Parallelism::Rayon(0));
    });
    Ok(())
}

/// The kernel for these factors, where there is one: it reads the rows of the left one as they lie.
#[cfg(target_arch = "x86_64")]
fn product_of<T: Lanes>(op: &Matmul, s: MatmulSizes) -> Option<Product<T>> {
    Product::of_depth(s.k).filter(|_| !op.trans_a && s.k > 0)
}

#[cfg(target_arch = "x86_64")]
fn by_panels<T: Lanes, O: Float>(
    op: &Matmul,
    s: MatmulSizes,
    access: &Access,
    product: Product<T>,
) -> Result<()> {
    let (a, b) = (access.input::<T>(&op.a)?, access.input::<T>(&op.b)?);
    batch(s, a, b, access.output::<O>(&op.out)?, |a, b, out| {
        let b = Matrix::new(b, [s.k, s.n], op.trans_b);
        product.matmul([s.m, s.n, s.k], a, b, [op.alpha, op.beta], out);
    });
    Ok(())
}

/// Widens the left factor, and the right one a panel of columns at a time, and multiplies in `f32`.
fn widening<T: Float, O: Float>(op: &Matmul, s: MatmulSizes, access: &Access) -> Result<()> {
    let (a, b) = (access.input::<T>(&op.a)?, access.input::<T>(&op.b)?);
    let mut wide_a = vec![0.0; s.m * s.k];
    let mut wide_b = vec![0.0; s.k * s.n.min(PANEL)];
    let mut product = vec![0.0; s.m * s.n.min(PANEL)];
    batch(s, a, b, access.output::<O>(&op.out)?, |a, b, out| {
        map(
            a,
            &mut wide_a,
            #[inline(always)]
            |x: T| x.widen(),
        );
        for first in (0..s.n).step_by(PANEL) {
            let n = PANEL.min(s.n - first);
            let (wide_b, product) = (&mut wide_b[..s.k * n], &mut product[..s.m * n]);
            if op.trans_b {
                map(
                    &b[first * s.k..][..n * s.k],
                    wide_b,
                    #[inline(always)]
                    |x: T| x.widen(),
                );
            } else if n > 0 {
                for (row, wide) in b.chunks(s.n).zip(wide_b.chunks_mut(n)) {
                    map(
                        &row[first..][..n],
                        wide,
                        #[inline(always)]
                        |x: T| x.widen(),
                    );
                }
            }
            let a = Matrix::new(&wide_a, [s.m, s.k], op.trans_a);
            let b = Matrix::new(wide_b, [s.k, n], op.trans_b);
            multiply([s.m, n, s.k], a, b, [op.alpha, 0.0], product, Parallelism::Rayon(0));
            for (row, product) in out.chunks_mut(s.n).zip(product.chunks(n)) {
                let out = &mut row[first..][..n];
                match op.beta {
                    0.0 => map(
                        product,
                        out,
                        #[inline(always)]
                        |x| O::narrow(x),
                    ),
                    beta => update(
                        product,
                        out,
                        #[inline(always)]
                        |x, y: &O| O::narrow(x + beta * y.widen()),
                    ),
                }
            }
        }
    });
    Ok(())
}
