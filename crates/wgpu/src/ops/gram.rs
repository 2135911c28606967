use gristmill_core::ops::{Copy, Gram, MatmulSizes};
use gristmill_core::{DType, Result};

use super::matmul::{FLOPS_PER_BYTE, Multiply, TILE_COLUMNS, TILE_ROWS, multiply};
use super::place::Place;
use super::{Run, copy, dtype, elements};
use crate::window::Window;

/// Floating-point operations of one dispatch at most: a fraction of a second on a slow adapter.
const FLOPS: u64 = 1 << 36;

/// Half of the product where one dispatch can make it; elsewhere all of it, by pieces, whose sums are the same bits on
/// either side of the diagonal.
pub(super) fn run(run: &mut Run, op: &Gram) -> Result<()> {
    let (n, k) = op.sizes();
    if n == 0 {
        return Ok(());
    }
    let c = op.c.as_ref().filter(|_| op.beta != 0.0);
    if let Some(c) = c {
        copy::run(run, &Copy { x: c.clone(), out: op.out.clone() })?;
    }
    let beta = if c.is_some() { op.beta } else { 0.0 };
    let fits = n * n <= run.ctx.window_len(4)
        && n * k <= run.ctx.window_len(op.x.dtype().size())
        && (n * n) as u64 * k as u64 <= FLOPS;
    if !fits {
        let (x, out) = (Place::Tensor(&op.x), Place::Tensor(&op.out));
        let (trans_a, trans_b) = (op.columns, !op.columns);
        let sizes = MatmulSizes { batch: 1, m: n, n, k, batched_b: true };
        return multiply(run, &Multiply { a: x, b: x, out, trans_a, trans_b, alpha: op.alpha, beta }, sizes);
    }
    let to = Window::of(&op.out, run.buffers, 0, n * n)?;
    if op.out.dtype() == DType::F32 {
        return half(run, op, &to, beta);
    }
    // Halves are rounded once, by a kernel that owns whole words of the output.
    let scratch = run.ctx.scratch(4 * (n * n) as u64)?;
    let product = Window::whole(&scratch);
    half(run, op, &product, 0.0)?;
    let kernel = match c {
        None => run.ctx.kernel("cast").def("X", "f32"),
        Some(_) => run.ctx.kernel("axpby").def("X", "f32").number("alpha", 1.0).number("beta", beta),
    };
    let out = op.out.dtype();
    elements::dispatch(run.ctx, kernel, Some(&product), &to, dtype(out), out.size(), n * n)?;
    run.ctx.done_with(scratch);
    Ok(())
}

fn half(run: &mut Run, op: &Gram, out: &Window, beta: f32) -> Result<()> {
    let (n, k) = op.sizes();
    let x = Window::of(&op.x, run.buffers, 0, n * k)?;
    let grid = [n.div_ceil(TILE_COLUMNS), n.div_ceil(TILE_ROWS), 1].map(|x| x as u32);
    run.ctx
        .kernel("gram")
        .def("X", dtype(op.x.dtype()))
        .flag("TRANS_A", op.columns)
        .flag("TRANS_B", !op.columns)
        .read(&x)
        .write(out)
        .count("n", n)
        .count("k", k)
        .param("x_at", x.at)
        .count("ldx", if op.columns { n } else { k })
        .param("out_at", out.at)
        .number("alpha", op.alpha)
        .number("beta", beta)
        .run_grid(run.ctx, grid, (n * n) as u64 * k as u64 / 2 / FLOPS_PER_BYTE)
}
