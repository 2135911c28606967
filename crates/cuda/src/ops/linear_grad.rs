//! What to launch for the gradients that samples have for a linear layer.

use gristmill_core::ops::{LinearSizes, NormsMethod};
use gristmill_core::{Result, Tensor};

use super::matmul::{TILE, tile_bytes};
use super::{BLOCK, by_warps, gram_norms, grid, segments};
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
        self.members(Args::new(), cx)
    }

    /// The same behind other members.
    pub(super) fn members(&self, args: Args, cx: &Context<'_>) -> Result<Args> {
        let LinearSizes { rows, d, p, samples } = self.sizes;
        let args = args.u64(cx.at(self.x)?).u64(cx.at(self.dy)?);
        Ok(segments(args, cx, self.offsets, rows)?.size(samples).size(d).size(p))
    }

    pub(super) fn tiles(&self) -> usize {
        self.sizes.p.div_ceil(TILE) * self.sizes.d.div_ceil(TILE)
    }

    /// Squares of the norms of all samples.
    pub(super) fn norms(
        &self,
        cx: &mut Context<'_>,
        method: NormsMethod,
        bias: bool,
        out: &Tensor,
    ) -> Result<()> {
        if method == NormsMethod::Gram && self.tiles() > 0 {
            return gram_norms::norms(self, cx, bias, out);
        }
        let direct = Direct::new(self, bias);
        let [sums] = cx.scratch([direct.bytes()])?;
        direct.launch(cx, sums, 0, out)
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

/// The squares of the norms of samples whose gradients are made.
pub(super) struct Direct<'a> {
    layer: &'a Layer<'a>,
    /// Blocks of the bias.
    of_bias: usize,
}

impl<'a> Direct<'a> {
    pub(super) fn new(layer: &'a Layer<'a>, bias: bool) -> Self {
        Self { layer, of_bias: if bias { layer.sizes.p.div_ceil(BLOCK) } else { 0 } }
    }

    /// Sums that a sample has.
    fn each(&self) -> usize {
        self.layer.tiles() + self.of_bias
    }

    /// Memory for the sums of all samples.
    pub(super) fn bytes(&self) -> usize {
        8 * self.layer.sizes.samples * self.each()
    }

    /// Makes those of all samples, or those of a list on the device: how many, and which.
    pub(super) fn launch(&self, cx: &Context<'_>, sums: u64, list: u64, out: &Tensor) -> Result<()> {
        const NAME: &str = "per_sample_norms";
        /// Blocks that are enough for every device where each takes what is there, which may be nothing.
        const ENOUGH: usize = 1 << 11;
        let (samples, dtype) = (self.layer.sizes.samples, self.layer.x.dtype());
        let args = self.layer.args(cx)?.u64(sums).u64(cx.at(out)?).u64(list).size(self.of_bias).finish();
        let most = if list == 0 { i32::MAX as usize } else { ENOUGH };
        let all = (samples * self.each()).min(most);
        if all > 0 {
            // The tile's stages, which the sums of warps take the place of.
            cx.launch(NAME, format!("{NAME}_{dtype}"), grid([all, 1, 1])?, tile_bytes(dtype), &args)?;
        }
        cx.launch(NAME, "per_sample_norms_totals", by_warps(samples), 0, &args)
    }
}
