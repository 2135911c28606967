//! The step that learns what is wanted: models (or weights) from the target and a sample of the pool.
//!
//! One pass over the target and over (a part of) the pool draws samples that depend on nothing but the files and
//! the seed; what is learnt is committed with its models before the first document is scored, so that workers
//! and continued runs score with the very same models.

use std::collections::BTreeMap;
use std::sync::Mutex;

use gristmill_core::hash::hash64;
use gristmill_core::{Code, Control, Counts, Error, Result, Unit};
use gristmill_data::{Corpus, Finished, Job, OnError, ReadOptions};
use gristmill_ngram::adapt::{self, Adapted, Adapter};
use gristmill_ngram::hashed::{HashKind, HashedSpec};
use gristmill_ngram::model::{Model, ModelMeta};
use gristmill_ngram::normalize::Normalizer;
use gristmill_ngram::{estimate, gml};
use serde_json::{Value, json};

use super::classifier::{Learner, Recipe};
use super::dsir;
use super::identity::{read_state, reading, write_state};
use super::input;
use super::options::{Method, ScoreOptions, SelectOptions, SourceOptions};
use super::pipeline::{Meter, each_shard, lock};
use super::sample::{Drawn, Sample};
use super::scorer::{Scorer, shard_number};
use super::summary::{Fitted, ModelUsed, Timings};
use crate::memory::{HashedLinear, LossModel};
use crate::{Labels, ScoreSpec};

/// The step of the commit record.
const STEP: &str = "fit";

/// Text of the pool to learn from, unless another amount is asked for: some six million words. The classifier's
/// precision on labelled text stops growing at ten to twenty documents of the pool for each of the target.
const POOL_BYTES: u64 = 32 << 20;
/// Text of the target to learn from, at most.
const TARGET_BYTES: u64 = 64 << 20;
/// A sample of a large pool reads so many times its size, as stored, and at least so many shards.
const POOL_READ: u64 = 32;
const POOL_SHARDS: usize = 64;
/// What one document of the pool can add to its sample, in bytes.
const DOCUMENT_BYTES: usize = 1 << 18;

const PRIOR: &str = "_models/prior.gml";
const TARGET: &str = "_models/target.gml";
const WEIGHTS: &str = "_models/weights.json";
const CLASSIFIER: &str = "_models/classifier.bin";
const ASIDE: &str = "_quarantine/target.jsonl";

/// Quarantine records of each shard, as lines.
type QuarantineLines = BTreeMap<usize, Vec<u8>>;

/// What is to be learnt, and from what.
pub(crate) struct Fitting<'a> {
    asked: Asked<'a>,
    spec: ScoreSpec,
    /// Of the classifier.
    recipe: Option<Recipe>,
    normalizer: Normalizer,
    pool: &'a Corpus,
    target: Corpus,
    threads: usize,
    control: &'a Control,
}

/// The options that matter here, of either job.
pub(crate) struct Asked<'a> {
    target: &'a SourceOptions,
    method: Method,
    order: Option<usize>,
    weight: Option<f64>,
    l2: Option<f64>,
    rounds: Option<usize>,
    labels: Option<Labels>,
    pool_bytes: u64,
    normalizer: &'a str,
    memory: u64,
    seed: u64,
    on_error: OnError,
}

impl<'a> Asked<'a> {
    fn or_default(normalizer: Option<&'a String>) -> &'a str {
        normalizer.map_or(Normalizer::UNICODE_WORDS, String::as_str)
    }

    pub(crate) fn by_selection(o: &'a SelectOptions, target: &'a SourceOptions) -> Self {
        Self {
            target,
            method: o.method.unwrap_or(Method::LossReduction),
            order: o.order,
            weight: o.weight,
            l2: o.l2,
            rounds: o.rounds,
            labels: o.labels,
            pool_bytes: o.pool_sample.map_or(POOL_BYTES, |size| size.0),
            normalizer: Self::or_default(o.normalizer.as_ref()),
            memory: o.memory.0,
            seed: o.seed,
            on_error: o.on_error,
        }
    }

    pub(crate) fn by_scoring(o: &'a ScoreOptions, target: &'a SourceOptions) -> Self {
        Self {
            target,
            method: o.method.unwrap_or(Method::LossReduction),
            order: o.order,
            weight: o.weight,
            l2: o.l2,
            rounds: o.rounds,
            labels: o.labels,
            pool_bytes: o.pool_sample.map_or(POOL_BYTES, |size| size.0),
            normalizer: Self::or_default(o.normalizer.as_ref()),
            memory: o.memory.0,
            seed: o.seed,
            on_error: o.on_error,
        }
    }

    fn spec(&self, normalizer: &Normalizer) -> Result<ScoreSpec> {
        let refuse = |option, why: String| Err(Error::invalid_argument(option, why));
        let spec = ScoreSpec { normalizer: Some(normalizer.spec().clone()), ..ScoreSpec::of(self.method) };
        if self.method != Method::Classifier {
            let own = [
                ("l2", self.l2.is_some()),
                ("rounds", self.rounds.is_some()),
                ("labels", self.labels.is_some()),
            ];
            if let Some((option, _)) = own.iter().find(|(_, given)| *given) {
                return refuse(option, format!("is of the classifier, not of {}", self.method));
            }
        }
        match self.method {
            Method::LossReduction => Ok(spec),
            Method::MooreLewis if self.weight.is_some_and(|w| w != 1.0) => {
                refuse("weight", "moore-lewis is loss reduction with weight 1".into())
            }
            Method::MooreLewis => Ok(spec),
            Method::Dsir if self.weight.is_some() => refuse("weight", "dsir has no such weight".into()),
            Method::Dsir => {
                let features = HashedSpec {
                    normalizer: self.normalizer.to_owned(),
                    ngrams: self.order.unwrap_or(HashedSpec::default().ngrams),
                    hash: HashKind::Xxh3 { seed: self.seed },
                    ..HashedSpec::default()
                };
                Ok(ScoreSpec { features: Some(features), ..spec })
            }
            Method::Classifier if self.weight.is_some() => {
                refuse("weight", "the classifier has no such weight".into())
            }
            Method::Classifier => {
                let features = HashedSpec {
                    normalizer: self.normalizer.to_owned(),
                    ngrams: self.order.unwrap_or(HashedSpec::default().ngrams),
                    hash: HashKind::Xxh3 { seed: self.seed },
                    ..ScoreSpec::classifier_features()
                };
                Recipe::new(self.l2, self.rounds, self.labels)?;
                Ok(ScoreSpec { features: Some(features), labels: self.labels, ..spec })
            }
            other => refuse(
                "method",
                format!(
                    "{other} is not learnt from a target: loss-reduction, moore-lewis, dsir and classifier are"
                ),
            ),
        }
    }
}

/// What was learnt.
pub(crate) struct Fit {
    pub(crate) scorer: Scorer,
    pub(crate) models: Vec<ModelUsed>,
    pub(crate) fitted: Fitted,
}

/// What an earlier run learnt, if it learnt anything.
pub(crate) fn committed(job: &Job) -> Result<Option<Fitted>> {
    job.commit_of(STEP, 0)?.map(|commit| read_state(job, commit.state)).transpose()
}

impl<'a> Fitting<'a> {
    /// Checks what is asked for and finds the target's files.
    pub(crate) fn new(
        asked: Asked<'a>,
        pool: &'a Corpus,
        threads: usize,
        control: &'a Control,
    ) -> Result<Self> {
        let normalizer = Normalizer::resolve(asked.normalizer)?;
        let spec = asked.spec(&normalizer)?;
        let options = adapt::Options { order: asked.order, weight: asked.weight, ..Default::default() };
        Adapter::new(normalizer.clone(), options)?;
        let recipe = match asked.method {
            Method::Classifier => Some(Recipe::new(asked.l2, asked.rounds, asked.labels)?),
            _ => None,
        };
        let target = input::open(asked.target, "target", None, asked.on_error, control)?;
        Ok(Self { asked, spec, recipe, normalizer, pool, target, threads, control })
    }

    pub(crate) fn spec(&self) -> &ScoreSpec {
        &self.spec
    }

    pub(crate) fn target(&self) -> &Corpus {
        &self.target
    }

    /// What changes the models, besides the files.
    pub(crate) fn identity(&self) -> Value {
        let mut identity = json!({
            "target": reading(self.asked.target),
            "order": self.asked.order,
            "weight": self.asked.weight,
            "seed": self.asked.seed,
            "poolBytes": self.asked.pool_bytes,
            "targetBytes": TARGET_BYTES,
        });
        if let (Some(recipe), Some(fields)) = (self.recipe, identity.as_object_mut()) {
            fields.insert("classifier".into(), json!(recipe));
        }
        identity
    }

    /// Learns, unless that is committed already, and loads what was learnt.
    pub(crate) fn run(&self, job: &Job, timings: &mut Timings) -> Result<Fit> {
        let commit = match job.commit_of(STEP, 0)? {
            Some(commit) => commit,
            None => {
                let (target, aside) = timings.time("sample", || self.sample_target())?;
                let (mut files, fitted) = match self.asked.method {
                    Method::Classifier => self.classify(job, &target, timings)?,
                    method => {
                        let pool = timings.time("sample", || self.sample_pool(|| keep_text))?;
                        timings.time("fit", || match method {
                            Method::Dsir => self.weigh(job, &target, &pool),
                            _ => self.adapt(job, target, pool),
                        })?
                    }
                };
                files.extend(self.write_aside(job, aside)?);
                job.commit(STEP, 0, files, write_state(&fitted)?)?
            }
        };
        let fitted: Fitted = read_state(job, commit.state.clone())?;
        let used = |role: &str, name: &str, weight| ModelUsed {
            role: role.to_owned(),
            path: job.path_of(name),
            sha256: commit
                .outputs
                .iter()
                .find(|o| o.name == name)
                .map_or_else(String::new, |o| o.sha256.clone()),
            weight,
        };
        let read = |name| job.read_output(name);
        let (losses, models): (Box<dyn LossModel>, _) = match self.asked.method {
            Method::Dsir => (
                Box::new(dsir::load(&read(WEIGHTS)?, &job.path_of(WEIGHTS))?),
                vec![used("weights", WEIGHTS, None)],
            ),
            Method::Classifier => {
                let path = job.path_of(CLASSIFIER);
                let model = HashedLinear::from_bytes(&read(CLASSIFIER)?).map_err(|e| e.at_path(path))?;
                (Box::new(model), vec![used("classifier", CLASSIFIER, None)])
            }
            _ => {
                let weight = fitted.weight.unwrap_or(1.0);
                let prior = Model::from_bytes(&read(PRIOR)?)?;
                let target = Model::from_bytes(&read(TARGET)?)?;
                let pair = Adapted::new(prior, target, weight)?.with_normalizer(self.normalizer.clone());
                // The conditional is the target's model with this weight, and the prior with the rest.
                let models = self.spec.models().iter().map(|&role| match role {
                    "prior" => used(role, PRIOR, None),
                    _ => used(role, TARGET, Some(weight)),
                });
                (Box::new(pair), models.collect())
            }
        };
        Ok(Fit { scorer: Scorer::with_spec(self.spec.clone(), losses)?, models, fitted })
    }

    fn adapt(&self, job: &Job, target: Vec<Drawn>, pool: Vec<Drawn>) -> Result<(Vec<Finished>, Fitted)> {
        let options = adapt::Options {
            order: self.asked.order,
            weight: match self.asked.method {
                Method::MooreLewis => Some(1.0),
                _ => self.asked.weight,
            },
            memory_limit: usize::try_from(self.asked.memory).unwrap_or(usize::MAX),
            threads: self.threads,
            ..adapt::Options::default()
        };
        let mut adapter = Adapter::new(self.normalizer.clone(), options)?;
        let bytes = [&target, &pool].map(|sample| sample.iter().map(|d| d.text.len() as u64).sum::<u64>());
        for drawn in target {
            self.control.check()?;
            adapter.add_target(&drawn.text)?;
        }
        for drawn in pool {
            self.control.check()?;
            adapter.add_pool(&drawn.text)?;
        }
        let counts = |(documents, tokens): (usize, usize), bytes| Counts {
            documents: documents as u64,
            tokens: tokens as u64,
            bytes,
        };
        let (of_target, of_pool) =
            (counts(adapter.target_size(), bytes[0]), counts(adapter.pool_size(), bytes[1]));
        let fit = adapter.finish(self.control).map_err(|e| match e.code() {
            Code::TargetTooSmall => e.at_column("target"),
            Code::EmptyInput => e.at_column("pool"),
            _ => e,
        })?;
        let Value::Object(metadata) = json!({ "fit": self.identity() }) else {
            unreachable!("an object literal")
        };
        let meta = ModelMeta { normalizer: Some(fit.normalizer.spec().clone()), metadata };
        let save = |name: &str, estimate: &estimate::Estimate| {
            let mut file = job.temp_writer(name)?;
            gml::write(&estimate.trie, &meta, &mut file)?;
            file.finish()
        };
        let files = vec![save(PRIOR, &fit.prior)?, save(TARGET, &fit.target)?];
        let fitted = Fitted {
            order: fit.choice.order,
            weight: Some(fit.choice.weight),
            vocabulary: fit.prior.trie.vocab().len() as u64,
            target: of_target,
            pool: of_pool,
            lookalikes: fit.lookalikes,
            discrimination: fit.choice.discrimination,
            candidates: fit.choice.candidates,
            self_trained: None,
        };
        Ok((files, fitted))
    }

    fn weigh(&self, job: &Job, target: &[Drawn], pool: &[Drawn]) -> Result<(Vec<Finished>, Fitted)> {
        let features = self.spec.features.clone().unwrap_or_default();
        let (weights, fitted) = dsir::learn(features, target, pool, self.control)?;
        let mut file = job.temp_writer(WEIGHTS)?;
        let path = file.path().to_owned();
        serde_json::to_writer(&mut file, &weights).map_err(|e| Error::io(path, "write", e.into()))?;
        Ok((vec![file.finish()?], fitted))
    }

    fn classify(
        &self,
        job: &Job,
        target: &[Drawn],
        timings: &mut Timings,
    ) -> Result<(Vec<Finished>, Fitted)> {
        let features = self.spec.features.clone().unwrap_or_else(ScoreSpec::classifier_features);
        let recipe = self.recipe.map_or_else(|| Recipe::new(None, None, None), Ok)?;
        let text = target.iter().map(|d| d.bytes).sum::<u64>().saturating_add(self.asked.pool_bytes);
        let learner = Learner::new(features, recipe, text, self.asked.memory)?;
        let pool = timings.time("sample", || self.sample_pool(|| learner.taker()))?;
        timings.time("fit", || {
            let (model, fitted) = learner.learn(target, &pool, self.asked.seed, self.control)?;
            let mut file = job.temp_writer(CLASSIFIER)?;
            let path = file.path().to_owned();
            model.write(&mut file).map_err(|e| Error::io(path, "write", e))?;
            Ok((vec![file.finish()?], fitted))
        })
    }

    fn write_aside(&self, job: &Job, aside: QuarantineLines) -> Result<Option<Finished>> {
        if aside.is_empty() {
            return Ok(None);
        }
        let mut file = job.temp_writer(ASIDE)?;
        let path = file.path().to_owned();
        for lines in aside.into_values() {
            std::io::Write::write_all(&mut file, &lines).map_err(|e| Error::io(&path, "write", e))?;
        }
        file.finish().map(Some)
    }

    /// The target's documents (those with the lowest hashes when there are very many), and what could not be read.
    fn sample_target(&self) -> Result<(Vec<Drawn>, QuarantineLines)> {
        let shards: Vec<usize> = (0..self.target.shards().len()).collect();
        let aside = Mutex::new(BTreeMap::new());
        let drawn = self.sample(&self.target, &shards, TARGET_BYTES, usize::MAX, &aside, || keep_text)?;
        Ok((drawn, aside.into_inner().unwrap_or_else(|e| e.into_inner())))
    }

    /// A sample of the pool. Bad rows are left to the step that scores, which meets all of them.
    fn sample_pool<T: Send, K: FnMut(&str) -> Result<T>>(
        &self,
        keep: impl Fn() -> K + Sync,
    ) -> Result<Vec<Drawn<T>>> {
        let limit = self.asked.pool_bytes;
        let shards = part_of(self.pool, self.asked.seed, limit.saturating_mul(POOL_READ));
        self.sample(self.pool, &shards, limit, DOCUMENT_BYTES, &Mutex::new(BTreeMap::new()), keep)
    }

    /// The documents with the lowest hashes, and of each what `keep` makes of its text; every shard has its own.
    fn sample<T: Send, K: FnMut(&str) -> Result<T>>(
        &self,
        corpus: &Corpus,
        shards: &[usize],
        limit: u64,
        longest: usize,
        aside: &Mutex<QuarantineLines>,
        keep: impl Fn() -> K + Sync,
    ) -> Result<Vec<Drawn<T>>> {
        let bytes = shards.iter().map(|&s| corpus.shards()[s].bytes).sum();
        let meter = Meter::start(self.control, "sample", Unit::Bytes, Some(bytes));
        let all = Mutex::new(Sample::new(self.asked.seed, limit));
        each_shard(shards, self.threads, self.control, |index, lane| {
            let mut sample = Sample::of_part(self.asked.seed, limit, lock(&all).highest());
            let mut keep = keep();
            let mut lines = Vec::new();
            for batch in corpus.read(index, ReadOptions::default(), self.control)? {
                lane.check()?;
                let batch = batch?;
                for i in 0..batch.len() {
                    match batch.text(i) {
                        Some(text) if !text.trim_ascii().is_empty() => {
                            let text = beginning(text, longest);
                            sample.offer(shard_number(index)?, batch.rows[i], text, &mut keep)?;
                        }
                        _ => {}
                    }
                }
                for record in &batch.quarantined {
                    record.write_to(&mut lines)?;
                }
                meter.add(0, batch.len() as u64, 0);
            }
            meter.add(corpus.shards()[index].bytes, 0, 0);
            if !lines.is_empty() {
                lock(aside).insert(index, lines);
            }
            lock(&all).merge(sample);
            Ok(())
        })?;
        meter.finish();
        Ok(all.into_inner().unwrap_or_else(|e| e.into_inner()).into_documents())
    }
}

fn keep_text(text: &str) -> Result<String> {
    Ok(text.to_owned())
}

/// The shards that a sample is drawn from: all, or so many bytes of a large pool, chosen by hash.
fn part_of(pool: &Corpus, seed: u64, bytes: u64) -> Vec<usize> {
    let mut shards: Vec<usize> = (0..pool.shards().len()).collect();
    shards.sort_by_key(|&s| (hash64(seed, &(s as u64).to_le_bytes()), s));
    let mut before = 0;
    let enough = shards.iter().enumerate().position(|(n, &s)| {
        let enough = n >= POOL_SHARDS && before >= bytes;
        before += pool.shards()[s].bytes;
        enough
    });
    shards.truncate(enough.unwrap_or(shards.len()));
    shards.sort_unstable();
    shards
}

/// The beginning of a text, of at most so many bytes.
fn beginning(text: &str, longest: usize) -> &str {
    if text.len() <= longest {
        return text;
    }
    let end = (0..=longest).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(beginning("h\u{e9}llo", 2), "h");
        assert_eq!(beginning("h\u{e9}llo", 3), "h\u{e9}");
        assert_eq!(beginning("hi", 9), "hi");
    }
}
