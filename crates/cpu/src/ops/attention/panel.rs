use super::vector::{VECTOR, Vector};
use crate::float::Float;

/// Rows of a tile of a product: with the columns of a panel, as many sums as registers hold.
pub(super) const ROWS: usize = 6;

/// A right factor, cut into panels of some columns, each of them row by row; columns that fill up are 0.
pub(super) struct Panels {
    data: Vec<f32>,
    /// Numbers in each sum.
    depth: usize,
    /// Columns of a panel.
    pub(super) width: usize,
}

impl Panels {
    fn zeros(depth: usize, columns: usize, width: usize) -> Self {
        Self { data: vec![0.0; columns.div_ceil(width) * width * depth], depth, width }
    }

    /// Of a matrix of `rows × d` whose rows lie `stride` apart: its rows become columns.
    #[inline(always)]
    pub(super) fn of_columns<T: Float>(x: &[T], [rows, d]: [usize; 2], stride: usize, width: usize) -> Self {
        let mut panels = Self::zeros(d, rows, width);
        for (i, panel) in panels.data.chunks_exact_mut(width * d).enumerate() {
            // Some of the depth at a time, so that lines of the panel stay in the cache while they are filled.
            for from in (0..d).step_by(VECTOR) {
                for row in i * width..rows.min((i + 1) * width) {
                    let x = &x[row * stride + from..][..VECTOR.min(d - from)];
                    for (depth, x) in x.iter().enumerate() {
                        panel[(from + depth) * width + row - i * width] = x.widen();
                    }
                }
            }
        }
        panels
    }

    /// The same, whose rows stay rows.
    #[inline(always)]
    pub(super) fn of_rows<T: Float>(x: &[T], [rows, d]: [usize; 2], stride: usize, width: usize) -> Self {
        let mut panels = Self::zeros(rows, d, width);
        for (i, panel) in panels.data.chunks_exact_mut(width * rows).enumerate() {
            let columns = i * width..d.min((i + 1) * width);
            for (row, to) in panel.chunks_exact_mut(width).enumerate() {
                let x = &x[row * stride..][columns.clone()];
                to.iter_mut().zip(x).for_each(|(to, x)| *to = x.widen());
            }
        }
        panels
    }

    /// The rows from `first` on of a panel.
    #[inline(always)]
    pub(super) fn rows(&self, panel: usize, first: usize) -> &[f32] {
        &self.data[(panel * self.depth + first) * self.width..(panel + 1) * self.depth * self.width]
    }
}

/// `out = factors · out + a · b` for [`ROWS`] rows: `a` is `depth` long in each row, `lda` apart; `b` has `vectors`
/// vectors in each of its rows, `ldb` apart; rows of `out` lie `ldo` apart. With `factors` of `None` what was in `out`
/// does not matter.
#[inline(always)]
pub(super) fn multiply<V: Vector, const FUSED: bool>(
    depth: usize,
    vectors: usize,
    a: (&[f32], usize),
    b: (&[f32], usize),
    out: (&mut [f32], usize),
    factors: Option<&[f32; ROWS]>,
) {
    match vectors {
        4.. if V::MOST >= 4 => tile::<V, FUSED, 4>(depth, a, b, out, factors),
        3 if V::MOST >= 3 => tile::<V, FUSED, 3>(depth, a, b, out, factors),
        2 if V::MOST >= 2 => tile::<V, FUSED, 2>(depth, a, b, out, factors),
        _ => tile::<V, FUSED, 1>(depth, a, b, out, factors),
    }
}

#[inline(always)]
fn tile<V: Vector, const FUSED: bool, const W: usize>(
    depth: usize,
    (a, lda): (&[f32], usize),
    (b, ldb): (&[f32], usize),
    (out, ldo): (&mut [f32], usize),
    factors: Option<&[f32; ROWS]>,
) {
    let width = W * VECTOR;
    assert!(depth > 0 && depth <= lda && width <= ldb && width <= ldo);
    assert!(a.len() >= (ROWS - 1) * lda + depth && b.len() >= (depth - 1) * ldb + width);
    assert!(out.len() >= (ROWS - 1) * ldo + width);
    let (a, b, out) = (a.as_ptr(), b.as_ptr(), out.as_mut_ptr());
    let zero = V::splat(0.0);
    let mut sums = [[zero; W]; ROWS];
    // SAFETY: all places below lie in the slices, as the lengths were asserted above.
    unsafe {
        if let Some(factors) = factors {
            for (r, (sums, factor)) in sums.iter_mut().zip(factors).enumerate() {
                for (w, sum) in sums.iter_mut().enumerate() {
                    let x = V::load(out.add(r * ldo + w * VECTOR));
                    *sum = V::splat(*factor).mul_add::<FUSED>(x, zero);
                }
            }
        }
        for i in 0..depth {
            let mut row = [zero; W];
            for (w, x) in row.iter_mut().enumerate() {
                *x = V::load(b.add(i * ldb + w * VECTOR));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = V::splat(*a.add(r * lda + i));
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum = factor.mul_add::<FUSED>(x, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (w, sum) in sums.iter().enumerate() {
                sum.store(out.add(r * ldo + w * VECTOR));
            }
        }
    }
}
