use std::collections::BTreeMap;

use gristmill_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::layer::LayerShape;
use super::noise::Noise;
use super::{DpSgd, DpSgdOptions};
use crate::Accountant;

const FORMAT: &str = "gristmill-dp-sgd/1";

/// The form in files.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    format: String,
    options: DpSgdOptions,
    layers: BTreeMap<String, LayerShape>,
    step: u64,
    accountant: Accountant,
    /// The bound of adaptive clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound: Option<f64>,
}

fn corrupt(why: impl std::fmt::Display) -> Error {
    Error::new(Code::CorruptData, format!("no state of an engine of DP-SGD: {why}"))
}

impl DpSgd {
    /// Everything that is needed to go on from here, as JSON text: options, layers, steps, what they cost, and the bound of
    /// adaptive clipping. The key of the noise is not in it, so that no noise can come twice.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] in the middle of a step; those of reading from the device.
    pub fn save(&mut self) -> Result<String> {
        self.between_steps()?;
        self.adapt()?;
        let saved = Saved {
            format: FORMAT.into(),
            options: self.options.clone(),
            layers: self.shapes.clone(),
            step: self.step,
            accountant: self.accountant.clone(),
            bound: (self.adaptation.bound > 0.0).then_some(self.adaptation.bound),
        };
        serde_json::to_string(&saved)
            .map_err(|e| Error::new(Code::Internal, format!("a state that is no JSON: {e}")))
    }

    /// Goes on from what [`save`](Self::save) gave, with the same options. Noise that protects somebody has a new key from then
    /// on.
    ///
    /// # Errors
    /// [`Code::CorruptData`] for what is no such state; [`Code::InvalidArgument`] for one of other options or layers, with the
    /// option; and in the middle of a step. Nothing has changed then.
    pub fn load(&mut self, state: &str) -> Result<()> {
        self.between_steps()?;
        let saved: Saved = serde_json::from_str(state).map_err(corrupt)?;
        if saved.format != FORMAT {
            return Err(corrupt(format!("{:?} is not {FORMAT:?}", saved.format)));
        }
        self.same_options(&saved.options)?;
        if saved.accountant.steps() != saved.step {
            return Err(corrupt("its accountant has other steps than it has"));
        }
        if let Some(names) = saved.options.named_layers()
            && !saved.layers.is_empty()
            && !saved.layers.keys().eq(&names)
        {
            return Err(corrupt("it has other layers than its options"));
        }
        for (name, shape) in &self.shapes {
            if saved.layers.get(name) != Some(shape) {
                let message = "the state has no such layer, or one of another shape";
                return Err(Error::invalid_argument("layers", message).at_path(name));
            }
        }
        let adaptive = self.options.count_noise().is_some();
        match saved.bound {
            Some(bound) if adaptive && (1e-12..=1e12).contains(&bound) => {}
            None if !adaptive => {}
            _ => return Err(corrupt("its bound is none")),
        }
        let noise = Noise::new(&self.options)?;
        if !saved.layers.is_empty() {
            self.names = Some(saved.layers.keys().cloned().collect());
        }
        self.noise = noise;
        self.shapes = saved.layers;
        self.step = saved.step;
        self.accountant = saved.accountant;
        self.adaptation = super::Adaptation::new(&self.options.clipping);
        self.adaptation.bound = saved.bound.unwrap_or(self.adaptation.bound);
        self.last_counts.clear();
        Ok(())
    }

    fn between_steps(&self) -> Result<()> {
        self.usable()?;
        if self.open.begun || self.done > 0 {
            return Err(Error::invalid_argument("step", "a step is under way").hint("end it first"));
        }
        Ok(())
    }

    /// The options of a state are those of this engine, or the first that differs is named.
    fn same_options(&self, saved: &DpSgdOptions) -> Result<()> {
        let ours = &self.options;
        let differs = [
            ("clipping", saved.clipping != ours.clipping),
            ("noiseMultiplier", saved.noise_multiplier != ours.noise_multiplier),
            ("sampleRate", saved.sample_rate != ours.sample_rate),
            ("expectedBatchSize", saved.expected_batch_size != ours.expected_batch_size),
            ("rng", saved.rng != ours.rng),
            ("seed", saved.seed != ours.seed),
            ("layers", saved.layers != ours.layers),
        ];
        match differs.into_iter().find(|(_, differs)| *differs) {
            Some((option, _)) => Err(Error::invalid_argument(
                option,
                "the state is of a run with another value of this option",
            )
            .hint("make the engine with the options of the run that it goes on with")),
            None => Ok(()),
        }
    }
}
