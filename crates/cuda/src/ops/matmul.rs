use gristmill_core::ops::Matmul;
use gristmill_core::{DType, Result};

use super::grid;
use crate::backend::Context;
use crate::driver::{Args, Gemm};

/// Rows and columns of a tile, as in kernels/gemm.cuh.
pub(super) const TILE: usize = 128;

/// Dynamic shared memory of a tile's stages: `SHARED` in kernels/gemm.cuh.
pub(super) fn tile_bytes(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 2 * 2 * 16 * (TILE + 4) * 4,
        _ => 3 * 2 * TILE * (32 + 8) * 2,
    }
}

pub(super) fn run(op: &Matmul, cx: &mut Context<'_>) -> Result<()> {
    let s = op.sizes()?;
    if s.batch * s.m * s.n == 0 {
        return Ok(());
    }
    let (a, b, out) = (cx.at(&op.a)?, cx.at(&op.b)?, cx.at(&op.out)?);
    let strides = [s.m * s.k, if s.batched_b { s.k * s.n } else { 0 }, s.m * s.n];
    if s.k > 0 {
        // Row-major out = a · b is column-major outᵀ = bᵀ · aᵀ.
        let gemm = Gemm {
            dtype: op.a.dtype(),
            out_dtype: op.out.dtype(),
            a: b,
            b: a,
            out,
            trans_a: op.trans_b,
            trans_b: op.trans_a,
            m: s.n,
            n: s.m,
            k: s.k,
            batch: s.batch,
            strides: [strides[1], strides[0], strides[2]],
            alpha: op.alpha,
            beta: op.beta,
        };
        if cx.driver().gemm(&gemm)? {
            return Ok(());
        }
    }
    let transposed = |t: bool| if t { 't' } else { 'n' };
    let kernel = format!(
        "matmul_{}{}_{}_{}",
        transposed(op.trans_a),
        transposed(op.trans_b),
        op.a.dtype(),
        op.out.dtype()
    );
    let tiles = s.m.div_ceil(TILE) * s.n.div_ceil(TILE);
    /// Products of one launch.
    const BATCH: usize = 65_535;
    for first in (0..s.batch).step_by(BATCH) {
        let from =
            |address: u64, stride: usize, dtype: DType| address + (first * stride * dtype.size()) as u64;
        let args = Args::new()
            .u64(from(a, strides[0], op.a.dtype()))
            .size(if op.trans_a { s.m } else { s.k })
            .u64(from(b, strides[1], op.b.dtype()))
            .size(if op.trans_b { s.k } else { s.n })
            .u64(from(out, strides[2], op.out.dtype()))
            .size(strides[0])
            .size(strides[1])
            .size(s.m)
            .size(s.n)
            .size(s.k)
            .f32(op.alpha)
            .f32(op.beta)
            .finish();
        let blocks = grid([tiles, 1, BATCH.min(s.batch - first)])?;
        cx.launch("matmul", kernel.as_str(), blocks, tile_bytes(op.a.dtype()), &args)?;
    }
    Ok(())
}
