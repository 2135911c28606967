//! The end of a batch, where norms become factors, and the end of a step, where sums become noisy gradients.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::ops::ClipOptions;
use gristmill_core::{Code, DType, Error, Result, Tensor};
use serde::Serialize;

use super::DpSgd;
use super::bounds::{Bounds, rule};
use super::grid::{Grid, GridSums};
use super::layer::{Gradient, LayerShape, Record};
use super::options::{Clipping, NoiseSource};
use super::record::{Open, Seen};

/// What the samples of a step came to. Private: whoever publishes it publishes something about who is in the data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateCounts {
    /// Samples that took part.
    pub samples: u64,
    /// Samples that were left out because the norm of their gradient is no finite number.
    pub non_finite: u64,
    /// How many of those that took part have a norm within the bound, by group; `all` where there is only one.
    pub unclipped: BTreeMap<String, u64>,
}

/// Where adaptive clipping has come to.
#[derive(Debug)]
pub(super) struct Adaptation {
    /// The bound of the step under way.
    pub(super) bound: f64,
    /// Counts and noise that the bound of the next step depends on.
    pending: Option<(Vec<Tensor>, Tensor)>,
}

/// Bounds stay where 32-bit floats have squares for them.
const RANGE: [f64; 2] = [1e-12, 1e12];

impl Adaptation {
    pub(super) fn new(clipping: &Clipping) -> Self {
        let bound = match clipping {
            Clipping::Adaptive { max_grad_norm, .. } => *max_grad_norm,
            _ => 0.0,
        };
        Self { bound, pending: None }
    }
}

/// Counts of all micro-batches of a step, by group: took part, left out, not clipped.
fn read_counts(tensors: &[Tensor], groups: usize) -> Result<Vec<[u64; 3]>> {
    let mut total = vec![[0; 3]; groups];
    for tensor in tensors {
        for (sum, counts) in total.iter_mut().zip(tensor.to_vec::<u32>()?.chunks_exact(3)) {
            sum.iter_mut().zip(counts).for_each(|(sum, &n)| *sum += u64::from(n));
        }
    }
    Ok(total)
}

impl DpSgd {
    /// Ends a micro-batch that is not the last one of its step: its clipped gradients are added up, without noise.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when nothing was recorded, or a layer is missing; [`Code::InvalidValue`] when a tensor was
    /// written to after it was recorded; those of the device.
    pub fn accumulate(&mut self) -> Result<()> {
        self.usable()?;
        if self.open.layers.is_empty() {
            let message = "nothing was recorded since the last batch";
            return Err(Error::invalid_argument("accumulate", message));
        }
        self.close()
    }

    /// Ends a step: what was recorded since the last one, in one batch or several, becomes gradients with noise, by the names
    /// of the layers. The step is recorded with the accountant.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when nothing was recorded since the last step (gradients are used once), or a layer is
    /// missing; [`Code::InvalidValue`] when a tensor was written to after it was recorded; those of the device.
    pub fn step(&mut self) -> Result<BTreeMap<String, Gradient>> {
        self.usable()?;
        if self.open.begun {
            self.close()?;
        } else if self.done == 0 {
            let message = "nothing was recorded since the last step: what was recorded is used once";
            return Err(Error::invalid_argument("step", message)
                .hint("record the layers of the next batch; a batch that is empty goes with an empty step"));
        }
        self.release()
    }

    /// A step with a batch that nobody was drawn into: noise alone, which costs what every step costs. Layers are those of
    /// the steps before. (Batches that are padded take a usual step, with weights of 0.)
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when something was recorded since the last step, or the sizes of the layers are not known
    /// yet.
    pub fn empty_step(&mut self) -> Result<BTreeMap<String, Gradient>> {
        self.usable()?;
        if self.open.begun || self.done > 0 {
            return Err(Error::invalid_argument("step", "something was recorded: the batch is not empty"));
        }
        let unknown = |name: &&String| !self.shapes.contains_key(*name);
        match &self.names {
            Some(names) => match names.iter().find(unknown) {
                Some(name) => Err(Error::invalid_argument("step", "the layer's sizes are not known yet")
                    .at_path(name)
                    .hint("record it in a batch without samples, or with weights of 0")),
                None => self.release(),
            },
            None => Err(Error::invalid_argument("step", "the layers are not known yet")
                .hint("record them in a batch without samples, or with weights of 0")),
        }
    }

    /// Clips and adds up what was recorded.
    fn close(&mut self) -> Result<()> {
        self.complete()?;
        for (name, seen) in &self.open.layers {
            seen.rest.iter().try_for_each(Record::unchanged).map_err(|e| e.at_path(name))?;
        }
        self.adapt()?;
        let names: BTreeSet<String> = self.open.layers.keys().cloned().collect();
        let bounds = Bounds::of(&self.options.clipping, &names, self.adaptation.bound);
        let open = std::mem::take(&mut self.open);
        self.broken = true;
        self.names = Some(names);
        for (name, seen) in &open.layers {
            if let Some(record) = &seen.rest {
                self.shapes.insert(name.clone(), record.shape.clone());
            }
        }
        if open.samples.unwrap_or(0) > 0 {
            self.add_up(open, &bounds)?;
        }
        self.done += 1;
        self.broken = false;
        Ok(())
    }

    /// Every layer of the run was recorded.
    fn complete(&self) -> Result<()> {
        let recorded = |name: &&String| self.open.layers.contains_key(*name);
        match &self.names {
            Some(names) => match names.iter().find(|name| !recorded(name)) {
                Some(missing) => Err(Error::invalid_argument("step", "the layer was not recorded")
                    .at_path(missing)
                    .hint("what is left out would be trained without protection, or not at all")),
                None => Ok(()),
            },
            None if self.open.layers.is_empty() => {
                Err(Error::invalid_argument("step", "no layer was recorded"))
            }
            None => Ok(()),
        }
    }

    fn add_up(&mut self, open: Open, bounds: &Bounds) -> Result<()> {
        let samples = open.samples.unwrap_or(0);
        let groups = bounds.groups.len();
        let squared = self.device.zeros(DType::F32, [groups, samples])?;
        let mut placed: Vec<(String, Seen, usize)> = Vec::new();
        for (name, seen) in open.layers {
            let group = bounds
                .group_of(&self.options.clipping, &name)
                .ok_or_else(|| Error::new(Code::Internal, "a layer without a bound").at_path(&name))?;
            squared.narrow(group, 1)?.reshape([samples])?.axpy(1.0, &seen.squared)?;
            placed.push((name, seen, group));
        }
        let grid = self.grid(bounds);
        let max_norms = self.device.tensor(self.handed_out(bounds), [groups])?;
        let options =
            ClipOptions { max_norms, weights: open.batch.weights, rule: rule(&self.options.clipping) };
        let clipped = squared.clip_factors(options)?;
        for (name, seen, group) in placed {
            if let Some(record) = seen.rest {
                let factors = clipped.factors.narrow(group, 1)?.reshape([samples])?;
                match grid {
                    None => {
                        let sum = self.sum_of(&name, &record.shape)?;
                        record.add_clipped(&factors, &sum)?;
                        self.sums.insert(name, sum);
                    }
                    Some(grid) => {
                        let sums = match self.grid_sums.remove(&name) {
                            Some(sums) => sums,
                            None => GridSums::zeros(&self.device, &record.shape)?,
                        };
                        sums.add(&record, &factors, grid)?;
                        self.grid_sums.insert(name, sums);
                    }
                }
            }
        }
        self.counts.push(clipped.counts);
        Ok(())
    }

    /// The grid of discrete noise.
    fn grid(&self, bounds: &Bounds) -> Option<Grid> {
        (self.options.rng == NoiseSource::Discrete).then(|| Grid::of(bounds.sensitivity()))
    }

    /// What clipping goes by: on a grid, as much less as rounding to it may add to the parameters of a group.
    fn handed_out(&self, bounds: &Bounds) -> Vec<f32> {
        let Some(grid) = self.grid(bounds) else { return bounds.handed_out() };
        let mut parameters = vec![0; bounds.groups.len()];
        for (name, shape) in &self.shapes {
            if let Some(group) = bounds.group_of(&self.options.clipping, name) {
                parameters[group] += shape.weight.iter().product::<usize>() + shape.bias.unwrap_or(0);
            }
        }
        let less = |(bound, parameters): (f32, usize)| bound - grid.lengthens(parameters) as f32;
        bounds.handed_out().into_iter().zip(parameters).map(less).collect()
    }

    /// Adds noise to the sums and gives them away.
    fn release(&mut self) -> Result<BTreeMap<String, Gradient>> {
        self.adapt()?;
        let bounds = self.bounds().ok_or_else(|| Error::new(Code::Internal, "a step without layers"))?;
        let std = self.options.gradient_multiplier()? * bounds.sensitivity();
        let scale = 1.0 / self.options.expected_batch_size;
        let (step, mut sums) = (self.step, std::mem::take(&mut self.sums));
        let (grid, mut grid_sums) = (self.grid(&bounds), std::mem::take(&mut self.grid_sums));
        // Counted before anything of it can be seen; if something fails from here on, it was counted in vain.
        self.broken = true;
        self.accountant.record(self.mechanism, 1);
        self.step += 1;
        self.done = 0;
        for (i, (name, shape)) in self.shapes.iter().enumerate() {
            if let Some(grid) = grid {
                let on_grid = match grid_sums.remove(name) {
                    Some(sums) => sums,
                    None => GridSums::zeros(&self.device, shape)?,
                };
                let sigma = (std / grid.step()).ceil() as u64;
                let mut draw = |out: &mut [i64]| self.noise.draw(sigma, out);
                sums.insert(name.clone(), on_grid.released(shape, grid, scale, &mut draw)?);
                continue;
            }
            let sum = match sums.remove(name) {
                Some(sum) => sum,
                // Nobody was in the batch.
                None => Gradient::zeros(&self.device, shape)?,
            };
            let first = 2 * i as u32;
            self.noise.add(&sum.weight, step, first, std, scale)?;
            if let Some(bias) = &sum.bias {
                self.noise.add(bias, step, first + 1, std, scale)?;
            }
            sums.insert(name.clone(), sum);
        }
        let counts = std::mem::take(&mut self.counts);
        if let Some(std) = self.options.count_noise() {
            let noise = self.noise.of_count(&self.device, step, std)?;
            self.adaptation.pending = Some((counts.clone(), noise));
        }
        self.last_counts = counts;
        self.broken = false;
        Ok(sums)
    }

    /// Brings adaptive clipping to the bound of the next step; waits for the counts of the one before.
    pub(super) fn adapt(&mut self) -> Result<()> {
        let Clipping::Adaptive { quantile, learning_rate, .. } = self.options.clipping else { return Ok(()) };
        let Some((counts, noise)) = &self.adaptation.pending else { return Ok(()) };
        let [taken, out, unclipped] = read_counts(counts, 1)?[0].map(|n| n as f64);
        let noise = f64::from(noise.to_vec::<f32>()?[0]);
        // A half for each sample that was not clipped, minus a half for each other: one sample more or less changes this
        // by a half. Those that were left out count as clipped.
        let sum = unclipped - 0.5 * (taken + out);
        let share = 0.5 + (sum + noise) / self.options.expected_batch_size;
        let bound = self.adaptation.bound * (-learning_rate * (share - quantile)).exp();
        self.adaptation.bound = bound.clamp(RANGE[0], RANGE[1]);
        self.adaptation.pending = None;
        Ok(())
    }

    /// What the samples of the last step came to; waits for it. Private.
    ///
    /// # Errors
    /// Those of reading from the device.
    pub fn private_counts(&self) -> Result<PrivateCounts> {
        let Some(bounds) = self.bounds() else { return Ok(PrivateCounts::default()) };
        let counts = read_counts(&self.last_counts, bounds.groups.len())?;
        let [samples, non_finite, _] = counts.first().copied().unwrap_or_default();
        let names = bounds.groups.into_iter().map(|(name, _)| name);
        let unclipped = names.zip(counts).map(|(name, [_, _, within])| (name, within)).collect();
        Ok(PrivateCounts { samples, non_finite, unclipped })
    }

    /// The layers of the run with the shapes of their weights, once they are known.
    pub fn layers(&self) -> BTreeMap<&str, &[usize]> {
        self.shapes.iter().map(|(name, LayerShape { weight, .. })| (name.as_str(), &weight[..])).collect()
    }
}
