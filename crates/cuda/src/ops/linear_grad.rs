//! What to launch for the gradients that samples have for a linear layer.

use gristmill_core::ops::LinearSizes;
use gristmill_core::{Result, Tensor};

use super::matmul::{TILE, tile_bytes};
use super::{BLOCK, by_warps, grid, segments};
use crate::backend::Context;
use crate::driver::Args;

/// The operands that the operations share.
pub(super) struct Layer<'a> {
    pub(super) x: &'a Tensor,
    pub(super) dy: &'a Tensor,
    pub(super) offsets: &'a Tensor,
    pub(super) sizes: LinearSizes,
}

impl Layer<'_> {
    /// `Layer` of kernels/linear_grad.cuh.
    pub(super) fn args(&self, cx: &Context<'_>) -> Result<Args> {
        let LinearSizes { rows, d, p, samples } = self.sizes;
        let args = Args::new().u64(cx.at(self.x)?).u64(cx.at(self.dy)?);
        Ok(segments(args, cx, self.offsets, rows)?.size(samples).size(d).size(p))
    }

    fn tiles(&self) -> usize {
        self.sizes.p.div_ceil(TILE) * self.sizes.d.div_ceil(TILE)
    }

    /// Squares of the norms of all samples.
    pub(super) fn norms(&self, cx: &mut Context<'_>, bias: bool, out: &Tensor) -> Result<()> {
        const NAME: &str = "per_sample_norms";
        /// Samples of one launch.
        const TOGETHER: usize = 65_535;
        let samples = self.sizes.samples;
        let of_bias = if bias { self.sizes.p.div_ceil(BLOCK) } else { 0 };
        let blocks = self.tiles() + of_bias;
        let [partials] = cx.scratch([8 * samples * blocks])?;
        let args = |first: usize| -> Result<Vec<u8>> {
            Ok(self.args(cx)?.u64(partials).u64(cx.at(out)?).size(first).size(of_bias).finish())
        };
        // The tile's stages, which the sums of warps take the place of.
        let shared = tile_bytes(self.x.dtype());
        for first in (0..samples).step_by(TOGETHER).filter(|_| blocks > 0) {
            let blocks = grid([blocks, TOGETHER.min(samples - first), 1])?;
            cx.launch(NAME, format!("{NAME}_{}", self.x.dtype()), blocks, shared, &args(first)?)?;
        }
        cx.launch(NAME, "per_sample_norms_totals", by_warps(samples), 0, &args(0)?)
    }

    /// Adds the gradients of all samples, scaled, to those of weight and bias.
    pub(super) fn add(
        &self,
        cx: &Context<'_>,
        factors: &Tensor,
        grad: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<()> {
        const NAME: &str = "clipped_grad";
        let (dtype, tiles, p) = (self.x.dtype(), self.tiles(), self.sizes.p);
        let args = self.args(cx)?.u64(cx.at(factors)?).u64(cx.at(grad)?).u64(cx.at_option(bias)?).finish();
        if tiles > 0 {
            cx.launch(NAME, format!("{NAME}_{dtype}"), grid([tiles, 1, 1])?, tile_bytes(dtype), &args)?;
        }
        if bias.is_some() && p > 0 {
            cx.launch(NAME, format!("{NAME}_bias_{dtype}"), grid([p.div_ceil(BLOCK), 1, 1])?, 0, &args)?;
        }
        Ok(())
    }
}
