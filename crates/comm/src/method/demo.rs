use gristmill_core::payload::{IndexCodec, Quantizer};
use gristmill_core::{Control, Device, Result, Tensor};

use crate::wire::{DivideBy, Format, Hash};

use super::replica::Blocks;
use super::sparse::{Settings, Sparse};
use super::{Metering, Method};

/// How a [`DeMo`] works.
#[derive(Debug, Clone)]
pub struct DeMoOptions {
    /// The learning rate; 1e-3 by default.
    pub lr: f32,
    /// The decay of the momentum, from 0 to 1; 0.999 by default.
    pub decay: f32,
    /// Elements of a chunk; 4096 by default.
    pub chunk: usize,
    /// Entries of a chunk that are sent; 32 by default.
    pub top_k: usize,
    /// What is kept of each; all of it by default.
    pub quantizer: Quantizer,
    /// Rows and columns of the blocks of some parameters, as for [`SparseLoCo`](super::SparseLoCo).
    pub blocks: Blocks,
}

impl Default for DeMoOptions {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            decay: 0.999,
            chunk: 4096,
            top_k: 32,
            quantizer: Quantizer::None,
            blocks: Blocks::new(),
        }
    }
}

/// Every step, the greatest entries of a momentum from which they are then taken out (decoupled momentum; DeMo, arXiv
/// 2411.19870): without its cosine transform and without the sign of the sum, which both cost loss in the comparison
/// of SparseLoCo's authors.
///
/// [`encode`](Method::encode) takes gradients; [`apply`](Method::apply) takes a step of plain gradient descent by the mean
/// of what all peers sent. The step is the same bits on every backend.
pub struct DeMo {
    sparse: Sparse,
    /// What gradients are counted from.
    zeros: Vec<Tensor>,
}

impl DeMo {
    /// A replica of these parameters (`f32`), which are copied.
    ///
    /// # Errors
    /// As [`super::SparseLoCo::new`].
    pub fn new(device: &Device, params: &[(String, Tensor)], options: DeMoOptions) -> Result<Self> {
        let settings = Settings {
            chunk: options.chunk,
            top_k: options.top_k,
            quantizer: options.quantizer,
            indices: IndexCodec::EliasFano,
            lr: options.lr,
            decay: options.decay,
            divide_by: DivideBy::Peers,
            clip: false,
            blocks: options.blocks,
            names: ["lr", "decay"],
        };
        let sparse = Sparse::new(device, params, settings)?;
        Ok(Self { zeros: sparse.replica.zeros()?, sparse })
    }
}

impl Method for DeMo {
    fn format(&self) -> &Format {
        &self.sparse.replica.format
    }

    fn encode(&mut self, given: &[Tensor], control: &Control) -> Result<Vec<u8>> {
        self.sparse.replica.check_given(given)?;
        self.sparse.encode(given, &self.zeros, control)
    }

    fn apply(&mut self, payloads: &[Vec<u8>], control: &Control) -> Result<()> {
        self.sparse.apply(payloads, control)
    }

    fn params(&self) -> &[Tensor] {
        &self.sparse.replica.params
    }

    fn hash(&mut self) -> Result<Hash> {
        self.sparse.replica.base()
    }

    fn copy_to(&self, given: &[Tensor]) -> Result<()> {
        self.sparse.replica.copy_to(given)
    }

    fn residual_norm(&self) -> Result<Option<f64>> {
        self.sparse.residual_norm().map(Some)
    }

    fn save(&self) -> Result<Vec<u8>> {
        self.sparse.save("DeMo")
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        self.sparse.load("DeMo", state)
    }

    fn metering(&self) -> Metering {
        self.sparse.replica.metering
    }
}
