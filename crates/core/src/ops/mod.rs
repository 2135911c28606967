//! Operations as data: what a backend is asked to do.
//!
//! Each is a struct with its tensors and scalars, the rules for their shapes and types, and its cost. Its name is the
//! same everywhere: the file here and in every backend, the conformance case, the benchmark, the method of a tensor.
//!
//! # What an operation promises
//!
//! [`Promise`] says how its results compare with the scalar reference in the `cpu` crate: to the bit, or within a
//! tolerance that the conformance table states for each case. Within one backend the same input gives the same bits,
//! always: reductions have a fixed order, and no floating-point atomics are used.

mod activation;
mod adamw;
mod attention;
mod axpby;
mod bias_add;
mod cast;
mod check;
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

pub use activation::{Activation, ActivationKind, ActivationOptions};
pub use adamw::{
    Adamw, AdamwRule, DecayOrder, EpsPlacement, Moments, Noise, block_unit, code, dynamic_map, flush,
    midpoints,
};
pub use attention::{Attention, AttentionOptions};
pub use axpby::Axpby;
pub use bias_add::BiasAdd;
pub use cast::Cast;
pub use clip_factors::{ClipFactors, ClipFactorsOutput, ClipOptions, ClipRule};
pub use clipped_embedding_grad::ClippedEmbeddingGrad;
pub use clipped_sum::ClippedSum;
pub use column_norms::ColumnNorms;
pub use copy::Copy;
pub use embedding_norms::{EmbeddingNorms, EmbeddingOptions};
pub use fill::Fill;
pub use gather::Gather;
pub use gaussian_noise::{GaussianNoise, NoiseGenerator, NoiseOptions};
pub use grid_sum::GridSum;
pub use linear_nll::LinearNll;
pub use loss_reduction::{LossReduction, LossReductionOutput};
pub use matmul::{Matmul, MatmulOptions, MatmulSizes};
pub use nll::{Nll, NllOptions};
pub use norm::{Norm, NormKind, NormOptions};
pub use payload_norm::PayloadNorm;
pub use philox::{Draw, Philox};
pub use rope::{Rope, RopeOptions};
pub use row_norm_scale::{RowNormScale, RowNormScaleOutput};
pub use row_reduce::RowReduce;
pub use scale::Scale;
pub use segment_product::SegmentProduct;
pub use segment_reduce::SegmentReduce;
pub use softmax_stats::{SoftmaxStats, SoftmaxStatsOutput};
pub use tied_norms::TiedNorms;
pub use topk::{Topk, TopkOutput};
pub use topk_aggregate::TopkAggregate;
pub use topk_encode::TopkEncode;

pub use activation_grad::ActivationGrad;
pub use clip_linear_fused::{ClipLinearFused, ClipLinearFusedOutput, ClipLinearOptions, ClipPath};
pub use clipped_grad::ClippedGrad;
pub use gather_columns::GatherColumns;
pub use hadamard::Hadamard;
pub use kurtosis::Kurtosis;
pub use linear_grad::LinearSizes;
pub use norm_grad::{NormGrad, NormGradOutput};
pub use per_sample_norms::{NormsMethod, NormsOptions, PerSampleNorms};
pub use quantize_rtn::{QuantizeRtn, RtnGrid, RtnRule};
pub use scatter_columns::ScatterColumns;

pub use gram::{Gram, GramOptions};
pub use low_rank_adam::{LowRankAdam, LowRankSizes};

pub use channel_factors::ChannelFactors;
pub use channel_step::ChannelStep;
pub use int4::{INT4_GROUP, Int4Pack, Int4Unpack, int4_code, int4_scale};

use crate::{Code, Device, Error, Result, Tensor};

/// What an operation costs at the least, on any machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point (or integer) operations; a multiply-add counts as two.
    pub flops: u64,
    /// Bytes that must be read or written: each input and output once.
    pub bytes: u64,
}

/// How the results compare with those of the scalar reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The same bits on every backend.
    Exact,
    /// Close to what exact arithmetic gives; how close depends on the case.
    Tolerance,
}

/// A rule of a reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sum of the elements; 0 of none.
    Sum,
    /// The greatest element; NaN if one is; negative infinity of none.
    Max,
    /// Sum of the squares; 0 of none.
    SumSquares,
}

impl Reduction {
    /// All of them.
    pub const ALL: [Reduction; 3] = [Reduction::Sum, Reduction::Max, Reduction::SumSquares];

    /// The name in options and cases.
    pub const fn name(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Max => "max",
            Reduction::SumSquares => "sum-squares",
        }
    }
}

/// What every operation says of itself.
pub trait Operation {
    /// Its name.
    const NAME: &'static str;
    /// Whether its results are exact, whatever its scalars.
    const PROMISE: Promise;
    /// Whether its data can break its contract in ways that only show while it runs.
    const MAY_FAULT: bool = false;

    /// The tensors that it only reads.
    fn inputs(&self) -> Vec<&Tensor>;
    /// The tensors that it overwrites in full, whatever was in them.
    fn outputs(&self) -> Vec<&Tensor>;
    /// The tensors that it reads and changes in place.
    fn updates(&self) -> Vec<&Tensor> {
        Vec::new()
    }
    /// Whether the results of this one are exact.
    fn promise(&self) -> Promise {
        Self::PROMISE
    }
    /// Checks shapes, types and scalars.
    fn check(&self) -> Result<()>;
    /// What it costs.
    fn cost(&self) -> Cost;
    /// What is wrong when its data breaks its contract.
    fn contract(&self) -> Contract {
        Contract {
            bound: 0,
            broken: |row, _| {
                Error::new(Code::Internal, format!("a fault at row {row} of an operation that has none"))
            },
        }
    }
}

/// What the data of an operation must keep to, and how a row that does not is described: without the tensors, which need
/// not live as long.
#[derive(Debug, Clone, Copy)]
pub struct Contract {
    /// What values must stay below, or up to.
    pub(crate) bound: usize,
    /// The error of a row, under that bound.
    pub(crate) broken: fn(u64, usize) -> Error,
}

impl Contract {
    /// The error of this row.
    pub fn error(self, row: u64) -> Error {
        (self.broken)(row, self.bound)
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident,)*) => {
        /// An operation with its tensors.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Op { $($(#[$doc])* $op($op),)* }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Op::$op(op)
            }
        })*

        impl Op {
            /// The names of all operations.
            pub const NAMES: &'static [&'static str] = &[$(<$op as Operation>::NAME,)*];

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$op(_) => <$op as Operation>::NAME,)* }
            }

            /// Whether its results are exact.
            pub fn promise(&self) -> Promise {
                match self { $(Op::$op(op) => op.promise(),)* }
            }

            /// Whether its data can break its contract in ways that only show while it runs.
            pub fn may_fault(&self) -> bool {
                match self { $(Op::$op(_) => <$op as Operation>::MAY_FAULT,)* }
            }

            /// The tensors that it only reads.
            pub fn inputs(&self) -> Vec<&Tensor> {
                match self { $(Op::$op(op) => op.inputs(),)* }
            }

            /// The tensors that it overwrites in full.
            pub fn outputs(&self) -> Vec<&Tensor> {
                match self { $(Op::$op(op) => op.outputs(),)* }
            }

            /// The tensors that it changes in place.
            pub fn updates(&self) -> Vec<&Tensor> {
                match self { $(Op::$op(op) => op.updates(),)* }
            }

            /// What it costs.
            pub fn cost(&self) -> Cost {
                match self { $(Op::$op(op) => op.cost(),)* }
            }

            /// What is wrong when its data breaks its contract at this row; without the operation's name.
            pub fn fault(&self, row: u64) -> Error {
                self.contract().error(row)
            }

            /// What its data must keep to.
            pub fn contract(&self) -> Contract {
                match self { $(Op::$op(op) => op.contract(),)* }
            }

            fn check(&self) -> Result<()> {
                match self { $(Op::$op(op) => op.check(),)* }
            }
        }
    };
}

ops! {
    /// One value everywhere.
    Fill,
    /// Another element type.
    Cast,
    /// The same elements elsewhere.
    Copy,
    /// A matrix product.
    Matmul,
    /// A sum, maximum or sum of squares of every row.
    RowReduce,
    /// The same of consecutive segments.
    SegmentReduce,
    /// The norm of every column.
    ColumnNorms,
    /// A sum of two scaled tensors, in place.
    Axpby,
    /// A scaled tensor.
    Scale,
    /// Maximum and log-sum-exp of every row.
    SoftmaxStats,
    /// Negative log-likelihood of targets under logits.
    Nll,
    /// The same from hidden states and a head.
    LinearNll,
    /// Loss under a prior minus loss under a conditional model, per document.
    LossReduction,
    /// Counter-based random numbers.
    Philox,
    /// The entries of greatest magnitude of every chunk.
    Topk,
    /// Rows clipped to a norm, and their sum.
    RowNormScale,
    /// Rows of a table.
    Gather,
    /// Rows brought to a common scale.
    Norm,
    /// Rotary position embedding, in place.
    Rope,
    /// Causal attention within documents.
    Attention,
    /// A function of every element.
    Activation,
    /// A number added to every column, in place.
    BiasAdd,
    /// A pseudo-gradient as a payload of its greatest entries.
    TopkEncode,
    /// A step by the sum of payloads.
    TopkAggregate,
    /// The sum of squares of a payload.
    PayloadNorm,
    /// A step of Adam with decoupled weight decay.
    Adamw,
    /// Factors that clip per-sample gradients.
    ClipFactors,
    /// Column sums of samples.
    SegmentProduct,
    /// A sum of scaled rows.
    ClippedSum,
    /// Squared norms of per-sample gradients of a table.
    EmbeddingNorms,
    /// A sum of clipped gradients of a table.
    ClippedEmbeddingGrad,
    /// What a tied table adds to a squared norm.
    TiedNorms,
    /// Gaussian noise, the same bits on every backend.
    GaussianNoise,
    /// An exact sum of rows on a grid.
    GridSum,
    /// Squared norms of the gradients that samples have for a linear layer.
    PerSampleNorms,
    /// The sum of these gradients, each scaled.
    ClippedGrad,
    /// Both for a layer that is clipped by itself.
    ClipLinearFused,
    /// A step of Adam in a subspace of the gradient.
    LowRankAdam,
    /// A product of a matrix with its own transpose.
    Gram,
    /// Columns of a matrix.
    GatherColumns,
    /// Columns added to some of those of a matrix, in place.
    ScatterColumns,
    /// The gradient of a function of every element.
    ActivationGrad,
    /// How heavy the tails of every row are.
    Kurtosis,
    /// The Walsh-Hadamard transform of blocks of every row.
    Hadamard,
    /// Groups of numbers rounded to a few levels and back.
    QuantizeRtn,
    /// The gradient of rows brought to a common scale.
    NormGrad,
    /// Factors of the channels of a gradient.
    ChannelFactors,
    /// A step along a gradient with such factors.
    ChannelStep,
    /// Numbers as codes of 4 bits.
    Int4Pack,
    /// Numbers from codes of 4 bits.
    Int4Unpack,
}

impl Op {
    /// Checks everything that can be known without the data.
    pub(crate) fn validate(&self, device: &Device) -> Result<()> {
        self.check_places(device).and_then(|()| self.check()).map_err(|e| e.in_op(self.name()))
    }

    /// The tensors whose content matters to it: inputs and updates.
    pub fn reads(&self) -> Vec<&Tensor> {
        [self.inputs(), self.updates()].concat()
    }

    /// The tensors that it leaves changed: outputs and updates.
    pub fn writes(&self) -> Vec<&Tensor> {
        [self.outputs(), self.updates()].concat()
    }

    /// All tensors on this device; what is written shares no memory with anything else.
    fn check_places(&self, device: &Device) -> Result<()> {
        let (inputs, writes) = (self.inputs(), self.writes());
        if let Some(stranger) = inputs.iter().chain(&writes).find(|t| !t.device().same(device)) {
            return Err(Error::new(
                Code::DeviceMismatch,
                format!("a tensor is on {:?}, the operation on {device:?}", stranger.device()),
            )
            .hint("read it and make a tensor of it on this device"));
        }
        for (i, out) in writes.iter().enumerate() {
            if inputs.iter().chain(&writes[..i]).any(|t| t.overlaps(out)) {
                return Err(Error::new(
                    Code::InvalidArgument,
                    format!("what it writes ({out:?}) shares memory with another operand"),
                ));
            }
        }
        Ok(())
    }
}
