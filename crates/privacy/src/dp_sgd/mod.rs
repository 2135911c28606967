//! DP-SGD: gradients of samples clipped, added up, and drowned in noise, on any device.
//!
//! A training loop gives what its backward pass has at every layer; nothing of the size of a gradient for each sample is ever
//! made. What comes back at the end of a step is, for every parameter,
//!
//! ```text
//! (Σ_b c_b g_b + N(0, σ² S²)) / expected batch size
//! ```
//!
//! with factors `c_b` that bound what one sample adds to the sum of all parameters together by the sensitivity `S`
//! ([`Clipping`] has the ways to do so). The step is recorded with the [`Accountant`] before anything of it is released.
//!
//! # What has to be true for the figure that the accountant gives
//!
//! - **The noise is secret**: [`NoiseSource::Secure`] or [`NoiseSource::Discrete`]. Noise under a seed is for tests.
//! - **Batches are Poisson samples** with the sample rate of the options, as [`PoissonSampler`](crate::PoissonSampler) draws
//!   them with a secret key. Padding has weight 0. An empty batch takes its step like any other.
//! - **Losses are per sample**: gradients that are recorded are those of the sum of the losses of samples, not of their mean
//!   over the batch, and no operation mixes samples (batch norm does).
//! - **All parameters that are trained go through here.** A layer that is missing is an error; one that nobody told of is not.
//! - **What is private stays private**: norms, [counts](PrivateCounts), losses, the size that a batch really has.
//!
//! # Noise and checkpoints
//!
//! Noise is a function of key, step, tensor and element, and a key that protects somebody is drawn from the operating
//! system when an engine is made, again when a state is loaded, and is in no file. So no counter is used twice under one
//! key: within an engine the number of the step only grows (loading brings a key of its own), and two engines have the same
//! key with a probability of `2^-256`, however often one checkpoint is restored, on however many machines. What a restored
//! run repeats are the steps, not the noise; steps whose results somebody has seen and that were then taken again from an
//! older checkpoint have to be recorded once more by who knows of them.
//!
//! With a seed, a restored run has the noise that the first one had, which is what a seed is for.

mod bounds;
mod checkpoint;
mod close;
mod grid;
mod layer;
mod noise;
mod options;
mod record;

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::{Code, Device, Error, Result, Tensor};

pub use close::PrivateCounts;
pub use layer::{Embedding, Gradient, Linear, Norm, Tied};
pub use options::{Adjacency, Clipping, DpSgdOptions, LayerGroup, LayerNorms, NoiseSource};
pub use record::{Batch, Recorded};

use crate::{Accountant, Mechanism};
use bounds::Bounds;
use close::Adaptation;
use grid::GridSums;
use layer::LayerShape;
use noise::Noise;
use record::Open;

/// Differentially private stochastic gradient descent (Abadi et al. 2016): see the [module](self).
///
/// ```
/// use gristmill_privacy::dp_sgd::{Adjacency, Clipping, DpSgd, DpSgdOptions, Linear, NoiseSource};
/// use gristmill_privacy::Method;
///
/// let device = gristmill_cpu::open()?;
/// let mut dp = DpSgd::new(&device, DpSgdOptions {
///     clipping: Clipping::Flat { max_grad_norm: 1.0 },
///     noise_multiplier: 1.1,
///     sample_rate: 0.01,
///     expected_batch_size: 4.0,
///     rng: NoiseSource::Secure,
///     seed: None,
///     layers: None,
/// })?;
/// let x = device.tensor(vec![0.5_f32; 4 * 3], [4, 3])?; // four samples
/// let dy = device.tensor(vec![2.0_f32; 4 * 2], [4, 2])?;
/// dp.linear("head", Linear { x, dy, bias: true, offsets: None, method: None })?;
/// let gradients = dp.step()?;
/// assert_eq!(**gradients["head"].weight.shape(), [2, 3]);
/// assert_eq!(dp.sensitivity(Adjacency::AddRemove)?, 1.0);
/// assert!(dp.accountant().epsilon(1e-5, Method::Pld)?.epsilon < 1.0);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug)]
pub struct DpSgd {
    device: Device,
    options: DpSgdOptions,
    mechanism: Mechanism,
    noise: Noise,
    /// The names of all layers, once they are known.
    names: Option<BTreeSet<String>>,
    shapes: BTreeMap<String, LayerShape>,
    open: Open,
    /// Clipped sums of the step under way.
    sums: BTreeMap<String, Gradient>,
    /// The same on the grid of discrete noise.
    grid_sums: BTreeMap<String, GridSums>,
    /// Micro-batches of the step under way that are done.
    done: u64,
    /// Counts of the step under way, and of the one before.
    counts: Vec<Tensor>,
    last_counts: Vec<Tensor>,
    adaptation: Adaptation,
    step: u64,
    accountant: Accountant,
    /// Whether a call failed half-way.
    broken: bool,
}

impl DpSgd {
    /// An engine before its first step.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] with the option; [`Code::Io`] when the operating system gives no key.
    pub fn new(device: &Device, options: DpSgdOptions) -> Result<Self> {
        let mechanism = options.check()?;
        Ok(Self {
            device: device.clone(),
            mechanism,
            noise: Noise::new(&options)?,
            names: options.named_layers(),
            shapes: BTreeMap::new(),
            open: Open::default(),
            sums: BTreeMap::new(),
            grid_sums: BTreeMap::new(),
            done: 0,
            counts: Vec::new(),
            last_counts: Vec::new(),
            adaptation: Adaptation::new(&options.clipping),
            step: 0,
            accountant: Accountant::new(),
            broken: false,
            options,
        })
    }

    /// What it does.
    pub fn options(&self) -> &DpSgdOptions {
        &self.options
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// What the steps cost.
    pub fn accountant(&self) -> &Accountant {
        &self.accountant
    }

    /// Groups and bounds, once the layers are known.
    fn bounds(&self) -> Option<Bounds> {
        let names = self.names.as_ref()?;
        Some(Bounds::of(&self.options.clipping, names, self.adaptation.bound))
    }

    /// By how much one sample changes the sum of clipped gradients of all parameters at the most, which is what the noise is
    /// measured by. Adaptive clipping waits for the counts of the step before.
    ///
    /// # Errors
    /// Those of reading from the device.
    pub fn sensitivity(&mut self, adjacency: Adjacency) -> Result<f64> {
        self.adapt()?;
        // What depends on how many layers there are adds up to the same for any number of them.
        let some = || BTreeSet::from([String::new()]);
        let names = self.names.clone().unwrap_or_else(some);
        let one = Bounds::of(&self.options.clipping, &names, self.adaptation.bound).sensitivity();
        Ok(match adjacency {
            Adjacency::AddRemove => one,
            Adjacency::ReplaceOne => 2.0 * one,
        })
    }

    fn usable(&self) -> Result<()> {
        if self.broken {
            let message = "an earlier call failed half-way: what was summed up is not known";
            return Err(Error::new(Code::Internal, message)
                .hint("make a new engine and load the last state that was saved"));
        }
        Ok(())
    }
}
