//! What peers exchange, and what they make of it: three methods with one face.
//!
//! | method | what a peer sends | how often | outer step |
//! |---|---|---|---|
//! | [`SparseLoCo`] | the greatest of each chunk of its pseudo-gradient, with error feedback | every 15 to 250 steps | plain gradient descent |
//! | [`DiLoCo`] | all of its pseudo-gradient | every 30 to 500 steps | Nesterov momentum |
//! | [`DeMo`] | the greatest of each chunk of its accumulated gradients | every step | plain gradient descent |
//!
//! A pseudo-gradient is how far local training went: parameters before, less parameters after.
//!
//! ```
//! use gristmill_comm::method::{Method, SparseLoCo, SparseLoCoOptions};
//! use gristmill_core::Control;
//!
//! let device = gristmill_cpu::open()?;
//! let shared = device.tensor(vec![0f32; 4096], [4096])?;
//! // What two peers made of it.
//! let trained = |x: f32| device.tensor((0..4096).map(|i| x * i as f32).collect(), [4096]);
//! let options = SparseLoCoOptions { top_k: 64, ..SparseLoCoOptions::default() };
//! let mut peers = Vec::new();
//! let mut payloads = Vec::new();
//! for x in [1e-3, 2e-3] {
//!     let mut loco = SparseLoCo::new(&device, &[("w".into(), shared.clone())], options.clone())?;
//!     payloads.push(loco.encode(&[trained(x)?], &Control::default())?);
//!     peers.push(loco);
//! }
//! for loco in &mut peers {
//!     loco.apply(&payloads, &Control::default())?;
//! }
//! // Every replica has the same bits.
//! assert_eq!(peers[0].params()[0].read()?, peers[1].params()[0].read()?);
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod clip;
mod demo;
mod diloco;
mod meter;
mod reference;
mod replica;
mod sparse;
mod sparse_loco;
mod state;

pub use clip::lower_median;
pub use demo::{DeMo, DeMoOptions};
pub use diloco::{DiLoCo, DiLoCoOptions};
pub use meter::Metering;
pub use replica::Blocks;
pub use sparse_loco::{SparseLoCo, SparseLoCoOptions};

use gristmill_core::{Control, Result, Tensor};

use crate::wire::{Format, Hash};

/// A way for peers to train one model: each encodes what it learned, all apply what all encoded.
pub trait Method: Send {
    /// Codec and tensors: equal on all peers of a run.
    fn format(&self) -> &Format;

    /// What this peer has to say, as a payload whose address names only the parameters that it belongs to. What each
    /// tensor of `given` is, in the order of the parameters, is the method's own: parameters after local training, or
    /// gradients.
    ///
    /// Nothing changes unless all of it succeeds.
    ///
    /// # Errors
    /// [`gristmill_core::Code::ShapeMismatch`] and others of what is given; [`gristmill_core::Code::InvalidValue`] with
    /// the tensor and the chunk that holds what is not finite; [`gristmill_core::Code::Aborted`].
    fn encode(&mut self, given: &[Tensor], control: &Control) -> Result<Vec<u8>>;

    /// Applies the payloads of all peers, whatever their order: all replicas that apply the same set end with the
    /// same bits, on every backend unless the method says otherwise.
    ///
    /// Every payload is checked, and all memory is there, before anything changes; `control` can stop it until then.
    ///
    /// # Errors
    /// With the reason for which a payload is refused, and its number as the row:
    /// [`gristmill_core::Code::CorruptData`] where it is damaged, [`gristmill_core::Code::JobMismatch`] where it begins
    /// from other parameters, is of another run or round than those before it, or the second one of a peer.
    /// [`gristmill_core::Code::EmptyInput`]; [`gristmill_core::Code::Aborted`].
    fn apply(&mut self, payloads: &[Vec<u8>], control: &Control) -> Result<()>;

    /// The parameters that all replicas share, as of the last [`apply`](Self::apply).
    fn params(&self) -> &[Tensor];

    /// The hash of the shared parameters: replicas that agree on it hold the same bits.
    ///
    /// # Errors
    /// Those of reading from the device.
    fn hash(&mut self) -> Result<Hash>;

    /// Writes the shared parameters into the caller's tensors, from where the next local training starts.
    ///
    /// # Errors
    /// As [`encode`](Self::encode) of what is given.
    fn copy_to(&self, given: &[Tensor]) -> Result<()>;

    /// The Euclidean norm of what was left unsent so far, where the method keeps that.
    ///
    /// # Errors
    /// Those of reading from the device.
    fn residual_norm(&self) -> Result<Option<f64>>;

    /// Everything that a replica needs to go on as if it had not stopped: parameters, what was left unsent, momentum;
    /// as a safetensors file.
    ///
    /// # Errors
    /// Those of reading from the device.
    fn save(&self) -> Result<Vec<u8>>;

    /// Goes back to what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// [`gristmill_core::Code::CorruptData`] for what it did not; [`gristmill_core::Code::ShapeMismatch`] for the
    /// state of other parameters. Nothing changes then.
    fn load(&mut self, state: &[u8]) -> Result<()>;

    /// What was exchanged so far.
    fn metering(&self) -> Metering;
}
