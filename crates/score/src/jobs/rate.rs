//! Pool and judgements of pairs to score files.

use std::collections::HashMap;
use std::sync::Mutex;

use gristmill_core::{Code, Control, Error, Result, Unit};
use gristmill_data::{Corpus, DocBatch, Finished, Job, JobOptions, JobSpec, WorkerShare};
use gristmill_mix::{Dense, PairFit, PairOptions, Platt, fit_pairs};
use gristmill_ngram::hashed::{Features, HashKind, HashedSpec};
use gristmill_ngram::normalize::{Normalizer, Scratch};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::classifier::tf_idf;
use super::columns::{Groups, vectors};
use super::identity::{read_state, write_state};
use super::options::{Method, RateOptions};
use super::pairs::{self, Pairs};
use super::pipeline::{Meter, each_shard, lock, threads};
use super::score::check_rated;
use super::scorer::Scorer;
use super::scoring::{Scoring, collect};
use super::summary::{ModelUsed, Rated, SUMMARY_SCHEMA, ScoreSummary, Timings};
use super::{identity, input};
use crate::ScoreSpec;
use crate::memory::HashedLinear;

/// The step of the commit record.
const STEP: &str = "rate";
const RATER: &str = "_models/rater.bin";
const WEIGHTS: &str = "_models/weights.json";

/// The file of weights of an embedding.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    weights: Vec<f64>,
}

/// Learns a rating from judgements of pairs (Bradley and Terry) and gives it to every document of a pool, shard by
/// shard; a run that is stopped at any moment continues where it was.
///
/// # Errors
/// Those of judgements ([`Code::InvalidValue`], [`Code::CorruptData`], with the line) and of the documents that they
/// name ([`Code::NotFound`], [`Code::DuplicateId`]); [`Code::JobMismatch`] when `output` holds another job; those of
/// options, reading and writing.
pub fn run(options: RateOptions, control: &Control) -> Result<ScoreSummary> {
    let threads = threads(options.threads)?;
    let worker = options.worker.as_deref().map(WorkerShare::parse).transpose()?.unwrap_or_default();
    let mut timings = Timings::default();
    let normalizer = Normalizer::resolve(options.normalizer.as_deref().unwrap_or(Normalizer::UNICODE_WORDS))?;
    let spec = spec_of(&options, &normalizer)?;
    let judged = pairs::read(&options.pairs, options.min_confidence, options.contradictions)?;
    let pool = input::open(&options.pool, "pool", None, options.on_error, control)?;
    let recipe = json!({
        "l2": options.l2,
        "seed": options.seed,
        "minConfidence": options.min_confidence,
        "contradictions": options.contradictions,
    });
    let config = identity::config(&spec, &[], &options.pool, [("rate", recipe)]);
    let job = JobSpec::new("score", config).input("pool", &pool).file("pairs", "pairs", &judged.sha256);
    let job = Job::open(&options.output, job, JobOptions { fresh: options.fresh, worker })?;
    let rating = Rating { options: &options, spec: &spec, pool: &pool, threads, control };
    let commit = match job.commit_of(STEP, 0)? {
        Some(commit) => commit,
        None => {
            let (file, rated) = timings.time("fit", || rating.learn(&job, judged))?;
            job.commit(STEP, 0, vec![file], write_state(&rated)?)?
        }
    };
    let rated: Rated = read_state(&job, commit.state.clone())?;
    let scorer = rating.scorer(&job, normalizer)?;
    let used: Vec<ModelUsed> = commit
        .outputs
        .iter()
        .map(|o| ModelUsed {
            role: "rater".into(),
            path: job.path_of(&o.name),
            sha256: o.sha256.clone(),
            weight: None,
        })
        .collect();
    let scoring = Scoring {
        job: &job,
        corpus: &pool,
        scorer: &scorer,
        groups: &Groups::default(),
        models: &used,
        folder: "",
        kept: None,
        threads,
        control,
    };
    let done = timings.time("score", || scoring.run())?;
    let (report, shards) = collect(&job, pool.shards().len(), done)?;
    check_rated(&spec, &report)?;
    if shards.pending == 0 {
        job.remove_temporaries()?;
    }
    let (best, worst) = report.extremes.into_examples(|s| pool.shards()[s as usize].url.clone());
    Ok(ScoreSummary {
        schema: SUMMARY_SCHEMA,
        output: job.output().to_owned(),
        method: spec.name,
        spec,
        complete: shards.pending == 0,
        counts: report.tally,
        damaged: report.damaged,
        input_bytes: pool.bytes(),
        shards,
        models: used,
        fitted: None,
        percentiles: Vec::new(),
        token_cache: None,
        rated: Some(rated),
        best,
        worst,
        timings: timings.into_phases(),
    })
}

/// What the scores mean.
fn spec_of(options: &RateOptions, normalizer: &Normalizer) -> Result<ScoreSpec> {
    if options.l2.is_some_and(|l2| !(l2.is_finite() && l2 > 0.0)) {
        return Err(Error::invalid_argument("l2", "must be a positive number"));
    }
    let spec =
        ScoreSpec { normalizer: Some(normalizer.spec().clone()), ..ScoreSpec::of(Method::BradleyTerry) };
    match &options.embedding {
        Some(_) if options.order.is_some() => {
            Err(Error::invalid_argument("order", "is of n-grams, and embeddings have none"))
        }
        Some(column) => Ok(ScoreSpec { features: None, column: Some(column.clone()), ..spec }),
        None => {
            let by_default = ScoreSpec::classifier_features();
            let features = HashedSpec {
                normalizer: options.normalizer.clone().unwrap_or(by_default.normalizer),
                ngrams: options.order.unwrap_or(by_default.ngrams),
                hash: HashKind::Xxh3 { seed: options.seed },
                ..by_default
            };
            Features::new(features.clone())?;
            Ok(ScoreSpec { features: Some(features), ..spec })
        }
    }
}

struct Rating<'a> {
    options: &'a RateOptions,
    spec: &'a ScoreSpec,
    pool: &'a Corpus,
    threads: usize,
    control: &'a Control,
}

/// The document of an id that a judgement names: where it is, and what of it is learnt from.
struct Found<T> {
    place: (usize, u64),
    value: T,
}

impl Rating<'_> {
    fn learn(&self, job: &Job, judged: Pairs) -> Result<(Finished, Rated)> {
        let options = PairOptions { l2: self.options.l2, seed: self.options.seed, ..Default::default() };
        match &self.spec.features {
            Some(features) => {
                let features = Features::new(features.clone())?;
                let bags = self.find(&judged, |batch, wanted| {
                    let mut scratch = Scratch::default();
                    let bag = |&i: &usize| -> Result<Vec<u32>> {
                        let mut buckets = Vec::new();
                        let text = batch.text(i).unwrap_or_default();
                        features.for_each_bucket(text, &mut scratch, |bucket| buckets.push(bucket as u32))?;
                        Ok(buckets)
                    };
                    wanted.iter().map(bag).collect()
                })?;
                let mut all = gristmill_mix::Bags::new(features.spec().buckets);
                for bag in bags {
                    all.push(&bag)?;
                }
                let tfidf = tf_idf(features.spec(), all.document_frequencies(), all.len());
                let rows = tfidf.rows(all);
                let mut fit = fit_pairs(&rows, &judged.comparisons, &options, self.control)?;
                fit.model.weights = rows.by_feature(&fit.model.weights);
                let scale = Platt { slope: fit.slope, offset: 0.0 };
                let model = HashedLinear::new(Method::BradleyTerry, features, &tfidf, &fit.model, scale)?;
                let file = save(job, RATER, |out| model.write(out))?;
                Ok((file, summary(&judged, &fit)))
            }
            None => {
                let column = self.spec.column.as_deref().unwrap_or_default();
                let found = self.find(&judged, |batch, wanted| {
                    let mut vectors = vectors(batch, column)?;
                    Ok(wanted.iter().map(|&i| vectors[i].take()).collect())
                })?;
                let none = |n: usize| {
                    let message = format!("the document {:?} of a judgement has no embedding", judged.ids[n]);
                    Error::new(Code::InvalidValue, message)
                        .at_path(&self.options.pairs)
                        .at_row(judged.lines[n])
                };
                let first = found.first().and_then(Option::as_ref).ok_or_else(|| none(0))?;
                let mut rows = Dense::new(first.len());
                for (n, row) in found.iter().enumerate() {
                    rows.push(row.as_ref().ok_or_else(|| none(n))?)
                        .map_err(|e| none(n).with_source(e.to_string()).hint(e.message().to_owned()))?;
                }
                let fit = fit_pairs(&rows, &judged.comparisons, &options, self.control)?;
                let weights = Weights { weights: fit.model.weights.iter().map(|w| w * fit.slope).collect() };
                let file =
                    save(job, WEIGHTS, |out| serde_json::to_writer(out, &weights).map_err(Into::into))?;
                Ok((file, summary(&judged, &fit)))
            }
        }
    }

    /// What `take` makes of each document that a judgement names, in the order of the judgements' ids.
    fn find<T: Send>(
        &self,
        judged: &Pairs,
        take: impl Fn(&DocBatch, &[usize]) -> Result<Vec<T>> + Sync,
    ) -> Result<Vec<T>> {
        let numbers: HashMap<&str, usize> =
            judged.ids.iter().enumerate().map(|(n, id)| (id.as_str(), n)).collect();
        let shards: Vec<usize> = (0..self.pool.shards().len()).collect();
        let meter = Meter::start(self.control, "find", Unit::Bytes, Some(self.pool.bytes()));
        let all: Mutex<Vec<Vec<Found<T>>>> = Mutex::new(judged.ids.iter().map(|_| Vec::new()).collect());
        let reads = match self.spec.column {
            Some(_) => gristmill_data::ReadOptions::all(),
            None => gristmill_data::ReadOptions::default(),
        };
        each_shard(&shards, self.threads, self.control, |shard, lane| {
            for batch in self.pool.read(shard, reads.clone(), self.control)? {
                lane.check()?;
                let batch = batch?;
                let wanted: Vec<usize> =
                    (0..batch.len()).filter(|&i| numbers.contains_key(batch.ids.value(i))).collect();
                if wanted.is_empty() {
                    continue;
                }
                let url = &self.pool.shards()[shard].url;
                let values = take(&batch, &wanted).map_err(|e| e.at_path(url))?;
                let mut all = lock(&all);
                for (&i, value) in wanted.iter().zip(values) {
                    let found = Found { place: (shard, batch.rows[i]), value };
                    all[numbers[batch.ids.value(i)]].push(found);
                }
            }
            meter.add(self.pool.shards()[shard].bytes, 0, 0);
            Ok(())
        })?;
        meter.finish();
        let all = all.into_inner().unwrap_or_else(|e| e.into_inner());
        all.into_iter().enumerate().map(|(n, found)| self.only(judged, n, found)).collect()
    }

    /// The one document of an id.
    fn only<T>(&self, judged: &Pairs, n: usize, mut found: Vec<Found<T>>) -> Result<T> {
        found.sort_unstable_by_key(|f| f.place);
        let id = &judged.ids[n];
        match found.as_slice() {
            [_] => {}
            [] => {
                let message = format!("no document of the pool has the id {id:?}");
                return Err(Error::new(Code::NotFound, message)
                    .at_path(&self.options.pairs)
                    .at_row(judged.lines[n])
                    .hint("judged documents are part of the pool; is the id column the right one?"));
            }
            [first, second, ..] => {
                let url = |shard: usize| self.pool.shards()[shard].url.as_str();
                let message = format!(
                    "the judged id {id:?} is also that of {}, row {}",
                    url(first.place.0),
                    first.place.1
                );
                return Err(Error::new(Code::DuplicateId, message)
                    .at_path(url(second.place.0))
                    .at_row(second.place.1));
            }
        }
        found.pop().map(|f| f.value).ok_or_else(|| Error::new(Code::Internal, "a found document is lost"))
    }

    /// The scorer with what was learnt.
    fn scorer(&self, job: &Job, normalizer: Normalizer) -> Result<Scorer> {
        if self.spec.features.is_some() {
            let path = job.path_of(RATER);
            let model = HashedLinear::from_bytes(&job.read_output(RATER)?).map_err(|e| e.at_path(path))?;
            return Scorer::with_spec(self.spec.clone(), Box::new(model));
        }
        let Weights { weights } = serde_json::from_slice(&job.read_output(WEIGHTS)?).map_err(|e| {
            let message = format!("the weights are damaged: {e}");
            Error::new(Code::InvalidModel, message).at_path(job.path_of(WEIGHTS))
        })?;
        Scorer::by_embedding(self.spec.clone(), normalizer, weights)
    }
}

fn save(
    job: &Job,
    name: &str,
    write: impl FnOnce(&mut gristmill_data::JobFile) -> std::io::Result<()>,
) -> Result<Finished> {
    let mut file = job.temp_writer(name)?;
    let path = file.path().to_owned();
    write(&mut file).map_err(|e| Error::io(path, "write", e))?;
    file.finish()
}

fn summary(judged: &Pairs, fit: &PairFit) -> Rated {
    Rated {
        judgements: judged.comparisons.len() as u64,
        left_out: judged.left_out,
        documents: judged.ids.len() as u64,
        contradicted: judged.contradicted,
        contradictions: judged.shown.clone(),
        l2: fit.l2,
        tried: fit.tried.clone(),
        slope: fit.slope,
        held_out: fit.held_out,
    }
}
