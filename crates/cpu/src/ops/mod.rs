//! The fast versions.

mod activation;
mod adamw;
mod attention;
mod axpby;
mod bias_add;
mod cast;
mod clipped_embedding_grad;
mod clipped_sum;
mod column_norms;
mod copy;
mod elementwise;
mod embedding_norms;
mod exp;
mod fill;
mod gather;
mod gaussian_noise;
mod grid_sum;
mod lanes;
mod linear_nll;
mod loss_reduction;
mod matmul;
mod nll;
mod noise;
mod norm;
mod payload_norm;
mod philox;
#[cfg(target_arch = "x86_64")]
mod product;
mod reduce;
mod rope;
mod row_norm_scale;
mod row_reduce;
mod scale;
mod segment_product;
mod segment_reduce;
mod softmax;
mod softmax_stats;
mod tied_norms;
mod topk;
mod topk_aggregate;
mod topk_encode;

mod activation_grad;
mod clip_linear_fused;
mod clipped_grad;
mod gather_columns;
mod hadamard;
mod kurtosis;
mod linear_grad;
mod norm_grad;
mod per_sample_norms;
mod quantize_rtn;
mod scatter_columns;

mod codes;
mod gram;
mod low_rank_adam;

mod channel_step;
mod int4;

pub use loss_reduction::{LossReduction, loss_reduction};
pub use segment_reduce::segment_sum;

use gristmill_core::Result;
use gristmill_core::ops::Op;
use rayon::prelude::*;

use crate::access::Access;

pub(crate) use lanes::Vectors;
pub(crate) use loss_reduction::run_with as loss_reduction_with;

/// Carries out an operation.
pub(crate) fn run(op: &Op, access: &Access) -> Result<()> {
    match op {
        Op::Fill(op) => fill::run(op, access),
        Op::Cast(op) => cast::run(op, access),
        Op::Copy(op) => copy::run(op, access),
        Op::Matmul(op) => matmul::run(op, access),
        Op::RowReduce(op) => row_reduce::run(op, access),
        Op::SegmentReduce(op) => segment_reduce::run(op, access),
        Op::ColumnNorms(op) => column_norms::run(op, access),
        Op::Axpby(op) => axpby::run(op, access),
        Op::Scale(op) => scale::run(op, access),
        Op::SoftmaxStats(op) => softmax_stats::run(op, access),
        Op::Nll(op) => nll::run(op, access),
        Op::LinearNll(op) => linear_nll::run(op, access),
        Op::LossReduction(op) => loss_reduction::run(op, access),
        Op::Philox(op) => philox::run(op, access),
        Op::Topk(op) => topk::run(op, access),
        Op::RowNormScale(op) => row_norm_scale::run(op, access),
        Op::Gather(op) => gather::run(op, access),
        Op::Norm(op) => norm::run(op, access),
        Op::Rope(op) => rope::run(op, access),
        Op::Attention(op) => attention::run(op, access),
        Op::Activation(op) => activation::run(op, access),
        Op::BiasAdd(op) => bias_add::run(op, access),
        Op::TopkEncode(op) => topk_encode::run(op, access),
        Op::TopkAggregate(op) => topk_aggregate::run(op, access),
        Op::PayloadNorm(op) => payload_norm::run(op, access),
        Op::Adamw(op) => adamw::run(op, access),
        Op::ClipFactors(op) => crate::reference::clip_factors::run(op, access),
        Op::SegmentProduct(op) => segment_product::run(op, access),
        Op::ClippedSum(op) => clipped_sum::run(op, access),
        Op::EmbeddingNorms(op) => embedding_norms::run(op, access),
        Op::ClippedEmbeddingGrad(op) => clipped_embedding_grad::run(op, access),
        Op::TiedNorms(op) => tied_norms::run(op, access),
        Op::GaussianNoise(op) => gaussian_noise::run(op, access),
        Op::GridSum(op) => grid_sum::run(op, access),
        Op::PerSampleNorms(op) => per_sample_norms::run(op, access),
        Op::ClippedGrad(op) => clipped_grad::run(op, access),
        Op::ClipLinearFused(op) => clip_linear_fused::run(op, access),
        Op::LowRankAdam(op) => low_rank_adam::run(op, access),
        Op::Gram(op) => gram::run(op, access),
        Op::GatherColumns(op) => gather_columns::run(op, access),
        Op::ScatterColumns(op) => scatter_columns::run(op, access),
        Op::ActivationGrad(op) => activation_grad::run(op, access),
        Op::Kurtosis(op) => kurtosis::run(op, access),
        Op::Hadamard(op) => hadamard::run(op, access),
        Op::QuantizeRtn(op) => quantize_rtn::run(op, access),
        Op::NormGrad(op) => norm_grad::run(op, access),
        Op::ChannelFactors(op) => crate::reference::channel_factors::run(op, access),
        Op::ChannelStep(op) => channel_step::run(op, access),
        Op::Int4Pack(op) => int4::pack(op, access),
        Op::Int4Unpack(op) => int4::unpack(op, access),
        other => Err(crate::reference::not_yet(other)),
    }
}

/// Below this many values an operation stays on the calling thread.
const PARALLEL: usize = 1 << 16;

/// Values that one task takes at the least.
const TASK: usize = 1 << 15;

/// Calls `work` with pieces of an output that has one number for each of some segments, and where they begin; the
/// segments have `values` values in all.
fn segments<T: Send>(values: usize, out: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    match segments_per_task(values, out.len()) {
        None => work(0, out),
        Some(n) => out.par_chunks_mut(n).enumerate().for_each(|(task, out)| work(task * n, out)),
    }
}

/// How many segments make a task, or `None` when the work is not worth a second thread.
fn segments_per_task(values: usize, segments: usize) -> Option<usize> {
    (values >= PARALLEL && segments > 1 && rayon::current_num_threads() > 1)
        .then(|| (segments * TASK).div_ceil(values))
}
