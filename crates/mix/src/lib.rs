//! Deciding the mix: how much of what a corpus should be made of.
//!
//! After documents are scored and selected, the question left is one of proportions. Papers answer it with
//! small training runs and a formula; this crate holds the formulas, as functions of plain numbers. It trains
//! nothing and reads no corpus: runs come in as a table of mixtures and losses, from any trainer.
//!
//! - **Mixtures from small runs** ([`sample_mixtures`], [`MixtureModel`], [`optimize_mixture`]): RegMix. Draw
//!   mixtures around the natural one, train a small model on each, regress the loss on the mixture, and take
//!   the mixture with the lowest predicted loss. [`Gbdt`] is the regression, and bootstrap models say how far
//!   the answer hangs on which runs there were.
//!
//! - **Laws** ([`fit_law`], [`solve_mixture_ratio`], [`allocate_compute`], [`critical_mixture_ratio`]): power
//!   laws, Chinchilla's form and the D-CPT law of continual training, fitted by many starts and solved for the
//!   share of domain text that keeps the general loss; the critical mixture ratio, with an explicit answer when
//!   there is none. Every fit carries its residuals, how far its starts agree, its error on points and on a
//!   size that it did not see, and every prediction says along which variables it extrapolates.
//!
//! - **Skills while training** ([`SkillGraph`], [`skill_mixture`], [`MixtureSampler`]): Skill-It. Weight moves to
//!   the skills whose dependants still have a high loss; the sampler tells a training loop, batch by batch,
//!   which domains to draw from, deterministic and resumable.
//!
//! - **Subsets** ([`Similarity`], [`maximize`] over [`FacilityLocation`], [`GraphCut`], [`LogDeterminant`] and
//!   [`FeatureBased`]): the few that represent the many, by naive, lazy, stochastic and lazier-than-lazy greedy,
//!   exact where the method is, with ties to the lowest number; in partitions ([`select_partitioned`]), by
//!   learnt masks with greedy's value beside ([`select_by_masks`]), by clusters ([`kmeans`]) or distance
//!   ([`farthest_points`]).
//!
//! - **Raters** ([`fit_logistic`], [`fit_pairs`], [`self_train`], [`fit_rater_weights`], [`Curriculum`]): how much a
//!   document is wanted, from examples (a classifier of hashed n-grams or embeddings, calibrated), from judgements
//!   of pairs (Bradley and Terry), from several raters weighed by training runs (Meta-rater); and an order to train
//!   in, easy to hard within a mixture of topics, sorted on disk.
//!
//! [`plots`] draws what was found as SVG.
//!
//! Everything is seeded and gives the same numbers whatever the threads. All of it is host arithmetic on
//! the CPU, so nothing claims a device. Bad input is refused with the row and column that is
//! at fault; a fit never comes without its error on data that it did not see.
//!
//! ```
//! use gristmill_core::Control;
//! use gristmill_mix::{
//!     FitOptions, GbdtOptions, MixtureModel, Objective, OptimizeOptions, Regressor, Runs, SampleOptions,
//!     optimize_mixture, sample_mixtures,
//! };
//!
//! // Three domains; the loss that we care about falls with code, and most steeply at first.
//! let prior = [0.7, 0.2, 0.1];
//! let mixtures = sample_mixtures(&prior, &SampleOptions { n: 200, ..Default::default() })?.weights;
//! let train = |w: &[f64]| 3.0 - w[1].sqrt() - 0.2 * w[0];
//! let losses = mixtures.iter_rows().map(train).collect();
//!
//! let domains = ["web", "code", "forum"].map(String::from).to_vec();
//! let losses = gristmill_mix::Matrix::new(200, 1, losses)?;
//! let runs = Runs::new(domains, mixtures, vec!["code/val".into()], losses)?;
//!
//! let regressor = Regressor::Gbdt(GbdtOptions { trees: 300, learning_rate: 0.05, ..Default::default() });
//! let options = FitOptions { regressor, bags: 4, ..Default::default() };
//! let model = MixtureModel::fit(&runs, "code/val", &options, &Control::default())?;
//! assert!(model.report().held_out.unwrap().spearman > 0.9);
//!
//! let objective = [Objective { model: &model, weight: 1.0 }];
//! let search = OptimizeOptions { draws: 20_000, ..Default::default() };
//! let optimum = optimize_mixture(&objective, &prior, &search, &Control::default())?;
//! assert!(optimum.domains[1].weight.value > 0.6 && optimum.gain.low > 0.0);
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod gbdt;
mod laws;
mod matrix;
pub mod plots;
mod raters;
mod regmix;
mod rng;
mod runs;
mod saved;
mod skills;
pub mod stats;
mod subset;

pub use gbdt::{EarlyStopping, Gbdt, GbdtOptions};
pub use laws::{
    Allocation, CmrCurve, CmrLaw, CmrOptions, CriticalRatio, CurveFit, ExtrapolationCheck, Infeasible, Law,
    LawFit, LawForm, LawOptions, ParameterSpread, Prediction, RatioGoal, RatioSolution, Residual, Starts,
    allocate_compute, critical_mixture_ratio, fit_cmr_law, fit_law, ratio_from_measurements, read_cmr_curves,
    read_law_points, solve_mixture_ratio,
};
pub use matrix::Matrix;
pub use raters::{
    BagSpool, Bags, Comparison, Contradiction, Counter, Curriculum, CurriculumItem, CurriculumOptions, Dense,
    Differences, Direction, HeldOutPairs, Linear, LogisticOptions, Moments, PairFit, PairOptions, Platt,
    Rows, SelfTrainOptions, SelfTraining, Spooled, SpooledBags, Targets, TfIdf, TfIdfRows, contradictions,
    fit_logistic, fit_pairs, fit_rater_weights, held_out_margins, read_rater_runs, self_train,
    term_frequency,
};
pub use regmix::{
    DomainOptimum, Estimate, Experts, FitOptions, FitReport, MixtureModel, Objective, OptimizeOptions,
    Optimum, Regressor, SampleOptions, SampledMixtures, optimize_mixture, sample_mixtures,
};
pub use runs::{Runs, SUM_TOLERANCE, table_text, write_table};
pub use skills::{MixtureSampler, SamplerOptions, SkillGraph, SkillOptions, skill_mixture};
pub use subset::{
    Choice, Concave, FacilityLocation, FarthestPoints, FeatureBased, GraphCut, Init, KMeans, KMeansOptions,
    Kernel, KernelName, LogDeterminant, MaskComparison, MaskOptions, MaskSelection, Optimizer, OptimizerName,
    PartitionOptions, Pick, Points, Selection, Similarity, SimilarityOptions, SubmodularFunction, Subset,
    SubsetMethod, SubsetOptions, choose_subset, farthest_points, kmeans, maximize, select_by_masks,
    select_partitioned, taylor_softmax_sample,
};
