use gristmill_core::ops::{Matmul, MatmulSizes};
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

/// A product of matrices at these addresses; otherwise as [`Matmul`].
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) dtype: DType,
    pub(super) out_dtype: DType,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) out: u64,
    pub(super) trans_a: bool,
    pub(super) trans_b: bool,
    pub(super) sizes: MatmulSizes,
    pub(super) alpha: f32,
    pub(super) beta: f32,
}

pub(super) fn run(op: &Matmul, cx: &mut Context<'_>) -> Result<()> {
    Product {
        dtype: op.a.dtype(),
        out_dtype: op.out.dtype(),
        a: cx.at(&op.a)?,
        b: cx.at(&op.b)?,
        out: cx.at(&op.out)?,
        trans_a: op.trans_a,
        trans_b: op.trans_b,
        sizes: op.sizes()?,
        alpha: op.alpha,
        beta: op.beta,
    }
    .run(cx)
}

impl Product {
    /// Elements from one product of the batch to the next.
    fn strides(&self) -> [usize; 3] {
        let s = self.sizes;
        [s.m * s.k, if s.batched_b { s.k * s.n } else { 0 }, s.m * s.n]
    }

    /// Enqueues it where a library does it; `false` if not.
    pub(super) fn by_library(&self, cx: &Context<'_>) -> Result<bool> {
        let (s, strides) = (self.sizes, self.strides());
        if s.k == 0 {
            return Ok(false);
        }
        // Row-major out = a · b is column-major outᵀ = bᵀ · aᵀ.
        cx.driver().gemm(&Gemm {
            dtype: self.dtype,
            out_dtype: self.out_dtype,
            a: self.b,
            b: self.a,
            out: self.out,
            trans_a: self.trans_b,
            trans_b: self.trans_a,
            m: s.n,
            n: s.m,
            k: s.k,
            batch: s.batch,
            strides: [strides[1], strides[0], strides[2]],
            alpha: self.alpha,
            beta: self.beta,
        })
    }

    pub(super) fn run(self, cx: &Context<'_>) -> Result<()> {
        let (s, strides) = (self.sizes, self.strides());
        if s.batch * s.m * s.n == 0 || self.by_library(cx)? {
            return Ok(());
        }
        let transposed = |t: bool| if t { 't' } else { 'n' };
        let kernel = format!(
            "matmul_{}{}_{}_{}",
            transposed(self.trans_a),
            transposed(self.trans_b),
            self.dtype,
            self.out_dtype
        );
        let tiles = s.m.div_ceil(TILE) * s.n.div_ceil(TILE);
        /// Products of one launch.
        const BATCH: usize = 65_535;
        for first in (0..s.batch).step_by(BATCH) {
            let from =
                |address: u64, stride: usize, dtype: DType| address + (first * stride * dtype.size()) as u64;
            let args = Args::new()
                .u64(from(self.a, strides[0], self.dtype))
                .size(if self.trans_a { s.m } else { s.k })
                .u64(from(self.b, strides[1], self.dtype))
                .size(if self.trans_b { s.k } else { s.n })
                .u64(from(self.out, strides[2], self.out_dtype))
                .size(strides[0])
                .size(strides[1])
                .size(s.m)
                .size(s.n)
                .size(s.k)
                .f32(self.alpha)
                .f32(self.beta)
                .finish();
            let blocks = grid([tiles, 1, BATCH.min(s.batch - first)])?;
            cx.launch("matmul", kernel.as_str(), blocks, tile_bytes(self.dtype), &args)?;
        }
        Ok(())
    }
}
