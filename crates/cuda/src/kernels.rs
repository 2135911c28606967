//! The PTX of every operation, as `kernels/build.py` compiled it.

macro_rules! kernels {
    ($($op:literal,)*) => {
        /// Operation and PTX; the first lines of the PTX say what it was made from.
        pub const KERNELS: &[(&str, &str)] =
            &[$(($op, include_str!(concat!("../kernels/ptx/", $op, ".sm80.ptx"))),)*];
    };
}

kernels!(
    "activation",
    "activation_grad",
    "adamw",
    "attention",
    "axpby",
    "bias_add",
    "cast",
    "channel_factors",
    "channel_step",
    "clip_factors",
    "clip_linear_fused",
    "clipped_embedding_grad",
    "clipped_grad",
    "clipped_sum",
    "column_norms",
    "copy",
    "embedding_norms",
    "fill",
    "gather",
    "gather_columns",
    "gaussian_noise",
    "gram",
    "grid_sum",
    "hadamard",
    "int4_pack",
    "int4_unpack",
    "kurtosis",
    "linear_nll",
    "loss_reduction",
    "low_rank_adam",
    "matmul",
    "nll",
    "norm",
    "norm_grad",
    "payload_norm",
    "per_sample_norms",
    "philox",
    "quantize_rtn",
    "rope",
    "row_norm_scale",
    "row_reduce",
    "scale",
    "scatter_columns",
    "segment_product",
    "segment_reduce",
    "softmax_stats",
    "tied_norms",
    "topk",
    "topk_aggregate",
    "topk_encode",
);

/// The PTX of an operation.
pub(crate) fn ptx(op: &str) -> Option<&'static str> {
    KERNELS.iter().find(|(name, _)| *name == op).map(|(_, ptx)| *ptx)
}
