//! What a backward pass tells of its layers, and what is done with it at once.

use std::collections::BTreeMap;

use gristmill_core::ops::{ClipLinearOptions, ClipOptions, ClipPath, ClipRule, Reduction};
use gristmill_core::{Code, Error, Result, Tensor};

use super::DpSgd;
use super::layer::{Embedding, Gradient, LayerShape, Linear, Norm, Places, Record, Tied};
use super::options::{Clipping, NoiseSource};

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
pub(super) struct Seen {
    /// The squares of the norms of samples.
    pub(super) squared: Tensor,
    /// What is to be added to the sum; nothing once it was.
    pub(super) rest: Option<Record>,
}

/// The micro-batch under way.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) batch: Batch,
    /// Whether something of it was told.
    pub(super) begun: bool,
    pub(super) samples: Option<usize>,
    /// For clipping at once: 1 for samples that were finite in all layers so far.
    alive: Option<Tensor>,
    pub(super) layers: BTreeMap<String, Seen>,
    /// Offsets of samples of equal length, by samples and length.
    equal: Vec<([usize; 2], Tensor)>,
}

impl DpSgd {
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
    pub(super) fn sum_of(&self, name: &str, shape: &LayerShape) -> Result<Gradient> {
        match self.sums.get(name) {
            Some(sum) => Ok(sum.clone()),
            None => Gradient::zeros(&self.device, shape),
        }
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
