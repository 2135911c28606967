use gristmill_core::payload::{IndexCodec, Quantizer};
use gristmill_core::{Control, Device, Result, Tensor};

use crate::wire::{DivideBy, Format, Hash};

use super::replica::Blocks;
use super::sparse::{Settings, Sparse};
use super::{Metering, Method};

/// How a [`SparseLoCo`] works.
#[derive(Debug, Clone)]
pub struct SparseLoCoOptions {
    /// The outer learning rate α; 1 by default.
    pub outer_lr: f32,
    /// The decay β of what was left unsent, from 0 (nothing is kept) to 1; 0.95 by default.
    pub error_feedback: f32,
    /// Elements of a chunk; 4096 by default.
    pub chunk: usize,
    /// Entries of a chunk that are sent; 64 by default.
    pub top_k: usize,
    /// What is kept of each; two magnitudes a chunk by default.
    pub quantizer: Quantizer,
    /// How positions are written; Elias–Fano by default.
    pub indices: IndexCodec,
    /// What a sum is divided by; those who contributed, by default.
    pub divide_by: DivideBy,
    /// Whether a peer's tensor is scaled down to the lower median of the peers' norms; so by default.
    pub clip: bool,
    /// Rows and columns of the blocks of some parameters, seen as rows by their last dimension; by default all are cut as
    /// [`Chunking::of`](gristmill_core::payload::Chunking::of) does.
    pub blocks: Blocks,
}

impl Default for SparseLoCoOptions {
    fn default() -> Self {
        Self {
            outer_lr: 1.0,
            error_feedback: 0.95,
            chunk: 4096,
            top_k: 64,
            quantizer: Quantizer::SignMagnitude,
            indices: IndexCodec::EliasFano,
            divide_by: DivideBy::Contributors,
            clip: true,
            blocks: Blocks::new(),
        }
    }
}

/// Local training, and after it the greatest entries of the pseudo-gradient, quantised to 2 bits, with error feedback
/// (SparseLoCo, arXiv 2508.15706).
///
/// [`encode`](Method::encode) takes the parameters after local training; [`apply`](Method::apply) takes the step from
/// those before. The step is the same bits on every backend.
pub struct SparseLoCo(Sparse);

impl SparseLoCo {
    /// A replica of these parameters (`f32`), which are copied.
    ///
    /// # Errors
    /// [`gristmill_core::Code::InvalidArgument`] for an option out of its range or a name given twice;
    /// [`gristmill_core::Code::DtypeMismatch`], [`gristmill_core::Code::DeviceMismatch`].
    pub fn new(device: &Device, params: &[(String, Tensor)], options: SparseLoCoOptions) -> Result<Self> {
        let settings = Settings {
            chunk: options.chunk,
            top_k: options.top_k,
            quantizer: options.quantizer,
            indices: options.indices,
            lr: options.outer_lr,
            decay: options.error_feedback,
            divide_by: options.divide_by,
            clip: options.clip,
            blocks: options.blocks,
            names: ["outerLr", "errorFeedback"],
        };
        Sparse::new(device, params, settings).map(Self)
    }

    /// What was left unsent, in the order of the parameters.
    pub fn residual(&self) -> &[Tensor] {
        &self.0.residual
    }
}

impl Method for SparseLoCo {
    fn format(&self) -> &Format {
        &self.0.replica.format
    }

    fn encode(&mut self, given: &[Tensor], control: &Control) -> Result<Vec<u8>> {
        self.0.replica.check_given(given)?;
        let params = self.0.replica.params.clone();
        self.0.encode(&params, given, control)
    }

    fn apply(&mut self, payloads: &[Vec<u8>], control: &Control) -> Result<()> {
        self.0.apply(payloads, control)
    }

    fn params(&self) -> &[Tensor] {
        &self.0.replica.params
    }

    fn hash(&mut self) -> Result<Hash> {
        self.0.replica.base()
    }

    fn copy_to(&self, given: &[Tensor]) -> Result<()> {
        self.0.replica.copy_to(given)
    }

    fn residual_norm(&self) -> Result<Option<f64>> {
        self.0.residual_norm().map(Some)
    }

    fn save(&self) -> Result<Vec<u8>> {
        self.0.save("SparseLoCo")
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        self.0.load("SparseLoCo", state)
    }

    fn metering(&self) -> Metering {
        self.0.replica.metering
    }
}
