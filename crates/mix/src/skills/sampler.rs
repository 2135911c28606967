use std::collections::VecDeque;
use std::path::Path;

use gristmill_core::{Code, Error, Result};
use rand::RngExt;

use super::graph::{SkillGraph, check_losses};
use super::mixture::{SkillOptions, check, mix};
use crate::{rng, runs, saved};

/// How a [`MixtureSampler`] draws and when it updates.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SamplerOptions {
    /// The rule of the update.
    pub skill: SkillOptions,
    /// After so many batches the mixture is updated from the losses told so far; default 0, which leaves
    /// updates to [`MixtureSampler::update`]. Published: every 1,000 steps of 6,000 for LEGO.
    pub update_every: u64,
    /// Halve what skills do for others after each update, so that the graph counts less and less; default
    /// false.
    pub dampen: bool,
    /// Default 0.
    pub seed: u64,
}

/// Tells a training loop which domain each example of the next batch comes from, and moves its mixture by the
/// losses that the loop reports.
///
/// A batch of `n` examples has `n p_i` of domain `i`, rounded up or down at random so that the mean is exact,
/// in random order. The batch depends only on the seed, the number of the batch and the mixture. So the whole
/// sequence is reproducible, and a sampler that is saved and loaded goes on as if nothing had happened.
///
/// ```
/// use gristmill_mix::{MixtureSampler, SamplerOptions, SkillGraph};
///
/// let graph = SkillGraph::from_edges(3, &[(0, 1), (1, 2)])?;
/// let mut sampler = MixtureSampler::skill_it(graph, SamplerOptions { update_every: 100, ..Default::default() })?;
/// for step in 0..300 {
///     let domains = sampler.next_batch(32)?;
///     assert_eq!(domains.len(), 32);
///     // … train on examples of these domains …
///     if step % 50 == 0 {
///         sampler.tell(&[0.2, 1.5, 2.5])?;
///     }
/// }
/// assert!(sampler.weights()[1] > sampler.weights()[0]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct MixtureSampler {
    state: Saved,
}

/// The form in files.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    format: String,
    options: SamplerOptions,
    /// None for a fixed mixture.
    graph: Option<SkillGraph>,
    weights: Vec<f64>,
    /// The last evaluations, oldest first, as many as the window holds.
    window: VecDeque<Vec<f64>>,
    baseline: Option<Vec<f64>>,
    evaluations: u64,
    updates: u64,
    batches: u64,
}

const FORMAT: &str = "gristmill-mixture-sampler/1";

impl MixtureSampler {
    /// A sampler whose mixture follows Skill-It; it starts with the mixture of equal losses.
    ///
    /// # Errors
    /// Options out of range, or a prior that does not fit the graph.
    pub fn skill_it(graph: SkillGraph, options: SamplerOptions) -> Result<Self> {
        let weights = mix(&graph, &[], None, &options.skill)?;
        Ok(Self::with(Some(graph), weights, options))
    }

    /// A sampler of a mixture that stays as it is; `weights` may be of any scale.
    ///
    /// # Errors
    /// Weights that are negative, not finite or all zero.
    pub fn fixed(weights: &[f64], seed: u64) -> Result<Self> {
        runs::check_shares(weights, &[])?;
        let sum: f64 = weights.iter().sum();
        let weights = weights.iter().map(|w| w / sum).collect();
        Ok(Self::with(None, weights, SamplerOptions { seed, ..Default::default() }))
    }

    fn with(graph: Option<SkillGraph>, weights: Vec<f64>, options: SamplerOptions) -> Self {
        Self {
            state: Saved {
                format: FORMAT.into(),
                options,
                graph,
                weights,
                window: VecDeque::new(),
                baseline: None,
                evaluations: 0,
                updates: 0,
                batches: 0,
            },
        }
    }

    /// The mixture that the next batch is drawn from, unless an update is due before it.
    pub fn weights(&self) -> &[f64] {
        &self.state.weights
    }

    /// How many batches were drawn.
    pub fn batches(&self) -> u64 {
        self.state.batches
    }

    /// How many times losses were told.
    pub fn evaluations(&self) -> u64 {
        self.state.evaluations
    }

    /// How many times the mixture was updated.
    pub fn updates(&self) -> u64 {
        self.state.updates
    }

    /// The domain of each of the next `n` examples. Updates the mixture first when `update_every` batches
    /// have passed and losses were told.
    ///
    /// # Errors
    /// Those of [`update`](Self::update).
    pub fn next_batch(&mut self, n: usize) -> Result<Vec<u32>> {
        let every = self.state.options.update_every;
        let due = every > 0 && self.state.batches > 0 && self.state.batches.is_multiple_of(every);
        if due && !self.state.window.is_empty() {
            self.update()?;
        }
        let mut rng = rng::stream(self.state.options.seed, "mixture sampler", self.state.batches);
        self.state.batches += 1;
        // Systematic sampling: n evenly spaced points with one random offset, laid over the cumulated weights.
        let offset: f64 = rng.random();
        let mut domains = Vec::with_capacity(n);
        let mut until = 0.0;
        for (domain, weight) in self.state.weights.iter().enumerate() {
            until += weight * n as f64;
            while domains.len() < n && domains.len() as f64 + offset < until {
                domains.push(domain as u32);
            }
        }
        // The weights may sum to a hair less than one.
        let last = self.state.weights.iter().rposition(|w| *w > 0.0).unwrap_or(0) as u32;
        domains.resize(n, last);
        for i in (1..n).rev() {
            domains.swap(i, rng.random_range(0..=i));
        }
        Ok(domains)
    }

    /// Reports the losses of an evaluation, one per evaluated skill.
    ///
    /// # Errors
    /// A fixed mixture, a wrong number of losses, or one that is missing, infinite or negative.
    pub fn tell(&mut self, losses: &[f64]) -> Result<()> {
        let Some(graph) = &self.state.graph else {
            return Err(Error::new(Code::Unsupported, "a fixed mixture does not follow losses"));
        };
        if losses.len() != graph.evaluated() {
            let message = format!("{} losses for {} evaluated skills", losses.len(), graph.evaluated());
            return Err(Error::new(Code::InvalidArgument, message));
        }
        check_losses(losses, "losses")?;
        let options = &self.state.options.skill;
        if self.state.evaluations == options.baseline as u64 {
            self.state.baseline = Some(losses.to_vec());
        }
        self.state.evaluations += 1;
        self.state.window.push_back(losses.to_vec());
        if self.state.window.len() > options.window {
            self.state.window.pop_front();
        }
        Ok(())
    }

    /// Moves the mixture to that of the losses told so far, and returns it.
    ///
    /// # Errors
    /// A fixed mixture, no losses yet, or those of [`skill_mixture`](super::skill_mixture).
    pub fn update(&mut self) -> Result<&[f64]> {
        let Some(graph) = &mut self.state.graph else {
            return Err(Error::new(Code::Unsupported, "a fixed mixture has no update"));
        };
        if self.state.window.is_empty() {
            return Err(Error::new(Code::EmptyInput, "no losses were told yet"));
        }
        let window: Vec<&[f64]> = self.state.window.iter().map(Vec::as_slice).collect();
        let options = &self.state.options;
        self.state.weights = mix(graph, &window, self.state.baseline.as_deref(), &options.skill)?;
        self.state.updates += 1;
        if options.dampen {
            graph.dampen();
        }
        Ok(&self.state.weights)
    }

    /// Writes the sampler to a JSON file; loaded again, it goes on with the very next batch.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        saved::save(self, path.as_ref())
    }

    /// Reads a sampler that [`save`](Self::save) wrote.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        saved::load(path.as_ref())
    }
}

impl From<MixtureSampler> for Saved {
    fn from(sampler: MixtureSampler) -> Self {
        sampler.state
    }
}

impl TryFrom<Saved> for MixtureSampler {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let bad = |why: &str| Error::new(Code::InvalidModel, why);
        if saved.format != FORMAT {
            return Err(bad("not a mixture sampler of a kind that is known here"));
        }
        runs::check_mixture(&saved.weights, &[]).map_err(|e| bad(&e.to_string()))?;
        match &saved.graph {
            None if !saved.window.is_empty() => return Err(bad("a fixed mixture with losses")),
            None => {}
            Some(graph) => {
                check(graph, &saved.options.skill).map_err(|e| bad(&e.to_string()))?;
                for losses in saved.window.iter().chain(&saved.baseline) {
                    check_losses(losses, "losses").map_err(|e| bad(&e.to_string()))?;
                    if losses.len() != graph.evaluated() {
                        return Err(bad("losses that do not fit the graph"));
                    }
                }
                if graph.skills() != saved.weights.len() || saved.window.len() > saved.options.skill.window {
                    return Err(bad("weights or losses that do not fit the graph"));
                }
            }
        }
        Ok(Self { state: saved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Matrix, skill_mixture};

    fn sampler(options: SamplerOptions) -> MixtureSampler {
        MixtureSampler::skill_it(SkillGraph::from_edges(3, &[(0, 1), (1, 2)]).unwrap(), options).unwrap()
    }

    fn step(s: &mut MixtureSampler, i: u64) -> Vec<u32> {
        let batch = s.next_batch(20).unwrap();
        if i.is_multiple_of(3) {
            let x = i as f64 / 10.0;
            s.tell(&[2.0 / (1.0 + x), 3.0 / (1.0 + x / 2.0), 3.0]).unwrap();
        }
        batch
    }

    #[test]
    fn goes_on_after_a_break_as_if_there_had_been_none() {
        let options = SamplerOptions {
            update_every: 10,
            dampen: true,
            skill: SkillOptions { normalize: true, ..Default::default() },
            seed: 5,
        };
        let mut whole = sampler(options);
        let mut broken = whole.clone();
        let path = std::env::temp_dir().join(format!("gristmill-mix-sampler-{}.json", std::process::id()));
        for i in 0..60 {
            if i % 7 == 0 {
                broken.save(&path).unwrap();
                broken = MixtureSampler::load(&path).unwrap();
            }
            assert_eq!(step(&mut whole, i), step(&mut broken, i), "batch {i}");
        }
        assert_eq!(whole, broken);
        assert_eq!((whole.batches(), whole.evaluations(), whole.updates()), (60, 20, 5));

        let text = std::fs::read_to_string(&path).unwrap();
        let forge = |from: &str, to: &str| {
            let forged = text.replacen(from, to, 1);
            assert_ne!(forged, text, "{from}");
            std::fs::write(&path, forged).unwrap();
            MixtureSampler::load(&path).unwrap_err().code()
        };
        for (from, to) in [
            ("\"weights\":[0.", "\"weights\":[7."),
            ("\"window\":[[", "\"window\":[[1.0],["),
            ("sampler/1", "sampler/2"),
            ("\"eta\":0.5", "\"eta\":-0.5"),
        ] {
            assert_eq!(forge(from, to), Code::InvalidModel);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn weights_are_those_of_the_function() {
        for skill in [
            SkillOptions::default(),
            SkillOptions { window: 2, normalize: true, baseline: 1, ..Default::default() },
            SkillOptions { scale_eta: true, prior: Some(vec![3.0, 1.0, 1.0]), ..Default::default() },
        ] {
            let mut s = sampler(SamplerOptions { skill: skill.clone(), ..Default::default() });
            let graph = SkillGraph::from_edges(3, &[(0, 1), (1, 2)]).unwrap();
            assert_eq!(s.weights(), skill_mixture(&graph, &Matrix::zeros(0, 3), &skill).unwrap());
            let told = [[3.0, 3.0, 3.0], [2.0, 2.5, 3.0], [1.0, 2.0, 2.5], [0.5, 1.5, 2.0]];
            told.iter().for_each(|losses| s.tell(losses).unwrap());
            let expected = skill_mixture(&graph, &Matrix::from_rows(&told), &skill).unwrap();
            assert_eq!(s.update().unwrap(), expected);
        }
    }

    #[test]
    fn batches_have_the_shares_of_the_mixture_and_no_order() {
        let weights = [0.5, 0.0, 0.333, 0.167];
        let mut s = MixtureSampler::fixed(&weights.map(|w| w * 40.0), 3).unwrap();
        let (mut totals, mut firsts) = ([0u32; 4], [0u32; 4]);
        for _ in 0..3000 {
            let batch = s.next_batch(10).unwrap();
            let mut counts = [0u32; 4];
            batch.iter().for_each(|&d| counts[d as usize] += 1);
            for (c, w) in counts.iter().zip(weights) {
                assert!((f64::from(*c) - 10.0 * w).abs() < 1.0, "{counts:?}");
            }
            firsts[batch[0] as usize] += 1;
            totals.iter_mut().zip(counts).for_each(|(t, c)| *t += c);
        }
        for (total, w) in totals.iter().zip(weights) {
            assert!((f64::from(*total) / 30_000.0 - w).abs() < 0.005, "{totals:?}");
        }
        for (first, w) in firsts.iter().zip(weights) {
            assert!((f64::from(*first) / 3000.0 - w).abs() < 0.04, "{firsts:?}");
        }
        assert!(s.next_batch(0).unwrap().is_empty());
    }

    #[test]
    fn refuses_what_it_cannot_follow() {
        let mut fixed = MixtureSampler::fixed(&[1.0, 2.0], 0).unwrap();
        assert_eq!(fixed.tell(&[1.0, 1.0]).unwrap_err().code(), Code::Unsupported);
        assert_eq!(fixed.update().unwrap_err().code(), Code::Unsupported);
        assert_eq!(MixtureSampler::fixed(&[0.0, 0.0], 0).unwrap_err().code(), Code::EmptyInput);
        assert_eq!(MixtureSampler::fixed(&[1.0, -1.0], 0).unwrap_err().code(), Code::InvalidValue);
        let mut s = sampler(SamplerOptions::default());
        assert_eq!(s.update().unwrap_err().code(), Code::EmptyInput);
        assert_eq!(s.tell(&[1.0]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(s.tell(&[1.0, f64::NAN, 1.0]).unwrap_err().code(), Code::InvalidValue);
        assert_eq!(s.evaluations(), 0);
    }
}
