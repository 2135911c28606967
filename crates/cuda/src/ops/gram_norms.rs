//! What to launch for norms by products of rows: see `kernels/gram_norms.cuh`.

use gristmill_core::ops::LinearSizes;
use gristmill_core::{Result, Tensor};

use super::linear_grad::{Direct, Layer};
use super::matmul::{TILE, tile_bytes};
use super::{BLOCK, WARP, blocks, grid};
use crate::backend::Context;
use crate::driver::Args;

/// Blocks that share the tiles of some rows, as in the kernel.
const SPLIT: usize = 8;
/// Elements that the length of a row is a multiple of: whole accesses of 16 bytes.
const STRIDE: usize = 8;
/// Shared memory of sums: 16 numbers for each row of a tile.
const SUMS: usize = 16 * 8 * TILE;
/// Shared memory of the largest accumulator of each warp, and of sums of columns with a word each.
const SMALL: usize = BLOCK * (8 + 4);

/// Where one side of the layer lies.
struct Side {
    from: u64,
    to: u64,
    mean: u64,
    other: u64,
    products: u64,
    columns: usize,
}

impl Side {
    fn args(&self, args: Args) -> Args {
        let Self { from, to, mean, other, products, columns } = *self;
        let args = [from, to, mean, other, products].into_iter().fold(args, Args::u64);
        args.size(columns).size(stride(columns))
    }
}

fn stride(columns: usize) -> usize {
    columns.next_multiple_of(STRIDE)
}

/// Squares of the norms of all samples of a layer that has inputs and outputs; those whose terms cancel directly.
pub(super) fn norms(layer: &Layer, cx: &mut Context<'_>, bias: bool, out: &Tensor) -> Result<()> {
    const NAME: &str = "per_sample_norms";
    let LinearSizes { rows, d, p, samples } = layer.sizes;
    let dtype = layer.x.dtype();
    let direct = Direct::new(layer, bias);
    let [x, dy, of_x, of_dy, x_products, dy_products, begins, exponents, weights, partials, list, sums] = cx
        .scratch([
            dtype.size() * rows * stride(d),
            dtype.size() * rows * stride(p),
            4 * 2 * samples * d,
            4 * 2 * samples * p,
            16 * rows,
            16 * rows,
            4 * rows,
            4 * rows,
            8 * rows,
            16 * rows * SPLIT,
            4 * (samples + 1),
            direct.bytes(),
        ])?;
    let side = |from: &Tensor, to: u64, means: u64, products: u64, columns: usize| -> Result<Side> {
        let other = means + (4 * samples * columns) as u64;
        Ok(Side { from: cx.at(from)?, to, mean: means, other, products, columns })
    };
    let x = side(layer.x, x, of_x, x_products, d)?;
    let dy = side(layer.dy, dy, of_dy, dy_products, p)?;
    let args = dy.args(x.args(layer.args(cx)?));
    let args = [begins, exponents, weights, partials, list, cx.at(out)?].into_iter().fold(args, Args::u64);
    let args = args.u64(bias.into()).finish();
    let columns = d.div_ceil(WARP) + p.div_ceil(WARP);
    let means = grid([columns, samples.min(65_535), 1])?;
    cx.launch(NAME, format!("{NAME}_means_{dtype}"), means, SMALL, &args)?;
    if rows > 0 {
        cx.launch(NAME, format!("{NAME}_centre_{dtype}"), blocks(rows), SMALL, &args)?;
        let tiles = grid([rows.div_ceil(TILE), SPLIT, 1])?;
        let shared = tile_bytes(dtype).max(SUMS);
        cx.launch(NAME, format!("{NAME}_products_{dtype}"), tiles, shared, &args)?;
    }
    cx.launch(NAME, format!("{NAME}_terms"), blocks(samples), SMALL, &args)?;
    direct.launch(cx, sums, list, out)
}
