//! What to launch for each operation, and the geometry that they share.

mod activation;
mod adamw;
mod attention;
mod axpby;
mod bias_add;
mod cast;
mod clip_factors;
mod clipped_embedding_grad;
mod clipped_sum;
mod column_norms;
mod copy;
mod embedding_norms;
mod fill;
mod gather;
mod gaussian_noise;
mod grid_sum;
mod linear_nll;
mod loss_reduction;
mod matmul;
mod nll;
mod norm;
mod payload_norm;
mod philox;
mod rope;
mod row_norm_scale;
mod row_reduce;
mod scale;
mod segment_product;
mod segment_reduce;
mod softmax_stats;
mod tied_norms;
mod topk;
mod topk_aggregate;
mod topk_encode;

mod activation_grad;
mod clip_linear_fused;
mod clipped_grad;
mod gather_columns;
mod gram_norms;
mod hadamard;
mod kurtosis;
mod linear_grad;
mod norm_grad;
mod per_sample_norms;
mod quantize_rtn;
mod scatter_columns;

mod gram;
mod low_rank_adam;

mod channel_factors;
mod channel_step;
mod int4;

pub(crate) use clip_linear_fused::keeps;
use gristmill_core::ops::Op;
use gristmill_core::{Code, DType, Error, Result, Tensor};

use crate::backend::Context;
use crate::driver::Args;

/// Threads of a block, as in the kernels.
const BLOCK: usize = 256;
/// Lanes of a warp.
const WARP: usize = 32;

pub(crate) fn run(op: &Op, cx: &mut Context<'_>) -> Result<()> {
    match op {
        Op::Fill(op) => fill::run(op, cx),
        Op::Cast(op) => cast::run(op, cx),
        Op::Copy(op) => copy::run(op, cx),
        Op::Matmul(op) => matmul::run(op, cx),
        Op::RowReduce(op) => row_reduce::run(op, cx),
        Op::SegmentReduce(op) => segment_reduce::run(op, cx),
        Op::ColumnNorms(op) => column_norms::run(op, cx),
        Op::Axpby(op) => axpby::run(op, cx),
        Op::Scale(op) => scale::run(op, cx),
        Op::SoftmaxStats(op) => softmax_stats::run(op, cx),
        Op::Nll(op) => nll::run(op, cx),
        Op::LinearNll(op) => linear_nll::run(op, cx),
        Op::LossReduction(op) => loss_reduction::run(op, cx),
        Op::Philox(op) => philox::run(op, cx),
        Op::Topk(op) => topk::run(op, cx),
        Op::RowNormScale(op) => row_norm_scale::run(op, cx),
        Op::Gather(op) => gather::run(op, cx),
        Op::Norm(op) => norm::run(op, cx),
        Op::Rope(op) => rope::run(op, cx),
        Op::Attention(op) => attention::run(op, cx),
        Op::Activation(op) => activation::run(op, cx),
        Op::BiasAdd(op) => bias_add::run(op, cx),
        Op::TopkEncode(op) => topk_encode::run(op, cx),
        Op::TopkAggregate(op) => topk_aggregate::run(op, cx),
        Op::PayloadNorm(op) => payload_norm::run(op, cx),
        Op::Adamw(op) => adamw::run(op, cx),
        Op::ClipFactors(op) => clip_factors::run(op, cx),
        Op::SegmentProduct(op) => segment_product::run(op, cx),
        Op::ClippedSum(op) => clipped_sum::run(op, cx),
        Op::EmbeddingNorms(op) => embedding_norms::run(op, cx),
        Op::ClippedEmbeddingGrad(op) => clipped_embedding_grad::run(op, cx),
        Op::TiedNorms(op) => tied_norms::run(op, cx),
        Op::GaussianNoise(op) => gaussian_noise::run(op, cx),
        Op::GridSum(op) => grid_sum::run(op, cx),
        Op::PerSampleNorms(op) => per_sample_norms::run(op, cx),
        Op::ClippedGrad(op) => clipped_grad::run(op, cx),
        Op::ClipLinearFused(op) => clip_linear_fused::run(op, cx),
        Op::LowRankAdam(op) => low_rank_adam::run(op, cx),
        Op::Gram(op) => gram::run(op, cx),
        Op::GatherColumns(op) => gather_columns::run(op, cx),
        Op::ScatterColumns(op) => scatter_columns::run(op, cx),
        Op::ActivationGrad(op) => activation_grad::run(op, cx),
        Op::Kurtosis(op) => kurtosis::run(op, cx),
        Op::Hadamard(op) => hadamard::run(op, cx),
        Op::QuantizeRtn(op) => quantize_rtn::run(op, cx),
        Op::NormGrad(op) => norm_grad::run(op, cx),
        Op::ChannelFactors(op) => channel_factors::run(op, cx),
        Op::ChannelStep(op) => channel_step::run(op, cx),
        Op::Int4Pack(op) => int4::pack(op, cx),
        Op::Int4Unpack(op) => int4::unpack(op, cx),
        other => Err(Error::new(Code::Unsupported, format!("no CUDA kernel for {}", other.name()))),
    }
}

/// A grid of this many blocks in each dimension.
fn grid(blocks: [usize; 3]) -> Result<[u32; 3]> {
    const LIMITS: [usize; 3] = [i32::MAX as usize, 65_535, 65_535];
    if blocks.iter().zip(LIMITS).all(|(&n, limit)| n <= limit) {
        return Ok(blocks.map(|n| n.max(1) as u32));
    }
    Err(Error::new(Code::Unsupported, format!("a tensor too large for one launch of {blocks:?} blocks")))
}

/// A grid for kernels whose threads stride over `n` pieces of work: more blocks than run at one time gain nothing.
fn strided(n: usize) -> [u32; 3] {
    const ENOUGH: usize = 1 << 14;
    [n.div_ceil(BLOCK).clamp(1, ENOUGH) as u32, 1, 1]
}

/// A grid for kernels whose blocks stride over `n` pieces of work.
fn blocks(n: usize) -> [u32; 3] {
    strided(n.saturating_mul(BLOCK))
}

/// The same as [`strided`], for kernels that take eight elements a thread.
fn elementwise(n: usize) -> [u32; 3] {
    strided(n.div_ceil(8))
}

/// The same, for kernels that take a row a warp.
fn by_warps(rows: usize) -> [u32; 3] {
    strided(rows.saturating_mul(WARP))
}

/// Whether an index tensor is signed, as kernels want to know it.
fn signed(t: &Tensor) -> u32 {
    (t.dtype() == DType::I32).into()
}

/// How rows are shared out (`Team` of kernels/reduce.cuh), by their sizes alone, so that results do not depend on the
/// device.
struct Team {
    rows: usize,
    partials: u64,
    size: usize,
    parts: usize,
}

impl Team {
    /// Rows of `columns` elements (on average), reduced to accumulators of this many bytes.
    fn new(cx: &mut Context<'_>, rows: usize, columns: usize, accumulator: usize) -> Result<Self> {
        /// Columns from which a block takes a row.
        const LONG: usize = 1024;
        /// Columns that a part has at the least, and blocks beyond which no row is split.
        const PART: usize = 16 * 1024;
        const BLOCKS: usize = 512;
        let size = if columns > LONG { BLOCK } else { WARP };
        let parts = (columns / PART).min(BLOCKS / rows.max(1)).max(1);
        let partials = if parts > 1 { cx.scratch([rows * parts * accumulator])?[0] } else { 0 };
        Ok(Self { rows, partials, size, parts })
    }

    fn args(&self) -> Args {
        Args::new().size(self.rows).u64(self.partials).u32(self.size as u32).u32(self.parts as u32)
    }

    /// Reduces, with the kernel `<op><suffix>`, and merges the parts, if there are any, with `<op>_merge<suffix>`.
    fn launch(&self, cx: &Context<'_>, op: &'static str, suffix: &str, args: &[u8]) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let blocks = self.rows.div_ceil(BLOCK / self.size).min(1 << 30);
        // Shared memory for one accumulator, of at most 16 bytes, of each warp.
        let shared = if self.size == WARP { 0 } else { 16 * BLOCK / WARP };
        cx.launch(op, format!("{op}{suffix}"), grid([blocks, self.parts, 1])?, shared, args)?;
        if self.parts > 1 {
            cx.launch(op, format!("{op}_merge{suffix}"), strided(self.rows), 0, args)?;
        }
        Ok(())
    }
}

/// `Segments` of kernels/reduce.cuh.
fn segments(args: Args, cx: &Context<'_>, offsets: &Tensor, values: usize) -> Result<Args> {
    Ok(args.u64(cx.at(offsets)?).u64(cx.status).size(values).u32(signed(offsets)).aligned())
}

/// `Logits` and `Targets` of kernels/loss.cuh.
fn logits(
    args: Args,
    cx: &Context<'_>,
    (bias, vocab, softcap): (Option<&Tensor>, usize, Option<f32>),
    targets: &Tensor,
) -> Result<Args> {
    let cap = softcap.unwrap_or(0.0);
    let exponent = softcap.map_or(0.0, |cap| (2.0 * std::f64::consts::LOG2_E / f64::from(cap)) as f32);
    let args = args.u64(cx.at_option(bias)?).size(vocab).f32(cap).f32(exponent);
    Ok(args.u64(cx.at(targets)?).u64(cx.status).u32(signed(targets)).u32(0))
}
