use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::ops::ClipRule;
use gristmill_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Mechanism;

/// Where the noise of a [`DpSgd`](super::DpSgd) comes from. A claim of privacy needs `Secure` or `Discrete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseSource {
    /// ChaCha20 under a key from the operating system that is never written down: nobody can compute the noise and take it
    /// away again. What protects people, up to attacks on the rounding of floating-point numbers.
    Secure,
    /// Philox under a seed: the same bits on every device and in every run. For tests and comparisons; **no claim of privacy
    /// can rest on it**, since whoever has the seed can take the noise away.
    Reproducible,
    /// Clipped gradients on a grid of integers, exact sums, and discrete Gaussian noise from ChaCha20 under a key from the
    /// operating system: as `Secure`, and without floating-point numbers that tell more than they should.
    Discrete,
}

/// How the gradients of samples are clipped, and with that the [sensitivity](super::DpSgd::sensitivity) of their sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Clipping {
    /// All layers together to one norm: `min(1, C / (n + 1e-6))` (Abadi et al. 2016). Sensitivity `C`.
    Flat {
        /// `C`.
        max_grad_norm: f64,
    },
    /// Every layer by itself to a norm of its own. Sensitivity `√Σ C_l²`.
    PerLayer {
        /// `C`, of which every one of `L` layers gets `C / √L`; or `C_l` by the name of the layer.
        max_grad_norm: LayerNorms,
        /// Whether a layer is clipped when it is recorded, as soon as its bound is known: its activations can then go at
        /// once, and a sample that is not finite in one layer is left out of that layer and of those recorded later. Without
        /// it, of all layers.
        #[serde(default = "yes")]
        eager: bool,
    },
    /// Groups of layers, each to a norm of its own. Sensitivity `√Σ C_g²`.
    PerGroup {
        /// The groups by name.
        groups: BTreeMap<String, LayerGroup>,
    },
    /// Every gradient to nearly the same norm: `C / (n + gamma)` (AUTO-S; Bu et al. 2022). Sensitivity `C`.
    Automatic {
        /// `C`: only the learning rate depends on it. 1 unless given.
        #[serde(default = "one")]
        max_grad_norm: f64,
        /// Keeps small gradients small. 0.01 unless given.
        #[serde(default = "hundredth")]
        gamma: f64,
    },
    /// Every gradient to norm 1: `1 / n`. Sensitivity 1.
    Unit,
    /// Gradients of a norm of at most `C` as they are, and no others ("global" in fastDP). Sensitivity `C`.
    Threshold {
        /// `C`.
        max_grad_norm: f64,
    },
    /// As `Flat`, with a norm that follows a quantile of the norms (Andrew et al. 2021): after every step
    /// `C ← C · exp(-lr · (b - quantile))`, `b` the noisy share of samples that were not clipped.
    ///
    /// Of each sample that takes part, `±1/2` goes into a sum that gets noise of `count_noise`; the share is that sum over the
    /// expected batch size, and a half. The noise of gradients has the multiplier `(σ⁻² - (2 count_noise)⁻²)^-½`, so that both
    /// together cost what one step at `σ` costs.
    Adaptive {
        /// `C` before the first step.
        max_grad_norm: f64,
        /// Which share of the samples is not clipped. A half unless given.
        #[serde(default = "half")]
        quantile: f64,
        /// How fast the norm moves. 0.2 unless given.
        #[serde(default = "fifth")]
        learning_rate: f64,
        /// Standard deviation of the noise of the count, above half the noise multiplier; a twentieth of the expected batch
        /// size unless given (but enough that at most an eighth of the budget of a step goes into the count).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count_noise: Option<f64>,
    },
}

/// Bounds of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LayerNorms {
    /// One for all together, in equal parts of its square.
    Together(f64),
    /// One for each, by name. There are no other layers then.
    Each(BTreeMap<String, f64>),
}

/// Layers that are clipped together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayerGroup {
    /// Their names.
    pub layers: Vec<String>,
    /// The norm to which they are clipped.
    pub max_grad_norm: f64,
}

/// What a [`DpSgd`](super::DpSgd) does. All of it goes into checkpoints, and a run can only go on with the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DpSgdOptions {
    /// How gradients are clipped.
    pub clipping: Clipping,
    /// Standard deviation of the noise in units of the sensitivity.
    pub noise_multiplier: f64,
    /// The probability with which an example takes part in a step.
    pub sample_rate: f64,
    /// What sums are divided by: a public constant, customarily the sample rate times the number of examples. Never the size
    /// that a batch happens to have, which is private.
    pub expected_batch_size: f64,
    /// Where noise comes from.
    pub rng: NoiseSource,
    /// What noise is drawn with, when it is to be reproducible, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The names of all layers. Without, those of the first (micro-)batch are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<BTreeSet<String>>,
}

/// Which data sets are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adjacency {
    /// Those that differ in a sample which one has and the other has not. Accounting is for these.
    #[default]
    AddRemove,
    /// Those that differ in the content of one sample: twice the sensitivity.
    ReplaceOne,
}

fn yes() -> bool {
    true
}
fn one() -> f64 {
    1.0
}
fn half() -> f64 {
    0.5
}
fn fifth() -> f64 {
    0.2
}
fn hundredth() -> f64 {
    0.01
}

fn positive(option: &str, value: f64) -> Result<()> {
    // Beyond this, squares do not fit into 32-bit floats, and gradients that are clipped to it are of no use.
    if (1e-12..=1e12).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid_argument(option, format!("expected a number from 1e-12 to 1e12, given {value}")))
}

impl DpSgdOptions {
    /// Refuses what contradicts itself or bounds nothing.
    pub(super) fn check(&self) -> Result<Mechanism> {
        let mechanism = Mechanism::new(self.noise_multiplier, self.sample_rate)?;
        positive("expectedBatchSize", self.expected_batch_size)?;
        match (self.rng, self.seed) {
            (NoiseSource::Reproducible, None) => {
                return Err(Error::invalid_argument("seed", "reproducible noise needs a seed"));
            }
            (NoiseSource::Secure | NoiseSource::Discrete, Some(_)) => {
                return Err(Error::invalid_argument("seed", "noise that protects somebody has no seed")
                    .hint("leave the seed out, or take rng 'reproducible' for a run that protects nobody"));
            }
            _ => {}
        }
        if self.layers.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(Error::invalid_argument("layers", "there is no layer in the list"));
        }
        self.check_clipping()?;
        Ok(mechanism)
    }

    fn check_clipping(&self) -> Result<()> {
        match &self.clipping {
            Clipping::Flat { max_grad_norm } | Clipping::Threshold { max_grad_norm } => {
                positive("maxGradNorm", *max_grad_norm)
            }
            Clipping::PerLayer { max_grad_norm: LayerNorms::Together(norm), .. } => {
                positive("maxGradNorm", *norm)
            }
            Clipping::PerLayer { max_grad_norm: LayerNorms::Each(norms), .. } => {
                if norms.is_empty() {
                    return Err(Error::invalid_argument("maxGradNorm", "there is no layer in it"));
                }
                norms.iter().try_for_each(|(name, norm)| {
                    positive("maxGradNorm", *norm).map_err(|e| e.at_path(name))
                })?;
                self.same_layers(norms.keys())
            }
            Clipping::PerGroup { groups } => self.check_groups(groups),
            Clipping::Automatic { max_grad_norm, gamma } => {
                positive("maxGradNorm", *max_grad_norm)?;
                ClipRule::Automatic { gamma: *gamma as f32 }.check()
            }
            Clipping::Unit => Ok(()),
            Clipping::Adaptive { max_grad_norm, quantile, learning_rate, .. } => {
                positive("maxGradNorm", *max_grad_norm)?;
                if !(0.0..=1.0).contains(quantile) {
                    let message = format!("a quantile of {quantile} is not from 0 to 1");
                    return Err(Error::invalid_argument("quantile", message));
                }
                if !(*learning_rate > 0.0 && *learning_rate <= 10.0) {
                    let message = format!("expected a number above 0, at most 10, given {learning_rate}");
                    return Err(Error::invalid_argument("learningRate", message));
                }
                if self.rng == NoiseSource::Discrete {
                    return Err(Error::invalid_argument("rng", "adaptive clipping has no discrete noise")
                        .hint("take rng 'secure', or clip flat"));
                }
                self.gradient_multiplier().map(|_| ())
            }
        }
    }

    fn check_groups(&self, groups: &BTreeMap<String, LayerGroup>) -> Result<()> {
        if groups.is_empty() {
            return Err(Error::invalid_argument("groups", "there is no group"));
        }
        let mut seen = BTreeMap::new();
        for (name, group) in groups {
            positive("maxGradNorm", group.max_grad_norm).map_err(|e| e.at_path(name))?;
            if group.layers.is_empty() {
                return Err(Error::invalid_argument("groups", "the group has no layers").at_path(name));
            }
            for layer in &group.layers {
                if let Some(other) = seen.insert(layer, name) {
                    let message = format!("the layer {layer:?} is in the groups {other:?} and {name:?}");
                    return Err(Error::invalid_argument("groups", message).at_path(layer));
                }
            }
        }
        self.same_layers(seen.into_keys())
    }

    /// Whether the layers that the clipping names are those that the options name.
    fn same_layers<'a>(&self, named: impl Iterator<Item = &'a String>) -> Result<()> {
        let named: BTreeSet<&String> = named.collect();
        let Some(layers) = &self.layers else { return Ok(()) };
        match layers.iter().collect::<BTreeSet<_>>().symmetric_difference(&named).next() {
            None => Ok(()),
            Some(layer) => Err(Error::invalid_argument(
                "layers",
                format!("{layer:?} is either among the layers or has a bound, not both"),
            )
            .at_path(*layer)),
        }
    }

    /// The names of all layers, where the options tell.
    pub(super) fn named_layers(&self) -> Option<BTreeSet<String>> {
        match &self.clipping {
            Clipping::PerLayer { max_grad_norm: LayerNorms::Each(norms), .. } => {
                Some(norms.keys().cloned().collect())
            }
            Clipping::PerGroup { groups } => {
                Some(groups.values().flat_map(|group| group.layers.iter().cloned()).collect())
            }
            _ => self.layers.clone(),
        }
    }

    /// The standard deviation of the noise of a count of `±1/2`, where there is such a count.
    pub(super) fn count_noise(&self) -> Option<f64> {
        match self.clipping {
            // The count takes `(σ / 2 count_noise)²` of the budget: an eighth at √2 σ.
            Clipping::Adaptive { count_noise, .. } => Some(count_noise.unwrap_or_else(|| {
                (self.expected_batch_size / 20.0).max(self.noise_multiplier * 2f64.sqrt())
            })),
            _ => None,
        }
    }

    /// The noise multiplier of gradients: more than that of the step where a count has noise of its own.
    pub(super) fn gradient_multiplier(&self) -> Result<f64> {
        let sigma = self.noise_multiplier;
        let Some(count) = self.count_noise() else { return Ok(sigma) };
        let left = sigma.powi(-2) - (2.0 * count).powi(-2);
        if count.is_finite() && count > 0.0 && left > 1e-6 * sigma.powi(-2) {
            // Rounded up.
            return Ok(left.powf(-0.5) * (1.0 + 1e-12));
        }
        let message =
            format!("a count noise of {count} leaves nothing for gradients at a noise multiplier of {sigma}");
        Err(Error::invalid_argument("countNoise", message).hint("it must be above half the noise multiplier"))
    }
}
