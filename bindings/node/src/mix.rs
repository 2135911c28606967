//! Mixtures, skills, laws and subsets: numbers and options in, results out.

use std::sync::{Arc, Mutex, PoisonError};

use gristmill::mix::{
    self, CmrLaw, KMeansOptions, Law, LawForm, MixtureModel, MixtureSampler, Points, RatioGoal,
    SamplerOptions, SkillGraph, SkillOptions, SubsetOptions,
};
use gristmill_core::{Control, Error, Result};
use gristmill_score::mix_search;
use gristmill_score::mixing::{self, Number, matrix};
use napi::bindgen_prelude::{ClassInstance, Env, Float32Array, Float64Array, Function, Object, Uint32Array};
use napi_derive::napi;
use serde::{Deserialize, Serialize};

use crate::cancel::CancelHandle;
use crate::error::{guarded, parse, print, to_js};
use crate::jobs::start;
use crate::progress::{ProgressEvent, connect};
use crate::task::spawn;

/// Answers at once: what it asks for takes no longer than a conversion.
fn answer<T: Serialize>(env: &Env, work: impl FnOnce() -> Result<T>) -> napi::Result<String> {
    guarded(|| work().and_then(|value| print(&value))).map_err(|e| to_js(env, &e))
}

/// Searches the mixture of a pool's domains. `options` and the summary are the JSON text of `MixSearchOptions` and
/// `MixSearchSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn mix_search<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start(env, "gristmill-mix", options, cancel, on_progress, mix_search::run)
}

/// Draws mixtures. `options` and the result are the JSON text of `MixSampleOptions` and `MixSampleSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn mix_sample<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
) -> napi::Result<Object<'env>> {
    start(env, "gristmill-mix", options, cancel, None, |options, _| mixing::sample(&options))
}

/// Fits a law. `options` and the result are the JSON text of `LawFitOptions` and `LawFitSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn law_fit<'env>(env: &'env Env, options: String, cancel: &CancelHandle) -> napi::Result<Object<'env>> {
    start(env, "gristmill-law", options, cancel, None, |options, control| mixing::fit_law(&options, control))
}

/// Chooses rows of a file. `options` and the summary are the JSON text of `SubsetFileOptions` and
/// `SubsetFileSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn subset_file<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start(env, "gristmill-subset", options, cancel, on_progress, gristmill::jobs::subset)
}

/// The predicted loss of a target as a function of the mixture.
#[napi(js_name = "MixtureRegression")]
pub struct MixtureRegression {
    model: Arc<MixtureModel>,
}

#[napi]
impl MixtureRegression {
    /// What is known of it: the JSON text of `MixFitSummary`.
    #[napi]
    pub fn summary(&self, env: Env) -> napi::Result<String> {
        answer(&env, || Ok(mixing::MixFitSummary::of(&self.model)))
    }

    /// Writes it to a file.
    #[napi]
    pub fn save(&self, env: Env, path: String) -> napi::Result<()> {
        guarded(|| self.model.save(path)).map_err(|e| to_js(&env, &e))
    }

    /// The JSON text of an `Estimate` per mixture; `mixtures` is that of rows of weights.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn estimate<'env>(&self, env: &'env Env, mixtures: String) -> napi::Result<Object<'env>> {
        let model = self.model.clone();
        let work = move || {
            let rows: Vec<Vec<Number>> = parse(&mixtures)?;
            print(&model.estimate(&matrix(&rows, "mixtures")?)?)
        };
        spawn(env, "gristmill-mix", CancelHandle::default().token, work, |text| text)
    }
}

/// Fits a regression. `options` is the JSON text of `MixFitOptions`.
#[napi(ts_return_type = "Promise<MixtureRegression>")]
pub fn mix_fit<'env>(env: &'env Env, options: String, cancel: &CancelHandle) -> napi::Result<Object<'env>> {
    let options: mixing::MixFitOptions = parse(&options).map_err(|e| to_js(env, &e))?;
    let control = Control::with_cancel(cancel.token.clone());
    let work = move || mixing::fit(&options, &control);
    spawn(env, "gristmill-mix", cancel.token.clone(), work, |model| MixtureRegression {
        model: Arc::new(model),
    })
}

/// Reads a regression from a file.
#[napi(ts_return_type = "Promise<MixtureRegression>")]
pub fn mix_load<'env>(env: &'env Env, path: String) -> napi::Result<Object<'env>> {
    let work = move || MixtureModel::load(path);
    spawn(env, "gristmill-mix", CancelHandle::default().token, work, |model| MixtureRegression {
        model: Arc::new(model),
    })
}

/// Searches the optimum of regressions. `options` and the result are the JSON text of `MixOptimizeOptions` and
/// `Optimum`.
#[napi(ts_return_type = "Promise<string>")]
pub fn mix_optimize<'env>(
    env: &'env Env,
    models: Vec<ClassInstance<'_, MixtureRegression>>,
    options: String,
    cancel: &CancelHandle,
) -> napi::Result<Object<'env>> {
    let options: mixing::MixOptimizeOptions = parse(&options).map_err(|e| to_js(env, &e))?;
    let models: Vec<Arc<MixtureModel>> = models.iter().map(|m| m.model.clone()).collect();
    let control = Control::with_cancel(cancel.token.clone());
    let work = move || {
        let models: Vec<&MixtureModel> = models.iter().map(Arc::as_ref).collect();
        print(&mixing::optimize(&models, &options, &control)?)
    };
    spawn(env, "gristmill-mix", cancel.token.clone(), work, |text| text)
}

/// How a skill graph is given.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Graph {
    Edges { skills: usize, edges: Vec<(usize, usize)> },
    Weights { weights: Vec<Vec<Number>> },
    Pairs { alone: Vec<Number>, together: Vec<Vec<Number>>, margin: f64 },
    SingleRuns { before: Vec<Number>, after: Vec<Vec<Number>> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GraphOptions {
    from: Graph,
    targets: Option<Vec<usize>>,
}

fn numbers(list: &[Number]) -> Vec<f64> {
    list.iter().map(|n| n.0).collect()
}

impl GraphOptions {
    fn graph(self) -> Result<SkillGraph> {
        let graph = match self.from {
            Graph::Edges { skills, edges } => SkillGraph::from_edges(skills, &edges)?,
            Graph::Weights { weights } => SkillGraph::from_weights(matrix(&weights, "weights")?)?,
            Graph::Pairs { alone, together, margin } => {
                SkillGraph::from_pairs(&numbers(&alone), &matrix(&together, "together")?, margin)?
            }
            Graph::SingleRuns { before, after } => {
                SkillGraph::from_single_runs(&numbers(&before), &matrix(&after, "after")?)?
            }
        };
        match self.targets {
            Some(targets) => graph.with_targets(&targets),
            None => Ok(graph),
        }
    }
}

/// Builds a skill graph: the JSON text of how, to that of the graph.
#[napi]
pub fn skill_graph(env: Env, options: String) -> napi::Result<String> {
    answer(&env, || parse::<GraphOptions>(&options)?.graph())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SkillMixture {
    graph: SkillGraph,
    losses: Vec<Vec<Number>>,
    #[serde(default)]
    options: SkillOptions,
}

/// The mixture of Skill-It: JSON text to JSON text.
#[napi]
pub fn skill_mixture(env: Env, options: String) -> napi::Result<String> {
    answer(&env, || {
        let SkillMixture { graph, losses, options } = parse(&options)?;
        mix::skill_mixture(&graph, &matrix(&losses, "losses")?, &options)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Sampler {
    SkillIt {
        graph: SkillGraph,
        #[serde(default)]
        options: SamplerOptions,
    },
    Fixed {
        weights: Vec<Number>,
        #[serde(default)]
        seed: u64,
    },
    State {
        state: Box<MixtureSampler>,
    },
}

/// What tells a training loop which domains the next batch is drawn from.
#[napi]
pub struct DomainSampler {
    sampler: Mutex<MixtureSampler>,
}

#[napi]
impl DomainSampler {
    /// A sampler from the JSON text of how it draws, or of its state.
    #[napi(constructor)]
    pub fn new(env: Env, options: String) -> napi::Result<Self> {
        let made = guarded(|| {
            Ok(match parse(&options)? {
                Sampler::SkillIt { graph, options } => MixtureSampler::skill_it(graph, options)?,
                Sampler::Fixed { weights, seed } => MixtureSampler::fixed(&numbers(&weights), seed)?,
                Sampler::State { state } => *state,
            })
        });
        Ok(Self { sampler: Mutex::new(made.map_err(|e| to_js(&env, &e))?) })
    }

    fn with<T>(&self, env: &Env, work: impl FnOnce(&mut MixtureSampler) -> Result<T>) -> napi::Result<T> {
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        guarded(|| work(&mut sampler)).map_err(|e| to_js(env, &e))
    }

    /// The domain of each example of the next batch.
    #[napi]
    pub fn next_batch(&self, env: Env, size: u32) -> napi::Result<Uint32Array> {
        self.with(&env, |s| s.next_batch(size as usize)).map(Uint32Array::new)
    }

    /// Reports the losses of an evaluation; what is no number arrives as NaN and is refused.
    #[napi]
    pub fn tell(&self, env: Env, losses: Vec<f64>) -> napi::Result<()> {
        self.with(&env, |s| s.tell(&losses))
    }

    /// Moves the mixture to the losses told so far.
    #[napi]
    pub fn update(&self, env: Env) -> napi::Result<()> {
        self.with(&env, |s| s.update().map(|_| ()))
    }

    /// The mixture of the next batch.
    #[napi]
    pub fn weights(&self, env: Env) -> napi::Result<Float64Array> {
        self.with(&env, |s| Ok(Float64Array::new(s.weights().to_vec())))
    }

    /// Batches drawn, evaluations told, updates made.
    #[napi]
    pub fn counts(&self, env: Env) -> napi::Result<Vec<f64>> {
        self.with(&env, |s| Ok(vec![s.batches() as f64, s.evaluations() as f64, s.updates() as f64]))
    }

    /// The JSON text of its state.
    #[napi]
    pub fn state(&self, env: Env) -> napi::Result<String> {
        self.with(&env, |s| print(s))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum LawQuestion {
    New { form: LawForm, parameters: Vec<Number> },
    Load { path: String },
    Predict { law: Law, at: Vec<Number> },
    Ratio { law: Law, at: Vec<Number>, goal: RatioGoal },
    Allocate { law: Law, at: Vec<Number>, compute: f64, sizes: [f64; 2] },
    Measured { points: Vec<[f64; 2]>, limit: f64 },
    Critical(mixing::CriticalOptions),
    CmrFit { tokens: Vec<Number>, ratios: Vec<Number> },
    CmrRatio { law: CmrLaw, tokens: f64 },
}

/// Answers a question about a law: JSON text to JSON text.
#[napi]
pub fn law_answer(env: Env, question: String) -> napi::Result<String> {
    let work = || match parse(&question)? {
        LawQuestion::New { form, parameters } => print(&Law::new(form, numbers(&parameters))?),
        LawQuestion::Load { path } => print(&Law::load(path)?),
        LawQuestion::Predict { law, at } => print(&law.predict(&numbers(&at))?),
        LawQuestion::Ratio { law, at, goal } => print(&mix::solve_mixture_ratio(&law, &numbers(&at), goal)?),
        LawQuestion::Allocate { law, at, compute, sizes } => {
            print(&mix::allocate_compute(&law, &numbers(&at), compute, sizes)?)
        }
        LawQuestion::Measured { points, limit } => print(&mix::ratio_from_measurements(&points, limit)?),
        LawQuestion::Critical(options) => print(&mixing::critical(&options)?),
        LawQuestion::CmrFit { tokens, ratios } => {
            print(&mix::fit_cmr_law(&numbers(&tokens), &numbers(&ratios))?)
        }
        LawQuestion::CmrRatio { law, tokens } => print(&law.ratio(tokens)?),
    };
    guarded(work).map_err(|e| to_js(&env, &e))
}

/// Chooses a subset of embeddings in memory, `dimension` numbers each. `options` and the result are the JSON text
/// of `SubsetOptions` and `Subset`; `device` computes the products that similarities are made of. The numbers are copied
/// first: JavaScript may change them while this works.
#[napi(ts_return_type = "Promise<string>")]
pub fn choose_subset<'env>(
    env: &'env Env,
    embeddings: &[f32],
    dimension: u32,
    quality: Option<&[f64]>,
    options: String,
    device: Option<String>,
    cancel: &CancelHandle,
) -> napi::Result<Object<'env>> {
    let options: SubsetOptions = parse(&options).map_err(|e| to_js(env, &e))?;
    let (data, quality) = (embeddings.to_vec(), quality.map(<[f64]>::to_vec));
    let control = Control::with_cancel(cancel.token.clone());
    let work = move || {
        let opened = device.as_deref().map(gristmill::devices::open).transpose()?;
        let points = points(&data, dimension)?;
        let points = opened.as_ref().map_or(points, |opened| points.on(&opened.device));
        print(&mix::choose_subset(points, quality.as_deref(), &options, &control)?)
    };
    spawn(env, "gristmill-subset", cancel.token.clone(), work, |text| text)
}

fn points(data: &[f32], dimension: u32) -> Result<Points<'_>> {
    match dimension {
        0 => Err(Error::invalid_argument("dimension", "must be at least 1")),
        d => Points::new(data, d as usize),
    }
}

/// Clusters and their centres.
#[napi(object, object_from_js = false)]
pub struct Clusters {
    /// The centres, row by row.
    pub centres: Float32Array,
    /// The centre of each point.
    pub labels: Uint32Array,
    /// The squared distance of each point to it.
    pub distances: Float32Array,
    /// Their sum.
    pub inertia: f64,
    /// How many rounds there were.
    pub iterations: u32,
    /// Whether the tolerance was met.
    pub converged: bool,
}

/// Clusters embeddings in memory, `dimension` numbers each. `options` is the JSON text of `KMeansOptions`.
#[napi(ts_return_type = "Promise<Clusters>")]
pub fn kmeans<'env>(
    env: &'env Env,
    embeddings: &[f32],
    dimension: u32,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    let options: KMeansOptions = parse(&options).map_err(|e| to_js(env, &e))?;
    let data = embeddings.to_vec();
    let control = connect(Control::with_cancel(cancel.token.clone()), on_progress)?;
    let work = move || mix::kmeans(points(&data, dimension)?, &options, &control);
    spawn(env, "gristmill-kmeans", cancel.token.clone(), work, |found| Clusters {
        centres: Float32Array::new(found.centres),
        labels: Uint32Array::new(found.labels),
        distances: Float32Array::new(found.distances),
        inertia: found.inertia,
        iterations: found.iterations as u32,
        converged: found.converged,
    })
}
