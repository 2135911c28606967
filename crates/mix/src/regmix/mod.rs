//! RegMix: train small runs on sampled mixtures, regress their losses on the mixture, and take the mixture
//! with the lowest predicted loss (Liu et al., "RegMix: Data Mixture as Regression for Language Model
//! Pre-training", 2024).

mod experts;
mod optimize;
mod predictor;
mod regression;
mod sample;

pub use experts::Experts;
pub use optimize::{DomainOptimum, Objective, OptimizeOptions, Optimum, optimize_mixture};
pub use regression::{Estimate, FitOptions, FitReport, MixtureModel, Regressor};
pub use sample::{SampleOptions, SampledMixtures, sample_mixtures};
