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

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::ops::{ClipLinearOptions, ClipOptions, ClipPath, ClipRule, Reduction};
use gristmill_core::{Code, Device, Error, Result, Tensor};

pub use close::PrivateCounts;
pub use layer::{Embedding, Gradient, Linear, Norm, Tied};
pub use options::{Adjacency, Clipping, DpSgdOptions, LayerGroup, LayerNorms, NoiseSource};

use crate::{Accountant, Mechanism};
use bounds::Bounds;
use close::Adaptation;
use grid::GridSums;
use layer::{LayerShape, Places, Record};
use noise::Noise;

/// What all layers of a (micro-)batch have in common.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Where the rows of each sample begin, `[samples + 1]`, for layers that have no offsets of their own. Without, samples
    /// are the first dimension.
    pub offsets: Option<Tensor>,
    /// 1 for a sample, 0 for padding, `f32`. Without, there is no padding.
    pub weights: Option<Tensor>,
}

/// What became of a layer that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It was measured, and is kept until the norms of all layers are known.
    Kept,
    /// It was clipped and added to the sum, and nothing of it is needed any more.
    Clipped(ClipPath),
}

impl Recorded {
    /// Its name: `kept`, `fused` or `two-phase`.
    pub const fn name(self) -> &'static str {
        match self {
            Recorded::Kept => "kept",
            Recorded::Clipped(path) => path.name(),
        }
    }
}

/// A layer of the micro-batch under way.
#[derive(Debug)]
struct Seen {
    /// The squares of the norms of samples.
    squared: Tensor,
    /// What is to be added to the sum; nothing once it was.
    rest: Option<Record>,
}

/// The micro-batch under way.
#[derive(Debug, Default)]
struct Open {
    batch: Batch,
    /// Whether something of it was told.
    begun: bool,
    samples: Option<usize>,
    /// For clipping at once: 1 for samples that were finite in all layers so far.
    alive: Option<Tensor>,
    layers: BTreeMap<String, Seen>,
    /// Offsets of samples of equal length, by samples and length.
    equal: Vec<([usize; 2], Tensor)>,
}

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

    /// Says of the next (micro-)batch where its samples begin and which are padding; before its first layer. Batches of
    /// samples of equal length without padding do without.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the batch has begun; [`Code::DeviceMismatch`].
    pub fn batch(&mut self, batch: Batch) -> Result<()> {
        self.usable()?;
        if self.open.begun {
            let message = "a layer of this batch has been recorded, or the batch was told of before";
            return Err(Error::invalid_argument("batch", message).hint("tell of it before its first layer"));
        }
        let given = [("offsets", &batch.offsets), ("weights", &batch.weights)];
        given.into_iter().try_for_each(|(name, tensor)| self.here(name, tensor.as_ref()))?;
        self.open.alive = batch.weights.clone();
        self.open.samples = batch.weights.as_ref().map(Tensor::len);
        self.open.batch = batch;
        self.open.begun = true;
        Ok(())
    }

    /// Records a linear layer.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a layer that was recorded before or that there is none of, [`Code::ShapeMismatch`],
    /// [`Code::DtypeMismatch`], [`Code::DeviceMismatch`], each with the layer's name; nothing was recorded then.
    pub fn linear(&mut self, name: &str, layer: Linear) -> Result<Recorded> {
        let given = [("x", Some(&layer.x)), ("dy", Some(&layer.dy)), ("offsets", layer.offsets.as_ref())];
        self.record(name, &given, |places| Record::linear(layer.clone(), places))
    }

    /// Records a table of embeddings.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    pub fn embedding(&mut self, name: &str, layer: Embedding) -> Result<Recorded> {
        let vocabulary =
            layer.vocabulary.or(self.shapes.get(name).map(|shape| shape.weight[0])).ok_or_else(|| {
                Error::invalid_argument("vocabulary", "how many rows the table has is not known yet")
                    .at_path(name)
            })?;
        let given = [("ids", Some(&layer.ids)), ("dy", Some(&layer.dy)), ("offsets", layer.offsets.as_ref())];
        self.record(name, &given, |places| Record::embedding(layer.clone(), vocabulary, places))
    }

    /// Records a normalisation.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    pub fn norm(&mut self, name: &str, layer: Norm) -> Result<Recorded> {
        let given =
            [("xhat", Some(&layer.xhat)), ("dy", Some(&layer.dy)), ("offsets", layer.offsets.as_ref())];
        self.record(name, &given, |places| Record::norm(layer.clone(), places))
    }

    /// Records a table that is both embedding and head.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    pub fn tied(&mut self, name: &str, layer: Tied) -> Result<Recorded> {
        let given = [
            ("ids", Some(&layer.ids)),
            ("dy", Some(&layer.dy)),
            ("h", Some(&layer.h)),
            ("dlogits", Some(&layer.dlogits)),
            ("offsets", layer.offsets.as_ref()),
        ];
        self.record(name, &given, |places| Record::tied(layer.clone(), places))
    }

    fn record(
        &mut self,
        name: &str,
        given: &[(&str, Option<&Tensor>)],
        make: impl FnOnce(&mut dyn Places) -> Result<Record>,
    ) -> Result<Recorded> {
        self.usable()?;
        let at = |e: Error| e.at_path(name);
        if self.open.layers.contains_key(name) {
            let message = "the layer was recorded before in this batch";
            return Err(at(Error::new(Code::InvalidArgument, message).hint(
                "the gradient of a parameter that is used twice is one: put the rows of both uses behind each other, \
                 sample by sample; a table that is embedding and head goes with tied()",
            )));
        }
        if self.names.as_ref().is_some_and(|names| !names.contains(name)) {
            let message = "there is no such layer: the layers of a run do not change";
            return Err(at(Error::new(Code::InvalidArgument, message)));
        }
        given.iter().try_for_each(|(argument, tensor)| self.here(argument, *tensor)).map_err(at)?;
        let record = make(&mut self.open).map_err(at)?;
        self.check_record(name, &record).map_err(at)?;
        self.open.samples = Some(record.samples);
        self.open.begun = true;
        match self.bound_now(name) {
            Some(bound) if record.samples > 0 => self.clip_now(name, record, bound).map_err(at),
            _ => {
                let squared = record.squared().map_err(at)?;
                self.open.layers.insert(name.into(), Seen { squared, rest: Some(record) });
                Ok(Recorded::Kept)
            }
        }
    }

    /// A layer has the shape that it had, and the samples that others have.
    fn check_record(&self, name: &str, record: &Record) -> Result<()> {
        if let Some(shape) = self.shapes.get(name)
            && *shape != record.shape
        {
            let message = format!("it was {shape:?} before, and is {:?}", record.shape);
            return Err(Error::new(Code::ShapeMismatch, message));
        }
        match self.open.samples {
            Some(samples) if samples != record.samples => {
                let message =
                    format!("expected {samples} samples as the batch has, given {}", record.samples);
                Err(Error::new(Code::ShapeMismatch, message))
            }
            _ => Ok(()),
        }
    }

    /// The bound by which a layer can be clipped as soon as it is recorded.
    fn bound_now(&self, name: &str) -> Option<f32> {
        match (&self.options.clipping, &self.names) {
            // Sums on the grid of the discrete noise are made at the end.
            (Clipping::PerLayer { eager: true, .. }, Some(_))
                if self.options.rng != NoiseSource::Discrete =>
            {
                let bounds = self.bounds()?;
                bounds.handed_out().get(bounds.group_of(&self.options.clipping, name)?).copied()
            }
            _ => None,
        }
    }

    /// Clips a layer by itself and adds it to the sum.
    fn clip_now(&mut self, name: &str, record: Record, bound: f32) -> Result<Recorded> {
        let weights = self.open.alive.clone();
        let gradient = self.sum_of(name, &record.shape)?;
        // What fails after something was added leaves a sum with something in it that nobody knows of.
        let (squared, path) = match record.as_linear() {
            Some((x, dy, offsets)) => {
                let options = ClipLinearOptions {
                    bias: gradient.bias.clone(),
                    weights: weights.clone(),
                    max_norm: bound,
                    rule: ClipRule::Flat,
                    path: None,
                };
                let output = x.clip_linear_fused(dy, offsets, &gradient.weight, options)?;
                self.broken = true;
                let squared = output.norms.reshape([record.samples, 1])?.row_reduce(Reduction::SumSquares)?;
                (squared, output.path)
            }
            None => {
                let squared = record.squared()?;
                let factors = self.factors(&squared, weights.clone(), bound, ClipRule::Flat)?;
                self.broken = true;
                record.add_clipped(&factors, &gradient)?;
                (squared, ClipPath::TwoPhase)
            }
        };
        // No norm is beyond this bound, so that the factor says whether it is a number at all.
        self.open.alive = Some(self.factors(&squared, weights, f32::MAX, ClipRule::Threshold)?);
        self.sums.insert(name.into(), gradient);
        self.shapes.insert(name.into(), record.shape);
        self.open.layers.insert(name.into(), Seen { squared, rest: None });
        self.broken = false;
        Ok(Recorded::Clipped(path))
    }

    /// The factors of one group.
    fn factors(
        &self,
        squared: &Tensor,
        weights: Option<Tensor>,
        bound: f32,
        rule: ClipRule,
    ) -> Result<Tensor> {
        let samples = squared.len();
        let max_norms = self.device.tensor(vec![bound], [1])?;
        let options = ClipOptions { max_norms, weights, rule };
        squared.reshape([1, samples])?.clip_factors(options)?.factors.reshape([samples])
    }

    /// What the clipped gradients of a layer are added to.
    fn sum_of(&self, name: &str, shape: &LayerShape) -> Result<Gradient> {
        match self.sums.get(name) {
            Some(sum) => Ok(sum.clone()),
            None => Gradient::zeros(&self.device, shape),
        }
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

    /// A tensor is on the device of the engine.
    fn here(&self, argument: &str, tensor: Option<&Tensor>) -> Result<()> {
        match tensor {
            Some(tensor) if !tensor.device().same(&self.device) => Err(Error::new(
                Code::DeviceMismatch,
                format!("it is on {:?}, the engine on {:?}", tensor.device(), self.device),
            )
            .at_column(argument)),
            _ => Ok(()),
        }
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

impl Places for Open {
    fn offsets(&mut self, given: Option<Tensor>, like: &Tensor, rows: usize) -> Result<Tensor> {
        if let Some(offsets) = given.or_else(|| self.batch.offsets.clone()) {
            if offsets.shape().rank() == 1 && !offsets.is_empty() {
                return Ok(offsets);
            }
            let message = format!("expected [samples + 1], given {}", offsets.shape());
            return Err(Error::new(Code::ShapeMismatch, message).at_column("offsets"));
        }
        let samples = like.shape()[0];
        let length = rows.checked_div(samples).unwrap_or(0);
        if let Some((_, offsets)) = self.equal.iter().find(|(sizes, _)| *sizes == [samples, length]) {
            return Ok(offsets.clone());
        }
        if u32::try_from(rows).is_err() {
            return Err(Error::new(Code::ShapeMismatch, format!("{rows} rows are too many for offsets"))
                .hint("accumulate smaller batches"));
        }
        let offsets: Vec<u32> = (0..=samples).map(|b| (b * length) as u32).collect();
        let offsets = like.device().tensor(offsets, [samples + 1])?;
        self.equal.push(([samples, length], offsets.clone()));
        Ok(offsets)
    }
}
