//! Optimizers that know that a weight is a matrix: what they keep of the gradients lies in a subspace, in a rotated basis
//! or in a single momentum, and takes a fraction of the memory of Adam.
//!
//! | algorithm | state of an `m × n` weight, `m ≥ n` | paper |
//! |---|---|---|
//! | [`Algorithm::AdamW`] | two moments, `2mn` | Loshchilov and Hutter 2019 |
//! | [`Algorithm::GaLore`] | two moments of rank r and a basis, `2mr + nr` | Zhao et al. 2024 |
//! | [`Algorithm::Conda`] | two moments and a basis, `2mn + n²` | Wang et al. 2025 |
//! | [`Algorithm::Muon`] | one momentum, `mn` | Jordan et al. 2024; Liu et al. 2025 |
//! | [`Algorithm::Apollo`] | two moments of rank r, `2mr`, and a seed | Zhu et al. 2024 |
//! | [`Algorithm::Fira`] | as GaLore, and a norm | Chen et al. 2024 |
//!
//! An [`Optimizer`] holds parameters in groups, each with an algorithm and its options; embeddings and norms usually go
//! with AdamW whatever the matrices do. Moments are `f32`, `bf16` or codes of 8 bits ([`StateType`]).
//!
//! [`LostLinear`] is no optimizer but a layer: a thin product beside a few whole columns, whose parameters are fewer.
//!
//! Everything is composed of operations of a device: matrix products, [`gristmill_core::ops::Adamw`], the step in a subspace
//! [`gristmill_core::ops::LowRankAdam`], and what this crate adds in [`linalg`]. Gradients and weights never leave it. What
//! the host sees is small: a norm for each gradient, and at a refresh the Gram matrices of a few hundred columns.
//!
//! ```
//! use gristmill_optim::{Algorithm, GaLoreOptions, Group, Optimizer, OptimizerOptions};
//!
//! let device = gristmill_cpu::open()?;
//! let weight = device.tensor((0..64 * 48).map(|i| (i as f32).sin()).collect(), [64, 48])?;
//! let galore = GaLoreOptions { rank: 8, update_proj_gap: 50, ..GaLoreOptions::default() };
//! let group = Group::new(Algorithm::GaLore(galore), vec![("attn.q".into(), weight.clone())]);
//! let mut optimizer = Optimizer::new(&device, vec![group], OptimizerOptions::default())?;
//! // The gradient of half the sum of squares is the weight itself.
//! let report = optimizer.step(&[weight.copy()?])?;
//! assert_eq!((report.step, report.skipped), (1, 0));
//! let saved = optimizer.save()?;
//! optimizer.load(&saved)?;
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod accumulate;
mod algorithm;
mod channel;
mod channel_options;
mod checkpoint;
mod import;
mod kept;
pub mod linalg;
mod lost;
mod low_rank;
mod memory;
mod moments;
mod muon;
mod optimizer;
pub mod osp;
mod schedule;
mod subspace;

pub use algorithm::{
    AdamOptions, Algorithm, CondaOptions, GaLoreOptions, Group, MuonOptions, MuonScaling, ProjType,
    Projector, Refresh,
};
pub use channel_options::{ApolloOptions, FiraOptions, RandomProjector, ScaleType};
pub use lost::{
    LostActivation, LostChannels, LostDecomposition, LostForward, LostGradients, LostLinear, LostOptions,
    LostParts, lost_memory,
};
pub use memory::{Memory, ModelConfig, memory_of};
pub use moments::StateType;
pub use optimizer::{Optimizer, OptimizerOptions, StepReport};
pub use schedule::Schedule;
