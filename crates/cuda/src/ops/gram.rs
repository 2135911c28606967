use gristmill_core::Result;
use gristmill_core::ops::{Gram, MatmulSizes};

use super::copy::copy;
use super::grid;
use super::matmul::{Product, TILE, tile_bytes};
use crate::backend::Context;
use crate::driver::Args;

/// Rows and columns of a square that is mirrored, as in kernels/gram.cu.
const SIDE: usize = 32;

/// A library makes the whole of the product about as fast as the kernel its half, and faster with tensor cores that need
/// kernels of their own; the half above the diagonal is written again in either case.
pub(super) fn run(op: &Gram, cx: &mut Context<'_>) -> Result<()> {
    let (n, k) = op.sizes();
    if n == 0 {
        return Ok(());
    }
    let (x, out) = (cx.at(&op.x)?, cx.at(&op.out)?);
    let c = op.c.as_ref().filter(|_| op.beta != 0.0);
    if let Some(c) = c {
        copy(cx, cx.at(c)?, out, op.out.bytes())?;
    }
    let (dtype, out_dtype) = (op.x.dtype(), op.out.dtype());
    let product = Product {
        dtype,
        out_dtype,
        a: x,
        b: x,
        out,
        trans_a: op.columns,
        trans_b: !op.columns,
        sizes: MatmulSizes { batch: 1, m: n, n, k, batched_b: true },
        alpha: op.alpha,
        beta: if c.is_some() { op.beta } else { 0.0 },
    };
    let ld = if op.columns { n } else { k };
    let args = Args::new().u64(x).size(ld).u64(out).size(n).size(k).f32(op.alpha).f32(product.beta).finish();
    if !product.by_library(cx)? {
        let (of, tiles) = (if op.columns { 't' } else { 'n' }, n.div_ceil(TILE));
        let kernel = format!("gram_{of}_{dtype}_{out_dtype}");
        cx.launch("gram", kernel, grid([tiles * (tiles + 1) / 2, 1, 1])?, tile_bytes(dtype), &args)?;
    }
    let shared = SIDE * (SIDE + 1) * out_dtype.size();
    let squares = n.div_ceil(SIDE).pow(2);
    cx.launch("gram", format!("gram_mirror_{out_dtype}"), grid([squares, 1, 1])?, shared, &args)
}
