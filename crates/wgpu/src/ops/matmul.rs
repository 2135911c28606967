use gristmill_core::ops::{Matmul, MatmulSizes};
use gristmill_core::{DType, Result};

use super::place::Place;
use super::{Run, dtype, elements};
use crate::window::{Window, pieces};

/// Rows and columns of a workgroup's tile.
pub(super) const TILE_ROWS: usize = 128;
pub(super) const TILE_COLUMNS: usize = 64;
/// Workgroups in one dimension of a dispatch at most.
const GROUPS: usize = 65_535;
/// Tiles are cut at multiples of this: whole tiles in both directions.
const STEP: usize = 128;
/// Floating-point operations of one dispatch at most: a fraction of a second on a slow adapter.
const FLOPS: u64 = 1 << 36;
/// How much a floating-point operation counts beside a byte that is moved, for the length of submissions.
pub(super) const FLOPS_PER_BYTE: u64 = 16;

/// Rows and columns of a matrix, in what lies at a window of a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) row0: usize,
    pub(super) rows: usize,
    pub(super) column0: usize,
    pub(super) columns: usize,
}

impl Part {
    /// The elements from its first to its last, in a matrix of this many columns.
    pub(super) fn span(&self, columns: usize) -> (usize, usize) {
        let first = self.row0 * columns + self.column0;
        if self.rows == 0 || self.columns == 0 {
            return (first, 0);
        }
        (first, (self.rows - 1) * columns + self.columns)
    }

    fn transposed(self, yes: bool) -> Self {
        let Part { row0, rows, column0, columns } = self;
        if yes { Part { row0: column0, rows: columns, column0: row0, columns: rows } } else { self }
    }
}

/// How long the pieces of the three dimensions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pieces {
    m: usize,
    n: usize,
    k: usize,
}

/// Halves a length, to a multiple of whole tiles as long as there is more than one.
fn halve(len: &mut usize) {
    *len = if *len > STEP { (*len / 2).next_multiple_of(STEP) } else { len.div_ceil(2) };
}

/// Cuts a product until its operands fit in windows, and it is short enough.
fn cut(op: &Multiply, s: MatmulSizes, fits: usize, fits_out: usize) -> Pieces {
    let mut p = Pieces { m: s.m, n: s.n, k: s.k };
    let span = |rows: usize, columns: usize, ld: usize| rows.saturating_sub(1) * ld + columns;
    loop {
        let Pieces { m, n, k } = p;
        let (a_rows, a_columns, a_ld) = if op.trans_a { (k, m, s.m) } else { (m, k, s.k) };
        let (b_rows, b_columns, b_ld) = if op.trans_b { (n, k, s.k) } else { (k, n, s.n) };
        if span(a_rows, a_columns, a_ld) > fits {
            halve(if (a_rows > 1) == op.trans_a { &mut p.k } else { &mut p.m });
        } else if span(b_rows, b_columns, b_ld) > fits {
            halve(if (b_rows > 1) == op.trans_b { &mut p.n } else { &mut p.k });
        } else if span(m, n, s.n) > fits_out {
            halve(if m > 1 { &mut p.m } else { &mut p.n });
        } else if m.div_ceil(TILE_ROWS) > GROUPS {
            halve(&mut p.m);
        } else if n.div_ceil(TILE_COLUMNS) > GROUPS {
            halve(&mut p.n);
        } else if 2 * (m as u64 * n as u64).saturating_mul(k as u64) > FLOPS && m.max(n) > STEP {
            halve(if m >= n { &mut p.m } else { &mut p.n });
        } else {
            return p;
        }
    }
}

/// A product whose operands are tensors or scratch memory; otherwise as [`Matmul`].
#[derive(Clone, Copy)]
pub(super) struct Multiply<'a> {
    pub(super) a: Place<'a>,
    pub(super) b: Place<'a>,
    pub(super) out: Place<'a>,
    pub(super) trans_a: bool,
    pub(super) trans_b: bool,
    pub(super) alpha: f32,
    pub(super) beta: f32,
}

pub(super) fn run(run: &mut Run, op: &Matmul) -> Result<()> {
    let &Matmul { ref a, ref b, ref out, trans_a, trans_b, alpha, beta } = op;
    let [a, b, out] = [a, b, out].map(Place::Tensor);
    multiply(run, &Multiply { a, b, out, trans_a, trans_b, alpha, beta }, op.sizes()?)
}

pub(super) fn multiply(run: &mut Run, op: &Multiply, s: MatmulSizes) -> Result<()> {
    if s.batch * s.m * s.n == 0 {
        return Ok(());
    }
    let fits = run.ctx.window_len(op.a.dtype().size());
    let p = cut(op, s, fits, run.ctx.window_len(4));
    let one = p == Pieces { m: s.m, n: s.n, k: s.k };
    // Whole products side by side, where they are small.
    let largest = (s.m * s.k).max(s.k * s.n).max(s.m * s.n).max(1);
    let flops = 2 * (s.m * s.n).max(1) as u64 * s.k.max(1) as u64;
    let together = if one { (fits.min(run.ctx.window_len(4)) / largest).clamp(1, GROUPS) } else { 1 };
    let together = together.min((FLOPS / flops).max(1) as usize);
    for (batch0, batch) in pieces(s.batch, together) {
        for (m0, m) in pieces(s.m, p.m) {
            for (n0, n) in pieces(s.n, p.n) {
                let out = Part { row0: m0, rows: m, column0: n0, columns: n };
                Product { op, s, batch0, batch, out }.run(run, p.k)?;
            }
        }
    }
    Ok(())
}

/// A part of the output, of some consecutive products.
struct Product<'a> {
    op: &'a Multiply<'a>,
    s: MatmulSizes,
    batch0: usize,
    batch: usize,
    out: Part,
}

impl Product<'_> {
    /// All of k, a piece at a time.
    fn run(&self, run: &mut Run, piece: usize) -> Result<()> {
        let op = self.op;
        if op.out.dtype() == DType::F32 {
            let (first, len) = self.span(self.out, self.s.m * self.s.n, self.s.n);
            let out = op.out.window(run, first, len)?;
            return self.accumulate(run, &out, self.s.n, self.s.m * self.s.n, op.beta, piece);
        }
        // Halves are rounded once, by a kernel that owns whole words of the output.
        let Part { rows, columns, .. } = self.out;
        let scratch = run.ctx.scratch(4 * (self.batch * rows * columns) as u64)?;
        let product = Window::whole(&scratch);
        self.accumulate(run, &product, columns, rows * columns, 0.0, piece)?;
        if columns == self.s.n {
            // Whole rows of one product, or whole products: all of it is in one piece.
            let first = (self.batch0 * self.s.m + self.out.row0) * columns;
            self.round(run, &product, 0, first, self.batch * rows * columns)?;
        } else {
            for row in 0..rows {
                let first = (self.batch0 * self.s.m + self.out.row0 + row) * self.s.n + self.out.column0;
                self.round(run, &product, row * columns, first, columns)?;
            }
        }
        run.ctx.done_with(scratch);
        Ok(())
    }

    /// The elements of a part of each of the products together.
    fn span(&self, part: Part, each: usize, columns: usize) -> (usize, usize) {
        let (first, len) = part.span(columns);
        (self.batch0 * each + first, if len == 0 { 0 } else { (self.batch - 1) * each + len })
    }

    /// Adds the products of all pieces of k to f32 output.
    fn accumulate(
        &self,
        run: &mut Run,
        out: &Window,
        ld: usize,
        each: usize,
        beta: f32,
        piece: usize,
    ) -> Result<()> {
        let (op, s) = (self.op, self.s);
        // With no k there is one piece, and it is empty.
        let depths: Vec<_> = if s.k == 0 { vec![(0, 0)] } else { pieces(s.k, piece).collect() };
        for (i, (k0, k)) in depths.into_iter().enumerate() {
            let a = Part { row0: self.out.row0, rows: self.out.rows, column0: k0, columns: k };
            let b = Part { row0: k0, rows: k, column0: self.out.column0, columns: self.out.columns };
            let (lda, ldb) = (if op.trans_a { s.m } else { s.k }, if op.trans_b { s.k } else { s.n });
            let a = self.input(run, op.a, a.transposed(op.trans_a), s.m * s.k, lda, true)?;
            let b = self.input(run, op.b, b.transposed(op.trans_b), s.k * s.n, ldb, s.batched_b)?;
            let Part { rows: m, columns: n, .. } = self.out;
            let grid = [n.div_ceil(TILE_COLUMNS), m.div_ceil(TILE_ROWS), self.batch].map(|x| x as u32);
            run.ctx
                .kernel("matmul")
                .def("X", dtype(op.a.dtype()))
                .flag("TRANS_A", op.trans_a)
                .flag("TRANS_B", op.trans_b)
                .read(&a)
                .read(&b)
                .write(out)
                .count("m", m)
                .count("n", n)
                .count("k", k)
                .param("a_at", a.at)
                .count("lda", lda)
                .count("a_batch", s.m * s.k)
                .param("b_at", b.at)
                .count("ldb", ldb)
                .count("b_batch", if s.batched_b { s.k * s.n } else { 0 })
                .param("out_at", out.at)
                .count("ldo", ld)
                .count("out_batch", each)
                .number("alpha", op.alpha)
                .number("beta", if i == 0 { beta } else { 1.0 })
                .run_grid(run.ctx, grid, (self.batch * m * n) as u64 * k as u64 / FLOPS_PER_BYTE)?;
        }
        Ok(())
    }

    /// The window of a part of an input.
    fn input(
        &self,
        run: &Run,
        x: Place,
        part: Part,
        each: usize,
        ld: usize,
        batched: bool,
    ) -> Result<Window> {
        let (first, len) = if batched { self.span(part, each, ld) } else { part.span(ld) };
        x.window(run, first, len)
    }

    /// Brings f32 elements of a product to their place in the output, with what was there.
    fn round(&self, run: &mut Run, product: &Window, from: usize, first: usize, len: usize) -> Result<()> {
        let out = self.op.out;
        let to = out.window(run, first, len)?;
        let x = Window { at: from as u32, ..product.clone() };
        let kernel = if self.op.beta == 0.0 {
            run.ctx.kernel("cast").def("X", "f32")
        } else {
            run.ctx.kernel("axpby").def("X", "f32").number("alpha", 1.0).number("beta", self.op.beta)
        };
        elements::dispatch(run.ctx, kernel, Some(&x), &to, dtype(out.dtype()), out.dtype().size(), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_cut_to_fit() {
        let device = gristmill_cpu::open_reference().unwrap();
        let empty = device.empty(DType::F32, [0, 0]).unwrap();
        let empty = Place::Tensor(&empty);
        let sizes = [1, 7, 130, 5000, 3 << 20];
        let fits = 100_000;
        for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let op = Multiply { a: empty, b: empty, out: empty, trans_a, trans_b, alpha: 1.0, beta: 0.0 };
            for (m, n, k) in sizes
                .iter()
                .flat_map(|m| sizes.iter().map(move |n| (*m, *n)))
                .flat_map(|(m, n)| sizes.map(|k| (m, n, k)))
            {
                let s = MatmulSizes { batch: 1, m, n, k, batched_b: false };
                let p = cut(&op, s, fits, fits);
                let part = |rows, columns| Part { row0: 0, rows, column0: 0, columns };
                let a = part(p.m, p.k).transposed(trans_a).span(if trans_a { m } else { k }).1;
                let b = part(p.k, p.n).transposed(trans_b).span(if trans_b { k } else { n }).1;
                let out = part(p.m, p.n).span(n).1;
                assert!(a <= fits && b <= fits && out <= fits && p.m * p.n * p.k > 0, "{s:?} {p:?}");
                assert!(p.m.div_ceil(TILE_ROWS) <= GROUPS && p.n.div_ceil(TILE_COLUMNS) <= GROUPS, "{p:?}");
            }
        }
        let whole = MatmulSizes { batch: 1, m: 100, n: 100, k: 100, batched_b: false };
        let (trans_a, trans_b) = (false, false);
        let op = Multiply { a: empty, b: empty, out: empty, trans_a, trans_b, alpha: 1.0, beta: 0.0 };
        assert_eq!(cut(&op, whole, fits, fits), Pieces { m: 100, n: 100, k: 100 });
        device.close();
    }
}
