//! The operations: for each, its bindings, how it is cut into pieces that bindings can show, and its dispatches.

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
mod columns;
pub(crate) mod copy;
mod elements;
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
mod rows;
mod scale;
mod segment_product;
mod segment_reduce;
mod segments;
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
mod place;

mod channel_factors;
mod channel_step;
mod int4;

use gristmill_core::device::{Buffers, Support};
use gristmill_core::ops::{Op, PayloadNorm, TopkAggregate, TopkEncode};
use gristmill_core::{Code, DType, DeviceInfo, Error, Result, Tensor};

use crate::context::{Context, window_bytes};
use crate::probe::BINDING_BYTES;
use crate::window::Window;

/// What an operation is run with.
pub(crate) struct Run<'a> {
    pub(crate) ctx: &'a mut Context,
    pub(crate) buffers: &'a Buffers,
    pub(crate) serial: u64,
}

/// Enqueues an operation.
pub(crate) fn run(ctx: &mut Context, serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
    let run = &mut Run { ctx, buffers, serial };
    match op {
        Op::Fill(op) => fill::run(run, op),
        Op::Copy(op) => copy::run(run, op),
        Op::Cast(op) => cast::run(run, op),
        Op::Scale(op) => scale::run(run, op),
        Op::Axpby(op) => axpby::run(run, op),
        Op::Philox(op) => philox::run(run, op),
        Op::RowReduce(op) => row_reduce::run(run, op),
        Op::SoftmaxStats(op) => softmax_stats::run(run, op),
        Op::Nll(op) => nll::run(run, op),
        Op::SegmentReduce(op) => segment_reduce::run(run, op),
        Op::ColumnNorms(op) => column_norms::run(run, op),
        Op::LossReduction(op) => loss_reduction::run(run, op),
        Op::RowNormScale(op) => row_norm_scale::run(run, op),
        Op::Matmul(op) => matmul::run(run, op),
        Op::LinearNll(op) => linear_nll::run(run, op),
        Op::Topk(op) => topk::run(run, op),
        Op::Gather(op) => gather::run(run, op),
        Op::Norm(op) => norm::run(run, op),
        Op::Rope(op) => rope::run(run, op),
        Op::Attention(op) => attention::run(run, op),
        Op::Activation(op) => activation::run(run, op),
        Op::BiasAdd(op) => bias_add::run(run, op),
        Op::TopkEncode(op) => topk_encode::run(run, op),
        Op::TopkAggregate(op) => topk_aggregate::run(run, op),
        Op::PayloadNorm(op) => payload_norm::run(run, op),
        Op::Adamw(op) => adamw::run(run, op),
        Op::ClipFactors(op) => clip_factors::run(run, op),
        Op::SegmentProduct(op) => segment_product::run(run, op),
        Op::ClippedSum(op) => clipped_sum::run(run, op),
        Op::EmbeddingNorms(op) => embedding_norms::run(run, op),
        Op::ClippedEmbeddingGrad(op) => clipped_embedding_grad::run(run, op),
        Op::TiedNorms(op) => tied_norms::run(run, op),
        Op::GaussianNoise(op) => gaussian_noise::run(run, op),
        Op::GridSum(op) => grid_sum::run(run, op),
        Op::PerSampleNorms(op) => per_sample_norms::run(run, op),
        Op::ClippedGrad(op) => clipped_grad::run(run, op),
        Op::ClipLinearFused(op) => clip_linear_fused::run(run, op),
        Op::LowRankAdam(op) => low_rank_adam::run(run, op),
        Op::Gram(op) => gram::run(run, op),
        Op::GatherColumns(op) => gather_columns::run(run, op),
        Op::ScatterColumns(op) => scatter_columns::run(run, op),
        Op::ActivationGrad(op) => activation_grad::run(run, op),
        Op::Kurtosis(op) => kurtosis::run(run, op),
        Op::Hadamard(op) => hadamard::run(run, op),
        Op::QuantizeRtn(op) => quantize_rtn::run(run, op),
        Op::NormGrad(op) => norm_grad::run(run, op),
        Op::ChannelFactors(op) => channel_factors::run(run, op),
        Op::ChannelStep(op) => channel_step::run(run, op),
        Op::Int4Pack(op) => int4::pack(run, op),
        Op::Int4Unpack(op) => int4::unpack(run, op),
        _ => Err(Error::new(Code::Unsupported, "the wgpu backend does not do it")),
    }
}

/// Whether an operation can run here.
pub(crate) fn supports(info: &DeviceInfo, op: &Op) -> Support {
    let tensors = [op.reads(), op.writes()].concat();
    if tensors.iter().any(|t| t.dtype() == DType::F64) {
        return Support::Unsupported("WGSL has no f64; cast on the CPU, or compute there".into());
    }
    match op {
        Op::EmbeddingNorms(op) => fits(info, ("dy", &op.dy), &op.ids),
        Op::ClippedEmbeddingGrad(op) => fits(info, ("dy", &op.dy), &op.ids),
        Op::TiedNorms(op) => fits(info, ("e", &op.e), &op.ids),
        Op::Topk(op) if op.k > topk::MOST => {
            Support::Unsupported(format!("at most {} entries of a chunk on wgpu, given {}", topk::MOST, op.k))
        }
        Op::TopkEncode(TopkEncode { chunking, .. }) | Op::TopkAggregate(TopkAggregate { chunking, .. })
            if !topk_encode::fits(chunking) =>
        {
            Support::Unsupported(format!("at most {} elements of a row of blocks on wgpu", topk_encode::MOST))
        }
        Op::TopkAggregate(TopkAggregate { payloads, .. }) | Op::PayloadNorm(PayloadNorm { payloads, .. })
            if payloads.len() > topk_encode::MOST =>
        {
            Support::Unsupported(format!("at most {} words of payloads on wgpu", topk_encode::MOST))
        }
        Op::Fill(_)
        | Op::Copy(_)
        | Op::Cast(_)
        | Op::Scale(_)
        | Op::Axpby(_)
        | Op::Philox(_)
        | Op::RowReduce(_)
        | Op::SoftmaxStats(_)
        | Op::Nll(_)
        | Op::SegmentReduce(_)
        | Op::ColumnNorms(_)
        | Op::LossReduction(_)
        | Op::RowNormScale(_)
        | Op::Matmul(_)
        | Op::LinearNll(_)
        | Op::Topk(_)
        | Op::Gather(_)
        | Op::Norm(_)
        | Op::Rope(_)
        | Op::Attention(_)
        | Op::Activation(_)
        | Op::BiasAdd(_)
        | Op::TopkEncode(_)
        | Op::TopkAggregate(_)
        | Op::PayloadNorm(_)
        | Op::Adamw(_)
        | Op::ClipFactors(_)
        | Op::SegmentProduct(_)
        | Op::ClippedSum(_)
        | Op::GaussianNoise(_)
        | Op::GridSum(_)
        | Op::PerSampleNorms(_)
        | Op::ClippedGrad(_)
        | Op::ClipLinearFused(_)
        | Op::LowRankAdam(_)
        | Op::Gram(_)
        | Op::GatherColumns(_)
        | Op::ScatterColumns(_)
        | Op::ActivationGrad(_)
        | Op::Kurtosis(_)
        | Op::Hadamard(_)
        | Op::QuantizeRtn(_)
        | Op::NormGrad(_)
        | Op::ChannelFactors(_)
        | Op::ChannelStep(_)
        | Op::Int4Pack(_)
        | Op::Int4Unpack(_) => Support::Native,
        other => Support::Unsupported(format!("the wgpu backend does not do {}", other.name())),
    }
}

/// Whether bindings of a device of this description show all of a tensor with a row for each id, and of what links the rows.
fn fits(info: &DeviceInfo, (name, tensor): (&str, &Tensor), ids: &Tensor) -> Support {
    let most = info.limit(BINDING_BYTES).map_or(u64::MAX, window_bytes) / 4;
    let too_long = [(name, tensor.len()), ("ids", 2 * ids.len())].into_iter().find(|(_, n)| *n as u64 > most);
    match too_long {
        None => Support::Native,
        Some((name, n)) => Support::Unsupported(format!(
            "{name} in {n} words on wgpu, more than the {most} that one binding of this device shows"
        )),
    }
}

/// How many rows of so many 32-bit elements a binding shows.
///
/// # Errors
/// [`Code::Unsupported`] when it is not even one.
pub(crate) fn fits_row(run: &Run, columns: usize) -> Result<usize> {
    let fits = run.ctx.window_len(4);
    if columns <= fits {
        return Ok(fits / columns.max(1));
    }
    Err(Error::new(
        Code::Unsupported,
        format!(
            "{columns} elements in one piece, more than the {fits} that a binding of this device can show"
        ),
    ))
}

/// The name of a type in shaders.
pub(crate) fn dtype(dtype: DType) -> &'static str {
    dtype.name()
}

/// Asks the device whether subgroups are consecutive invocations of a workgroup, full, and of a size that divides
/// it: the subgroup variants rely on that, and WGSL does not promise it.
pub(crate) fn subgroups_are_regular(ctx: &mut Context) -> Result<bool> {
    const GROUPS: usize = 8;
    let out = ctx.scratch(4 * 256 * GROUPS as u64)?;
    ctx.kernel("subgroups").write(&Window::whole(&out)).run(ctx, GROUPS, 0)?;
    let mut regular = vec![0u32; 256 * GROUPS];
    ctx.download(&out, 0, bytemuck::cast_slice_mut(&mut regular))?;
    ctx.done_with(out);
    Ok(regular.iter().all(|&r| r == 1))
}
